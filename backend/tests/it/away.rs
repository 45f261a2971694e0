//! A server whose database is away: it starts, takes data in, and says why it answers no query.

use std::net::TcpListener;

use crate::server::{Server, logs, until};

/// An address where nobody listens.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn data_is_taken_in_and_queries_say_why_they_fail() {
    for scheme in ["mariadb", "clickhouse"] {
        let dir = tempfile::tempdir().unwrap();
        let store = format!("{scheme}://devmesh:hunter2@127.0.0.1:{}/devmesh", nobody());
        let server = Server::start_with(dir.path(), &["--store", &store]);
        let ready = server.get("/ready");
        assert_eq!(ready.status, 503, "{}", ready.text());
        assert!(!ready.json()["reasons"][0].as_str().unwrap().is_empty());
        assert_eq!(server.get("/health").status, 200);
        for n in 0..3 {
            let answer = server.post_json("otlp-http", "/v1/logs", &logs("shop", &[&format!("number {n}")]));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let body = br#"{"sql":"SELECT count(*) FROM logs"}"#;
        let answer = server.post("http", "/query/sql", &[("content-type", "application/json")], body);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        let problem = answer.problem();
        let metrics = server.get("/metrics").text();
        for line in ["devmesh_database_up 0", "devmesh_stored_items_total{signal=\"logs\"} 3"] {
            assert!(metrics.contains(line), "{metrics}");
        }
        let info = server.get("/info").text();
        let log = server.log();
        assert!(!format!("{problem} {info} {log} {}", ready.text()).contains("hunter2"), "{problem} {info} {log}");
        server.kill();
        // What was acknowledged waits for the database.
        let server = Server::start_with(dir.path(), &["--store", &store]);
        until("the log is replayed", || server.get("/metrics").text().contains("wal_replayed_total 3").then_some(()));
        assert!(server.stop().success());
    }
}

#[test]
fn a_password_is_not_printed_with_the_settings() {
    let printed = crate::server::devmesh()
        .arg("config")
        .env("DB_HOST", "db.example")
        .env("DB_PASSWORD", "hunter2")
        .env("DB_USER", "root")
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("mariadb://root:***@db.example/devmesh") && !text.contains("hunter2"), "{text}");
}
