//! HTTP/1.1, HTTP/2 and gRPC as senders speak them.

use std::{io::Write, net::SocketAddr};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, timeout},
};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";
pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<prost_duration::Duration>,
}

pub(crate) mod prost_duration {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Duration {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
}

pub(crate) struct Client {
    http1: Legacy<HttpConnector, Full<Bytes>>,
    http2: Legacy<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        let http1 = Legacy::builder(TokioExecutor::new()).build_http();
        let http2 = Legacy::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { http1, http2 }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text()))
    }

    pub(crate) fn status_message(&self) -> Status {
        Status::decode(self.body.clone()).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The answer to a gRPC call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) status: Option<Status>,
    pub(crate) headers: HeaderMap,
    /// The message of the response, if there is one.
    pub(crate) response: Option<Bytes>,
}

impl Status {
    /// Seconds of the `RetryInfo`, where there is one.
    pub(crate) fn retry_delay(&self) -> Option<i64> {
        let any = self.details.first()?;
        assert_eq!(any.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        Some(RetryInfo::decode(any.value.as_slice()).unwrap().retry_delay.unwrap().seconds)
    }
}

impl Call {
    pub(crate) fn retry_delay(&self) -> Option<i64> {
        self.status.as_ref()?.retry_delay()
    }
}

impl Client {
    pub(crate) async fn send(&self, at: SocketAddr, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
        self.method(Method::POST, Version::HTTP_11, at, path, headers, body).await
    }

    pub(crate) async fn method(
        &self,
        method: Method,
        version: Version,
        at: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Reply {
        let response = self.raw(method, version, at, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, version: parts.version, headers: parts.headers, body }
    }

    async fn raw(
        &self,
        method: Method,
        version: Version,
        at: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{at}{path}")).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let client = if version == Version::HTTP_2 { &self.http2 } else { &self.http1 };
        limit(client.request(request)).await.unwrap()
    }

    /// A gRPC call with `body` as it is, framing included.
    pub(crate) async fn call(&self, at: SocketAddr, path: &str, metadata: &[(&str, &str)], body: Bytes) -> Call {
        let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
        headers.extend_from_slice(metadata);
        let response = self.raw(Method::POST, Version::HTTP_2, at, path, &headers, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (parts, body) = response.into_parts();
        let collected = limit(body.collect()).await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_else(|| parts.headers.clone());
        let data = collected.to_bytes();
        let text = |name: &str| trailers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let details = text("grpc-status-details-bin").map(|text| STANDARD_NO_PAD.decode(text).unwrap());
        Call {
            code: text("grpc-status").unwrap().parse().unwrap(),
            message: text("grpc-message").unwrap_or_default(),
            status: details.map(|details| Status::decode(details.as_slice()).unwrap()),
            headers: parts.headers,
            response: (!data.is_empty()).then(|| data.slice(5..)),
        }
    }
}

/// A gRPC message with its prefix.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

/// Fails a test that waits for longer than any answer takes.
pub(crate) async fn limit<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("an answer within 60 s")
}

/// Sends bytes as they are over TCP and reads until the server closes, or `enough` is in what came.
pub(crate) async fn raw(at: SocketAddr, bytes: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The server may close before it has read everything: what it said counts.
    let _sent = stream.write_all(bytes).await;
    read_until(&mut stream, enough).await
}

pub(crate) async fn read_until(stream: &mut TcpStream, enough: &str) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match limit(stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
        if !enough.is_empty() && String::from_utf8_lossy(&answer).contains(enough) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
