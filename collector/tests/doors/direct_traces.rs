//! `POST /ingest/traces`: plain spans, and OTLP/JSON.

use devmesh_schema::{IngestPath, Signal};
use serde_json::json;

use crate::support::*;

const IDS: &str = r#""trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174""#;

#[tokio::test]
async fn a_plain_span_is_stored_as_otlp() {
    let server = Server::start().await;
    let span = format!(
        r#"{{{IDS},"parent_span_id":"eee19b7ec3c1b173","service":"shop","name":"GET /","start_time":"2026-01-01T00:00:00Z",
        "duration_ms":1.5,"status":"ERROR","attributes":{{"http.route":"/","n":1}},"kind":"server","model":"m1"}}"#
    );
    let answer = server.ingest("/ingest/traces", format!(r#"{{"spans":[{span}]}}"#)).await.json();
    assert_eq!(answer, json!({"accepted": 1, "rejected": 0, "errors": []}));
    let stored = &server.recorder.spans()[0];
    assert_eq!((stored.start_time_unix_nano, stored.end_time_unix_nano), (TIME, TIME + 1_500_000));
    assert_eq!((stored.name.as_str(), stored.kind, stored.status.as_ref().unwrap().code), ("GET /", 2, 2));
    assert_eq!(hex::encode(&stored.parent_span_id), "eee19b7ec3c1b173");
    let keys: Vec<_> = stored.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["model", "http.route", "n"]);
    assert_eq!(server.recorder.batches()[0].path, IngestPath::Direct);
}

#[tokio::test]
async fn bad_spans_are_named_and_the_good_ones_kept() {
    let server = Server::start().await;
    let good = format!(r#"{{{IDS},"start_time":1767225600,"duration_ms":1}}"#);
    let no_end = format!(r#"{{{IDS},"start_time":1767225600}}"#);
    let no_id = r#"{"span_id":"eee19b7ec3c1b174","start_time":1767225600,"duration_ms":1}"#;
    let body = format!(r#"{{"spans":[{no_id},{good},{no_end},{good}]}}"#);
    let answer = server.ingest("/ingest/traces", body).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(2)));
    assert_eq!(answer["errors"][0], json!({"index": 0, "error": "trace_id: it is missing"}));
    assert_eq!(answer["errors"][1], json!({"index": 2, "error": "end_time: it is missing, and so is duration_ms"}));
    assert_eq!(server.recorder.count(Signal::Traces), 2);
}

#[tokio::test]
async fn otlp_json_is_taken_and_rejections_keep_their_index() {
    let server = Server::start().await;
    let good = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a"}"#;
    let named =
        r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","kind":"SPAN_KIND_SERVER"}"#;
    let zero = r#"{"traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174"}"#;
    let answer = server.ingest("/ingest/traces", json_spans(&[named, good, zero, good].join(","))).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(2)));
    let indices: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["index"].clone()).collect();
    assert_eq!(indices, [0, 2]);
    assert!(server.recorder.batches().iter().all(|batch| batch.path == IngestPath::Direct));
    let reply = server.ingest("/ingest/traces", r#"{"resourceSpans":7}"#).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (400, "application/problem+json"));
}

#[tokio::test]
async fn a_list_and_lines_of_spans_are_taken_too() {
    let server = Server::start().await;
    let span = format!(r#"{{{IDS},"start_time":1767225600,"duration_ms":1}}"#);
    for body in [format!("[{span},{span}]"), format!("{span}\n{span}\n")] {
        assert_eq!(server.ingest("/ingest/traces", body).await.json()["accepted"], 2);
    }
}
