//! What all doors of a process share: the sink, the byte budget, the settings, the counters.
//!
//! A request holds a part of the budget from its first byte until the sink has answered, so that any number of senders
//! can hold no more than [`Settings::intake_bytes`] in memory. Where the budget stays used up for
//! [`limits::SINK_WAIT`], the request is refused in its protocol's retryable form.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ConnectInfo;
use devmesh_schema::{Batch, Receipt, Sink, WriteError, limits};
use http::{HeaderMap, request::Parts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    counters::{Counters, Door},
    rate::{Limiter, Rates, Sender},
    refusal::{Reason, Refusal},
};

/// One unit of the budget. Coarse, so that a small request costs one atomic operation.
const UNIT: usize = 1024;

/// What an operator may change about the doors; [`Settings::default`] are the numbers of [`limits`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a compressed body as sent.
    pub body_bytes: usize,
    /// Bytes of an OTLP request, decompressed.
    pub request_bytes: usize,
    /// Bytes of a body on the direct path, decompressed.
    pub direct_bytes: usize,
    /// How long a client may take to send a body.
    pub body_time: Duration,
    /// Samples of remote write that are older than this are refused: they would be deleted at once.
    pub past: Duration,
    /// Bytes of requests that all doors may hold at once.
    pub intake_bytes: usize,
    /// How long a request waits for room in that budget.
    pub intake_wait: Duration,
    /// Which web pages may send (CORS).
    pub origins: Origins,
    /// Who may send; `None`: everybody who reaches the door.
    pub guard: Option<Arc<dyn Guard>>,
    /// How much one sender may send.
    pub rates: Rates,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes: limits::BODY_BYTES,
            request_bytes: limits::REQUEST_BYTES,
            direct_bytes: limits::DIRECT_BYTES,
            body_time: limits::BODY_TIME,
            past: Duration::MAX,
            intake_bytes: limits::INTAKE_BYTES,
            intake_wait: limits::SINK_WAIT,
            origins: Origins::Loopback,
            guard: None,
            rates: Rates::default(),
        }
    }
}

/// The origins whose pages a browser lets send to the OTLP/HTTP paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// None: CORS is off.
    Off,
    /// Pages that this machine serves: `http://localhost`, `http://127.0.0.1` and `http://[::1]` with any port, the
    /// development preset. A page of another site cannot send.
    Loopback,
    /// Exactly these, as `scheme://host[:port]`; `*` for all.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether a page of `origin` may send.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Origins::Off => false,
            Origins::Loopback => {
                let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                host.is_some_and(|host| {
                    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| {
                        host.strip_prefix(local).is_some_and(|port| port.is_empty() || port.starts_with(':'))
                    })
                })
            }
            Origins::Listed(origins) => origins.iter().any(|listed| listed == "*" || listed == origin),
        }
    }
}

/// Decides who may send, from the request's headers (gRPC metadata are headers too).
pub trait Guard: fmt::Debug + Send + Sync {
    /// `Ok` where the sender may write, with the number of the token that says so; `peer` is its address, where the door
    /// knows it.
    ///
    /// # Errors
    /// Whether the sender is unknown, or known but not allowed, or has to wait.
    fn check(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Option<usize>, Denied>;
}

/// Why a sender may not write. The answer's text tells no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No credentials, or wrong ones: 401, `UNAUTHENTICATED`.
    Unknown,
    /// Credentials without the right to write: 403, `PERMISSION_DENIED`.
    Forbidden,
    /// Wrong ones too often; the same may be sent again after this time: 429, `UNAVAILABLE`.
    Later(Duration),
}

/// The shared part of all doors; see the module.
#[derive(Debug)]
pub struct Intake {
    sink: Arc<dyn Sink>,
    pub(crate) budget: Budget,
    pub(crate) settings: Settings,
    counters: Counters,
    limiter: Limiter,
}

impl Intake {
    /// Doors in front of `sink`. A request may use at most half of the budget: decompressed beside compressed.
    pub fn new(sink: Arc<dyn Sink>, mut settings: Settings) -> Arc<Self> {
        let half = settings.intake_bytes / 2;
        settings.request_bytes = settings.request_bytes.min(half);
        settings.direct_bytes = settings.direct_bytes.min(half);
        settings.body_bytes = settings.body_bytes.min(half);
        let budget = Budget::new(settings.intake_bytes, settings.intake_wait);
        let limiter = Limiter::new(settings.rates);
        Arc::new(Self { sink, budget, settings, counters: Counters::default(), limiter })
    }

    /// What came in and what was refused.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes of requests held at this moment.
    pub fn bytes_held(&self) -> usize {
        self.budget.held()
    }

    /// Senders whose rate is counted at this moment.
    pub fn senders(&self) -> usize {
        self.limiter.senders()
    }

