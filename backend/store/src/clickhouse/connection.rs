//! The connection: statements, and answers in Arrow.
//!
//! Every failure is one of two: [`Error::Away`] where the same may work later (no connection, overload, a replica that is
//! read-only), [`Error::Database`] where somebody has to change something. The password goes into a header and nowhere
//! else.

use std::{fmt, sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use bytes::Bytes;
use clickhouse::{Client, query::BytesCursor};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, external::address::Address, settings};

/// Bytes of a request that are handed on at once.
const PIECE: usize = 1 << 20;
/// Bytes of a message of the server that are shown.
const MESSAGE: usize = 600;

/// Codes of ClickHouse that mean that the same may work later (`src/Common/ErrorCodes.cpp`).
const LATER: &[u32] = &[
    159, // TIMEOUT_EXCEEDED
    201, // QUOTA_EXCEEDED
    202, // TOO_MANY_SIMULTANEOUS_QUERIES
    203, // NO_FREE_CONNECTION
    209, // SOCKET_TIMEOUT
    210, // NETWORK_ERROR
    225, // NO_ZOOKEEPER
    236, // ABORTED
    241, // MEMORY_LIMIT_EXCEEDED
    242, // TABLE_IS_READ_ONLY
    243, // NOT_ENOUGH_SPACE
    252, // TOO_MANY_PARTS
    254, // NO_REPLICA_HAS_PART
    279, // ALL_CONNECTION_TRIES_FAILED
    285, // TOO_FEW_LIVE_REPLICAS
    286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    287, // UNKNOWN_FORMAT_VERSION of a replica that is being upgraded
    294, // PART_IS_TEMPORARILY_LOCKED
    307, // TOO_MANY_BYTES
    319, // UNKNOWN_STATUS_OF_INSERT
    394, // QUERY_WAS_CANCELLED
    425, // SYSTEM_ERROR
    439, // CANNOT_SCHEDULE_TASK
    473, // DEADLOCK_AVOIDED
    499, // S3_ERROR
    519, // ALL_REPLICAS_LOST
    745, // SERVER_OVERLOADED
    999, // KEEPER_EXCEPTION
];

