//! Calls, errors and durations of spans as metrics in PromQL; target_info; exemplars; what formats and parses queries.

use serde_json::{Value, json};

use crate::server::Server;

/// When the spans begin, seconds: eleven minutes into an hour.
const START: u64 = 1_700_000_000 - 120;
/// Ten minutes later, in the same hour.
const END: u64 = START + 600;

fn resource(service: &str) -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"attributes": [attribute("service.name", service), attribute("service.instance.id", "one"),
        attribute("host.name", "node-1")]})
}

/// Every ten seconds four calls of `GET /cart`, of which one fails: 7 ms each, the failed ones 70 ms.
fn spans(service: &str) -> Value {
    let mut spans = Vec::new();
    for n in 0..60_u64 {
        for of in 0..4_u64 {
            let (start, ms) = ((START + n * 10) * 1_000_000_000, if of == 3 { 70 } else { 7 });
            spans.push(json!({"traceId": format!("{:032x}", n + 1), "spanId": format!("{:016x}", n * 4 + of + 1),
                "name": "GET /cart", "kind": 2, "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": (start + ms * 1_000_000).to_string(), "status": {"code": if of == 3 { 2 } else { 0 }}}));
        }
    }
    json!({"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": spans}]}]})
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn served() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &spans("cart")).status, 200);
    (dir, server)
}

fn data(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["data"].clone()
}

fn result(server: &Server, query: &str) -> Value {
    data(server, &format!("/api/v1/query?query={}&time={END}", encode(query)))["result"].clone()
}

/// The one number of an answer.
fn number(server: &Server, query: &str) -> f64 {
    let result = result(server, query);
    result[0]["value"][1].as_str().unwrap_or_else(|| panic!("{query}: {result}")).parse().unwrap()
}

const CALLS: &str = "traces_span_metrics_calls_total";
const DURATION: &str = "traces_span_metrics_duration_milliseconds";

#[test]
fn spans_are_counted_by_service_operation_and_status() {
    let (_dir, server) = served();
    let labels = |status: &str| {
        json!({"__name__": CALLS, "job": "cart", "service_name": "cart", "span_kind": "SPAN_KIND_SERVER",
            "span_name": "GET /cart", "status_code": status})
    };
    let want = json!([{"metric": labels("STATUS_CODE_ERROR"), "value": [END, "60"]},
        {"metric": labels("STATUS_CODE_UNSET"), "value": [END, "180"]}]);
    assert_eq!(result(&server, CALLS), want);
    let error = format!("{CALLS}{{job=\"cart\",status_code=\"STATUS_CODE_ERROR\"}}");
    let ratio = format!("sum(rate({error}[5m])) / sum(rate({CALLS}{{service_name=\"cart\"}}[5m]))");
    for (query, value) in [
        (format!("{CALLS}{{span_name=\"GET /cart\",status_code=\"STATUS_CODE_ERROR\"}}"), 60.0),
        (format!("sum({CALLS} offset 5m)"), 120.0),
        (format!("{DURATION}_count{{status_code=\"STATUS_CODE_UNSET\"}}"), 180.0),
        (format!("{DURATION}_sum{{status_code=\"STATUS_CODE_UNSET\"}}"), 1260.0),
        (format!("sum({DURATION}_bucket{{le=\"6\"}})"), 0.0),
        (format!("sum({DURATION}_bucket{{le=\"8\"}})"), 180.0),
        (format!("sum({DURATION}_bucket{{le=\"100\"}})"), 240.0),
        (format!("sum({DURATION}_bucket{{le=\"+Inf\"}})"), 240.0),
        (format!("histogram_quantile(0.5, sum by (le) (rate({DURATION}_bucket[5m])))"), 6.0 + 2.0 * 2.0 / 3.0),
        (ratio, 0.25),
        (format!("count({CALLS}{{span_kind=\"SPAN_KIND_CLIENT\"}}) or vector(0)"), 0.0),
    ] {
        let got = number(&server, &query);
        assert!((got - value).abs() < 1e-9, "{query}: {got} instead of {value}");
    }
    // Ends of a range are extrapolated, as in Prometheus: 4 calls in 10 s.
    for range in ["1m", "5m", "9m"] {
        let rate = number(&server, &format!("sum(rate({CALLS}[{range}]))"));
        assert!((rate - 0.4).abs() < 0.02, "{range}: {rate}");
    }
}

