//! `POST /api/v1/write`: how series of remote write 1.0 and 2.0 become data points, and what senders are told.

use devmesh_collector::{Door, Settings};
use devmesh_schema::{IngestPath, Signal, WriteError, prometheus, stored};
use http::StatusCode;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value::Value as Any,
    metrics::v1::{Metric, exponential_histogram_data_point::Buckets, metric::Data, number_data_point::Value},
};
use prost::Message;

use crate::support::{remote::*, *};

/// The key and text of attributes.
fn texts(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<(&str, &str)> {
    let text = |any: &Any| match any {
        Any::StringValue(text) => text.as_str().to_owned().leak() as &str,
        other => panic!("{other:?} is no text"),
    };
    attributes.iter().map(|a| (a.key.as_str(), text(a.value.as_ref().unwrap().value.as_ref().unwrap()))).collect()
}

fn named(server: &Server, name: &str) -> Metric {
    let all = server.recorder.metrics();
    all.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name} in {all:#?}")).clone()
}

#[tokio::test]
async fn series_of_version_1_are_gauges_and_sums_of_their_name_with_labels_as_attributes() {
    let server = Server::start().await;
    let now = now();
    let request = v1(vec![
        sample(&["__name__", "up", "job", "shop/cart", "instance", "a:1", "zone", "eu"], 1.0, now),
        sample(&["__name__", "http_requests_total", "code", "200", "instance", "a:1", "job", "shop/cart"], 7.5, now),
        sample(&["__name__", "up", "instance", "a:1", "job", "shop/cart", "zone", "us"], STALE, now - 1),
        sample(&["__name__", "a name, with spaces", "label.dotted", "x\ny"], f64::NEG_INFINITY, now),
    ]);
    let reply = server.remote_write(V1, &request).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::NO_CONTENT, 0), "{}", reply.text());
    assert_eq!(reply.written(), [-1; 3], "version 1 knows no such headers");

    let requests = server.recorder.exported::<ExportMetricsServiceRequest>(Signal::Metrics);
    let resources = &requests[0].resource_metrics;
    assert_eq!((requests.len(), resources.len()), (1, 2));
    let of = |at: usize| texts(&resources[at].resource.as_ref().unwrap().attributes);
    let shop = [
        (stored::SOURCE_ATTRIBUTE, "remote_write"),
        ("service.namespace", "shop"),
        ("service.name", "cart"),
        ("service.instance.id", "a:1"),
    ];
    assert_eq!((of(0), of(1)), (shop.to_vec(), vec![shop[0]]));

    let Some(Data::Gauge(up)) = named(&server, "up").data else { panic!("no gauge") };
    let points: Vec<_> = up.data_points.iter().map(|p| (texts(&p.attributes), p.time_unix_nano, p.flags)).collect();
    let ns = |ms: i64| ms as u64 * 1_000_000;
    assert_eq!(points, [(vec![("zone", "eu")], ns(now), 0), (vec![("zone", "us")], ns(now - 1), 1)]);
    assert_eq!((up.data_points[0].value, up.data_points[1].value), (Some(Value::AsDouble(1.0)), None));
    let Some(Data::Sum(requests)) = named(&server, "http_requests_total").data else { panic!("no sum") };
    assert_eq!((requests.is_monotonic, requests.aggregation_temporality), (true, 2));
    assert_eq!(texts(&requests.data_points[0].attributes), [("code", "200")]);
    let Some(Data::Gauge(odd)) = named(&server, "a name, with spaces").data else { panic!("no gauge") };
    assert_eq!(texts(&odd.data_points[0].attributes), [("label.dotted", "x\ny")]);
    assert_eq!(server.recorder.batches()[0].path, IngestPath::Collector);
    assert_eq!(server.intake.counters().taken(Door::RemoteWrite, Signal::Metrics).items, 4);
}

