//! What stands before every place where rows stay: the write-ahead log, the rows in memory, the batch ids, the live tail.
//!
//! - [`commit`]: a batch is durable, then visible, then answered.
//! - [`flush`]: rows leave memory; the log is trimmed.
//! - [`spill`]: rows that found no room in memory, in the log alone.
//! - [`open`]: the log becomes rows in memory again.
//!
//! Where the rows go is a [`Back`]: Parquet files ([`crate::embedded`]) or a database ([`crate::external`]).
//!
//! # How it fails
//! A write is refused as unavailable while the log cannot be written or the disk is nearly full. Where rows cannot leave
//! memory, writes wait and are then refused, or, before a back that may be away ([`Back::SPILLS`]), go on until the log
//! is full.

pub(crate) mod commit;
mod dedup_log;
pub(crate) mod disk;
pub(crate) mod flush;
pub(crate) mod open;
pub(crate) mod quarantine;
pub(crate) mod shared;
pub(crate) mod spill;
mod store;
pub(crate) mod tables;
pub(crate) mod wake;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use devmesh_schema::{Batch, Receipt, Signal, Sink, TimestampNs, WriteError, limits, otlp};
use devmesh_wal::{CommitError, GroupCommit, Record};

use async_trait::async_trait;

use self::commit::Pending;
pub(crate) use self::shared::Shared;
use crate::{
    Capabilities, Error, Snapshot, Stats,
    dedup::{Answer, Known, Reservation},
    ingest,
    memtable::{Chunk, Memtable},
};

/// Where rows go when they leave memory.
pub(crate) trait Back: fmt::Debug + Send + Sync + Sized + 'static {
    /// The part of it that queries see; changed under the same lock as the rows in memory.
    type Live: fmt::Debug + Send + 'static;
    /// What was done of rows that were set aside: the next try goes on from there.
    type Progress: Default;

    /// Whether writes are taken while rows cannot leave memory: they stay in the log alone.
    const SPILLS: bool;
    /// What is said where rows cannot leave memory.
    const STUCK: &'static str;

    /// What its scans do themselves.
    fn capabilities(&self) -> Capabilities;

    /// Stores the rows that were set aside: durably, then for queries. In the end, under one lock of the tables, what
    /// queries see of it has the rows, and `sealed` is empty.
    fn take_over(shared: &Shared<Self>, sealed: &Arc<Memtable>, progress: &mut Self::Progress) -> Result<(), Error>;

    /// How long to wait after so many failures in a row.
    fn pause(failures: u32) -> Duration;

    /// The tables as of now.
    fn snapshot(shared: &Arc<Shared<Self>>) -> Arc<dyn Snapshot>;

    /// Forgets records; may block.
    fn expire(shared: &Shared<Self>, signal: Signal, before: TimestampNs) -> Result<u64, Error>;

    /// Why the store is not ready, where the reason is neither the disk nor the log.
    fn unready(shared: &Shared<Self>) -> Option<String>;

    /// Looks at a file that could not be read; may block.
    fn suspect(shared: &Shared<Self>, path: &object_store::path::Path) -> bool {
        let (_, _) = (shared, path);
        false
    }

    /// Adds its figures.
    fn stats(&self, live: &Self::Live, stats: &mut Stats);

    /// Lets go of connections; nothing is asked of it any more. May block.
    fn close(shared: &Shared<Self>) {
        let _ = shared;
    }
}

/// A store; one for a data directory.
pub(crate) struct Front<B: Back> {
    pub(crate) shared: Arc<Shared<B>>,
    name: String,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<B: Back> fmt::Debug for Front<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<B: Back> fmt::Display for Front<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<B: Back> Drop for Front<B> {
    fn drop(&mut self) {
        // Without `close` nothing is written any more: the log has it all.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.set(|wake| (wake.stop, wake.abandoned) = (true, true));
        self.shared.templates.ring();
    }
}

impl<B: Back> Front<B> {
    fn log(&self) -> Result<&GroupCommit<Pending>, WriteError> {
        self.shared.log.get().ok_or(WriteError::Closed)
    }

