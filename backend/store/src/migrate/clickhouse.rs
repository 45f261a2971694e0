//! ClickHouse: the history is a table to which lines are added; the lock is a table whose making is atomic.
//!
//! # The lock
//! ClickHouse has no locks that a client can hold. Of two clients that make a table of one name, one is told that it
//! exists. The lock is the table `devmesh_migrations_lock_N` with the greatest `N`; its comment says who holds it, and until
//! when by the server's clock. The holder moves that time on while it works; who dies stops doing so. A lock that is free
//! or whose time is over is taken by making the table `N + 1`. Who made it looks whether it is still the greatest: a
//! client that slept between looking and making may find another one beyond it, and gives up. The last table stays.
//!
//! On a cluster the lock is made on all of its servers; they take such statements from one queue, in one order.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ::clickhouse::Client;
use async_trait::async_trait;
use tokio::task::JoinHandle;
use url::Url;

use super::{Dialect, Migration, Record, Session, Shape, State, files, sql};
use crate::{
    Error, Settings,
    clickhouse::{client, cluster},
    external::address::Address,
};

/// How long a lock holds without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// Between two looks at a lock that somebody else holds.
const LOOK: Duration = Duration::from_millis(250);
/// The lock's name without its number.
const LOCK: &str = "devmesh_migrations_lock_";

/// Codes: a table of the name exists; there is none.
const TABLE_EXISTS: u32 = 57;
const NO_TABLE: u32 = 60;

/// The database of a URL.
#[derive(Clone, Debug)]
pub(crate) struct ClickHouse {
    address: Address,
    migrations: &'static [Migration],
    cluster: String,
    timeout: Duration,
    lease: Duration,
}

impl ClickHouse {
    pub(crate) fn new(url: &Url, settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            address: client::address(url)?,
            migrations: files::CLICKHOUSE,
            cluster: settings.database.cluster.clone(),
            timeout: settings.database.timeout,
            lease: LEASE,
        })
    }

    /// With other migrations, and a lock that is soon over when its holder dies.
    #[cfg(test)]
    pub(super) fn with(self, migrations: &'static [Migration]) -> Self {
        Self { migrations, lease: Duration::from_secs(3), ..self }
    }

    fn error(&self, error: ::clickhouse::error::Error) -> Error {
        let text = error.to_string();
        let at = format!("{}: ", self.address);
        let advice = match code(&text) {
            Some(516 | 193 | 192) => "; check user and password in the store's URL",
            Some(497) => "; grant the user in the store's URL what it lacks",
            _ => "",
        };
        match error {
            ::clickhouse::error::Error::Network(source) => Error::Away(format!("{at}{source}")),
            ::clickhouse::error::Error::TimedOut => Error::Away(format!("{at}no answer in time")),
            // Too many queries, memory, shutdown, session expired, keeper away, timeouts, too many parts.
            _ if matches!(code(&text), Some(159 | 160 | 202 | 209 | 210 | 241 | 242 | 252 | 999)) => {
                Error::Away(format!("{at}{text}"))
            }
            _ => Error::Database(format!("{at}{text}{advice}")),
        }
    }
}

/// The number in `Code: 57. DB::Exception: …`.
fn code(text: &str) -> Option<u32> {
    let rest = text.split_once("Code: ")?.1;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

impl fmt::Display for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[async_trait]
impl Dialect for ClickHouse {
    fn migrations(&self) -> &'static [Migration] {
        self.migrations
    }

    fn expected(&self) -> Shape {
        let expected = Shape::parse(files::CLICKHOUSE_EXPECTED);
        if self.cluster.is_empty() { expected } else { expected.on_cluster(cluster::local) }
    }

    fn prepare(&self, statement: &sql::Statement<'_>) -> Result<Vec<String>, Error> {
        match self.cluster.as_str() {
            "" => Ok(vec![statement.text.to_owned()]),
            name => cluster::statements(statement.text, name),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let mut client = client::client(&self.address)?;
        if !self.cluster.is_empty() {
            client = client.with_setting("distributed_ddl_output_mode", "throw");
        }
        let connected = Connected { client, database: self.clone(), lock: None };
        connected.rows("SELECT 1").await?;
        Ok(Box::new(connected))
    }
}

/// A client.
#[derive(Debug)]
struct Connected {
    client: Client,
    database: ClickHouse,
    /// The number of the lock that it holds, and what moves its time on.
    lock: Option<(u64, JoinHandle<()>)>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some((_, alive)) = self.lock.take() {
            alive.abort();
        }
    }
}

