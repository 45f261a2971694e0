//! Rows back from the tables, as stored rows.
//!
//! A scan takes the list of the chunks that its time range touches, in one statement, and reads their data a few at a time.
//! Chunks of blocks that the query sees in memory, and of blocks that are not whole yet, are left out. Rows of other
//! programs, those whose id lies in no chunk, come as a fragment of their own.
//!
//! Each statement sees the database at its own time. That no record is missed or comes twice does not depend on it: a chunk
//! never changes, it and its rows appear together, and a row of ours is never taken for another program's, since every
//! statement that reads those looks at the chunks itself.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use devmesh_schema::{Signal, TimestampNs};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{AssertSqlSafe, Row, mysql::MySqlRow};

use super::{
    chunk,
    connection::{Connections, Fault},
    exact, foreign, newest, predicate, recent,
    rows::table,
    sql::{self, datetime, micros},
};
use crate::{Error, Fragment, Scan, database::Seen};

/// Chunks that are fetched at once, some 100 KiB each.
pub(super) const FETCH: usize = 8;
/// Rows of other programs that are fetched at once.
pub(super) const PAGE: usize = 1000;
/// Ranges of ids that a statement names to leave our own rows out at little cost.
pub(super) const RANGES: usize = 64;

/// A chunk, by its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) writer: Arc<str>,
    pub(super) last: u64,
    pub(super) first_row: u32,
}

/// What is known of a chunk before its data is read.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) key: Key,
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    /// Whether its rows are to be read.
    pub(super) is_seen: bool,
    /// The time of its newest row.
    pub(super) max_time: TimestampNs,
}

/// What [`Chunk::read`] reads of a chunk `c`; `unseen` is a condition.
pub(super) fn chunk_columns(unseen: &str) -> String {
    format!("c.writer, c.last, c.first_row, c.first_id, c.last_id, CAST({unseen} AS SIGNED), c.max_time")
}

impl Chunk {
    /// From a row of [`chunk_columns`].
    pub(super) fn read(row: &MySqlRow) -> Result<Self, Fault> {
        let writer: String = row.try_get(0)?;
        let key = Key { writer: writer.into(), last: row.try_get(1)?, first_row: row.try_get(2)? };
        let is_seen = row.try_get::<i64, _>(5)? == 0;
        Ok(Self { key, first_id: row.try_get(3)?, last_id: row.try_get(4)?, is_seen, max_time: row.try_get(6)? })
    }
}

/// The rows that a scan asks for.
///
/// # Errors
/// As [`crate::database::Database::scan`].
pub(super) async fn scan(connections: &Arc<Connections>, scan: &Scan, seen: &Seen) -> Result<Vec<Fragment>, Error> {
    if newest::serves(scan) {
        return Ok(vec![Fragment::Rows(newest::rows(connections, scan, seen).boxed())]);
    }
    let limit = scan.limit.filter(|_| exact::is_exact(scan));
    let listed = list(connections, scan, seen).await.map_err(|fault| connections.error(fault))?;
    let own = ranges(&listed);
    let chunks: Vec<Chunk> = listed.into_iter().filter(|chunk| chunk.is_seen).collect();
    let mut fragments = Vec::new();
    match limit {
        Some(limit) if scan.newest_first => {
            fragments.push(Fragment::Rows(recent::rows(Arc::clone(connections), scan.clone(), chunks, limit).boxed()));
        }
        _ => {
            let streams = if limit.is_some() { 1 } else { connections.readers() };
            for chunks in chunks.chunks(chunks.len().div_ceil(streams).max(1)) {
                let rows = read(Arc::clone(connections), scan.clone(), chunks.to_vec());
                fragments.push(Fragment::Rows(take(rows, limit).boxed()));
            }
        }
    }
    if scan.signal != Signal::Traces {
        let rows = others(Arc::clone(connections), scan.clone(), own);
        fragments.push(Fragment::Rows(take(rows, limit).boxed()));
    }
    Ok(fragments)
}

