//! A block into the tables: all of it or nothing, and once.
//!
//! A small block is one transaction. A large one is cut into parts, a transaction each, that several connections write at
//! once; the block's line in `devmesh_blocks` says `done` when all are there, and until then no query sees a part. Every
//! part is known by its place in the block, so that whoever asks again, after a crash or a lost answer, writes what is
//! missing and no more.
//!
//! A deadlock and a lock that was not to be had in time end in a rollback and another attempt; so does a commit whose
//! answer was lost, and then what is there is looked up first. If the first attempt is still at work on the server, the
//! primary key lets only one of them through.

use devmesh_schema::Signal;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{AssertSqlSafe, MySqlConnection, Row};

use super::{
    chunk::{self, Slice},
    connection::{Connections, Fault},
    rows::{self, Limits},
    sql,
};
use crate::{Error, database::Block};

/// Chunks of one transaction at most: enough that its fsync does not count, few enough that a repeat does not either.
const PART: usize = 8;
/// The least.
const SMALL_PART: usize = 2;
/// Parts of a block for each connection: the more, the less one of them waits for the others at its end.
const ROUNDS: usize = 4;
/// Chunks of a transaction that are ready before the server has taken those before them.
const AHEAD: usize = 2;
/// Attempts before the caller is told to come back.
const ATTEMPTS: usize = 5;

/// A chunk, ready to be sent.
struct Ready {
    first_row: u32,
    rows: usize,
    insert: rows::Insert,
    data: Vec<u8>,
}

/// What the database knows of a block.
struct Known {
    is_begun: bool,
    is_done: bool,
    /// First row and number of rows of its chunks.
    chunks: Vec<(u32, u32)>,
}

/// Stores a block.
///
/// # Errors
/// As [`crate::database::Database::insert`].
pub(super) async fn insert(connections: &Connections, block: &Block) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match try_insert(connections, block).await {
            Ok(()) => return Ok(()),
            Err(Failure::Rows(error)) => return Err(error.into()),
            Err(Failure::Fault(Fault::Conflict(_) | Fault::Duplicate)) if attempt < ATTEMPTS => attempt += 1,
            Err(Failure::Fault(fault)) => return Err(connections.error(fault)),
        }
    }
}

enum Failure {
    Rows(arrow_schema::ArrowError),
    Fault(Fault),
}

impl<F: Into<Fault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Failure::Fault(fault.into())
    }
}

async fn try_insert(connections: &Connections, block: &Block) -> Result<(), Failure> {
    let known = known(connections, block).await?;
    if known.is_done {
        return Ok(());
    }
    let limits = Limits::of(connections.packet().await?);
    let slices = chunk::slices(&block.rows, &known.chunks);
    if !known.is_begun && slices.len() <= PART {
        return part(connections, block, slices, limits, Some(true)).await;
    }
    if !known.is_begun {
        connections.run(block_line(block, false)).await?;
    }
    let part_size = (slices.len() / (connections.writers() * ROUNDS)).clamp(SMALL_PART, PART);
    let parts: Vec<Vec<Slice>> = slices.chunks(part_size).map(<[Slice]>::to_vec).collect();
    stream::iter(parts.into_iter().map(|slices| part(connections, block, slices, limits, None)))
        .buffer_unordered(connections.writers())
        .try_collect::<()>()
        .await?;
    connections.run(format!("UPDATE devmesh_blocks SET done = TRUE WHERE {}", key(block))).await?;
    Ok(())
}

/// One transaction. `block_done`: the line of the block is written in it.
async fn part(
    connections: &Connections,
    block: &Block,
    slices: Vec<Slice>,
    limits: Limits,
    block_done: Option<bool>,
) -> Result<(), Failure> {
    let mut transaction = connections.in_time(connections.pool().begin()).await?;
    let outcome = fill(connections, &mut transaction, block, slices, limits, block_done).await;
    if let Err(failure) = outcome {
        // A lock timeout leaves the transaction open. What the rollback says adds nothing: without it the server does the same.
        drop(connections.in_time(transaction.rollback()).await);
        return Err(failure);
    }
    connections.within(connections.insert_timeout(), transaction.commit()).await.map_err(Failure::Fault)
}

async fn fill(
    connections: &Connections,
    transaction: &mut MySqlConnection,
    block: &Block,
    slices: Vec<Slice>,
    limits: Limits,
    block_done: Option<bool>,
) -> Result<(), Failure> {
    if let Some(done) = block_done {
        execute(connections, transaction, block_line(block, done)).await?;
    }
    let signal = block.signal;
    let ready = stream::iter(
        slices.into_iter().map(|slice| tokio::task::spawn_blocking(move || prepare(signal, slice, limits))),
    );
    let mut ready = ready.buffered(AHEAD);
    while let Some(ready) = ready.next().await {
        let ready = ready.map_err(|stopped| Fault::Away(format!("a block was given up: {stopped}")))?;
        for chunk in ready.map_err(Failure::Rows)? {
            send(connections, transaction, block, chunk, limits).await?;
        }
    }
    Ok(())
}

