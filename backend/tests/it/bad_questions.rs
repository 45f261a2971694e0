//! What strangers ask: rows H1 to H14 of the list of bad input, for the endpoints that there are. Those about many and
//! large answers stand in `heavy_questions`.

use serde_json::json;

use crate::{
    api::Tail,
    server::{Server, logs, until},
};

const ID: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn h1_to_h5_h8_and_h13_bad_parameters_have_their_status_and_are_never_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let long = "a".repeat((10 << 10) + 1);
    let cases: &[(&str, &str, u16)] = &[
        ("H1", "/query/logs?limit=-1", 400),
        ("H1", "/query/logs?limit=abc", 400),
        ("H1", "/query/logs?limit=99999999999999999999", 400),
        ("H1", "/query/logs?limit=10.5", 400),
        ("H1", "/query/logs?limit=", 400),
        ("H1", "/query/logs?limit=1&limit=1", 400),
        ("H1", "/query/logs?limit=1000000000", 200),
        ("H2", "/query/logs?start_time=now&end_time=now-1h", 400),
        ("H2", "/query/logs?start_time=2026-01-01T00:00:00Z&end_time=2026-01-01T00:00:00Z", 200),
        ("H2", "/query/logs?start_time=NaN", 400),
        ("H2", "/query/logs?start_time=+300000-01-01T00:00:00Z", 400),
        ("H3", "/query/logs?q=%zz", 400),
        ("H3", "/query/logs?q=%ff", 400),
        ("H3", "/query/logs?q=%80%80", 400),
        ("H3", "/query/logs?q=a+b", 200),
        ("H4", "/query/logs?lmit=1", 400),
        ("H4", "/query/traces?lmit=1", 400),
        ("H4", "/query/services?lmit=1", 400),
        ("H4", "/query/service-map?lmit=1", 400),
        ("H4", "/tail/logs?lmit=1", 400),
        // Pages are numbers here, not tokens: there is nothing to forge, and one that lies behind the end is empty.
        ("H5", "/query/logs?offset=-1", 400),
        ("H5", "/query/logs?offset=abc", 400),
        ("H5", "/query/logs?offset=1e3", 400),
        ("H5", "/query/logs?offset=1&offset=2", 400),
        ("H5", "/query/logs?offset=99999999999999999999", 400),
        ("H5", "/query/logs?cursor=eyJvZmZzZXQiOjF9", 400),
        ("H5", "/query/logs?page_token=00", 400),
        ("H5", "/query/logs?offset=1000", 200),
        ("H13", "/query/traces/..%2f..%2fetc%2fpasswd", 400),
        ("H13", "/query/traces/%2e%2e%2f", 400),
        ("H13", "/query/traces/%00", 400),
        ("H13", &format!("/query/traces/{ID}"), 404),
        ("H13", &format!("/query/traces/{long}"), 414),
    ];
    for (row, path, status) in cases {
        let answer = server.get(path);
        assert_eq!(answer.status, *status, "{row} {path:.80}: {}", answer.text());
        if *status == 400 {
            assert!(!answer.problem().is_empty(), "{row} {path}");
        }
    }
    let clamped = server.get("/query/logs?limit=1000000000");
    assert_eq!(clamped.header("x-limit-applied"), "10000", "H1");
    let headers = [("origin", "http://evil.example"), ("range", "bytes=0-1"), ("if-none-match", "*")];
    let answer = server.get_with("/query/logs", &headers);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""), "H8");
}

