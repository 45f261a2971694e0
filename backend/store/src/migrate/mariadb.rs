//! MariaDB: the history is a table, the lock a named lock of the server (`GET_LOCK`), which ends with its connection.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row, mysql::MySqlRow};
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use super::{Dialect, Migration, Record, Session, Shape, State, files, sql};
use crate::{
    Error, Settings,
    external::address::Address,
    mariadb::{client, connection::DENIED},
};

/// Server errors that pass: too many connections, shutdown, lock wait, deadlock, read-only, connection killed.
const PASSING: [u16; 10] = [1040, 1053, 1129, 1158, 1159, 1160, 1161, 1205, 1213, 1927];

/// Rows of other programs up to which they are counted.
const FOREIGN_COUNTED: i64 = 1_000_000;

const CREATE_HISTORY: &str = "\
CREATE TABLE IF NOT EXISTS devmesh_migrations (
  version INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  checksum CHAR(32) CHARACTER SET ascii NOT NULL,
  state VARCHAR(16) CHARACTER SET ascii NOT NULL,
  statements_done INT UNSIGNED NOT NULL,
  statements INT UNSIGNED NOT NULL,
  applied_at DATETIME(6) NOT NULL,
  applied_by VARCHAR(255) NOT NULL,
  error TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

/// The database of a URL.
#[derive(Clone, Debug)]
pub(crate) struct MariaDb {
    address: Address,
    migrations: &'static [Migration],
    timeout: Duration,
}

impl MariaDb {
    pub(crate) fn new(url: &Url, settings: &Settings) -> Result<Self, Error> {
        let address = Address::parse(url, 3306, "devmesh")?;
        Ok(Self { address, migrations: files::MARIADB, timeout: settings.database.timeout })
    }

    /// With other migrations.
    #[cfg(test)]
    pub(super) fn with(self, migrations: &'static [Migration]) -> Self {
        Self { migrations, ..self }
    }

    fn error(&self, error: sqlx::Error) -> Error {
        let at = format!("{}: ", self.address);
        match &error {
            sqlx::Error::Database(refusal) => {
                let refusal = refusal.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
                let Some(refusal) = refusal else { return Error::Database(format!("{at}{error}")) };
                let message = refusal.message();
                match refusal.number() {
                    number if PASSING.contains(&number) => Error::Away(format!("{at}{message}")),
                    1045 => Error::Database(format!("{at}{message}; {DENIED}")),
                    1044 | 1142 | 1227 => Error::Database(format!(
                        "{at}{message}; grant it: GRANT ALL ON `{}`.* TO the user in the store's URL",
                        self.address.database
                    )),
                    number => Error::Database(format!("{at}{message} (error {number})")),
                }
            }
            sqlx::Error::Configuration(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                Error::Database(format!("{at}{error}"))
            }
            _ => match client::refusal(&error) {
                Some(why) => Error::Database(format!("{at}{why}")),
                None => Error::Away(format!("{at}{error}")),
            },
        }
    }
}

impl fmt::Display for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[async_trait]
impl Dialect for MariaDb {
    fn migrations(&self) -> &'static [Migration] {
        self.migrations
    }

    fn expected(&self) -> Shape {
        Shape::parse(files::MARIADB_EXPECTED)
    }

    fn prepare(&self, statement: &sql::Statement<'_>) -> Result<Vec<String>, Error> {
        Ok(vec![statement.text.to_owned()])
    }

    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let options = client::options(&self.address)?;
        let connect = tokio::time::timeout(self.timeout, MySqlConnection::connect_with(&options)).await;
        let connect = connect.map_err(|_late| Error::Away(format!("{self}: no answer within {:?}", self.timeout)))?;
        let connection = connect.map_err(|error| self.error(error))?;
        Ok(Box::new(Connected { connection, database: self.clone() }))
    }
}

/// A connection.
#[derive(Debug)]
struct Connected {
    connection: MySqlConnection,
    database: MariaDb,
}

impl Connected {
    fn name(&self) -> String {
        quoted(&self.database.address.database)
    }

    /// A name of the lock that no other database's is; at most 64 characters.
    fn lock_name(&self) -> String {
        format!("devmesh_migrate_{:016x}", xxh3_64(self.database.address.database.as_bytes()))
    }

    async fn run(&mut self, sql: String) -> Result<(), Error> {
        let run = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        run.map(drop).map_err(|error| self.database.error(error))
    }

