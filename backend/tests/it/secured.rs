//! TLS, and tokens over gRPC, against the real program.

use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use devmesh_collector::tls;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::server::{Server, devmesh, logs};

const SEND: &str = "send-0123456789abcdef";
const READ: &str = "read-0123456789abcdef";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// gRPC's code, wherever it stands.
    fn code(&self) -> &str {
        self.headers["grpc-status"].to_str().unwrap()
    }
}

/// Posts as a client does that trusts `ca`, by HTTP/2 for gRPC; the answer's headers and trailers are one.
fn post(url: &str, ca: Option<&Path>, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let grpc = headers.contains(&("content-type", "application/grpc"));
    let trust = if ca.is_some() { tls::client(ca) } else { tls::no_client() }.unwrap();
    let builder = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http();
    let connector = if grpc { builder.enable_http2().build() } else { builder.enable_http1().build() };
    let mut request = Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let ask = async {
        let response = Client::builder(TokioExecutor::new()).http2_only(grpc).build(connector).request(request);
        let (head, body) = response.await.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let mut headers = head.headers;
        headers.extend(body.trailers().cloned().unwrap_or_default());
        Answer { status: head.status.as_u16(), headers, body: body.to_bytes() }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(crate::server::PATIENCE, ask).await.unwrap() })
}

/// `Export` of an empty request for logs: the message's flag and length, and no byte.
fn export(address: &str, ca: Option<&Path>, token: Option<&str>) -> Answer {
    let scheme = if ca.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    let mut message = BytesMut::new();
    message.put_bytes(0, 5);
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    headers.extend(token.map(|token| ("authorization", token)));
    post(&url, ca, &headers, message.freeze())
}

#[test]
fn a34_and_a35_a_grpc_call_without_the_right_token_is_refused_alike_whatever_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (send, read) = (format!("auth.ingest_tokens={SEND}"), format!("auth.read_tokens={READ}"));
    let server = Server::start_with(dir.path(), &["--set", &send, "--set", &read]);
    let long = format!("Bearer {}", "x".repeat(10 << 10));
    let mut texts = std::collections::BTreeSet::new();
    for (token, code) in [
        (None, "16"),
        (Some("Bearer wrong-0123456789abcdef"), "16"),
        (Some(SEND), "16"),
        (Some("Bearer"), "16"),
        (Some(long.as_str()), "16"),
        (Some(&format!("Bearer {SEND}x")), "16"),
        (Some(&format!("Bearer \"{SEND}\"")), "16"),
        (Some(&format!("Bearer {READ}")), "7"),
        (Some(&format!("Bearer {SEND}")), "0"),
        (Some(&format!("bearer {SEND}")), "0"),
    ] {
        for door in ["otlp-grpc", "otlp-http"] {
            let answer = export(server.door(door), None, token);
            assert_eq!(answer.code(), code, "{door} {token:.40?}");
            if code == "16" {
                texts.insert(answer.headers["grpc-message"].clone().to_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    // Nothing of the body is read before: half a message is no error of framing, it is one of the token.
    let url = format!("http://{}/opentelemetry.proto.collector.logs.v1.LogsService/Export", server.door("otlp-grpc"));
    let headers = [("content-type", "application/grpc"), ("authorization", "Bearer wrong")];
    assert_eq!(post(&url, None, &headers, Bytes::from_static(&[9, 0, 0])).code(), "16");
    let log = server.log();
    assert!(!log.contains(SEND) && !log.contains("wrong-0123456789"), "{log}");
}

struct Certificate {
    cert: PathBuf,
    settings: [String; 2],
}

impl Certificate {
    fn new(dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let settings = [format!("tls.cert={}", cert.display()), format!("tls.key={}", key.display())];
        Self { cert, settings }
    }
}

#[test]
fn with_a_certificate_every_door_for_http_and_otlp_speaks_tls_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::new(dir.path());
    let (send, read) = (format!("auth.ingest_tokens={SEND}"), format!("auth.read_tokens={READ}"));
    let [cert, key] = &certificate.settings;
    let server = Server::start_with(
        dir.path(),
        &["--http", "0.0.0.0:0", "--set", cert, "--set", key, "--set", &send, "--set", &read],
    );
    let ca = Some(certificate.cert.as_path());
    let port = |door: &str| server.door(door).rsplit(':').next().unwrap().to_owned();
    let bearer = format!("Bearer {SEND}");
    for (number, door) in ["http", "otlp-http", "otlp-grpc"].into_iter().enumerate() {
        let address = format!("localhost:{}", port(door));
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = logs(door, &["over TLS"]).to_string();
        let answer = post(&format!("https://{address}/v1/logs"), ca, &headers, body.into());
        assert_eq!(answer.status, 200, "{door}: {:?}", answer.body);
        if number > 0 {
            assert_eq!(export(&address, ca, Some(&bearer)).code(), "0", "{door}");
            assert_eq!(export(&address, ca, None).code(), "16", "{door}");
        }
        let plain = post(&format!("http://{address}/v1/logs"), None, &headers, "{}".into());
        let text = String::from_utf8_lossy(&plain.body).into_owned();
        assert!(plain.status == 400 && text.contains("https://"), "{door}: {} {text}", plain.status);
    }
    let url = format!("https://localhost:{}", port("http"));
    let sql = |ca: Option<&Path>| {
        let mut command = devmesh();
        command.args(["sql", "SELECT count(*) AS n FROM logs", "--format", "csv", "--url", &url]);
        command.env("DEVMESH_TOKEN", READ);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        command.output().unwrap()
    };
    assert_eq!(sql(ca).stdout, b"n\r\n3\r\n", "{:?}", sql(ca));
    let refused = sql(None);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && message.contains("--ca"), "{message}");
    let log = server.log();
    assert!(log.contains("console: https://0.0.0.0:") && log.contains("ENDPOINT=https://"), "{log}");
    assert!(!log.contains("in the clear"), "{log}");
}

#[test]
fn without_a_certificate_a_door_beyond_loopback_is_told_to_be_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let (send, read) = (format!("auth.ingest_tokens={SEND}"), format!("auth.read_tokens={READ}"));
    let server = Server::start_with(dir.path(), &["--http", "0.0.0.0:0", "--set", &send, "--set", &read]);
    let log = server.log();
    assert!(log.contains("http.listen: 0.0.0.0:0 can be reached") && log.contains("tls.cert"), "{log}");
    assert!(!log.contains("otlp.grpc"), "{log}");
}
