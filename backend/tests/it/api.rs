//! The API besides SQL: lists, tail, health, figures.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, logs, trace, until};

const ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// An open live tail.
pub(crate) struct Tail(BufReader<ureq::BodyReader<'static>>);

impl Tail {
    /// Opens it, and waits until the server has.
    pub(crate) fn open(server: &Server, query: &str) -> Self {
        Self::open_with(server, query, &[])
    }

    pub(crate) fn open_with(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(4 * PATIENCE)).build().into();
        let mut request = agent.get(format!("http://{}/tail/logs?{query}", server.door("http")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(response.into_body().into_reader()))
    }

    /// What the first event `dropped` says.
    pub(crate) fn dropped(&mut self) -> Value {
        let mut line = String::new();
        while line != "event: dropped\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the tail ended");
        }
        self.next()
    }

    pub(crate) fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the tail ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

#[test]
fn health_readiness_and_info() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let health = server.get("/health").json();
    assert_eq!(health["status"], "ok");
    assert!(health["timestamp"].is_string());
    assert_eq!(server.get("/ready").status, 200);
    server.post_json("otlp-http", "/v1/logs", &logs("a", &["one", "two"]));
    let info = server.get("/info").json();
    assert_eq!(
        (&info["name"], &info["tables"][0]["table"], &info["tables"][0]["stored"]),
        (&json!("devmesh"), &json!("logs"), &json!(2))
    );
    assert_eq!(info["doors"].as_array().unwrap().len(), 4);
}

#[test]
fn received_is_stored_and_rejected_and_deduplicated() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let body = logs("a", &["one", "two"]).to_string();
    for _ in 0..2 {
        let headers = [("content-type", "application/json"), ("x-devmesh-batch-id", "b-1")];
        assert_eq!(server.post("otlp-http", "/v1/logs", &headers, body.as_bytes()).status, 200);
    }
    let answer =
        server.post_json("http", "/ingest/logs", &json!({"logs": [{"message": "m"}, {"level": "no message"}]}));
    assert_eq!((answer.json()["accepted"].as_u64(), answer.json()["rejected"].as_u64()), (Some(1), Some(1)));
    let page = server.get("/metrics");
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = page.text();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(value("devmesh_stored_items_total{signal=\"logs\"}"), 3);
    assert_eq!(value("devmesh_deduplicated_items_total{signal=\"logs\"}"), 2);
    let sum: u64 = text
        .lines()
        .filter(|line| {
            ["devmesh_stored_items", "devmesh_deduplicated_items", "devmesh_rejected_items"]
                .iter()
                .any(|name| line.starts_with(name))
                && line.contains("signal=\"logs\"")
        })
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(value("devmesh_received_items_total{signal=\"logs\"}"), sum, "{text}");
    for name in ["devmesh_limit{name=\"body_bytes\"} 16777216", "process_resident_memory_bytes ", "devmesh_wal_bytes "]
    {
        assert!(text.contains(name), "{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let family = line.split(['{', ' ']).next().unwrap();
        assert!(text.contains(&format!("# TYPE {family} ")), "{line} has no TYPE");
    }
}

