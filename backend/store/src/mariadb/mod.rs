//! MariaDB 10.6 and later: the tables that other programs know, and beside them the whole records.
//!
//! Each record is a row of `log_events`, `spans` or `metric_events`, with readable columns and the indexes of the issue's
//! DDL. The records of one INSERT are kept once more, whole, as one compressed chunk: a scan reads chunks and not rows,
//! which is a tenth of the bytes, and writing costs little more than the INSERT of the rows. Which rows a chunk has is
//! said by their ids, so that a row of another program is one whose id is in no chunk.
//!
//! - [`client`]: where the server is, and TLS. [`connection`]: the pool, what a connection is set to, what errors mean.
//! - [`rows`], [`json`], [`sql`]: stored rows as an INSERT. [`chunk`]: as a chunk. [`cache`]: chunks that were looked into.
//! - [`statement`]: the INSERT, prepared or as text.
//! - [`insert`]: blocks, exactly once.
//! - [`scan`]: rows back, chunk by chunk; [`recent`]: the newest. [`newest`]: those that an index finds. [`predicate`]: what of a filter SQL can
//!   do. [`exact`]: the filter itself.
//! - [`foreign`]: rows of other programs as stored rows.
//! - [`group`]: aggregates in the database.
//! - [`keep`]: retention, sizes, whether it is ready.

mod cache;
mod chunk;
pub(crate) mod client;
pub(crate) mod connection;
mod exact;
mod foreign;
mod group;
mod insert;
mod json;
mod keep;
mod newest;
mod predicate;
mod recent;
mod rows;
mod scan;
mod sql;
mod statement;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::Seq;
use tokio::sync::OnceCell;
use url::Url;

use self::connection::Connections;
use crate::{
    Capabilities, Error, Fragment, Scan, Settings,
    database::{Block, Database, Seen},
    migrate,
    scan::{GroupBy, Groups},
};

/// The database of a URL. Connects to nothing yet.
///
/// # Errors
/// The URL is none of a MariaDB.
pub(crate) async fn connect(url: &Url, settings: &Settings) -> Result<Arc<dyn Database>, Error> {
    let connections = Arc::new(Connections::new(url, &settings.database)?);
    Ok(Arc::new(MariaDb { connections, settings: settings.clone(), prepared: OnceCell::new() }))
}

struct MariaDb {
    connections: Arc<Connections>,
    settings: Settings,
    /// Set when the schema was brought up to date.
    prepared: OnceCell<()>,
}

impl fmt::Display for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connections.fmt(f)
    }
}

#[async_trait]
impl Database for MariaDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities { words: true, attributes: true }
    }

    async fn insert(&self, block: &Block) -> Result<(), Error> {
        insert::insert(&self.connections, block).await
    }

    async fn scan(&self, scan: &Scan, seen: &Seen) -> Result<Vec<Fragment>, Error> {
        scan::scan(&self.connections, scan, seen).await
    }

    async fn group(&self, scan: &Scan, group: &GroupBy, seen: &Seen) -> Result<Option<Groups>, Error> {
        group::group(&self.connections, scan, group, seen).await
    }

    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        keep::expire(&self.connections, signal, before).await
    }

    async fn ready(&self) -> Result<(), Error> {
        self.prepared.get_or_try_init(|| migrate::prepare(&self.settings)).await?;
        keep::ready(&self.connections).await
    }

    async fn newest(&self, writer: &str) -> Result<Option<Seq>, Error> {
        keep::newest(&self.connections, writer).await
    }

    async fn size(&self) -> Result<[(u64, u64); 3], Error> {
        keep::size(&self.connections).await
    }

    async fn close(&self) {
        self.connections.close().await;
    }
}

#[cfg(test)]
mod tests;
