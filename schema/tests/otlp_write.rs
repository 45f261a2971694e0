//! What `otlp::write` writes is what prost would write for the same message.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use devmesh_schema::otlp::write::{
    Attribute, LogRecord, LogsRequest, MetricKind, MetricsRequest, NumberPoint, PointValue, Span, SpanEvent, SpanLink,
    TracesRequest, Value, Writer,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, any_value},
    metrics::v1::{metric, number_data_point},
};
use prost::Message;

/// Whatever is written and read by prost is written by prost as the same bytes.
fn read<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> M {
    let message = M::decode(bytes).unwrap();
    assert_eq!(message.encode_to_vec(), bytes, "prost writes {message:?} otherwise");
    message
}

fn attributes() -> Vec<Attribute<'static>> {
    vec![
        ("text".into(), "x".into()),
        ("empty text".into(), "".into()),
        ("long".into(), "y".repeat(70_000).into()),
        ("yes".into(), true.into()),
        ("no".into(), false.into()),
        ("int".into(), (-7i64).into()),
        ("zero".into(), 0i64.into()),
        ("double".into(), 0.5.into()),
        ("bytes".into(), Value::Bytes(vec![0, 255].into())),
        ("nothing".into(), Value::Empty),
        ("list".into(), Value::List(vec![1i64.into(), Value::Map(vec![("k".into(), "v".into())])])),
    ]
}

#[test]
fn log_records_are_the_bytes_of_prost() {
    let attributes = attributes();
    let mut request = LogsRequest::new();
    request.scoped_resource(&[("service.name".into(), "shop".into())], "lib", "1", |scope| {
        scope.record(&LogRecord {
            time: u64::MAX,
            observed_time: 1,
            severity_number: 17,
            severity_text: "ERROR",
            body: Some("boom".into()),
            attributes: &attributes,
            dropped_attributes_count: 300,
            flags: 1,
            trace_id: Some([1; 16]),
            span_id: Some([2; 8]),
            event_name: "e",
        });
        scope.record(&LogRecord::default());
    });
    request.resource(&[], |_| {});
    assert_eq!(request.records(), 2);
    let message: ExportLogsServiceRequest = read(&request.finish());
    assert_eq!(message.resource_logs.len(), 2);
    let records = &message.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records[0].time_unix_nano, u64::MAX);
    assert_eq!(records[0].attributes.len(), attributes.len());
    assert_eq!(records[0].attributes[9].value, Some(AnyValue { value: None }));
    assert_eq!(records[1].body, None);
}

#[test]
fn spans_are_the_bytes_of_prost() {
    let attributes = attributes();
    let events = [SpanEvent { time: 3, name: "exception", attributes: &attributes }];
    let links = [SpanLink { trace_id: [9; 16], span_id: [8; 8], attributes: &[] }];
    let mut request = TracesRequest::new();
    request.resource(&attributes, |scope| {
        scope.span(&Span {
            trace_id: [1; 16],
            span_id: [2; 8],
            trace_state: "a=b",
            parent_span_id: Some([3; 8]),
            name: "GET /",
            kind: 2,
            start_time: 1,
            end_time: 2,
            attributes: &attributes,
            events: &events,
            links: &links,
            status: Some((2, "boom")),
            flags: 0x301,
        });
        scope.span(&Span { status: Some((0, "")), ..Span::default() });
    });
    assert_eq!(request.spans(), 2);
    let message: ExportTraceServiceRequest = read(&request.finish());
    let spans = &message.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
    assert_eq!(spans[1].status, Some(Default::default()));
}

#[test]
fn gauges_and_sums_are_the_bytes_of_prost() {
    let mut request = MetricsRequest::new();
    request.resource(&[], |scope| {
        scope.metric("cpu", "load", "1", MetricKind::Gauge, |metric| {
            let value = Some(PointValue::Double(0.0));
            metric.point(&NumberPoint { time: 5, start_time: 0, value, attributes: &[] });
            metric.point(&NumberPoint { time: 5, start_time: 0, value: None, attributes: &[] });
        });
        scope.metric("bytes", "", "By", MetricKind::Sum { monotonic: true }, |metric| {
            let value = Some(PointValue::Int(i64::MIN));
            metric.point(&NumberPoint { time: 5, start_time: 1, value, attributes: &attributes() });
        });
    });
    assert_eq!(request.points(), 3);
    let message: ExportMetricsServiceRequest = read(&request.finish());
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let Some(metric::Data::Gauge(gauge)) = &metrics[0].data else { panic!("no gauge: {metrics:?}") };
    assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(0.0)));
    assert_eq!(gauge.data_points[1].flags, 1);
    let Some(metric::Data::Sum(sum)) = &metrics[1].data else { panic!("no sum: {metrics:?}") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
}

#[test]
fn json_becomes_an_equal_value() {
    use any_value::Value as Any;
    let json = serde_json::json!({"n": null, "i": -3, "u": u64::MAX, "d": 1.5, "l": [true, "x"]});
    let mut out = Writer::new();
    Value::from(&json).write(&mut out, 1);
    // Field 1 of a repeated AnyValue is the list.
    let list = opentelemetry_proto::tonic::common::v1::ArrayValue::decode(out.as_slice()).unwrap();
    let Some(Any::KvlistValue(map)) = &list.values[0].value else { panic!("no map: {list:?}") };
    let at = |key: &str| map.values.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.clone()?.value);
    assert_eq!(at("n"), None);
    assert_eq!(at("i"), Some(Any::IntValue(-3)));
    assert_eq!(at("u"), Some(Any::StringValue(u64::MAX.to_string())));
    assert_eq!(at("d"), Some(Any::DoubleValue(1.5)));
    let Some(Any::ArrayValue(list)) = at("l") else { panic!("no list: {map:?}") };
    assert_eq!(list.values.len(), 2);
}

#[test]
fn json_deeper_than_the_limit_keeps_its_text() {
    let deep = (0..100).fold(serde_json::json!("x"), |value, _| serde_json::json!([value]));
    let mut out = Writer::new();
    Value::from(&deep).write(&mut out, 1);
    let text = String::from_utf8_lossy(out.as_slice()).into_owned();
    assert!(text.contains(r#"[[["x"]]]"#), "{text:?}");
}

#[test]
fn numbers_of_every_kind_are_the_bytes_of_prost() {
    #[derive(Clone, PartialEq, Message)]
    struct Numbers {
        #[prost(sint32, tag = "1")]
        zigzag: i32,
        #[prost(int32, tag = "2")]
        int: i32,
        #[prost(uint64, repeated, tag = "3")]
        packed: Vec<u64>,
        #[prost(double, repeated, tag = "16")]
        doubles: Vec<f64>,
    }
    for (zigzag, int, count) in [(0, 0, 0), (1, -1, 1), (-1, i32::MIN, 16), (i32::MIN, 127, 17), (i32::MAX, 128, 300)] {
        let packed: Vec<u64> = (0..count).map(|i| i * i * i * i * i).collect();
        let doubles: Vec<f64> = packed.iter().map(|&v| v as f64).collect();
        let mut out = Writer::new();
        out.sint32(1, zigzag);
        out.int(2, i64::from(int));
        out.packed_uint(3, packed.iter().copied());
        out.packed_fixed64(16, doubles.iter().map(|v| v.to_bits()));
        let message: Numbers = read(out.as_slice());
        assert_eq!(message, Numbers { zigzag, int, packed, doubles });
    }
}
