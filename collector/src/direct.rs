//! The direct path: plain JSON posted to `/ingest/logs` and `/ingest/traces` (CONTRACT §5).
//!
//! Good records are kept and bad ones named by their index; the answer's counts are exact. A request is committed whole or
//! not at all, as everywhere: what it says of a record, it says after the sink has answered.

mod fields;
mod group;
mod json;
mod log;
mod shape;
mod span;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use devmesh_schema::{
    Batch, IngestPath, Receipt, Rejection, Signal, limits,
    otlp::write::{ScopeLogsWriter, ScopeSpansWriter},
};
use serde::Serialize;
use serde_json::json;

use self::{
    fields::{Bad, DECODE},
    group::Grouped,
    shape::{Place, Shape, ShapeError},
};
use crate::{
    body::{self, Bounds, Held},
    counters::Door,
    intake::Intake,
    otlp,
    refusal::{Reason, Refusal},
};

/// The two paths, to be mounted beside the API.
pub fn routes(intake: Arc<Intake>) -> Router {
    let path = |signal: Signal| {
        any(
            move |State(intake): State<Arc<Intake>>, request: Request| async move { ingest(intake, signal, request).await },
        )
    };
    Router::new()
        .route("/ingest/logs", path(Signal::Logs))
        .route("/ingest/traces", path(Signal::Traces))
        .with_state(intake)
}

/// What the sender is told of its records.
#[derive(Debug, Default, Serialize)]
struct Answer {
    accepted: u64,
    rejected: u64,
    /// The first [`limits::DIRECT_ERRORS`].
    errors: Vec<RecordError>,
    /// What is odd about accepted ones: the first [`limits::DIRECT_ERRORS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<RecordWarning>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deduplicated: bool,
}

#[derive(Debug, Serialize)]
struct RecordError {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    error: String,
}

#[derive(Debug, Serialize)]
struct RecordWarning {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    warning: String,
}

/// A body's good records as an export request, and what is to be said of the others.
#[derive(Debug, Default)]
struct Prepared {
    request: Vec<u8>,
    /// Which record of the body each item of the request is.
    indices: Vec<u32>,
    /// Said of the bad ones; `accepted` is not counted yet.
    answer: Answer,
    reasons: Vec<&'static str>,
}

impl Prepared {
    fn reject(&mut self, place: Place, bad: Bad) {
        self.answer.rejected += 1;
        if self.answer.errors.len() < limits::DIRECT_ERRORS {
            self.reasons.push(bad.reason);
            self.answer.errors.push(RecordError { index: place.index, line: place.line, error: bad.message });
        }
    }

    fn warn(&mut self, place: Place, warning: String) {
        if self.answer.warnings.len() < limits::DIRECT_ERRORS {
            self.answer.warnings.push(RecordWarning { index: place.index, line: place.line, warning });
        }
    }
}

async fn ingest(intake: Arc<Intake>, signal: Signal, request: Request) -> Response {
    intake.counters().request(Door::Direct);
    match take(&intake, signal, request).await {
        Ok(answer) => {
            let deduplicated = answer.deduplicated;
            let mut response = json_answer(StatusCode::OK, "application/json", &answer);
            if deduplicated {
                response.headers_mut().insert(otlp::DEDUPLICATED, HeaderValue::from_static("true"));
            }
            response
        }
        Err(refusal) => problem(&intake, Door::Direct, &refusal),
    }
}

async fn take(intake: &Intake, signal: Signal, request: Request) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    if parts.method != http::Method::POST {
        return Err(Refusal::new(Reason::Method, "this path takes POST"));
    }
    let sender = match intake.admit(&parts) {
        Ok(sender) => sender,
        Err(refusal) => return Err(body::unread(&parts, body, refusal).await),
    };
    let lines = content_type(&parts.headers)?;
    let id = otlp::batch_id(&parts.headers)?;
    let settings = &intake.settings;
    let bounds = Bounds { sent: settings.body_bytes, decoded: settings.direct_bytes, time: settings.body_time };
    let Held { bytes, mut share } = body::read(&parts.headers, body, bounds, &intake.budget).await?;
    intake.charge_bytes(sender, bytes.len());
    // For the request that is written from it.
    intake.budget.grow(&mut share, 2 * bytes.len()).await?;
    let received = crate::now();
    let prepared = prepare(signal, bytes, lines).await?;
    let Prepared { request, indices, mut answer, reasons } = prepared;
    let mut receipt = Receipt::default();
    if !indices.is_empty() || !request.is_empty() {
        let batch = Batch { signal, id, path: IngestPath::Direct, received, request: request.into() };
        receipt = intake.write(Door::Direct, batch).await?;
        intake.charge_items(sender, &receipt);
    }
    drop(share);
    if !receipt.deduplicated {
        intake.counters().reject(Door::Direct, answer.rejected, reasons);
    }
    finish(&mut answer, receipt, &indices);
    Ok(answer)
}

