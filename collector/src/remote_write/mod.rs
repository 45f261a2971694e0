//! Prometheus remote write 1.0 and 2.0: `POST /api/v1/write`.
//!
//! What is good of a request is kept and the rest refused with 400, which a sender does not send again; version 2 is told
//! how many samples, histograms and exemplars were written, whatever the status. A request is one batch: a trouble that
//! passes (429, 503) means that nothing of it was written, so that the sender may send it again as it is. Sent again
//! without need, it is stored once: a batch without an id has its body's hash as one.

mod v1;
mod v2;
mod wire;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use devmesh_schema::{Batch, BatchId, IngestPath, Signal, limits, prometheus};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    body::{self, Encoding, Held},
    counters::Door,
    direct,
    intake::Intake,
    otlp,
    prometheus::{Bounds, Counts, Families, Ready, Refused, Request},
    rate::Sender,
    refusal::{Reason, Refusal},
};

/// A body of more bytes than this is read outside of the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;
/// How many of each were written, for senders of version 2.
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// The path, to be mounted beside the API.
pub fn routes(intake: Arc<Intake>) -> Router {
    let door = Arc::new(RemoteWrite { intake, families: Arc::default() });
    let write = |State(door): State<Arc<RemoteWrite>>, request: HttpRequest| async move { door.write(request).await };
    Router::new().route("/api/v1/write", any(write)).with_state(door)
}

#[derive(Debug)]
struct RemoteWrite {
    intake: Arc<Intake>,
    families: Arc<Families>,
}

/// The message that a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// From `Content-Type` alone, as the specification says.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let (value, more) = (values.next()?.to_str().ok()?, values.next());
        let mut parts = value.split(';');
        let kind = parts.next()?.trim();
        if more.is_some() || !kind.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let mut version = Version::V1;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if name.trim().eq_ignore_ascii_case("proto") {
                version = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Version::V1,
                    "io.prometheus.write.v2.Request" => Version::V2,
                    _ => return None,
                };
            }
        }
        Some(version)
    }
}

/// What became of a request.
#[derive(Debug, Default)]
struct Outcome {
    written: Counts,
    refused: Refused,
}

impl RemoteWrite {
    async fn write(&self, request: HttpRequest) -> Response {
        self.intake.counters().request(Door::RemoteWrite);
        let version = Version::of(request.headers());
        let (written, mut response) = match self.take(version, request).await {
            Ok(outcome) if outcome.refused.items == 0 => (outcome.written, empty(StatusCode::NO_CONTENT)),
            Ok(outcome) => {
                let refusal = Refusal::new(Reason::Decode, describe(&outcome));
                (outcome.written, direct::problem(&self.intake, Door::RemoteWrite, &refusal))
            }
            Err(refusal) => (Counts::default(), direct::problem(&self.intake, Door::RemoteWrite, &refusal)),
        };
        if version == Some(Version::V2) {
            let counts = [written.samples, written.histograms, written.exemplars];
            for (name, count) in WRITTEN.into_iter().zip(counts) {
                response.headers_mut().insert(name, HeaderValue::from(count));
            }
        }
        response
    }