#[tokio::test]
async fn version_2_has_metadata_starts_and_exemplars_with_each_series_and_is_told_what_was_written() {
    let server = Server::start().await;
    let now = now();
    let mut request = v2::Request::new();
    let trace = "5b8efff798038103d269b633813fc60c";
    let [help, unit] = request.refs(&["Jobs done.", "jobs"])[..] else { panic!() };
    let of_exemplar = request.refs(&["trace_id", trace, "span_id", "eee19b7ec3c1b174", "who", "me"]);
    let text_id = request.refs(&["trace_id", "none"]);
    let exemplar = |labels: Vec<u32>, value| v2::Exemplar { labels, value, timestamp: now - 5 };
    let series = request.sample(&["job", "a", "__name__", "done", "b", "1"], 5.0, now);
    series.samples[0].start_timestamp = now - 1000;
    series.metadata = Some(v2::Metadata { kind: 1, help, unit });
    series.exemplars = vec![exemplar(of_exemplar, 0.5), exemplar(text_id, f64::INFINITY)];
    series.created = 5;
    // What only has an exemplar keeps it, without a sample.
    let labels = request.refs(&["__name__", "alone_total"]);
    let exemplars = vec![exemplar(Vec::new(), 2.0)];
    request.timeseries.push(v2::TimeSeries { labels, exemplars, ..v2::TimeSeries::default() });
    request.histogram(&["__name__", "size"], native(now)).metadata = Some(v2::Metadata { kind: 3, help, unit: 0 });
    let reply = server.remote_write(V2, &request.encode_to_vec()).await;
    assert_eq!((reply.status, reply.written()), (StatusCode::NO_CONTENT, [1, 1, 3]), "{}", reply.text());

    let done = named(&server, "done");
    assert_eq!((done.description.as_str(), done.unit.as_str()), ("Jobs done.", "jobs"));
    assert_eq!(texts(&done.metadata), [("prometheus.type", "counter")]);
    let Some(Data::Sum(sum)) = done.data else { panic!("a counter by its metadata") };
    let point = &sum.data_points[0];
    assert_eq!(point.start_time_unix_nano, (now - 1000) as u64 * 1_000_000);
    let [first, second] = &point.exemplars[..] else { panic!("{:?}", point.exemplars) };
    assert_eq!(
        (hex::encode(&first.trace_id).as_str(), hex::encode(&first.span_id)),
        (trace, "eee19b7ec3c1b174".into())
    );
    assert_eq!(
        (texts(&first.filtered_attributes), texts(&second.filtered_attributes)),
        (vec![("who", "me")], vec![("trace_id", "none")])
    );
    let Some(Data::Sum(alone)) = named(&server, "alone_total").data else { panic!("no sum") };
    let point = &alone.data_points[0];
    assert_eq!((point.value, point.flags, point.exemplars.len()), (None, 0, 1), "neither a sample nor an end");
    assert_eq!(texts(&named(&server, "size").metadata), [("prometheus.type", "histogram")]);
}