/// The newest lock.
#[derive(Debug, Default)]
struct Newest {
    number: u64,
    /// Somebody holds it, and lives.
    held: bool,
    /// Who.
    holder: String,
    /// All that there are.
    numbers: Vec<u64>,
}

impl Connected {
    fn name(&self) -> String {
        quoted(&self.database.address.database)
    }

    fn on_cluster(&self) -> String {
        match self.database.cluster.as_str() {
            "" => String::new(),
            cluster => format!(" ON CLUSTER {}", quoted(cluster)),
        }
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        self.run_in(&self.client, sql, None).await
    }

    /// Runs a statement; without a timeout where there is no telling how long it takes.
    async fn run_in(&self, client: &Client, sql: &str, timeout: Option<Duration>) -> Result<(), Error> {
        let run = client.query_raw(sql).execute();
        let outcome = match timeout {
            Some(timeout) => match tokio::time::timeout(timeout, run).await {
                Ok(outcome) => outcome,
                Err(_late) => Err(::clickhouse::error::Error::TimedOut),
            },
            None => run.await,
        };
        outcome.map_err(|error| self.database.error(error))
    }

    /// The rows of a query, each value as text.
    async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let ask = async {
            let mut cursor = self.client.query_raw(sql).fetch_bytes("JSONCompactStringsEachRow")?;
            cursor.collect().await
        };
        let answer = match tokio::time::timeout(self.database.timeout, ask).await {
            Ok(answer) => answer.map_err(|error| self.database.error(error))?,
            Err(_late) => return Err(self.database.error(::clickhouse::error::Error::TimedOut)),
        };
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line).map_err(|error| {
                    Error::Database(format!("{}: an answer that is none: {error}", self.database.address))
                })
            })
            .collect()
    }

    /// All locks, the newest looked at.
    async fn newest(&self) -> Result<Newest, Error> {
        let sql = format!(
            "SELECT name, comment, toUnixTimestamp(now()) FROM system.tables WHERE database = {} AND startsWith(name, {})",
            literal(&self.database.address.database),
            literal(LOCK)
        );
        let mut newest = Newest::default();
        for row in self.rows(&sql).await? {
            let [name, comment, now] = row.as_slice() else { continue };
            let Some(number) = name.strip_prefix(LOCK).and_then(|digits| digits.parse().ok()) else { continue };
            newest.numbers.push(number);
            if number >= newest.number {
                let (until, holder) = comment.split_once(' ').unwrap_or((comment, ""));
                let (until, now): (u64, u64) = (until.parse().unwrap_or(0), now.parse().unwrap_or(0));
                newest = Newest { number, held: until > now, holder: holder.to_owned(), numbers: newest.numbers };
            }
        }
        Ok(newest)
    }

    /// The server's clock, in s.
    async fn clock(&self) -> Result<u64, Error> {
        let rows = self.rows("SELECT toUnixTimestamp(now())").await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    fn lock_table(&self, number: u64) -> String {
        format!("{}.{LOCK}{number}{}", self.name(), self.on_cluster())
    }

    /// Tries to make the lock of this number. Answers whether it is ours.
    async fn take(&self, number: u64) -> Result<bool, Error> {
        let until = self.clock().await? + self.database.lease.as_secs();
        let comment = literal(&format!("{until} {}", super::runner::author()));
        let sql = format!("CREATE TABLE {} (nothing UInt8) ENGINE = Null COMMENT {comment}", self.lock_table(number));
        match self.client.query_raw(&sql).execute().await {
            Ok(()) => {}
            Err(error) if code(&error.to_string()) == Some(TABLE_EXISTS) => return Ok(false),
            Err(error) => return Err(self.database.error(error)),
        }
        let newest = self.newest().await?;
        if newest.number != number {
            self.run(&format!("DROP TABLE IF EXISTS {}", self.lock_table(number))).await?;
            return Ok(false);
        }
        for older in newest.numbers.into_iter().filter(|older| *older < number) {
            self.run(&format!("DROP TABLE IF EXISTS {}", self.lock_table(older))).await?;
        }
        Ok(true)
    }

    /// Moves the lock's time on, every few seconds.
    fn keep(&self, number: u64) -> JoinHandle<()> {
        let session = Connected { client: self.client.clone(), database: self.database.clone(), lock: None };
        let pause = self.database.lease / 6;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if let Err(error) = session.renew(number).await {
                    tracing::warn!(%error, "the lock of the migrations could not be kept; trying again");
                }
            }
        })
    }

    async fn renew(&self, number: u64) -> Result<(), Error> {
        let until = self.clock().await? + self.database.lease.as_secs();
        let comment = literal(&format!("{until} {}", super::runner::author()));
        let sql = format!("ALTER TABLE {} MODIFY COMMENT {comment}", self.lock_table(number));
        self.run_in(&self.client, &sql, Some(self.database.timeout)).await
    }

    /// Columns of a table of `system` about the named tables, whose names stand in its column `table`.
    async fn about(&self, columns: &str, view: &str, table: &str, tables: &[&str]) -> Result<Vec<Vec<String>>, Error> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let names = tables.iter().map(|table| literal(table)).collect::<Vec<_>>().join(", ");
        self.rows(&format!(
            "SELECT {columns} FROM system.{view} WHERE database = {} AND {table} IN ({names}) ORDER BY ALL",
            literal(&self.database.address.database)
        ))
        .await
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[async_trait]
impl Session for Connected {
    async fn exists(&mut self) -> Result<bool, Error> {
        let name = literal(&self.database.address.database);
        Ok(!self.rows(&format!("SELECT 1 FROM system.databases WHERE name = {name}")).await?.is_empty())
    }

