//! ClickHouse as the database behind the log.
//!
//! The tables are those of the OpenTelemetry Collector's exporter (`schema/sql/clickhouse`): a Collector writes into them
//! beside us, and what was made for them reads what we write.
//!
//! - [`columns`]: the tables, and which of their columns is which of ours.
//! - [`mod@write`]: stored rows into their rows. [`read`]: back.
//! - [`parts`]: where a block is cut.
//! - [`sql`], [`group`]: filters and groups as SQL, where ClickHouse means the same.
//! - [`connection`]: statements and Arrow over HTTP.
//! - [`cluster`]: the same tables on a cluster.
//!
//! # Once
//! A block is cut into parts, the same parts whenever it comes, and each part is one insert into each of its tables, with
//! a token that ClickHouse remembers (`insert_deduplication_token`): an insert that is repeated stores nothing. Between
//! the inserts of one block its rows are there in part; a query leaves out every row of ours beyond the last whole block.
//!
//! # How it fails
//! See [`connection`]. Nothing is retried here: the caller does.

mod arrays;
pub(crate) mod client;
pub(crate) mod cluster;
mod columns;
mod connection;
mod group;
mod parts;
mod read;
mod sql;
mod write;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use devmesh_schema::{Signal, TimestampNs, concat::concat};
use devmesh_wal::Seq;
use futures::{
    future::try_join_all,
    stream::{self, StreamExt},
};
use tokio::sync::OnceCell;
use url::Url;

use crate::{
    Capabilities, Error, Filter, Fragment, GroupBy, Groups, Scan, Settings,
    database::{Block, Database, Idle, Seen},
    migrate,
};

use columns::Table;
use connection::{Connection, Permit};
use read::Plan;
use sql::Where;

/// The server of a `clickhouse://` URL. Connects to nothing yet.
///
/// # Errors
/// The URL names no server, or certificates that cannot be read.
#[allow(clippy::unused_async)]
pub(crate) async fn connect(url: &Url, settings: &Settings) -> Result<Arc<dyn Database>, Error> {
    let connection = Connection::new(client::address(url)?, &settings.database)?;
    Ok(Arc::new(ClickHouse { connection, settings: settings.clone(), made: OnceCell::new() }))
}

/// A ClickHouse server or cluster.
pub(crate) struct ClickHouse {
    connection: Connection,
    settings: Settings,
    /// The schema was looked at, and is the one of this version.
    made: OnceCell<()>,
}

