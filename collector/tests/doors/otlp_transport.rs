//! Checklist O1 to O15: transport.

use bytes::Bytes;
use devmesh_schema::Signal;
use http::{Method, StatusCode, Version};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
};
use prost::Message;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::*;

#[tokio::test]
async fn o01_grpc_export_of_all_signals_is_ok_without_partial_success() {
    let server = Server::start().await;
    let address = format!("http://{}", server.grpc);
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();

    let request = ExportLogsServiceRequest::decode(logs(vec![log("a")]).as_slice()).unwrap();
    let answer = LogsServiceClient::new(channel.clone()).export(request).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let request = ExportTraceServiceRequest::decode(spans(vec![span("a")]).as_slice()).unwrap();
    let answer = TraceServiceClient::new(channel.clone()).export(request).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let request = ExportMetricsServiceRequest::decode(metrics(vec![gauge("a", vec![point(1.0)])]).as_slice()).unwrap();
    let answer = MetricsServiceClient::new(channel).export(request).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);

    for signal in Signal::ALL {
        assert_eq!(server.recorder.count(signal), 1, "{signal}");
    }
}

#[tokio::test]
async fn o02_grpc_takes_gzip_zstd_and_identity() {
    let server = Server::start().await;
    let message = logs(vec![log("a")]);
    for (encoding, body) in [
        ("gzip", frame(1, &gzip(&message))),
        ("zstd", frame(1, &zstd(&message))),
        ("deflate", frame(1, &zlib(&message))),
        ("identity", frame(0, &message)),
        ("gzip", frame(0, &message)),
    ] {
        let call = server.client.call(server.grpc, LOGS, &[("grpc-encoding", encoding)], body).await;
        assert_eq!((call.code, call.response.unwrap().len()), (0, 0), "{encoding}");
    }
    assert_eq!(server.recorder.count(Signal::Logs), 5);
}

#[tokio::test]
async fn o03_http_protobuf_is_answered_in_protobuf() {
    let server = Server::start().await;
    for (path, body) in [
        ("/v1/logs", logs(vec![log("a")])),
        ("/v1/traces", spans(vec![span("a")])),
        ("/v1/metrics", metrics(vec![gauge("a", vec![point(1.0)])])),
    ] {
        let reply = server.post(path, PROTOBUF, body).await;
        assert_eq!((reply.status, reply.header("content-type"), reply.body.len()), (StatusCode::OK, PROTOBUF, 0));
    }
    assert_eq!(server.recorder.batches().len(), 3);
}

#[tokio::test]
async fn o04_http_json_is_answered_in_json() {
    let server = Server::start().await;
    let reply = server.post("/v1/logs", JSON, json_logs(r#"{"body":{"stringValue":"a"}}"#)).await;
    assert_eq!((reply.status, reply.header("content-type"), reply.text().as_str()), (StatusCode::OK, JSON, "{}"));
    assert_eq!(server.recorder.logs()[0].body, Some(text("a")));
}

#[tokio::test]
async fn o05_the_answer_has_the_encoding_of_the_request_for_success_and_error() {
    let server = Server::start().await;
    for (kind, good, bad) in [(PROTOBUF, logs(vec![log("a")]), vec![0xff]), (JSON, b"{}".to_vec(), b"{".to_vec())] {
        let reply = server.post("/v1/logs", kind, good).await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, kind));
        let reply = server.post("/v1/logs", kind, bad).await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::BAD_REQUEST, kind));
    }
}

#[tokio::test]
async fn o06_content_encoding_gzip_zstd_deflate_and_identity() {
    let server = Server::start().await;
    let protobuf = logs(vec![log("a")]);
    let json = json_logs(r#"{"body":{"stringValue":"a"}}"#).into_bytes();
    for (kind, body) in [(PROTOBUF, protobuf), (JSON, json)] {
        for (encoding, body) in
            [("gzip", gzip(&body)), ("zstd", zstd(&body)), ("deflate", zlib(&body)), ("identity", body.clone())]
        {
            let headers = [("content-type", kind), ("content-encoding", encoding)];
            assert_eq!(server.post_with("/v1/logs", &headers, body).await.status, StatusCode::OK, "{kind} {encoding}");
        }
        assert_eq!(server.post("/v1/logs", kind, body).await.status, StatusCode::OK);
    }
    assert_eq!(server.recorder.count(Signal::Logs), 10);
}

#[tokio::test]
async fn o07_an_unknown_content_encoding_is_415_and_names_the_known_ones() {
    let server = Server::start().await;
    for encoding in ["br", "snappy", "gzip, gzip", "gzip, identity"] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let reply = server.post_with("/v1/logs", &headers, logs(vec![log("a")])).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        assert!(reply.text().contains("gzip, zstd, deflate") && reply.header("accept-encoding").contains("zstd"));
    }
    assert_eq!(server.recorder.batches().len(), 0);
}

