//! Checklist O20 to O31: success, partial success, failure.

use std::{net::IpAddr, sync::Arc, time::Duration};

use devmesh_collector::{Denied, Door, Guard, Reason, Settings};
use devmesh_schema::{Signal, WriteError};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;

use crate::support::*;

#[tokio::test]
async fn o20_an_empty_request_is_a_success() {
    let server = Server::start().await;
    for (path, service) in [("/v1/logs", LOGS), ("/v1/traces", TRACES), ("/v1/metrics", METRICS)] {
        assert_eq!(server.post(path, PROTOBUF, "").await.status, StatusCode::OK);
        assert_eq!(server.post(path, JSON, "{}").await.text(), "{}");
        assert_eq!(server.call(service, &[]).await.code, 0);
    }
    assert!(Signal::ALL.iter().all(|signal| server.recorder.count(*signal) == 0));
}

#[tokio::test]
async fn o21_empty_envelopes_are_a_success_and_nothing_is_stored() {
    let server = Server::start().await;
    for body in [field(1, &[]), field(1, &field(2, &[])), spans(vec![])] {
        for (path, service) in [("/v1/logs", LOGS), ("/v1/traces", TRACES), ("/v1/metrics", METRICS)] {
            let reply = server.post(path, PROTOBUF, body.clone()).await;
            assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0), "{path}");
            assert_eq!(server.call(service, &body).await.code, 0);
        }
    }
    let json = r#"{"resourceSpans":[{"scopeSpans":[{}]},{}]}"#;
    assert_eq!(server.post("/v1/traces", JSON, json).await.text(), "{}");
    assert!(Signal::ALL.iter().all(|signal| server.recorder.count(*signal) == 0));
}

fn bad_span(name: &str) -> opentelemetry_proto::tonic::trace::v1::Span {
    let mut bad = span(name);
    bad.trace_id = vec![0; 16];
    bad
}

#[tokio::test]
async fn o22_the_number_of_rejected_leaf_items_is_exact() {
    let server = Server::start().await;
    let body = spans(vec![span("a"), bad_span("b"), span("c"), bad_span("d")]);
    let reply = server.post("/v1/traces", PROTOBUF, body.clone()).await;
    let partial = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!((reply.status, partial.rejected_spans), (StatusCode::OK, 2));
    assert!(partial.error_message.starts_with("item 1: ") && partial.error_message.contains("item 3: "));
    let call = server.call(TRACES, &body).await;
    let partial = ExportTraceServiceResponse::decode(call.response.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!((call.code, partial.rejected_spans), (0, 2));

    // Two points of one metric: points are counted, not metrics.
    let nameless = gauge("", vec![point(1.0), point(2.0)]);
    let reply = server.post("/v1/metrics", PROTOBUF, metrics(vec![gauge("a", vec![point(1.0)]), nameless])).await;
    let partial = ExportMetricsServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert_eq!((server.recorder.count(Signal::Traces), server.recorder.count(Signal::Metrics)), (4, 1));
    let rejected: u64 = server.intake.counters().rejected().iter().map(|(.., count)| count).sum();
    assert_eq!(rejected, 6);
    assert_eq!(server.intake.counters().taken(Door::OtlpGrpc, Signal::Traces).items, 2);
}

#[tokio::test]
async fn o22_json_rejections_and_those_of_the_sink_add_up_under_their_own_indices() {
    let server = Server::start().await;
    let good = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a"}"#;
    let named =
        r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","kind":"SPAN_KIND_SERVER"}"#;
    let zero = r#"{"traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174"}"#;
    let reply = server.post("/v1/traces", JSON, json_spans(&[named, good, zero].join(","))).await;
    let partial = &reply.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "2");
    let message = partial["errorMessage"].as_str().unwrap();
    assert!(message.contains("item 0: ") && message.contains("item 2: "), "{message}");
    assert_eq!(server.recorder.count(Signal::Traces), 1);
}

#[tokio::test]
async fn o23_a_warning_has_a_message_and_rejects_nothing() {
    let server = Server::start().await;
    let snake =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"time_unix_nano":"1","body":{"stringValue":"a"}}]}]}]}"#;
    let reply = server.post("/v1/logs", JSON, snake).await;
    let partial = &reply.json()["partialSuccess"];
    assert_eq!((reply.status, &partial["rejectedLogRecords"]), (StatusCode::OK, &"0".into()));
    assert!(partial["errorMessage"].as_str().unwrap().contains("time_unix_nano"), "{partial}");
    assert_eq!(server.recorder.count(Signal::Logs), 1);
}

