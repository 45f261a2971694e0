//! The program as it is installed: usage, doors, the journal into a server, and its end.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use devmesh_collector::tls::Clients;

use crate::{
    journal::{journal, messages, numbered},
    support::{Certificate, Peer, eventually, logs, now},
};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devmesh-collector"));
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "INGEST_URL", "AGENT_TOKEN", "NODE_NAME", "DEVMESH_CONFIG"] {
        command.env_remove(name);
    }
    command
}

/// Starts it and reads stdout up to `ready`.
fn start(dir: &Path, arguments: &[&str]) -> (Child, Vec<String>) {
    let mut child = command()
        .arg("run")
        .args(arguments)
        .arg("--queue-dir")
        .arg(dir.join("queue"))
        .stdout(Stdio::piped())
        .stderr(Stdio::from(std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap()))
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "ready" {
            break;
        }
        lines.push(line);
    }
    (child, lines)
}

fn terminate(child: &mut Child) -> i32 {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    for (arguments, part) in [
        (&["run"][..], "--to http://HOST:4318"),
        (&["run", "--to", "ftp://h"], "https://HOST:PORT"),
        (&["run", "--to", "http://h:1", "--ca", "/ca.pem"], "forward.ca"),
        (&["run", "--to", "https://h:1", "--cert", "/cert.pem"], "--key"),
        (&["run", "--to", "http://h:1", "--cert", "/cert.pem", "--key", "/key.pem"], "forward.cert"),
        (&["run", "--to", "http://h:1", "--otlp", "0.0.0.0:1"], "--insecure"),
        (&["run", "--to", "http://h:1", "--nonsense"], "--nonsense"),
        (&["run", "--to", "http://h:1", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["run", "--to", "http://h:1", "--config", "/dev/zero"], "/dev/zero"),
        (&[], "Usage"),
    ] {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("a.toml");
    std::fs::write(&config, "[forward]\ntoo = \"http://h:1\"\n").unwrap();
    let output = command().args(["run", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("a.toml:2: there is no setting `forward.too`; the nearest is `forward.to`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_acknowledges_reaches_the_server_through_kills_and_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::any().await;
    for number in 0..6 {
        let (mut child, lines) = start(dir.path(), &["--to", &peer.url(), "--otlp", "127.0.0.1:0"]);
        let address = lines[0].strip_prefix("listening otlp ").unwrap().to_owned();
        let second = command()
            .args(["run", "--to", "http://127.0.0.1:1", "--otlp", "127.0.0.1:0", "--queue-dir"])
            .arg(dir.path().join("queue"))
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&second.stderr).contains("another process uses this directory"));
        post(&address, logs(&[&number.to_string()])).await;
        if number % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            assert_eq!(terminate(&mut child), 0, "{}", std::fs::read_to_string(dir.path().join("log")).unwrap());
        }
    }
    let (mut child, _) = start(dir.path(), &["--to", &peer.url(), "--otlp", "127.0.0.1:0"]);
    eventually("all six", || peer.recorder.bodies().len() == 6).await;
    assert_eq!(terminate(&mut child), 0);
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("remaining=0"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s39_it_shows_its_certificate_to_a_server_that_asks_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let (own, me) = (Certificate::new(dir.path(), "own"), Certificate::new(dir.path(), "me"));
    let clients = Clients { ca: me.cert.clone(), ..Clients::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::start_tls(listener, std::sync::Arc::default(), Some(own.tls_for(clients))).await;
    let url = format!("https://localhost:{}", peer.address.port());
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, cert, key) = (file(&own.cert), file(&me.cert), file(&me.key));
    let arguments = ["--to", &url, "--ca", &ca, "--otlp", "127.0.0.1:0"];
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();

    let (mut child, lines) = start(dir.path(), &arguments);
    post(lines[0].strip_prefix("listening otlp ").unwrap(), logs(&["one"])).await;
    eventually("the server asks", || log().contains("CertificateRequired")).await;
    assert_eq!((terminate(&mut child), peer.recorder.bodies().len()), (0, 0));

    let (mut child, _) = start(dir.path(), &[&arguments[..], &["--cert", &cert, "--key", &key]].concat());
    eventually("it arrives", || peer.recorder.bodies() == ["one"]).await;
    assert_eq!(terminate(&mut child), 0, "{}", log());
}

async fn post(address: &str, request: bytes::Bytes) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        request.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_reaches_the_server_once_and_takes_little_memory() {
    let dir = journal(&numbered(0..5000, now() - 3_600_000_000));
    let peer = Peer::any().await;
    let (url, path) = (peer.url(), dir.path().join("journal").display().to_string());
    let arguments = ["--to", &url, "--journal-directory", &path];
    let (mut child, lines) = start(dir.path(), &arguments);
    assert!(lines.is_empty(), "no door is opened beside the journal: {lines:?}");
    eventually("some batches", || peer.recorder.bodies().len() >= 1000).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, _) = start(dir.path(), &arguments);
    let sorted = || {
        let mut bodies = peer.recorder.bodies();
        bodies.sort_by_key(|body| body.trim_start_matches("message ").parse::<u64>().unwrap());
        bodies
    };
    eventually("all entries", || peer.recorder.bodies().len() >= 5000).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert_eq!(terminate(&mut child), 0);
    assert_eq!(sorted(), messages(0..5000));
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>();
    // The debug build's code alone is some 10 MiB larger than the release build's.
    assert!(rss.unwrap() < 40 << 10, "{status}");
}
