//! A schema as a list of lines, one a table, column, index or other property, so that two can be compared.
//!
//! ```text
//! column log_events.level: enum('DEBUG','INFO') not null
//! index log_events.idx_level: (level)
//! table log_events: InnoDB utf8mb4
//! ```

use std::{collections::BTreeMap, fmt};

/// A schema: what there is (`column log_events.level`), and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape(BTreeMap<String, String>);

impl Shape {
    /// Reads the lines that [`Shape`]'s `Display` writes; empty ones and those that begin with `#` are none.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
                .map(|(what, how)| (what.to_owned(), how.to_owned()))
                .collect(),
        )
    }

    /// Adds a line; `what` is a kind, a blank, and `TABLE` or `TABLE.NAME`.
    pub(crate) fn add(&mut self, kind: &str, table: &str, name: Option<&str>, how: &str) {
        let what = match name {
            Some(name) => format!("{kind} {table}.{name}"),
            None => format!("{kind} {table}"),
        };
        let one_line = how.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.insert(what, one_line);
    }

    /// The tables that it has, then the views, each in alphabetical order.
    pub(crate) fn tables(&self) -> Vec<&str> {
        self.0.keys().filter_map(|what| what.strip_prefix("table ").or_else(|| what.strip_prefix("view "))).collect()
    }

    /// How `live` differs from this, in the order of the tables. Of a table that is missing the columns are not named.
    pub(crate) fn compare(&self, live: &Shape) -> Vec<Drift> {
        let mut drifts = Vec::new();
        for (what, expected) in &self.0 {
            match live.0.get(what) {
                Some(found) if found == expected => {}
                Some(found) => drifts.push(Drift {
                    what: what.clone(),
                    difference: Difference::Changed { expected: expected.clone(), found: found.clone() },
                }),
                None if is_part(what) && !live.has(table_of(what)) => {}
                None => {
                    drifts.push(Drift {
                        what: what.clone(),
                        difference: Difference::Missing { expected: expected.clone() },
                    });
                }
            }
        }
        for (what, found) in live.0.iter().filter(|(what, _)| !self.0.contains_key(*what)) {
            drifts.push(Drift { what: what.clone(), difference: Difference::Extra { found: found.clone() } });
        }
        drifts.sort_by(|a, b| {
            (table_of(&a.what), is_part(&a.what), &a.what).cmp(&(table_of(&b.what), is_part(&b.what), &b.what))
        });
        drifts
    }

    /// The same on a cluster: a table has its rows in one of another name (`local`), and asks those of all servers.
    pub(crate) fn on_cluster(&self, local: impl Fn(&str) -> String) -> Shape {
        let mut shape = Shape::default();
        let tables: Vec<&str> = self.0.keys().filter_map(|what| what.strip_prefix("table ")).collect();
        for (what, how) in &self.0 {
            let table = table_of(what);
            if !tables.contains(&table) {
                shape.0.insert(what.clone(), how.clone());
                continue;
            }
            let (kind, name) = what.split_once(' ').unwrap_or((what, ""));
            let rest = name.strip_prefix(table).unwrap_or_default();
            shape.0.insert(format!("{kind} {}{rest}", local(table)), how.clone());
            if what.starts_with("table ") {
                shape.0.insert(what.clone(), "Distributed".to_owned());
            } else if what.starts_with("column ") {
                shape.0.insert(what.clone(), how.clone());
            }
        }
        shape
    }

    fn has(&self, table: &str) -> bool {
        self.tables().contains(&table)
    }
}

/// The table that a line is about.
fn table_of(what: &str) -> &str {
    let name = what.split_once(' ').map_or(what, |(_, name)| name);
    if is_part(what) { name.split_once('.').map_or(name, |(table, _)| table) } else { name }
}

/// Whether a line is about something in a table.
fn is_part(what: &str) -> bool {
    !what.starts_with("table ") && !what.starts_with("view ")
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, how)| writeln!(f, "{what}: {how}"))
    }
}

/// One place where the live schema is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// `column log_events.level`, `index …`, `table …`, `file …`.
    pub what: String,
    /// How.
    pub difference: Difference,
}

/// How something differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Difference {
    /// It should be there.
    Missing { expected: String },
    /// It is another way.
    Changed { expected: String, found: String },
    /// It should not be there.
    Extra { found: String },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.difference {
            Difference::Missing { expected } => write!(f, "missing  {what}: {expected}"),
            Difference::Changed { expected, found } => write!(f, "changed  {what}: expected {expected}; found {found}"),
            Difference::Extra { found } => write!(f, "extra    {what}: {found}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: &str =
        "# a comment\n\ntable logs: InnoDB\ncolumn logs.a: int\ncolumn logs.b: text null\nindex logs.i: (a)\n";

    fn drift(live: &str) -> Vec<String> {
        Shape::parse(LOGS).compare(&Shape::parse(live)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_missing_changed_and_extra_is_named() {
        assert_eq!(drift(LOGS), [""; 0]);
        assert_eq!(drift(""), ["missing  table logs: InnoDB"]);
        let live = "table logs: InnoDB\ncolumn logs.a: bigint\ncolumn logs.c: int\nindex logs.i: (a)\nview v:\n";
        assert_eq!(
            drift(live),
            [
                "changed  column logs.a: expected int; found bigint",
                "missing  column logs.b: text null",
                "extra    column logs.c: int",
                "extra    view v: ",
            ]
        );
    }

    #[test]
    fn on_a_cluster_a_table_is_two() {
        let shape = Shape::parse("table t: MergeTree\norder t: a\ncolumn t.t: int\nindex t.i: minmax\nview v: View\n");
        let expected = "table t: Distributed\ntable t_local: MergeTree\norder t_local: a\ncolumn t.t: int\n\
                        column t_local.t: int\nindex t_local.i: minmax\nview v: View\n";
        assert_eq!(shape.on_cluster(|table| format!("{table}_local")), Shape::parse(expected));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut shape = Shape::parse(LOGS);
        shape.add("column", "logs", Some("d.e"), "Map(String,\n   String)");
        shape.add("view", "v", None, "");
        assert_eq!(Shape::parse(&shape.to_string()), shape);
        assert_eq!(shape.tables(), ["logs", "v"]);
        assert!(shape.to_string().contains("column logs.d.e: Map(String, String)\n"));
    }
}
