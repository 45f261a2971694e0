//! Start and stop.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::json;

use crate::server::{PATIENCE, Server, devmesh, logs, trace, until};

#[test]
fn an_otlp_record_is_in_sql_once_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for door in ["otlp-http", "http"] {
        let answer = server.post_json(door, "/v1/logs", &logs(door, &["it began"]));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sql = format!("SELECT count(*) FROM logs WHERE service = '{door}' AND attributes['http.route'] = '/cart'");
        assert_eq!(server.value(&sql), 1, "{door}");
    }
}

#[test]
fn both_ingestion_paths_meet_in_one_view() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &trace(id)).status, 200);
    let plain = json!({"spans": [{"trace_id": "1af7651916cd43dd8448eb211c80319c", "span_id": "00000000000000c1",
        "service": "ai", "name": "ask", "start_time": jiff::Timestamp::now().to_string(), "duration_ms": 5}]});
    let answer = server.post_json("http", "/ingest/traces", &plain).json();
    assert_eq!((answer["accepted"].as_u64(), answer["rejected"].as_u64()), (Some(1), Some(0)), "{answer}");
    let paths = server.sql("SELECT ingest_path, count(*) FROM traces_unified_view GROUP BY 1 ORDER BY 1");
    assert_eq!(paths["rows"], json!([["collector", 3], ["direct", 1]]));
}

#[test]
fn what_was_acknowledged_is_there_after_kill_and_after_stop() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("a", &["one", "two"])).status, 200);
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(server.value("SELECT count(*) FROM logs"), 2);
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("a", &["three"])).status, 200);
    assert!(server.stop().success());
    let server = Server::start(dir.path());
    assert_eq!(server.value("SELECT count(*) FROM logs"), 3);
}

#[test]
fn a_stop_says_what_it_drained_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(dir.path());
        assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("a", &["one", "two"])).status, 200);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        let log = server.log();
        assert!(log.contains("\"rows_flushed\":2"), "{log}");
        for line in log.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("the log is JSON where stderr is no terminal");
        }
    }
}

#[test]
fn a_live_tail_does_not_hold_up_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let tail = crate::api::Tail::open(&server, "");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let log = server.log();
    let closed: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("door closed"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(closed.iter().any(|line| line["door"] == "http"), "{log}");
    assert!(closed.iter().all(|line| line["cut"] == 0), "a door waited as long as it may: {log}");
    drop(tail);
}

#[test]
fn a_start_says_how_long_it_took_and_where_to_look_and_to_send() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let log = server.log();
    let ready = log.lines().find(|line| line.contains("\"message\":\"ready\"")).unwrap();
    let ready: serde_json::Value = serde_json::from_str(ready).unwrap();
    assert!(ready["elapsed_ms"].as_u64().unwrap() < 60_000, "{ready}");
    assert!(log.contains("console: http://127.0.0.1:"), "{log}");
    assert!(log.contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:"), "{log}");
}

#[test]
fn doors_can_be_left_shut() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--postgres", "off", "--otlp-grpc", "off"]);
    assert!(server.has_door("http") && server.has_door("otlp-http"));
    assert!(!server.has_door("postgres") && !server.has_door("otlp-grpc"));
}

#[test]
fn a_port_in_use_is_an_error_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = devmesh().args(["serve", "--http", &address, "--data-dir"]).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [address.as_str(), "in use", "--http"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(output.stdout.is_empty());
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was begun");
}

#[test]
fn a_directory_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path());
    let mut second = devmesh();
    second.arg("serve").arg("--data-dir").arg(dir.path().join("data"));
    for door in ["--http", "--otlp-grpc", "--otlp-http", "--postgres"] {
        second.args([door, "127.0.0.1:0"]);
    }
    let output = second.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("in use by another devmesh"), "{text}");
}

#[test]
fn a_server_whose_output_nobody_reads_serves_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = devmesh();
    command.arg("serve").arg("--data-dir").arg(dir.path().join("data")).args(["--http", "127.0.0.1:0"]);
    for door in ["--otlp-grpc", "--otlp-http", "--postgres"] {
        command.args([door, "off"]);
    }
    let log = dir.path().join("log");
    let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    drop(child.stdout.take());
    let url = until("it says where it listens", || {
        let log = std::fs::read_to_string(&log).unwrap();
        Some(log.split_once("console: ")?.1.split_once('"')?.0.to_owned())
    });
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    until("the server answers", || agent.get(format!("{url}health")).call().ok());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.post_json("otlp-http", "/v1/logs", &logs("a", &["kept"]));
    // A request whose body does not come holds up the stop.
    let mut held = TcpStream::connect(server.door("http")).unwrap();
    held.write_all(b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n").unwrap();
    held.write_all(b"expect: 100-continue\r\ncontent-length: 99\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    held.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    // The stop would wait ten seconds for the request, and end with 0.
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log().contains("second signal"), "{}", server.log());
    assert_eq!(Server::start(dir.path()).value("SELECT body FROM logs"), "kept");
}

#[test]
fn without_file_descriptors_the_server_waits_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(dir.path(), 64, &[]);
    let silent: Vec<TcpStream> = (0..64).filter_map(|_| TcpStream::connect(server.door("http")).ok()).collect();
    until("it runs out", || server.log().contains("cannot accept a connection").then_some(()));
    drop(silent);
    until("it accepts again", || TcpStream::connect(server.door("http")).is_ok().then_some(()));
    assert_eq!(server.get("/health").status, 200);
    let sent = server.post_json("otlp-http", "/v1/logs", &logs("a", &["after"]));
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(server.value("SELECT body FROM logs"), "after");
}