/// The first rows of a stream.
fn take(
    rows: impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static,
    limit: Option<usize>,
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    let mut left = limit.unwrap_or(usize::MAX);
    rows.take_while(move |batch| {
        let go_on = left > 0;
        left = left.saturating_sub(batch.as_ref().map_or(0, RecordBatch::num_rows));
        std::future::ready(go_on)
    })
}

/// The condition on chunks that the query does not see: those of its own log that it has in memory, and those of blocks
/// that are not whole.
pub(super) fn unseen(signal: Signal, seen: &Seen) -> String {
    let (table, writer) = (signal.table(), sql::text(&seen.writer));
    format!(
        "((c.writer = {writer} AND c.last > {}) OR (c.writer, c.last) IN (SELECT b.writer, b.last FROM devmesh_blocks b \
         WHERE b.table_name = '{table}' AND b.done = FALSE))",
        seen.last
    )
}

/// The chunks that have rows in the time range; newest first where that was asked.
async fn list(connections: &Connections, scan: &Scan, seen: &Seen) -> Result<Vec<Chunk>, Fault> {
    let mut select = format!(
        "SELECT {} FROM devmesh_chunks c WHERE c.table_name = '{}'",
        chunk_columns(&unseen(scan.signal, seen)),
        scan.signal.table(),
    );
    if scan.time.start > i64::MIN {
        select.push_str(&format!(" AND c.max_time >= {}", scan.time.start));
    }
    if scan.time.end < i64::MAX {
        select.push_str(&format!(" AND c.min_time < {}", scan.time.end));
    }
    select.push_str(if scan.newest_first { " ORDER BY c.max_time DESC" } else { " ORDER BY c.first_id" });
    let mut rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch(connections.pool());
    let mut listed = Vec::new();
    while let Some(row) = connections.rows(rows.try_next()).await? {
        listed.push(Chunk::read(&row)?);
    }
    Ok(listed)
}

/// The ids of the chunks, neighbours joined.
pub(super) fn ranges(chunks: &[Chunk]) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = chunks.iter().map(|chunk| (chunk.first_id, chunk.last_id)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Reads chunks, and of each the rows that are asked for.
pub(super) fn read(
    connections: Arc<Connections>,
    scan: Scan,
    chunks: Vec<Chunk>,
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    let scan = Arc::new(scan);
    // A few rows are soon found.
    let mut size = if scan.limit.is_some() { 1 } else { FETCH };
    let (mut groups, mut rest) = (Vec::new(), chunks.as_slice());
    while !rest.is_empty() {
        let (group, after) = rest.split_at(size.min(rest.len()));
        groups.push(group.to_vec());
        (rest, size) = (after, (size * 2).min(FETCH));
    }
    stream::iter(groups)
        .then(move |chunks| read_some(Arc::clone(&connections), Arc::clone(&scan), chunks))
        .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
        .try_flatten()
}

/// Reads a few chunks at once.
pub(super) async fn read_some(
    connections: Arc<Connections>,
    scan: Arc<Scan>,
    chunks: Vec<Chunk>,
) -> Result<Vec<RecordBatch>, Error> {
    let read = async {
        let data = data_of(&connections, scan.signal, &chunks);
        let (data, left) = futures::try_join!(data, left(&connections, scan.signal, &chunks))?;
        Ok(data.into_iter().zip(left).filter_map(|(data, left)| Some((data?, left))).collect())
    };
    let read: Result<Vec<_>, Fault> = read.await;
    let chunks = read.map_err(|fault| connections.error(fault))?;
    decode(scan, chunks).await
}

/// The rows of chunks that the scan asks for, off the threads that wait for answers.
async fn decode(scan: Arc<Scan>, chunks: Vec<(Vec<u8>, Left)>) -> Result<Vec<RecordBatch>, Error> {
    let decode = move || {
        let rows = |(data, left): (Vec<u8>, Left)| {
            let rows = chunk::decode(&data)?;
            match left {
                None => exact::rows(&scan, &rows),
                Some(left) => exact::rows(&scan, &take_record_batch(&rows, &UInt32Array::from(left))?),
            }
        };
        let batches = chunks.into_iter().map(rows);
        batches.filter(|rows| rows.as_ref().map_or(true, |rows| rows.num_rows() > 0)).collect::<Result<Vec<_>, _>>()
    };
    let decoded = tokio::task::spawn_blocking(decode).await;
    Ok(decoded.map_err(|stopped| Error::Away(format!("reading was given up: {stopped}")))??)
}

/// Which rows of a chunk are in the table still; `None` for all.
type Left = Option<Vec<u32>>;

/// Other programs may delete rows of ours from the tables that they know: what is left of each chunk.
async fn left(connections: &Connections, signal: Signal, chunks: &[Chunk]) -> Result<Vec<Left>, Fault> {
    if signal == Signal::Traces || chunks.is_empty() {
        return Ok(vec![None; chunks.len()]);
    }
    let counts: Vec<String> = chunks
        .iter()
        .enumerate()
        .map(|(at, chunk)| format!("SELECT CAST({at} AS SIGNED), COUNT(*) FROM {}", rows_of(signal, chunk)))
        .collect();
    let counts = sqlx::raw_sql(AssertSqlSafe(counts.join(" UNION ALL "))).fetch_all(connections.pool());
    let mut left = vec![None; chunks.len()];
    for row in connections.rows(counts).await? {
        let (at, count): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(chunk) = chunks.get(at).filter(|chunk| count <= chunk.last_id - chunk.first_id) else {
            continue;
        };
        let select = format!("SELECT l.id FROM {} ORDER BY l.id", rows_of(signal, chunk));
        let ids = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connections.pool());
        let ids = connections.rows(ids).await?;
        let row = |row: &MySqlRow| Ok((row.try_get::<i64, _>(0)? - chunk.first_id) as u32);
        left[at] = Some(ids.iter().map(row).collect::<Result<_, sqlx::Error>>()?);
    }
    Ok(left)
}

