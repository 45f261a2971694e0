//! A window explained through the doors: a fault named, with evidence that holds; a healthy window left alone.

use std::process::Output;

use serde_json::{Value, json};

use crate::server::{Server, devmesh};

/// 2026-03-01T10:00:00Z, where the baseline starts; the window starts 20 minutes later and is 4 minutes long.
const START: u64 = 1_772_359_200_000_000_000;
const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

pub(crate) fn window() -> Value {
    json!({
        "start_time": (START + 1200 * SECOND).to_string(), "end_time": (START + 1440 * SECOND).to_string(),
        "baseline": {"start_time": START.to_string(), "end_time": (START + 1200 * SECOND).to_string()},
    })
}

/// One request: `web` calls `cart`, which asks `stock`; each has what it takes itself. `cart` logs a line.
fn request(number: u64, at: u64, own: [u64; 3], line: (&str, u8)) -> (Value, Value) {
    let trace = format!("{:032x}", number + 1);
    let id = |span: u64| format!("{:016x}", (number + 1) * 8 + span);
    let resource = |service: &str| json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let span = |service: &str, name: &str, span: u64, parent: Option<u64>, from: u64, length: u64| {
        json!({"resource": resource(service), "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": id(span), "parentSpanId": parent.map(id), "name": name, "kind": 2,
            "startTimeUnixNano": from.to_string(), "endTimeUnixNano": (from + length).to_string(),
        }]}]})
    };
    let [web, cart, stock] = own;
    let spans = json!([
        span("web", "GET /cart", 1, None, at, web + cart + stock),
        span("cart", "Load", 2, Some(1), at + web / 2, cart + stock),
        span("stock", "Look", 3, Some(2), at + web / 2 + cart / 2, stock),
    ]);
    let record = json!({
        "timeUnixNano": (at + web).to_string(), "severityNumber": line.1, "body": {"stringValue": line.0},
        "traceId": trace, "spanId": id(2),
    });
    (spans, json!({"resource": resource("cart"), "scopeLogs": [{"logRecords": [record]}]}))
}

/// 24 minutes of requests, one every two seconds; `fault` says what they take and say from the window's start on.
pub(crate) fn send(server: &Server, fault: impl Fn(u64) -> ([u64; 3], &'static str, u8)) {
    let (mut spans, mut logs) = (Vec::new(), Vec::new());
    for number in 0..720 {
        let jitter = (number * 7919) % 900 * 1000;
        let ordinary = ([2 * MILLI + jitter, 3 * MILLI + jitter, MILLI], "basket loaded", 9);
        let (own, line, level) = if number >= 600 { fault(number) } else { ordinary };
        let (span, log) = request(number, START + number * 2 * SECOND, own, (line, level));
        spans.extend(span.as_array().unwrap().clone());
        logs.push(log);
    }
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &json!({ "resourceSpans": spans })).status, 200);
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &json!({ "resourceLogs": logs })).status, 200);
}

