//! Checklist O32 to O50: protobuf. What is stored is read back as OTLP and compared.

use arrow_array::{Array, Int64Array, TimestampNanosecondArray, cast::AsArray};
use devmesh_schema::{Signal, stored};
use http::StatusCode;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceResponse,
    common::v1::{AnyValue, ArrayValue, KeyValueList, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint,
        exponential_histogram_data_point::Buckets, metric::Data,
    },
};
use prost::Message;

use crate::support::*;

fn value(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// The rows' times in ns.
fn times(server: &Server, signal: Signal) -> Vec<i64> {
    let rows = server.recorder.rows(signal);
    let column = |rows: &arrow_array::RecordBatch| {
        let times = rows.column_by_name(stored::TIME).unwrap();
        times.as_any().downcast_ref::<TimestampNanosecondArray>().unwrap().values().to_vec()
    };
    rows.iter().flat_map(column).collect()
}

#[tokio::test]
async fn o32_fields_may_come_in_any_order() {
    let server = Server::start().await;
    // ScopeLogs: schema_url, records, scope. ResourceLogs: schema_url, scope_logs, resource.
    let record = log("a").encode_to_vec();
    let scope = [field(3, b"scope-schema"), field(2, &record), field(1, &field(1, b"lib"))].concat();
    let resource = resource("shop").unwrap().encode_to_vec();
    let body = field(1, &[field(3, b"resource-schema"), field(2, &scope), field(1, &resource)].concat());
    assert_eq!(server.post("/v1/logs", PROTOBUF, body).await.status, StatusCode::OK);
    let service = server.recorder.rows(Signal::Logs)[0].column_by_name(stored::SERVICE).unwrap().clone();
    let service = arrow_cast::cast(&service, &arrow_schema::DataType::Utf8).unwrap();
    assert_eq!(service.as_string::<i32>().value(0), "shop");
    assert_eq!(server.recorder.logs(), [log("a")]);
}

#[tokio::test]
async fn o33_unknown_fields_of_all_wire_types_are_passed_over() {
    let server = Server::start().await;
    // Fields 100 to 104: varint, fixed64, length, fixed32, and a group.
    let unknown = [
        &[0xa0, 0x06, 0x01][..],
        &[0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xb2, 0x06, 2, b'x', b'y'],
        &[0xbd, 0x06, 1, 2, 3, 4],
    ]
    .concat();
    let record = [unknown.clone(), log("a").encode_to_vec(), unknown.clone()].concat();
    let body =
        [unknown.clone(), field(1, &[unknown.clone(), field(2, &[field(2, &record), unknown].concat())].concat())];
    assert_eq!(server.post("/v1/logs", PROTOBUF, body.concat()).await.status, StatusCode::OK);
    assert_eq!(server.recorder.logs(), [log("a")]);
}

#[tokio::test]
async fn o34_packed_and_unpacked_repeated_scalars() {
    let server = Server::start().await;
    let head = [vec![0x19], TIME.to_le_bytes().to_vec(), vec![0x21], 3_u64.to_le_bytes().to_vec()].concat();
    let packed =
        [field(6, &[1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat()), field(7, &1.5_f64.to_le_bytes())].concat();
    let unpacked = [
        vec![0x31],
        1_u64.to_le_bytes().to_vec(),
        vec![0x31],
        2_u64.to_le_bytes().to_vec(),
        vec![0x39],
        1.5_f64.to_le_bytes().to_vec(),
    ]
    .concat();
    for counts in [packed, unpacked] {
        let point = [head.clone(), counts].concat();
        let metric = [field(1, b"h"), field(9, &[field(1, &point), vec![0x10, 0x02]].concat())].concat();
        let body = field(1, &field(2, &field(2, &metric)));
        assert_eq!(server.post("/v1/metrics", PROTOBUF, body).await.status, StatusCode::OK);
    }
    let stored = server.recorder.metrics();
    assert_eq!((stored.len(), &stored[0]), (2, &stored[1]));
    let Some(Data::Histogram(histogram)) = &stored[0].data else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 2][..], &[1.5][..]));
}

