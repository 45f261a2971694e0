//! Rows that the database finds: the newest ones up to a limit, any up to a limit that have a word, or those of a trace.
//!
//! The tables of records are asked for ids, page by page, by a condition that every wanted row meets, and for the chunks
//! that these lie in; the chunks give the rows, and the filters are evaluated on them. Pages follow until there are as many
//! rows as were asked for. Of the newest ones none of the same microsecond may be missing: which of those is the newest,
//! only the chunks know.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;
use devmesh_schema::Signal;
use futures::{TryStreamExt, stream};
use sqlx::{AssertSqlSafe, Row, mysql::MySqlRow};

use super::{
    cache,
    connection::{Connections, Fault},
    exact, foreign, predicate,
    rows::table,
    scan::{Chunk, FETCH, Key, datetime_of, time_range},
};
use crate::{Error, Filter, Scan, database::Seen};

/// Ids of one page at most.
const PAGE: usize = 4096;
/// Ids that the first page has beyond the limit, for rows that the filters drop and for the last microsecond.
const SPARE: usize = 16;

/// Whether the scan is to be answered this way: by an index where one finds its rows, and for a few rows with a word, which
/// the database has read before their chunks are decoded.
pub(super) fn serves(scan: &Scan) -> bool {
    if scan.filters.iter().any(predicate::is_narrow) {
        return true;
    }
    if scan.limit.is_none() || !exact::is_exact(scan) {
        return false;
    }
    let has_word =
        |filter: &Filter| matches!(filter, Filter::Words { .. }) && predicate::lax(scan.signal, filter).is_some();
    let is_found = |filter: &Filter| predicate::is_indexed(scan.signal, filter);
    scan.filters.iter().any(has_word)
        || scan.newest_first && (scan.filters.is_empty() || scan.filters.iter().any(is_found))
}

/// Where the next page begins: after this time, in the table's unit, and id.
type After = (i64, i64);

struct Walk {
    connections: Arc<Connections>,
    scan: Scan,
    seen: Seen,
    limit: Option<usize>,
    /// Newest first; else in the order of ids.
    by_time: bool,
    page: usize,
    after: Option<After>,
    is_over: bool,
    /// Rows given so far.
    given: usize,
    /// Ids met so far that have the time at which the last page ended.
    ties: usize,
}

/// The rows, newest first by page where that was asked.
pub(super) fn rows(
    connections: &Arc<Connections>,
    scan: &Scan,
    seen: &Seen,
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    let limit = scan.limit.filter(|_| exact::is_exact(scan));
    let walk = Walk {
        connections: Arc::clone(connections),
        scan: scan.clone(),
        seen: seen.clone(),
        limit,
        // A range of time is found by the index that begins with it.
        by_time: scan.newest_first || scan.time.start > i64::MIN || scan.time.end < i64::MAX,
        page: limit.map_or(PAGE, |limit| limit.saturating_add(SPARE)).clamp(SPARE, PAGE),
        after: None,
        is_over: limit == Some(0),
        given: 0,
        ties: 0,
    };
    stream::try_unfold(walk, |mut walk| async move {
        if walk.is_over {
            return Ok::<_, Error>(None);
        }
        let batches = walk.step().await?;
        let batches = stream::iter(batches.into_iter().map(Ok::<_, Error>));
        Ok(Some((batches, walk)))
    })
    .try_flatten()
}

impl Walk {
    /// The rows of the next page.
    async fn step(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let ids = self.ids().await.map_err(|fault| self.connections.error(fault))?;
        self.is_over = ids.len() < self.page;
        let Some(last) = ids.last() else { return Ok(Vec::new()) };
        let ties = ids.iter().filter(|id| id.time == last.time).count();
        let goes_on = self.after.is_some_and(|(time, _)| time == last.time);
        self.ties = if goes_on { self.ties + ties } else { ties };
        self.after = Some((last.time, last.id));
        let batches = self.pick(ids).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        self.given += rows;
        // Rows of the page's last time may go on in the next page, and be newer than these.
        let ties = if self.scan.newest_first { self.ties } else { 0 };
        if self.limit.is_some_and(|limit| self.given >= limit.saturating_add(ties)) {
            self.is_over = true;
        }
        self.page = (self.page * 2).min(PAGE);
        Ok(batches)
    }

