//! The graph at the program's doors: what telemetry makes of it, what is asked of it, and what a restart and a kill leave of it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server::{Server, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// Sends one span of a service on a host. Kind 2 is SERVER, 3 CLIENT.
fn span(server: &Server, at: u64, service: &str, kind: u8, (id, parent): (u8, u8), pairs: &[(&str, &str)]) {
    let span = json!({
        "traceId": TRACE,
        "spanId": format!("{id:016x}"),
        "parentSpanId": if parent == 0 { String::new() } else { format!("{parent:016x}") },
        "name": "work",
        "kind": kind,
        "startTimeUnixNano": format!("{at}000000000"),
        "endTimeUnixNano": format!("{at}020000000"),
        "attributes": attributes(pairs),
    });
    let resource = attributes(&[("service.name", service), ("host.name", &format!("{service}-host"))]);
    let request = json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"spans": [span]}]}]});
    let answer = server.post_json("otlp-http", "/v1/traces", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A call through three services, the last of which asks a database and fails.
fn shop(server: &Server, at: u64) {
    span(
        server,
        at,
        "cart",
        2,
        (3, 2),
        &[
            ("http.request.method", "GET"),
            ("http.route", "/cart/{id}"),
            ("error.type", "Timeout"),
            ("http.response.status_code", "500"),
        ],
    );
    span(server, at, "frontend", 2, (1, 0), &[]);
    span(server, at, "frontend", 3, (2, 1), &[]);
    span(server, at, "cart", 3, (4, 3), &[("db.system.name", "redis")]);
}

fn ids(nodes: &Value) -> Vec<&str> {
    nodes.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect()
}

fn services(server: &Server) -> Vec<String> {
    let answer = server.get("/graph/nodes?type=service").json();
    ids(&answer["nodes"]).into_iter().map(str::to_owned).collect()
}

/// Waits until all that [`shop`] shows is there.
fn shown(server: &Server) {
    let wanted = ["service:cart", "service:frontend", "service:redis", "service:user"];
    until("the services are in the graph", || (services(server) == wanted).then_some(()));
}

#[test]
fn telemetry_becomes_nodes_their_neighbours_and_the_paths_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let at = now() - 60;
    shop(&server, at);
    shown(&server);
    let answer = server.get("/graph/neighbors/service:cart?depth=1");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let around = answer.json();
    let wanted = [
        "service:cart",
        "error:cart/Timeout",
        "node:host/cart-host",
        "operation:cart/GET /cart/{id}",
        "service:frontend",
        "service:redis",
    ];
    assert_eq!(ids(&around["nodes"]), wanted);
    let cart = &around["nodes"][0];
    assert_eq!((&cart["type"], &cart["name"], &cart["distance"]), (&json!("Service"), &json!("cart"), &json!(0)));
    assert_eq!((&cart["count"], &cart["errors"], &cart["mean_ms"]), (&json!(1), &json!(1), &json!(20.0)));
    assert_eq!(around["truncated"], false);
    assert!(around["elapsed_ms"].is_number());
    let edges = around["edges"].as_array().unwrap();
    let edge = |from: &str, to: &str| edges.iter().find(|edge| edge["from"] == from && edge["to"] == to).unwrap();
    assert_eq!(edge("service:frontend", "service:cart")["type"], "CALLS");
    assert_eq!(edge("service:frontend", "service:cart")["errors"], 1);
    assert_eq!(edge("service:cart", "service:redis")["properties"]["connection_type"], "database");
    assert_eq!(edge("service:cart", "node:host/cart-host")["type"], "RUNS_ON");
    assert_eq!(edge("operation:cart/GET /cart/{id}", "error:cart/Timeout")["type"], "EMITS");
    // An id is found as it stands in an address, too, and without a type it is a service's.
    let operation = server.get("/graph/neighbors/operation:cart%2FGET%20%2Fcart%2F%7Bid%7D").json();
    assert_eq!(operation["nodes"][0]["id"], "operation:cart/GET /cart/{id}");
    assert_eq!(server.get("/graph/neighbors/cart").json()["id"], "service:cart");
    let path = server.get("/graph/path?from=service:user&to=redis").json();
    assert_eq!((&path["found"], &path["directed"], &path["length"]), (&json!(true), &json!(true), &json!(3)));
    assert_eq!(ids(&path["nodes"]), ["service:user", "service:frontend", "service:cart", "service:redis"]);
    let back = server.get("/graph/path?from=redis&to=user").json();
    assert_eq!((&back["found"], &back["directed"]), (&json!(true), &json!(false)));
    // Before it, there was nothing.
    let before = format!("end_time={}000000000", at - 10);
    assert_eq!(server.get(&format!("/graph/nodes?{before}")).json()["nodes"], json!([]));
    let alone = server.get(&format!("/graph/neighbors/cart?{before}")).json();
    assert_eq!(ids(&alone["nodes"]), ["service:cart"]);
    assert_eq!(server.get(&format!("/graph/path?from=user&to=redis&{before}")).json()["found"], false);
}

