//! Applies a database's migrations, one at a time, under a lock.
//!
//! # How it fails
//! After a statement that is refused, those before it stay, and the history says how far it came: the next run goes on at
//! the statement that failed. If the file is another one by then (a later version mended it), it begins at its first
//! statement: each can be repeated. A process that dies leaves the state `applying`; its lock ends with it.

use std::fmt;

use async_trait::async_trait;
use devmesh_schema::TimestampNs;

use super::{
    Dialect, Drift, Inventory, LOCK_WAIT, Migration, Record, Schema, Session, State, Status, Step, history, sql,
};
use crate::Error;

/// Characters of a statement that a message shows.
const SHOWN: usize = 200;

/// The schema of a database.
#[derive(Debug)]
pub(crate) struct Runner<D> {
    dialect: D,
}

impl<D: Dialect> Runner<D> {
    pub(crate) fn new(dialect: D) -> Self {
        Self { dialect }
    }

    /// Applies what is to come. The caller holds the lock.
    async fn advance(&self, session: &mut dyn Session) -> Result<Vec<Step>, Error> {
        let migrations = self.dialect.migrations();
        let mut done = Vec::new();
        let history = session.history().await?;
        history::check(&self.dialect.to_string(), migrations, &history)?;
        for migration in migrations {
            let record = history.iter().find(|record| record.version == migration.version());
            if record.is_some_and(|record| record.state == State::Applied) {
                continue;
            }
            let applied = self.run(session, migration, record).await?;
            done.extend(history::steps(std::slice::from_ref(migration), &[applied]));
        }
        Ok(done)
    }

    /// Applies one migration, from where `before` says that it stopped.
    async fn run(
        &self,
        session: &mut dyn Session,
        migration: &Migration,
        before: Option<&Record>,
    ) -> Result<Record, Error> {
        let file = migration.file;
        let statements = sql::split(migration.sql).map_err(|error| Error::Database(format!("{file}: {error}")))?;
        let checksum = sql::checksum(migration.sql);
        let resumed = before.filter(|record| record.checksum == checksum).map_or(0, |record| record.done);
        let mut record = Record {
            version: migration.version(),
            name: migration.name().to_owned(),
            checksum,
            state: State::Applying,
            done: resumed,
            statements: statements.len() as u32,
            at: now(),
            by: author(),
            error: String::new(),
        };
        tracing::info!(store = %self.dialect, migration = file, from = resumed + 1, "applying a migration");
        session.record(&record).await?;
        for statement in statements.iter().skip(resumed as usize) {
            if let Err(error) = self.execute(session, statement).await {
                let failure = Failed { file, statement, record: &record, error: &error };
                let message = failure.to_string();
                record = Record { state: State::Failed, at: now(), error: message.clone(), ..record };
                return Err(match (session.record(&record).await, error) {
                    // What was away may come back: the next try goes on here.
                    (_, Error::Away(_)) => Error::Away(message),
                    (Ok(()), _) => Error::Database(message),
                    (Err(unrecorded), _) => {
                        Error::Database(format!("{message}; nor could that be recorded: {unrecorded}"))
                    }
                });
            }
            record.done += 1;
            record.at = now();
            if record.done < record.statements {
                session.record(&record).await?;
            }
        }
        record = Record { state: State::Applied, at: now(), ..record };
        session.record(&record).await?;
        tracing::info!(store = %self.dialect, migration = file, statements = record.statements, "applied a migration");
        Ok(record)
    }
}

impl<D: Dialect> Runner<D> {
    async fn execute(&self, session: &mut dyn Session, statement: &sql::Statement<'_>) -> Result<(), Error> {
        for part in self.dialect.prepare(statement)? {
            session.execute(&part).await?;
        }
        Ok(())
    }
}

/// What a failed statement is told as.
struct Failed<'a> {
    file: &'static str,
    statement: &'a sql::Statement<'a>,
    record: &'a Record,
    error: &'a Error,
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flat = self.statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = flat.chars().take(SHOWN).collect();
        let cut = if shown.len() < flat.len() { "…" } else { "" };
        write!(
            f,
            "migration {} stopped at statement {} of {} (line {}): {}; the statement is: {shown}{cut}. Those before it \
             are done and stay; mend what is wrong and run `devmesh migrate apply` again: it goes on there",
            self.file,
            self.record.done + 1,
            self.record.statements,
            self.statement.line,
            self.error,
        )
    }
}

/// Program, machine and process.
pub(super) fn author() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unnamed machine" } else { host.trim() };
    format!("devmesh {} on {host}, process {}", env!("CARGO_PKG_VERSION"), std::process::id())
}

/// ns since the epoch.
pub(super) fn now() -> TimestampNs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl<D: Dialect> fmt::Display for Runner<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dialect.fmt(f)
    }
}

#[async_trait]
impl<D: Dialect> Schema for Runner<D> {
    async fn create(&self) -> Result<bool, Error> {
        let mut session = self.dialect.connect().await?;
        if session.exists().await? {
            return Ok(false);
        }
        session.create().await?;
        Ok(true)
    }

    async fn apply(&self) -> Result<Vec<Step>, Error> {
        // Most starts find nothing to do, and need no lock for it.
        let status = self.status().await?;
        if !status.exists {
            history::current(&self.to_string(), &status)?;
        }
        if status.is_current() {
            return Ok(Vec::new());
        }
        let mut session = self.dialect.connect().await?;
        session.lock(LOCK_WAIT).await?;
        let outcome = self.advance(session.as_mut()).await;
        let unlocked = session.unlock().await;
        let steps = outcome?;
        if let Err(error) = unlocked {
            tracing::warn!(store = %self.dialect, %error, "the lock of the migrations ends with this connection");
        }
        Ok(steps)
    }

    async fn status(&self) -> Result<Status, Error> {
        let mut session = self.dialect.connect().await?;
        let exists = session.exists().await?;
        let history = if exists { session.history().await? } else { Vec::new() };
        Ok(Status { exists, steps: history::steps(self.dialect.migrations(), &history) })
    }

    async fn validate(&self) -> Result<Vec<Drift>, Error> {
        let mut session = self.dialect.connect().await?;
        let exists = session.exists().await?;
        let history = if exists { session.history().await? } else { Vec::new() };
        history::check(&self.to_string(), self.dialect.migrations(), &history)?;
        let steps = history::steps(self.dialect.migrations(), &history);
        history::current(&self.to_string(), &Status { exists, steps })?;
        let expected = self.dialect.expected();
        let live = session.live(&expected.tables()).await?;
        Ok(expected.compare(&live))
    }

    async fn inventory(&self) -> Result<Inventory, Error> {
        let mut session = self.dialect.connect().await?;
        if !session.exists().await? {
            return Ok(Inventory::default());
        }
        let (tables, foreign) = session.inventory(&self.dialect.expected().tables()).await?;
        let items = tables.into_iter().map(|(table, rows)| format!("{table}: {rows}")).collect();
        Ok(Inventory { items, foreign })
    }

    async fn reset(&self) -> Result<(), Error> {
        let mut session = self.dialect.connect().await?;
        if !session.exists().await? {
            return Ok(());
        }
        session.lock(LOCK_WAIT).await?;
        session.drop_all(&self.dialect.expected().tables()).await
    }
}