#[test]
fn h6_a_pattern_is_linear_or_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let long = "a".repeat(10_000);
    server.post_json("otlp-http", "/v1/logs", &logs("a", &[&long, &format!("{long}!")]));
    let many = "a".repeat(70_000);
    for (pattern, status) in [
        ("(a+)+$", 200),
        ("(a|a)*b", 200),
        ("(a|aa)+$", 200),
        ("(.*)(.*)(.*)(.*)(.*)[^a]", 200),
        ("a{1000000}", 400),
        ("((a{100}){100}){100}", 400),
        (r"(a)\1", 400),
        ("(?=a)a", 400),
        ("(?<!b)a", 400),
        ("(", 400),
        ("[z-a]", 400),
        (r"\p{Nothing}", 400),
        (many.as_str(), 400),
    ] {
        for condition in ["body ~ '{}'", "regexp_like(body, '{}')", "regexp_replace(body, '{}', 'b') = 'c'"] {
            let sql = format!("SELECT count(*) FROM logs WHERE {}", condition.replace("{}", pattern));
            // An engine that backtracks needs longer than the world lasts, and a query that takes too long is 408.
            let answer = server.post_json("http", "/query/sql", &json!({ "sql": sql }));
            assert!(status == answer.status, "H6 {sql:.80}: {} {:.300}", answer.status, answer.text());
        }
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn h7_and_h14_bad_queries_are_400() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for sql in ["SELECT body FROM logs ORDER BY nothing", r#"SELECT "body; DROP TABLE logs" FROM logs"#] {
        let answer = server.post_json("http", "/query/sql", &json!({ "sql": sql }));
        assert_eq!(answer.status, 400, "H7 {sql}: {}", answer.text());
    }
    for (row, body) in [
        ("H14", json!({})),
        ("H14", json!({"sql": 1})),
        ("H14", json!({"sql": "SELECT 1", "limt": 1})),
        ("H14", json!({"sql": "SELECT 1", "limit": "many"})),
        ("H3", json!({"sql": ""})),
        ("H3", json!({"sql": "SELECT 1 \u{0}"})),
        ("H3", json!({"sql": format!("SELECT '{}'", "x".repeat(65 << 10))})),
    ] {
        let answer = server.post_json("http", "/query/sql", &body);
        assert_eq!(answer.status, 400, "{row} {:.80}: {:.200}", body.to_string(), answer.text());
        assert!(!answer.problem().is_empty(), "{row}");
    }
}

#[test]
fn h11_a_reader_that_is_too_slow_is_told_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut tail = Tail::open(&server, "");
    let text = "x".repeat(200_000);
    let (large, small) = (logs("a", &[text.as_str(); 20]), logs("a", &["small"]));
    // Nobody reads: sockets fill, and then the store's channel.
    let lost = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for batch in std::iter::repeat_n(&large, 10).chain(std::iter::repeat_n(&small, 300)) {
                assert_eq!(server.post_json("otlp-http", "/v1/logs", batch).status, 200);
            }
        });
        sender.join().unwrap();
        tail.dropped()
    });
    assert!(lost["commits"].as_u64().unwrap() > 0, "{lost}");
    until("others are served", || (server.get("/health").status == 200).then_some(()));
}

#[test]
fn h12_a_page_of_another_origin_cannot_follow_the_logs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let own = format!("http://{}", server.door("http"));
    for headers in [
        [("origin", "https://evil.example"), ("accept", "text/event-stream")],
        [("origin", "null"), ("accept", "text/event-stream")],
        [("origin", "http://127.0.0.1:1"), ("accept", "text/event-stream")],
        [("sec-fetch-site", "cross-site"), ("accept", "text/event-stream")],
        [("origin", own.as_str()), ("sec-fetch-site", "same-site")],
    ] {
        let answer = server.get_with("/tail/logs", &headers);
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.problem().contains("origin"), "{headers:?}");
    }
    // A program has no origin, a page of ours has that of the server.
    let mut tail = Tail::open(&server, "");
    let mut page = Tail::open_with(&server, "", &[("origin", &own), ("sec-fetch-site", "same-origin")]);
    server.post_json("otlp-http", "/v1/logs", &logs("a", &["seen"]));
    assert_eq!((&tail.next()["message"], &page.next()["message"]), (&json!("seen"), &json!("seen")));
}
