//! Reading, watching and closing a store.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::GroupCommit;
use tokio::sync::broadcast;

use super::{Back, Front};
use crate::{Capabilities, Committed, Drained, Error, Patterns, Snapshot, Stats, Store, TableStats};

#[async_trait]
impl<B: Back> Store for Front<B> {
    fn capabilities(&self) -> Capabilities {
        self.shared.back.capabilities()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        B::snapshot(&self.shared)
    }

    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || B::expire(&shared, signal, before))
            .await
            .map_err(|_panic| Error::NotReady("expiry failed".into()))?
    }

    async fn ready(&self) -> Result<(), Error> {
        if self.shared.closed() {
            return Err(Error::NotReady("the store is closed".into()));
        }
        let disk = self.shared.condition().disk.clone();
        let log = self.shared.log.get().and_then(|log| log.stats().unavailable);
        match disk.or(log).or_else(|| B::unready(&self.shared)) {
            Some(reason) => Err(Error::NotReady(reason)),
            None => Ok(()),
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.shared.tail.subscribe()
    }

    async fn suspect(&self, path: &object_store::path::Path) -> bool {
        let shared = Arc::clone(&self.shared);
        let path = path.clone();
        let checked = tokio::task::spawn_blocking(move || B::suspect(&shared, &path)).await;
        checked.unwrap_or_else(|_panic| {
            tracing::error!("checking a suspected file failed");
            false
        })
    }

    fn stats(&self) -> Stats {
        let shared = &self.shared;
        let (counts, rejections) = shared.counters.read();
        let mut stats = Stats { rejections, ..Stats::default() };
        let state = shared.tables.lock();
        for (n, table) in stats.tables.iter_mut().enumerate() {
            *table = TableStats {
                received: counts[n].received,
                stored: counts[n].stored,
                rejected: counts[n].rejected,
                deduplicated: counts[n].deduplicated,
                memory_rows: state.active.rows[n] + state.sealed.as_ref().map_or(0, |sealed| sealed.rows[n]),
                ..TableStats::default()
            };
        }
        stats.memory_bytes = state.memory_bytes() as u64;
        stats.spilled_bytes = state.spilled.as_ref().map_or(0, |spilled| spilled.bytes);
        shared.back.stats(&state.live, &mut stats);
        drop(state);
        let log = shared.log.get().map(GroupCommit::stats).unwrap_or_default();
        (stats.wal_bytes, stats.commits) = (log.bytes, log.commits);
        stats.quarantined =
            (shared.quarantined.load(Ordering::Relaxed), shared.quarantined_bytes.load(Ordering::Relaxed));
        stats.replayed = shared.replayed.load(Ordering::Relaxed);
        stats
    }

    fn patterns(&self) -> Option<Arc<dyn Patterns>> {
        let templates: Arc<dyn Patterns> = Arc::clone(&self.shared.templates) as _;
        self.shared.settings.templates.then_some(templates)
    }

    async fn flush(&self) -> Result<(), Error> {
        let templates = Arc::clone(&self.shared.templates);
        let settled = tokio::task::spawn_blocking(move || templates.settle()).await;
        settled.map_err(|_panic| Error::NotReady("comparing templates failed".into()))?;
        loop {
            let rung = self.shared.room.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if self.shared.tables.lock().is_empty() {
                return Ok(());
            }
            let failures = self.shared.failures.load(Ordering::Acquire);
            self.shared.wake.set(|wake| (wake.flush, wake.retry) = (true, true));
            // A failure of the embedded store rings nothing: look again now and then.
            drop(tokio::time::timeout(Duration::from_millis(200), rung).await);
            // What failed before this call says nothing: the back may have come again.
            if self.shared.failures.load(Ordering::Acquire) != failures
                && let Some(reason) = self.shared.condition().flush.clone()
            {
                return Err(Error::NotReady(reason));
            }
        }
    }

    async fn close(&self) -> Result<Drained, Error> {
        let shared = Arc::clone(&self.shared);
        shared.closed.store(true, Ordering::Release);
        if let Some(log) = shared.log.get() {
            // What waits for the log is committed, and flushed below; the next start trims the log.
            log.close().await;
        }
        let before = shared.rows_flushed.load(Ordering::Relaxed);
        shared.wake.set(|wake| wake.stop = true);
        shared.templates.ring();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let back = Arc::clone(&shared);
        let join = move || {
            let failed = threads.into_iter().filter_map(|thread| thread.join().err()).count();
            B::close(&back);
            failed == 0
        };
        if !tokio::task::spawn_blocking(join).await.unwrap_or(false) {
            tracing::error!("a background thread of the store had failed");
        }
        let lock = shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A process that is being started may still have a copy of the handle: closing it does not unlock.
        if let Some(lock) = lock
            && let Err(errno) = rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock)
        {
            tracing::warn!(%errno, "the data directory stays locked until the process ends");
        }
        Ok(Drained { rows_flushed: shared.rows_flushed.load(Ordering::Relaxed) - before })
    }
}