    async fn create(&mut self) -> Result<(), Error> {
        self.run(&format!("CREATE DATABASE IF NOT EXISTS {}{}", self.name(), self.on_cluster())).await
    }

    async fn lock(&mut self, wait: Duration) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let newest = self.newest().await?;
            if !newest.held && self.take(newest.number + 1).await? {
                self.lock = Some((newest.number + 1, self.keep(newest.number + 1)));
                return Ok(());
            }
            if began.elapsed() > wait {
                return Err(Error::Away(format!(
                    "{}: {} has been migrating this database for more than {} s; wait for it with `devmesh migrate \
                     wait`, or end it",
                    self.database,
                    if newest.holder.is_empty() { "another devmesh" } else { &newest.holder },
                    wait.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        let Some((number, alive)) = self.lock.take() else { return Ok(()) };
        alive.abort();
        // It may be about to write once more.
        drop(alive.await);
        self.run(&format!("ALTER TABLE {} MODIFY COMMENT 'free'", self.lock_table(number))).await
    }

    async fn history(&mut self) -> Result<Vec<Record>, Error> {
        let sql = format!(
            "SELECT version, name, checksum, state, statements_done, statements, toUnixTimestamp64Nano(applied_at), \
             applied_by, error FROM {}.devmesh_migrations ORDER BY version, recorded_at DESC LIMIT 1 BY version",
            self.name()
        );
        let rows = match self.rows(&sql).await {
            Err(Error::Database(message)) if code(&message) == Some(NO_TABLE) => return Ok(Vec::new()),
            rows => rows?,
        };
        let record = |row: Vec<String>| {
            let [version, name, checksum, state, done, statements, at, by, error] =
                <[String; 9]>::try_from(row).ok()?;
            Some(Record {
                version: version.parse().ok()?,
                name,
                checksum,
                // A state that this version does not know is none that it may take for done.
                state: State::from_name(&state).unwrap_or(State::Failed),
                done: done.parse().ok()?,
                statements: statements.parse().ok()?,
                at: at.parse().ok()?,
                by,
                error,
            })
        };
        let unreadable = || Error::Database(format!("{}: the table devmesh_migrations is not ours", self.database));
        rows.into_iter().map(|row| record(row).ok_or_else(unreadable)).collect()
    }

    async fn record(&mut self, record: &Record) -> Result<(), Error> {
        // One history for all servers of a cluster: replicated among all, whatever their shard.
        let engine = match self.database.cluster.as_str() {
            "" => "MergeTree".to_owned(),
            _ => "ReplicatedMergeTree('/clickhouse/tables/{database}/devmesh_migrations', '{shard}-{replica}')"
                .to_owned(),
        };
        self.run(&format!(
            "CREATE TABLE IF NOT EXISTS {}.devmesh_migrations{} (version UInt32, name String, checksum String, state \
             LowCardinality(String), statements_done UInt32, statements UInt32, applied_at DateTime64(9, 'UTC'), \
             applied_by String, error String, recorded_at DateTime64(9, 'UTC') DEFAULT now64(9)) ENGINE = {engine} ORDER \
             BY (version, recorded_at) SETTINGS fsync_after_insert = 1",
            self.name(),
            self.on_cluster()
        ))
        .await?;
        self.run(&format!(
            "INSERT INTO {}.devmesh_migrations (version, name, checksum, state, statements_done, statements, applied_at, \
             applied_by, error) SELECT {}, {}, {}, {}, {}, {}, fromUnixTimestamp64Nano(toInt64({}), 'UTC'), {}, {}",
            self.name(),
            record.version,
            literal(&record.name),
            literal(&record.checksum),
            literal(record.state.name()),
            record.done,
            record.statements,
            record.at,
            literal(&record.by),
            literal(&record.error),
        ))
        .await
    }

    async fn execute(&mut self, statement: &str) -> Result<(), Error> {
        let client = self.client.clone().with_database(&self.database.address.database);
        self.run_in(&client, statement, None).await
    }

    async fn live(&mut self, tables: &[&str]) -> Result<Shape, Error> {
        let mut shape = Shape::default();
        let columns = "name, engine, partition_key, sorting_key";
        for row in self.about(columns, "tables", "name", tables).await? {
            let [table, engine, partition, sorting] = row.as_slice() else { continue };
            if engine.ends_with("View") {
                shape.add("view", table, None, engine);
                continue;
            }
            shape.add("table", table, None, engine.strip_prefix("Replicated").unwrap_or(engine));
            for (what, how) in [("partitions", partition), ("order", sorting)] {
                if !how.is_empty() {
                    shape.add(what, table, None, how);
                }
            }
        }
        let columns = "table, name, type, default_kind";
        for row in self.about(columns, "columns", "table", tables).await? {
            let [table, name, kind, default] = row.as_slice() else { continue };
            shape.add("column", table, Some(name), &format!("{kind} {}", default.to_lowercase()));
        }
        let columns = "table, name, type, expr, granularity";
        for row in self.about(columns, "data_skipping_indices", "table", tables).await? {
            let [table, name, kind, expression, granularity] = row.as_slice() else { continue };
            shape.add("index", table, Some(name), &format!("{kind} ({expression}) granularity {granularity}"));
        }
        Ok(shape)
    }

    async fn inventory(&mut self, tables: &[&str]) -> Result<(Vec<(String, String)>, Option<String>), Error> {
        let columns = "name, engine, total_rows";
        let rows = self.about(columns, "tables", "name", tables).await?;
        let items = rows.into_iter().filter_map(|row| {
            let [name, engine, rows] = <[String; 3]>::try_from(row).ok()?;
            let what = if engine.ends_with("View") { "view".to_owned() } else { format!("{rows} rows") };
            Some((name, what))
        });
        Ok((items.collect(), None))
    }

    async fn drop_all(&mut self, tables: &[&str]) -> Result<(), Error> {
        let client = self.client.clone().with_setting("max_table_size_to_drop", "0");
        // Views first, so that nothing is written to what is gone.
        let mut found = self.about("engine LIKE '%View', name", "tables", "name", tables).await?;
        found.sort_by(|a, b| b.cmp(a));
        for name in found.iter().filter_map(|row| row.get(1)) {
            let sql = format!("DROP TABLE IF EXISTS {}.{}{} SYNC", self.name(), quoted(name), self.on_cluster());
            self.run_in(&client, &sql, None).await?;
        }
        self.run(&format!("DROP TABLE IF EXISTS {}.devmesh_migrations{} SYNC", self.name(), self.on_cluster())).await?;
        if let Some((number, alive)) = self.lock.take() {
            alive.abort();
            drop(alive.await);
            self.run(&format!("DROP TABLE IF EXISTS {} SYNC", self.lock_table(number))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_strangers_stay_texts() {
        assert_eq!(literal(r"it's \ here"), r"'it\'s \\ here'");
        assert_eq!(quoted("a`b\\"), r"`a\`b\\`");
    }

    #[test]
    fn the_servers_code_is_read() {
        assert_eq!(code("bad response: Code: 57. DB::Exception: Table x exists"), Some(57));
        assert_eq!(code("nothing"), None);
    }
}