#[tokio::test]
async fn o35_split_messages_are_merged_and_the_last_scalar_wins() {
    let server = Server::start().await;
    // Two Status messages: a code and a message. Two names.
    let record =
        [field(5, b"first"), span("last").encode_to_vec(), field(15, &[0x18, 0x02]), field(15, &field(2, b"boom"))];
    let body = field(1, &field(2, &field(2, &record.concat())));
    assert_eq!(server.post("/v1/traces", PROTOBUF, body).await.status, StatusCode::OK);
    let stored = &server.recorder.spans()[0];
    let status = stored.status.as_ref().unwrap();
    assert_eq!((stored.name.as_str(), status.code, status.message.as_str()), ("last", 2, "boom"));
}

#[tokio::test]
async fn o36_broken_protobuf_is_400_and_never_a_panic() {
    let server = Server::start().await;
    let whole = logs(vec![log("a"), log("b")]);
    let mut verdicts = [0, 0];
    for end in 0..whole.len() {
        let reply = server.post("/v1/logs", PROTOBUF, whole[..end].to_vec()).await;
        assert!(reply.status == 200 || reply.status == 400, "{end}: {}", reply.status);
        verdicts[usize::from(reply.status == 400)] += 1;
    }
    // Only nothing at all is a valid beginning of one long field.
    assert_eq!(verdicts, [1, whole.len() - 1]);
    for broken in [
        &[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01][..],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x00],
        &[0x07],
        &[0x0a, 0x02, 0x0a],
    ] {
        assert_eq!(server.post("/v1/logs", PROTOBUF, broken.to_vec()).await.status, 400, "{broken:x?}");
        assert_eq!(server.call(LOGS, broken).await.code, 3, "{broken:x?}");
    }
    assert_eq!(server.post("/v1/logs", PROTOBUF, whole).await.status, StatusCode::OK);
}

fn nested(depth: usize) -> AnyValue {
    (0..depth).fold(text("x"), |inner, _| value(Any::ArrayValue(ArrayValue { values: vec![inner] })))
}

#[tokio::test]
async fn o37_nested_values_are_bounded_without_a_stack_overflow() {
    let server = Server::start().await;
    let mut record = log("");
    record.body = Some(nested(40));
    assert_eq!(server.post("/v1/logs", PROTOBUF, logs(vec![record.clone()])).await.status, StatusCode::OK);
    assert_eq!(server.recorder.logs(), [record]);
    for depth in [100, 10_000] {
        // Written by hand: prost would need the stack too.
        let mut inner = field(1, b"x");
        for _ in 0..depth {
            inner = field(5, &field(1, &inner));
        }
        let body = field(1, &field(2, &field(2, &field(5, &inner))));
        let reply = server.post("/v1/logs", PROTOBUF, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{depth}");
    }
}

#[tokio::test]
async fn o38_invalid_utf8_is_repaired() {
    let server = Server::start().await;
    let record = field(5, &field(1, b"a\xff\xfeb"));
    let body = field(1, &field(2, &field(2, &record)));
    assert_eq!(server.post("/v1/logs", PROTOBUF, body).await.status, StatusCode::OK);
    assert_eq!(server.recorder.logs()[0].body, Some(text("a\u{fffd}\u{fffd}b")));
}

#[tokio::test]
async fn o39_bad_ids_reject_spans_and_are_none_for_logs() {
    let server = Server::start().await;
    let bad = [vec![], vec![1; 8], vec![1; 15], vec![1; 17], vec![0; 16]];
    let body = bad.iter().map(|id| {
        let mut bad = span("bad");
        bad.trace_id.clone_from(id);
        bad
    });
    let body = spans(body.chain([span("good")]).collect());
    let reply = server.post("/v1/traces", PROTOBUF, body).await;
    let partial = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, server.recorder.count(Signal::Traces)), (5, 1));
    let records = bad.iter().map(|id| {
        let mut record = log("kept");
        record.trace_id.clone_from(id);
        record
    });
    let reply = server.post("/v1/logs", PROTOBUF, logs(records.collect())).await;
    assert_eq!((reply.status, server.recorder.count(Signal::Logs)), (StatusCode::OK, 5));
}

