//! Sends what is queued to a server, as OTLP/HTTP, and lets go of it only when the server has answered.
//!
//! Each batch goes out with its id in `X-Devmesh-Batch-Id`, so that a repeat after an answer that was lost is stored
//! once. Requests go through as the bytes they came as, compressed where that pays. Several are in flight; the queue is trimmed up to the first that
//! is not answered yet. What an answer means:
//!
//! | answer | then |
//! |---|---|
//! | 2xx | done; items the server refused for good are counted |
//! | no answer, 429, 502, 503, 504 | again, later and later (up to [`BACKOFF_MAX`]), or when `Retry-After` says |
//! | 3xx, 401, 403, 404, 405, 407 | the target or the token is wrong: again every [`BACKOFF_MAX`], and an error in the log |
//! | 500 and other 5xx | again, [`TRIES`] times, then to the dead letters |
//! | other 4xx | to the dead letters |
//!
//! A dead letter is a file with the request and one with the reason; nothing is dropped without one unless there are
//! too many ([`dead_letters`]).

pub mod answer;
pub mod dead_letters;
mod target;

pub use self::target::TargetError;

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use devmesh_wal::{Reader, Seq};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    answer::{Answer, Outcome, judge},
    dead_letters::DeadLetters,
    target::{HttpClient, client, compresses, packed, url},
};
use crate::{
    otlp::BATCH_ID,
    queue::{Outlet, Queue, Queued},
    settings::Compression,
};

/// The longest pause between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The pause after the first failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Attempts at a batch that makes the server fail.
pub const TRIES: u32 = 10;
/// The longest `Retry-After` that is heeded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long an answer may take, and longer for large requests: a second for each of these bytes.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const BYTES_A_SECOND: u64 = 1 << 20;
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 10;
/// Bytes read from the queue at once.
const READ_BYTES: usize = 2 << 20;
/// How long requests in flight may take to be answered at the end.
pub const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Where to, and how much at once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server: `http://host:port` or `https://host:port`, with the path before `/v1/logs` where it has one.
    pub to: Uri,
    /// Certificates that vouch for it; `None`: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate and key that are shown to it, where it asks for them.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Whether requests are compressed.
    pub compression: Compression,
    /// The agent's token, sent as `Authorization: Bearer`.
    pub token: Option<HeaderValue>,
    /// Requests in flight.
    pub in_flight: usize,
    /// Bytes of requests in flight; a larger request goes alone.
    pub in_flight_bytes: usize,
}

/// What was forwarded since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Batches that the server took.
    pub batches: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Attempts that failed and were made again.
    pub retries: AtomicU64,
    /// Batches put among the dead letters.
    pub dead_letters: AtomicU64,
    /// Items of taken batches that the server refused for good.
    pub rejected_items: AtomicU64,
    /// Whether the last attempt failed.
    away: AtomicBool,
}

/// Forwards a queue until it is stopped.
#[derive(Debug)]
pub struct Forwarder {
    queue: Arc<Queue>,
    outlet: Outlet,
    settings: Settings,
    sender: Arc<Sender>,
}

/// What each request in flight needs.
#[derive(Debug)]
struct Sender {
    client: HttpClient,
    urls: [Uri; 3],
    compress: bool,
    token: Option<HeaderValue>,
    counters: Arc<Counters>,
    dead_letters: DeadLetters,
}

