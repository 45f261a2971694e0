//! The bad-input catalogue, group B: OTLP/HTTP.

use bytes::Bytes;
use devmesh_collector::Settings;
use devmesh_schema::{Signal, limits};
use http::{Method, StatusCode, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Duration};

use crate::support::*;

/// After every case a good request succeeds.
async fn well(server: &Server) {
    assert_eq!(server.post("/v1/logs", JSON, "{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn b2_a_body_of_the_other_type_is_400() {
    let server = Server::start().await;
    let json = json_logs(r#"{"body":{"stringValue":"a"}}"#);
    assert_eq!(server.post("/v1/logs", JSON, logs(vec![log("a")])).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.post("/v1/logs", PROTOBUF, json).await.status, StatusCode::BAD_REQUEST);
    well(&server).await;
}

#[tokio::test]
async fn b3_to_b6_and_b10_to_b13_json_bodies() {
    let server = Server::start().await;
    let nested = |depth: usize| json_logs(&format!(r#"{{"new":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)));
    let deep_value = |depth: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        json_logs(&format!(r#"{{"body":{open}{{}}{}}}"#, "]}}".repeat(depth)))
    };
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("b4 empty", b"".to_vec(), 400),
        ("b5 object", b"{}".to_vec(), 200),
        ("b5 null", b"null".to_vec(), 400),
        ("b5 list", b"[]".to_vec(), 400),
        ("b5 text", b"\"x\"".to_vec(), 400),
        ("b5 number", b"1".to_vec(), 400),
        ("b6 byte order mark", b"\xef\xbb\xbf{}".to_vec(), 400),
        ("b6 garbage behind", b"{} x".to_vec(), 400),
        ("b6 two documents", b"{}{}".to_vec(), 400),
        ("b6 trailing comma", b"{\"resourceLogs\":[],}".to_vec(), 400),
        ("b6 comment", b"{/* */}".to_vec(), 400),
        ("b6 NaN", br#"{"a":NaN}"#.to_vec(), 400),
        ("b10 1e19", json_logs(r#"{"timeUnixNano":1e19}"#).into(), 400),
        ("b10 0x10", json_logs(r#"{"timeUnixNano":"0x10"}"#).into(), 400),
        ("b11 repeated keys", json_logs(r#"{"severityNumber":1,"severityNumber":2}"#).into(), 200),
        ("b12 depth 60", nested(50).into(), 200),
        ("b12 depth of a value", deep_value(100).into(), 400),
        ("b12 a million", vec![b'['; 1_000_000], 400),
        ("b12 a million in a key that is passed over", nested(1_000_000).into(), 400),
        ("b13 no UTF-8", b"{\"a\":\"\xff\"}".to_vec(), 400),
        ("b13 lone surrogate", json_logs(r#"{"body":{"stringValue":"\ud800"}}"#).into(), 200),
    ];
    for (row, body, status) in table {
        let reply = server.post("/v1/logs", JSON, body).await;
        assert_eq!(reply.status.as_u16(), status, "{row}: {}", reply.text());
    }
    assert_eq!(server.post("/v1/logs", PROTOBUF, "").await.status, StatusCode::OK, "b3");
    let stored = server.recorder.logs();
    assert_eq!(stored[0].severity_number, 2, "b11: the last wins");
    assert_eq!(stored.last().unwrap().body, Some(text("\u{fffd}")), "b13");
}

#[tokio::test]
async fn b7_b8_b14_what_one_item_has_wrong_costs_that_item() {
    let server = Server::start().await;
    let good = r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174""#;
    for bad in [
        r#"{"traceId":"5b8efff798038103d269b633813fc60","spanId":"eee19b7ec3c1b174"}"#.to_owned(),
        r#"{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174"}"#.into(),
        format!(r#"{{{good},"kind":"SPAN_KIND_SERVER"}}"#),
        format!(r#"{{{good},"attributes":[{{"key":"b","value":{{"bytesValue":"***"}}}}]}}"#),
    ] {
        let reply = server.post("/v1/traces", JSON, json_spans(&format!("{{{good}}},{bad}"))).await;
        let partial = &reply.json()["partialSuccess"];
        assert_eq!((reply.status, &partial["rejectedSpans"]), (StatusCode::OK, &"1".into()), "{bad}");
        assert!(partial["errorMessage"].as_str().unwrap().starts_with("item 1: "), "{partial}");
    }
    assert_eq!(server.recorder.count(Signal::Traces), 4);
}

#[tokio::test]
async fn b15_broken_compression_is_400_and_many_members_are_one_body() {
    let server = Server::start().await;
    let body = logs(vec![log("a"), log(&"b".repeat(5000))]);
    let good = gzip(&body);
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let (first, second) = body.split_at(40);
    for (what, encoding, body, status) in [
        ("cut off", "gzip", good[..good.len() - 9].to_vec(), 400),
        ("cut in the checksum", "gzip", good[..good.len() - 3].to_vec(), 400),
        ("wrong checksum", "gzip", wrong_sum, 400),
        ("bytes behind", "gzip", [&good[..], b"xyz"].concat(), 400),
        ("two members", "gzip", [gzip(first), gzip(second)].concat(), 200),
        ("no gzip", "gzip", body.clone(), 400),
        ("nothing", "gzip", vec![], 400),
        ("zlib cut off", "deflate", zlib(&body)[..20].to_vec(), 400),
        ("zlib with bytes behind", "deflate", [&zlib(&body)[..], b"x"].concat(), 400),
        ("zstd cut off", "zstd", zstd(&body)[..20].to_vec(), 400),
        ("two zstd frames", "zstd", [zstd(first), zstd(second)].concat(), 200),
        ("no zstd", "zstd", body.clone(), 400),
    ] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let reply = server.post_with("/v1/logs", &headers, body).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text());
    }
    assert_eq!(server.recorder.count(Signal::Logs), 4);
}

#[tokio::test]
async fn b16_names_of_encodings() {
    let server = Server::start().await;
    for (encoding, status) in [("GZIP", 200), ("x-gzip", 200), ("gzip, gzip", 415), ("nonsense", 415)] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        assert_eq!(server.post_with("/v1/logs", &headers, gzip(b"")).await.status.as_u16(), status, "{encoding}");
    }
}

#[tokio::test]
async fn b18_a_request_that_could_be_smuggled_is_400_and_the_end_of_the_connection() {
    let server = Server::start().await;
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for rest in [
        "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n{}",
        "content-length: -1\r\n\r\n{}",
    ] {
        let answer = raw(server.http, format!("{head}{rest}").as_bytes(), "").await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{rest:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), answer.len().min(1));
    }
    assert_eq!(server.recorder.batches().len(), 0);
    well(&server).await;
}

#[tokio::test]
async fn b18_a_body_shorter_than_its_length_stores_nothing() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_until(&mut stream, "").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(server.recorder.batches().len(), 0);
    well(&server).await;
}

#[tokio::test]
async fn b19_a_body_that_drips_is_408_after_its_time() {
    let server = Server::with(Settings { body_time: Duration::from_millis(200), ..Settings::default() }).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 408"));
    assert_eq!(server.intake.bytes_held(), 0);
    well(&server).await;
}

#[tokio::test]
async fn b22_other_methods_are_405_with_allow() {
    let server = Server::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD, Method::TRACE] {
        let send = server.client.method(method, Version::HTTP_11, server.api, "/v1/logs", &[], Bytes::new());
        let reply = send.await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "POST"));
    }
    let off = Server::with(Settings { origins: devmesh_collector::Origins::Off, ..Settings::default() }).await;
    let send = off.client.method(Method::OPTIONS, Version::HTTP_11, off.http, "/v1/logs", &[], Bytes::new());
    assert_eq!(send.await.status.as_u16(), 405, "without CORS");
}

#[tokio::test]
async fn b23_paths_are_taken_literally_and_bounded() {
    let server = Server::start().await;
    for path in ["/v1/logs/", "//v1/logs", "/v1/%6cogs", "/v1/../v1/logs", "/V1/logs"] {
        let reply = server.post(path, JSON, "{}").await;
        assert_eq!((reply.status.as_u16(), reply.header("location")), (404, ""), "{path}");
    }
    let long = format!("/v1/logs?{}", "x".repeat(limits::URI_BYTES));
    assert_eq!(server.post(&long, JSON, "{}").await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn b24_headers_are_bounded() {
    let server = Server::start().await;
    let long = "x".repeat(17 << 10);
    let reply = server.post_with("/v1/logs", &[("content-type", JSON), ("x-long", &long)], "{}").await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    assert!(raw(server.http, head.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 431"));
    well(&server).await;
}

#[tokio::test]
async fn b27_half_of_the_items_invalid_keeps_the_other_half() {
    let server = Server::start().await;
    let sent = (0..200).map(|n| {
        let mut item = span(&n.to_string());
        if n % 2 == 1 {
            item.span_id = vec![0; 8];
        }
        item
    });
    let reply = server.post("/v1/traces", PROTOBUF, spans(sent.collect())).await;
    let partial = ExportTraceServiceResponse::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, server.recorder.count(Signal::Traces)), (100, 100));
    let named = partial.error_message.matches("item ").count();
    assert!(named == limits::REJECTIONS_NAMED && partial.error_message.len() <= limits::MESSAGE_BYTES);
}

#[tokio::test]
async fn b28_to_b30_batch_ids() {
    let server = Server::start().await;
    let send = async |id: &str, body: &str| {
        let headers = [("content-type", JSON), ("x-devmesh-batch-id", id)];
        server.post_with("/v1/logs", &headers, json_logs(body)).await
    };
    assert_eq!(send("b-1", "{}").await.status, StatusCode::OK);
    let again = send("b-1", "{}").await;
    assert_eq!((again.status.as_u16(), again.header("x-devmesh-deduplicated")), (200, "true"));
    let other = send("b-1", "{},{}").await;
    assert_eq!((other.status.as_u16(), other.header("retry-after")), (400, ""));
    assert!(other.json()["message"].as_str().unwrap().contains("b-1"));
    for id in ["", "a b", "ü", &"x".repeat(129)] {
        let reply = send(id, "{}").await;
        assert_eq!(reply.status.as_u16(), 400, "{id}");
        assert!(reply.json()["message"].as_str().unwrap().contains("x-devmesh-batch-id"));
    }
    assert_eq!(server.recorder.count(Signal::Logs), 1);
}