    async fn rows(&mut self, sql: &str, values: &[&str]) -> Result<Vec<MySqlRow>, Error> {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        for value in values {
            query = query.bind(*value);
        }
        query.fetch_all(&mut self.connection).await.map_err(|error| self.database.error(error))
    }

    /// One text of each row.
    fn text(&self, row: &MySqlRow, column: usize) -> Result<String, Error> {
        let text: Option<String> = row.try_get(column).map_err(|error| self.database.error(error))?;
        Ok(text.unwrap_or_default())
    }

    fn number(&self, row: &MySqlRow, column: usize) -> Result<i64, Error> {
        let number: Option<i64> = row.try_get(column).map_err(|error| self.database.error(error))?;
        Ok(number.unwrap_or_default())
    }

    async fn has_history(&mut self) -> Result<bool, Error> {
        let database = self.database.address.database.clone();
        let sql =
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = 'devmesh_migrations'";
        Ok(!self.rows(sql, &[&database]).await?.is_empty())
    }

    /// Rows of a view of `information_schema` about the named tables: `columns` of `view`.
    async fn about(&mut self, columns: &str, view: &str, order: &str, tables: &[&str]) -> Result<Vec<MySqlRow>, Error> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let database = self.database.address.database.clone();
        let marks = vec!["?"; tables.len()].join(", ");
        let sql = format!(
            "SELECT {columns} FROM information_schema.{view} WHERE TABLE_SCHEMA = ? AND TABLE_NAME IN ({marks}) ORDER BY \
             {order}"
        );
        let values: Vec<&str> = std::iter::once(database.as_str()).chain(tables.iter().copied()).collect();
        self.rows(&sql, &values).await
    }

    /// What other programs wrote into `log_events` and `metric_events`: rows whose ids are in no chunk of ours.
    async fn foreign(&mut self, tables: &[&str]) -> Result<Option<String>, Error> {
        let there = self.about("TABLE_NAME", "TABLES", "TABLE_NAME", tables).await?;
        let there = there.iter().map(|row| self.text(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let has = |name: &str| there.iter().any(|table| table == name);
        let mut found = Vec::new();
        for table in ["log_events", "metric_events"].into_iter().filter(|table| has(table)) {
            let ours = match has("devmesh_chunks") {
                true => format!(
                    "WHERE NOT EXISTS (SELECT 1 FROM {}.devmesh_chunks c WHERE c.table_name = '{table}' AND e.id BETWEEN \
                     c.first_id AND c.last_id)",
                    self.name()
                ),
                false => String::new(),
            };
            let sql = format!(
                "SELECT CAST(COUNT(*) AS SIGNED) FROM (SELECT 1 FROM {}.{table} e {ours} LIMIT {}) others",
                self.name(),
                FOREIGN_COUNTED + 1
            );
            let rows = self.rows(&sql, &[]).await?;
            match rows.first().map(|row| self.number(row, 0)).transpose()? {
                Some(count) if count > FOREIGN_COUNTED => found.push(format!("more than {FOREIGN_COUNTED} in {table}")),
                Some(count) if count > 0 => found.push(format!("{count} in {table}")),
                _ => {}
            }
        }
        let rows = found.join(" and ");
        Ok((!rows.is_empty()).then(|| format!("other programs wrote some of these rows: {rows}. They go with ours")))
    }

    async fn live_tables(&mut self, tables: &[&str], shape: &mut Shape) -> Result<(), Error> {
        let columns = "TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, ''), COALESCE(TABLE_COLLATION, '')";
        for row in self.about(columns, "TABLES", "TABLE_NAME", tables).await? {
            let (table, kind) = (self.text(&row, 0)?, self.text(&row, 1)?);
            if kind == "VIEW" {
                shape.add("view", &table, None, "");
                continue;
            }
            let (engine, charset) = (self.text(&row, 2)?, charset(&self.text(&row, 3)?));
            shape.add("table", &table, None, &format!("{engine} {charset}"));
        }
        let columns = "TABLE_NAME, COALESCE(PARTITION_METHOD, ''), CAST(COALESCE(PARTITION_EXPRESSION, '') AS CHAR)";
        for row in self.about(columns, "PARTITIONS", "TABLE_NAME", tables).await? {
            let (table, method) = (self.text(&row, 0)?, self.text(&row, 1)?);
            if !method.is_empty() {
                shape.add("partitions", &table, None, &format!("{method} ({})", self.text(&row, 2)?));
            }
        }
        Ok(())
    }

    async fn live_columns(&mut self, tables: &[&str], shape: &mut Shape) -> Result<(), Error> {
        let columns = "TABLE_NAME, COLUMN_NAME, CAST(COLUMN_TYPE AS CHAR), IS_NULLABLE, EXTRA, \
                       COALESCE(COLLATION_NAME, '')";
        for row in self.about(columns, "COLUMNS", "TABLE_NAME, ORDINAL_POSITION", tables).await? {
            let (table, name) = (self.text(&row, 0)?, self.text(&row, 1)?);
            let null = if self.text(&row, 3)? == "YES" { "null" } else { "not null" };
            let mut how = format!("{} {null} {}", self.text(&row, 2)?, self.text(&row, 4)?.to_lowercase());
            let collation = self.text(&row, 5)?;
            if !collation.is_empty() {
                how.push_str(&format!(" {}", charset(&collation)));
            }
            shape.add("column", &table, Some(&name), &how);
        }
        Ok(())
    }

    async fn live_indexes(&mut self, tables: &[&str], shape: &mut Shape) -> Result<(), Error> {
        let columns = "TABLE_NAME, INDEX_NAME, CAST(NON_UNIQUE AS SIGNED), INDEX_TYPE, COLUMN_NAME, \
                       CAST(COALESCE(SUB_PART, 0) AS SIGNED)";
        let rows = self.about(columns, "STATISTICS", "TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX", tables).await?;
        let mut index: Option<(String, String, String, Vec<String>)> = None;
        for row in &rows {
            let (table, name) = (self.text(row, 0)?, self.text(row, 1)?);
            let mut part = self.text(row, 4)?;
            let prefix = self.number(row, 5)?;
            if prefix > 0 {
                part.push_str(&format!("({prefix})"));
            }
            if let Some((_, _, _, parts)) = index.as_mut().filter(|index| index.0 == table && index.1 == name) {
                parts.push(part);
                continue;
            }
            let unique = if self.number(row, 2)? == 0 { "unique " } else { "" };
            let kind = match self.text(row, 3)?.as_str() {
                "BTREE" => unique.to_owned(),
                other => format!("{unique}{} ", other.to_lowercase()),
            };
            add_index(shape, index.replace((table, name, kind, vec![part])));
        }
        add_index(shape, index);
        Ok(())
    }
}

fn add_index(shape: &mut Shape, index: Option<(String, String, String, Vec<String>)>) {
    if let Some((table, name, kind, parts)) = index {
        shape.add("index", &table, Some(&name), &format!("{kind}({})", parts.join(", ")));
    }
}

/// What of a collation matters: its character set, and whether it compares bytes. Which other one is the default differs
/// between versions of the server.
fn charset(collation: &str) -> String {
    if collation.ends_with("_bin") {
        return collation.to_owned();
    }
    collation.split_once('_').map_or(collation, |(charset, _)| charset).to_owned()
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[async_trait]
impl Session for Connected {
    async fn exists(&mut self) -> Result<bool, Error> {
        let database = self.database.address.database.clone();
        let found = self.rows("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", &[&database]).await?;
        if found.is_empty() {
            return Ok(false);
        }
        self.run(format!("USE {}", self.name())).await.map(|()| true)
    }

    async fn create(&mut self) -> Result<(), Error> {
        self.run(format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4", self.name())).await
    }

    async fn lock(&mut self, wait: Duration) -> Result<(), Error> {
        self.run(format!("USE {}", self.name())).await?;
        let sql = format!("SELECT CAST(GET_LOCK('{}', {}) AS SIGNED)", self.lock_name(), wait.as_secs());
        let rows = self.rows(&sql, &[]).await?;
        match rows.first().map(|row| self.number(row, 0)).transpose()? {
            Some(1) => Ok(()),
            _ => Err(Error::Away(format!(
                "{}: another devmesh has been migrating this database for more than {} s; wait for it with `devmesh \
                 migrate wait`, or end it",
                self.database,
                wait.as_secs()
            ))),
        }
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        self.run(format!("DO RELEASE_LOCK('{}')", self.lock_name())).await
    }

    async fn history(&mut self) -> Result<Vec<Record>, Error> {
        if !self.has_history().await? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT CAST(version AS SIGNED), name, checksum, state, CAST(statements_done AS SIGNED), CAST(statements AS \
             SIGNED), CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', applied_at) AS SIGNED), applied_by, error FROM \
             {}.devmesh_migrations ORDER BY version",
            self.name()
        );
        let rows = self.rows(&sql, &[]).await?;
        rows.iter()
            .map(|row| {
                let small = |column| Ok::<_, Error>(u32::try_from(self.number(row, column)?).unwrap_or(u32::MAX));
                Ok(Record {
                    version: small(0)?,
                    name: self.text(row, 1)?,
                    checksum: self.text(row, 2)?,
                    // A state that this version does not know is none that it may take for done.
                    state: State::from_name(&self.text(row, 3)?).unwrap_or(State::Failed),
                    done: small(4)?,
                    statements: small(5)?,
                    at: self.number(row, 6)?.saturating_mul(1000),
                    by: self.text(row, 7)?,
                    error: self.text(row, 8)?,
                })
            })
            .collect()
    }

    async fn record(&mut self, record: &Record) -> Result<(), Error> {
        self.run(CREATE_HISTORY.to_owned()).await?;
        let query = sqlx::query(
            "REPLACE INTO devmesh_migrations (version, name, checksum, state, statements_done, statements, applied_at, \
             applied_by, error) VALUES (?, ?, ?, ?, ?, ?, TIMESTAMPADD(MICROSECOND, ?, '1970-01-01'), ?, ?)",
        );
        let query = query
            .bind(record.version)
            .bind(&record.name)
            .bind(&record.checksum)
            .bind(record.state.name())
            .bind(record.done)
            .bind(record.statements)
            .bind(record.at / 1000)
            .bind(&record.by)
            .bind(&record.error);
        query.execute(&mut self.connection).await.map(drop).map_err(|error| self.database.error(error))
    }

    async fn execute(&mut self, statement: &str) -> Result<(), Error> {
        self.run(statement.to_owned()).await
    }

    async fn live(&mut self, tables: &[&str]) -> Result<Shape, Error> {
        let mut shape = Shape::default();
        self.live_tables(tables, &mut shape).await?;
        self.live_columns(tables, &mut shape).await?;
        self.live_indexes(tables, &mut shape).await?;
        Ok(shape)
    }

    async fn inventory(&mut self, tables: &[&str]) -> Result<(Vec<(String, String)>, Option<String>), Error> {
        let columns = "TABLE_NAME, TABLE_TYPE, CAST(COALESCE(TABLE_ROWS, 0) AS SIGNED)";
        let mut found = Vec::new();
        for row in self.about(columns, "TABLES", "TABLE_NAME", tables).await? {
            let rows = match self.text(&row, 1)?.as_str() {
                "VIEW" => "view".to_owned(),
                _ => format!("about {} rows", self.number(&row, 2)?),
            };
            found.push((self.text(&row, 0)?, rows));
        }
        let foreign = self.foreign(tables).await?;
        Ok((found, foreign))
    }

    async fn drop_all(&mut self, tables: &[&str]) -> Result<(), Error> {
        let rows = self.about("TABLE_NAME, TABLE_TYPE", "TABLES", "TABLE_TYPE DESC, TABLE_NAME", tables).await?;
        for row in &rows {
            let kind = if self.text(row, 1)? == "VIEW" { "VIEW" } else { "TABLE" };
            let table = quoted(&self.text(row, 0)?);
            self.run(format!("DROP {kind} IF EXISTS {}.{table}", self.name())).await?;
        }
        self.run(format!("DROP TABLE IF EXISTS {}.devmesh_migrations", self.name())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_collation_counts_what_changes_an_answer() {
        for (collation, expected) in [
            ("utf8mb4_general_ci", "utf8mb4"),
            ("utf8mb4_uca1400_ai_ci", "utf8mb4"),
            ("utf8mb4_bin", "utf8mb4_bin"),
            ("ascii_bin", "ascii_bin"),
            ("binary", "binary"),
        ] {
            assert_eq!(charset(collation), expected);
        }
    }

    #[test]
    fn a_lock_has_a_name_that_the_server_takes() {
        let url =
            Url::parse("mariadb://h/a_database_with_a_name_that_is_as_long_as_names_of_databases_may_be__64").unwrap();
        let database = MariaDb::new(&url, &Settings::default()).unwrap();
        assert_eq!(format!("devmesh_migrate_{:016x}", xxh3_64(database.address.database.as_bytes())).len(), 32);
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}
