//! The schema of a store: what is there, what this version expects, and the way from one to the other.
//!
//! A database's schema is made by the files `schema/sql/<database>/V0001__name.sql`, in the order of their numbers. A
//! history table says which were applied, by whom, with which checksum, and how many of a file's statements are done:
//! neither database undoes DDL, so a migration that stops in the middle is recorded statement by statement and goes on
//! there the next time. Every statement can be repeated (`IF NOT EXISTS` and the like; a test looks at each): a process
//! may die after a statement and before it is recorded.
//!
//! - [`sql`]: a file is cut into statements; its checksum.
//! - [`files`]: the migrations in this binary, and the schema that they lead to.
//! - [`history`]: what the history says, and what is to be done.
//! - [`runner`]: does it, under a lock.
//! - [`shape`]: the schema as a list of lines that can be compared.
//! - [`mariadb`], [`clickhouse`]: how each database is asked.
//! - [`directory`]: the embedded store's format.
//!
//! # How it fails
//! A database that is away is [`Error::Away`]: the same may work later. A statement that is refused is
//! [`Error::Database`] and names the file, the line and the statement; those before it stay. A schema of a later version
//! is refused by everything but `status`.

mod clickhouse;
mod directory;
mod files;
mod history;
mod mariadb;
mod runner;
mod shape;
mod sql;
#[cfg(test)]
pub(crate) mod tests;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use devmesh_schema::TimestampNs;

use crate::{Error, Settings};

pub(crate) use files::Migration;
pub(crate) use history::Record;
pub use history::State;
pub(crate) use shape::Shape;
pub use shape::{Difference, Drift};

/// How long a server or a command waits for another one that migrates at the same time.
pub const LOCK_WAIT: Duration = Duration::from_secs(90);

/// The schema of one store.
#[async_trait]
pub trait Schema: fmt::Display + Send + Sync {
    /// Makes the database or the directory, where it is missing. Answers whether it was.
    ///
    /// # Errors
    /// The store is away or refuses.
    async fn create(&self) -> Result<bool, Error>;

    /// Brings the schema up to date; waits for whoever does so at the same time. Answers the steps it did itself.
    ///
    /// # Errors
    /// The store is away or refuses, a later version has been here, or an applied migration is not the one of this
    /// version.
    async fn apply(&self) -> Result<Vec<Step>, Error>;

    /// What was applied and what is to come.
    ///
    /// # Errors
    /// The store is away or refuses.
    async fn status(&self) -> Result<Status, Error>;

    /// How the live schema differs from the one that this version expects; empty where it does not.
    ///
    /// # Errors
    /// The store is away or refuses, or its schema is not at this version: then there is nothing to compare with.
    async fn validate(&self) -> Result<Vec<Drift>, Error>;

    /// What a reset would delete, for who is asked whether to do it.
    ///
    /// # Errors
    /// The store is away or refuses.
    async fn inventory(&self) -> Result<Inventory, Error>;

    /// Deletes what [`Schema::inventory`] names.
    ///
    /// # Errors
    /// The store is away or refuses; what was deleted by then is gone.
    async fn reset(&self) -> Result<(), Error>;
}

/// The schema of the store that `settings.url` names. Connects to nothing yet.
///
/// # Errors
/// The URL is not known or is no URL of its store.
pub fn of(settings: &Settings) -> Result<Box<dyn Schema>, Error> {
    let settings = &Settings { url: crate::open::canonical(&settings.url), ..settings.clone() };
    let parse = || {
        let url = url::Url::parse(&settings.url);
        url.map_err(|error| Error::Url(format!("{}: {error}", crate::external::address::redacted(&settings.url))))
    };
    match settings.url.split_once("://").map_or("file", |(scheme, _)| scheme) {
        "mariadb" => Ok(Box::new(runner::Runner::new(mariadb::MariaDb::new(&parse()?, settings)?))),
        "clickhouse" => Ok(Box::new(runner::Runner::new(clickhouse::ClickHouse::new(&parse()?, settings)?))),
        _ => Ok(Box::new(directory::Directory::new(settings)?)),
    }
}

