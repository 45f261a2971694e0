//! Which batch ids were stored: a batch that is sent again is answered as before and stored once.
//!
//! A batch reserves its id before it goes to the log. A second one with the same id and content waits for the first's
//! outcome; one with other content is a conflict. What was committed is remembered for [`Window`]; ids are kept as
//! 128-bit hashes, so that a million of them cost some 80 MB and not a gigabyte.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use devmesh_schema::BatchId;
use tokio::sync::watch;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// For how long ids are remembered: while younger than `time`, or among the last `batches`; never more than twice
/// `batches`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) batches: usize,
    pub(crate) time: Duration,
}

/// A batch that was committed under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Hash of the id.
    pub(crate) id: u128,
    /// Hash of the request.
    pub(crate) content: u64,
    /// When, seconds since the epoch.
    pub(crate) second: u32,
    /// Items stored.
    pub(crate) accepted: u32,
    /// Items refused.
    pub(crate) rejected: u32,
}

/// Bytes of one id in [`Known::to_bytes`].
pub(crate) const KNOWN_BYTES: usize = 36;

impl Known {
    pub(crate) fn to_bytes(self) -> [u8; KNOWN_BYTES] {
        let mut bytes = [0; KNOWN_BYTES];
        bytes[..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.content.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.second.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.accepted.to_le_bytes());
        bytes[32..].copy_from_slice(&self.rejected.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; KNOWN_BYTES]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let wide = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Self {
            id: u128::from(wide(0)) | u128::from(wide(8)) << 64,
            content: wide(16),
            second: u32_at(24),
            accepted: u32_at(28),
            rejected: u32_at(32),
        }
    }
}

#[derive(Debug)]
enum Slot {
    /// On its way to the log; the channel closes when that is decided.
    Pending(u64, watch::Receiver<()>),
    Stored(Known),
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<u128, Slot>,
    /// Ids in the order in which they were committed.
    order: VecDeque<(u32, u128)>,
    /// Committed since the last [`Dedup::take_new`].
    new: Vec<Known>,
}

/// The ids that are known.
#[derive(Debug)]
pub(crate) struct Dedup {
    window: Window,
    inner: Mutex<Inner>,
}

/// The outcome of asking for an id.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is new, and reserved until the value is committed or dropped.
    New(Reservation),
    /// It was stored before.
    Stored(Known),
    /// It is on its way: ask again when the channel closes.
    Pending(watch::Receiver<()>),
    /// It was used for other content.
    Conflict,
}

/// An id on its way to the log. Dropped, the id is free again.
#[derive(Debug)]
pub(crate) struct Reservation {
    dedup: Arc<Dedup>,
    id: u128,
    content: u64,
    committed: bool,
    _decided: watch::Sender<()>,
}

impl Reservation {
    /// The batch is durable.
    pub(crate) fn commit(mut self, second: u32, accepted: u64, rejected: u64) {
        let known = Known {
            id: self.id,
            content: self.content,
            second,
            accepted: u32::try_from(accepted).unwrap_or(u32::MAX),
            rejected: u32::try_from(rejected).unwrap_or(u32::MAX),
        };
        self.committed = true;
        self.dedup.remember(known, true);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.committed {
            self.dedup.lock().slots.remove(&self.id);
        }
    }
}

