//! Baselines and incidents through the doors. What a server would see over hours is sent with its time stamps at once, to a server
//! that does not look; one that does then finds the hours behind it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::server::{Server, until};

const MINUTE: i64 = 60_000_000_000;
const OFF: [&str; 2] = ["--set", "anomalies.enabled=false"];
const ON: [&str; 2] = ["--set", "anomalies.interval=1s"];

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// Spans of the `at`th minute of a service: some 40, one in 40 fails; where it is broken all of them do, and take long.
fn spans(service: &str, begin: i64, at: i64, broken: bool) -> Value {
    let minute = begin + at * MINUTE;
    let count = 40 + at * 7919 % 11;
    let span = |n: i64| {
        let start = minute + n * (MINUTE / 60);
        // Between 10 and 20 ms.
        let took = (10_000_000 + (at * 31 + n * 7) % 10 * 1_000_000) * if broken { 20 } else { 1 };
        let failed = broken || (at + n) % 40 == 0;
        json!({
            "traceId": format!("{:016x}{n:016x}", minute), "spanId": format!("{:016x}", minute + n),
            "name": "GET /cart", "kind": 2, "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": (start + took).to_string(), "status": {"code": if failed { 2 } else { 1 }},
        })
    };
    json!({
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": (0..count).map(span).collect::<Vec<_>>()}],
    })
}

/// Sends the minutes from `from` to `to` before now; the services are broken in those of `fault`.
fn send(server: &Server, begin: i64, services: &[(&str, std::ops::Range<i64>)], minutes: i64) {
    for first in (0..minutes).step_by(20) {
        let minute = |n: i64| services.iter().map(move |(service, fault)| spans(service, begin, n, fault.contains(&n)));
        let spans: Vec<Value> = (first..(first + 20).min(minutes)).flat_map(minute).collect();
        let answer = server.post_json("otlp-http", "/v1/traces", &json!({"resourceSpans": spans}));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Waits until a server has judged everything up to a time.
fn judged(server: &Server, time: i64) {
    until("everything is judged", || {
        let state = server.get("/anomalies/state").json();
        let until = state["judged_until"].as_str()?.to_owned();
        let sql = format!("SELECT CAST(CAST('{until}' AS TIMESTAMP) AS BIGINT) >= {time}");
        server.value(&sql).as_bool()?.then_some(())
    });
}

#[test]
fn a_broken_service_has_an_incident_that_closes_and_shows_its_evidence_and_a_healthy_one_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let sender = Server::start_with(dir.path(), &OFF);
    let minutes = 180;
    let begin = now() / MINUTE * MINUTE - (minutes + 2) * MINUTE;
    send(&sender, begin, &[("cart", 140..152), ("mail", 0..0)], minutes);
    assert!(sender.stop().success());
    let server = Server::start_with(dir.path(), &ON);
    judged(&server, begin + (minutes - 1) * MINUTE);
    let incidents = server.get("/incidents").json();
    let all = incidents.as_array().unwrap();
    assert_eq!(all.len(), 1, "{incidents}");
    let incident = &all[0];
    assert_eq!((&incident["state"], &incident["services"]), (&json!("closed"), &json!(["cart"])), "{incident}");
    assert!(["major", "critical"].contains(&incident["severity"].as_str().unwrap()), "{incident}");
    // In SQL, by the minute.
    let sql = format!(
        "SELECT (CAST(opened AS BIGINT) - {begin}) / {MINUTE}, (CAST(closed AS BIGINT) - {begin}) / {MINUTE} FROM incidents \
         WHERE state = 'closed' AND array_has(services, 'cart')"
    );
    let times = server.sql(&sql)["rows"].clone();
    let (opened, closed) = (times[0][0].as_i64().unwrap(), times[0][1].as_i64().unwrap());
    assert!((140..=143).contains(&opened), "opened in minute {opened}");
    assert!((151..=160).contains(&closed), "closed in minute {closed}");
    // Each signal shows itself.
    let signals = incident["what"].as_array().unwrap();
    assert!(signals.iter().any(|signal| signal["measure"] == "errors"), "{incident}");
    for signal in signals {
        assert!(signal["score"].as_f64().unwrap() >= 0.5, "{signal}");
        let rows = server.sql(signal["sql"].as_str().unwrap())["rows"].clone();
        assert!(rows.as_array().unwrap().len() > 30, "{signal}: {rows}");
    }
    let id = incident["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/incidents/{id}")).json(), *incident);
    // Baselines and incidents survive a restart; nothing is found twice.
    assert!(server.stop().success());
    let again = Server::start_with(dir.path(), &ON);
    judged(&again, begin + (minutes - 1) * MINUTE);
    assert_eq!(again.get("/incidents").json(), incidents);
    assert!(again.get("/anomalies/state").json()["series"].as_u64().unwrap() >= 6);
}