    async fn take(&self, version: Option<Version>, request: HttpRequest) -> Result<Outcome, Refusal> {
        let (parts, body) = request.into_parts();
        if parts.method != http::Method::POST {
            return Err(Refusal::new(Reason::Method, "this path takes POST"));
        }
        let sender = match self.intake.admit(&parts) {
            Ok(sender) => sender,
            Err(refusal) => return Err(body::unread(&parts, body, refusal).await),
        };
        let Some(version) = version else {
            let supported = "application/x-protobuf, with proto=prometheus.WriteRequest or \
                             proto=io.prometheus.write.v2.Request";
            return Err(Refusal::new(
                Reason::UnsupportedType,
                format!("unsupported Content-Type, supported: {supported}"),
            ));
        };
        encoding(&parts.headers)?;
        let settings = &self.intake.settings;
        let decoded = limits::REMOTE_WRITE_BYTES.min(settings.request_bytes);
        let bounds = body::Bounds { sent: settings.body_bytes, decoded, time: settings.body_time };
        let given = otlp::batch_id(&parts.headers)?;
        let Held { bytes, mut share } =
            body::read_as(Encoding::Snappy, &parts.headers, body, bounds, &self.intake.budget).await?;
        self.intake.charge_bytes(sender, bytes.len());
        // For the request that is written from it.
        self.intake.budget.grow(&mut share, 3 * bytes.len()).await?;
        let received = crate::now();
        let id = match given {
            Some(id) => Some(id),
            None => format!("rw-{:032x}", xxh3_128(&bytes)).parse().ok(),
        };
        let times = Bounds::new(received, settings.past);
        let Ready { request, points, written, refused } = self.prepare(version, bytes, times).await?;
        self.intake.counters().reject(Door::RemoteWrite, refused.items, refused.named.iter().map(|bad| bad.reason));
        let mut outcome = Outcome { written, refused };
        if points > 0 {
            let batch =
                Batch { signal: Signal::Metrics, id, path: IngestPath::Collector, received, request: request.into() };
            self.commit(sender, batch, &mut outcome).await?;
        }
        drop(share);
        Ok(outcome)
    }

    async fn prepare(&self, version: Version, body: Bytes, times: Bounds) -> Result<Ready, Refusal> {
        if body.len() <= INLINE_BYTES {
            return read(version, &body, times, &self.families);
        }
        let families = Arc::clone(&self.families);
        let task = tokio::task::spawn_blocking(move || read(version, &body, times, &families));
        task.await.map_err(|error| Refusal::of_task(&error))?
    }

    async fn commit(&self, sender: Sender, batch: Batch, outcome: &mut Outcome) -> Result<(), Refusal> {
        let own = batch.id.as_ref().is_some_and(is_own);
        match self.intake.write(Door::RemoteWrite, batch).await {
            Ok(receipt) => {
                self.intake.charge_items(sender, &receipt);
                // The door checks what the sink does; should they differ, nothing is called written that is not.
                outcome.written.samples = outcome.written.samples.saturating_sub(receipt.rejected);
                outcome.refused.items += receipt.rejected;
                let named = receipt.rejections.into_iter();
                outcome.refused.named.extend(named.map(|item| crate::prometheus::Bad::new(item.reason, item.message)));
                Ok(())
            }
            // The same body was stored when less was known of its metrics: their help was another.
            Err(refusal) if own && refusal.reason == Reason::BatchIdConflict => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}

/// Whether an id is a body's hash.
fn is_own(id: &BatchId) -> bool {
    id.as_str().strip_prefix("rw-").is_some_and(|hash| hash.len() == 32)
}

fn read(version: Version, body: &[u8], times: Bounds, families: &Families) -> Result<Ready, Refusal> {
    let mut request = Request::new(prometheus::REMOTE_WRITE, times, families);
    let read = match version {
        Version::V1 => v1::read(body, families, &mut request),
        Version::V2 => v2::read(body, &mut request),
    };
    let invalid = |error| Refusal::new(Reason::Decode, format!("the body is no valid remote write: {error}"));
    read.map_err(invalid)?;
    Ok(request.finish())
}

/// Both versions are compressed by snappy's block format, and by nothing else.
fn encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let snappy = values.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"snappy"));
    if snappy && values.next().is_none() {
        return Ok(());
    }
    let message = "unsupported Content-Encoding, supported: snappy (its block format)";
    Err(Refusal::new(Reason::UnsupportedEncoding, message))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What was refused, in one line: senders log the first.
fn describe(outcome: &Outcome) -> String {
    let Outcome { written, refused } = outcome;
    let reasons: Vec<&str> = refused.named.iter().map(|bad| bad.message.as_str()).collect();
    let mut text = format!("{} refused, {} written: {}", refused.items, written.total(), reasons.join("; "));
    text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES));
    text
}
