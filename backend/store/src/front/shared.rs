//! What the parts of a store have in common.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use devmesh_wal::{GroupCommit, Seq};
use tokio::sync::Notify;

use super::{Back, commit::Pending, dedup_log::DedupLog, spill::Pins, tables::Tables, wake::Wake};
use crate::{Error, dedup::Dedup, ingest::Counters, patterns::mining::Templates, settings::Settings, tail::Tail};

/// The store's state.
#[derive(Debug)]
pub(crate) struct Shared<B: Back> {
    pub(crate) settings: Settings,
    /// Where the log and all the rest lie.
    pub(crate) root: PathBuf,
    pub(crate) back: B,
    pub(crate) tables: Tables<B::Live>,
    pub(crate) dedup: Arc<Dedup>,
    pub(super) dedup_log: Mutex<DedupLog>,
    pub(crate) counters: Counters,
    pub(crate) tail: Tail,
    /// What is known of the templates of log bodies.
    pub(crate) templates: Arc<Templates>,
    pub(crate) log: OnceLock<GroupCommit<Pending>>,
    /// Makes readers of the log.
    pub(super) reader: devmesh_wal::Reader,
    /// Records that queries still read in the log.
    pub(super) pins: Arc<Pins>,
    /// Rung when rows have left memory.
    pub(crate) room: Notify,
    pub(crate) condition: Mutex<Condition>,
    pub(crate) wake: Wake,
    pub(crate) closed: AtomicBool,
    pub(crate) quarantined: AtomicU64,
    pub(crate) quarantined_bytes: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) rows_flushed: AtomicU64,
    /// How often rows could not leave memory.
    pub(crate) failures: AtomicU64,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Held until the store is closed.
    pub(crate) lock: Mutex<Option<File>>,
}

/// Why writes are refused, where they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    /// The disk is nearly full.
    pub(crate) disk: Option<String>,
    /// Rows cannot leave memory.
    pub(crate) flush: Option<String>,
}

impl<B: Back> Shared<B> {
    pub(crate) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether rows in memory take as much of it as they may.
    pub(crate) fn memory_is_full(&self) -> bool {
        self.tables.memory_bytes() >= self.settings.flush.memory_bytes
    }

    /// Whether new rows find room in memory. Before a back that spills, rows that could not be set aside in time are not
    /// piled up: what is handed over at once stays as large as one flush.
    pub(crate) fn has_room(&self) -> bool {
        let tables = self.tables.lock();
        let piled_up = || B::SPILLS && tables.sealed.is_some() && tables.active.is_full(&self.settings.flush);
        tables.memory_bytes() < self.settings.flush.memory_bytes && !piled_up()
    }

    /// Makes the batch ids durable that were committed since the last call.
    pub(crate) fn write_batch_ids(&self) -> Result<(), Error> {
        self.dedup_log.lock().unwrap_or_else(PoisonError::into_inner).write(&self.dedup)
    }

    /// What queries read in the log.
    pub(crate) fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// From here on new rows stay in the log alone.
    pub(crate) fn spill(&self) {
        if self.tables.lock().spill() {
            tracing::warn!("memory is full of rows that cannot leave it: new ones stay in the log alone meanwhile");
        }
    }

    /// The back has all records up to `last`: the log is done with those that no query reads.
    pub(crate) fn trim(&self, last: Seq) {
        if let Some(log) = self.log.get() {
            log.trim(self.pins.lowest().map_or(last, |pinned| last.min(pinned)));
        }
    }

    /// Counts something damaged that was set aside.
    pub(crate) fn count_quarantined(&self, items: u64, bytes: u64) {
        self.quarantined.fetch_add(items, Ordering::Relaxed);
        self.quarantined_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}