#[test]
fn a_person_opens_and_closes_an_incident_and_it_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &OFF);
    assert_eq!(server.get("/incidents").json(), json!([]));
    let body = json!({"title": "checkout hangs", "services": ["cart", "pay"], "severity": "critical"});
    let answer = server.post_json("http", "/incidents", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let opened = answer.json();
    assert_eq!((&opened["state"], &opened["by_person"]), (&json!("open"), &json!(true)));
    let id = opened["id"].as_str().unwrap().to_owned();
    server.kill();
    let server = Server::start_with(dir.path(), &OFF);
    let sql = "SELECT id, state, severity, title, array_length(services), closed IS NULL FROM incidents";
    assert_eq!(server.sql(sql)["rows"], json!([[id, "open", "critical", "checkout hangs", 2, true]]));
    assert_eq!(server.get("/incidents?state=open&service=pay").json().as_array().unwrap().len(), 1);
    assert_eq!(server.get("/incidents?state=closed").json(), json!([]));
    let closed = server.post_json("http", &format!("/incidents/{id}/close"), &json!({})).json();
    assert_eq!(closed["state"], "closed");
    assert_eq!(server.get(&format!("/incidents/{id}")).json(), closed);
    for (path, status) in [("/incidents/inc-999999", 404), ("/incidents?state=bad", 400), ("/incidents?since=1", 400)] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    let wrong = server.post_json("http", "/incidents", &json!({"services": ["cart"]}));
    assert_eq!(wrong.status, 400);
    assert!(wrong.problem().contains("title"));
}

#[test]
fn a_metric_is_judged_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &OFF);
    let begin = now() / MINUTE * MINUTE - 400 * MINUTE;
    let point = |n: i64| {
        let value = if (300..306).contains(&n) { 95.0 } else { 20.0 + (n * 7919 % 13) as f64 / 4.0 };
        json!({"timeUnixNano": (begin + n * MINUTE).to_string(), "asDouble": value})
    };
    let metric = |name: &str| json!({"name": name, "gauge": {"dataPoints": (0..400).map(point).collect::<Vec<_>>()}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "db"}}]});
    let scopes = json!([{"metrics": [metric("cpu's load")]}]);
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]});
    assert_eq!(server.post_json("otlp-http", "/v1/metrics", &body).status, 200);
    let answer = server.get("/anomalies?metric=cpu%27s%20load&service=db").json();
    assert_eq!(answer["points"], 400, "{answer}");
    let stretches = answer["stretches"].as_array().unwrap();
    assert_eq!(stretches.len(), 1, "{answer}");
    assert_eq!((&stretches[0]["value"], &stretches[0]["above"]), (&json!(95.0), &json!(true)));
    let opened = stretches[0]["opened"].as_str().unwrap();
    let sql = format!("SELECT (CAST(CAST('{opened}' AS TIMESTAMP) AS BIGINT) - {begin}) / {MINUTE}");
    assert_eq!(server.value(&sql), 300);
    assert_eq!(server.get("/anomalies?metric=nothing").json()["points"], 0);
    assert_eq!(server.get("/anomalies").status, 400);
}