impl Dedup {
    pub(crate) fn new(window: Window) -> Arc<Self> {
        Arc::new(Self { window, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an id.
    pub(crate) fn reserve(self: &Arc<Self>, id: &BatchId, request: &Bytes) -> Answer {
        let (id, content) = (xxh3_128(id.as_str().as_bytes()), xxh3_64(request));
        match self.lock().slots.entry(id) {
            Entry::Occupied(slot) => match slot.get() {
                Slot::Pending(other, _) if *other != content => Answer::Conflict,
                Slot::Pending(_, decided) => Answer::Pending(decided.clone()),
                Slot::Stored(known) if known.content != content => Answer::Conflict,
                Slot::Stored(known) => Answer::Stored(*known),
            },
            Entry::Vacant(slot) => {
                let (sender, decided) = watch::channel(());
                slot.insert(Slot::Pending(content, decided));
                Answer::New(Reservation { dedup: Arc::clone(self), id, content, committed: false, _decided: sender })
            }
        }
    }

    /// Remembers a batch that the log gave back at the start.
    pub(crate) fn replayed(&self, id: &BatchId, request: &Bytes, second: u32, accepted: u64, rejected: u64) {
        let known = Known {
            id: xxh3_128(id.as_str().as_bytes()),
            content: xxh3_64(request),
            second,
            accepted: u32::try_from(accepted).unwrap_or(u32::MAX),
            rejected: u32::try_from(rejected).unwrap_or(u32::MAX),
        };
        self.remember(known, true);
    }

    /// Remembers an id; `new`: it is to be written down with the next flush.
    pub(crate) fn remember(&self, known: Known, new: bool) {
        let mut inner = self.lock();
        if !matches!(inner.slots.insert(known.id, Slot::Stored(known)), Some(Slot::Stored(_))) {
            inner.order.push_back((known.second, known.id));
        }
        if new {
            inner.new.push(known);
        }
        let oldest = known.second.saturating_sub(u32::try_from(self.window.time.as_secs()).unwrap_or(u32::MAX));
        while inner.order.len() > self.window.batches {
            let all_young = inner.order.front().is_some_and(|(second, _)| *second >= oldest);
            if all_young && inner.order.len() <= self.window.batches.saturating_mul(2) {
                break;
            }
            let Some((_, id)) = inner.order.pop_front() else { break };
            if matches!(inner.slots.get(&id), Some(Slot::Stored(_))) {
                inner.slots.remove(&id);
            }
        }
    }

    /// What was committed since the last call, to be written down.
    pub(crate) fn take_new(&self) -> Vec<Known> {
        std::mem::take(&mut self.lock().new)
    }

    /// Puts back what could not be written down.
    pub(crate) fn give_back(&self, mut known: Vec<Known>) {
        let mut inner = self.lock();
        known.append(&mut inner.new);
        inner.new = known;
    }

    /// All that are known, oldest first.
    pub(crate) fn all(&self) -> Vec<Known> {
        let inner = self.lock();
        let stored = |(_, id): &(u32, u128)| match inner.slots.get(id) {
            Some(Slot::Stored(known)) => Some(*known),
            _ => None,
        };
        inner.order.iter().filter_map(stored).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> BatchId {
        format!("batch-{n}").parse().unwrap()
    }

    fn dedup(batches: usize) -> Arc<Dedup> {
        Dedup::new(Window { batches, time: Duration::from_secs(100) })
    }

    #[test]
    fn a_known_id_is_answered_and_other_content_is_a_conflict() {
        let dedup = dedup(10);
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let Answer::New(reservation) = dedup.reserve(&id(1), &a) else { panic!("new") };
        assert!(matches!(dedup.reserve(&id(1), &a), Answer::Pending(_)));
        assert!(matches!(dedup.reserve(&id(1), &b), Answer::Conflict));
        reservation.commit(7, 3, 1);
        let Answer::Stored(known) = dedup.reserve(&id(1), &a) else { panic!("stored") };
        assert_eq!((known.accepted, known.rejected), (3, 1));
        assert!(matches!(dedup.reserve(&id(1), &b), Answer::Conflict));
        assert_eq!(dedup.take_new(), [known]);
        assert_eq!(Known::from_bytes(&known.to_bytes()), known);
    }

    #[test]
    fn a_dropped_reservation_frees_the_id_and_wakes_who_waits() {
        let dedup = dedup(10);
        let a = Bytes::from_static(b"a");
        let Answer::New(reservation) = dedup.reserve(&id(1), &a) else { panic!("new") };
        let Answer::Pending(decided) = dedup.reserve(&id(1), &a) else { panic!("pending") };
        drop(reservation);
        assert!(decided.has_changed().is_err());
        assert!(matches!(dedup.reserve(&id(1), &a), Answer::New(_)));
    }

    #[test]
    fn old_ids_are_forgotten_beyond_the_window_and_all_beyond_twice_the_number() {
        let dedup = dedup(4);
        let commit = |n: u32, second: u32| {
            let Answer::New(reservation) = dedup.reserve(&id(n), &Bytes::new()) else { panic!("new: {n}") };
            reservation.commit(second, 1, 0);
        };
        (0..6).for_each(|n| commit(n, 1000));
        assert_eq!(dedup.len(), 6, "young ones stay");
        commit(6, 1200);
        assert_eq!(dedup.len(), 4, "old ones go, the last four stay");
        (7..30).for_each(|n| commit(n, 1201));
        assert_eq!(dedup.len(), 8, "never more than twice the number");
        assert!(matches!(dedup.reserve(&id(29), &Bytes::new()), Answer::Stored(_)));
        assert!(matches!(dedup.reserve(&id(0), &Bytes::new()), Answer::New(_)));
    }
}
