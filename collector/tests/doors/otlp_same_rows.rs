//! Checklist O60: the same request as protobuf and as JSON becomes the same rows.

use devmesh_schema::Signal;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Any};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::*;

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,12}".prop_map(|text| Some(Any::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Any::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Any::IntValue(value))),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| Some(Any::DoubleValue(value))),
        vec(any::<u8>(), 0..8).prop_map(|bytes| Some(Any::BytesValue(bytes))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4)
                .prop_map(|values| AnyValue { value: Some(Any::ArrayValue(ArrayValue { values })) }),
            attributes(inner).prop_map(|values| AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }),
        ]
    })
}

fn attributes(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    vec(value, 0..4).prop_map(|values| {
        values.into_iter().enumerate().map(|(n, value)| attribute(&format!("key.{n}"), value)).collect()
    })
}

fn json_value(value: &AnyValue) -> Value {
    use base64::Engine;
    match &value.value {
        None => json!({}),
        Some(Any::StringValue(text)) => json!({ "stringValue": text }),
        Some(Any::BoolValue(value)) => json!({ "boolValue": value }),
        Some(Any::IntValue(value)) => json!({"intValue": value.to_string()}),
        Some(Any::DoubleValue(value)) => json!({ "doubleValue": value }),
        Some(Any::BytesValue(bytes)) => {
            json!({"bytesValue": base64::engine::general_purpose::STANDARD.encode(bytes)})
        }
        Some(Any::ArrayValue(list)) => {
            json!({"arrayValue": {"values": list.values.iter().map(json_value).collect::<Vec<_>>()}})
        }
        Some(Any::KvlistValue(map)) => json!({"kvlistValue": {"values": json_attributes(&map.values)}}),
        Some(other) => panic!("{other:?} is not for JSON"),
    }
}

fn json_attributes(attributes: &[KeyValue]) -> Vec<Value> {
    let entry = |entry: &KeyValue| json!({"key": entry.key, "value": entry.value.as_ref().map(json_value)});
    attributes.iter().map(entry).collect()
}

type Case = (Vec<KeyValue>, AnyValue, u64, i32, [u8; 16], f64);

fn case() -> impl Strategy<Value = Case> {
    let id = any::<[u8; 16]>().prop_filter("not zero", |id| id.iter().any(|byte| *byte != 0));
    (attributes(any_value()), any_value(), 1..TIME, 0..25_i32, id, -1e9..1e9_f64)
}

/// The same records as protobuf and as JSON.
fn requests(case: &Case) -> [(&'static str, Signal, Vec<u8>, Value); 3] {
    let (attributes, body, time, number, id, reading) = case;
    let mut record = log("");
    (record.attributes, record.body) = (attributes.clone(), Some(body.clone()));
    (record.time_unix_nano, record.severity_number, record.trace_id) = (*time, *number, id.to_vec());
    let json_log = json!({
        "timeUnixNano": time.to_string(), "observedTimeUnixNano": (TIME + 1).to_string(), "severityNumber": number,
        "severityText": "INFO", "body": json_value(body), "attributes": json_attributes(attributes),
        "traceId": hex::encode(id),
    });
    let mut work = span("work");
    (work.attributes, work.start_time_unix_nano, work.trace_id) = (attributes.clone(), *time, id.to_vec());
    let json_span = json!({
        "traceId": hex::encode(id), "spanId": "cdcdcdcdcdcdcdcd", "name": "work", "kind": 2,
        "startTimeUnixNano": time.to_string(), "endTimeUnixNano": (TIME + 5).to_string(),
        "attributes": json_attributes(attributes),
    });
    let mut measured = point(*reading);
    (measured.attributes, measured.time_unix_nano) = (attributes.clone(), *time);
    let json_point =
        json!({"timeUnixNano": time.to_string(), "asDouble": reading, "attributes": json_attributes(attributes)});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    [
        (
            "/v1/logs",
            Signal::Logs,
            logs(vec![record]),
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [json_log]}]}]}),
        ),
        (
            "/v1/traces",
            Signal::Traces,
            spans(vec![work]),
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [json_span]}]}]}),
        ),
        (
            "/v1/metrics",
            Signal::Metrics,
            metrics(vec![gauge("m", vec![measured])]),
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
                {"name": "m", "unit": "1", "gauge": {"dataPoints": [json_point]}}]}]}]}),
        ),
    ]
}

#[test]
fn o60_the_same_request_as_protobuf_and_as_json_becomes_the_same_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let outcome = runner.run(&case(), |case| {
        for (path, signal, protobuf, json) in requests(&case) {
            let replies = runtime.block_on(async {
                let first = server.post(path, PROTOBUF, protobuf).await;
                (first, server.post(path, JSON, json.to_string()).await)
            });
            prop_assert_eq!((replies.0.status.as_u16(), replies.1.text()), (200, "{}".to_owned()));
            let rows = server.recorder.rows(signal);
            prop_assert_eq!(&rows[rows.len() - 2], &rows[rows.len() - 1], "{}", json);
        }
        Ok(())
    });
    outcome.unwrap();
}