#[test]
fn counts_of_spans_are_the_same_after_kill_9_and_in_files() {
    let (dir, server) = served();
    let (calls, buckets) = (format!("sum({CALLS})"), format!("sum by (le) ({DURATION}_bucket)"));
    let before = (result(&server, &calls), result(&server, &buckets));
    assert_eq!(before.0[0]["value"][1], "240");
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!((result(&server, &calls), result(&server, &buckets)), before);
    // Stopped in good order, all rows go to files.
    assert!(server.stop().success());
    let server = Server::start(dir.path());
    assert_eq!((result(&server, &calls), result(&server, &buckets)), before);
}

#[test]
fn what_a_collector_counted_itself_is_not_counted_twice() {
    let (_dir, server) = served();
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &spans("legacy")).status, 200);
    let at = (END * 1_000_000_000).to_string();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let point = json!({"timeUnixNano": at, "asInt": "7", "attributes": [text("service.name", "legacy"),
        text("span.name", "GET /cart"), text("span.kind", "SPAN_KIND_SERVER"), text("status.code", "STATUS_CODE_UNSET")]});
    let sent = json!({"resourceMetrics": [{"resource": resource("legacy"), "scopeMetrics": [{"metrics": [
        {"name": "traces.span.metrics.calls", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]}}]}]}]});
    assert_eq!(server.post_json("otlp-http", "/v1/metrics", &sent).status, 200);
    assert_eq!(number(&server, &format!("sum({CALLS}{{service_name=\"legacy\"}})")), 7.0);
    assert_eq!(number(&server, &format!("sum({CALLS}{{service_name=\"cart\"}})")), 240.0);
}

#[test]
fn operations_beyond_the_bound_are_one_series_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let spans: Vec<Value> = (0..1500_u64)
        .map(|n| {
            let start = START * 1_000_000_000 + n;
            json!({"traceId": format!("{:032x}", n + 1), "spanId": format!("{:016x}", n + 1), "name": format!("GET /{n}"),
                "kind": 2, "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1).to_string()})
        })
        .collect();
    let twice =
        json!({"resourceSpans": [{"resource": resource("shop"), "scopeSpans": [{"spans": spans[1498..].to_vec()}]}]});
    let all = json!({"resourceSpans": [{"resource": resource("shop"), "scopeSpans": [{"spans": spans}]}]});
    for request in [&all, &twice] {
        assert_eq!(server.post_json("otlp-http", "/v1/traces", request).status, 200);
    }
    assert_eq!(number(&server, &format!("sum({CALLS})")), 1502.0);
    assert_eq!(number(&server, &format!("count({CALLS})")), 1000.0);
    assert_eq!(number(&server, &format!("{CALLS}{{otel_metric_overflow=\"true\"}}")), 1502.0 - 997.0 - 4.0);
    assert_eq!(number(&server, &format!("{CALLS}{{span_name=\"GET /1499\"}}")), 2.0, "the most called are told apart");
}

#[test]
fn metrics_of_spans_are_listed_and_lead_to_traces() {
    let (_dir, server) = served();
    let range = format!("start={START}&end={END}");
    let names = data(&server, &format!("/api/v1/label/__name__/values?{range}"));
    let [bucket, count, sum] = ["bucket", "count", "sum"].map(|part| format!("{DURATION}_{part}"));
    assert_eq!(names, json!([CALLS, bucket, count, sum]));
    assert_eq!(data(&server, &format!("/api/v1/label/span_name/values?{range}")), json!(["GET /cart"]));
    let metadata = data(&server, &format!("/api/v1/metadata?{range}"));
    assert_eq!((&metadata[CALLS][0]["type"], &metadata[DURATION][0]["type"]), (&json!("counter"), &json!("histogram")));
    let query = encode(&format!(
        "histogram_quantile(0.9, sum by (le) (rate({bucket}{{status_code=\"STATUS_CODE_ERROR\"}}[1m])))"
    ));
    let found = data(&server, &format!("/api/v1/query_exemplars?query={query}&{range}"));
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["seriesLabels"]["le"], "100");
    let exemplars = found[0]["exemplars"].as_array().unwrap();
    assert_eq!(exemplars.len(), 60, "{found}");
    assert_eq!((&exemplars[0]["value"], &exemplars[0]["timestamp"]), (&json!("70"), &json!(START)));
    let trace = exemplars[5]["labels"]["trace_id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/query/traces/{trace}")).status, 200);
    let span = exemplars[5]["labels"]["span_id"].as_str().unwrap();
    let status =
        server.value(&format!("SELECT status_code FROM spans WHERE span_id = '{span}' AND trace_id = '{trace}'"));
    assert_eq!(status, "ERROR");
}