#[tokio::test]
async fn o24_a_request_of_which_all_items_are_invalid_is_still_a_200() {
    let server = Server::start().await;
    let reply = server.post("/v1/traces", PROTOBUF, spans(vec![bad_span("a"), bad_span("b"), bad_span("c")])).await;
    let partial = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!((reply.status, partial.rejected_spans), (StatusCode::OK, 3));
}

#[tokio::test]
async fn o25_a_body_that_cannot_be_decoded_is_400_with_a_status_in_its_encoding() {
    let server = Server::start().await;
    let reply = server.post("/v1/logs", PROTOBUF, vec![0x0a, 0xff]).await;
    let status = reply.status_message();
    assert_eq!((reply.status, status.code), (StatusCode::BAD_REQUEST, 3));
    assert!(status.message.contains("byte"), "{}", status.message);
    let reply = server.post("/v1/logs", JSON, r#"{"resourceLogs":7}"#).await;
    let status = reply.json();
    assert_eq!((reply.status, &status["code"]), (StatusCode::BAD_REQUEST, &3.into()));
    assert!(status["message"].as_str().unwrap().contains("resourceLogs"), "{status}");
    let call = server.call(LOGS, &[0x0a, 0xff]).await;
    assert_eq!((call.code, call.status.unwrap().code), (3, 3));
    assert_eq!(server.intake.counters().refused(Door::OtlpHttp, Reason::Decode), 2);
}

#[tokio::test]
async fn o26_every_error_is_a_status_but_405_and_415() {
    let server = Server::start().await;
    for kind in [PROTOBUF, JSON] {
        let empty = if kind == JSON { "{}" } else { "" };
        server.recorder.fail(None);
        let undecodable = server.post("/v1/logs", kind, "{").await;
        server.recorder.fail(Some(|| WriteError::Full));
        let replies = [
            (undecodable, 400),
            (server.post("/v1/nothing", kind, empty).await, 404),
            (server.post("/v1/logs", kind, empty).await, 503),
            (server.post_with("/v1/logs", &[("content-type", kind), ("x-devmesh-batch-id", "a b")], empty).await, 400),
        ];
        for (reply, status) in replies {
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (status, kind));
            let message = if kind == JSON {
                reply.json()["message"].as_str().unwrap().to_owned()
            } else {
                reply.status_message().message
            };
            assert!(!message.is_empty());
        }
    }
}

#[tokio::test]
async fn o27_overload_is_retryable_and_says_when_to_come_back() {
    let server = Server::start().await;
    server.recorder.fail(Some(|| WriteError::Full));
    let reply = server.post("/v1/logs", JSON, "{}").await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
    assert_eq!(reply.json()["details"][0]["retryDelay"], "1s");
    let call = server.call(LOGS, &[]).await;
    assert_eq!((call.code, call.retry_delay()), (14, Some(1)));
}

#[tokio::test]
async fn o27_a_full_byte_budget_is_retryable_too_and_the_bytes_come_back() {
    let wait = std::time::Duration::from_millis(50);
    let settings = Settings { intake_bytes: 64 << 10, intake_wait: wait, ..Settings::default() };
    let server = Server::with(settings).await;
    let closed = server.recorder.gate.acquire_many(1000).await.unwrap();
    let body = logs(vec![log(&"x".repeat(30 << 10))]);
    let waiting = async {
        let ask = |_| server.post("/v1/logs", PROTOBUF, body.clone());
        futures::future::join_all((0..4).map(ask)).await
    };
    let release = async {
        let counters = server.intake.counters();
        while counters.refused(Door::OtlpHttp, Reason::Overload) < 2 {
            tokio::task::yield_now().await;
        }
        drop(closed);
    };
    let (replies, ()) = limit(async { tokio::join!(waiting, release) }).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert_eq!((replies.iter().filter(|reply| reply.status == 200).count(), refused.len()), (2, 2));
    assert!(refused.iter().all(|reply| reply.header("retry-after") == "1"));
    assert_eq!(server.intake.bytes_held(), 0);
}

#[tokio::test]
async fn o28_storage_that_is_full_is_503_and_not_500_or_507() {
    let server = Server::start().await;
    for fail in
        [(|| WriteError::Unavailable("no space left on device".into())) as fn() -> WriteError, || WriteError::Closed]
    {
        server.recorder.fail(Some(fail));
        let reply = server.post("/v1/logs", PROTOBUF, "").await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "5"));
        assert_eq!(reply.status_message().code, 14);
    }
    server.recorder.fail(None);
    assert_eq!(server.post("/v1/logs", PROTOBUF, "").await.status, StatusCode::OK, "writing resumes");
}