/// The chunks of a slice: one, or, where that would not fit into a packet, more.
fn prepare(signal: Signal, slice: Slice, limits: Limits) -> Result<Vec<Ready>, arrow_schema::ArrowError> {
    let mut ready = Vec::new();
    let mut left = vec![slice];
    while let Some(slice) = left.pop() {
        let joined = slice.joined(signal)?;
        let insert = rows::insert(signal, &joined, limits)?;
        let fits = insert.statement.len() <= limits.statement;
        let data = if fits { chunk::encode(&joined)? } else { Vec::new() };
        match slice.halves().filter(|_| !fits || data.len() > limits.piece) {
            Some([first, second]) => left.extend([second, first]),
            None => ready.push(Ready { first_row: slice.first_row, rows: joined.num_rows(), insert, data }),
        }
    }
    Ok(ready)
}

async fn send(
    connections: &Connections,
    transaction: &mut MySqlConnection,
    block: &Block,
    chunk: Ready,
    limits: Limits,
) -> Result<(), Failure> {
    let Ready { first_row, rows, insert, data } = chunk;
    let done = insert.statement.execute(&mut *transaction);
    let done = connections.within(connections.insert_timeout(), done).await?;
    let first_id = i64::try_from(done.last_insert_id()).unwrap_or(i64::MAX);
    if done.rows_affected() != rows as u64 {
        return Err(Fault::Refused(format!("{} of {rows} rows were inserted", done.rows_affected())).into());
    }
    let table = block.signal.table();
    let last_id = first_id.saturating_add(rows as i64 - 1);
    forget_stale(connections, transaction, table, first_id, last_id).await?;
    let (first, pieces) = data.split_at(data.len().min(limits.piece));
    let pieces: Vec<&[u8]> = pieces.chunks(limits.piece).collect();
    let query = sqlx::query(
        "INSERT INTO devmesh_chunks (table_name, writer, last, first_row, row_count, first_id, last_id, min_time, \
         max_time, cut, pieces, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    let query = query.bind(table).bind(&*block.writer).bind(block.last).bind(first_row).bind(rows as u32);
    let query = query.bind(first_id).bind(last_id);
    let query = query.bind(insert.time.0).bind(insert.time.1).bind(insert.cut.0).bind(pieces.len() as u32).bind(first);
    connections.within(connections.insert_timeout(), query.execute(&mut *transaction)).await?;
    for (at, piece) in pieces.into_iter().enumerate() {
        let query = sqlx::query(
            "INSERT INTO devmesh_pieces (table_name, writer, last, first_row, piece, data) VALUES (?, ?, ?, ?, ?, ?)",
        );
        let query = query.bind(table).bind(&*block.writer).bind(block.last).bind(first_row).bind(at as u32).bind(piece);
        connections.within(connections.insert_timeout(), query.execute(&mut *transaction)).await?;
    }
    Ok(())
}

/// Ids come again only after somebody has emptied the table (`TRUNCATE`): chunks that had them are of rows that are gone.
async fn forget_stale(
    connections: &Connections,
    transaction: &mut MySqlConnection,
    table: &str,
    first_id: i64,
    last_id: i64,
) -> Result<(), Fault> {
    let before = sqlx::query_scalar::<_, i64>(
        "SELECT last_id FROM devmesh_chunks WHERE table_name = ? AND first_id <= ? ORDER BY first_id DESC LIMIT 1",
    );
    let before = before.bind(table).bind(last_id).fetch_optional(&mut *transaction);
    if connections.in_time(before).await?.is_some_and(|before| before >= first_id) {
        let range = format!("table_name = '{table}' AND first_id <= {last_id} AND last_id >= {first_id}");
        execute(connections, transaction, format!("DELETE FROM devmesh_chunks WHERE {range}")).await?;
    }
    Ok(())
}

async fn execute(
    connections: &Connections,
    transaction: &mut MySqlConnection,
    statement: String,
) -> Result<sqlx::mysql::MySqlQueryResult, Fault> {
    let run = sqlx::raw_sql(AssertSqlSafe(statement)).execute(transaction);
    connections.within(connections.insert_timeout(), run).await
}

/// What of the block is there already.
async fn known(connections: &Connections, block: &Block) -> Result<Known, Fault> {
    let select = format!("SELECT CAST(done AS SIGNED) FROM devmesh_blocks WHERE {}", key(block));
    let line = sqlx::raw_sql(AssertSqlSafe(select)).fetch_optional(connections.pool());
    let Some(line) = connections.in_time(line).await? else {
        return Ok(Known { is_begun: false, is_done: false, chunks: Vec::new() });
    };
    let is_done = line.try_get::<i64, _>(0)? != 0;
    let select = format!("SELECT first_row, row_count FROM devmesh_chunks WHERE {} ORDER BY first_row", key(block));
    let lines = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connections.pool());
    let lines = connections.in_time(lines).await?;
    let chunks = lines.iter().map(|line| Ok((line.try_get(0)?, line.try_get(1)?))).collect::<Result<_, sqlx::Error>>();
    Ok(Known { is_begun: true, is_done, chunks: chunks? })
}

fn block_line(block: &Block, done: bool) -> String {
    let (table, writer) = (block.signal.table(), sql::text(&block.writer));
    format!(
        "INSERT INTO devmesh_blocks (table_name, writer, last, done) VALUES ('{table}', {writer}, {}, {done})",
        block.last
    )
}

/// The condition that names the block's lines.
fn key(block: &Block) -> String {
    format!(
        "table_name = '{}' AND writer = {} AND last = {}",
        block.signal.table(),
        sql::text(&block.writer),
        block.last
    )
}
