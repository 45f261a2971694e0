//! What `psql` and drivers ask besides data: `\dt`, `\d logs`, `SHOW`, `SELECT version()`.
//!
//! psql describes tables with queries on Postgres' own catalogue. There is no such catalogue here; the handful of
//! queries that psql 10 to 18 sends are recognised by what they name, and answered from the tables' real columns. Any
//! other query on `pg_catalog` is refused with a word about `information_schema`, never answered with nothing.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use pgwire::error::PgWireResult;

use super::{error::wrong, scan};
use crate::answer::tables::Table;

/// The version that drivers adapt to: they send nothing that this one does not know.
pub(super) const SERVER_VERSION: &str = "15.0";

/// Object ids of tables begin here, as Postgres' own do for what users make.
const FIRST_OID: usize = 16_384;

/// Tables of Postgres that psql looks into for things that no table here has: indexes, triggers, policies.
const NOTHING_IN: [&str; 10] = [
    "pg_policy",
    "pg_statistic_ext",
    "pg_publication",
    "pg_inherits",
    "pg_index",
    "pg_constraint",
    "pg_trigger",
    "pg_rewrite",
    "pg_foreign_table",
    "pg_get_viewdef",
];

/// The parameters that `SHOW` knows.
pub(super) const PARAMETERS: [(&str, &str); 12] = [
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("standard_conforming_strings", "on"),
    ("transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("search_path", "public"),
    ("max_identifier_length", "63"),
];

/// An answer of text columns.
fn answer(columns: &[&str], rows: &[Vec<Option<String>>]) -> PgWireResult<RecordBatch> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let column = |index: usize| -> ArrayRef {
        let values = rows.iter().map(|row| row.get(index).cloned().flatten());
        Arc::new(values.collect::<StringArray>())
    };
    let arrays = (0..columns.len()).map(column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| wrong("XX000", error.to_string()))
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

/// Answers what is no query on our data; `None` where it is one.
pub(super) fn ask(sql: &str, tables: &[Table]) -> PgWireResult<Option<RecordBatch>> {
    let words = scan::words(sql);
    if let Some(name) = words.strip_prefix("show ") {
        return show(name.trim()).map(Some);
    }
    let constant = match words.as_str() {
        "select version()" | "select pg_catalog.version()" => {
            some(format!("PostgreSQL {SERVER_VERSION} (devmesh {})", env!("CARGO_PKG_VERSION"))).map(|v| ("version", v))
        }
        "select current_database()" | "select pg_catalog.current_database()" => {
            Some(("current_database", "devmesh".into()))
        }
        "select current_schema()" | "select current_schema" => Some(("current_schema", "public".into())),
        "select current_user" | "select session_user" => Some(("current_user", "devmesh".into())),
        _ => None,
    };
    if let Some((name, value)) = constant {
        return answer(&[name], &[vec![Some(value)]]).map(Some);
    }
    let known = words.contains("pg_catalog.") || words.contains("from pg_");
    if known { catalogue(sql, &words, tables).map(Some) } else { Ok(None) }
}

fn show(name: &str) -> PgWireResult<RecordBatch> {
    if name == "all" {
        let rows: Vec<_> = PARAMETERS.iter().map(|(name, value)| vec![some(*name), some(*value), some("")]).collect();
        return answer(&["name", "setting", "description"], &rows);
    }
    let name = match name {
        "transaction isolation level" => "transaction_isolation",
        "time zone" => "timezone",
        name => name,
    };
    let known = PARAMETERS.iter().find(|(known, _)| *known == name);
    match known {
        Some((name, value)) => answer(&[name], &[vec![some(*value)]]),
        None => Err(wrong("42704", format!("unrecognized configuration parameter \"{name}\""))),
    }
}

fn catalogue(sql: &str, words: &str, tables: &[Table]) -> PgWireResult<RecordBatch> {
    if NOTHING_IN.iter().any(|table| words.contains(table)) && !words.contains("pg_catalog.pg_attribute a") {
        return answer(&["name"], &[]);
    }
    let from_class = words.contains("from pg_catalog.pg_class c");
    if from_class && words.contains("c.relchecks") {
        return described(sql, words, tables);
    }
    if words.contains("from pg_catalog.pg_attribute a") && words.contains("a.attrelid =") {
        return attributes(sql, words, tables);
    }
    if from_class && words.contains("c.oid, n.nspname, c.relname") {
        let rows: Vec<_> = matching(sql, tables)
            .map(|(oid, table)| vec![some(oid.to_string()), some("public"), some(&table.name)])
            .collect();
        return answer(&["oid", "nspname", "relname"], &rows);
    }
    if from_class && words.contains("c.relkind in (") && words.contains("pg_get_userbyid") {
        return listed(sql, words, tables);
    }
    Err(wrong(
        "42P01",
        "the catalogue of Postgres is not here; ask information_schema.tables and information_schema.columns instead",
    ))
}

/// The tables whose names fit the pattern that psql makes of `\d lo*`: `'^(lo.*)$'`.
fn matching<'a>(sql: &str, tables: &'a [Table]) -> impl Iterator<Item = (usize, &'a Table)> {
    let pattern = sql
        .split_once("c.relname OPERATOR(pg_catalog.~) '^(")
        .or_else(|| sql.split_once("c.relname ~ '^("))
        .and_then(|(_, rest)| rest.split_once(")$'"))
        .map(|(pattern, _)| pattern.to_owned());
    tables.iter().enumerate().map(|(index, table)| (FIRST_OID + index, table)).filter(move |(_, table)| {
        pattern.as_deref().is_none_or(|pattern| pattern.split('|').any(|one| fits(one, &table.name)))
    })
}