#[tokio::test]
async fn metadata_of_version_1_is_said_with_the_samples_that_come_later() {
    let server = Server::start().await;
    let now = now();
    let metadata = |kind, family: &str, help: &str| MetricMetadata {
        kind,
        family: family.into(),
        help: help.into(),
        unit: "s".into(),
    };
    let request = WriteRequest {
        timeseries: Vec::new(),
        metadata: vec![metadata(3, "took", "how long"), metadata(2, "open_total", "a gauge by its type")],
    };
    assert_eq!(server.remote_write(V1, &request.encode_to_vec()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.recorder.batches().len(), 0, "there is nothing to store yet");
    let series = ["took_bucket", "took_sum", "took_count", "took", "open_total"];
    let request = v1(series.map(|name| sample(&["__name__", name], 1.0, now)).to_vec());
    assert_eq!(server.remote_write(V1, &request).await.status, StatusCode::NO_CONTENT);
    for name in &series[..3] {
        let metric = named(&server, name);
        assert_eq!((metric.description.as_str(), metric.unit.as_str()), ("how long", "s"), "{name}");
        assert!(matches!(metric.data, Some(Data::Sum(_))), "{name}");
    }
    assert!(matches!(named(&server, "open_total").data, Some(Data::Gauge(_))));
}

#[tokio::test]
async fn native_histograms_are_exponential_ones_and_what_those_cannot_hold_stands_beside() {
    let server = Server::start().await;
    let now = now();
    let positive = vec![Span { offset: -1, length: 2 }];
    let float = Histogram {
        count: Some(Count::Float(4.75)),
        zero: Some(Zero::Float(0.25)),
        positive_spans: positive.clone(),
        positive_counts: vec![1.5, 3.0],
        reset_hint: 3,
        schema: 3,
        timestamp: now,
        ..Histogram::default()
    };
    let custom = Histogram {
        count: Some(Count::Int(30)),
        schema: -53,
        custom_values: vec![0.1, 0.5, 1.0],
        positive_spans: vec![Span { offset: 1, length: 3 }],
        positive_deltas: vec![2, 1, 22],
        timestamp: now,
        ..Histogram::default()
    };
    let ended = Histogram { sum: STALE, timestamp: now + 1, ..Histogram::default() };
    let mut request = v2::Request::new();
    request.histogram(&["__name__", "whole", "a", "b"], native(now));
    request.histogram(&["__name__", "whole", "a", "b"], ended);
    request.histogram(&["__name__", "float"], float);
    request.histogram(&["__name__", "custom"], custom);
    let reply = server.remote_write(V2, &request.encode_to_vec()).await;
    assert_eq!((reply.status, reply.written()), (StatusCode::NO_CONTENT, [0, 4, 0]), "{}", reply.text());

    let Some(Data::ExponentialHistogram(whole)) = named(&server, "whole").data else { panic!("not exponential") };
    let (point, end) = (&whole.data_points[0], &whole.data_points[1]);
    assert_eq!(
        (point.count, point.sum, point.scale, point.zero_count, point.zero_threshold),
        (27, Some(18.4), 0, 1, 0.001)
    );
    // OTLP numbers a bucket by its lower bound.
    assert_eq!(point.positive, Some(Buckets { offset: -1, bucket_counts: vec![1, 3, 4, 0, 0, 7, 8] }));
    assert_eq!(point.negative, Some(Buckets { offset: -1, bucket_counts: vec![1, 2] }));
    assert_eq!((texts(&point.attributes), whole.aggregation_temporality), (vec![("a", "b")], 2));
    assert_eq!((end.flags, end.count), (1, 0));
    let Some(Data::ExponentialHistogram(float)) = named(&server, "float").data else { panic!("not exponential") };
    let exact = "4.75 0.25|-1:1.5 0:3.0|";
    assert_eq!(
        texts(&float.data_points[0].attributes),
        [(prometheus::RESET_HINT, "gauge"), (prometheus::COUNTS, exact)]
    );
    assert_eq!((float.data_points[0].count, float.data_points[0].scale), (5, 3));
    let Some(Data::Histogram(custom)) = named(&server, "custom").data else { panic!("not explicit") };
    let point = &custom.data_points[0];
    assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[0, 2, 3, 25][..], &[0.1, 0.5, 1.0][..]));
}

#[tokio::test]
async fn what_is_bad_is_refused_alone_and_the_rest_is_written_and_counted() {
    let server = Server::start().await;
    let now = now();
    let mut request = v2::Request::new();
    request.sample(&["__name__", "good"], 1.0, now);
    request.sample(&["job", "a"], 1.0, now);
    request.sample(&["__name__", "twice", "a", "1", "a", "2"], 1.0, now);
    request.sample(&["__name__", "late"], 1.0, now + 3_600_000);
    request.histogram(&["__name__", "bad"], Histogram { count: Some(Count::Int(99)), ..native(now) });
    request.histogram(&["__name__", "fine"], native(now));
    let beyond = request.sample(&["__name__", "beyond"], 1.0, now);
    beyond.labels.push(999);
    beyond.labels.push(1);
    request.sample(&["__name__", "odd"], 1.0, now).labels.push(1);
    let reply = server.remote_write(V2, &request.encode_to_vec()).await;
    assert_eq!((reply.status, reply.written()), (StatusCode::BAD_REQUEST, [1, 1, 0]));
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    for part in [
        "6 refused, 2 written",
        "no metric's name",
        "there twice",
        "late: the time",
        "bad: the buckets hold 27",
        "beyond the table",
        "odd",
    ] {
        assert!(detail.contains(part), "{part:?} in {detail}");
    }
    assert_eq!(server.recorder.count(Signal::Metrics), 2);
    let rejected: u64 = server.intake.counters().rejected().iter().map(|(_, _, count)| count).sum();
    assert_eq!(rejected, 6);
}

