//! Where the records are kept: one storage trait, the embedded store behind the write-ahead log.

#[cfg(test)]
#[path = "../tests/conformance/mod.rs"]
mod conformance;
#[cfg(test)]
extern crate self as devmesh_store;

mod clickhouse;
mod columns;
pub mod copy;
mod database;
mod dedup;
mod embedded;
mod external;
mod front;
mod ingest;
mod mariadb;
mod memtable;
pub mod migrate;
mod open;
mod patterns;
pub mod scan;
pub mod settings;
mod tail;
#[cfg(test)]
mod testing;
mod words;

use std::{fmt::Display, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use devmesh_schema::{Signal, Sink, TimestampNs};
use tokio::sync::broadcast;

pub use external::address::redacted;
pub use open::open;
pub use patterns::{PatternMap, PatternText, Patterns, parse_pattern_id, pattern_id_text};
pub use settings::Settings;
pub use words::{missing, words};

pub use scan::{Capabilities, Filter, Fragment, GroupBy, Groups, Key, Measure, Op, ParquetFile, Scan, Value};

/// A sink that can be read. Stores behave alike; where one is weaker, `capabilities` says so.
#[async_trait]
pub trait Store: Sink + Display {
    /// What `scan` does itself. The zero value is the least capable store.
    fn capabilities(&self) -> Capabilities;
    /// The rows of all tables as they stand now.
    fn snapshot(&self) -> Arc<dyn Snapshot>;
    /// Scans a snapshot of now.
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, Error> {
        self.snapshot().scan(scan).await
    }
    /// Forgets records of the signal whose time lies before `before`. Returns how many.
    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error>;
    /// Ok when a write would be accepted now; else why not, for `/ready` and doctor.
    async fn ready(&self) -> Result<(), Error>;
    /// Rows as they are committed, for live tails. A slow reader loses the oldest.
    fn subscribe(&self) -> broadcast::Receiver<Committed>;
    /// A fragment's file could not be read: the store looks whether it is damaged, and sets it aside if so. Answers
    /// whether the file is no part of the store any more: who asks again gets an answer without it.
    async fn suspect(&self, path: &object_store::path::Path) -> bool {
        let _ = path;
        false
    }
    /// What the store holds and has counted.
    fn stats(&self) -> Stats;
    /// The patterns of log bodies, where the store mines them.
    fn patterns(&self) -> Option<Arc<dyn Patterns>> {
        None
    }
    /// Moves what is in memory to where it stays. Nobody needs to call it.
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Finishes what is under way and lets go of files and connections. Writes after it are refused as closed.
    async fn close(&self) -> Result<Drained, Error>;
}

/// The rows of all tables at one moment. It stays as it is, whatever is written, merged or expired meanwhile: a query
/// that reads tables more than once reads them all of one snapshot.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The rows that `scan` asks for, in pieces that can be read in parallel. Never a row less.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, Error>;
    /// The groups of the rows that `scan` asks for, made where they lie; `None` where the engine has to make them.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn group(&self, scan: &Scan, group: &GroupBy) -> Result<Option<Groups>, Error> {
        let (_, _) = (scan, group);
        Ok(None)
    }
    /// Which pattern the templates of its rows belong to.
    fn patterns(&self) -> Arc<PatternMap> {
        Arc::default()
    }
    /// Records of the signal whose time lies before it are forgotten: a reader leaves them out, whatever fragment they
    /// still stand in.
    fn horizon(&self, signal: Signal) -> TimestampNs {
        let _ = signal;
        TimestampNs::MIN
    }
}

/// Rows just committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Whose table.
    pub signal: Signal,
    /// Stored rows ([`devmesh_schema::stored`]).
    pub rows: Arc<RecordBatch>,
}

/// What `close` finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// Rows moved from memory to files.
    pub rows_flushed: u64,
}

/// Figures of one signal's table.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableStats {
    /// Leaf items received since the start, by accepted requests: stored + rejected + deduplicated.
    pub received: u64,
    /// Of them, stored.
    pub stored: u64,
    /// Of them, refused for good.
    pub rejected: u64,
    /// Of them, known already by their batch id.
    pub deduplicated: u64,
    /// Rows in memory.
    pub memory_rows: u64,
    /// Rows in files.
    pub file_rows: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Files.
    pub files: u64,
    /// Rows in the database; an estimate that is some seconds old.
    pub database_rows: u64,
    /// Bytes of the database's tables; likewise.
    pub database_bytes: u64,
}

/// What a store holds and has counted.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// In the order of [`Signal::ALL`].
    pub tables: [TableStats; 3],
    /// Rejected items since the start, by signal and reason.
    pub rejections: Vec<(Signal, &'static str, u64)>,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of rows in memory.
    pub memory_bytes: u64,
    /// Commits (fsyncs) since the start.
    pub commits: u64,
    /// Damaged files and log records set aside since the start, and how many bytes of them.
    pub quarantined: (u64, u64),
    /// Log records replayed at the start.
    pub replayed: u64,
    /// Bytes of log records whose rows found no room in memory and are in the log alone.
    pub spilled_bytes: u64,
    /// Of a database.
    pub database: Option<DatabaseStats>,
}

/// What has been counted of a database since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseStats {
    /// Whether it answered when it was last asked.
    pub up: bool,
    /// Blocks of rows that it has taken over.
    pub blocks: u64,
    /// How often a block had to be sent again.
    pub retries: u64,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("failed to {operation} {path}")]
    File {
        /// What was tried: open, write, sync, rename.
        operation: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The data directory belongs to another running server.
    #[error("{0} is in use by another devmesh; stop it, or name another directory with --data-dir")]
    Locked(std::path::PathBuf),
    /// Something on disk is not as this version writes it.
    #[error("{path}: {reason}")]
    Format {
        /// Where.
        path: std::path::PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The object store refused.
    #[error("object store: {0}")]
    Object(#[from] object_store::Error),
    /// Parquet could not be written or read.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Arrow refused.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The write-ahead log cannot be opened or read.
    #[error(transparent)]
    Log(#[from] devmesh_wal::Error),
    /// Writes are refused at present.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The store URL is not one we know.
    #[error("{0}")]
    Url(String),
    /// The database is away, overloaded, or ended the transaction: the same may work later.
    #[error("{0}")]
    Away(String),
    /// The database refuses, and will go on refusing until somebody changes something.
    #[error("{0}")]
    Database(String),
}

impl Error {
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}
