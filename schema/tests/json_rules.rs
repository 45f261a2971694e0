//! The rules of OTLP/JSON, one row a rule: OTLP O51–O59, what opentelemetry-proto's serde gets wrong, bad bodies.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use devmesh_schema::{
    Signal,
    otlp::json::{JsonError, Transcoded, to_protobuf},
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data, number_data_point},
    trace::v1::Span,
};
use prost::Message;

fn transcode(signal: Signal, json: &str) -> Result<Transcoded, JsonError> {
    to_protobuf(signal, json.as_bytes())
}

fn spans(json: &str) -> (Transcoded, Vec<Span>) {
    let done = transcode(Signal::Traces, json).unwrap_or_else(|e| panic!("{json}: {e}"));
    let request = ExportTraceServiceRequest::decode(&*done.request).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
    let spans = scopes.flat_map(|s| s.spans).collect();
    (done, spans)
}

fn span_json(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

fn span(fields: &str) -> Span {
    let (done, mut spans) = spans(&span_json(fields));
    assert_eq!((done.items, done.rejected), (1, 0), "{fields}: {done:?}");
    spans.remove(0)
}

fn records(json: &str) -> (Transcoded, Vec<LogRecord>) {
    let done = transcode(Signal::Logs, json).unwrap_or_else(|e| panic!("{json}: {e}"));
    let request = ExportLogsServiceRequest::decode(&*done.request).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|r| r.scope_logs);
    let records = scopes.flat_map(|s| s.log_records).collect();
    (done, records)
}

fn record_json(fields: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#)
}

fn record(fields: &str) -> LogRecord {
    records(&record_json(fields)).1.remove(0)
}

fn body(value: &str) -> Option<Value> {
    record(&format!(r#""body":{value}"#)).body.and_then(|body| body.value)
}

fn metrics(json: &str) -> (Transcoded, Vec<Metric>) {
    let done = transcode(Signal::Metrics, json).unwrap_or_else(|e| panic!("{json}: {e}"));
    let request = ExportMetricsServiceRequest::decode(&*done.request).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
    let metrics = scopes.flat_map(|s| s.metrics).collect();
    (done, metrics)
}

fn metric_json(fields: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{fields}}}]}}]}}]}}"#)
}

fn metric(fields: &str) -> Data {
    metrics(&metric_json(fields)).1.remove(0).data.unwrap_or_else(|| panic!("no data: {fields}"))
}

#[test]
fn ids_are_hex_of_any_case() {
    for id in ["5b8efff798038103d269b633813fc60c", "5B8EFFF798038103D269B633813FC60C"] {
        let span = span(&format!(r#""traceId":"{id}","spanId":"EEE19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173""#));
        assert_eq!(hex::encode(span.trace_id), id.to_lowercase());
        assert_eq!(hex::encode(span.span_id), "eee19b7ec3c1b174");
        assert_eq!(hex::encode(span.parent_span_id), "eee19b7ec3c1b173");
    }
}

#[test]
fn a_span_whose_id_is_none_is_rejected_alone() {
    let good = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"good"}"#;
    for bad in [
        r#"{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174"}"#,
        r#"{"traceId":"5b8efff798038103d269b633813fc60","spanId":"eee19b7ec3c1b174"}"#,
        r#"{"traceId":"5b8efff798038103","spanId":"eee19b7ec3c1b174"}"#,
        r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"xxx19b7ec3c1b174"}"#,
        r#"{"name":"bad","kind":2,"parentSpanId":"0"}"#,
    ] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{good},{bad},{good}]}}]}}]}}"#);
        let (done, spans) = spans(&json);
        assert_eq!((done.items, done.rejected, spans.len()), (2, 1, 2), "{bad}");
        assert_eq!(spans[1].name, "good");
        assert_eq!((done.rejections[0].index, done.rejections[0].reason), (1, "bad_id"));
        assert!(done.rejections[0].message.starts_with("resourceSpans[0].scopeSpans[0].spans[1]."), "{done:?}");
        assert_eq!([0, 1, 2].map(|kept| done.original_index(kept)), [0, 2, 3]);
    }
}