#[test]
fn logs_by_every_parameter() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let record = |time: &str, service: &str, level: &str, message: &str| {
        json!({"timestamp": time, "service": service, "host": "h1", "level": level, "message": message, "trace_id": ID,
            "meta_json": {"k": "v"}, "error_code": "E1", "event_type": "t"})
    };
    // Records older than the retention are gone at once: the times lie in the last hour.
    let hour_ago = jiff::Timestamp::now().as_second() - 3600;
    let minute = |minutes: i64| jiff::Timestamp::from_second(hour_ago + 60 * minutes).unwrap();
    let body = json!({"logs": [
        record(&minute(0).to_string(), "cart", "ERROR", "Connection refused by 10.0.0.1"),
        record(&minute(1).to_string(), "cart", "INFO", "fine"),
        record(&minute(2).to_string(), "web", "INFO", "connection accepted"),
    ]});
    assert_eq!(server.post_json("http", "/ingest/logs", &body).json()["accepted"], 3);
    let messages = |query: &str| {
        let answer = server.get(&format!("/query/logs?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert!(answer.header("x-elapsed-ms").parse::<f64>().unwrap() > 0.0);
        let rows = answer.json();
        rows.as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (refused, fine, accepted) = ("Connection refused by 10.0.0.1", "fine", "connection accepted");
    for (query, expected) in [
        ("", vec![accepted, fine, refused]),
        ("limit=1", vec![accepted]),
        ("limit=1&offset=1", vec![fine]),
        ("service=cart", vec![fine, refused]),
        ("service=cart&level=error", vec![refused]),
        ("q=CONNECTION", vec![accepted, refused]),
        ("q=connection+refused", vec![refused]),
        ("host=h2", vec![]),
        (&format!("trace_id={}", ID.to_uppercase()), vec![accepted, fine, refused]),
        (&format!("start_time={}", minute(1)), vec![accepted, fine]),
        (&format!("end_time={}", minute(1)), vec![refused]),
        (&format!("start_time={0}&end_time={0}", minute(1)), vec![]),
        (&format!("start_time={}000000000", hour_ago + 60), vec![accepted, fine]),
        ("start_time=now-15m", vec![]),
        ("service=%27;DROP+TABLE+logs;--", vec![]),
    ] {
        assert_eq!(messages(query), expected, "{query}");
    }
    let row = server.get("/query/logs?level=ERROR").json()[0].clone();
    for (column, value) in
        [("source", json!("direct")), ("trace_id", json!(ID)), ("event_type", json!("t")), ("error_code", json!("E1"))]
    {
        assert_eq!(row[column], value, "{row}");
    }
    assert_eq!(row["meta_json"]["k"], "v", "{row}");
    assert_eq!(server.get("/query/logs?limit=1000000").header("x-limit-applied"), "10000");
}

#[test]
fn wrong_parameters_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (path, part) in [
        ("/query/logs?limit=-1", "limit"),
        ("/query/logs?limit=abc", "limit"),
        ("/query/logs?limit=", "limit"),
        ("/query/logs?limit=1&limit=2", "limit"),
        ("/query/logs?offset=-1", "offset"),
        ("/query/logs?servce=a", "servce"),
        ("/query/logs?service=%zz", "service"),
        ("/query/logs?service=%ff", "service"),
        ("/query/logs?start_time=yesterday", "start_time"),
        ("/query/logs?start_time=now&end_time=now-1d", "start_time"),
        ("/query/logs?trace_id=xyz", "trace_id"),
        ("/query/traces?attribute=novalue", "attribute"),
        ("/query/traces?min_duration_ms=-1", "min_duration_ms"),
        ("/query/traces?status=BAD", "status"),
        ("/query/traces/xyz", "trace_id"),
        ("/query/services?x=1", "`x`"),
        ("/tail/logs?limit=1", "limit"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.problem().contains(part), "{path}: {}", answer.problem());
    }
}

#[test]
fn traces_services_and_who_calls_whom() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &trace(ID)).status, 200);
    let mut log = logs("db", &["slow"]);
    log["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] = ID.into();
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &log).status, 200);
    let found = server.get("/query/traces?service=db&status=error&min_duration_ms=4.5").json();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["trace_id"]), (1, &json!(ID)), "{found}");
    assert_eq!(server.get("/query/traces?service=db&min_duration_ms=6").json(), json!([]));
    let one = server.get(&format!("/query/traces/{ID}")).json();
    assert_eq!(one["span_count"], 3, "{one}");
    let spans = one["spans"].as_array().unwrap();
    assert_eq!(spans[0]["children"], json!(["00000000000000a2"]), "{one}");
    assert_eq!(spans[2]["depth"], 2);
    assert!(!one["critical_path"].as_array().unwrap().is_empty());
    assert_eq!(one["logs"][0]["message"], "slow");
    assert!(one["elapsed_ms"].as_f64().unwrap() > 0.0);
    let missing = server.get("/query/traces/11111111111111111111111111111111");
    assert_eq!(missing.status, 404);
    missing.problem();
    let services = server.get("/query/services?start_time=now-1h").json();
    let names: Vec<&str> = services.as_array().unwrap().iter().map(|s| s["service"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "web"], "{services}");
    let map = server.get("/query/service-map").json();
    assert_eq!((&map["edges"][0]["client"], &map["edges"][0]["server"]), (&json!("web"), &json!("db")), "{map}");
    assert_eq!(map["edges"][0]["errors"], 1);
}