impl Forwarder {
    /// A forwarder of `queue`, which keeps what no server takes in `dead_letters`.
    ///
    /// # Errors
    /// The target is no URL with a host and the scheme `http` or `https`, or there are no certificates to know it by.
    pub fn new(
        queue: Arc<Queue>,
        outlet: Outlet,
        settings: Settings,
        dead_letters: DeadLetters,
    ) -> Result<Self, TargetError> {
        let client = client(&settings)?;
        let [logs, traces, metrics] = devmesh_schema::Signal::ALL.map(|signal| url(&settings.to, signal));
        let sender = Sender {
            client,
            urls: [logs?, traces?, metrics?],
            compress: compresses(&settings),
            token: settings.token.clone(),
            counters: Arc::default(),
            dead_letters,
        };
        Ok(Self { queue, outlet, settings, sender: Arc::new(sender) })
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.sender.counters)
    }

    /// Forwards until `stop`; then gives what is in flight [`DRAIN_TIME`]. What is not answered stays queued.
    pub async fn run(self, stop: CancellationToken) {
        let Self { queue, outlet: Outlet { reader, mut committed }, settings, sender } = self;
        let mut progress = Progress::from(reader.next_seq());
        let mut source = Source { reader: Some(reader), ahead: VecDeque::new() };
        let mut flights = JoinSet::new();
        let mut bytes_in_flight = 0;
        loop {
            let up_to = *committed.borrow_and_update();
            while flights.len() < settings.in_flight.max(1)
                && (flights.is_empty() || bytes_in_flight < settings.in_flight_bytes)
                && let Some((seq, record)) = source.next(up_to).await
            {
                bytes_in_flight += record.len();
                progress.begun(seq);
                flights.spawn(flight(Arc::clone(&sender), seq, record, stop.clone()));
            }
            let room = flights.len() < settings.in_flight && bytes_in_flight < settings.in_flight_bytes;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(landed) = flights.join_next(), if !flights.is_empty() => {
                    land(landed, &mut bytes_in_flight, &mut progress, &queue);
                }
                // Ends when the queue is closed; then there is only `stop` to wait for.
                Ok(()) = committed.changed(), if room => {}
            }
        }
        let drain = async {
            while let Some(landed) = flights.join_next().await {
                land(landed, &mut bytes_in_flight, &mut progress, &queue);
            }
        };
        if tokio::time::timeout(DRAIN_TIME, drain).await.is_err() {
            tracing::warn!(requests = flights.len(), "requests were not answered before the end; they stay queued");
        }
    }
}

/// Reads the queue away from the threads that serve.
struct Source {
    reader: Option<Reader>,
    ahead: VecDeque<(Seq, Bytes)>,
}

impl Source {
    async fn next(&mut self, committed: Seq) -> Option<(Seq, Bytes)> {
        if self.ahead.is_empty() {
            self.fill(committed).await;
        }
        self.ahead.pop_front()
    }

    async fn fill(&mut self, committed: Seq) {
        let Some(mut reader) = self.reader.take() else { return };
        if reader.next_seq() > committed {
            self.reader = Some(reader);
            return;
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = 0;
            while bytes < READ_BYTES {
                match reader.read(committed) {
                    Ok(Some((seq, record))) => {
                        bytes += record.len();
                        ahead.push_back((seq, record));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, "cannot read the queue");
                        break;
                    }
                }
            }
            (reader, ahead)
        });
        if let Ok((reader, ahead)) = read.await {
            self.reader = Some(reader);
            self.ahead = ahead;
        }
    }
}

/// Which records were sent, so that the queue is trimmed without leaving one out.
struct Progress {
    in_flight: BTreeSet<Seq>,
    next: Seq,
}

impl Progress {
    fn from(next: Seq) -> Self {
        Self { in_flight: BTreeSet::new(), next }
    }

    fn begun(&mut self, seq: Seq) {
        self.in_flight.insert(seq);
        self.next = seq + 1;
    }

    /// The record up to which everything is done.
    fn done(&mut self, seq: Seq) -> Seq {
        self.in_flight.remove(&seq);
        self.in_flight.first().copied().unwrap_or(self.next) - 1
    }
}

struct Landed {
    seq: Seq,
    bytes: usize,
    done: bool,
}

fn land(
    landed: Result<Landed, tokio::task::JoinError>,
    bytes_in_flight: &mut usize,
    progress: &mut Progress,
    queue: &Queue,
) {
    match landed {
        Ok(Landed { seq, bytes, done }) => {
            *bytes_in_flight = bytes_in_flight.saturating_sub(bytes);
            if done {
                queue.trim(progress.done(seq));
            }
        }
        // Its record stays in flight for good, so the queue is not trimmed beyond it, and sends it after a restart.
        Err(error) => tracing::error!(%error, "forwarding a batch failed"),
    }
}

/// Sends one record until it is done with, or until `stop`.
async fn flight(sender: Arc<Sender>, seq: Seq, record: Bytes, stop: CancellationToken) -> Landed {
    let bytes = record.len();
    let done = match Queued::from_record(record.clone()) {
        Some(queued) => sender.deliver(seq, &queued, &stop).await,
        None => sender.bury(seq, None, record, "no record of this version of the queue").await,
    };
    Landed { seq, bytes, done }
}

