//! Prometheus' HTTP API over metrics that came by OTLP.

use serde_json::{Value, json};

use crate::server::Server;

/// When the metrics begin, seconds.
const START: i64 = 1_700_000_000;

fn ns(second: i64) -> String {
    format!("{}", (START + second) * 1_000_000_000)
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Ten minutes of a counter, a delta counter, a gauge, a histogram and an exponential one, a point a minute.
fn metrics() -> Value {
    let every = |point: &dyn Fn(i64) -> Value| -> Vec<Value> { (0..=10).map(point).collect() };
    let at = |n: i64, mut point: Value| {
        point["startTimeUnixNano"] = ns(0).into();
        point["timeUnixNano"] = ns(n * 60).into();
        point
    };
    let calls =
        every(&|n| at(n, json!({"asInt": (n * 120).to_string(), "attributes": [attribute("http.route", "/cart")]})));
    let delta = every(&|n| at(n, json!({"asInt": "60"})));
    let gauge = every(&|n| at(n, json!({"asDouble": n as f64 / 2.0})));
    let histogram = every(&|n| {
        let n = n * 10;
        at(
            n / 10,
            json!({"count": (4 * n).to_string(), "sum": n as f64, "explicitBounds": [0.1, 0.5],
            "bucketCounts": [n.to_string(), (2 * n).to_string(), n.to_string()]}),
        )
    });
    let exponential = every(&|n| {
        at(
            n,
            json!({"count": (3 * n).to_string(), "sum": 4.0 * n as f64, "scale": 0, "zeroCount": "0",
        "positive": {"offset": 0, "bucketCounts": [n.to_string(), (2 * n).to_string()]}}),
        )
    });
    json!({"resourceMetrics": [{
        "resource": {"attributes": [attribute("service.name", "shop"), attribute("service.namespace", "demo"),
            attribute("service.instance.id", "shop-1")]},
        "scopeMetrics": [{"scope": {}, "metrics": [
            {"name": "http.server.calls", "unit": "{call}", "description": "calls",
             "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": calls}},
            {"name": "jobs", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": delta}},
            {"name": "queue.size", "unit": "By", "gauge": {"dataPoints": gauge}},
            {"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": histogram}},
            {"name": "size", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": exponential}},
        ]}],
    }]})
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn served() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/metrics", &metrics()).status, 200);
    (dir, server)
}

#[test]
fn metrics_of_otlp_are_read_in_promql_under_prometheus_names() {
    let (_dir, server) = served();
    let end = START + 600;
    let labels = |more: Value| {
        let mut all = json!({"instance": "shop-1", "job": "demo/shop"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (query, metric, value) in [
        (
            "http_server_calls_total",
            labels(json!({"__name__": "http_server_calls_total", "http_route": "/cart"})),
            "1200",
        ),
        ("rate(http_server_calls_total[5m])", labels(json!({"http_route": "/cart"})), "2"),
        ("increase(jobs_total[5m])", labels(json!({})), "300"),
        ("queue_size_bytes", labels(json!({"__name__": "queue_size_bytes"})), "5"),
        ("queue_size_bytes offset 2m", labels(json!({"__name__": "queue_size_bytes"})), "4"),
        ("max_over_time(queue_size_bytes[1h])", labels(json!({})), "5"),
        ("latency_seconds_count", labels(json!({"__name__": "latency_seconds_count"})), "400"),
        (
            "latency_seconds_bucket{le=\"0.5\"}",
            labels(json!({"__name__": "latency_seconds_bucket", "le": "0.5"})),
            "300",
        ),
        ("histogram_quantile(0.5, rate(latency_seconds_bucket[5m]))", labels(json!({})), "0.3"),
        ("histogram_count(size)", labels(json!({})), "30"),
        ("histogram_avg(rate(size[5m]))", labels(json!({})), "1.3333333333333333"),
        ("sum by (job) (http_server_calls_total)", json!({"job": "demo/shop"}), "1200"),
    ] {
        let answer = server.get(&format!("/api/v1/query?query={}&time={end}", encode(query)));
        let body = answer.json();
        assert_eq!(answer.status, 200, "{query}: {body}");
        let want = json!([{"metric": metric, "value": [end, value]}]);
        assert_eq!(body["data"], json!({"resultType": "vector", "result": want}), "{query}");
    }
    let scalar = server.get(&format!("/api/v1/query?query=1%2B1&time={end}")).json();
    assert_eq!(scalar, json!({"status": "success", "data": {"resultType": "scalar", "result": [end, "2"]}}));
}

#[test]
fn ranges_native_histograms_and_raw_samples_have_prometheus_form() {
    let (_dir, server) = served();
    let path = format!("/api/v1/query_range?query=queue_size_bytes&start={START}&end={}&step=5m", START + 600);
    let values = json!([[START, "0"], [START + 300, "2.5"], [START + 600, "5"]]);
    let series = server.get(&path).json()["data"]["result"][0].clone();
    assert_eq!(series["values"], values);
    let form = format!("query=queue_size_bytes&start={START}&end={}&step=300", START + 600);
    let posted = server.post(
        "http",
        "/api/v1/query_range",
        &[("content-type", "application/x-www-form-urlencoded")],
        form.as_bytes(),
    );
    assert_eq!(posted.json()["data"]["result"][0], series, "the same as a form");
    let native = server.get(&format!("/api/v1/query?query=size&time={}", START + 60)).json();
    let want = json!([START + 60, {"count": "3", "sum": "4", "buckets": [[0, "1", "2", "1"], [0, "2", "4", "2"]]}]);
    assert_eq!(native["data"]["result"][0]["histogram"], want);
    let raw = server.get(&format!("/api/v1/query?query=queue_size_bytes%5B2m%5D&time={}", START + 600)).json();
    assert_eq!(raw["data"]["resultType"], "matrix");
    assert_eq!(raw["data"]["result"][0]["values"], json!([[START + 540, "4.5"], [START + 600, "5"]]));
}

#[test]
fn series_labels_values_and_metadata_are_listed() {
    let (_dir, server) = served();
    let range = format!("start={START}&end={}", START + 600);
    let get = |path: &str| {
        server.get(&format!("{path}{}{range}", if path.contains('?') { '&' } else { '?' })).json()["data"].clone()
    };
    assert_eq!(get("/api/v1/labels"), json!(["__name__", "http_route", "instance", "job", "le"]));
    assert_eq!(get("/api/v1/label/job/values"), json!(["demo/shop"]));
    assert_eq!(get("/api/v1/label/le/values"), json!(["+Inf", "0.1", "0.5"]));
    assert_eq!(
        get("/api/v1/label/__name__/values?match%5B%5D=%7B__name__%3D~%22.*_total%22%7D"),
        json!(["http_server_calls_total", "jobs_total"])
    );
    let series = get("/api/v1/series?match%5B%5D=http_server_calls_total");
    assert_eq!(
        series,
        json!([{"__name__": "http_server_calls_total", "http_route": "/cart", "instance": "shop-1", "job": "demo/shop"}])
    );
    let metadata = get("/api/v1/metadata?metric=http_server_calls_total");
    assert_eq!(metadata, json!({"http_server_calls_total": [{"type": "counter", "help": "calls", "unit": "{call}"}]}));
    let buildinfo = server.get("/api/v1/status/buildinfo").json();
    assert!(buildinfo["data"]["version"].is_string());
}

#[test]
fn errors_are_those_of_prometheus() {
    let (_dir, server) = served();
    let end = START + 600;
    for (path, status, kind, part) in [
        ("/api/v1/query".to_owned(), 400, "bad_data", "invalid parameter \"query\""),
        ("/api/v1/query?query=rate(x)".to_owned(), 400, "bad_data", "expected type range vector"),
        ("/api/v1/query?query=x&time=soon".to_owned(), 400, "bad_data", "cannot parse \"soon\" to a valid timestamp"),
        ("/api/v1/query?query=x&timeout=soon".to_owned(), 400, "bad_data", "valid duration"),
        (
            format!(
                "/api/v1/query?query={}&time={end}",
                encode("latency_seconds_bucket + ignoring(le) latency_seconds_bucket")
            ),
            422,
            "execution",
            "many-to-many matching not allowed",
        ),
        (
            "/api/v1/query_range?query=x&start=2&end=1&step=1".to_owned(),
            400,
            "bad_data",
            "end timestamp must not be before start time",
        ),
        (
            "/api/v1/query_range?query=x&start=1&end=2&step=0".to_owned(),
            400,
            "bad_data",
            "zero or negative query resolution",
        ),
        ("/api/v1/query_range?query=x&start=0&end=20000&step=1".to_owned(), 400, "bad_data", "11,000 points"),
        (
            "/api/v1/query_range?query=x%5B5m%5D&start=0&end=2&step=1".to_owned(),
            400,
            "bad_data",
            "must be Scalar or instant Vector",
        ),
        ("/api/v1/series".to_owned(), 400, "bad_data", "no match[] parameter provided"),
        ("/api/v1/label/U__a_zz_/values".to_owned(), 400, "bad_data", "invalid label name"),
        ("/api/v1/nothing".to_owned(), 404, "not_found", "no such call"),
    ] {
        let answer = server.get(&path);
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["status"], &body["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}: {body}"
        );
        assert!(body["error"].as_str().unwrap().contains(part), "{path}: {body}");
    }
}