#[test]
fn a_tail_shows_what_it_is_asked_for_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut tail = Tail::open(&server, "service=cart&level=error&q=REFUSED+connection");
    server.post_json("otlp-http", "/v1/logs", &logs("web", &["connection refused"]));
    server.post_json("otlp-http", "/v1/logs", &logs("cart", &["fine", "connection refused again"]));
    let record = tail.next();
    assert_eq!(record["message"], "connection refused again");
    assert_eq!(
        (&record["service"], &record["level"], &record["source"]),
        (&json!("cart"), &json!("ERROR"), &json!("otlp"))
    );
    assert_eq!(record["meta_json"]["http.route"], "/cart");
    drop(tail);
    // The server notices a client that left when it writes to it.
    until("the place is given back", || {
        server.post_json("otlp-http", "/v1/logs", &logs("cart", &["connection refused"]));
        server.get("/metrics").text().contains("devmesh_tails 0").then_some(())
    });
}

#[test]
fn a_record_in_a_tail_is_the_row_of_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut tail = Tail::open(&server, "");
    let odd = json!({"logs": [{
        "timestamp": "2026-01-02T03:04:05.000000006Z", "service": "odd \u{1}\u{2028}\"", "host": "h", "level": "WARN",
        "message": "söme\n\ttext \u{7f}", "event_type": "boot", "error_code": "E1", "meta_json": {"a\"b": {"c": [1, null]}},
        "trace_id": ID, "span_id": "00f067aa0ba902b7",
    }]});
    server.post_json("http", "/ingest/logs", &odd);
    server.post_json("otlp-http", "/v1/logs", &logs("", &["no service"]));
    let bare = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]});
    server.post_json("otlp-http", "/v1/logs", &bare);
    let mut shown: Vec<Value> = (0..3).map(|_| tail.next()).collect();
    for event in &mut shown {
        assert!(event.as_object_mut().unwrap().remove("resource_attributes").is_some(), "{event}");
    }
    let listed = server.get("/query/logs").json();
    for row in listed.as_array().unwrap() {
        let same = shown.iter().find(|event| event["id"] == row["id"]);
        assert_eq!(same, Some(row), "{shown:?}");
    }
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[test]
fn a_tail_too_many_is_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let open: Vec<Tail> = (0..64).map(|_| Tail::open(&server, "")).collect();
    let refused = server.get("/tail/logs");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"));
    assert!(refused.problem().contains("64 tails"));
    drop(open);
}

#[test]
fn the_tables_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let tables = server.get("/query/tables").json();
    let names: Vec<&str> = tables.as_array().unwrap().iter().map(|table| table["name"].as_str().unwrap()).collect();
    for name in ["logs", "spans", "metrics", "log_events", "metric_events", "otel_traces", "services", "service_edges"]
    {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(tables[0]["columns"][0]["name"], "time");
    assert_eq!(tables[0]["columns"][0]["type"], "timestamp");
    assert!(tables[0]["columns"][0]["doc"].as_str().unwrap().contains("happened"));
}

#[test]
fn every_path_of_the_description_is_there_and_the_page_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let description = server.get("/openapi.json").json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let page = server.get("/docs");
    assert!(page.header("content-type").starts_with("text/html"));
    for (path, methods) in description["paths"].as_object().unwrap() {
        assert!(page.text().contains(path.as_str()), "{path}");
        for method in methods.as_object().unwrap().keys() {
            if path == "/tail/logs" {
                continue;
            }
            let names_one = path.contains('{');
            let path = path.replace("{trace_id}", ID).replace("{id}", ID);
            let answer = match method.as_str() {
                "get" => server.get(&path),
                "delete" => server.delete(&path),
                _ => server.post("http", &path, &[("content-type", "application/json")], b"{}"),
            };
            let known = answer.status != 405 && (answer.status != 404 || names_one);
            assert!(known, "{method} {path}: {}", answer.status);
        }
    }
    assert!(!page.text().contains("<script"), "the page needs none");
}