#[test]
fn a_resource_is_target_info_and_info_joins_it() {
    let (_dir, server) = served();
    let at = (END * 1_000_000_000 - 30_000_000_000).to_string();
    let gauge = json!({"name": "load", "gauge": {"dataPoints": [{"timeUnixNano": at, "asDouble": 0.5}]}});
    let bucket = json!({"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [{
        "timeUnixNano": at, "count": "3", "sum": 1.0, "explicitBounds": [0.1, 0.5], "bucketCounts": ["1", "1", "1"],
        "exemplars": [{"timeUnixNano": at, "asDouble": 0.3, "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": "b7ad6b7169203331", "filteredAttributes": [{"key": "user.id", "value": {"stringValue": "u1"}}]}]}]}});
    let sent =
        json!({"resourceMetrics": [{"resource": resource("cart"), "scopeMetrics": [{"metrics": [gauge, bucket]}]}]});
    assert_eq!(server.post_json("http", "/api/v1/otlp/v1/metrics", &sent).status, 200);
    let own = json!({"__name__": "target_info", "host_name": "node-1", "instance": "one", "job": "cart"});
    assert_eq!(result(&server, "target_info"), json!([{"metric": own, "value": [END, "1"]}]));
    let labels = json!({"__name__": "load", "host_name": "node-1", "instance": "one", "job": "cart"});
    assert_eq!(result(&server, "info(load)"), json!([{"metric": labels, "value": [END, "0.5"]}]));
    let joined = result(&server, "load * on (job, instance) group_left (host_name) target_info");
    assert_eq!(joined[0]["metric"], json!({"host_name": "node-1", "instance": "one", "job": "cart"}));

    let found = data(&server, &format!("/api/v1/query_exemplars?query=latency_seconds_bucket&start={START}&end={END}"));
    let series = json!({"__name__": "latency_seconds_bucket", "instance": "one", "job": "cart", "le": "0.5"});
    let labels =
        json!({"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "user_id": "u1"});
    let exemplar = json!({"labels": labels, "value": "0.3", "timestamp": END - 30});
    assert_eq!(found, json!([{"seriesLabels": series, "exemplars": [exemplar]}]));
}

#[test]
fn queries_are_formatted_and_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let get = |call: &str, query: &str| data(&server, &format!("/api/v1/{call}?query={}", encode(query)));
    assert_eq!(get("format_query", "sum by(job)(rate( x{a = 'b'}[5m] ))"), "sum by (job) (rate(x{a=\"b\"}[5m]))");
    let tree = get("parse_query", "sum by (job) (rate(x[5m]))");
    assert_eq!(
        (&tree["type"], &tree["op"], &tree["grouping"]),
        (&json!("aggregation"), &json!("sum"), &json!(["job"]))
    );
    assert_eq!(tree["expr"]["type"], "call");
    let wrong = server.get("/api/v1/format_query?query=sum(");
    assert_eq!((wrong.status, &wrong.json()["errorType"]), (400, &json!("bad_data")));
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/grafana/devmesh.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let figures = server.get("/metrics").text();
    let mut asked = 0;
    for target in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$job", ".*");
        data(&server, &format!("/api/v1/parse_query?query={}", encode(&query)));
        let words = query.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        for name in words.filter(|word| word.starts_with("devmesh_") || word.starts_with("process_")) {
            // Of a database, which is not there.
            let there = figures.contains(&format!("# TYPE {name} "));
            assert!(there || ["devmesh_database_up", "devmesh_database_retries_total"].contains(&name), "{name}");
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
}