/// Adds what the sink said; its indices are those of the request that was written.
fn finish(answer: &mut Answer, receipt: Receipt, indices: &[u32]) {
    answer.accepted = receipt.accepted;
    answer.rejected += receipt.rejected;
    answer.deduplicated = receipt.deduplicated;
    for Rejection { index, message, .. } in receipt.rejections {
        let original = usize::try_from(index).ok().and_then(|index| indices.get(index)).map_or(index, |&i| i.into());
        answer.errors.push(RecordError { index: original, line: None, error: message });
    }
    answer.errors.sort_by_key(|error| error.index);
    answer.errors.truncate(limits::DIRECT_ERRORS);
}

/// Whether the body has a record a line, by its type alone.
fn content_type(headers: &HeaderMap) -> Result<bool, Refusal> {
    let unsupported = || {
        let message = "unsupported Content-Type, supported: application/json, application/x-ndjson (curl: add -H \
                       'Content-Type: application/json')";
        Refusal::new(Reason::UnsupportedType, message)
    };
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or_else(unsupported)?;
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Ok(false),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(true),
        _ => Err(unsupported()),
    }
}

/// Reads a body's records; a large one where it holds up no connection.
async fn prepare(signal: Signal, body: Bytes, lines: bool) -> Result<Prepared, Refusal> {
    let key = list_key(signal);
    let shape = shape::shape(&body, key, known_key(signal), lines).map_err(invalid)?;
    if shape == Shape::Otlp {
        return prepare_otlp(signal, body).await;
    }
    if body.len() <= otlp::http::INLINE_JSON_BYTES {
        return read(signal, &body, shape).map_err(invalid);
    }
    let task = tokio::task::spawn_blocking(move || read(signal, &body, shape));
    task.await.map_err(|error| Refusal::of_task(&error))?.map_err(invalid)
}

fn invalid(error: ShapeError) -> Refusal {
    Refusal::new(Reason::Decode, error.to_string())
}

/// The key of the list in the object that is posted.
fn list_key(signal: Signal) -> &'static str {
    if signal == Signal::Logs { "logs" } else { "spans" }
}

/// A key that tells a single record from another object.
fn known_key(signal: Signal) -> &'static str {
    if signal == Signal::Logs { "message" } else { "trace_id" }
}

async fn prepare_otlp(signal: Signal, body: Bytes) -> Result<Prepared, Refusal> {
    let json = otlp::http::transcode(signal, body).await?;
    let mut prepared = Prepared::default();
    prepared.answer.rejected = json.rejected;
    for Rejection { index, reason, message } in &json.rejections {
        prepared.answer.errors.push(RecordError { index: *index, line: None, error: message.clone() });
        prepared.reasons.push(*reason);
    }
    let originals = (0..json.items).map(|kept| u32::try_from(json.original_index(kept)).unwrap_or(u32::MAX));
    prepared.indices = originals.collect();
    prepared.request = json.request;
    Ok(prepared)
}

/// Turns the body's records into an export request.
fn read(signal: Signal, body: &[u8], shape: Shape) -> Result<Prepared, ShapeError> {
    let mut prepared = Prepared::default();
    let mut grouped = Grouped::default();
    let (mut total, mut undecodable) = (0_u64, 0_u64);
    shape::records(body, shape, list_key(signal), |place, record| {
        total += 1;
        let added = record.and_then(|record| {
            let index = u32::try_from(place.index).unwrap_or(u32::MAX);
            if index as usize >= limits::ITEMS {
                return Err(Bad::new("too_many_items", format!("a request has at most {} records", limits::ITEMS)));
            }
            add(signal, &mut grouped, record, index)
        });
        match added {
            Ok(None) => {}
            Ok(Some(warning)) => prepared.warn(place, warning),
            Err(bad) => {
                undecodable += u64::from(bad.reason == DECODE);
                prepared.reject(place, bad);
            }
        }
    })?;
    if shape == Shape::Lines && total > 0 && undecodable == total {
        return Err(ShapeError::NoRecord(list_key(signal)));
    }
    (prepared.request, prepared.indices) = grouped.finish();
    Ok(prepared)
}

/// Adds a record; says what its sender should know of it.
fn add(signal: Signal, grouped: &mut Grouped, record: &str, index: u32) -> Result<Option<String>, Bad> {
    if signal == Signal::Logs {
        let (origin, log) = log::read(record)?;
        grouped.add(origin, index, |out| log.write(&mut ScopeLogsWriter::contents_of(out)));
        Ok(log.warning)
    } else {
        let (origin, span) = span::read(record)?;
        grouped.add(origin, index, |out| span.write(&mut ScopeSpansWriter::contents_of(out)));
        Ok(None)
    }
}

/// A refused request of a door of the API, as a problem (RFC 9457).
pub(crate) fn problem(intake: &Intake, door: Door, refusal: &Refusal) -> Response {
    intake.counters().refuse(door, refusal.reason, &refusal.message);
    let status = refusal.reason.status();
    let problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": refusal.message,
    });
    let mut response = json_answer(status, "application/problem+json", &problem);
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match refusal.reason {
        Reason::AuthFailed => headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        Reason::Method => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
        _ => None,
    };
    response
}

fn json_answer(status: StatusCode, kind: &'static str, answer: &impl Serialize) -> Response {
    // Writing plain structures to memory cannot fail; an empty body would say so.
    let mut response = Response::new(Body::from(serde_json::to_vec(answer).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