impl Sender {
    /// `false` where `stop` came first.
    async fn deliver(&self, seq: Seq, queued: &Queued, stop: &CancellationToken) -> bool {
        let mut failures = 0;
        let (body, gzip) = packed(&queued.request, self.compress).await;
        loop {
            let answer = self.attempt(queued, &body, gzip).await;
            let outcome = judge(&answer, failures + 1 >= TRIES);
            self.note(&answer, &outcome, queued);
            let pause = match outcome {
                Outcome::Taken { .. } => return true,
                Outcome::Dead { reason } => return self.bury(seq, Some(queued), queued.request.clone(), &reason).await,
                Outcome::Later { after: Some(after) } => after.min(RETRY_AFTER_MAX),
                Outcome::Later { after: None } => backoff(failures),
                Outcome::Misconfigured => BACKOFF_MAX,
            };
            failures = failures.saturating_add(1);
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn attempt(&self, queued: &Queued, body: &Bytes, gzip: bool) -> Answer {
        let mut request = Request::post(self.urls[queued.signal as usize].clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("devmesh-collector/", env!("CARGO_PKG_VERSION")))
            .header(BATCH_ID, queued.id.as_str());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        let request = match request.body(Full::new(body.clone())) {
            Ok(request) => request,
            Err(error) => return Answer::none(error.to_string()),
        };
        let time = ANSWER_TIME + Duration::from_secs(body.len() as u64 / BYTES_A_SECOND);
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| text_of(&error))?;
            let (head, body) = response.into_parts();
            // The status alone decides; a body that breaks off takes nothing from it.
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, String>(Answer::new(head.status, &head.headers, body))
        };
        match tokio::time::timeout(time, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::none(error),
            Err(_elapsed) => Answer::none(format!("no answer in {} s", time.as_secs())),
        }
    }

    /// Counts, and says what changed: the server going away and coming back, not each attempt.
    fn note(&self, answer: &Answer, outcome: &Outcome, queued: &Queued) {
        match outcome {
            Outcome::Taken { rejected, message } => {
                self.counters.batches.fetch_add(1, Relaxed);
                self.counters.bytes.fetch_add(queued.request.len() as u64, Relaxed);
                if *rejected > 0 {
                    self.counters.rejected_items.fetch_add(*rejected, Relaxed);
                    tracing::warn!(
                        rejected,
                        batch = queued.id.as_str(),
                        "the server refused items for good: {message}"
                    );
                }
                if self.counters.away.swap(false, Relaxed) {
                    tracing::info!(to = %self.urls[0], "the server takes batches again");
                }
            }
            Outcome::Dead { .. } => {}
            Outcome::Later { .. } | Outcome::Misconfigured => {
                self.counters.retries.fetch_add(1, Relaxed);
                let misconfigured = matches!(outcome, Outcome::Misconfigured);
                if misconfigured {
                    tracing::error!(to = %self.urls[0], "{answer}: check --to and the token; batches stay queued");
                } else if !self.counters.away.swap(true, Relaxed) {
                    tracing::warn!(to = %self.urls[0], "{answer}: batches stay queued until the server takes them");
                }
            }
        }
    }

    async fn bury(&self, seq: Seq, queued: Option<&Queued>, request: Bytes, reason: &str) -> bool {
        self.counters.dead_letters.fetch_add(1, Relaxed);
        let id = queued.map_or("", |queued| queued.id.as_str()).to_owned();
        let signal = queued.map_or("unknown", |queued| queued.signal.name());
        tracing::error!(batch = id, signal, bytes = request.len(), "a batch is no longer sent: {reason}");
        self.dead_letters.keep(seq, signal, id, request, reason).await;
        true
    }
}

/// A half to the whole of the doubling pause: senders that failed together don't come back together.
fn backoff(failures: u32) -> Duration {
    let whole = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
    let random = RandomState::new().build_hasher().finish();
    whole / 2 + whole.mul_f64((random % 1024) as f64 / 2048.0)
}

/// An error with what it came from.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_trimmed_up_to_the_first_batch_that_is_not_done() {
        let mut progress = Progress::from(5);
        (5..9).for_each(|seq| progress.begun(seq));
        assert_eq!(progress.done(6), 4);
        assert_eq!(progress.done(5), 6);
        assert_eq!(progress.done(8), 6);
        assert_eq!(progress.done(7), 8);
    }

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        for failures in 0..40 {
            let whole = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
            let pause = backoff(failures);
            assert!(pause >= whole / 2 && pause <= whole, "{failures}: {pause:?}");
        }
    }
}