/// Whether a name fits a pattern of letters, `.` and `.*`.
fn fits(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix(".*") {
        return name.char_indices().any(|(at, _)| fits(rest, &name[at..])) || fits(rest, "");
    }
    let mut pattern = pattern.chars();
    let mut name = name.chars();
    match (pattern.next(), name.next()) {
        (None, None) => true,
        (Some('.'), Some(_)) => fits(pattern.as_str(), name.as_str()),
        (Some(a), Some(b)) if a == b => fits(pattern.as_str(), name.as_str()),
        _ => false,
    }
}

fn by_oid<'a>(sql: &str, after: &str, tables: &'a [Table]) -> Option<&'a Table> {
    let (_, rest) = sql.split_once(after)?;
    let digits: String = rest.trim_start_matches([' ', '\'']).chars().take_while(char::is_ascii_digit).collect();
    tables.get(digits.parse::<usize>().ok()?.checked_sub(FIRST_OID)?)
}

/// `\dt`, `\dv`, `\d`.
fn listed(sql: &str, words: &str, tables: &[Table]) -> PgWireResult<RecordBatch> {
    let kinds =
        sql.split_once("relkind IN (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(kinds, _)| kinds);
    let wanted = |table: &Table| kinds.contains(if table.view { "'v'" } else { "'r'" });
    let detailed = words.contains("pg_table_size") || words.contains("obj_description");
    let mut rows: Vec<Vec<Option<String>>> = matching(sql, tables)
        .filter(|(_, table)| wanted(table))
        .map(|(_, table)| {
            let kind = if table.view { "view" } else { "table" };
            let mut row = vec![some("public"), some(&table.name), some(kind), some("devmesh")];
            if detailed {
                row.push(some(&table.doc));
            }
            row
        })
        .collect();
    rows.sort();
    let mut columns = vec!["Schema", "Name", "Type", "Owner"];
    if detailed {
        columns.push("Description");
    }
    answer(&columns, &rows)
}

/// The second question of `\d TABLE`: what sort of thing it is.
fn described(sql: &str, words: &str, tables: &[Table]) -> PgWireResult<RecordBatch> {
    let Some(table) = by_oid(sql, "c.oid =", tables) else { return answer(&["relchecks"], &[]) };
    let kind = if table.view { "v" } else { "r" };
    let mut columns = vec!["relchecks", "relkind", "relhasindex", "relhasrules", "relhastriggers"];
    let mut row = vec![some("0"), some(kind), some("f"), some("f"), some("f")];
    for (column, value) in [
        ("relrowsecurity", "f"),
        ("relforcerowsecurity", "f"),
        ("relhasoids", "f"),
        ("relispartition", "f"),
        ("options", ""),
        ("reltablespace", "0"),
        ("reloftype", ""),
        ("relpersistence", "p"),
        ("relreplident", "d"),
        ("amname", ""),
    ] {
        let asked = match column {
            "options" | "reloftype" => true,
            "amname" => words.contains("am.amname"),
            "relhasoids" => words.contains("relhasoids"),
            column => words.contains(&format!("c.{column}")),
        };
        if asked {
            columns.push(column);
            row.push(some(value));
        }
    }
    answer(&columns, &[row])
}

/// The third question of `\d TABLE`: its columns.
fn attributes(sql: &str, words: &str, tables: &[Table]) -> PgWireResult<RecordBatch> {
    let table = by_oid(sql, "a.attrelid =", tables);
    let optional: [(&str, &str, &str); 8] = [
        ("pg_get_expr", "default", ""),
        ("a.attnotnull", "attnotnull", "f"),
        ("attcollation", "attcollation", ""),
        ("a.attidentity", "attidentity", ""),
        ("a.attgenerated", "attgenerated", ""),
        ("a.attstorage", "attstorage", "x"),
        ("attcompression", "attcompression", ""),
        ("attstattarget", "attstattarget", ""),
    ];
    let asked: Vec<_> = optional.iter().filter(|(mark, _, _)| words.contains(mark)).collect();
    let described = words.contains("col_description");
    let mut columns = vec!["attname", "format_type"];
    columns.extend(asked.iter().map(|(_, name, _)| *name));
    if described {
        columns.push("col_description");
    }
    let rows = table.into_iter().flat_map(|table| &table.columns).map(|column| {
        let mut row = vec![some(&column.name), some(super::encode::pg_type(&column.data_type).name())];
        for (_, name, value) in &asked {
            row.push(match *name {
                "attnotnull" => some(if column.nullable { "f" } else { "t" }),
                "default" | "attcollation" => None,
                _ => some(*value),
            });
        }
        if described {
            row.push(some(&column.doc));
        }
        row
    });
    answer(&columns, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_psqls_patterns() {
        for (pattern, name, expected) in [
            ("logs", "logs", true),
            ("logs", "log", false),
            ("lo.*", "logs", true),
            (".*", "spans", true),
            (".*s", "spans", true),
            (".*x", "spans", false),
            ("s.ans", "spans", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_question_about_the_server_is_left_to_the_engine() {
        assert!(ask("SELECT * FROM logs", &[]).unwrap().is_none());
        assert!(ask("SELECT 'pg_catalog.pg_class'", &[]).unwrap().is_none());
        assert!(ask("SELECT * FROM pg_catalog.pg_roles", &[]).is_err());
        assert_eq!(ask("SHOW server_version", &[]).unwrap().unwrap().num_rows(), 1);
        assert!(ask("SHOW wishes", &[]).is_err());
    }
}
