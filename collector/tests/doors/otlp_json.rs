//! Checklist O51 to O59: OTLP/JSON, as stored. The table of its syntax stands with the decoder, in `schema`.

use devmesh_schema::Signal;
use http::StatusCode;
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    metrics::v1::{metric::Data, number_data_point},
};

use crate::support::*;

const IDS: &str = r#""traceId":"5B8EFFF798038103d269b633813FC60C","spanId":"EEE19B7EC3C1B174""#;

#[tokio::test]
async fn o51_ids_are_hex_in_any_case() {
    let server = Server::start().await;
    let span = format!(
        r#"{{{IDS},"parentSpanId":"eee19b7ec3c1b173","name":"a","links":[{{{IDS}}}]}},{{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","name":"base64"}}"#
    );
    let reply = server.post("/v1/traces", JSON, json_spans(&span)).await;
    assert_eq!(reply.json()["partialSuccess"]["rejectedSpans"], "1");
    let spans = server.recorder.spans();
    let id = hex::decode("5b8efff798038103d269b633813fc60c").unwrap();
    assert_eq!((spans.len(), &spans[0].trace_id, &spans[0].links[0].trace_id), (1, &id, &id));
    assert_eq!(hex::encode(&spans[0].parent_span_id), "eee19b7ec3c1b173");
    let log = r#"{"traceId":"5B8EFFF798038103d269b633813FC60C","body":{"stringValue":"a"}}"#;
    assert_eq!(server.post("/v1/logs", JSON, json_logs(log)).await.text(), "{}");
    assert_eq!(server.recorder.logs()[0].trace_id, id);
    let exemplar = format!(r#"{{"timeUnixNano":"2","asDouble":0.5,{IDS}}}"#);
    let metric = format!(
        r#"{{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"2","asInt":"1","exemplars":[{exemplar}]}}]}}}}"#
    );
    assert_eq!(server.post("/v1/metrics", JSON, json_metrics(&metric)).await.text(), "{}");
    let Some(Data::Gauge(gauge)) = &server.recorder.metrics()[0].data else { panic!("no gauge") };
    assert_eq!(gauge.data_points[0].exemplars[0].trace_id, id);
}

#[tokio::test]
async fn o52_enums_are_integers_and_a_name_rejects_the_item() {
    let server = Server::start().await;
    let spans = format!(r#"{{{IDS},"kind":2,"status":{{"code":2}}}},{{{IDS},"kind":"SPAN_KIND_SERVER"}}"#);
    let reply = server.post("/v1/traces", JSON, json_spans(&spans)).await;
    let partial = &reply.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "1");
    assert!(partial["errorMessage"].as_str().unwrap().contains("kind"), "{partial}");
    assert_eq!(server.recorder.spans()[0].kind, 2);
}

#[tokio::test]
async fn o53_unknown_keys_are_passed_over_at_every_depth() {
    let server = Server::start().await;
    let body = r#"{"new":1,"resourceLogs":[{"new":[{}],"resource":{"new":null,"attributes":[{"key":"service.name",
        "value":{"stringValue":"s","new":2},"new":3}]},"scopeLogs":[{"new":{"a":[1]},"scope":{"new":"x"},"logRecords":[
        {"new":true,"body":{"stringValue":"a"}}]}]}]}"#;
    assert_eq!(server.post("/v1/logs", JSON, body).await.status, StatusCode::OK);
    assert_eq!(server.recorder.logs()[0].body, Some(text("a")));
}

#[tokio::test]
async fn o54_snake_case_names_are_not_valid() {
    let server = Server::start().await;
    let reply = server.post("/v1/logs", JSON, r#"{"resource_logs":[{"scope_logs":[{"log_records":[{}]}]}]}"#).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.json()["partialSuccess"]["errorMessage"].as_str().unwrap().contains("resource_logs"));
    assert_eq!(server.recorder.count(Signal::Logs), 0);
}

#[tokio::test]
async fn o55_64_bit_integers_are_texts_or_numbers_and_answered_as_texts() {
    let server = Server::start().await;
    let time = i64::try_from(TIME).unwrap();
    let records = format!(
        r#"{{"timeUnixNano":"{time}","body":{{"intValue":"9007199254740993"}}}},{{"timeUnixNano":{time},"body":{{"intValue":9007199254740993}}}}"#
    );
    assert_eq!(server.post("/v1/logs", JSON, json_logs(&records)).await.text(), "{}");
    for record in server.recorder.logs() {
        assert_eq!((record.time_unix_nano, record.body.unwrap().value), (TIME, Some(Any::IntValue((1 << 53) + 1))));
    }
    for wrong in ["1e19", "1.5", "\"-1\"", "\"0x10\""] {
        let reply = server.post("/v1/logs", JSON, json_logs(&format!(r#"{{"timeUnixNano":{wrong}}}"#))).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let reply = server.post("/v1/traces", JSON, json_spans("{}")).await;
    assert!(reply.json()["partialSuccess"]["rejectedSpans"].is_string());
}

#[tokio::test]
async fn o56_bytes_are_base64_of_either_alphabet_with_or_without_padding() {
    let server = Server::start().await;
    for text in ["+/8=", "-_8=", "+/8", "-_8"] {
        let record = format!(r#"{{"body":{{"bytesValue":"{text}"}}}}"#);
        assert_eq!(server.post("/v1/logs", JSON, json_logs(&record)).await.text(), "{}", "{text}");
    }
    for record in server.recorder.logs() {
        assert_eq!(record.body.unwrap().value, Some(Any::BytesValue(vec![0xfb, 0xff])));
    }
}

#[tokio::test]
async fn o57_doubles_are_numbers_or_texts() {
    let server = Server::start().await;
    let points = ["1.5", "\"1.5\"", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "2"];
    let points: Vec<_> = points.map(|value| format!(r#"{{"timeUnixNano":"1","asDouble":{value}}}"#)).into();
    let metric = format!(r#"{{"name":"g","gauge":{{"dataPoints":[{}]}}}}"#, points.join(","));
    assert_eq!(server.post("/v1/metrics", JSON, json_metrics(&metric)).await.text(), "{}");
    let read = |metric: opentelemetry_proto::tonic::metrics::v1::Metric| match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points,
        _ => Vec::new(),
    };
    let points: Vec<_> = server.recorder.metrics().into_iter().flat_map(read).map(|point| point.value).collect();
    let shown: Vec<_> = points
        .into_iter()
        .map(|value| match value {
            Some(number_data_point::Value::AsDouble(value)) => value.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, ["1.5", "1.5", "NaN", "inf", "-inf", "2"]);
}

#[tokio::test]
async fn o58_null_is_an_absent_field() {
    let server = Server::start().await;
    let span =
        format!(r#"{{{IDS},"kind":null,"droppedAttributesCount":null,"attributes":null,"status":null,"name":null}}"#);
    assert_eq!(server.post("/v1/traces", JSON, json_spans(&span)).await.text(), "{}");
    let spans = server.recorder.spans();
    assert_eq!((spans[0].kind, spans[0].status.is_none(), spans[0].attributes.len()), (0, true, 0));
}

#[tokio::test]
async fn o59_a_missing_list_is_empty() {
    let server = Server::start().await;
    for body in
        ["{}", r#"{"resourceSpans":[{}]}"#, r#"{"resourceSpans":[{"scopeSpans":[{}]}]}"#, r#"{"resourceSpans":null}"#]
    {
        assert_eq!(server.post("/v1/traces", JSON, body).await.text(), "{}", "{body}");
    }
}
