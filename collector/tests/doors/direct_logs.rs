//! `POST /ingest/logs`: the shapes of a body, the fields of a record, the exact answer.

use devmesh_collector::Door;
use devmesh_schema::{IngestPath, Signal, WriteError, stored};
use http::StatusCode;
use opentelemetry_proto::tonic::{collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value as Any};
use serde_json::{Value, json};

use crate::support::*;

const RECORD: &str = r#"{"timestamp":"2026-01-01T00:00:00Z","source":"app","service":"shop","host":"h1","level":"ERROR",
    "message":"card declined","trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174",
    "event_type":"payment.failed","error_code":"E42","meta_json":{"amount":12.5,"ok":false,"list":[1,"a",null]},"extra":7}"#;

#[tokio::test]
async fn a_record_with_every_field_is_stored_as_otlp() {
    let server = Server::start().await;
    let reply = server.ingest("/ingest/logs", format!(r#"{{"logs":[{RECORD}]}}"#)).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, JSON));
    assert_eq!(reply.json(), json!({"accepted": 1, "rejected": 0, "errors": []}));
    let request = &server.recorder.exported::<ExportLogsServiceRequest>(Signal::Logs)[0];
    let resource = request.resource_logs[0].resource.as_ref().unwrap();
    let expected = [("service.name", "shop"), ("host.name", "h1"), (stored::SOURCE_ATTRIBUTE, "app")];
    assert_eq!(resource.attributes, expected.map(|(key, value)| attribute(key, text(value))));
    let record = &server.recorder.logs()[0];
    assert_eq!((record.time_unix_nano, record.severity_number, record.severity_text.as_str()), (TIME, 17, "ERROR"));
    assert_eq!((record.body.clone(), record.event_name.as_str()), (Some(text("card declined")), "payment.failed"));
    assert_eq!(hex::encode(&record.trace_id), "5b8efff798038103d269b633813fc60c");
    assert_eq!(hex::encode(&record.span_id), "eee19b7ec3c1b174");
    let keys: Vec<_> = record.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["error_code", "extra", "amount", "ok", "list"]);
    let value = |at: usize| record.attributes[at].value.clone().unwrap().value.unwrap();
    assert_eq!((value(1), value(2), value(3)), (Any::IntValue(7), Any::DoubleValue(12.5), Any::BoolValue(false)));
    assert_eq!(server.recorder.batches()[0].path, IngestPath::Direct);
}

#[tokio::test]
async fn the_good_ones_are_kept_and_the_bad_ones_named() {
    let server = Server::start().await;
    let body =
        r#"{"logs":[{"message":"a"},{"level":"INFO"},{"message":"b","timestamp":"yesterday"},7,{"message":"c"}]}"#;
    let answer = server.ingest("/ingest/logs", body).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(3), &json!(2)));
    let errors = answer["errors"].as_array().unwrap();
    let named: Vec<_> =
        errors.iter().map(|error| (error["index"].as_u64().unwrap(), error["error"].as_str().unwrap())).collect();
    assert_eq!(named[0], (1, "message: it is missing"));
    assert_eq!(named[1], (3, "the record is no JSON object"));
    let warning = &answer["warnings"][0];
    assert!(warning["warning"].as_str().unwrap().starts_with("timestamp: `yesterday`"), "{warning}");
    assert_eq!((&warning["index"], server.recorder.count(Signal::Logs)), (&json!(2), 3));
    let mut rejected = server.intake.counters().rejected();
    rejected.sort_unstable();
    assert_eq!(rejected, [(Door::Direct, "decode", 1), (Door::Direct, "no_message", 1)]);
}

#[tokio::test]
async fn records_of_one_origin_share_a_resource_and_keep_their_order() {
    let server = Server::start().await;
    let record = |n: usize| json!({"message": n.to_string(), "service": format!("s{}", n % 3)});
    let body = json!({"logs": (0..9).map(record).collect::<Vec<_>>()}).to_string();
    assert_eq!(server.ingest("/ingest/logs", body).await.json()["accepted"], 9);
    let request = &server.recorder.exported::<ExportLogsServiceRequest>(Signal::Logs)[0];
    assert_eq!(request.resource_logs.len(), 3);
    let bodies: Vec<_> = server.recorder.logs().into_iter().map(|record| record.body.unwrap()).collect();
    assert_eq!(bodies, ["0", "3", "6", "1", "4", "7", "2", "5", "8"].map(text));
}

#[tokio::test]
async fn a_body_of_another_form_is_400_with_a_problem_and_nothing_is_stored() {
    let server = Server::start().await;
    for body in [
        "",
        " ",
        "null",
        "7",
        "\"text\"",
        "{}",
        r#"{"log":[]}"#,
        r#"{"logs":{}}"#,
        r#"{"logs":[{"message":"a"}"#,
        r#"{"logs":[{"message":"a"},]}"#,
        r#"{"logs":[]} x"#,
        r#"{"logs":[{"message":"a"}],"logs":[]}"#,
        r#"[{"message":"a"}"#,
        "not json",
    ] {
        let reply = server.ingest("/ingest/logs", body).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (400, "application/problem+json"), "{body}");
        let problem = reply.json();
        assert_eq!(
            (&problem["type"], &problem["title"], &problem["status"]),
            (&json!("about:blank"), &json!("Bad Request"), &json!(400))
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(server.recorder.batches().len(), 0);
    assert_eq!(server.ingest("/ingest/logs", r#"{"logs":[]}"#).await.json()["accepted"], 0);
}

#[tokio::test]
async fn what_the_sink_answers_reaches_the_sender() {
    let server = Server::start().await;
    for (fail, status) in [
        ((|| WriteError::Full) as fn() -> WriteError, 503),
        (|| WriteError::Unavailable("read-only".into()), 503),
        (|| WriteError::BatchIdConflict("x".into()), 400),
    ] {
        server.recorder.fail(Some(fail));
        let reply = server.ingest("/ingest/logs", r#"{"logs":[{"message":"a"}]}"#).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after").is_empty()), (status, status == 400));
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn a_batch_id_stores_once() {
    let server = Server::start().await;
    let headers = [("content-type", JSON), ("x-devmesh-batch-id", "d-1")];
    let body = r#"{"logs":[{"message":"a","timestamp":1767225600}]}"#;
    let first = server.client.send(server.api, "/ingest/logs", &headers, body.into()).await;
    assert_eq!(first.json()["accepted"], 1);
    let again = server.client.send(server.api, "/ingest/logs", &headers, body.into()).await;
    assert_eq!((again.status, again.header("x-devmesh-deduplicated")), (StatusCode::OK, "true"), "{}", again.text());
    assert_eq!((&again.json()["accepted"], &again.json()["deduplicated"]), (&json!(1), &Value::Bool(true)));
    assert_eq!(server.recorder.count(Signal::Logs), 1);
}

#[tokio::test]
async fn large_and_compressed_bodies_are_read_whole() {
    let server = Server::start().await;
    let record = json!({"message": "x".repeat(100), "service": "shop"}).to_string();
    let body = format!("{{\"logs\":[{}]}}", vec![record; 20_000].join(","));
    assert_eq!(server.ingest("/ingest/logs", body.clone()).await.json()["accepted"], 20_000);
    for (encoding, body) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let headers = [("content-type", JSON), ("content-encoding", encoding)];
        let reply = server.client.send(server.api, "/ingest/logs", &headers, body.into()).await;
        assert_eq!(reply.json()["accepted"], 20_000, "{encoding}");
    }
    assert_eq!(server.recorder.count(Signal::Logs), 60_000);
}