/// The rows of a chunk, by an index that has nothing but ids and what few values there are, where there is one.
fn rows_of(signal: Signal, chunk: &Chunk) -> String {
    let levels = match signal {
        Signal::Logs => "l.level IN ('', 'DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL') AND ",
        _ => "",
    };
    format!("{} l WHERE {levels}l.id BETWEEN {} AND {}", table(signal), chunk.first_id, chunk.last_id)
}

/// The data of chunks, in their order; `None` for one that retention has taken meanwhile.
pub(super) async fn data_of(
    connections: &Connections,
    signal: Signal,
    chunks: &[Chunk],
) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    let ids: Vec<String> = chunks.iter().map(|chunk| chunk.first_id.to_string()).collect();
    let select = format!(
        "SELECT writer, last, first_row, pieces, data FROM devmesh_chunks WHERE table_name = '{}' AND first_id IN ({})",
        signal.table(),
        ids.join(",")
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connections.pool());
    let mut found: HashMap<Key, Vec<u8>> = HashMap::new();
    for row in connections.rows(rows).await? {
        let writer: String = row.try_get(0)?;
        let key = Key { writer: writer.into(), last: row.try_get(1)?, first_row: row.try_get(2)? };
        let mut data: Vec<u8> = row.try_get(4)?;
        if row.try_get::<u32, _>(3)? > 0 {
            data.extend(pieces(connections, signal, &key).await?);
        }
        found.insert(key, data);
    }
    Ok(chunks.iter().map(|chunk| found.remove(&chunk.key)).collect())
}

/// What of a chunk's data did not fit into one packet.
async fn pieces(connections: &Connections, signal: Signal, key: &Key) -> Result<Vec<u8>, Fault> {
    let query = sqlx::query(
        "SELECT data FROM devmesh_pieces WHERE table_name = ? AND writer = ? AND last = ? AND first_row = ? ORDER BY piece",
    );
    let query = query.bind(signal.table()).bind(&*key.writer).bind(key.last).bind(key.first_row);
    let mut data = Vec::new();
    for row in connections.rows(query.fetch_all(connections.pool())).await? {
        data.extend(row.try_get::<Vec<u8>, _>(0)?);
    }
    Ok(data)
}

/// Where a reader of other programs' rows goes on: after this time (microseconds) and id.
type After = Option<(i64, i64)>;