    async fn ids(&self) -> Result<Vec<Id>, Fault> {
        let (signal, name) = (self.scan.signal, self.scan.signal.table());
        let (time, unit) = predicate::time(signal);
        let at = if unit == 1 { "l.time_ns" } else { "l.timestamp" };
        let mut wanted = vec![time_range(&self.scan)];
        wanted.extend(self.scan.filters.iter().filter_map(|filter| predicate::lax(signal, filter)));
        if let Some((time, id)) = self.after {
            let time = if unit == 1 { time.to_string() } else { datetime_of(time) };
            wanted.push(match self.by_time {
                true => format!("{at} <= {time} AND ({at} < {time} OR l.id < {id})"),
                false => format!("l.id > {id}"),
            });
        }
        let (order, again) = match self.by_time {
            true => (format!("{at} DESC, l.id DESC"), "p.at DESC, p.id DESC"),
            false => ("l.id".to_owned(), "p.id"),
        };
        // The ids first; then of these few the chunks, and whether their blocks are whole.
        let page = self.page;
        let ids = format!(
            "SELECT l.id, COALESCE({time}, 0) AS at FROM {} l WHERE {} ORDER BY {order} LIMIT {page}",
            table(signal),
            wanted.join(" AND ")
        );
        let select = format!(
            "SELECT p.id, CAST(p.at AS SIGNED), c.writer, c.last, c.first_row, c.first_id, c.last_id,              CAST(COALESCE(b.done, TRUE) AS SIGNED), c.max_time FROM (SELECT t.id, t.at, (SELECT f.first_id FROM              devmesh_chunks f WHERE f.table_name = '{name}' AND f.first_id <= t.id ORDER BY f.first_id DESC LIMIT 1) AS              chunk FROM ({ids}) t LIMIT {page}) p LEFT JOIN devmesh_chunks c ON c.table_name = '{name}' AND c.first_id =              p.chunk LEFT JOIN devmesh_blocks b ON b.table_name = '{name}' AND b.writer = c.writer AND b.last = c.last              ORDER BY {again}"
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(self.connections.pool());
        let rows = self.connections.rows(rows).await?;
        rows.iter().map(|row| self.id(row)).collect()
    }

    fn id(&self, row: &MySqlRow) -> Result<Id, Fault> {
        let chunk = match row.try_get::<Option<String>, _>(2)? {
            None => None,
            Some(writer) => {
                let key = Key { writer: writer.into(), last: row.try_get(3)?, first_row: row.try_get(4)? };
                let in_memory = key.writer == self.seen.writer && key.last > self.seen.last;
                let is_seen = !in_memory && row.try_get::<i64, _>(7)? != 0;
                let (first_id, last_id) = (row.try_get(5)?, row.try_get(6)?);
                Some(Chunk { key, first_id, last_id, is_seen, max_time: row.try_get(8)? })
            }
        };
        Ok(Id { id: row.try_get(0)?, time: row.try_get(1)?, chunk })
    }

    /// Rows of chunks, and rows of other programs, as far as the filters let them through.
    async fn pick(&self, ids: Vec<Id>) -> Result<Vec<RecordBatch>, Error> {
        let (mut in_chunks, mut others) = (BTreeMap::<i64, (Chunk, Vec<i64>)>::new(), Vec::new());
        for id in ids {
            match id.chunk.filter(|chunk| id.id <= chunk.last_id) {
                Some(chunk) if chunk.is_seen => {
                    in_chunks.entry(chunk.first_id).or_insert_with(|| (chunk, Vec::new())).1.push(id.id);
                }
                Some(_) => {}
                None => others.push(id.id),
            }
        }
        let in_chunks: Vec<(Chunk, Vec<i64>)> = in_chunks.into_values().collect();
        let mut batches = Vec::new();
        for some in in_chunks.chunks(FETCH) {
            let chunks: Vec<Chunk> = some.iter().map(|(chunk, _)| chunk.clone()).collect();
            let found = cache::rows(&self.connections, self.scan.signal, &chunks).await?;
            let mut wanted = Vec::new();
            for ((chunk, ids), rows) in some.iter().zip(found) {
                match rows {
                    Some(rows) => {
                        let row = |id: &i64| u32::try_from(id - chunk.first_id).unwrap_or(u32::MAX);
                        wanted.push((rows, ids.iter().map(row).collect::<UInt32Array>()));
                    }
                    // Expired meanwhile.
                    None => others.extend(ids),
                }
            }
            batches.extend(self.filter(wanted).await?);
        }
        for ids in others.chunks(super::scan::PAGE) {
            let rows = self.others(ids).await.map_err(|fault| self.connections.error(fault))?;
            batches.extend(rows.map(|rows| exact::rows(&self.scan, &rows)).transpose()?);
        }
        batches.retain(|batch| batch.num_rows() > 0);
        Ok(batches)
    }

    /// Some rows of each chunk, off the threads that wait for answers.
    async fn filter(&self, wanted: Vec<(RecordBatch, UInt32Array)>) -> Result<Vec<RecordBatch>, Error> {
        let scan = self.scan.clone();
        let filter = move || {
            let rows = |(rows, wanted)| exact::rows(&scan, &take_record_batch(&rows, &wanted)?);
            wanted.into_iter().map(rows).collect::<Result<Vec<_>, ArrowError>>()
        };
        let filtered = tokio::task::spawn_blocking(filter).await;
        Ok(filtered.map_err(|stopped| Error::Away(format!("reading was given up: {stopped}")))??)
    }

    async fn others(&self, ids: &[i64]) -> Result<Option<RecordBatch>, Fault> {
        let signal = self.scan.signal;
        // Spans are written by nobody else: what is in no chunk there was expired meanwhile.
        if signal == Signal::Traces {
            return Ok(None);
        }
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        // Once more without those of chunks: a chunk may have been expired between two statements, and its rows not yet.
        let select = format!(
            "SELECT {} FROM {} l WHERE l.id IN ({}) AND {}",
            foreign::columns(signal),
            table(signal),
            ids.join(","),
            super::scan::foreign_row(signal)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(self.connections.pool());
        let rows = self.connections.rows(rows).await?;
        if rows.is_empty() { Ok(None) } else { foreign::stored_rows(signal, &rows).map(Some) }
    }
}

/// A row that may be wanted.
struct Id {
    id: i64,
    /// In the table's unit.
    time: i64,
    /// The last chunk that begins before it.
    chunk: Option<Chunk>,
}