impl fmt::Display for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.address().fmt(f)
    }
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouse").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl ClickHouse {
    /// Stores one part of a block.
    async fn insert_part(&self, block: &Block, part: usize, rows: &[RecordBatch]) -> Result<(), Error> {
        let rows = concat(block.signal, &rows.iter().collect::<Vec<_>>())?;
        for (table, rows) in write::rows(block.signal, &rows, &block.writer, block.last)? {
            let token = format!("{}-{}-{}-{part}", block.writer, block.last, table.name());
            self.connection.insert(table.name(), &rows, &token).await?;
        }
        Ok(())
    }

    /// That nothing is on its way, where a statement that asks for all rows sees but those of one moment: the servers of a
    /// cluster begin one after the other. A statement without the bound is worth a second one now and then: the condition
    /// reads two columns more.
    fn idle<'s>(&self, seen: &'s Seen) -> Option<&'s Idle> {
        seen.idle.as_ref().filter(|_| self.settings.database.cluster.is_empty())
    }

    /// The rows of a scan; without a bound, all of them.
    async fn scan_within(&self, scan: &Scan, bound: Option<&Seen>) -> Result<Vec<Fragment>, Error> {
        let mut queries = Vec::new();
        for table in Table::of(scan.signal) {
            let rows = Where::new(*table, scan, bound);
            if rows.never || scan.limit == Some(0) {
                continue;
            }
            let plan = plan(*table, scan);
            let query = |clause: &str| format!("SELECT {} FROM {}{clause}", plan.select(), table.name());
            let (certain, doubtful) = rows.split();
            let tail = if rows.exact { newest(*table, scan) } else { String::new() };
            queries.push((query(&certain) + &tail, plan.clone()));
            if let Some(clause) = doubtful {
                queries.push((query(&clause), plan));
            }
        }
        let permit = self.connection.permit().await?;
        try_join_all(queries.into_iter().map(|(sql, plan)| {
            let permit = &permit;
            async move { self.rows(plan, &sql, permit).await }
        }))
        .await
    }

    /// The groups of a scan; without a bound, of all its rows.
    async fn group_within(&self, scan: &Scan, group: &GroupBy, bound: Option<&Seen>) -> Result<Option<Groups>, Error> {
        let mut queries = Vec::new();
        let mut rest = Vec::new();
        for table in Table::of(scan.signal) {
            let rows = Where::new(*table, scan, bound);
            if rows.never {
                continue;
            }
            let Some(query) = group::Query::new(*table, scan, group).filter(|_| rows.exact) else { return Ok(None) };
            let (certain, doubtful) = rows.split();
            queries.push((query.sql(table.name(), &certain), query));
            if let Some(clause) = doubtful {
                let plan = plan(*table, scan);
                rest.push((format!("SELECT {} FROM {}{clause}", plan.select(), table.name()), plan));
            }
        }
        let permit = &self.connection.permit().await?;
        let groups = try_join_all(queries.into_iter().map(|(sql, query)| async move {
            let batches = self.connection.arrow(&sql, permit).await?;
            Ok::<_, Error>(batches.map(move |batch| Ok(query.groups(&batch?)?)).boxed())
        }));
        let rest = rest.into_iter().map(|(sql, plan)| async move { self.rows(plan, &sql, permit).await });
        let (groups, rest) = futures::try_join!(groups, try_join_all(rest))?;
        Ok(Some(Groups { groups: stream::iter(groups).flatten().boxed(), rest }))
    }

    async fn rows(&self, plan: Plan, sql: &str, permit: &Permit) -> Result<Fragment, Error> {
        let batches = self.connection.arrow(sql, permit).await?;
        Ok(Fragment::Rows(batches.map(move |batch| Ok(plan.stored(&batch?)?)).boxed()))
    }

    /// The table that has the rows on this server: on a cluster, not the one that asks all of them.
    fn local(&self, table: Table) -> (String, String) {
        match self.settings.database.cluster.as_str() {
            "" => (sql::name(table.name()), String::new()),
            name => (sql::name(&cluster::local(table.name())), format!(" ON CLUSTER {}", sql::name(name))),
        }
    }

    /// `system.parts` of all servers.
    fn parts(&self) -> String {
        match self.settings.database.cluster.as_str() {
            "" => "system.parts".to_owned(),
            name => format!("cluster({}, system.parts)", sql::literal(name)),
        }
    }

    /// Tells ClickHouse how long rows are kept, so that it deletes old ones as it merges, also while nobody asks it to.
    async fn keep_retention(&self) -> Result<(), Error> {
        for signal in Signal::ALL {
            for table in Table::of(signal) {
                self.keep_table(*table, self.settings.retention.of(signal)).await?;
            }
        }
        Ok(())
    }

    async fn keep_table(&self, table: Table, retention: Option<Duration>) -> Result<(), Error> {
        let (name, on_cluster) = self.local(table);
        let create = format!(
            "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {}",
            sql::literal(name.trim_matches('`'))
        );
        let lines = self.connection.lines(&create).await?;
        let create = lines.join("\n");
        let is = create.split_once(" TTL ").map(|(_, ttl)| ttl.split(" SETTINGS ").next().unwrap_or_default().trim());
        let wanted =
            retention.map(|kept| format!("toDateTime({}) + toIntervalSecond({})", table.time(), kept.as_secs().max(1)));
        let alter = match (is, &wanted) {
            (Some(is), Some(wanted)) if is == wanted => return Ok(()),
            (None, None) => return Ok(()),
            (_, Some(wanted)) => format!("ALTER TABLE {name}{on_cluster} MODIFY TTL {wanted}"),
            (_, None) => format!("ALTER TABLE {name}{on_cluster} REMOVE TTL"),
        };
        // Rows that are there get the new time when they are merged.
        self.connection.execute(&alter, &[("materialize_ttl_after_modify", "0")]).await
    }

    async fn expire_table(&self, table: Table, before: TimestampNs) -> Result<u64, Error> {
        let (name, on_cluster) = self.local(table);
        let local = name.trim_matches('`').to_owned();
        let day = format!("toString(toDate(fromUnixTimestamp64Nano(toInt64({before}))))");
        let old = format!(
            "SELECT partition_id, toString(sum(rows)) FROM {} WHERE active AND database = currentDatabase() \
             AND table = {} AND partition < {day} GROUP BY partition_id",
            self.parts(),
            sql::literal(&local)
        );
        let mut gone = 0;
        for line in self.connection.lines(&old).await? {
            let (id, rows) = line.split_once('\t').unwrap_or((&line, "0"));
            let drop = format!("ALTER TABLE {name}{on_cluster} DROP PARTITION ID {}", sql::literal(id));
            self.connection.execute(&drop, &[]).await?;
            tracing::info!(table = table.name(), partition = id, rows, "dropped a partition whose records are too old");
            gone += rows.parse::<u64>().unwrap_or(0);
        }
        // The day in which the bound lies.
        let older = format!("{} < fromUnixTimestamp64Nano(toInt64({before}))", table.time());
        let count = self.connection.lines(&format!("SELECT count() FROM {} WHERE {older}", table.name())).await?;
        let count = count.first().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        if count > 0 {
            let delete = format!("DELETE FROM {name}{on_cluster} WHERE {older}");
            self.connection.execute(&delete, &[("lightweight_deletes_sync", "1")]).await?;
        }
        Ok(gone + count)
    }
}

