//! Patterns at the program's doors: ids in logs, the list, the comparison, and what a kill leaves of them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::server::{Server, until};

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Sends bodies of a service, each with its time in seconds since the epoch.
fn send(server: &Server, service: &str, bodies: &[(u64, String)]) {
    let record =
        |(at, body): &(u64, String)| json!({"timeUnixNano": format!("{at}000000000"), "body": {"stringValue": body}});
    for bodies in bodies.chunks(500) {
        let records: Vec<Value> = bodies.iter().map(record).collect();
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
        let request = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
        assert_eq!(server.post_json("otlp-http", "/v1/logs", &request).status, 200);
    }
}

fn sql(server: &Server, sql: &str) -> Vec<Vec<Value>> {
    let answer = server.post_json("http", "/query/sql", &json!({ "sql": sql }));
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    serde_json::from_value(answer.json()["rows"].clone()).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|pattern| pattern["template"].as_str().unwrap()).collect()
}

#[test]
fn a_log_leads_to_its_pattern_and_the_pattern_to_its_logs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let at = now() - 60;
    let bodies = |service: &str| (0..40).map(|n| (at + n % 10, format!("{service} took {n} ms"))).collect::<Vec<_>>();
    send(&server, "cart", &bodies("checkout"));
    send(&server, "shop", &bodies("delivery"));
    send(&server, "shop", &bodies("checkout"));
    let ids = sql(&server, "SELECT DISTINCT pattern_id FROM logs WHERE body LIKE 'checkout%'");
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids[0][0].as_str().unwrap().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{id}");
    let found = server.get(&format!("/query/logs?pattern_id={id}&limit=1000")).json();
    assert_eq!(found.as_array().unwrap().len(), 80);
    assert!(found.as_array().unwrap().iter().all(|log| log["message"].as_str().unwrap().starts_with("checkout took ")));
    assert_eq!(server.get("/query/logs?pattern_id=0123456789abcdef").json(), json!([]));
    let row = "SELECT template, services, level, count FROM log_patterns WHERE pattern_id = ";
    let rows = sql(&server, &format!("{row}'{id}'"));
    assert_eq!(rows, [[json!("checkout took <*> ms"), json!(["cart", "shop"]), json!("INFO"), json!(80)]]);
    let list = server.get("/query/patterns?service=shop&limit=10").json();
    let patterns = list["patterns"].as_array().unwrap();
    assert_eq!(patterns.len(), 2, "{list}");
    assert!(patterns.iter().all(|pattern| pattern["count"] == 40 && pattern["services"] == json!(["shop"])), "{list}");
    assert!(list["elapsed_ms"].is_number());
    let joined = "SELECT count(*) FROM logs JOIN log_patterns USING (pattern_id)";
    assert_eq!(sql(&server, joined), [[json!(120)]]);
}

