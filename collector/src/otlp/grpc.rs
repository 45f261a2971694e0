//! OTLP/gRPC: the three unary `Export` calls, on the bytes of the message.
//!
//! The framing of a unary call is five bytes before the message and a status behind it. Reading it here, and not with a
//! general gRPC server, lets every door share one bounded reader and one byte budget, hands the message on without a
//! copy, and gives the exact status codes that OTLP asks for (a general server answers `OUT_OF_RANGE`, which senders
//! retry for ever, for a message that is too large).

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use devmesh_schema::{Receipt, Signal};
use http_body_util::{BodyExt, Full};

use super::{
    DEDUPLICATED,
    answer::{self, PartialSuccess},
    batch_id,
};
use crate::{
    body::{self, Bounds, Encoding},
    counters::Door,
    intake::Intake,
    refusal::{Reason, Refusal},
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The three services.
pub fn routes(intake: Arc<Intake>) -> Router {
    let call = |signal: Signal| {
        any(
            move |State(intake): State<Arc<Intake>>, request: Request| async move { export(intake, signal, request).await },
        )
    };
    Router::new()
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", call(Signal::Logs))
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", call(Signal::Traces))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", call(Signal::Metrics))
        .with_state(intake)
}

/// Whether a request is a gRPC call.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = value.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
}

/// A call of a service or method that is not there.
pub(super) fn unknown(intake: &Intake, request: &Request) -> Response {
    let message = format!(
        "unknown method {}: this server has Export of opentelemetry.proto.collector.{{logs.v1.LogsService, \
         trace.v1.TraceService, metrics.v1.MetricsService}}",
        request.uri().path()
    );
    refuse(intake, &Refusal::new(Reason::NotFound, message))
}

async fn export(intake: Arc<Intake>, signal: Signal, request: Request) -> Response {
    intake.counters().request(Door::OtlpGrpc);
    if request.version() < Version::HTTP_2 || !is_grpc(request.headers()) {
        let message = "this path is for gRPC over HTTP/2 (Content-Type application/grpc); for OTLP/HTTP POST to ";
        let message = format!("{message}/v1/{signal}\n");
        intake.counters().refuse(Door::OtlpGrpc, Reason::UnsupportedType, &message);
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    match take(&intake, signal, request).await {
        Ok(receipt) => accept(&receipt),
        Err(refusal) => refuse(&intake, &refusal),
    }
}

async fn take(intake: &Intake, signal: Signal, request: Request) -> Result<Receipt, Refusal> {
    let (parts, body) = request.into_parts();
    let sender = intake.admit(&parts)?;
    let id = batch_id(&parts.headers)?;
    let encoding = encoding(&parts.headers)?;
    let settings = &intake.settings;
    let bounds = Bounds { sent: settings.body_bytes, decoded: settings.request_bytes, time: settings.body_time };
    let held = body::read_message(body, encoding, bounds, &intake.budget).await?;
    intake.charge_bytes(sender, held.bytes.len());
    super::write(intake, (Door::OtlpGrpc, sender), signal, id, held).await
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get(GRPC_ENCODING) else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(Encoding::parse).ok_or_else(|| {
        let message = "unsupported grpc-encoding, supported: identity, gzip, zstd, deflate";
        Refusal::new(Reason::UnsupportedEncoding, message)
    })
}

fn accept(receipt: &Receipt) -> Response {
    let reasons = super::http::reasons(&receipt.rejections);
    let message = PartialSuccess::new(receipt.rejected, &reasons).map(|partial| partial.protobuf()).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);

    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    if receipt.deduplicated {
        headers.insert(DEDUPLICATED, HeaderValue::from_static("true"));
    }
    response
}

/// A status alone ("Trailers-Only").
fn refuse(intake: &Intake, refusal: &Refusal) -> Response {
    intake.counters().refuse(Door::OtlpGrpc, refusal.reason, &refusal.message);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    headers.insert(GRPC_STATUS, HeaderValue::from(refusal.reason.grpc()));
    if let Ok(message) = HeaderValue::from_maybe_shared(percent_encode(&refusal.message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    let details = STANDARD_NO_PAD.encode(answer::status_protobuf(refusal));
    if let Ok(details) = HeaderValue::from_maybe_shared(Bytes::from(details)) {
        headers.insert(GRPC_DETAILS, details);
    }
    response
}

/// `grpc-message` is percent-encoded: everything but printable ASCII, and `%`.
fn percent_encode(message: &str) -> Bytes {
    // A header is no place for a long text; the details have it.
    const LENGTH: usize = 1024;
    let mut out = BytesMut::new();
    for byte in message[..message.floor_char_boundary(LENGTH)].bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.put_u8(byte);
        } else {
            out.put_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out.freeze()
}