#[test]
fn wrong_questions_to_the_graph_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    shop(&server, now() - 60);
    shown(&server);
    for (path, status, part) in [
        ("/graph/nodes?type=Sevice", 400, "Service"),
        ("/graph/nodes?limit=0", 400, "limit"),
        ("/graph/nodes?kind=Service", 400, "kind"),
        ("/graph/nodes?start_time=now&end_time=now-1h", 400, "start_time"),
        ("/graph/neighbors/service:none", 404, "service:none"),
        ("/graph/neighbors/cart?depth=0", 400, "depth"),
        ("/graph/neighbors/cart?depth=11", 400, "depth"),
        ("/graph/neighbors/%00", 404, "node"),
        ("/graph/path?from=cart", 400, "to"),
        ("/graph/path?from=cart&to=nobody", 404, "nobody"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.problem().contains(part), "{path}: {}", answer.problem());
    }
    assert_eq!(server.get("/graph/nodes?limit=1").json()["truncated"], true);
}

#[test]
fn the_graph_outlives_a_stop_and_is_made_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    shop(&server, now() - 60);
    shown(&server);
    let asked = |server: &Server| {
        let mut around = server.get("/graph/neighbors/cart?depth=3").json();
        around.as_object_mut().unwrap().remove("elapsed_ms");
        around
    };
    let before = asked(&server);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let server = Server::start(dir.path());
    shown(&server);
    assert_eq!(asked(&server), before, "as it was, and nothing counted twice");
    // What is not kept is made of the rows: nothing but the data is left here.
    server.kill();
    std::fs::remove_dir_all(dir.path().join("data/graph")).unwrap();
    let server = Server::start(dir.path());
    shown(&server);
    until("all of it is there again", || (asked(&server) == before).then_some(()));
}

#[test]
fn incidents_affect_services_and_logs_show_their_patterns() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    shop(&server, now() - 60);
    let record = |n: u32| json!({"timeUnixNano": format!("{}000000000", now() - 50), "severityNumber": 17, "body": {"stringValue": format!("payment {n} declined")}});
    let records: Vec<Value> = (0..20).map(record).collect();
    let resource = json!({"attributes": attributes(&[("service.name", "cart")])});
    let request = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &request).status, 200);
    let opened = server.post_json("http", "/incidents", &json!({"title": "cart is slow", "services": ["cart"]}));
    let id = opened.json()["id"].as_str().unwrap().to_owned();
    let incident = format!("incident:{id}");
    // Patterns may turn out to be one while they are compared; the graph follows.
    let around = until("incident and pattern are neighbours of the service", || {
        let answer = server.get("/graph/neighbors/cart");
        let around = if answer.status == 200 { answer.json() } else { return None };
        let of = |kind: &str| around["nodes"].as_array().unwrap().iter().find(|node| node["type"] == kind).cloned();
        let (_, pattern) = of("Incident").zip(of("Pattern"))?;
        assert!(pattern["name"].as_str().unwrap().starts_with("payment "), "{pattern}");
        let id = pattern["id"].as_str().unwrap().strip_prefix("pattern:").unwrap();
        let listed = server.value(&format!("SELECT count(*) FROM log_patterns WHERE pattern_id = '{id}'"));
        (listed == json!(1)).then(|| around.clone())
    });
    let edges = around["edges"].as_array().unwrap();
    assert!(edges.iter().any(|edge| edge["from"] == incident.as_str() && edge["type"] == "AFFECTS"), "{around}");
}

#[test]
fn the_graph_is_asked_in_sql() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    shop(&server, now() - 60);
    shown(&server);
    for (sql, wanted) in [
        ("SELECT id FROM graph_nodes('service') ORDER BY id LIMIT 2", json!([["service:cart"], ["service:frontend"]])),
        (
            "SELECT distance, id FROM graph_neighbors('cart', 2) WHERE type = 'Service' ORDER BY distance, id",
            json!([[0, "service:cart"], [1, "service:frontend"], [1, "service:redis"], [2, "service:user"]]),
        ),
        (
            "SELECT step, name FROM graph_path('user', 'redis') ORDER BY step",
            json!([[0, "user"], [1, "frontend"], [2, "cart"], [3, "redis"]]),
        ),
        (
            "SELECT count, errors, mean_ms, properties['connection_type'] FROM graph_edges() \
             WHERE from_id = 'service:cart' AND to_id = 'service:redis' AND type = 'CALLS'",
            json!([[1, 0, 20.0, "database"]]),
        ),
        (
            "SELECT count(*) FROM GRAPH_NODES() n JOIN spans s ON s.service = n.name AND n.type = 'Service'",
            json!([[4]]),
        ),
    ] {
        assert_eq!(server.sql(sql)["rows"], wanted, "{sql}");
    }
    for (sql, part) in [
        ("SELECT * FROM graph_nodes('Servce')", "Servce"),
        ("SELECT * FROM graph_neighbors('nobody')", "nobody"),
        ("SELECT * FROM graph_neighbors('cart', 11)", "depth"),
        ("SELECT * FROM graph_path('cart')", "graph_path("),
    ] {
        let answer = server.post_json("http", "/query/sql", &json!({ "sql": sql }));
        assert_eq!(answer.status, 400, "{sql}: {}", answer.text());
        assert!(answer.problem().contains(part), "{sql}: {}", answer.problem());
    }
}

#[test]
fn a_server_without_a_graph_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devmesh.toml");
    std::fs::write(&file, "[graph]\nenabled = false\n").unwrap();
    let server = Server::start_with(dir.path(), &["--config", file.to_str().unwrap()]);
    let answer = server.get("/graph/nodes");
    assert_eq!(answer.status, 501, "{}", answer.text());
    assert!(answer.problem().contains("graph.enabled"));
}
