//! The embedded store: Parquet files behind the log, and a manifest that says which.
//!
//! - [`flush`]: rows become files.
//! - [`compact`], [`expire`], [`upload`]: small files become one, old ones go, files go to the object store.
//! - [`recover`]: what a crash, a full disk or damage has left becomes a store again.
//!
//! # How it fails
//! A write is refused as unavailable while rows cannot leave memory; it is taken again as soon as that is over. Reads go
//! on. Damaged files are set aside and counted.

mod beside;
mod bodies;
mod compact;
mod expire;
mod files;
mod flush;
pub(crate) mod format;
mod group;
mod index;
mod maintain;
mod manifest;
mod parquet;
mod quarantine;
mod rebuild;
mod recover;
mod snapshot;
mod summary;
mod upload;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use devmesh_schema::{Signal, TimestampNs};

use self::{
    files::{Files, StoredFile},
    manifest::{Edit, Entry, Manifest},
    snapshot::Live,
};
use crate::{
    Capabilities, Error, Snapshot, Stats,
    front::{self, Back},
    memtable::Memtable,
};

pub(crate) use files::Remote;
pub(crate) use recover::open;

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The store's state.
type Shared = front::Shared<Disk>;

/// Files and the manifest.
#[derive(Debug)]
pub(crate) struct Disk {
    files: Arc<Files>,
    /// Locked before the tables where both are.
    manifest: Mutex<Manifest>,
    /// The files of the manifest at the start, where it was whole: other objects are orphans.
    sweep: Mutex<Option<BTreeSet<String>>>,
}

impl Back for Disk {
    type Live = Live;
    /// Files that are written and not yet in the manifest.
    type Progress = Option<Vec<Entry>>;

    const SPILLS: bool = false;
    const STUCK: &'static str = "rows cannot be written to files; they stay in the log and in memory";

    fn capabilities(&self) -> Capabilities {
        Capabilities { words: true, attributes: true }
    }

    fn take_over(shared: &Shared, sealed: &Arc<Memtable>, progress: &mut Self::Progress) -> Result<(), Error> {
        flush::take_over(shared, sealed, progress)
    }

    fn pause(_failures: u32) -> Duration {
        PAUSE
    }

    fn snapshot(shared: &Arc<Shared>) -> Arc<dyn Snapshot> {
        Arc::new(snapshot::View::new(shared))
    }

    fn expire(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        expire::expire(shared, signal, before)
    }

    fn unready(shared: &Shared) -> Option<String> {
        shared.condition().flush.clone().filter(|_| shared.memory_is_full())
    }

    fn suspect(shared: &Shared, path: &object_store::path::Path) -> bool {
        quarantine::check_named(shared, path)
    }

    fn stats(&self, live: &Live, stats: &mut Stats) {
        for (table, files) in stats.tables.iter_mut().zip(&live.files) {
            let entries = || files.iter().map(|file| &file.entry);
            table.file_rows = entries().map(|entry| entry.rows).sum();
            table.file_bytes = entries().map(|entry| entry.size).sum();
            table.files = files.len() as u64;
        }
    }
}

impl Shared {
    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.back.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces files of one signal: first durably, then for queries. The replaced ones go when nobody reads them.
    fn replace_files(&self, signal: Signal, edit: Edit) -> Result<(), Error> {
        let added: Vec<Arc<StoredFile>> = edit.add.iter().map(|entry| self.back.files.stored(entry.clone())).collect();
        let removed = edit.remove.clone();
        let mut manifest = self.manifest();
        manifest.commit(edit)?;
        let mut tables = self.tables.lock();
        let files = &tables.live.files[signal as usize];
        let obsolete: Vec<_> = files.iter().filter(|file| removed.contains(&file.entry.path)).cloned().collect();
        tables.live.replace(signal, added, &removed);
        drop(tables);
        obsolete.iter().for_each(|file| file.obsolete());
        Ok(())
    }
}
