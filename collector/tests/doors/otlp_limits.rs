//! Checklist O16 to O19, and the decompression bombs of the bad-input catalogue (A5 to A7, B17).

use std::io::Write;

use devmesh_collector::Settings;
use devmesh_schema::{Signal, limits};
use flate2::{Compression, write::GzEncoder};
use http::StatusCode;

use crate::support::*;

/// So many zeros as one gzip member, a thousandth of the size.
fn zeros(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// Resident memory of this process in MiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    (statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096) >> 20
}

#[tokio::test]
async fn o16_a_body_over_the_limit_is_413_or_resource_exhausted_without_retry_info() {
    let server = Server::start().await;
    let large = vec![0; limits::REQUEST_BYTES + 1];
    let reply = server.post("/v1/logs", PROTOBUF, large.clone()).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::PAYLOAD_TOO_LARGE, ""));
    assert_eq!(reply.status_message().code, 8);
    let call = server.call(LOGS, &large).await;
    assert_eq!((call.code, call.retry_delay()), (8, None));
    assert_eq!(server.recorder.batches().len(), 0);
}

#[tokio::test]
async fn o16_a_client_that_sends_all_before_it_listens_gets_the_answer_too() {
    let server = Server::start().await;
    let length = limits::REQUEST_BYTES + 1;
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {length}\r\n\r\n"
    );
    let answer = raw(server.http, &[head.as_bytes(), &vec![0; length]].concat(), "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // One that asks first is told before it sends.
    let head = head.replace("host: x", "host: x\r\nexpect: 100-continue");
    assert!(raw(server.http, head.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn o16_a_compressed_body_over_its_limit_as_sent_is_413() {
    let server = Server::with(Settings { body_bytes: 1000, ..Settings::default() }).await;
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let reply = server.post_with("/v1/logs", &headers, vec![0; 1001]).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let call = server.client.call(server.grpc, LOGS, &[("grpc-encoding", "gzip")], frame(1, &[0; 1001])).await;
    assert_eq!(call.code, 8);
}

#[tokio::test]
async fn o17_bombs_are_refused_while_they_stream_and_memory_stays_flat() {
    let server = Server::start().await;
    let one = zeros(128 << 20);
    let members = zeros(16 << 20).repeat(64);
    let nested = zstd(&vec![0; 100 << 20]);
    let headers = |encoding| [("content-type", PROTOBUF), ("content-encoding", encoding)];
    let before = resident();
    for (what, encoding, body) in [
        ("one member of 128 MiB", "gzip", &one),
        ("members of 1 GiB together", "gzip", &members),
        ("zstd", "zstd", &nested),
        ("zlib", "deflate", &zlib(&vec![0; 100 << 20])),
    ] {
        let reply = server.post_with("/v1/logs", &headers(encoding), body.clone()).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{what}");
        let encoding = [("grpc-encoding", encoding)];
        assert_eq!(server.client.call(server.grpc, LOGS, &encoding, frame(1, body)).await.code, 8, "{what}");
    }
    assert_eq!(server.intake.bytes_held(), 0);
    // Other tests of this process allocate too; a bomb that was let through would have taken 1 GiB.
    assert!(resident() < before + 500, "{} MiB before, {} after", before, resident());
}

#[tokio::test]
async fn o17_a_zstd_frame_with_a_window_of_2_gib_is_refused() {
    let server = Server::start().await;
    // Magic, no single segment, window descriptor 2^31, one raw block of one byte.
    let frame_of = |exponent: u8| vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3, 0x09, 0x00, 0x00, 0x0a];
    let headers = [("content-type", PROTOBUF), ("content-encoding", "zstd")];
    let reply = server.post_with("/v1/logs", &headers, frame_of(31 - 10)).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", reply.text());
    let reply = server.post_with("/v1/logs", &headers, frame_of(20 - 10)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "read, and then no protobuf");
}

#[tokio::test]
async fn o18_the_limit_is_a_setting_and_64_mib_by_default() {
    assert_eq!(Settings::default().request_bytes, 64 << 20);
    let server = Server::with(Settings { request_bytes: 5000, ..Settings::default() }).await;
    let small = logs(vec![log("a")]);
    let large = logs(vec![log(&"x".repeat(5000))]);
    for (body, status, code) in [(small, StatusCode::OK, 0), (large, StatusCode::PAYLOAD_TOO_LARGE, 8)] {
        assert_eq!(server.post("/v1/logs", PROTOBUF, body.clone()).await.status, status);
        assert_eq!(server.call(LOGS, &body).await.code, code);
        let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
        assert_eq!(server.post_with("/v1/logs", &headers, gzip(&body)).await.status, status);
    }
    // A body whose length is not announced.
    let chunk = format!("1388\r\n{}\r\n", "x".repeat(5000));
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    let body = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert!(raw(server.http, body.as_bytes(), "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn o19_the_message_of_an_answer_is_bounded() {
    let server = Server::start().await;
    let bad = |_| {
        let mut bad = span("bad");
        bad.trace_id = vec![1; 15];
        bad
    };
    let reply = server.post("/v1/traces", PROTOBUF, spans((0..5000).map(bad).collect())).await;
    assert!(reply.status == StatusCode::OK && reply.body.len() <= limits::MESSAGE_BYTES + 32);
    assert_eq!(server.recorder.count(Signal::Traces), 0);
}

/// Requirement S1: what decompresses itself misses the limits.
#[test]
fn only_one_module_decompresses() {
    fn visit(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if ["Decoder::", "Decompress::", "decode_all("]
                .iter()
                .any(|word| std::fs::read_to_string(&path).unwrap().contains(word))
            {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    visit(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert_eq!(found, ["body.rs"]);
}