    /// Waits until rows in memory leave room for more, or until it is clear that the log has to do without.
    async fn room(&self) -> Result<(), WriteError> {
        let shared = &self.shared;
        let free = || shared.has_room() || (B::SPILLS && shared.tables.lock().spilled.is_some());
        let stuck = || B::SPILLS && shared.condition().flush.is_some();
        if free() {
            return Ok(());
        }
        let wait = async {
            loop {
                let rung = shared.room.notified();
                tokio::pin!(rung);
                rung.as_mut().enable();
                if free() || stuck() {
                    return;
                }
                shared.wake.set(|wake| wake.flush = true);
                rung.await;
            }
        };
        let waited = tokio::time::timeout(limits::SINK_WAIT, wait).await;
        if free() || (!B::SPILLS && waited.is_ok()) {
            return Ok(());
        }
        if B::SPILLS {
            shared.spill();
            return Ok(());
        }
        match shared.condition().flush.clone() {
            Some(reason) => Err(WriteError::Unavailable(reason)),
            None => Err(WriteError::Full),
        }
    }

    /// Asks whether the batch was stored before.
    async fn reserve(&self, batch: &Batch) -> Result<Result<Option<Reservation>, Known>, WriteError> {
        let Some(id) = &batch.id else { return Ok(Ok(None)) };
        loop {
            match self.shared.dedup.reserve(id, &batch.request) {
                Answer::New(reservation) => return Ok(Ok(Some(reservation))),
                Answer::Stored(known) => return Ok(Err(known)),
                Answer::Conflict => return Err(WriteError::BatchIdConflict(id.as_str().to_owned())),
                // Fails when the other batch is decided: its sender is gone.
                Answer::Pending(mut decided) => drop(decided.changed().await),
            }
        }
    }
}

#[async_trait]
impl<B: Back> Sink for Front<B> {
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError> {
        if self.shared.closed() {
            return Err(WriteError::Closed);
        }
        let log = self.log()?;
        let full = self.shared.condition().disk.clone();
        if let Some(reason) = full {
            return Err(WriteError::Unavailable(reason));
        }
        self.room().await?;
        let reservation = match self.reserve(&batch).await? {
            Ok(reservation) => reservation,
            Err(known) => {
                let (accepted, rejected) = (u64::from(known.accepted), u64::from(known.rejected));
                self.shared.counters.deduplicated(batch.signal, accepted + rejected);
                return Ok(Receipt { accepted, rejected, rejections: Vec::new(), deduplicated: true });
            }
        };
        let context = otlp::Context { path: batch.path, received: batch.received };
        let decoded = otlp::decode(batch.signal, &batch.request, context)
            .map_err(|error| WriteError::Invalid(error.to_string()))?;
        let receipt = Receipt {
            accepted: decoded.rows.num_rows() as u64,
            rejected: decoded.rejected,
            rejections: decoded.rejections,
            deduplicated: false,
        };
        if receipt.accepted == 0 {
            // Nothing to make durable.
            self.shared.counters.stored(batch.signal, &receipt);
            return Ok(receipt);
        }
        let rows = self.shared.templates.mark(decoded.rows).map_err(|error| WriteError::Invalid(error.to_string()))?;
        let chunk = Chunk::new(Arc::new(rows)).map_err(|error| WriteError::Invalid(error.to_string()))?;
        let record = Record::from(ingest::record(&batch));
        let bytes = record.len() as u64;
        let pending = Pending { signal: batch.signal, chunk, bytes, receipt: receipt.clone(), reservation };
        match log.commit(record, pending).await {
            Ok(_seq) => Ok(receipt),
            Err(CommitError::Unavailable(reason)) => Err(WriteError::Unavailable(reason)),
            Err(CommitError::Full) => Err(WriteError::Full),
            Err(CommitError::Closed) if !self.shared.closed() => {
                tracing::error!("the thread of the log has ended by a fault; nothing is stored until a restart");
                Err(WriteError::Unavailable("its log has ended by a fault; the server has to be restarted".to_owned()))
            }
            Err(CommitError::Closed) => Err(WriteError::Closed),
            Err(error @ CommitError::TooLarge { .. }) => Err(WriteError::Invalid(error.to_string())),
        }
    }
}