#[tokio::test]
async fn o29_a_transient_fault_is_unavailable_and_a_lasting_one_is_not_retryable() {
    let server = Server::start().await;
    type Fail = fn() -> WriteError;
    let table = [
        ((|| WriteError::Full) as Fail, 14, 503),
        (|| WriteError::Unavailable("read-only".into()), 14, 503),
        (|| WriteError::Closed, 14, 503),
        (|| WriteError::Invalid("x".into()), 3, 400),
        (|| WriteError::BatchIdConflict("x".into()), 3, 400),
    ];
    for (fail, code, status) in table {
        server.recorder.fail(Some(fail));
        let call = server.call(TRACES, &[]).await;
        assert_eq!((call.code, call.retry_delay().is_some()), (code, code == 14));
        assert_eq!(server.post("/v1/traces", PROTOBUF, "").await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn o30_success_comes_after_the_sink_and_a_batch_id_stores_once() {
    let server = Server::start().await;
    let closed = server.recorder.gate.acquire_many(1000).await.unwrap();
    let body = logs(vec![log("a"), log("b")]);
    let mut answer = Box::pin(server.post("/v1/logs", PROTOBUF, body.clone()));
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "answered before the sink");
    drop(closed);
    assert_eq!(answer.await.status, StatusCode::OK);

    let headers = [("content-type", PROTOBUF), ("x-devmesh-batch-id", "b-1")];
    for deduplicated in ["", "true"] {
        let reply = server.post_with("/v1/logs", &headers, body.clone()).await;
        assert_eq!((reply.status, reply.header("x-devmesh-deduplicated")), (StatusCode::OK, deduplicated));
    }
    let metadata = [("x-devmesh-batch-id", "b-1")];
    let call = server.client.call(server.grpc, LOGS, &metadata, frame(0, &body)).await;
    assert_eq!((call.code, call.headers["x-devmesh-deduplicated"].to_str().unwrap()), (0, "true"));
    assert_eq!(server.recorder.count(Signal::Logs), 4);
    let taken = server.intake.counters().taken(Door::OtlpHttp, Signal::Logs);
    assert_eq!((taken.items, taken.deduplicated), (4, 2));
    // Without an id a repeated request is stored again: OTLP is at-least-once.
    assert_eq!(server.post("/v1/logs", PROTOBUF, body).await.status, StatusCode::OK);
    assert_eq!(server.recorder.count(Signal::Logs), 6);
}

#[derive(Debug)]
struct Token;

impl Guard for Token {
    fn check(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Option<usize>, Denied> {
        assert!(peer.is_some_and(|peer| peer.is_loopback()), "{peer:?}");
        match headers.get("authorization").map(|value| value.as_bytes()) {
            Some(b"Bearer writer") => Ok(Some(0)),
            Some(b"Bearer reader") => Err(Denied::Forbidden),
            Some(b"Bearer guess") => Err(Denied::Later(Duration::from_secs(7))),
            _ => Err(Denied::Unknown),
        }
    }
}

#[tokio::test]
async fn o31_unauthenticated_is_401_and_forbidden_403_before_the_body_is_read() {
    let server = Server::with(Settings { guard: Some(Arc::new(Token)), ..Settings::default() }).await;
    for (token, status, code) in [
        ("", 401, 16),
        ("Bearer wrong", 401, 16),
        ("Bearer reader", 403, 7),
        ("Bearer guess", 429, 14),
        ("Bearer writer", 200, 0),
    ] {
        let headers = [("content-type", PROTOBUF), ("authorization", token)];
        let reply = server.post_with("/v1/logs", &headers, "").await;
        assert_eq!(reply.status.as_u16(), status, "{token}");
        assert_eq!(reply.header("www-authenticate"), if status == 401 { "Bearer" } else { "" });
        assert_eq!(reply.header("retry-after"), if status == 429 { "7" } else { "" });
        let call = server.client.call(server.grpc, LOGS, &[("authorization", token)], frame(0, &[])).await;
        assert_eq!(call.code, code, "{token}");
        let headers = [("content-type", JSON), ("authorization", token)];
        let reply = server.client.send(server.api, "/ingest/logs", &headers, r#"{"logs":[]}"#.into()).await;
        assert_eq!(reply.status.as_u16(), status, "{token}");
    }
    // The body is only announced.
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    assert!(raw(server.http, head.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn every_export_response_type_reads_back() {
    let server = Server::start().await;
    let reply = server.post("/v1/logs", PROTOBUF, logs(vec![log("a")])).await;
    assert_eq!(ExportLogsServiceResponse::decode(reply.body).unwrap().partial_success, None);
}
