//! Many queries at once, large answers, and answers that do not come to their end: rows H9, H10 and H15 of the list of bad
//! input, and that half an answer is never taken for a whole one.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use crate::server::{PATIENCE, Server, devmesh, logs, until};

const DIGITS: &str = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";

/// A table of 10^`digits` rows with the column `n`, and no end to what can be computed from it.
fn numbers(digits: usize) -> String {
    let tables: Vec<String> = (0..digits).map(|at| format!("{DIGITS} AS t{at}(x)")).collect();
    let sum: Vec<String> = (0..digits).map(|at| format!("t{at}.x * {}", 10_u64.pow(at as u32))).collect();
    format!("(SELECT {} AS n FROM {})", sum.join(" + "), tables.join(", "))
}

/// A query that runs until it is stopped.
fn endless() -> String {
    format!("SELECT count(*) FROM {} a, {} b WHERE a.n * 7 % 11 < b.n % 3", numbers(5), numbers(4))
}

/// A query over a connection of its own; nothing is read yet.
fn asked(server: &Server, body: &serde_json::Value) -> TcpStream {
    let mut stream = TcpStream::connect(server.door("http")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.to_string();
    let head = "POST /query/sql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    stream
}

fn resident_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn h9_queries_beyond_those_that_run_wait_and_are_then_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--set", "query.concurrency=2", "--set", "query.timeout=75s", "--set", "query.threads=1"];
    let server = Server::start_with(dir.path(), &more);
    let heavy = json!({"sql": endless()});
    let mut open: Vec<TcpStream> = (0..200).map(|_| asked(&server, &heavy)).collect();
    // Senders do not wait for it.
    let started = Instant::now();
    for number in 0..50 {
        assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("a", &[&number.to_string()])).status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let mut counts = std::collections::BTreeMap::new();
    for stream in &mut open {
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.get(9..12).unwrap_or_default().to_owned();
        assert!(status != "429" || answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        *counts.entry(status).or_insert(0) += 1;
    }
    // Two ran until their time was over, and nobody's turn came in the 10 s that a query waits.
    assert_eq!(counts, [("408".to_owned(), 2), ("429".to_owned(), 198)].into());
    assert_eq!(server.value("SELECT count(*) FROM logs"), 50);
}

#[test]
fn h10_a_query_whose_client_has_left_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "query.concurrency=1", "--set", "query.timeout=10m"]);
    for (what, sql, format, read) in [
        ("before the first row", endless(), "json", false),
        (
            "in the middle of its rows",
            format!("SELECT n, 'a text of some length, which all rows have' AS t FROM {}", numbers(7)),
            "csv",
            true,
        ),
    ] {
        let mut stream = asked(&server, &json!({"sql": sql, "format": format, "limit": 10_000_000}));
        if read {
            stream.read_exact(&mut [0; 100_000]).unwrap();
        }
        // Once it has the only turn, another waits for it.
        let after = json!({"sql": "SELECT 'after'"});
        until(what, || {
            let mut second = asked(&server, &after);
            second.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            second.read_exact(&mut [0]).is_err().then_some(())
        });
        drop(stream);
        // The query itself would take minutes; one that waits for its turn is told to come back after ten seconds.
        until(what, || (server.post_json("http", "/query/sql", &after).status == 200).then_some(()));
    }
}

#[test]
fn h15_an_export_of_millions_of_rows_is_streamed_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let sql = format!("SELECT n, 'a text of some length, which all rows have' AS t FROM {}", numbers(7));
    // Whoever reads slowly holds nothing but what is under way.
    let mut stream = asked(&server, &json!({"sql": sql, "format": "csv", "limit": 2_000_000_000}));
    let mut head = vec![0; 64 << 10];
    stream.read_exact(&mut head).unwrap();
    let text = String::from_utf8_lossy(&head).into_owned();
    assert!(text.to_lowercase().contains("x-limit-applied: 10000000\r\n"), "{text:.500}");
    let before = resident_mib(&server);
    let (mut bytes, mut most) = (head.len(), before);
    let mut buffer = vec![0; 1 << 20];
    while bytes < 24 << 20 {
        stream.read_exact(&mut buffer).unwrap();
        bytes += buffer.len();
        most = most.max(resident_mib(&server));
    }
    assert!(most < before + 64, "{before} MiB, and {most} later");
    drop(stream);
    let rows = json!({"sql": sql, "format": "csv", "limit": 100_000});
    let whole = server.post_json("http", "/query/sql", &rows);
    assert_eq!((whole.status, whole.text().lines().count()), (200, 100_001));
}

/// A query that fails at its last rows, once megabytes of others have been sent.
fn failing() -> String {
    format!("SELECT n, 10 / (99999 - n) AS q, 'a text of some length, which all rows have' AS t FROM {}", numbers(5))
}

#[test]
fn an_answer_that_fails_on_its_way_is_seen_to_be_cut_off_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "query.threads=1"]);
    for (format, limit) in [("csv", 200_000), ("arrow", 200_000)] {
        let mut stream = asked(&server, &json!({"sql": failing(), "format": format, "limit": limit}));
        let mut answer = Vec::new();
        // The connection ends: by a reset, or without the last chunk, which is how HTTP/1.1 says that a body is whole.
        let ended = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > 1 << 20, "{format}: {} bytes", answer.len());
        assert!(ended.is_err() || !answer.ends_with(b"0\r\n\r\n"), "{format}: taken for whole");
        let whole =
            server.try_post_json("http", "/query/sql", &json!({"sql": failing(), "format": format, "limit": limit}));
        assert!(whole.is_err(), "{format}: a client takes it for whole");
    }
    // The same that is small enough to be held back is a problem with its status.
    let small = failing().replace("99999", "0");
    let answer = server.post_json("http", "/query/sql", &json!({"sql": small, "format": "csv", "limit": 1000}));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.problem().to_lowercase().contains("divide by zero"), "{}", answer.problem());
    // And the command line ends with 1.
    let url = format!("http://{}", server.door("http"));
    for format in ["csv", "arrow", "parquet"] {
        let output = devmesh()
            .args(["sql", &failing(), "--limit", "200000", "--format", format, "--url", &url])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{format}: {message}");
        assert!(message.contains("broke off") || message.contains("ivide by zero"), "{format}: {message}");
    }
}

#[test]
fn an_answer_that_the_stop_of_the_server_cuts_off_is_not_taken_for_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let sql = format!("SELECT n, 'a text of some length, which all rows have' AS t FROM {}", numbers(7));
    let mut stream = asked(&server, &json!({"sql": sql, "format": "csv", "limit": 10_000_000}));
    let mut answer = vec![0; 100_000];
    stream.read_exact(&mut answer).unwrap();
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(1));
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_err() || !answer.ends_with(b"0\r\n\r\n"), "taken for whole");
}
