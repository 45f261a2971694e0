//! Connections to the server: how they are made, what each is set to, and what its errors mean.
//!
//! Every connection checks strictly, speaks utf8mb4 and counts in UTC, whatever the server's own settings are: a value
//! that does not fit is an error and never a silent change.
//!
//! Statements that differ go as text, not prepared: to close a prepared one sqlx sends a packet that nobody answers, behind
//! which the next waits for the kernel's delayed acknowledgement, 40 ms, since its sockets collect small packets (Nagle).
//! The few that are prepared stay so as long as the connection.

use std::{fmt, future::Future, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlPool, Row,
    mysql::{MySqlDatabaseError, MySqlPoolOptions},
};
use tokio::sync::OnceCell;
use url::Url;

use super::{cache::Cache, client};
use crate::{Error, external::address::Address, settings};

/// What every connection is set to. One connection must give a statement's rows neighbouring ids. That JSON is JSON, which
/// is all that the tables' constraints say, need not be looked at again: devmesh makes it.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
                       time_zone = '+00:00', auto_increment_increment = 1, auto_increment_offset = 1, \
                       innodb_lock_wait_timeout = 5, check_constraint_checks = OFF";

/// A connection that was used so lately is taken without asking the server whether it is there still.
const FRESH: Duration = Duration::from_millis(200);

/// The transaction was ended because it waited for another that waited for it.
const DEADLOCK: u16 = 1213;
/// A lock was not to be had in time; by default the transaction goes on without the statement.
const LOCK_TIMEOUT: u16 = 1205;
/// A key is there already.
const DUPLICATE: u16 = 1062;
/// What to do where a user is refused: a server that takes connections by TLS alone says no more either.
pub(crate) const DENIED: &str =
    "check user and password in the store's URL, and add ssl-mode=required where the server wants TLS";
/// Further errors after which the same may work later: too many connections, shutdown, blocked host, network errors,
/// read-only for the moment, out of memory, full disk, killed, statement too long running, too many prepared statements.
const PASSING: [u16; 19] =
    [1021, 1037, 1040, 1041, 1053, 1114, 1129, 1158, 1159, 1160, 1161, 1203, 1290, 1317, 1461, 1836, 1927, 1969, 3100];

/// The connections to one database.
pub(super) struct Connections {
    pool: MySqlPool,
    address: Address,
    settings: settings::Database,
    packet: OnceCell<usize>,
    cache: Cache,
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The transaction is over; the same again may work at once.
    Conflict(String),
    /// A key is there already.
    Duplicate,
    /// It may work later.
    Away(String),
    /// It will not work.
    Refused(String),
}

impl Connections {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The URL is none of a MariaDB.
    pub(super) fn new(url: &Url, settings: &settings::Database) -> Result<Self, Error> {
        let address = Address::parse(url, 3306, "devmesh")?;
        let options = client::options(&address)?
            .database(&address.database)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .statement_cache_capacity(16);
        let pool = MySqlPoolOptions::new()
            .min_connections(settings.pool_min.min(settings.pool_max))
            .max_connections(settings.pool_max.max(1))
            .acquire_timeout(settings.timeout)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
            // Else each statement would cost another round trip before it.
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move { Ok(metadata.idle_for < FRESH || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        let (packet, cache) = (OnceCell::new(), Cache::default());
        Ok(Self { pool, address, settings: settings.clone(), packet, cache })
    }

    pub(super) fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Chunks that were looked into.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How many connections may write at once: half of them, so that queries are not kept waiting, and no more than there
    /// are processors here, where a server often is as well: more only wait for each other's pages.
    pub(super) fn writers(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4);
        (self.settings.pool_max as usize / 2).clamp(1, processors)
    }

    /// How many connections one query may read with at once.
    pub(super) fn readers(&self) -> usize {
        (self.settings.pool_max as usize / 4).clamp(1, 4)
    }

    pub(super) fn insert_timeout(&self) -> Duration {
        self.settings.insert_timeout
    }

    /// Bytes that one packet may have.
    pub(super) async fn packet(&self) -> Result<usize, Fault> {
        let ask = || async {
            let row = self.in_time(sqlx::query("SELECT CAST(@@max_allowed_packet AS SIGNED)").fetch_one(&self.pool));
            let bytes: i64 = row.await?.try_get(0)?;
            Ok::<_, Fault>(usize::try_from(bytes).unwrap_or(1 << 20))
        };
        self.packet.get_or_try_init(ask).await.copied()
    }

    /// Waits for an answer as long as the settings say.
    pub(super) async fn in_time<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Fault> {
        self.within(self.settings.timeout, answer).await
    }

    /// Waits for the rows of a query: a large table takes its time, and a query that is given up drops this.
    pub(super) async fn rows<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Fault> {
        self.within(self.settings.insert_timeout, answer).await
    }

    /// Waits for an answer that long.
    pub(super) async fn within<T, E: Into<Fault>>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_late) => Err(Fault::Away(format!("no answer within {limit:?}"))),
        }
    }

    /// Runs a statement that changes rows; answers how many.
    pub(super) async fn run(&self, sql: String) -> Result<u64, Fault> {
        let run = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool);
        self.within(self.settings.insert_timeout, run).await.map(|done| done.rows_affected())
    }

    /// Ends a connection and what it does, by its number. Goes past the pool, all of which may be waiting.
    pub(super) async fn kill(&self, id: i64) -> Result<(), Fault> {
        let options = self.pool.connect_options();
        let kill = async {
            let mut connection = options.connect().await?;
            connection.execute(AssertSqlSafe(format!("KILL {id}"))).await?;
            connection.close().await
        };
        self.in_time(kill).await
    }

    /// What a fault means for the caller; says which database.
    pub(super) fn error(&self, fault: Fault) -> Error {
        match fault {
            Fault::Conflict(why) | Fault::Away(why) => Error::Away(format!("{self}: {why}")),
            Fault::Duplicate => Error::Away(format!("{self}: a key is there already")),
            Fault::Refused(why) => Error::Database(format!("{self}: {why}")),
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(refusal) = &error else {
            return match &error {
                sqlx::Error::PoolTimedOut => Fault::Away(
                    "no connection was free in time; the server may be down, or DB_POOL_MAX_SIZE too small".to_owned(),
                ),
                sqlx::Error::Configuration(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                    Fault::Refused(error.to_string())
                }
                _ => match client::refusal(&error) {
                    Some(why) => Fault::Refused(why),
                    None => Fault::Away(error.to_string()),
                },
            };
        };
        let Some(refusal) = refusal.try_downcast_ref::<MySqlDatabaseError>() else {
            return Fault::Refused(error.to_string());
        };
        let message = refusal.message();
        match refusal.number() {
            number @ (DEADLOCK | LOCK_TIMEOUT) => Fault::Conflict(format!("{message} (error {number})")),
            DUPLICATE => Fault::Duplicate,
            1153 => Fault::Refused(format!("{message}; raise max_allowed_packet of the server")),
            1045 => Fault::Refused(format!("{message}; {DENIED}")),
            1044 | 1142 | 1227 => Fault::Refused(format!("{message}; grant the user all rights on the database")),
            1049 | 1146 => Fault::Refused(format!("{message}; make it with `devmesh migrate apply`")),
            number if PASSING.contains(&number) => Fault::Away(format!("{message} (error {number})")),
            number => Fault::Refused(format!("{message} (error {number})")),
        }
    }
}