#[tokio::test]
async fn a_body_that_comes_twice_is_stored_once_and_answered_as_before() {
    let server = Server::start().await;
    let mut request = v2::Request::new();
    request.sample(&["__name__", "up"], 1.0, now());
    request.histogram(&["__name__", "size"], native(now()));
    let request = request.encode_to_vec();
    for round in 0..2 {
        let reply = server.remote_write(V2, &request).await;
        assert_eq!((reply.status, reply.written()), (StatusCode::NO_CONTENT, [1, 1, 0]), "round {round}");
    }
    assert_eq!(server.recorder.count(Signal::Metrics), 2);
}

#[tokio::test]
async fn while_nothing_can_be_stored_the_sender_is_told_to_come_back_and_nothing_is_written() {
    let server = Server::start().await;
    let mut request = v2::Request::new();
    request.sample(&["__name__", "up"], 1.0, now());
    let request = request.encode_to_vec();
    server.recorder.fail(Some(|| WriteError::Unavailable("the disk is full".into())));
    let reply = server.remote_write(V2, &request).await;
    assert_eq!((reply.status, reply.written()), (StatusCode::SERVICE_UNAVAILABLE, [0; 3]));
    assert_eq!(reply.header("retry-after"), "5");
    server.recorder.fail(None);
    assert_eq!(server.remote_write(V2, &request).await.written(), [1, 0, 0]);
}

#[tokio::test]
async fn samples_of_one_series_keep_their_order_and_may_be_older_than_those_before() {
    let server = Server::start().await;
    let now = now();
    let at = |time: i64| Sample { value: time as f64, timestamp: time, start_timestamp: 0 };
    let mut series = sample(&["__name__", "x"], 1.0, now);
    series.samples = vec![at(now - 1000), at(now), at(now - 7_200_000)];
    let again = sample(&["__name__", "x"], 5.0, now - 500);
    let reply = server.remote_write(V1, &v1(vec![series, again])).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
    let Some(Data::Gauge(x)) = named(&server, "x").data else { panic!("no gauge") };
    let times: Vec<i64> = x.data_points.iter().map(|point| (point.time_unix_nano / 1_000_000) as i64).collect();
    assert_eq!(times, [now - 1000, now, now - 7_200_000, now - 500]);
}

#[tokio::test]
async fn samples_older_than_what_is_kept_are_refused() {
    let settings = Settings { past: std::time::Duration::from_secs(3600), ..Settings::default() };
    let server = Server::with(settings).await;
    let request = v1(vec![sample(&["__name__", "x"], 1.0, now() - 3_700_000), sample(&["__name__", "x"], 1.0, now())]);
    let reply = server.remote_write(V1, &request).await;
    assert_eq!((reply.status, server.recorder.count(Signal::Metrics)), (StatusCode::BAD_REQUEST, 1));
    assert!(reply.text().contains("older than what is kept"), "{}", reply.text());
}

#[tokio::test]
async fn otlp_metrics_are_taken_where_prometheus_takes_them() {
    let server = Server::start().await;
    let body = metrics(vec![gauge("x", vec![point(1.5)])]);
    let reply =
        server.client.send(server.api, "/api/v1/otlp/v1/metrics", &[("content-type", PROTOBUF)], body.into()).await;
    assert_eq!((reply.status, server.recorder.count(Signal::Metrics)), (StatusCode::OK, 1));
}