#[tokio::test]
async fn o40_a_value_that_is_not_set_is_not_an_empty_text() {
    let server = Server::start().await;
    let bodies = [None, Some(AnyValue { value: None }), Some(text(""))];
    let records: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut record = log("");
            record.body.clone_from(body);
            record.attributes = vec![attribute("empty", AnyValue { value: None }), attribute("text", text(""))];
            record
        })
        .collect();
    assert_eq!(server.post("/v1/logs", PROTOBUF, logs(records.clone())).await.status, StatusCode::OK);
    assert_eq!(server.recorder.logs(), records);
}

fn all_kinds() -> Vec<AnyValue> {
    let map = KeyValueList { values: vec![attribute("k", text("v")), attribute("n", value(Any::IntValue(-1)))] };
    vec![
        text("text"),
        value(Any::BoolValue(true)),
        value(Any::IntValue(i64::MIN)),
        value(Any::DoubleValue(-0.5)),
        value(Any::BytesValue(vec![0, 255])),
        value(Any::ArrayValue(ArrayValue { values: vec![text("a"), value(Any::KvlistValue(map.clone()))] })),
        value(Any::KvlistValue(map)),
    ]
}

#[tokio::test]
async fn o41_span_attributes_may_be_bytes_lists_and_maps() {
    let server = Server::start().await;
    let mut rich = span("rich");
    rich.attributes =
        all_kinds().into_iter().enumerate().map(|(n, value)| attribute(&format!("k{n}"), value)).collect();
    assert_eq!(server.call(TRACES, &spans(vec![rich.clone()])).await.code, 0);
    assert_eq!(server.recorder.spans(), [rich]);
}

fn bare_histogram() -> HistogramDataPoint {
    HistogramDataPoint { time_unix_nano: TIME, ..HistogramDataPoint::default() }
}

#[tokio::test]
async fn o42_o43_a_histogram_without_sum_min_max_or_buckets_keeps_them_absent() {
    let server = Server::start().await;
    let counted = HistogramDataPoint { count: 3, sum: Some(1.5), ..bare_histogram() };
    let zeros = HistogramDataPoint { sum: Some(0.0), min: Some(0.0), max: Some(0.0), ..bare_histogram() };
    let sent = histogram("h", vec![bare_histogram(), counted, zeros]);
    assert_eq!(server.call(METRICS, &metrics(vec![sent.clone()])).await.code, 0);
    let rows = &server.recorder.rows(Signal::Metrics)[0];
    let sum = rows.column_by_name("sum").unwrap();
    assert_eq!((sum.is_null(0), sum.is_null(1), sum.is_null(2)), (true, false, false));
    assert_eq!(points(&server.recorder.metrics()), points(&[sent]));
}

/// The data points of histograms, whatever metric messages they stand in.
fn points(metrics: &[opentelemetry_proto::tonic::metrics::v1::Metric]) -> Vec<HistogramDataPoint> {
    let of = |metric: &opentelemetry_proto::tonic::metrics::v1::Metric| match &metric.data {
        Some(Data::Histogram(histogram)) => histogram.data_points.clone(),
        _ => Vec::new(),
    };
    metrics.iter().flat_map(of).collect()
}