#[tokio::test]
async fn o08_content_type_has_parameters_and_any_case() {
    let server = Server::start().await;
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=\"UTF-8\"; q=1"] {
        let reply = server.post("/v1/traces", kind, "{}").await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, JSON), "{kind}");
    }
    for kind in ["application/x-protobuf; v=1", "APPLICATION/X-PROTOBUF"] {
        assert_eq!(server.post("/v1/traces", kind, "").await.status, StatusCode::OK, "{kind}");
    }
}

#[tokio::test]
async fn o09_a_missing_or_other_content_type_is_415() {
    let server = Server::start().await;
    for kind in ["text/plain", "application/json; charset=latin1", "multipart/form-data", "application/xml"] {
        let reply = server.post("/v1/logs", kind, "{}").await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        assert!(reply.header("content-type").starts_with("text/plain"), "{kind}");
    }
    assert_eq!(server.post_with("/v1/logs", &[], "{}").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn o10_another_method_is_405_with_allow() {
    let server = Server::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::TRACE] {
        let send = server.client.method(method.clone(), Version::HTTP_11, server.http, "/v1/logs", &[], Bytes::new());
        let reply = send.await;
        assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"), "{method}");
    }
}

#[tokio::test]
async fn o11_an_unknown_path_is_404_and_names_the_right_ones() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/log", "/v1/traces/", "/v1/traces/v1/traces", "/v1development/profiles"] {
        let reply = server.post(path, PROTOBUF, "").await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::NOT_FOUND, PROTOBUF), "{path}");
        assert!(reply.status_message().message.contains("/v1/traces"), "{path}");
        let reply = server.client.method(Method::GET, Version::HTTP_11, server.http, path, &[], Bytes::new()).await;
        assert!(reply.status == StatusCode::NOT_FOUND && reply.text().contains("/v1/traces"), "{path}");
    }
}

#[tokio::test]
async fn o12_chunked_bodies_keep_alive_and_http2_prior_knowledge() {
    let server = Server::start().await;
    let json = json_logs(r#"{"body":{"stringValue":"a"}}"#);
    let (start, end) = json.split_at(20);
    let head =
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("{head}{:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", start.len(), end.len());
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    for _ in 0..3 {
        stream.write_all(chunks.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n{}").await.starts_with("HTTP/1.1 200"));
    }
    let headers = [("content-type", JSON)];
    let send = server.client.method(Method::POST, Version::HTTP_2, server.http, "/v1/logs", &headers, json.into());
    let reply = send.await;
    assert_eq!((reply.status, reply.version), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(server.recorder.count(Signal::Logs), 4);
}

#[tokio::test]
async fn o13_accept_encoding_gzip_gets_an_answer_that_is_not_compressed() {
    let server = Server::start().await;
    let headers = [("content-type", JSON), ("accept-encoding", "gzip")];
    let reply = server.post_with("/v1/logs", &headers, "{}").await;
    assert_eq!((reply.status, reply.header("content-encoding"), reply.text().as_str()), (StatusCode::OK, "", "{}"));
}

#[tokio::test]
async fn o14_both_protocols_work_on_both_ports() {
    let server = Server::start().await;
    for port in [server.grpc, server.http] {
        assert_eq!(server.client.call(port, LOGS, &[], frame(0, &logs(vec![log("a")]))).await.code, 0);
        let headers = [("content-type", PROTOBUF)];
        let reply = server.client.send(port, "/v1/logs", &headers, logs(vec![log("a")]).into()).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    assert_eq!(server.recorder.count(Signal::Logs), 4);
    let reply = server.client.send(server.api, "/v1/logs", &[("content-type", JSON)], "{}".into()).await;
    assert_eq!(reply.status, StatusCode::OK, "beside the API");
}

#[tokio::test]
async fn o15_cors_lets_pages_of_this_machine_send_with_any_header_and_no_others() {
    let server = Server::start().await;
    let preflight = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,traceparent,baggage,x-tenant"),
    ];
    let send =
        server.client.method(Method::OPTIONS, Version::HTTP_11, server.http, "/v1/traces", &preflight, "".into());
    let reply = send.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(reply.header("access-control-allow-headers"), "content-type,traceparent,baggage,x-tenant");
    assert_eq!(reply.header("access-control-allow-methods"), "POST");

    for (origin, allowed) in [("http://127.0.0.1:8080", true), ("https://evil.example", false)] {
        let headers = [("origin", origin), ("content-type", JSON)];
        let reply = server.post_with("/v1/traces", &headers, "{}").await;
        assert_eq!(reply.header("access-control-allow-origin"), if allowed { origin } else { "" });
    }
}
