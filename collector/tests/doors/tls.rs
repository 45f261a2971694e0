//! TLS at the doors: row A40 of the bad-input catalogue, requirement S6 for handshakes, and that what is sent arrives.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use devmesh_collector::{Doors, Intake, Settings, spawn, tls};
use devmesh_schema::{Signal, limits};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use crate::support::*;

struct Secured {
    recorder: Arc<Recorder>,
    /// Ports of gRPC and HTTP.
    ports: [u16; 2],
    cert: PathBuf,
    stop: CancellationToken,
    doors: JoinSet<(devmesh_collector::Door, devmesh_collector::Drained)>,
    _dir: tempfile::TempDir,
}

impl Secured {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let recorder = Arc::new(Recorder::default());
        let intake = Intake::new(recorder.clone(), Settings::default());
        let listener = || TcpListener::bind("127.0.0.1:0");
        let (grpc, http) = (listener().await.unwrap(), listener().await.unwrap());
        let ports = [&grpc, &http].map(|listener| listener.local_addr().unwrap().port());
        let tls = Some(tls::Tls::load(&cert, &key).unwrap());
        let stop = CancellationToken::new();
        let doors = spawn(Doors { otlp_grpc: Some(grpc), otlp_http: Some(http), tls }, &intake, &stop);
        Self { recorder, ports, cert, stop, doors, _dir: dir }
    }

    fn client(&self, http2: bool) -> Legacy<HttpsConnector<HttpConnector>, Full<Bytes>> {
        let trust = tls::client(Some(&self.cert)).unwrap();
        let builder = HttpsConnectorBuilder::new().with_tls_config(trust).https_only();
        let connector = if http2 { builder.enable_http2().build() } else { builder.enable_http1().build() };
        Legacy::builder(TokioExecutor::new()).http2_only(http2).build(connector)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.ports[1])).await.unwrap()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn otlp_arrives_over_tls_by_grpc_and_by_both_versions_of_http() {
    let server = Secured::start().await;
    for (http2, path, kind, body) in [
        (false, "/v1/logs", PROTOBUF, Bytes::from(logs(vec![log("one")]))),
        (true, "/v1/logs", PROTOBUF, Bytes::from(logs(vec![log("two")]))),
        (true, LOGS, "application/grpc", frame(0, &logs(vec![log("three")]))),
    ] {
        for port in server.ports {
            let request = Request::post(format!("https://localhost:{port}{path}")).header("content-type", kind);
            let request = request.body(Full::new(body.clone())).unwrap();
            let response = limit(server.client(http2).request(request)).await.unwrap();
            let expected = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
            assert_eq!((response.status().as_u16(), response.version()), (200, expected), "{path}");
            let collected = limit(response.into_body().collect()).await.unwrap();
            let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status"));
            assert!(kind == PROTOBUF || status.unwrap() == "0", "{status:?}");
        }
    }
    assert_eq!(server.recorder.count(Signal::Logs), 6);
}

#[tokio::test]
async fn a_client_that_does_not_know_us_sends_nothing() {
    let (server, other) = (Secured::start().await, Secured::start().await);
    let request =
        Request::post(format!("https://localhost:{}/v1/logs", server.ports[1])).body(Full::default()).unwrap();
    let error = limit(other.client(false).request(request)).await.unwrap_err();
    assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    // A name that the certificate does not have.
    let request =
        Request::post(format!("https://127.0.0.1:{}/v1/logs", server.ports[1])).body(Full::default()).unwrap();
    limit(server.client(false).request(request)).await.unwrap_err();
    assert!(server.recorder.batches().is_empty());
}

#[tokio::test]
async fn a40_plain_http_on_a_port_of_tls_is_told_to_use_https() {
    let server = Secured::start().await;
    let mut stream = server.connect().await;
    let request = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n{}", "x".repeat(50_000));
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    // Garbage after the first byte of a handshake, and half a handshake: closed, and others are served.
    for bytes in [&b"\x16garbage that is no hello"[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        read_until(&mut stream, "").await;
    }
    let request = Request::post(format!("https://localhost:{}/v1/logs", server.ports[1])).header("content-type", JSON);
    let response = limit(server.client(true).request(request.body(Full::new("{}".into())).unwrap())).await;
    assert_eq!(response.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn s6_a_handshake_that_never_ends_is_closed_after_10_s() {
    let server = Secured::start().await;
    let mut silent = server.connect().await;
    let mut begun = server.connect().await;
    begun.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await.unwrap();
    let mut rest = [Vec::new(), Vec::new()];
    let [first, second] = &mut rest;
    let both = async { tokio::join!(silent.read_to_end(first), begun.read_to_end(second)) };
    let patience = limits::HEADER_TIME + Duration::from_secs(30);
    tokio::time::timeout(patience, both).await.expect("both are closed").0.unwrap_or_default();
}

#[tokio::test]
async fn a_handshake_that_is_not_over_does_not_hold_up_a_stop() {
    // A busy machine may be slow once; a server that waits for the handshake is slow each time.
    for _ in 0..5 {
        let mut server = Secured::start().await;
        let _silent = server.connect().await;
        // Accepted after the silent one, so both are when it is answered.
        let request =
            Request::post(format!("https://localhost:{}/v1/logs", server.ports[1])).header("content-type", JSON);
        limit(server.client(false).request(request.body(Full::new("{}".into())).unwrap())).await.unwrap();
        let started = std::time::Instant::now();
        server.stop.cancel();
        while limit(server.doors.join_next()).await.is_some() {}
        if started.elapsed() < limits::HEADER_TIME / 2 {
            return;
        }
    }
    panic!("a stop waits for a handshake");
}
