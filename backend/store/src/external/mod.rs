//! The store whose rows go to a database: MariaDB, ClickHouse, whatever is a [`Database`].
//!
//! - [`hand_over`]: rows that leave memory become blocks, which the database stores once each.
//! - [`view`]: queries read memory, what is in the log alone, and the database.
//! - [`watch`]: whether the database answers, and retention.
//! - [`state`]: what has to be known after a crash, in one small file.
//!
//! # How it fails
//! While the database is away or refuses, writes go on: their rows stay in memory, and when that is full in the log
//! alone, until the log is full. Queries fail and say why: they never answer with a part of the rows. `ready` says why as
//! well. Once the database answers it is fed from memory and the log, in order, and nobody has to do anything.
//!
//! # What is different from files
//! Retention goes by the time of the record alone: a database cannot tell when a row came, nor whose it is. So records
//! older than `retention` are deleted soon after they came.

pub(crate) mod address;
mod hand_over;
mod open;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use devmesh_schema::{Signal, TimestampNs, limits};

use tokio::sync::watch as watch_channel;

use self::state::StateFile;
use crate::{
    Capabilities, DatabaseStats, Error, Snapshot, Stats,
    database::{Database, Traffic},
    front::{self, Back},
    memtable::Memtable,
};

pub(crate) use open::open;

/// The store's state.
type Shared = front::Shared<Outside>;

/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A database and what is known of it.
pub(crate) struct Outside {
    database: Arc<dyn Database>,
    /// The id of this log in the database. Settled before anything is inserted or read.
    writer: Mutex<Arc<str>>,
    /// Locked before the tables where both are.
    state: Mutex<StateFile>,
    health: Mutex<Health>,
    /// Held while the database is asked whether it is ready.
    asking: Mutex<()>,
    /// How often it was asked.
    answers: watch_channel::Sender<u64>,
    /// Whether a block is on its way there.
    traffic: Traffic,
    blocks: AtomicU64,
    retries: AtomicU64,
}

/// What queries see of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    /// The last block that is read from the database: later records are in memory or in the log.
    stored: devmesh_wal::Seq,
    /// Records whose time lies before it are forgotten, by signal.
    horizon: [TimestampNs; 3],
}

/// How the database is.
#[derive(Clone, Debug, Default)]
struct Health {
    /// Whether it has answered, with the right schema, once: nothing is asked of it before.
    prepared: bool,
    /// Why it is not ready; `None` where it is.
    away: Option<String>,
    /// Rows and bytes of its tables, when they were last asked for.
    size: [(u64, u64); 3],
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("database", &self.database.to_string()).finish_non_exhaustive()
    }
}

impl Outside {
    fn new(database: Arc<dyn Database>, state: StateFile) -> Self {
        let health = Health { away: Some(format!("{database} has not answered yet")), ..Health::default() };
        let traffic = Traffic::default();
        if state.state.begun.is_some() {
            // Before a crash: some of it may be there.
            traffic.set_out();
        }
        Self {
            database,
            writer: Mutex::new(state.state.writer.as_str().into()),
            state: Mutex::new(state),
            health: Mutex::new(health),
            asking: Mutex::default(),
            answers: watch_channel::Sender::new(0),
            traffic,
            blocks: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, StateFile> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> Arc<str> {
        Arc::clone(&self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ok where the database may be asked for rows.
    fn usable(&self) -> Result<(), Error> {
        let health = self.health();
        match &health.away {
            Some(reason) if !health.prepared => Err(Error::Away(reason.clone())),
            _ => Ok(()),
        }
    }
}

impl Back for Outside {
    type Live = Live;
    type Progress = hand_over::Progress;

    const SPILLS: bool = true;
    const STUCK: &'static str = "rows cannot be handed over to the database; they stay in the log";

    fn capabilities(&self) -> Capabilities {
        self.database.capabilities()
    }

    fn take_over(shared: &Shared, sealed: &Arc<Memtable>, progress: &mut Self::Progress) -> Result<(), Error> {
        hand_over::take_over(shared, sealed, progress)
    }

    fn pause(failures: u32) -> Duration {
        PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE)
    }

    fn snapshot(shared: &Arc<Shared>) -> Arc<dyn Snapshot> {
        Arc::new(view::View::new(shared))
    }

    fn expire(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        watch::expire(shared, signal, before)
    }

    fn unready(shared: &Shared) -> Option<String> {
        shared.condition().flush.clone().or_else(|| shared.back.health().away.clone())
    }

    fn stats(&self, _live: &Live, stats: &mut Stats) {
        let health = self.health();
        for (table, (rows, bytes)) in stats.tables.iter_mut().zip(health.size) {
            (table.database_rows, table.database_bytes) = (rows, bytes);
        }
        stats.database = Some(DatabaseStats {
            up: health.prepared && health.away.is_none(),
            blocks: self.blocks.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        });
    }

    fn close(shared: &Shared) {
        // The clock is the runtime's.
        let closed = shared.runtime.block_on(async {
            let closed = tokio::time::timeout(limits::DRAIN_TIME, shared.back.database.close()).await;
            closed.is_ok()
        });
        if !closed {
            tracing::warn!("the database's connections were not closed in time");
        }
    }
}