    /// Checks the sender's credentials, and whether it has sent too much.
    pub(crate) fn admit(&self, request: &Parts) -> Result<Sender, Refusal> {
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let guard = self.settings.guard.as_ref();
        let token =
            guard.map_or(Ok(None), |guard| guard.check(&request.headers, peer)).map_err(|denied| match denied {
                Denied::Unknown => Refusal::new(Reason::AuthFailed, "valid credentials are needed to send here"),
                Denied::Forbidden => Refusal::new(Reason::Scope, "these credentials do not allow to send"),
                Denied::Later(wait) => {
                    Refusal::retry(Reason::AuthSlowed, "wrong credentials came too often from here", wait)
                }
            })?;
        self.limiter.admit(token, peer, Instant::now()).map_err(|wait| {
            Refusal::retry(Reason::RateLimited, "this sender sends more than one sender may: see [rate]", wait)
        })
    }

    /// Takes a body that was read from the sender's rate, whatever becomes of it.
    pub(crate) fn charge_bytes(&self, sender: Sender, bytes: usize) {
        self.limiter.charge(sender, bytes as u64, 0, Instant::now());
    }

    /// Takes the items of a request from the sender's rate.
    pub(crate) fn charge_items(&self, sender: Sender, receipt: &Receipt) {
        self.limiter.charge(sender, 0, receipt.accepted + receipt.rejected, Instant::now());
    }

    /// Writes a batch and counts what became of its items.
    pub(crate) async fn write(&self, door: Door, batch: Batch) -> Result<Receipt, Refusal> {
        let (signal, bytes) = (batch.signal, batch.request.len());
        let receipt = self.sink.write(batch).await.map_err(Refusal::from)?;
        self.counters.write(door, signal, bytes, &receipt);
        Ok(receipt)
    }
}

/// When a sender may try again that found no room for its body.
const ROOM_RETRY: Duration = Duration::from_secs(1);

impl From<NoRoom> for Refusal {
    fn from(error: NoRoom) -> Self {
        Refusal::retry(Reason::Overload, error.to_string(), ROOM_RETRY)
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        let reason = match &error {
            WriteError::Invalid(_) => Reason::Decode,
            WriteError::BatchIdConflict(_) => Reason::BatchIdConflict,
            WriteError::Full => Reason::Overload,
            WriteError::Unavailable(_) => Reason::StorageUnavailable,
            WriteError::Closed => Reason::Closing,
        };
        Refusal { reason, message: error.to_string(), retry_after: error.retry_after() }
    }
}

/// A budget of bytes. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    units: usize,
    wait: Duration,
}

/// A part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    /// How many bytes the share stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The budget stayed used up for as long as a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are being read at present")]
pub struct NoRoom;

impl Budget {
    /// A budget of `bytes`; a request waits for room for at most `wait`.
    pub fn new(bytes: usize, wait: Duration) -> Self {
        let units = (bytes / UNIT).max(1);
        Self { room: Arc::new(Semaphore::new(units)), units, wait }
    }

    /// Bytes that are in use.
    pub fn held(&self) -> usize {
        (self.units - self.room.available_permits().min(self.units)) * UNIT
    }

    /// Makes `share` stand for at least `bytes`, waiting for room.
    ///
    /// # Errors
    /// [`NoRoom`] after the budget's wait; the share keeps what it had.
    pub async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), NoRoom> {
        let missing = bytes.saturating_sub(share.bytes).div_ceil(UNIT);
        if missing == 0 {
            return Ok(());
        }
        let count = u32::try_from(missing).unwrap_or(u32::MAX);
        let permit = match self.room.clone().try_acquire_many_owned(count) {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(self.wait, self.room.clone().acquire_many_owned(count))
                .await
                .map_err(|_elapsed| NoRoom)?
                .map_err(|_closed| NoRoom)?,
        };
        share.bytes += missing * UNIT;
        match &mut share.permit {
            Some(held) => held.merge(permit),
            None => share.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_grows_waits_and_is_given_back() {
        let budget = Budget::new(10 * UNIT, Duration::from_millis(20));
        let mut first = Share::default();
        budget.grow(&mut first, 1).await.unwrap();
        budget.grow(&mut first, 8 * UNIT).await.unwrap();
        assert_eq!((first.bytes(), budget.held()), (8 * UNIT, 8 * UNIT));

        let mut second = Share::default();
        assert_eq!(budget.grow(&mut second, 3 * UNIT).await, Err(NoRoom));
        drop(first);
        budget.grow(&mut second, 3 * UNIT).await.unwrap();
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn only_pages_of_this_machine_may_send_by_default() {
        for (origin, allowed) in [
            ("http://localhost:3000", true),
            ("http://localhost", true),
            ("https://127.0.0.1:8443", true),
            ("http://[::1]:5173", true),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            assert_eq!(Origins::Loopback.allow(origin), allowed, "{origin}");
            assert!(!Origins::Off.allow(origin));
        }
        assert!(Origins::Listed(vec!["https://shop.example".into()]).allow("https://shop.example"));
        assert!(Origins::Listed(vec!["*".into()]).allow("https://evil.example"));
    }
}
