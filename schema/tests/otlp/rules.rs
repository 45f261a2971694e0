//! One table for each rule about logs, spans and what all signals share.

use arrow_array::{Array, RecordBatch, cast::AsArray, types::*};
use devmesh_schema::{
    Signal, limits,
    otlp::{DecodeError, Decoded, decode, encode, wire::put_bytes},
    stored,
};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message;

use crate::{RECEIVED, context};

const FUTURE: u64 = RECEIVED as u64 + 600_000_000_000;

pub(crate) fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(crate) fn string(text: &str) -> Value {
    Value::StringValue(text.into())
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(value)), ..Default::default() }
}

fn request(resource: Option<Resource>, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn try_log(record: LogRecord) -> Result<Decoded, DecodeError> {
    decode(Signal::Logs, &request(None, vec![record]), context())
}

fn log(record: LogRecord) -> RecordBatch {
    try_log(record).unwrap().rows
}

fn back(rows: &RecordBatch) -> LogRecord {
    let mut request = ExportLogsServiceRequest::decode(&*encode(Signal::Logs, rows).unwrap()).unwrap();
    request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

/// A cell as text, whatever its type; `None` for NULL and for a column that isn't there.
pub(crate) fn cell(rows: &RecordBatch, name: &str) -> Option<String> {
    let array = rows.column_by_name(name)?;
    if array.data_type().is_dictionary_with_binary() {
        return None;
    }
    let plain = arrow_cast::cast(array, &arrow_schema::DataType::Utf8).unwrap();
    plain.is_valid(0).then(|| plain.as_string::<i32>().value(0).to_owned())
}

trait IsBinary {
    fn is_dictionary_with_binary(&self) -> bool;
}

impl IsBinary for arrow_schema::DataType {
    fn is_dictionary_with_binary(&self) -> bool {
        matches!(self, Self::Dictionary(_, value) if **value == Self::Binary)
    }
}

pub(crate) fn time(rows: &RecordBatch) -> i64 {
    rows.column_by_name(stored::TIME).unwrap().as_primitive::<TimestampNanosecondType>().value(0)
}

pub(crate) fn wire_time(rows: &RecordBatch) -> Option<u64> {
    rows.column_by_name(stored::WIRE_TIME).map(|array| array.as_primitive::<UInt64Type>().value(0))
}

#[test]
fn an_empty_request_has_no_rows() {
    for signal in Signal::ALL {
        for bytes in [vec![], vec![0x0A, 0], vec![0x0A, 2, 0x12, 0]] {
            let decoded = decode(signal, &bytes, context()).unwrap();
            assert_eq!((decoded.rows.num_rows(), decoded.rejected), (0, 0));
            assert_eq!(encode(signal, &decoded.rows).unwrap(), Vec::<u8>::new());
        }
    }
}

#[test]
fn a_logs_time_is_its_own_then_the_observed_then_that_of_receipt() {
    let now = RECEIVED as u64;
    let table = [
        (5, 7, 5, None),
        (0, 7, 7, Some(0)),
        (0, 0, now, Some(0)),
        (0, FUTURE + 1, now, Some(0)),
        (FUTURE, 7, FUTURE, None),
        (FUTURE + 1, 7, now, Some(FUTURE + 1)),
        (u64::MAX, 0, now, Some(u64::MAX)),
        (i64::MAX as u64 + 1, 0, now, Some(i64::MAX as u64 + 1)),
    ];
    for (sent, observed, expected, wire) in table {
        let rows = log(LogRecord { time_unix_nano: sent, observed_time_unix_nano: observed, ..Default::default() });
        assert_eq!((time(&rows) as u64, wire_time(&rows)), (expected, wire), "{sent} {observed}");
        assert_eq!(back(&rows).time_unix_nano, sent);
    }
}

#[test]
fn ids_of_a_log_that_are_none_are_null() {
    for (id, kept) in
        [(vec![], false), (vec![1; 8], false), (vec![1; 17], false), (vec![0; 16], false), (vec![1; 16], true)]
    {
        let rows = log(LogRecord { trace_id: id.clone(), ..Default::default() });
        assert_eq!(rows.column_by_name(stored::TRACE_ID).is_some(), kept, "{id:?}");
    }
    for (id, kept) in [(vec![], false), (vec![1; 7], false), (vec![0; 8], false), (vec![1; 8], true)] {
        let rows = log(LogRecord { span_id: id.clone(), ..Default::default() });
        assert_eq!(rows.column_by_name(stored::SPAN_ID).is_some(), kept, "{id:?}");
    }
}

#[test]
fn a_body_is_text_whatever_it_was() {
    let list = Value::ArrayValue(ArrayValue {
        values: vec![any(string("a\"")), any(Value::IntValue(2)), AnyValue { value: None }],
    });
    let map = Value::KvlistValue(KeyValueList {
        values: vec![
            attribute("k", Value::DoubleValue(f64::NAN)),
            attribute("b", Value::BytesValue(vec![1, 2, 3])),
            attribute("l", list.clone()),
        ],
    });
    let table = [
        (string("hello"), Some("hello")),
        (string(""), Some("")),
        (Value::IntValue(-7), Some("-7")),
        (Value::DoubleValue(1.0), Some("1")),
        (Value::DoubleValue(0.5), Some("0.5")),
        (Value::DoubleValue(f64::NEG_INFINITY), Some("-Infinity")),
        (Value::BoolValue(true), Some("true")),
        (Value::BytesValue(vec![0xFF, 0xFE]), Some("//4=")),
        (list, Some(r#"["a\"",2,null]"#)),
        (map, Some(r#"{"k":"NaN","b":"AQID","l":["a\"",2,null]}"#)),
    ];
    for (value, expected) in table {
        let rows = log(LogRecord { body: Some(any(value.clone())), ..Default::default() });
        assert_eq!(cell(&rows, stored::BODY).as_deref(), expected);
        assert_eq!(rows.column_by_name(stored::BODY_VALUE).is_some(), !matches!(value, Value::StringValue(_)));
        assert_eq!(
            back(&rows).encode_to_vec(),
            LogRecord { body: Some(any(value)), ..Default::default() }.encode_to_vec()
        );
    }
    let empty = log(LogRecord { body: Some(AnyValue { value: None }), ..Default::default() });
    assert_eq!(cell(&empty, stored::BODY), None);
    assert_eq!(back(&empty).body, Some(AnyValue { value: None }));
    let absent = log(LogRecord::default());
    assert_eq!((cell(&absent, stored::BODY), back(&absent).body), (None, None));
}

#[test]
fn a_long_body_is_cut_where_a_character_ends_and_says_so() {
    let table = [
        ("x".repeat(limits::LOG_BODY_BYTES), limits::LOG_BODY_BYTES),
        ("x".repeat(limits::LOG_BODY_BYTES + 7), limits::LOG_BODY_BYTES),
        ("€".repeat(limits::LOG_BODY_BYTES / 3 + 5), limits::LOG_BODY_BYTES / 3 * 3),
        (format!("{}🦀", "x".repeat(limits::LOG_BODY_BYTES - 1)), limits::LOG_BODY_BYTES - 1),
    ];
    for (body, kept) in table {
        let rows = log(LogRecord { body: Some(any(string(&body))), ..Default::default() });
        assert_eq!(cell(&rows, stored::BODY).unwrap(), body[..kept]);
        let cut = (body.len() - kept) as i64;
        let note = cell(&rows, "attributes.i:devmesh.truncated_bytes");
        assert_eq!(note, (cut > 0).then(|| cut.to_string()));
    }
    let list = Value::ArrayValue(ArrayValue { values: vec![any(string(&"x".repeat(limits::LOG_BODY_BYTES)))] });
    let rows = log(LogRecord { body: Some(any(list)), ..Default::default() });
    assert_eq!(cell(&rows, stored::BODY).unwrap().len(), limits::LOG_BODY_BYTES);
    assert_eq!(cell(&rows, "attributes.i:devmesh.truncated_bytes").as_deref(), Some("4"));
}

#[test]
fn each_type_of_attribute_has_its_column() {
    let table = [
        (string("x"), "attributes.s:k", "x"),
        (string(""), "attributes.s:k", ""),
        (string("0B1D7A2C-3F4E-4A5B-8C6D-7E8F90A1B2C3"), "attributes.s:k", "0B1D7A2C-3F4E-4A5B-8C6D-7E8F90A1B2C3"),
        (Value::IntValue(i64::MIN), "attributes.i:k", "-9223372036854775808"),
        (Value::DoubleValue(0.5), "attributes.d:k", "0.5"),
        (Value::BoolValue(false), "attributes.b:k", "false"),
    ];
    for (value, column, expected) in table {
        let rows = log(LogRecord { attributes: vec![attribute("k", value)], ..Default::default() });
        assert_eq!(cell(&rows, column).as_deref(), Some(expected), "{column}");
    }
    let uuid = "0b1d7a2c-3f4e-4a5b-8c6d-7e8f90a1b2c3";
    let rows = log(LogRecord { attributes: vec![attribute("k", string(uuid))], ..Default::default() });
    let column = rows.column_by_name("attributes.u:k").unwrap().as_fixed_size_binary();
    assert_eq!(column.value(0)[..4], [0x0B, 0x1D, 0x7A, 0x2C]);
}

#[test]
fn attributes_beyond_the_limits_are_dropped_and_counted() {
    let many: Vec<KeyValue> = (0..300).map(|i| attribute(&format!("k{i}"), Value::IntValue(i))).collect();
    let decoded = back(&log(LogRecord { attributes: many, dropped_attributes_count: 5, ..Default::default() }));
    assert_eq!((decoded.attributes.len(), decoded.dropped_attributes_count), (256, 49));
    assert_eq!(decoded.attributes[255].key, "k255");

    let nameless = vec![attribute("", Value::IntValue(1)), attribute("a", Value::IntValue(2))];
    let decoded = back(&log(LogRecord { attributes: nameless, ..Default::default() }));
    assert_eq!((decoded.attributes, decoded.dropped_attributes_count), (vec![attribute("a", Value::IntValue(2))], 1));

    let long_list = Value::ArrayValue(ArrayValue { values: vec![any(string(&"x".repeat(70_000)))] });
    let decoded = back(&log(LogRecord { attributes: vec![attribute("a", long_list)], ..Default::default() }));
    assert_eq!((decoded.attributes.len(), decoded.dropped_attributes_count), (0, 1));
}

#[test]
fn long_keys_and_values_are_cut() {
    let long = |end: &str| format!("{}{end}", "ü".repeat(500));
    let list = vec![
        attribute(&long("a"), Value::IntValue(1)),
        attribute(&long("b"), Value::IntValue(2)),
        attribute(&long("c"), Value::BytesValue(vec![7])),
        attribute("v", string(&"x".repeat(70_000))),
    ];
    let record = back(&log(LogRecord { attributes: list, ..Default::default() }));
    assert_eq!(record.attributes.len(), 4);
    for attribute in &record.attributes[..3] {
        assert!(attribute.key.len() <= limits::KEY_BYTES && attribute.key.starts_with("üü"));
    }
    assert_ne!(record.attributes[0].key, record.attributes[1].key);
    assert_eq!(record.attributes[2].value, Some(any(Value::BytesValue(vec![7]))));
    assert_eq!(record.attributes[3].value, Some(any(string(&"x".repeat(limits::VALUE_BYTES)))));
}

#[test]
fn of_equal_keys_the_last_wins() {
    let list = vec![
        attribute("a", Value::IntValue(1)),
        attribute("b", Value::IntValue(2)),
        attribute("a", string("x")),
        attribute("c", Value::BytesValue(vec![1])),
        attribute("c", Value::BytesValue(vec![2])),
    ];
    let records = vec![LogRecord { attributes: list, ..Default::default() }; 2];
    let rows = decode(Signal::Logs, &request(None, records), context()).unwrap().rows;
    let expected = vec![
        attribute("b", Value::IntValue(2)),
        attribute("a", string("x")),
        attribute("c", Value::BytesValue(vec![2])),
    ];
    assert_eq!(back(&rows).attributes, expected);
    assert_eq!(back(&rows.slice(1, 1)).attributes, expected);
    assert_eq!(cell(&rows, "attributes.s:a").as_deref(), Some("x"));
}

#[test]
fn values_nest_to_the_limit_and_no_deeper() {
    let nested = |depth: usize| {
        let mut value = any(Value::IntValue(1)).encode_to_vec();
        for _ in 1..depth {
            let mut list = Vec::new();
            put_bytes(&mut list, 1, &value);
            value.clear();
            put_bytes(&mut value, 5, &list);
        }
        value
    };
    let table = [(1, true), (48, true), (64, true), (65, false), (100, false), (10_000, false)];
    for (depth, taken) in table {
        let value = nested(depth);
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, b"k");
        put_bytes(&mut entry, 2, &value);
        for (field, bytes) in [(5, &value), (6, &entry)] {
            let mut request = Vec::new();
            put_bytes(&mut request, field, bytes);
            for _ in 0..2 {
                let inner = std::mem::take(&mut request);
                put_bytes(&mut request, 2, &inner);
            }
            let inner = std::mem::take(&mut request);
            put_bytes(&mut request, 1, &inner);
            let decoded = decode(Signal::Logs, &request, context());
            assert_eq!(decoded.is_ok(), taken, "{depth} in field {field}");
            if let Ok(decoded) = decoded {
                encode(Signal::Logs, &decoded.rows).unwrap();
            }
        }
    }
}

#[test]
fn text_that_is_no_utf8_is_repaired_and_counted() {
    let marker = "\u{1}\u{1}\u{1}";
    let resource = Some(Resource { attributes: vec![attribute(marker, string("v"))], ..Default::default() });
    let records = vec![LogRecord {
        severity_text: marker.into(),
        body: Some(any(string(marker))),
        attributes: vec![
            attribute("a", string(marker)),
            attribute(marker, Value::IntValue(1)),
            attribute("l", Value::ArrayValue(ArrayValue { values: vec![any(string(marker))] })),
        ],
        ..Default::default()
    }];
    let mut bytes = request(resource, records);
    for i in 0..bytes.len() - 2 {
        if bytes[i..i + 3] == [1, 1, 1] {
            bytes[i..i + 3].copy_from_slice(&[b'a', 0xFF, b'b']);
        }
    }
    assert!(ExportLogsServiceRequest::decode(&*bytes).is_err());
    let decoded = decode(Signal::Logs, &bytes, context()).unwrap();
    assert_eq!(decoded.repaired, 6);
    assert_eq!(cell(&decoded.rows, stored::BODY).as_deref(), Some("a\u{fffd}b"));
    assert_eq!(cell(&decoded.rows, stored::SEVERITY_TEXT).as_deref(), Some("a\u{fffd}b"));
    assert_eq!(cell(&decoded.rows, "attributes.i:a\u{fffd}b").as_deref(), Some("1"));
    let record = back(&decoded.rows);
    let list = Value::ArrayValue(ArrayValue { values: vec![any(string("a\u{fffd}b"))] });
    assert_eq!(record.attributes[2], attribute("l", list));
}

#[test]
fn service_host_and_source_are_those_of_the_resource() {
    type Texts = &'static [(&'static str, &'static str)];
    let table: [(Texts, [&str; 3]); 5] = [
        (&[], ["", "", "otlp"]),
        (&[("service.name", "cart"), ("host.name", "h1"), ("devmesh.source", "journald")], ["cart", "h1", "journald"]),
        (&[("k8s.node.name", "n1")], ["", "n1", "otlp"]),
        (&[("k8s.node.name", "n1"), ("host.name", "h1")], ["", "h1", "otlp"]),
        (
            &[("service.name", "0b1d7a2c-3f4e-4a5b-8c6d-7e8f90a1b2c3")],
            ["0b1d7a2c-3f4e-4a5b-8c6d-7e8f90a1b2c3", "", "otlp"],
        ),
    ];
    for (list, expected) in table {
        let attributes = list.iter().map(|(key, value)| attribute(key, string(value))).collect();
        let resource = Some(Resource { attributes, ..Default::default() });
        let rows = decode(Signal::Logs, &request(resource, vec![LogRecord::default()]), context()).unwrap().rows;
        let actual = [stored::SERVICE, stored::HOST, stored::SOURCE].map(|name| cell(&rows, name).unwrap());
        assert_eq!(actual, expected);
    }
}

fn spans(spans: Vec<Span>) -> Decoded {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    decode(Signal::Traces, &ExportTraceServiceRequest { resource_spans }.encode_to_vec(), context()).unwrap()
}

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        start_time_unix_nano: 10,
        end_time_unix_nano: 15,
        ..Default::default()
    }
}

fn back_span(rows: &RecordBatch) -> Span {
    let mut request = ExportTraceServiceRequest::decode(&*encode(Signal::Traces, rows).unwrap()).unwrap();
    request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0)
}

#[test]
fn spans_with_ids_that_are_none_are_rejected_and_the_others_kept() {
    let bad = [
        Span { trace_id: vec![], ..span() },
        Span { trace_id: vec![1; 15], ..span() },
        Span { trace_id: vec![1; 17], ..span() },
        Span { trace_id: vec![0; 16], ..span() },
        Span { span_id: vec![], ..span() },
        Span { span_id: vec![1; 16], ..span() },
        Span { span_id: vec![0; 8], ..span() },
    ];
    for span_without_id in bad {
        let decoded = spans(vec![span(), span_without_id, span()]);
        assert_eq!((decoded.rows.num_rows(), decoded.rejected), (2, 1));
        assert_eq!((decoded.rejections[0].index, decoded.rejections[0].reason), (1, "bad_id"));
    }
    let decoded = spans(vec![Span { span_id: vec![], ..span() }; 25]);
    assert_eq!((decoded.rejected, decoded.rejections.len()), (25, limits::REJECTIONS_NAMED));
}

#[test]
fn a_span_has_a_time_and_a_duration_whatever_was_sent() {
    let now = RECEIVED as u64;
    let table = [
        (10, 15, 10, 5),
        (10, 10, 10, 0),
        (10, 7, 10, 0),
        (10, 0, 10, 0),
        (0, 15, now, 0),
        (0, 0, now, 0),
        (FUTURE + 1, FUTURE + 5, now, 4),
        (u64::MAX, 3, now, 0),
        (1, u64::MAX, 1, 0),
    ];
    for (start, end, expected, duration) in table {
        let rows = spans(vec![Span { start_time_unix_nano: start, end_time_unix_nano: end, ..span() }]).rows;
        assert_eq!(time(&rows) as u64, expected, "{start} {end}");
        assert_eq!(cell(&rows, stored::DURATION_NS).unwrap(), duration.to_string(), "{start} {end}");
        let sent = back_span(&rows);
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (start, end));
    }
}

#[test]
fn unknown_kinds_and_codes_are_their_numbers() {
    for (kind, expected) in [(0, "UNSPECIFIED"), (2, "SERVER"), (5, "CONSUMER"), (6, "6"), (-1, "-1")] {
        assert_eq!(cell(&spans(vec![Span { kind, ..span() }]).rows, stored::KIND).as_deref(), Some(expected));
    }
    for (code, expected) in [(0, "UNSET"), (1, "OK"), (2, "ERROR"), (3, "3")] {
        let rows = spans(vec![Span { status: Some(Status { code, ..Default::default() }), ..span() }]).rows;
        assert_eq!(cell(&rows, stored::STATUS_CODE).as_deref(), Some(expected));
    }
}

#[test]
fn events_beyond_the_limit_are_dropped_and_counted() {
    let events = vec![Event { name: "e".into(), ..Default::default() }; limits::SPAN_CHILDREN + 3];
    let span = back_span(&spans(vec![Span { events, dropped_events_count: 4, ..span() }]).rows);
    assert_eq!((span.events.len(), span.dropped_events_count), (limits::SPAN_CHILDREN, 7));
}

#[test]
fn a_parent_of_zeros_is_none() {
    let rows = spans(vec![Span { parent_span_id: vec![0; 8], ..span() }]).rows;
    assert!(rows.column_by_name(stored::PARENT_SPAN_ID).is_none());
}

#[test]
fn items_beyond_the_limit_are_rejected() {
    // A million empty records are two bytes each.
    let mut scope = Vec::new();
    for _ in 0..limits::ITEMS + 2 {
        put_bytes(&mut scope, 2, b"");
    }
    let mut group = Vec::new();
    put_bytes(&mut group, 2, &scope);
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &group);
    let decoded = decode(Signal::Logs, &request, context()).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.rejected), (limits::ITEMS, 2));
    assert_eq!((decoded.rejections[0].index, decoded.rejections[0].reason), (limits::ITEMS as u64, "too_many_items"));
}