#[test]
fn a_comparison_tells_what_is_new_gone_more_and_fewer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // The hour before the last ten minutes, and those ten minutes.
    let middle = now() - 660;
    let (before, after) = (middle - 3600, middle + 600);
    let mut bodies = Vec::new();
    for second in 0..3600 {
        bodies.push((before + second, format!("heartbeat {second} received")));
        bodies.extend((second % 10 == 0).then(|| (before + second, format!("cache miss for key {second}"))));
        bodies.extend((second % 20 == 0).then(|| (before + second, format!("old job {second} finished"))));
        bodies.extend((second % 5 == 0).then(|| (before + second, format!("polled queue {second} times"))));
    }
    for second in 0..600 {
        bodies.push((middle + second, format!("heartbeat {second} received")));
        bodies.extend((0..2).map(|n| (middle + second, format!("cache miss for key {second}{n}"))));
        bodies.extend((second % 200 == 0).then(|| (middle + second, format!("pool of {second} exhausted"))));
        bodies.extend((second % 60 == 0).then(|| (middle + second, format!("polled queue {second} times"))));
    }
    send(&server, "cart", &bodies);
    send(&server, "other", &[(middle + 5, "something else entirely".to_owned())]);
    let path = |more: &str| {
        format!(
            "/query/patterns?start_time={middle}000000000&end_time={after}000000000&compare_start={before}000000000{more}"
        )
    };
    let answer = server.get(&path("&service=cart"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = answer.json();
    assert_eq!(texts(&all["new"]), ["pool of <*> exhausted"], "{all}");
    assert_eq!(texts(&all["gone"]), ["old job <*> finished"], "{all}");
    assert_eq!(texts(&all["more"]), ["cache miss for key <*>"], "{all}");
    assert_eq!(texts(&all["fewer"]), ["polled queue <*> times"], "{all}");
    assert_eq!(all["same"], 1, "{all}");
    let more = &all["more"][0];
    assert_eq!((&more["count"], &more["compare_count"]), (&json!(1200), &json!(360)));
    assert!((more["rate"].as_f64().unwrap() - 2.0).abs() < 1e-9 && more["score"].as_f64().unwrap() > 3.29, "{more}");
    let everywhere = server.get(&path("")).json();
    assert_eq!(everywhere["new"].as_array().unwrap().len(), 2, "{everywhere}");
    for (query, part) in [
        ("compare_start=now-1h", "start_time"),
        ("start_time=now-1h&compare_end=now-2h", "compare_start"),
        ("start_time=now-1h&compare_start=now-2h&compare_end=now-2h", "compare_start"),
        ("start_time=now-1h&end_time=now-1h&compare_start=now-2h", "start_time"),
        ("compare=now-1h", "compare"),
    ] {
        let answer = server.get(&format!("/query/patterns?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.problem().contains(part), "{query}: {}", answer.problem());
    }
}

#[test]
fn patterns_survive_a_kill_with_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let at = now() - 60;
    let names = ["ann", "bob", "eve", "joe", "kim", "lea", "max", "zoe"];
    let bodies: Vec<_> = (0..400_u64)
        .map(|n| (at + n % 50, format!("session {n} opened for user {} by (uid=0)", names[(n % 8) as usize])))
        .collect();
    send(&server, "login", &bodies);
    // Users turn out to vary: all of it is one pattern.
    let ids = || sql(&server, "SELECT DISTINCT pattern_id FROM logs");
    until("all of it is one pattern", || (ids().len() == 1).then_some(()));
    let id = ids()[0][0].as_str().unwrap().to_owned();
    // It is written down within seconds.
    let saved = dir.path().join("data/TEMPLATES");
    until("what is known is written down", || saved.exists().then_some(()));
    server.kill();
    let server = Server::start(dir.path());
    let rows = sql(&server, "SELECT pattern_id, template, count FROM log_patterns");
    assert_eq!(rows, [[json!(id), json!("session <*> opened for user <*> by (uid=<*>)"), json!(400)]]);
    server.kill();
    // Without it they are found again from the log.
    std::fs::remove_file(&saved).unwrap();
    let server = Server::start(dir.path());
    let one = || (sql(&server, "SELECT DISTINCT pattern_id FROM logs") == [[json!(id)]]).then_some(());
    until("the log leads to the same pattern", one);
}

#[test]
fn without_templates_bodies_have_no_patterns_and_come_back_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = std::fs::File::create(dir.path().join("devmesh.toml")).unwrap();
    std::io::Write::write_all(&mut settings, b"[logs]\ntemplates = false\n").unwrap();
    let file = dir.path().join("devmesh.toml");
    let server = Server::start_with(dir.path(), &["--config", file.to_str().unwrap()]);
    send(&server, "cart", &[(now() - 5, "checkout took 7 ms".to_owned())]);
    assert_eq!(sql(&server, "SELECT body, pattern_id FROM logs"), [[json!("checkout took 7 ms"), Value::Null]]);
    assert_eq!(sql(&server, "SELECT count(*) FROM log_patterns"), [[json!(0)]]);
    assert_eq!(server.get("/query/patterns").json()["patterns"], json!([]));
}