/// The rows that other programs wrote. `own`: ids that are known to be ours.
fn others(
    connections: Arc<Connections>,
    scan: Scan,
    own: Vec<(i64, i64)>,
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    stream::try_unfold((Some(None::<(i64, i64)>), (connections, scan, own)), |(after, context)| async move {
        let Some(after) = after else { return Ok(None) };
        let (connections, scan, own) = &context;
        let page = page(connections, scan, own, after).await.map_err(|fault| connections.error(fault))?;
        let Some((batch, next)) = page else { return Ok(None) };
        let rows = exact::rows(scan, &batch)?;
        Ok(Some((rows, (next.map(Some), context))))
    })
}

/// The next of other programs' rows, and where to go on; `None` where there are no more.
async fn page(
    connections: &Connections,
    scan: &Scan,
    own: &[(i64, i64)],
    after: After,
) -> Result<Option<(RecordBatch, After)>, Fault> {
    let (order, than) = if scan.newest_first { ("DESC", "<") } else { ("ASC", ">") };
    let mut wanted = vec![time_range(scan)];
    if own.len() <= RANGES {
        wanted.extend(own.iter().map(|(first, last)| format!("NOT (l.id BETWEEN {first} AND {last})")));
    }
    wanted.extend(scan.filters.iter().filter_map(|filter| predicate::lax(scan.signal, filter)));
    wanted.push(foreign_row(scan.signal));
    if let Some((time, id)) = after {
        let time = datetime_of(time);
        wanted.push(format!("l.timestamp {than}= {time} AND (l.timestamp {than} {time} OR l.id {than} {id})"));
    }
    let select = format!(
        "SELECT {} FROM {} l WHERE {} ORDER BY l.timestamp {order}, l.id {order} LIMIT {PAGE}",
        foreign::columns(scan.signal),
        table(scan.signal),
        wanted.join(" AND ")
    );
    let rows: Vec<MySqlRow> = {
        let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connections.pool());
        connections.rows(rows).await?
    };
    let Some(last) = rows.last() else { return Ok(None) };
    let next = (last.try_get(1)?, last.try_get(0)?);
    let next = Some(next).filter(|_| rows.len() == PAGE);
    Ok(Some((foreign::stored_rows(scan.signal, &rows)?, next)))
}

/// The literal for a time that was read as microseconds: `DATETIME` has years that nanoseconds lack.
pub(super) fn datetime_of(micros: i64) -> String {
    if (i64::MIN / 1000..=i64::MAX / 1000).contains(&micros) {
        return datetime(micros);
    }
    format!("TIMESTAMPADD(MICROSECOND, {micros}, TIMESTAMP'1970-01-01 00:00:00')")
}

/// The condition on rows that another program wrote.
pub(super) fn foreign_row(signal: Signal) -> String {
    format!(
        "COALESCE((SELECT c.last_id FROM devmesh_chunks c WHERE c.table_name = '{}' AND c.first_id <= l.id ORDER BY \
         c.first_id DESC LIMIT 1), 0) < l.id",
        signal.table()
    )
}

/// The condition on rows whose microsecond touches the scan's time range.
pub(super) fn time_range(scan: &Scan) -> String {
    let mut bounds = Vec::new();
    if scan.signal == Signal::Traces {
        bounds.extend((scan.time.start > i64::MIN).then(|| format!("l.time_ns >= {}", scan.time.start)));
        bounds.extend((scan.time.end < i64::MAX).then(|| format!("l.time_ns < {}", scan.time.end)));
        return if bounds.is_empty() { "TRUE".to_owned() } else { bounds.join(" AND ") };
    }
    if scan.time.start > i64::MIN {
        bounds.push(format!("l.timestamp >= {}", datetime(micros(scan.time.start))));
    }
    if scan.time.end < i64::MAX {
        bounds.push(format!("l.timestamp <= {}", datetime(micros(scan.time.end.saturating_sub(1)))));
    }
    if bounds.is_empty() { "TRUE".to_owned() } else { bounds.join(" AND ") }
}
