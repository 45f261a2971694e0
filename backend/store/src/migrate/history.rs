//! What the history table says, held against the migrations of this binary.

use std::fmt;

use devmesh_schema::TimestampNs;

use super::{Migration, Status, Step, sql};
use crate::Error;

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not begun.
    Pending,
    /// Begun: some statements are done; or another process is at it right now.
    Applying,
    /// A statement failed.
    Failed,
    /// Done.
    Applied,
}

impl State {
    /// As it stands in the history table.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Applying => "applying",
            State::Failed => "failed",
            State::Applied => "applied",
        }
    }

    /// The state of a name in the history table.
    pub(crate) fn from_name(name: &str) -> Option<State> {
        [State::Pending, State::Applying, State::Failed, State::Applied].into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of the history table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) name: String,
    /// Of the file that was applied ([`sql::checksum`]).
    pub(crate) checksum: String,
    pub(crate) state: State,
    /// Statements that are done.
    pub(crate) done: u32,
    /// Statements that the file has.
    pub(crate) statements: u32,
    /// ns since the epoch, by the clock of who wrote it.
    pub(crate) at: TimestampNs,
    /// Program, machine and process.
    pub(crate) by: String,
    /// Why it failed; empty where it did not.
    pub(crate) error: String,
}

/// The steps of `migrations`, as far as `history` says they are, and what the history has beyond them.
pub(crate) fn steps(migrations: &[Migration], history: &[Record]) -> Vec<Step> {
    let known = migrations.iter().map(|migration| {
        let record = history.iter().find(|record| record.version == migration.version());
        let statements = sql::split(migration.sql).map_or(0, |statements| statements.len() as u32);
        let checksum = sql::checksum(migration.sql);
        let Some(record) = record else {
            return Step {
                version: migration.version(),
                name: migration.name().to_owned(),
                state: State::Pending,
                statements: (0, statements),
                at: None,
                by: String::new(),
                checksum,
                note: None,
            };
        };
        let other = record.checksum != checksum;
        let note = match record.state {
            State::Applied if other => {
                Some(format!("applied with another content: {} here is {checksum}", migration.file))
            }
            State::Failed => Some(record.error.clone()),
            State::Applying => Some("stopped half-way, or another devmesh is at it now".to_owned()),
            State::Applied | State::Pending => None,
        };
        step(record, note)
    });
    let later = history
        .iter()
        .filter(|record| migrations.iter().all(|migration| migration.version() != record.version))
        .map(|record| step(record, Some("unknown to this version: a later devmesh made it".to_owned())));
    let mut steps: Vec<Step> = known.chain(later).collect();
    steps.sort_by_key(|step| step.version);
    steps
}

fn step(record: &Record, note: Option<String>) -> Step {
    Step {
        version: record.version,
        name: record.name.clone(),
        state: record.state,
        statements: (record.done, record.statements),
        at: Some(record.at),
        by: record.by.clone(),
        checksum: record.checksum.clone(),
        note,
    }
}

/// Refuses a history that this version cannot go on from.
///
/// # Errors
/// A later version has been here, or an applied migration had another content.
pub(crate) fn check(store: &str, migrations: &[Migration], history: &[Record]) -> Result<(), Error> {
    let latest = migrations.last().map_or(0, Migration::version);
    if let Some(record) = history.iter().filter(|record| record.version > latest).max_by_key(|record| record.version) {
        return Err(Error::Database(format!(
            "{store} has schema version {} ({}), made by {}; this devmesh {} knows versions up to {latest}. Use that \
             version or a later one",
            record.version,
            record.name,
            record.by,
            env!("CARGO_PKG_VERSION"),
        )));
    }
    for migration in migrations {
        let Some(record) = history.iter().find(|record| record.version == migration.version()) else { continue };
        let checksum = sql::checksum(migration.sql);
        if record.state == State::Applied && record.checksum != checksum {
            return Err(Error::Database(format!(
                "{store}: migration {} was applied by {} with another content (checksum {} there, {checksum} here). \
                 Use the devmesh that made this schema, or look with `devmesh migrate validate` what differs",
                migration.file, record.by, record.checksum,
            )));
        }
    }
    Ok(())
}

/// What keeps a store from being used: its schema is not the one of this version.
///
/// # Errors
/// What is missing, and what to do.
pub(crate) fn current(store: &str, status: &Status) -> Result<(), Error> {
    if !status.exists {
        return Err(Error::Database(format!("{store}: the database does not exist; `devmesh migrate init` makes it")));
    }
    let open = |step: &&Step| step.state != State::Applied || step.note.is_some();
    let Some(step) = status.steps.iter().find(open) else { return Ok(()) };
    let advice = match step.state {
        State::Applied => "use the devmesh that made it, or a later one",
        State::Pending | State::Applying | State::Failed => "run `devmesh migrate apply`",
    };
    let note = step.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
    let (version, name, state) = (step.version, &step.name, step.state);
    Err(Error::Database(format!("{store}: migration {version} {name} is {state}{note}; {advice}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[Migration] = &[
        Migration { file: "V0001__a.sql", sql: "CREATE TABLE IF NOT EXISTS a (b INT);" },
        Migration { file: "V0002__c.sql", sql: "SELECT 1;\nSELECT 2;" },
    ];

    fn record(version: u32, state: State, sql: &str) -> Record {
        Record {
            version,
            name: "x".into(),
            checksum: sql::checksum(sql),
            state,
            done: 1,
            statements: 2,
            at: 7,
            by: "devmesh 9.9.9 on here".into(),
            error: "no".into(),
        }
    }

    #[test]
    fn a_history_is_held_against_the_files() {
        let applied = record(1, State::Applied, FILES[0].sql);
        let states = |history: &[Record]| {
            steps(FILES, history).iter().map(|step| (step.version, step.state, step.note.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(states(&[]), [(1, State::Pending, false), (2, State::Pending, false)]);
        let half = record(2, State::Failed, "other");
        assert_eq!(states(&[applied.clone(), half]), [(1, State::Applied, false), (2, State::Failed, true)]);
        let later = record(3, State::Applied, "x");
        assert_eq!(states(&[applied.clone(), later])[2], (3, State::Applied, true));
        assert!(steps(FILES, &[record(1, State::Applied, "other")])[0].note.is_some());
        assert!(steps(FILES, &[applied])[0].note.is_none());
    }

    #[test]
    fn a_later_version_and_another_content_are_refused_and_a_half_done_one_is_not() {
        let refused = |history: &[Record]| check("db", FILES, history).map_err(|error| error.to_string());
        assert_eq!(refused(&[]), Ok(()));
        assert_eq!(refused(&[record(1, State::Failed, "other")]), Ok(()));
        assert_eq!(refused(&[record(1, State::Applied, FILES[0].sql)]), Ok(()));
        let later = refused(&[record(5, State::Applied, "x")]).unwrap_err();
        assert!(later.contains("version 5") && later.contains("9.9.9") && later.contains("up to 2"), "{later}");
        let other = refused(&[record(1, State::Applied, "other")]).unwrap_err();
        assert!(other.contains("V0001__a.sql") && other.contains("another content"), "{other}");
    }
}
