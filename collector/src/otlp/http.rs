//! OTLP/HTTP: `POST /v1/logs`, `/v1/traces`, `/v1/metrics`, as protobuf and as JSON.
//!
//! The answer is written in the encoding of the request, errors too (`google.rpc.Status`), except 405 and 415, which are
//! text as the OpenTelemetry Collector's are: there is no encoding to answer in.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use devmesh_schema::{
    BatchId, Receipt, Rejection, Signal, limits,
    otlp::json::{self, Transcoded},
};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    DEDUPLICATED,
    answer::{self, PartialSuccess},
    batch_id,
};
use crate::{
    body::{self, Bounds, Held},
    counters::Door,
    intake::{Intake, Origins},
    rate::Sender,
    refusal::{Reason, Refusal},
};

/// JSON of more bytes than this is read outside of the threads that serve connections.
pub(crate) const INLINE_JSON_BYTES: usize = 128 << 10;
const SUPPORTED: &str = "415 unsupported media type, supported: [application/json, application/x-protobuf]\n";

/// The three paths, and metrics under Prometheus' path, with CORS. Mounted on the OTLP ports and beside the API.
pub fn routes(intake: Arc<Intake>) -> Router {
    let path = |signal: Signal| {
        any(
            move |State(intake): State<Arc<Intake>>, request: Request| async move { export(intake, signal, request).await },
        )
    };
    let cors = cors(&intake.settings.origins);
    let router = Router::new()
        .route("/v1/logs", path(Signal::Logs))
        .route("/v1/traces", path(Signal::Traces))
        .route("/v1/metrics", path(Signal::Metrics))
        // Where Prometheus has it.
        .route("/api/v1/otlp/v1/metrics", path(Signal::Metrics))
        .with_state(intake);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

fn cors(origins: &Origins) -> Option<CorsLayer> {
    if *origins == Origins::Off {
        return None;
    }
    let origins = origins.clone();
    let allowed = move |origin: &HeaderValue, _: &request::Parts| origin.to_str().is_ok_and(|text| origins.allow(text));
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(allowed))
            .allow_methods([Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .max_age(std::time::Duration::from_secs(7200)),
    )
}

/// A request to a path that is not there.
pub(super) fn unknown(intake: &Intake, request: &Request) -> Response {
    let path = request.uri().path();
    let hint = format!(
        "404 page not found: {path}\nThis is an OTLP port. OTLP/HTTP: POST to /v1/traces, /v1/metrics or /v1/logs \
         (OTEL_EXPORTER_OTLP_ENDPOINT takes the address without a path; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as \
         it is, so it ends in /v1/traces). OTLP/gRPC: the address without a path.\n"
    );
    let refusal = Refusal::new(Reason::NotFound, hint);
    match Format::of(request.headers()) {
        Some(format) if request.method() == Method::POST => refuse(intake, Some(format), &refusal),
        _ => refuse(intake, None, &refusal),
    }
}

/// How a request, and its answer, is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// From `Content-Type`, in any case and with parameters; JSON is UTF-8.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let mut parts = value.split(';');
        let kind = parts.next()?.trim();
        let utf8 = parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
        });
        if kind.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Format::Protobuf)
        } else if kind.eq_ignore_ascii_case("application/json") && utf8 {
            Some(Format::Json)
        } else {
            None
        }
    }

    fn answer(self, status: StatusCode, body: impl Into<Body>) -> Response {
        let kind = match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

async fn export(intake: Arc<Intake>, signal: Signal, request: Request) -> Response {
    intake.counters().request(Door::OtlpHttp);
    if request.method() != Method::POST {
        let refusal = Refusal::new(Reason::Method, "405 method not allowed, supported: [POST]\n");
        let mut response = refuse(&intake, None, &refusal);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Some(format) = Format::of(request.headers()) else {
        return refuse(&intake, None, &Refusal::new(Reason::UnsupportedType, SUPPORTED));
    };
    match take(&intake, signal, format, request).await {
        Ok(taken) => taken.answer(signal, format),
        Err(refusal) => refuse(&intake, Some(format), &refusal),
    }
}

/// What became of a request that was taken.
struct Taken {
    receipt: Receipt,
    /// Items refused before the sink.
    rejected: u64,
    /// Why items were refused, and what else the sender should know.
    reasons: Vec<String>,
}

impl Taken {
    fn answer(self, signal: Signal, format: Format) -> Response {
        let partial = PartialSuccess::new(self.receipt.rejected + self.rejected, &self.reasons);
        let body = match (format, partial) {
            (Format::Protobuf, None) => Body::empty(),
            (Format::Protobuf, Some(partial)) => partial.protobuf().into(),
            (Format::Json, None) => "{}".into(),
            (Format::Json, Some(partial)) => partial.json(signal).to_string().into(),
        };
        let mut response = format.answer(StatusCode::OK, body);
        if self.receipt.deduplicated {
            response.headers_mut().insert(DEDUPLICATED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Rejections as a sender reads them.
pub(super) fn reasons(rejections: &[Rejection]) -> Vec<String> {
    rejections.iter().map(|item| format!("item {}: {}", item.index, item.message)).collect()
}

async fn take(intake: &Intake, signal: Signal, format: Format, request: Request) -> Result<Taken, Refusal> {
    let (parts, body) = request.into_parts();
    let sender = match intake.admit(&parts) {
        Ok(sender) => sender,
        Err(refusal) => return Err(body::unread(&parts, body, refusal).await),
    };
    let id = batch_id(&parts.headers)?;
    let settings = &intake.settings;
    let bounds = Bounds { sent: settings.body_bytes, decoded: settings.request_bytes, time: settings.body_time };
    let held = body::read(&parts.headers, body, bounds, &intake.budget).await?;
    intake.charge_bytes(sender, held.bytes.len());
    if format == Format::Json {
        return take_json(intake, sender, signal, id, held).await;
    }
    let receipt = super::write(intake, (Door::OtlpHttp, sender), signal, id, held).await?;
    let reasons = reasons(&receipt.rejections);
    Ok(Taken { receipt, rejected: 0, reasons })
}

async fn take_json(
    intake: &Intake,
    sender: Sender,
    signal: Signal,
    id: Option<BatchId>,
    held: Held,
) -> Result<Taken, Refusal> {
    let Held { bytes, mut share } = held;
    // For the protobuf, which is smaller.
    intake.budget.grow(&mut share, 2 * bytes.len()).await?;
    let mut json = transcode(signal, bytes).await?;
    let held = Held { bytes: std::mem::take(&mut json.request).into(), share };
    let mut receipt = super::write(intake, (Door::OtlpHttp, sender), signal, id, held).await?;
    if !receipt.deduplicated {
        let named = json.rejections.iter().map(|rejection| rejection.reason);
        intake.counters().reject(Door::OtlpHttp, json.rejected, named);
    }
    for rejection in &mut receipt.rejections {
        rejection.index = json.original_index(rejection.index);
    }
    let mut all = json.rejections;
    all.append(&mut receipt.rejections);
    all.sort_by_key(|rejection| rejection.index);
    all.truncate(limits::REJECTIONS_NAMED);
    let mut reasons = reasons(&all);
    reasons.extend(json.warnings);
    Ok(Taken { receipt, rejected: json.rejected, reasons })
}

/// Writes a JSON request as protobuf; a large one where it holds up no connection.
pub(crate) async fn transcode(signal: Signal, body: Bytes) -> Result<Transcoded, Refusal> {
    let transcoded = if body.len() <= INLINE_JSON_BYTES {
        json::to_protobuf(signal, &body)
    } else {
        let task = tokio::task::spawn_blocking(move || json::to_protobuf(signal, &body));
        task.await.map_err(|error| Refusal::of_task(&error))?
    };
    transcoded.map_err(|error| Refusal::new(Reason::Decode, format!("the body is no valid OTLP/JSON: {error}")))
}

/// An error in the request's encoding; as text where it has none, and for 405 and 415.
fn refuse(intake: &Intake, format: Option<Format>, refusal: &Refusal) -> Response {
    intake.counters().refuse(Door::OtlpHttp, refusal.reason, &refusal.message);
    let status = refusal.reason.status();
    let format = format.filter(|_| status != StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut response = match format {
        Some(Format::Protobuf) => Format::Protobuf.answer(status, answer::status_protobuf(refusal)),
        Some(Format::Json) => Format::Json.answer(status, answer::status_json(refusal).to_string()),
        None => (status, refusal.message.clone()).into_response(),
    };
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if refusal.reason == Reason::UnsupportedEncoding => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, deflate, identity"));
        }
        _ => {}
    }
    response
}
