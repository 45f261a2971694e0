//! The typed answers: logs, traces, services.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Place, TestStore, engine, shop, small};
use devmesh_query::{
    Engine, Error,
    rest::{LogQuery, TimeRange, TraceQuery},
};

use devmesh_schema::{IngestPath, Signal};

const AT: i64 = 1_767_225_600_000_000_000;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn small_engine() -> Engine {
    engine(TestStore::of_requests(&small(), Place::Both).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_newest_first_by_every_filter() {
    let engine = small_engine().await;
    let query = || LogQuery { limit: 100, ..Default::default() };
    let some = |text: &str| Some(text.to_owned());
    for (what, query, expected) in [
        ("all", query(), 8),
        ("service", LogQuery { service: some("payments"), ..query() }, 3),
        ("host", LogQuery { host: some("node-2"), ..query() }, 3),
        ("level", LogQuery { level: some("error"), ..query() }, 2),
        ("warning", LogQuery { level: some("WARNING"), ..query() }, 1),
        ("trace", LogQuery { trace_id: some(&TRACE.to_uppercase()), ..query() }, 2),
        ("words", LogQuery { q: some("connection refused"), ..query() }, 2),
        ("a quote", LogQuery { q: some("it's"), service: some(""), ..query() }, 1),
        ("an injection", LogQuery { service: some("x'; DROP TABLE logs; --"), ..query() }, 0),
        ("another", LogQuery { q: some("') OR true --"), ..query() }, 0),
        ("range", LogQuery { range: TimeRange { start: Some(AT + 1), end: Some(AT + 11_000_000_000) }, ..query() }, 2),
        ("limit", LogQuery { limit: 2, ..query() }, 2),
        ("offset", LogQuery { offset: 7, ..query() }, 1),
    ] {
        let logs = engine.logs(&query).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(logs.len(), expected, "{what}: {logs:?}");
        assert!(logs.is_sorted_by(|a, b| a.timestamp >= b.timestamp), "{what}");
    }
    let logs = engine.logs(&query()).await.unwrap();
    let refused = logs.iter().find(|log| log.error_code.is_some()).unwrap();
    assert_eq!(refused.error_code.as_deref(), Some("E502"));
    assert_eq!(refused.timestamp, "2026-01-01T00:00:01.000000000Z");
    assert_eq!(refused.meta_json.as_ref().unwrap()["user.id"], "user2");
    assert_eq!(engine.logs(&query()).await.unwrap(), logs, "ids are stable");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_found_by_any_span_that_fits() {
    let engine = small_engine().await;
    let query = || TraceQuery { limit: 10, ..Default::default() };
    let some = |text: &str| Some(text.to_owned());
    let attribute = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    for (what, query, expected) in [
        ("all", query(), vec!["5555", "4444", "3333", "1111", "0af7"]),
        ("limit", TraceQuery { limit: 2, ..query() }, vec!["5555", "4444"]),
        ("service", TraceQuery { service: some("payments"), ..query() }, vec!["0af7"]),
        ("operation", TraceQuery { operation: some("nightly"), ..query() }, vec!["4444"]),
        ("status", TraceQuery { status: some("error"), ..query() }, vec!["4444", "0af7"]),
        ("duration", TraceQuery { min_duration_ms: Some(1900.0), ..query() }, vec!["4444", "0af7"]),
        ("attribute", TraceQuery { attributes: attribute("db.system", "postgresql"), ..query() }, vec!["0af7"]),
        ("number", TraceQuery { attributes: attribute("http.response.status_code", "502"), ..query() }, vec!["0af7"]),
        ("quote", TraceQuery { attributes: attribute("a'b", "c'd"), ..query() }, vec![]),
    ] {
        let traces = engine.traces(&query).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let ids: Vec<_> = traces.iter().map(|trace| &trace.trace_id[..4]).collect();
        assert_eq!(ids, expected, "{what}");
    }
    let trace = engine.traces(&TraceQuery { service: some("payments"), ..query() }).await.unwrap().remove(0);
    assert_eq!((trace.root_service.as_str(), trace.root_operation.as_str()), ("storefront", "GET /checkout"));
    assert_eq!((trace.spans, trace.errors, trace.duration_ms), (4, 2, 2000.0));
    assert_eq!(trace.services, ["payments", "storefront"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_its_tree_its_critical_path_and_its_logs() {
    let engine = small_engine().await;
    let trace = engine.trace(TRACE).await.unwrap();
    let spans: Vec<_> = trace.span_list.iter().map(|s| (s.operation.as_str(), s.depth, s.children.len())).collect();
    let expected =
        [("GET /checkout", 0, 1), ("POST payments", 1, 1), ("POST /api/payments", 2, 1), ("INSERT payments", 3, 0)];
    assert_eq!(spans, expected);
    assert_eq!(trace.roots, ["00f067aa0ba902b7"]);
    assert_eq!(trace.critical_path.iter().map(|s| s.duration_ns).sum::<i64>(), 2_000_000_000);
    assert_eq!(trace.logs.len(), 2);
    let payments = &trace.span_list[2];
    assert_eq!(payments.events[0].attributes["exception.type"].as_deref(), Some("ConnectionRefusedError"));
    assert_eq!(payments.links[0].trace_id, "1".repeat(32));
    assert_eq!(payments.attributes["http.response.status_code"].as_deref(), Some("502"));
    let json = serde_json::to_value(&trace).unwrap();
    assert_eq!(json["trace_id"], TRACE);
    assert!(matches!(engine.trace(&"f".repeat(32)).await, Err(Error::NotFound(_))));
    assert!(matches!(engine.trace("x'--").await, Err(Error::BadQuery(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_their_calls_are_counted_in_a_range() {
    let engine = small_engine().await;
    let map = engine.service_map(TimeRange::default()).await.unwrap();
    let edges: Vec<_> =
        map.edges.iter().map(|e| (e.client.as_str(), e.server.as_str(), e.connection_type.as_str(), e.calls)).collect();
    assert_eq!(
        edges,
        [
            ("payments", "postgresql", "database", 1),
            ("storefront", "payments", "", 1),
            ("worker", "mailer", "messaging_system", 1),
        ]
    );
    assert_eq!(map.nodes.len(), 5);
    assert!(map.nodes.iter().all(|node| node.calls_per_second <= node.calls as f64), "{:?}", map.nodes);
    let storefront = map.nodes.iter().find(|node| node.service == "storefront").unwrap();
    assert_eq!((storefront.calls, storefront.errors, storefront.error_rate), (2, 1, 0.5));
    let range = TimeRange { start: Some(AT), end: Some(AT + 10_000_000_000) };
    let services = engine.services(range).await.unwrap();
    assert_eq!(services.iter().map(|s| s.service.as_str()).collect::<Vec<_>>(), ["payments", "storefront"]);
    assert_eq!(services[0].calls_per_second, 0.1);
    let later = TimeRange { start: Some(AT + 60_000_000_000), end: None };
    assert_eq!(engine.service_map(later).await.unwrap().edges.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_over_thousands_of_spans_are_complete() {
    let engine = engine(TestStore::of_requests(&shop(3000), Place::Both).await);
    let all = engine.traces(&TraceQuery { limit: 10_000, ..Default::default() }).await.unwrap();
    assert_eq!(all.iter().map(|trace| trace.spans).sum::<u64>(), 3000);
    assert!(all.is_sorted_by(|a, b| a.start_time >= b.start_time));
    let some = engine.traces(&TraceQuery { limit: 7, ..Default::default() }).await.unwrap();
    assert_eq!(some[..], all[..7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_only_links_to_its_producer_is_an_edge() {
    let span = |trace: &str, id: &str, parent: &str, kind: u8, rest: &str| {
        format!(
            "{{\"traceId\":\"{}\",\"spanId\":\"{}\",\"parentSpanId\":\"{parent}\",\"name\":\"orders\",\"kind\":{kind},\
             \"startTimeUnixNano\":\"{AT}\",\"endTimeUnixNano\":\"{}\"{rest}}}",
            trace.repeat(32),
            id.repeat(16),
            AT + 1_000_000
        )
    };
    let link =
        |trace: &str, id: &str| format!("{{\"traceId\":\"{}\",\"spanId\":\"{}\"}}", trace.repeat(32), id.repeat(16));
    let links = |links: &[String]| format!(",\"links\":[{}]", links.join(","));
    let service = |name: &str, spans: &[String]| {
        format!(
            "{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\"{name}\"}}}}]}},\
             \"scopeSpans\":[{{\"spans\":[{}]}}]}}",
            spans.join(",")
        )
    };
    let checkout =
        service("checkout", &[span("a", "1", "", 4, ""), span("b", "2", "", 4, ""), span("c", "9", "", 3, "")]);
    // One message of two producers; one whose producer is parent and link; one that links to a span that is none.
    let both = links(&[link("a", "1"), link("b", "2")]);
    let accounting = service("accounting", &[span("d", "3", "", 5, &both)]);
    let fraud = service("fraud", &[span("a", "4", &"1".repeat(16), 5, &links(&[link("a", "1")]))]);
    let other = service("other", &[span("e", "5", "", 5, &links(&[link("c", "9")])), span("f", "6", "", 5, "")]);
    let json = format!("{{\"resourceSpans\":[{checkout},{accounting},{fraud},{other}]}}");
    let request = devmesh_schema::otlp::json::to_protobuf(Signal::Traces, json.as_bytes()).unwrap().request.to_vec();
    let engine =
        engine(TestStore::of_requests(&[(Signal::Traces, IngestPath::Collector, request)], Place::Files).await);
    for range in [TimeRange::default(), TimeRange { start: Some(AT), end: Some(AT + 1) }] {
        let map = engine.service_map(range).await.unwrap();
        let edges: Vec<_> = map
            .edges
            .iter()
            .map(|e| (e.client.as_str(), e.server.as_str(), e.connection_type.as_str(), e.calls))
            .collect();
        let expected =
            [("checkout", "accounting", "messaging_system", 2), ("checkout", "fraud", "messaging_system", 1)];
        assert_eq!(edges, expected);
    }
}
