//! Opening: the log's records that the back does not have become rows again. Rows leave memory meanwhile, so that a long
//! log needs no more memory than a running store.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use devmesh_schema::Signal;
use devmesh_wal::{Durability, GroupCommit, Log, Options, Recovery, Replay, Seq};
use tokio::sync::Notify;

use super::{
    Back, Front, Shared,
    commit::{self, now_seconds},
    dedup_log::DedupLog,
    flush, quarantine,
    shared::Condition,
    spill::{self, Pins},
    tables::Tables,
    wake::Wake,
};
use crate::{
    Error,
    dedup::{Dedup, Window},
    ingest::Counters,
    memtable::Chunk,
    patterns::{learning, mining::Templates},
    settings::{self, Settings},
    tail::Tail,
};

/// How long a replay waits for rows to leave memory.
const REPLAY_WAIT: Duration = Duration::from_secs(30);

/// What a store is made of.
pub(crate) struct Ground<B: Back> {
    pub(crate) settings: Settings,
    /// Where the log lies.
    pub(crate) root: PathBuf,
    pub(crate) lock: File,
    pub(crate) log: Log,
    pub(crate) recovery: Recovery,
    /// The record up to which the back has all.
    pub(crate) stored: Seq,
    /// Where an earlier start had set rows aside that the back may have or not.
    pub(crate) bound: Option<Seq>,
    pub(crate) back: B,
    pub(crate) live: B::Live,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Prepares a store; see [`Front::begin`].
pub(crate) fn prepare<B: Back>(ground: Ground<B>) -> Result<(Arc<Shared<B>>, Log, Recovery), Error> {
    let Ground { settings, root, lock, mut log, recovery, stored, bound, back, live, runtime } = ground;
    let dedup = Dedup::new(Window { batches: settings.dedup_batches, time: settings.dedup_time });
    let (dedup_log, lost) = DedupLog::open(&root, &dedup)?;
    if lost > 0 {
        tracing::warn!(bytes = lost, "batch ids were lost: batches that are sent again may be stored twice");
    }
    let (templates, lost) = Templates::open(&root, settings.templates);
    let known = bound.unwrap_or_default().max(stored);
    if log.next() <= known {
        let log = log.next() - 1;
        tracing::warn!(log, known, "the log is older than what is known of it: was its directory replaced?");
    }
    log.advance_past(known)?;
    log.trim(stored).map_err(Error::file("trim", root.join("wal")))?;
    let shared = Arc::new(Shared {
        settings,
        root,
        back,
        tables: Tables::new(stored, bound.filter(|bound| *bound > stored), live),
        dedup,
        dedup_log: Mutex::new(dedup_log),
        counters: Counters::default(),
        tail: Tail::default(),
        templates,
        log: OnceLock::new(),
        reader: log.reader(stored + 1),
        pins: Arc::new(Pins::default()),
        room: Notify::new(),
        condition: Mutex::new(Condition::default()),
        wake: Wake::default(),
        closed: AtomicBool::new(false),
        quarantined: AtomicU64::new(0),
        quarantined_bytes: AtomicU64::new(0),
        replayed: AtomicU64::new(0),
        rows_flushed: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        runtime,
        lock: Mutex::new(Some(lock)),
    });
    shared.count_quarantined(u64::from(lost), 0);
    Ok((shared, log, recovery))
}

impl<B: Back> Front<B> {
    /// Starts the log's thread and the one that moves rows.
    pub(crate) fn begin(shared: Arc<Shared<B>>, log: Log, name: String) -> Result<Self, Error> {
        let weak = Arc::downgrade(&shared);
        let apply = move |group| {
            if let Some(shared) = weak.upgrade() {
                commit::apply(&shared, group);
            }
        };
        let store = Self { shared, name, threads: Mutex::default() };
        let log = GroupCommit::start(log, apply)?;
        // Set once, here.
        drop(store.shared.log.set(log));
        store.start("flush", flush::run)?;
        if store.shared.settings.templates {
            store.start("templates", learning::run)?;
        }
        Ok(store)
    }

    /// Starts a thread that runs until the store closes.
    pub(crate) fn start(&self, name: &str, run: impl FnOnce(&Shared<B>) + Send + 'static) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(format!("store-{name}"))
            .spawn(move || run(&shared))
            .map_err(Error::file("start a thread for", &self.shared.root))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

pub(crate) fn wal_options(wal: &settings::Wal) -> Options {
    Options {
        segment_bytes: wal.segment_bytes,
        max_bytes: wal.max_bytes,
        durability: match wal.durability {
            settings::Durability::Fsync => Durability::Fsync,
            settings::Durability::Os => Durability::Os,
        },
        replay: match wal.replay {
            settings::Replay::Recover => Replay::Recover,
            settings::Replay::Strict => Replay::Strict,
        },
        wait: devmesh_schema::limits::SINK_WAIT,
        ..Options::default()
    }
}

/// Decodes the records again that the back does not have.
pub(crate) fn replay<B: Back>(shared: &Shared<B>, mut recovery: Recovery) -> Result<(), Error> {
    let started = Instant::now();
    let covered = shared.tables.lock().active.last;
    let mut rows = 0;
    for record in &mut recovery {
        let (seq, bytes) = record?;
        if seq <= covered {
            continue;
        }
        match spill::decode(bytes.clone(), &shared.templates) {
            Ok((batch, chunk, rejected)) => {
                let accepted = chunk.rows.num_rows() as u64;
                rows += accepted;
                if let Some(id) = &batch.id {
                    shared.dedup.replayed(id, &batch.request, now_seconds(), accepted, rejected);
                }
                insert(shared, batch.signal, seq, chunk, bytes.len() as u64)?;
                shared.replayed.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => quarantine::keep_record(shared, seq, &bytes, &reason)?,
        }
    }
    // What came before the bound is complete, whatever of it was lost.
    shared.tables.lock().pass_bound(Seq::MAX);
    let report = recovery.report();
    shared.count_quarantined(report.lost_records, report.lost_bytes);
    if report.records > 0 || report.lost_bytes > 0 {
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (records, lost) = (report.records, report.lost_records);
        tracing::info!(records, rows, lost, lost_bytes = report.lost_bytes, ms, "the log was replayed");
    }
    Ok(())
}

fn insert<B: Back>(shared: &Shared<B>, signal: Signal, seq: Seq, chunk: Chunk, bytes: u64) -> Result<(), Error> {
    let full = {
        let mut tables = shared.tables.lock();
        tables.insert(signal, seq, chunk, bytes);
        tables.active.is_full(&shared.settings.flush)
    };
    if full {
        shared.wake.set(|wake| wake.flush = true);
    }
    let started = Instant::now();
    while !shared.has_room() {
        {
            let tables = shared.tables.lock();
            if tables.spilled.is_some() || tables.bound.is_some() {
                return Ok(());
            }
        }
        let stuck = shared.condition().flush.clone();
        if B::SPILLS && (stuck.is_some() || started.elapsed() > REPLAY_WAIT) {
            shared.spill();
            return Ok(());
        }
        if started.elapsed() > REPLAY_WAIT {
            return Err(Error::NotReady(stuck.unwrap_or_else(|| "rows cannot leave memory".into())));
        }
        let rung = async { tokio::time::timeout(Duration::from_millis(100), shared.room.notified()).await };
        drop(shared.runtime.block_on(rung));
    }
    Ok(())
}
