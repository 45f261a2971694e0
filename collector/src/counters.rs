//! What the doors count, for whoever renders metrics. Plain numbers that only grow.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use devmesh_schema::{Receipt, Signal};

use crate::refusal::Reason;

/// Seconds between two log lines about the same reason at the same door.
const QUIET_SECONDS: u64 = 10;

/// The doors, by protocol: either OTLP protocol is understood on both of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// OTLP/gRPC.
    OtlpGrpc,
    /// OTLP/HTTP.
    OtlpHttp,
    /// JSON posted to `/ingest/...`.
    Direct,
    /// Prometheus remote write.
    RemoteWrite,
    /// What is scraped.
    Scrape,
    /// The machine's own metrics.
    Host,
}

impl Door {
    /// All doors, in the order in which they are listed everywhere.
    pub const ALL: [Door; 6] =
        [Door::OtlpGrpc, Door::OtlpHttp, Door::Direct, Door::RemoteWrite, Door::Scrape, Door::Host];

    /// The label `door` of the counters.
    pub fn name(self) -> &'static str {
        match self {
            Door::OtlpGrpc => "otlp-grpc",
            Door::OtlpHttp => "otlp-http",
            Door::Direct => "direct",
            Door::RemoteWrite => "remote-write",
            Door::Scrape => "scrape",
            Door::Host => "host-metrics",
        }
    }
}

/// Counts of one door and signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Batches committed.
    pub batches: u64,
    /// Their bytes as OTLP protobuf.
    pub bytes: u64,
    /// Items stored.
    pub items: u64,
    /// Items of batches whose id was known already.
    pub deduplicated: u64,
}

#[derive(Debug, Default)]
struct Cell {
    batches: AtomicU64,
    bytes: AtomicU64,
    items: AtomicU64,
    deduplicated: AtomicU64,
}

/// All counters of the doors.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [AtomicU64; Door::ALL.len()],
    taken: [[Cell; 3]; Door::ALL.len()],
    refused: [[AtomicU64; Reason::ALL.len()]; Door::ALL.len()],
    quiet_until: [AtomicU64; Reason::ALL.len()],
    rejected: Mutex<BTreeMap<(Door, &'static str), u64>>,
}

impl Counters {
    /// Requests that reached a door.
    pub fn requests(&self, door: Door) -> u64 {
        self.requests[door as usize].load(Relaxed)
    }

    /// What a door took in of a signal.
    pub fn taken(&self, door: Door, signal: Signal) -> Taken {
        let cell = &self.taken[door as usize][signal as usize];
        Taken {
            batches: cell.batches.load(Relaxed),
            bytes: cell.bytes.load(Relaxed),
            items: cell.items.load(Relaxed),
            deduplicated: cell.deduplicated.load(Relaxed),
        }
    }

    /// Requests that a door refused for a reason.
    pub fn refused(&self, door: Door, reason: Reason) -> u64 {
        self.refused[door as usize][reason as usize].load(Relaxed)
    }

    /// Items rejected by door and reason: `devmesh_rejected_items_total{door,reason}`.
    pub fn rejected(&self) -> Vec<(Door, &'static str, u64)> {
        let rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.iter().map(|(&(door, reason), &count)| (door, reason, count)).collect()
    }

    pub(crate) fn request(&self, door: Door) {
        self.requests[door as usize].fetch_add(1, Relaxed);
    }

    /// Counts a refused request; says so in the log, but at most once in [`QUIET_SECONDS`] for a reason.
    pub(crate) fn refuse(&self, door: Door, reason: Reason, message: &str) {
        let count = self.refused[door as usize][reason as usize].fetch_add(1, Relaxed) + 1;
        let now = u64::try_from(crate::now() / 1_000_000_000).unwrap_or(0);
        let quiet = &self.quiet_until[reason as usize];
        let until = quiet.load(Relaxed);
        if now >= until && quiet.compare_exchange(until, now + QUIET_SECONDS, Relaxed, Relaxed).is_ok() {
            tracing::warn!(door = door.name(), reason = reason.label(), count, "request refused: {message}");
        }
    }

    pub(crate) fn write(&self, door: Door, signal: Signal, bytes: usize, receipt: &Receipt) {
        let cell = &self.taken[door as usize][signal as usize];
        if receipt.deduplicated {
            cell.deduplicated.fetch_add(receipt.accepted, Relaxed);
            return;
        }
        cell.batches.fetch_add(1, Relaxed);
        cell.bytes.fetch_add(bytes as u64, Relaxed);
        cell.items.fetch_add(receipt.accepted, Relaxed);
        let named = receipt.rejections.iter().map(|rejection| rejection.reason);
        self.reject(door, receipt.rejected, named);
    }

    /// Counts `count` rejected items, of which the first have the reasons `named`; the others have the last of these.
    pub(crate) fn reject(&self, door: Door, count: u64, named: impl IntoIterator<Item = &'static str>) {
        if count == 0 {
            return;
        }
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut left, mut last) = (count, "other");
        for reason in named.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            *rejected.entry((door, reason)).or_default() += 1;
            (left, last) = (left - 1, reason);
        }
        if left > 0 {
            *rejected.entry((door, last)).or_default() += left;
        }
    }
}

#[cfg(test)]
mod tests {
    use devmesh_schema::Rejection;

    use super::*;

    #[test]
    fn every_rejected_item_is_counted_once_under_a_reason() {
        let counters = Counters::default();
        let rejection = |reason| Rejection { index: 0, reason, message: String::new() };
        let rejections = vec![rejection("bad_id"), rejection("name")];
        let receipt = Receipt { accepted: 5, rejected: 7, rejections, deduplicated: false };
        counters.write(Door::OtlpHttp, Signal::Traces, 100, &receipt);
        assert_eq!(counters.rejected(), [(Door::OtlpHttp, "bad_id", 1), (Door::OtlpHttp, "name", 6)]);
        let taken = counters.taken(Door::OtlpHttp, Signal::Traces);
        assert_eq!(taken, Taken { batches: 1, bytes: 100, items: 5, deduplicated: 0 });
    }
}
