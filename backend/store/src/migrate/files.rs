//! The migrations in this binary: the files of `schema/sql/mariadb` and `schema/sql/clickhouse`, and beside them
//! `expected.txt`, the schema that they lead to (a test on a real server writes what it found where that differs).
//!
//! A file that was released never changes; what is to be another way is another file.

/// One migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// `V0001__log_events.sql`: number and name.
    pub(crate) file: &'static str,
    /// Its statements.
    pub(crate) sql: &'static str,
}

impl Migration {
    /// The number in the file's name; 0 where it has none, which a test rules out.
    pub(crate) fn version(&self) -> u32 {
        let digits = self.file.strip_prefix('V').and_then(|rest| rest.split_once("__"));
        digits.and_then(|(digits, _)| digits.parse().ok()).unwrap_or_default()
    }

    /// The name in the file's name.
    pub(crate) fn name(&self) -> &'static str {
        let name = self.file.split_once("__").map_or(self.file, |(_, name)| name);
        name.strip_suffix(".sql").unwrap_or(name)
    }
}

/// The files of a directory below `schema/sql`, in the order of their numbers.
macro_rules! migrations {
    ($directory:literal: $($file:literal),* $(,)?) => {
        &[$(Migration {
            file: $file,
            sql: include_str!(concat!("../../../../schema/sql/", $directory, "/", $file)),
        }),*]
    };
}

/// MariaDB's.
pub(crate) const MARIADB: &[Migration] = migrations!("mariadb": "V0001__tables.sql");
/// The schema that MariaDB has after them.
pub(crate) const MARIADB_EXPECTED: &str = include_str!("../../../../schema/sql/mariadb/expected.txt");

/// ClickHouse's.
pub(crate) const CLICKHOUSE: &[Migration] = migrations!("clickhouse": "V0001__tables.sql", "V0002__templates.sql");
/// The schema that ClickHouse has after them.
pub(crate) const CLICKHOUSE_EXPECTED: &str = include_str!("../../../../schema/sql/clickhouse/expected.txt");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::sql;

    const ALL: [(&str, &[Migration]); 2] = [("mariadb", MARIADB), ("clickhouse", CLICKHOUSE)];

    #[test]
    fn every_file_of_the_directories_is_in_the_binary_in_the_order_of_its_number() {
        for (directory, migrations) in ALL {
            let path = format!("{}/../../schema/sql/{directory}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.ends_with(".sql"))
                .collect();
            files.sort();
            let listed: Vec<_> = migrations.iter().map(|migration| migration.file).collect();
            assert_eq!(listed, files, "{directory}");
            let numbers: Vec<_> = migrations.iter().map(Migration::version).collect();
            assert_eq!(numbers, (1..).take(migrations.len()).collect::<Vec<u32>>(), "{directory}");
            for migration in migrations {
                assert!(!migration.name().is_empty() && migration.file.len() > "V0001__.sql".len(), "{directory}");
            }
        }
    }

    #[test]
    fn every_statement_can_be_repeated() {
        // What may follow is checked by the words that make it harmless the second time.
        let repeatable = [
            "IF NOT EXISTS",
            "IF EXISTS",
            "OR REPLACE",
            "INSERT IGNORE",
            "ON DUPLICATE KEY UPDATE",
            "MODIFY",
            "UPDATE ",
        ];
        for (directory, migrations) in ALL {
            for migration in migrations {
                let statements = sql::split(migration.sql);
                let statements = statements.unwrap_or_else(|error| panic!("{directory}/{}: {error}", migration.file));
                assert!(!statements.is_empty(), "{directory}/{} has no statement", migration.file);
                for statement in statements {
                    let head: String = statement.text.chars().take(400).collect::<String>().to_uppercase();
                    assert!(
                        repeatable.iter().any(|words| head.contains(words)),
                        "{directory}/{}:{}: say IF NOT EXISTS or the like: a statement may run twice",
                        migration.file,
                        statement.line
                    );
                }
            }
        }
    }
}
