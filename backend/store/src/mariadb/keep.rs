//! What the server does beside writing and reading: retention, sizes, and whether the database is ready.

use devmesh_schema::{Signal, TimestampNs};
use devmesh_wal::Seq;
use sqlx::{AssertSqlSafe, Row};

use super::{
    connection::{Connections, Fault},
    rows::table,
    sql::{datetime, micros},
};
use crate::Error;

/// Rows that one statement deletes: what it locks, and what the server has to be able to undo, stays small.
const DELETE: usize = 5000;
/// Attempts of one statement that meets another's locks.
const ATTEMPTS: usize = 10;
/// Forgets records. Rows go before their chunks, so that no row is ever taken for another program's; a chunk goes when
/// all its rows have gone, and a block's line when its chunks have, unless it is the newest of its log, which may be asked
/// for again.
///
/// # Errors
/// As [`crate::database::Database::expire`]; what is gone by then stays gone.
pub(super) async fn expire(connections: &Connections, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
    expire_rows(connections, signal, before).await.map_err(|fault| connections.error(fault))
}

async fn expire_rows(connections: &Connections, signal: Signal, before: TimestampNs) -> Result<u64, Fault> {
    // A microsecond goes as a whole, or stays.
    let before = micros(before).saturating_mul(1000);
    let (rows, name) = (table(signal), signal.table());
    let old = match signal {
        Signal::Traces => format!("time_ns < {before}"),
        _ => format!("timestamp < {}", datetime(micros(before))),
    };
    let order = if signal == Signal::Traces { "time_ns" } else { "timestamp" };
    let deleted =
        delete(connections, &format!("DELETE FROM {rows} WHERE {old} ORDER BY {order} LIMIT {DELETE}")).await?;
    let chunks = format!("table_name = '{name}' AND max_time < {before}");
    delete(
        connections,
        &format!(
            "DELETE p FROM devmesh_pieces p JOIN devmesh_chunks c USING (table_name, writer, last, first_row) WHERE \
             c.table_name = '{name}' AND c.max_time < {before}"
        ),
    )
    .await?;
    delete(connections, &format!("DELETE FROM devmesh_chunks WHERE {chunks} ORDER BY max_time LIMIT 500")).await?;
    delete(
        connections,
        &format!(
            "DELETE b FROM devmesh_blocks b JOIN (SELECT writer, MAX(last) AS newest FROM devmesh_blocks WHERE table_name = \
             '{name}' GROUP BY writer) w ON w.writer = b.writer WHERE b.table_name = '{name}' AND b.done AND b.last < \
             w.newest AND NOT EXISTS (SELECT 1 FROM devmesh_chunks c WHERE c.table_name = '{name}' AND c.writer = b.writer \
             AND c.last = b.last)"
        ),
    )
    .await?;
    Ok(deleted)
}

/// Runs a statement until it deletes nothing more; answers how many rows are gone.
async fn delete(connections: &Connections, statement: &str) -> Result<u64, Fault> {
    let (mut deleted, mut attempt) = (0, 1);
    loop {
        match connections.run(statement.to_owned()).await {
            Ok(0) => return Ok(deleted),
            Ok(rows) => {
                deleted += rows;
                attempt = 1;
            }
            Err(Fault::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(fault) => return Err(fault),
        }
    }
}

/// Rows and bytes of each signal, as the server estimates them; chunks are counted to the signals by their number.
///
/// # Errors
/// As [`crate::database::Database::size`].
pub(super) async fn size(connections: &Connections) -> Result<[(u64, u64); 3], Error> {
    sizes(connections).await.map_err(|fault| connections.error(fault))
}

async fn sizes(connections: &Connections) -> Result<[(u64, u64); 3], Fault> {
    let select = "SELECT CAST(TABLE_NAME AS CHAR), CAST(COALESCE(TABLE_ROWS, 0) AS SIGNED), CAST(COALESCE(DATA_LENGTH + \
                  INDEX_LENGTH, 0) AS SIGNED) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
    let tables = connections.in_time(sqlx::raw_sql(select).fetch_all(connections.pool())).await?;
    let select = "SELECT CAST(table_name AS CHAR), COUNT(*) FROM devmesh_chunks GROUP BY table_name";
    let chunks = connections.in_time(sqlx::raw_sql(select).fetch_all(connections.pool())).await?;
    let mut counts = [0u64; 3];
    for row in &chunks {
        let (name, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        for (signal, slot) in Signal::ALL.into_iter().zip(&mut counts) {
            if signal.table() == name {
                *slot = u64::try_from(count).unwrap_or_default();
            }
        }
    }
    let all = counts.iter().sum::<u64>().max(1);
    let mut sizes = [(0, 0); 3];
    for row in &tables {
        let (name, rows, bytes): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (rows, bytes) = (u64::try_from(rows).unwrap_or_default(), u64::try_from(bytes).unwrap_or_default());
        for ((signal, size), count) in Signal::ALL.into_iter().zip(&mut sizes).zip(counts) {
            if table(signal) == name {
                *size = (rows, size.1 + bytes);
            } else if name == "devmesh_chunks" {
                size.1 += u64::try_from(u128::from(bytes) * u128::from(count) / u128::from(all)).unwrap_or_default();
            }
        }
    }
    Ok(sizes)
}

/// Whether the server answers and our tables are there.
///
/// # Errors
/// Why not.
pub(super) async fn ready(connections: &Connections) -> Result<(), Error> {
    let ask = sqlx::raw_sql(AssertSqlSafe("SELECT 1 FROM devmesh_blocks LIMIT 1")).fetch_optional(connections.pool());
    connections.in_time(ask).await.map(drop).map_err(|fault| connections.error(fault))
}

/// The greatest number of a block of the writer, whole or begun.
///
/// # Errors
/// As [`crate::database::Database::newest`].
pub(super) async fn newest(connections: &Connections, writer: &str) -> Result<Option<Seq>, Error> {
    let names: Vec<String> = Signal::ALL.iter().map(|signal| format!("'{}'", signal.table())).collect();
    // With the tables named, the primary key's end answers it.
    let select = format!(
        "SELECT MAX(last) FROM devmesh_blocks WHERE table_name IN ({}) AND writer = {}",
        names.join(", "),
        super::sql::text(writer)
    );
    let ask = sqlx::raw_sql(AssertSqlSafe(select)).fetch_one(connections.pool());
    let row = connections.in_time(ask).await.map_err(|fault| connections.error(fault))?;
    row.try_get(0).map_err(|error| connections.error(error.into()))
}
