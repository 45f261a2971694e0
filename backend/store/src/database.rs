//! A database that keeps the rows behind the log: MariaDB, ClickHouse.
//!
//! Senders are answered when the log has their batch; what they sent since the last block is in memory, and queries read it
//! there. A [`Block`] is what is moved to the database at once. Its bounds are written down before it is sent, so that
//! after a crash the same records make the same block again, and the database can tell by its number whether it has it.
//!
//! Programs of others write into the same tables. Their rows belong to no block, and every query sees them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::Seq;

use crate::{
    Capabilities, Error, Fragment, Scan,
    scan::{GroupBy, Groups},
};

/// Rows of one signal between two numbers of the log, in the order of the log.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Which log: an id made when the data directory was.
    pub(crate) writer: Arc<str>,
    /// The last record of the log that is in it. It names the block, together with `writer` and `signal`.
    pub(crate) last: Seq,
    /// Whose table.
    pub(crate) signal: Signal,
    /// Stored rows ([`devmesh_schema::stored`]), each batch with the columns that it has.
    pub(crate) rows: Vec<Arc<RecordBatch>>,
}

/// Up to where a query reads the blocks of one writer: later ones it has read in memory.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which log.
    pub(crate) writer: Arc<str>,
    /// The last block that is read from the database. Blocks of other writers are read whatever their number.
    pub(crate) last: Seq,
    /// There while no block of this writer is on its way: then the database has none beyond `last`, and where
    /// [`Idle::still`] holds after an answer has begun, a statement need not have left any out.
    pub(crate) idle: Option<Idle>,
}

/// Whether blocks are on their way to the database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// How often one set out and arrived: odd while one is on its way, or may be there in part.
    changes: Arc<AtomicU64>,
}

impl Traffic {
    /// A block sets out, or does again. Before anything of it is sent.
    pub(crate) fn set_out(&self) {
        self.changes.fetch_or(1, Ordering::SeqCst);
    }

    /// The block has arrived, and queries that begin now read it in the database.
    pub(crate) fn arrived(&self) {
        if !self.changes.load(Ordering::SeqCst).is_multiple_of(2) {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// That nothing is on its way, where nothing is.
    pub(crate) fn idle(&self) -> Option<Idle> {
        let at = self.changes.load(Ordering::SeqCst);
        at.is_multiple_of(2).then(|| Idle { traffic: self.clone(), at })
    }
}

/// That at a moment nothing was on its way.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    traffic: Traffic,
    at: u64,
}

impl Idle {
    /// Whether nothing has set out since.
    pub(crate) fn still(&self) -> bool {
        self.traffic.changes.load(Ordering::SeqCst) == self.at
    }
}

/// A database, made by `connect(&url, &settings)` of its module:
///
/// ```text
/// pub(crate) async fn connect(url: &url::Url, settings: &Settings) -> Result<Arc<dyn Database>, Error>
/// ```
///
/// which fails for a URL that is wrong and for nothing else: a server that is away is met by the first [`Self::ready`].
/// Nothing else is called before `ready` was `Ok` once; it is called again every few seconds. [`Error::Away`] from any
/// call means that the same may work later, and [`Error::Database`] that somebody has to change something; either way the
/// caller asks again with growing pauses. A call may be dropped at any point of its future.
#[async_trait]
pub(crate) trait Database: fmt::Display + Send + Sync {
    /// What `scan` does itself.
    fn capabilities(&self) -> Capabilities;

    /// Stores a block: wholly or not at all, and once however often it is asked, also after the connection was lost while
    /// the answer was on its way. `Ok` means that the database has it durably.
    ///
    /// # Errors
    /// The database is away or refuses; nothing of the block can be seen by a query.
    async fn insert(&self, block: &Block) -> Result<(), Error>;

    /// The rows that `scan` asks for, of blocks up to `seen` and of other writers, as stored rows.
    ///
    /// # Errors
    /// The database is away or refuses.
    async fn scan(&self, scan: &Scan, seen: &Seen) -> Result<Vec<Fragment>, Error>;

    /// The groups of the rows that `scan` would give, made in the database; `None` where it would not give exactly the
    /// answer that the engine gives.
    ///
    /// # Errors
    /// The database is away or refuses.
    async fn group(&self, scan: &Scan, group: &GroupBy, seen: &Seen) -> Result<Option<Groups>, Error>;

    /// Forgets records of the signal whose time lies before `before`. Answers how many, or 0 where it cannot tell.
    ///
    /// # Errors
    /// The database is away or refuses.
    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error>;

    /// Ok when the database answers and its schema is the one that this version expects. The first call that reaches the
    /// server makes the schema, or brings it up to date; later ones only ask whether the server answers.
    ///
    /// # Errors
    /// Why not, and what to do.
    async fn ready(&self) -> Result<(), Error>;

    /// The greatest number of a block of this writer that the database has; `None` where it has none, or cannot tell. Asked
    /// once, after the first [`Self::ready`]: a data directory that knows less than the database was restored from a copy,
    /// and must not give its numbers again.
    ///
    /// # Errors
    /// The database is away or refuses.
    async fn newest(&self, writer: &str) -> Result<Option<Seq>, Error> {
        let _ = writer;
        Ok(None)
    }

    /// Rows and bytes of each signal's tables, in the order of [`Signal::ALL`]; may be estimates.
    ///
    /// # Errors
    /// The database is away or refuses.
    async fn size(&self) -> Result<[(u64, u64); 3], Error>;

    /// Lets go of the connections.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_sets_out_ends_the_quiet_until_it_has_arrived() {
        let traffic = Traffic::default();
        let before = traffic.idle().unwrap();
        traffic.arrived();
        assert!(before.still(), "nothing had set out");
        traffic.set_out();
        // It is tried again: that is the same block.
        traffic.set_out();
        assert!(!before.still() && traffic.idle().is_none());
        traffic.arrived();
        assert!(!before.still() && traffic.idle().unwrap().still());
    }
}