#[test]
fn an_id_of_a_log_record_that_is_none_is_dropped_with_a_warning() {
    let (done, records) = records(&record_json(r#""traceId":"zz","spanId":"00","severityNumber":9"#));
    assert_eq!((done.items, done.rejected), (1, 0));
    assert_eq!((records[0].trace_id.len(), records[0].span_id.len(), records[0].severity_number), (0, 0, 9));
    assert!(done.warnings[0].starts_with("2 ids of log records ignored"), "{done:?}");
}

#[test]
fn a_link_or_exemplar_whose_id_is_none_is_dropped_alone() {
    let span = span_json(
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","links":[{"traceId":"00"},{"flags":1}]"#,
    );
    let (done, spans) = spans(&span);
    assert_eq!((spans[0].links.len(), spans[0].links[0].flags, done.warnings.len()), (1, 1, 1));
    let (done, _) = metrics(&metric_json(r#""gauge":{"dataPoints":[{"asInt":1,"exemplars":[{"traceId":"q"},{}]}]}"#));
    assert_eq!((done.items, done.rejected, done.warnings.len()), (1, 0, 1));
}

#[test]
fn an_enum_is_an_integer_and_its_name_costs_the_item() {
    assert_eq!(span(r#""kind":2,"status":{"code":2}"#).kind, 2);
    let good = r#"{"name":"good"}"#;
    for bad in [r#"{"kind":"SPAN_KIND_SERVER"}"#, r#"{"status":{"code":"STATUS_CODE_ERROR"}}"#] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{bad},{good}]}}]}}]}}"#);
        let (done, spans) = spans(&json);
        assert_eq!((spans.len(), done.rejections[0].index, done.rejections[0].reason), (1, 0, "enum_name"));
        assert!(done.rejections[0].message.contains("writes enums as integers"), "{done:?}");
    }
    let (done, records) = records(&record_json(r#""severityNumber":"SEVERITY_NUMBER_INFO""#));
    assert_eq!((records.len(), done.rejected), (0, 1));
}

#[test]
fn a_fault_in_a_group_costs_all_its_items_and_no_others() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"a","gauge":{"dataPoints":[{"asInt":1}]}},
        {"name":"b","sum":{"dataPoints":[{"asInt":1},{"asInt":2}],"aggregationTemporality":"DELTA"}},
        {"name":"c","gauge":{"dataPoints":[{"asInt":3}]}}]}]}]}"#;
    let (done, metrics) = metrics(json);
    assert_eq!((done.items, done.rejected, metrics.len()), (2, 2, 3));
    assert_eq!(metrics[1].data, None);
    assert_eq!(done.rejections.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        done.rejections[0].message,
        "resourceMetrics[0].scopeMetrics[0].metrics[1].sum.aggregationTemporality: \
         `DELTA` is a name: OTLP/JSON writes enums as integers"
    );
    assert_eq!([1, 2].map(|kept| done.original_index(kept)), [3, 4]);

    let json = r#"{"resourceLogs":[
        {"scopeLogs":[{"logRecords":[{},{"severityNumber":"x"},{}]}],
         "resource":{"attributes":[{"key":"k","value":{"bytesValue":"!"}}]}},
        {"scopeLogs":[{"logRecords":[{"eventName":"kept"}]}]}]}"#;
    let (done, records) = records(json);
    assert_eq!((done.items, done.rejected, records.len()), (1, 3, 1));
    assert!(done.rejections.iter().all(|r| r.reason == "decode"), "{done:?}");
    assert_eq!(done.original_index(0), 3);
}

#[test]
fn only_the_first_rejections_are_named() {
    let bad = vec![r#"{"kind":"x"}"#; 1000].join(",");
    let (done, _) = spans(&format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{bad}]}}]}}]}}"#));
    assert_eq!((done.rejected, done.rejections.len()), (1000, 10));
}

#[test]
fn unknown_keys_are_passed_over_at_every_depth() {
    let json = r#"{"a":1,"resourceSpans":[{"b":[{}],"resource":{"c":{"d":[1]}},"scopeSpans":[{"scope":{"e":"f"},"g":null,
        "spans":[{"name":"x","h":-1.5e-3,"status":{"i":[[]]},"events":[{"j":true}],
        "attributes":[{"key":"k","l":"\u0041","value":{"stringValue":"v","m":false}}]}]}]}]}"#;
    let (done, spans) = spans(json);
    assert_eq!(spans[0].name, "x");
    assert_eq!(spans[0].attributes[0].value.as_ref().unwrap().value, Some(Value::StringValue("v".into())));
    assert_eq!(done.warnings, Vec::<String>::new());
}