/// The right to ask one thing.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// A server, and how it is asked.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    address: Arc<Address>,
    statements: Arc<Semaphore>,
    timeout: Duration,
    insert_timeout: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(address: Address, settings: &settings::Database) -> Result<Self, Error> {
        Ok(Self {
            client: super::client::client(&address)?.with_database(&address.database),
            address: Arc::new(address),
            statements: Arc::new(Semaphore::new(settings.pool_max.max(1) as usize)),
            timeout: settings.timeout,
            insert_timeout: settings.insert_timeout,
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Takes no more statements; those under way go on.
    pub(super) fn close(&self) {
        self.statements.close();
    }

    /// The right to ask one thing; waits for one. What is asked for one query of a user takes one, whatever tables it
    /// reads, so that no query waits for another one while it holds what that one waits for.
    pub(super) async fn permit(&self) -> Result<Permit, Error> {
        let permit = Arc::clone(&self.statements).acquire_owned();
        match tokio::time::timeout(self.timeout, permit).await {
            Ok(Ok(permit)) => Ok(Arc::new(permit)),
            Ok(Err(_)) => Err(self.away("it is closed")),
            Err(_) => Err(self.away("all connections are in use; raise store.database.pool_max")),
        }
    }

    fn away(&self, what: &str) -> Error {
        Error::Away(format!("clickhouse {}: {what}", self.address))
    }

    /// Runs a statement that changes tables, which may take as long as an insert.
    pub(super) async fn execute(&self, sql: &str, settings: &[(&str, &str)]) -> Result<(), Error> {
        let _permit = self.permit().await?;
        let mut query = self.client.query_raw(sql);
        for (name, value) in settings {
            query = query.with_setting(*name, *value);
        }
        match tokio::time::timeout(self.insert_timeout, query.execute()).await {
            Ok(done) => done.map_err(|error| self.error(&error)),
            Err(_) => Err(self.away(&format!("no answer within {} s", self.insert_timeout.as_secs_f32()))),
        }
    }

    /// The rows of a small answer, each a line of tab-separated text without escapes.
    pub(super) async fn lines(&self, sql: &str) -> Result<Vec<String>, Error> {
        self.lines_within(sql, self.timeout).await
    }

    /// The same of a statement that may take so long.
    pub(super) async fn lines_within(&self, sql: &str, limit: Duration) -> Result<Vec<String>, Error> {
        let _permit = self.permit().await?;
        let read = async {
            let query = self.client.query_raw(sql);
            query.fetch_bytes("TabSeparatedRaw")?.collect().await
        };
        let answer = match tokio::time::timeout(limit, read).await {
            Ok(answer) => answer.map_err(|error| self.error(&error))?,
            Err(_) => return Err(self.away(&format!("no answer within {} s", limit.as_secs_f32()))),
        };
        Ok(String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect())
    }

    /// Stores rows, in one insert that the server knows by `token` when it comes again.
    pub(super) async fn insert(&self, table: &str, rows: &RecordBatch, token: &str) -> Result<(), Error> {
        let names: Vec<String> =
            rows.schema_ref().fields().iter().map(|field| super::sql::name(field.name())).collect();
        let sql = format!("INSERT INTO {} ({}) FORMAT ArrowStream", super::sql::name(table), names.join(", "));
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, rows.schema_ref())?;
        writer.write(rows)?;
        writer.finish()?;
        drop(writer);
        let _permit = self.permit().await?;
        let mut insert = self.client.insert_formatted_with(sql);
        for (name, value) in INSERT {
            insert = insert.with_setting(*name, *value);
        }
        let mut insert = insert
            .with_setting("insert_deduplication_token", token)
            .with_timeouts(Some(self.insert_timeout), Some(self.insert_timeout));
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            insert.send(piece).await.map_err(|error| self.error(&error))?;
        }
        insert.end().await.map_err(|error| self.error(&error))
    }

    /// The answer to a query, as it arrives; it has begun to when this is done.
    pub(super) async fn arrow(
        &self,
        sql: &str,
        permit: &Permit,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let mut query = self.client.query_raw(sql);
        for (name, value) in SELECT {
            query = query.with_setting(*name, *value);
        }
        let cursor = query.fetch_bytes("ArrowStream").map_err(|error| self.error(&error))?;
        let mut answer = Answer {
            cursor,
            decoder: StreamDecoder::new(),
            rest: Buffer::from(Bytes::new()),
            _permit: Arc::clone(permit),
        };
        let first = answer.next(self).await?;
        let rest = first.is_some().then_some(answer);
        let connection = self.clone();
        let batches = stream::unfold(rest, move |state| {
            let connection = connection.clone();
            async move {
                let mut state = state?;
                match state.next(&connection).await {
                    Ok(Some(batch)) => Some((Ok(batch), Some(state))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Ok(stream::iter(first.map(Ok)).chain(batches).boxed())
    }

    /// What went wrong, and what to do.
    fn error(&self, error: &clickhouse::error::Error) -> Error {
        use clickhouse::error::Error as E;
        let address = &self.address;
        match error {
            E::Network(source) => {
                let mut text = source.to_string();
                let mut cause = source.source();
                while let Some(inner) = cause {
                    text = format!("{text}: {inner}");
                    cause = inner.source();
                }
                Error::Away(format!("clickhouse {address} is away: {text}"))
            }
            E::TimedOut => Error::Away(format!("clickhouse {address}: no answer within the time that was set")),
            E::Decompression(_) | E::NotEnoughData => {
                Error::Away(format!("clickhouse {address}: the answer was cut off: {error}"))
            }
            E::BadResponse(text) => refused(address, text),
            other => Error::Database(format!("clickhouse {address}: {}", shortened(&other.to_string()))),
        }
    }
}

/// What the server said.
fn refused(address: &Address, text: &str) -> Error {
    let code = text.split_once("Code: ").and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok())
    });
    let said = shortened(text);
    match code {
        Some(code) if LATER.contains(&code) => Error::Away(format!("clickhouse {address}: {said}")),
        None if ["408", "429", "500", "502", "503", "504"].iter().any(|status| text.starts_with(status)) => {
            Error::Away(format!("clickhouse {address}: {said}"))
        }
        Some(192..=194 | 497 | 516) => Error::Database(format!(
            "clickhouse {address}: user {:?} is refused; check user, password and grants of the store's URL: {said}",
            if address.user.is_empty() { "default" } else { &address.user }
        )),
        Some(81) => Error::Database(format!(
            "clickhouse {address}: there is no database {}; run devmesh migrate init: {said}",
            address.database
        )),
        Some(16 | 47 | 60) => Error::Database(format!(
            "clickhouse {address}: its tables are not those of this version; run devmesh migrate apply: {said}"
        )),
        _ => Error::Database(format!("clickhouse {address}: {said}")),
    }
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Settings of inserts: one insert is one block of the server, or is cut the same way whenever it comes.
const INSERT: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("max_partitions_per_insert_block", "0"),
    ("input_format_null_as_default", "1"),
    ("distributed_foreground_insert", "1"),
];

/// Settings of queries: bytes as they are, few values as dictionaries.
const SELECT: &[(&str, &str)] = &[
    ("output_format_arrow_low_cardinality_as_dictionary", "1"),
    ("output_format_arrow_string_as_string", "0"),
    ("output_format_arrow_compression_method", "none"),
];

/// An answer that is being read.
struct Answer {
    cursor: BytesCursor,
    decoder: StreamDecoder,
    rest: Buffer,
    _permit: Permit,
}

impl Answer {
    async fn next(&mut self, connection: &Connection) -> Result<Option<RecordBatch>, Error> {
        loop {
            if !self.rest.is_empty()
                && let Some(batch) = self.decoder.decode(&mut self.rest)?
            {
                return Ok(Some(batch));
            }
            match self.cursor.next().await.map_err(|error| connection.error(&error))? {
                Some(bytes) => self.rest = Buffer::from(bytes),
                None => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_told_from_what_somebody_has_to_change() {
        let url = url::Url::parse("clickhouse://reader:secret@db:8123/otel").unwrap();
        let address = Address::parse(&url, 8123, "otel").unwrap();
        let table = [
            ("Code: 252. DB::Exception: Too many parts (TOO_MANY_PARTS)", true, "Too many parts"),
            ("Code: 241. DB::Exception: memory", true, "memory"),
            ("503 Service Unavailable", true, "503"),
            ("429 Too Many Requests", true, "429"),
            ("Code: 516. DB::Exception: reader: Authentication failed", false, "user, password and grants"),
            ("Code: 60. DB::Exception: Unknown table", false, "devmesh migrate apply"),
            ("Code: 81. DB::Exception: Database otel does not exist", false, "devmesh migrate init"),
            ("Code: 62. DB::Exception: Syntax error", false, "Syntax error"),
        ];
        for (said, later, expected) in table {
            let error = refused(&address, said);
            assert_eq!(matches!(error, Error::Away(_)), later, "{said}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