/// What a database calls before it is first used: brings the schema up to date, or, where `settings.database.migrate` says
/// no, looks that it is.
///
/// # Errors
/// As [`Schema::apply`]; or the schema is not current, and what to do.
pub(crate) async fn prepare(settings: &Settings) -> Result<(), Error> {
    let schema = of(settings)?;
    if settings.database.migrate {
        schema.create().await?;
        schema.apply().await?;
    }
    let status = schema.status().await?;
    history::current(&schema.to_string(), &status)
}

/// One migration: applied, begun, to come, or of a later version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 1.
    pub version: u32,
    /// Its name, from the file's.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// Statements that are done, and how many it has.
    pub statements: (u32, u32),
    /// When that was recorded, ns since the epoch.
    pub at: Option<TimestampNs>,
    /// Which program recorded it.
    pub by: String,
    /// Checksum of the file, as it was applied where it was.
    pub checksum: String,
    /// What is wrong with it, and what to do.
    pub note: Option<String>,
}

/// What was applied and what is to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the database or the directory is there at all.
    pub exists: bool,
    /// In the order of their numbers.
    pub steps: Vec<Step>,
}

impl Status {
    /// Whether the schema is the one that this version expects, as far as its history tells.
    pub fn is_current(&self) -> bool {
        self.exists && self.steps.iter().all(|step| step.state == State::Applied && step.note.is_none())
    }
}

/// What a reset would delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Tables, views or files, with what is in them.
    pub items: Vec<String>,
    /// What among it other programs wrote.
    pub foreign: Option<String>,
}

/// A database, as far as migrations need it. It knows its dialect; the runner knows the order of things.
#[async_trait]
pub(crate) trait Dialect: fmt::Display + Send + Sync {
    /// The migrations of this binary, in the order of their numbers.
    fn migrations(&self) -> &'static [Migration];

    /// The schema that they lead to ([`Shape::parse`]).
    fn expected(&self) -> Shape;

    /// What is to be run for a statement of a file: itself, or, on a cluster, several, each of which can be repeated.
    ///
    /// # Errors
    /// The statement is none that this dialect knows what to make of: a fault of the file.
    fn prepare(&self, statement: &sql::Statement<'_>) -> Result<Vec<String>, Error>;

    /// Connects to the server; the database need not exist.
    ///
    /// # Errors
    /// [`Error::Away`] where nobody answers, [`Error::Database`] where the server refuses.
    async fn connect(&self) -> Result<Box<dyn Session>, Error>;
}

/// A connection to a database's server. Each call fails as [`Dialect::connect`] does.
#[async_trait]
pub(crate) trait Session: Send {
    /// Whether the database exists.
    async fn exists(&mut self) -> Result<bool, Error>;
    /// Makes the database where it is missing.
    async fn create(&mut self) -> Result<(), Error>;
    /// Keeps others from migrating this database until [`Session::unlock`] or until this process or the connection dies.
    /// [`Error::Away`] when somebody else still holds the lock after `wait`.
    async fn lock(&mut self, wait: Duration) -> Result<(), Error>;
    /// Lets go of the lock.
    async fn unlock(&mut self) -> Result<(), Error>;
    /// The newest record of each migration, by version; empty without a history table.
    async fn history(&mut self) -> Result<Vec<Record>, Error>;
    /// Writes a record, in the place of an older one of the same version. Makes the history table where it is missing.
    async fn record(&mut self, record: &Record) -> Result<(), Error>;
    /// Runs one statement.
    async fn execute(&mut self, statement: &str) -> Result<(), Error>;
    /// The schema as it is, of the named tables and views alone.
    async fn live(&mut self, tables: &[&str]) -> Result<Shape, Error>;
    /// Those of the named tables and views that exist, with their rows as text; and what in them others wrote.
    async fn inventory(&mut self, tables: &[&str]) -> Result<(Vec<(String, String)>, Option<String>), Error>;
    /// Deletes tables and views, the history and the lock.
    async fn drop_all(&mut self, tables: &[&str]) -> Result<(), Error>;
}