#[test]
fn snake_case_keys_are_unknown_but_told_of() {
    let (done, spans) = spans(r#"{"resource_spans":[{"scope_spans":[]}]}"#);
    assert_eq!(spans.len(), 0);
    assert_eq!(done.warnings.len(), 1);
    assert!(done.warnings[0].contains("lowerCamelCase") && done.warnings[0].contains("resource_spans"), "{done:?}");
    assert_eq!(span(r#""trace_id":"00","name":"x""#).trace_id.len(), 0);
    let (done, _) = records(&record_json(r#""my_own_key":1"#));
    assert_eq!(done.warnings, Vec::<String>::new());
}

#[test]
fn integers_are_numbers_or_strings_and_exact() {
    for (json, expected) in [
        ("0", 0),
        (r#""0""#, 0),
        ("1544712661000000001", 1_544_712_661_000_000_001),
        (r#""1544712661000000001""#, 1_544_712_661_000_000_001),
        ("9007199254740993", (1 << 53) + 1),
        ("18446744073709551615", u64::MAX),
        (r#""18446744073709551615""#, u64::MAX),
        ("1e3", 1000),
        (r#""1e3""#, 1000),
        ("1.0", 1),
    ] {
        assert_eq!(span(&format!(r#""startTimeUnixNano":{json}"#)).start_time_unix_nano, expected, "{json}");
    }
    for (json, expected) in [("-9223372036854775808", i64::MIN), (r#""-1""#, -1), ("1e3", 1000), ("-0", 0)] {
        assert_eq!(body(&format!(r#"{{"intValue":{json}}}"#)), Some(Value::IntValue(expected)), "{json}");
    }
    assert_eq!(record(r#""flags":"1","droppedAttributesCount":"7""#).flags, 1);
}

#[test]
fn what_is_no_integer_or_out_of_range_names_its_path() {
    for value in [
        "1e19",
        "1.5",
        r#""-1""#,
        "-1",
        r#""0x10""#,
        r#""""#,
        r#""1 ""#,
        "18446744073709551616",
        "true",
        "[]",
        "{}",
        r#""NaN""#,
    ] {
        let json = span_json(&format!(r#""startTimeUnixNano":{value}"#));
        let error = transcode(Signal::Traces, &json).unwrap_err();
        assert_eq!(error.path, "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano", "{value}");
        assert!(error.to_string().starts_with(&error.path), "{error}");
    }
    for value in ["9223372036854775808", r#""9223372036854775808""#, "1e19", "1.5", r#""0x10""#] {
        let error = transcode(Signal::Logs, &record_json(&format!(r#""body":{{"intValue":{value}}}"#))).unwrap_err();
        assert_eq!(error.path, "resourceLogs[0].scopeLogs[0].logRecords[0].body.intValue", "{value}");
    }
    assert!(transcode(Signal::Logs, &record_json(r#""flags":4294967296"#)).is_err());
}

#[test]
fn doubles_are_numbers_or_strings() {
    let double = |json: &str| match body(&format!(r#"{{"doubleValue":{json}}}"#)) {
        Some(Value::DoubleValue(value)) => value,
        other => panic!("{json}: {other:?}"),
    };
    assert!(double(r#""NaN""#).is_nan());
    for (json, expected) in [
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        ("1.5", 1.5),
        (r#""1.5""#, 1.5),
        ("-1e-3", -0.001),
        ("7", 7.0),
        ("0", 0.0),
    ] {
        assert_eq!(double(json), expected, "{json}");
    }
    for json in ["NaN", "Infinity", r#""nan""#, r#""inf""#, r#""""#, "1e400", "true", r#""1,5""#] {
        assert!(
            transcode(Signal::Logs, &record_json(&format!(r#""body":{{"doubleValue":{json}}}"#))).is_err(),
            "{json}"
        );
    }
}

#[test]
fn bytes_are_base64_of_either_alphabet_padded_or_not() {
    for json in [r#""+/8=""#, r#""+/8""#, r#""-_8=""#, r#""-_8""#] {
        assert_eq!(body(&format!(r#"{{"bytesValue":{json}}}"#)), Some(Value::BytesValue(vec![0xfb, 0xff])), "{json}");
    }
    assert_eq!(body(r#"{"bytesValue":""}"#), Some(Value::BytesValue(vec![])));
    let (done, records) = records(&record_json(r#""body":{"bytesValue":"a"}"#));
    assert_eq!((records.len(), done.rejected, done.rejections[0].reason), (0, 1, "decode"));
}

#[test]
fn null_is_absent_at_every_field() {
    let names = ["traceId", "kind", "droppedAttributesCount", "startTimeUnixNano", "attributes", "events", "status"];
    for name in names {
        assert_eq!(span(&format!(r#""{name}":null"#)), Span::default(), "{name}");
    }
    assert_eq!(record(r#""body":null,"flags":null"#), LogRecord::default());
    assert_eq!(body("{}"), None);
    assert_eq!(record(r#""body":{}"#).body, Some(AnyValue::default()));
    assert_eq!(body(r#"{"stringValue":"x","intValue":null}"#), Some(Value::StringValue("x".into())));
    assert!(spans(r#"{"resourceSpans":null}"#).1.is_empty());
    assert!(spans(r#"{"resourceSpans":[null,{"scopeSpans":null}]}"#).1.is_empty());
    let point = match metric(r#""histogram":{"dataPoints":[{"sum":null,"min":null,"max":0,"count":"0"}]}"#) {
        Data::Histogram(histogram) => histogram.data_points[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((point.sum, point.min, point.max), (None, None, Some(0.0)));
}

#[test]
fn empty_lists_and_maps_are_kept() {
    assert!(matches!(body(r#"{"arrayValue":{}}"#), Some(Value::ArrayValue(list)) if list.values.is_empty()));
    assert!(matches!(body(r#"{"kvlistValue":{}}"#), Some(Value::KvlistValue(map)) if map.values.is_empty()));
    let list = match body(r#"{"arrayValue":{"values":[{},null,{"stringValue":""}]}}"#) {
        Some(Value::ArrayValue(list)) => list.values,
        other => panic!("{other:?}"),
    };
    assert_eq!(list[2].value, Some(Value::StringValue(String::new())));
    assert_eq!((list.len(), &list[0].value, &list[1].value), (3, &None, &None));
}

#[test]
fn points_take_numbers_in_strings() {
    for (json, expected) in [
        (r#""asDouble":"1.5""#, number_data_point::Value::AsDouble(1.5)),
        (r#""asInt":"-5""#, number_data_point::Value::AsInt(-5)),
        (r#""asInt":0"#, number_data_point::Value::AsInt(0)),
        (r#""asDouble":0"#, number_data_point::Value::AsDouble(0.0)),
    ] {
        let Data::Gauge(gauge) = metric(&format!(r#""gauge":{{"dataPoints":[{{{json}}}]}}"#)) else { panic!("{json}") };
        assert_eq!(gauge.data_points[0].value, Some(expected), "{json}");
    }
    let Data::Gauge(gauge) = metric(r#""gauge":{"dataPoints":[{"asDouble":"NaN"}]}"#) else { panic!() };
    assert!(matches!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(v)) if v.is_nan()));
    let json = r#""histogram":{"dataPoints":[{"explicitBounds":["1.5",2,"Infinity"],"bucketCounts":["1",2,"3",4]}]}"#;
    let Data::Histogram(histogram) = metric(json) else { panic!() };
    assert_eq!(histogram.data_points[0].explicit_bounds, [1.5, 2.0, f64::INFINITY]);
    assert_eq!(histogram.data_points[0].bucket_counts, [1, 2, 3, 4]);
    let json = r#""exponentialHistogram":{"dataPoints":[{"scale":-3,"positive":{"offset":-1,"bucketCounts":["0",300]},"negative":{}}]}"#;
    let Data::ExponentialHistogram(histogram) = metric(json) else { panic!() };
    let point = &histogram.data_points[0];
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((point.scale, positive.offset, &positive.bucket_counts[..]), (-3, -1, &[0, 300][..]));
    assert_eq!(point.negative, Some(Default::default()));
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    let span = span(
        r#""name":"a","attributes":[{"key":"x"}],"kind":3,"attributes":[{"key":"y"},{"key":"z"}],"name":"b","kind":null"#,
    );
    assert_eq!((span.name.as_str(), span.kind), ("b", 0));
    assert_eq!(span.attributes.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["y", "z"]);
    assert_eq!(body(r#"{"stringValue":"x","intValue":1}"#), Some(Value::IntValue(1)));
    assert_eq!(body(r#"{"arrayValue":{"values":[{}]},"arrayValue":{}}"#), Some(Value::ArrayValue(Default::default())));
    let json =
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{},{"kind":"x"}],"spans":[{"kind":"x"},{"name":"n"}]}]}]}"#;
    let (done, spans) = spans(json);
    assert_eq!((done.items, done.rejected, done.original_index(0), spans.len()), (1, 1, 1, 1));
}

#[test]
fn strings_keep_what_json_can_say() {
    for (json, expected) in [
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u00E9""#, "éé"),
        (r#""\ud83d\ude00 \uD83D\uDE00""#, "😀 😀"),
        (r#""a\ud800b""#, "a\u{fffd}b"),
        (r#""\udc00\ud800""#, "\u{fffd}\u{fffd}"),
        (r#""\ud800\u0041""#, "\u{fffd}A"),
        (r#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}"),
        (r#""\u0000\uffff""#, "\0\u{ffff}"),
        (r#""😀é""#, "😀é"),
    ] {
        assert_eq!(body(&format!(r#"{{"stringValue":{json}}}"#)), Some(Value::StringValue(expected.into())), "{json}");
    }
    assert_eq!(record(r#""\u0065ventName":"e""#).event_name, "e");
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    for signal in Signal::ALL {
        assert_eq!(transcode(signal, "{}").unwrap(), Transcoded::default());
        assert_eq!(transcode(signal, " \t\r\n{ } \n").unwrap(), Transcoded::default());
        for json in ["", " ", "null", "[]", r#""x""#, "1", "true", "{", "}", "{}{}", "{} x", "{},", "{}\0"] {
            assert!(transcode(signal, json).is_err(), "{json}");
        }
    }
    for json in [
        "\u{feff}{}",
        r#"{"a":1,}"#,
        r#"{"a":[1,]}"#,
        r#"{,"a":1}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{'a':1}"#,
        r#"{a:1}"#,
        r#"{"a":NaN}"#,
        r#"{"a":-Infinity}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":+1}"#,
        r#"{"a":1e}"#,
        r#"{"a":0x10}"#,
        r#"{"a":nul}"#,
        r#"{"a":nullx}"#,
        r#"{"a":True}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\u+123"}"#,
        r#"{"a":"x}"#,
        "{\"a\":\"\n\"}",
        r#"{"a":[}"#,
        r#"{"a":{]}"#,
        "{/* x */}",
        "{} // x",
        r#"{"resourceLogs":{}}"#,
        r#"{"resourceLogs":"x"}"#,
        r#"{"resourceLogs":[1]}"#,
        r#"{"resourceLogs":[[]]}"#,
    ] {
        let error = transcode(Signal::Logs, json).unwrap_err();
        assert!(!error.reason.is_empty(), "{json}");
    }
    let error = to_protobuf(Signal::Logs, b"{\"a\":\"\xff\"}").unwrap_err();
    assert_eq!((error.offset, error.reason.as_str()), (6, "the body is no UTF-8"));
    assert!(to_protobuf(Signal::Logs, &[0x0a, 0x00]).is_err());
}

/// A value of so many levels.
fn nested(levels: usize) -> String {
    let inner = levels - 1;
    format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(inner), "]}}".repeat(inner))
}

#[test]
fn nesting_ends_at_the_limit_and_fails_at_once() {
    assert!(transcode(Signal::Logs, &record_json(&format!(r#""body":{}"#, nested(64)))).is_ok());
    for levels in [65, 128, 100_000] {
        let error = transcode(Signal::Logs, &record_json(&format!(r#""body":{}"#, nested(levels)))).unwrap_err();
        assert!(error.reason.contains("deeper than 64"), "{error}");
    }
    let unknown = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(transcode(Signal::Logs, &unknown(64)).is_ok());
    assert!(transcode(Signal::Logs, &unknown(65)).is_err());
    let many = "[".repeat(1_000_000);
    for json in [many.clone(), format!(r#"{{"x":{many}"#), record_json(&format!(r#""body":{many}"#))] {
        assert!(transcode(Signal::Logs, &json).is_err());
    }
    let alternating = r#"{"kvlistValue":{"values":[{"value":"#.repeat(63) + "{}" + &"}]}}".repeat(63);
    assert!(transcode(Signal::Logs, &record_json(&format!(r#""body":{alternating}"#))).is_ok());
}

#[test]
fn an_item_that_is_rejected_may_nest_as_deep_as_another() {
    let deep = r#"{"kvlistValue":{"values":[{"value":"#.repeat(63) + "{}" + &"}]}}".repeat(63);
    let json = record_json(&format!(r#""body":{deep},"severityNumber":"x""#));
    assert_eq!(records(&json).0.rejected, 1);
}

#[test]
fn the_sample_of_the_specification_is_read() {
    let json = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
     "scopeSpans":[{"scope":{"name":"my.lib","version":"1"},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174",
     "parentSpanId":"eee19b7ec3c1b173","name":"op","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
     "attributes":[{"key":"n","value":{"intValue":"42"}}],"status":{"code":2,"message":"boom"},"futureField":{"x":[1]}}]}]}]}"#;
    let (_, spans) = spans(json);
    assert_eq!(spans[0].status.as_ref().map(|s| (s.code, s.message.as_str())), Some((2, "boom")));
    assert_eq!(spans[0].end_time_unix_nano, 1_544_712_661_000_000_000);
}