/// The columns of the table that a scan needs; `None`: all.
fn needed(scan: &Scan) -> Option<Vec<&str>> {
    let mut columns: Vec<&str> = scan.columns.as_ref()?.iter().map(String::as_str).collect();
    for filter in &scan.filters {
        columns.push(match filter {
            Filter::Compare { column, .. } | Filter::OneOf { column, .. } | Filter::Words { column, .. } => column,
            Filter::Attribute { .. } => "attributes",
        });
    }
    Some(columns)
}

fn plan(table: Table, scan: &Scan) -> Plan {
    Plan::new(table, needed(scan))
}

/// The order and the bound of the newest rows. The tables of logs are sorted by stretches of five minutes first: said so,
/// ClickHouse reads them from their end and stops.
fn newest(table: Table, scan: &Scan) -> String {
    let Some(limit) = scan.limit else { return String::new() };
    let mut tail = String::new();
    if scan.newest_first {
        tail = match table {
            Table::Logs => " ORDER BY toStartOfFiveMinutes(Timestamp) DESC, Timestamp DESC".to_owned(),
            _ => format!(" ORDER BY {} DESC", table.time()),
        };
    }
    tail + &format!(" LIMIT {limit}")
}

#[async_trait]
impl Database for ClickHouse {
    fn capabilities(&self) -> Capabilities {
        Capabilities { words: true, attributes: true }
    }

    async fn insert(&self, block: &Block) -> Result<(), Error> {
        for (number, part) in parts::parts(&block.rows)?.iter().enumerate() {
            self.insert_part(block, number, part).await?;
        }
        Ok(())
    }

    async fn scan(&self, scan: &Scan, seen: &Seen) -> Result<Vec<Fragment>, Error> {
        if let Some(idle) = self.idle(seen) {
            let rows = self.scan_within(scan, None).await?;
            if idle.still() {
                return Ok(rows);
            }
        }
        self.scan_within(scan, Some(seen)).await
    }

    async fn group(&self, scan: &Scan, group: &GroupBy, seen: &Seen) -> Result<Option<Groups>, Error> {
        if let Some(idle) = self.idle(seen) {
            let groups = self.group_within(scan, group, None).await?;
            if idle.still() {
                return Ok(groups);
            }
        }
        self.group_within(scan, group, Some(seen)).await
    }
    async fn expire(&self, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        let mut gone = 0;
        for table in Table::of(signal) {
            gone += self.expire_table(*table, before).await?;
        }
        Ok(gone)
    }

    async fn ready(&self) -> Result<(), Error> {
        self.made
            .get_or_try_init(|| async {
                migrate::prepare(&self.settings).await?;
                if self.settings.database.migrate { self.keep_retention().await } else { Ok(()) }
            })
            .await?;
        self.connection.lines("SELECT 1").await.map(drop)
    }

    async fn newest(&self, writer: &str) -> Result<Option<Seq>, Error> {
        let of_table = |table: &Table| {
            let writer = sql::literal(writer);
            format!("SELECT maxOrNull(DevmeshBlock) AS last FROM {} WHERE DevmeshWriter = {writer}", table.name())
        };
        let tables: Vec<String> = Signal::ALL.into_iter().flat_map(Table::of).map(of_table).collect();
        let sql = format!("SELECT toString(max(last)) FROM ({})", tables.join(" UNION ALL "));
        // Two columns of all rows. A server that has too many for this is not away for it.
        let limit = self.settings.database.insert_timeout;
        let lines = tokio::time::timeout(limit, self.connection.lines_within(&sql, limit * 2)).await;
        let late = |_late| Error::Database(format!("{self}: the newest block was not found within {limit:?}"));
        // NULL is no number.
        Ok(lines.map_err(late)??.first().and_then(|line| line.parse().ok()))
    }

    async fn size(&self) -> Result<[(u64, u64); 3], Error> {
        let sql = format!(
            "SELECT table, toString(sum(rows)), toString(sum(bytes_on_disk)) FROM {} \
             WHERE active AND database = currentDatabase() GROUP BY table",
            self.parts()
        );
        let mut sizes = [(0, 0); 3];
        for line in self.connection.lines(&sql).await? {
            let mut fields = line.split('\t');
            let (Some(name), Some(rows), Some(bytes)) = (fields.next(), fields.next(), fields.next()) else { continue };
            for (i, signal) in Signal::ALL.into_iter().enumerate() {
                let is = |table: &Table| table.name() == name || cluster::local(table.name()) == name;
                if Table::of(signal).iter().any(is) {
                    sizes[i].0 += rows.parse::<u64>().unwrap_or(0);
                    sizes[i].1 += bytes.parse::<u64>().unwrap_or(0);
                }
            }
        }
        Ok(sizes)
    }

    async fn close(&self) {
        self.connection.close();
    }
}