#[tokio::test]
async fn o44_exponential_histograms_with_negative_buckets_and_offsets() {
    let server = Server::start().await;
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: TIME,
        count: 7,
        scale: -10,
        zero_count: 1,
        zero_threshold: 0.25,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 2] }),
        negative: Some(Buckets { offset: 5, bucket_counts: vec![3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let sent = exponential("e", vec![point]);
    assert_eq!(server.call(METRICS, &metrics(vec![sent.clone()])).await.code, 0);
    assert_eq!(server.recorder.metrics(), [sent]);
    // Counts that don't add up, a scale beyond all bounds: an answer, never a panic.
    for (scale, count) in [(i32::MAX, 1), (i32::MIN, u64::MAX), (20, 0)] {
        let wrong = ExponentialHistogramDataPoint {
            time_unix_nano: TIME,
            scale,
            count,
            positive: Some(Buckets { offset: i32::MAX, bucket_counts: vec![u64::MAX, 1] }),
            ..ExponentialHistogramDataPoint::default()
        };
        assert_eq!(server.call(METRICS, &metrics(vec![exponential("e", vec![wrong])])).await.code, 0);
    }
}

#[tokio::test]
async fn o45_temporality_is_kept() {
    use AggregationTemporality::{Cumulative, Delta, Unspecified};
    let server = Server::start().await;
    let sent: Vec<_> =
        [Delta, Cumulative, Unspecified].into_iter().map(|kind| sum(kind.as_str_name(), kind, 1.0)).collect();
    assert_eq!(server.call(METRICS, &metrics(sent.clone())).await.code, 0);
    assert_eq!(server.recorder.metrics(), sent);
}

#[tokio::test]
async fn o46_the_flag_of_a_missing_value_is_kept() {
    let server = Server::start().await;
    let mut stale = point(0.0);
    (stale.flags, stale.value) = (1, None);
    let sent = gauge("g", vec![stale]);
    assert_eq!(server.call(METRICS, &metrics(vec![sent.clone()])).await.code, 0);
    assert_eq!(server.recorder.metrics(), [sent]);
}

#[tokio::test]
async fn o47_metrics_of_one_name_and_different_type_or_unit_do_not_collide() {
    let server = Server::start().await;
    let mut other_unit = gauge("m", vec![point(2.0)]);
    other_unit.unit = "s".into();
    let sent = vec![gauge("m", vec![point(1.0)]), other_unit, sum("m", AggregationTemporality::Delta, 3.0)];
    assert_eq!(server.call(METRICS, &metrics(sent.clone())).await.code, 0);
    assert_eq!(server.recorder.metrics(), sent);
}

#[tokio::test]
async fn o48_a_span_that_ends_before_it_starts_has_duration_0() {
    let server = Server::start().await;
    let mut backwards = span("b");
    backwards.end_time_unix_nano = TIME - 7;
    assert_eq!(server.call(TRACES, &spans(vec![backwards.clone()])).await.code, 0);
    let rows = &server.recorder.rows(Signal::Traces)[0];
    let durations = rows.column_by_name(stored::DURATION_NS).unwrap();
    assert_eq!(durations.as_any().downcast_ref::<Int64Array>().unwrap().value(0), 0);
    assert_eq!(server.recorder.spans(), [backwards]);
}

#[tokio::test]
async fn o49_a_log_without_time_has_the_observed_one_else_that_of_receipt() {
    let server = Server::start().await;
    let (mut observed, mut neither) = (log("o"), log("n"));
    observed.time_unix_nano = 0;
    (neither.time_unix_nano, neither.observed_time_unix_nano) = (0, 0);
    assert_eq!(server.call(LOGS, &logs(vec![observed, neither])).await.code, 0);
    let received = server.recorder.batches()[0].received;
    assert_eq!(times(&server, Signal::Logs), [i64::try_from(TIME + 1).unwrap(), received]);
}

#[tokio::test]
async fn o50_every_kind_of_body_event_names_and_half_severities() {
    let server = Server::start().await;
    let mut records: Vec<_> = all_kinds()
        .into_iter()
        .map(|body| {
            let mut record = log("");
            record.body = Some(body);
            record
        })
        .collect();
    records[0].event_name = "app.started".into();
    records[1].severity_text.clear();
    records[2].severity_number = 0;
    assert_eq!(server.call(LOGS, &logs(records.clone())).await.code, 0);
    assert_eq!(server.recorder.logs(), records);
}

#[tokio::test]
async fn exemplars_are_kept() {
    let server = Server::start().await;
    let mut with = point(1.0);
    with.exemplars =
        vec![Exemplar { time_unix_nano: TIME, trace_id: vec![1; 16], span_id: vec![2; 8], ..Exemplar::default() }];
    let sent = gauge("g", vec![with]);
    assert_eq!(server.call(METRICS, &metrics(vec![sent.clone()])).await.code, 0);
    assert_eq!(server.recorder.metrics(), [sent]);
}