fn explain(server: &Server) -> Value {
    let answer = server.post_json("http", "/explain/incident", &window());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn verify(server: &Server, dir: &tempfile::TempDir, explanation: &Value) -> Output {
    let file = dir.path().join("explanation.json");
    std::fs::write(&file, explanation.to_string()).unwrap();
    let url = format!("http://{}", server.door("http"));
    devmesh().arg("verify").arg(&file).args(["--url", &url]).output().unwrap()
}

fn out(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_fault_of_one_service_is_named_with_evidence_that_holds() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    send(&server, |number| ([2 * MILLI, 3 * MILLI, (80 + number % 9) * MILLI], "basket loaded", 9));
    let explanation = explain(&server);
    assert_eq!(explanation["verdict"], "incident", "{explanation}");
    let first = &explanation["suspects"][0];
    assert_eq!(
        (&first["service"], &first["kind"], &first["component"]),
        (&json!("stock"), &json!("self_time"), &json!("Look"))
    );
    assert!(first["confidence"].as_f64().unwrap() > 0.6, "{first}");
    assert_eq!(explanation["narrator"], "none");
    assert!(explanation["summary"].as_str().unwrap().contains("stock"), "{explanation}");
    let proof = &explanation["evidence"][0];
    assert_eq!((&proof["id"], &proof["signal"], &proof["service"]), (&json!("e1"), &json!("trace"), &json!("stock")));
    let spans = format!("SELECT count(*) FROM spans WHERE trace_id = '{}'", proof["trace_id"].as_str().unwrap());
    assert_eq!(server.value(&spans), 3, "the trace that is cited is there");
    let held = verify(&server, &dir, &explanation);
    assert!(held.status.success() && out(&held).contains("e1 ok"), "{}", out(&held));

    let mut forged = explanation.clone();
    forged["evidence"][0]["rows"][0][0] = json!(4711);
    let refused = verify(&server, &dir, &forged);
    assert_eq!(refused.status.code(), Some(1), "{}", out(&refused));
    assert!(out(&refused).contains("e1 MISMATCH"), "{}", out(&refused));
    let mut forged = explanation;
    forged["evidence"][0]["trace_id"] = json!("00000000000000000000000000000000");
    forged["suspects"][0]["evidence"] = json!(["e99"]);
    let refused = verify(&server, &dir, &forged);
    assert!(out(&refused).contains("e1 MISMATCH") && out(&refused).contains("\"e99\" MISMATCH"), "{}", out(&refused));
}

#[test]
fn logs_that_change_name_their_service_and_are_cited() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    send(&server, |_| ([2 * MILLI, 3 * MILLI, MILLI], "basket cannot be read: no such key", 17));
    let explanation = explain(&server);
    assert_eq!(explanation["verdict"], "incident", "{explanation}");
    assert_eq!(explanation["suspects"][0]["service"], "cart", "{explanation}");
    let evidence = explanation["evidence"].as_array().unwrap();
    assert!(evidence.iter().any(|proof| proof["body"] == "basket cannot be read: no such key"), "{explanation}");
    assert!(evidence.iter().any(|proof| proof["body"] == "basket loaded"), "{explanation}");
    let held = verify(&server, &dir, &explanation);
    assert!(held.status.success(), "{}", out(&held));
    let url = format!("http://{}", server.door("http"));
    let shown = devmesh()
        .args(["explain", "--url", &url, "--start", "2026-03-01T10:20:00Z", "--end", "2026-03-01T10:24:00Z"])
        .output()
        .unwrap();
    assert!(shown.status.success() && out(&shown).starts_with("incident: cart is"), "{}", out(&shown));
}

#[test]
fn what_a_fault_injector_says_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let line = "Error: Cart Fail Feature Flag Enabled";
    send(&server, |number| {
        let jitter = (number * 7919) % 900 * 1000;
        ([2 * MILLI + jitter, 3 * MILLI + jitter, MILLI], if number % 2 == 0 { line } else { "basket loaded" }, 17)
    });
    let explanation = explain(&server);
    assert!(!explanation.to_string().contains("Feature Flag"), "{explanation}");
}

#[test]
fn a_healthy_window_is_no_incident_and_an_empty_one_says_that_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let empty = explain(&server);
    assert_eq!((&empty["verdict"], &empty["suspects"]), (&json!("inconclusive"), &json!([])));
    assert!(empty["summary"].as_str().unwrap().contains("no telemetry in the window"), "{empty}");
    send(&server, |number| {
        let jitter = (number * 7919) % 900 * 1000;
        ([2 * MILLI + jitter, 3 * MILLI + jitter, MILLI], "basket loaded", 9)
    });
    let explanation = explain(&server);
    assert_eq!(explanation["verdict"], "no_incident", "{explanation}");
    assert_eq!((&explanation["suspects"], &explanation["evidence"]), (&json!([]), &json!([])));
}

#[test]
fn wrong_questions_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (body, part) in [
        (json!({"end_time": "now"}), "start_time"),
        (json!({"start_time": "now-2d", "end_time": "now"}), "24 hours"),
        (
            json!({"start_time": "now-1h", "end_time": "now", "baseline": {"start_time": "now-2h", "end_time": "now"}}),
            "baseline",
        ),
    ] {
        let answer = server.post_json("http", "/explain/incident", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.problem().contains(part), "{body}: {}", answer.text());
    }
    assert_eq!(server.post("http", "/explain/incident", &[], b"{}").status, 415);
    let file = dir.path().join("x.json");
    std::fs::write(&file, "{}").unwrap();
    let refused = devmesh().arg("verify").arg(&file).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
    let refused = devmesh().args(["explain", "--last", "soon"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
}
