//! The same tables on a cluster: each is made on every server, replicated, and a table of the same name asks all of them.
//!
//! `otel_logs` becomes `otel_logs_local`, which has the rows of one shard, and `otel_logs`, which has none and shares out
//! what is written to it by the expression that the statement names (`/* shard by … */`). An insert that is repeated must
//! come to the same shards, so that the expression is made of the row alone.

use crate::Error;

/// What stands behind the name of a table that has the rows of one server.
const LOCAL: &str = "_local";

/// The name of the table that has the rows of one server.
pub(crate) fn local(table: &str) -> String {
    format!("{table}{LOCAL}")
}

/// The statements that do on a cluster what `statement` does on one server. Each can be repeated where it can be.
///
/// # Errors
/// It is none of `CREATE TABLE`, `CREATE VIEW`, `CREATE MATERIALIZED VIEW` and `ALTER TABLE … ADD COLUMN` as our files write
/// them.
pub(crate) fn statements(statement: &str, cluster: &str) -> Result<Vec<String>, Error> {
    let on = format!("ON CLUSTER {}", super::sql::name(cluster));
    let wrong = |what: &str| {
        let head: String = statement.chars().take(60).collect();
        Error::Database(format!("cannot make a statement for a cluster of {head:?}: {what}"))
    };
    if let Some(rest) = statement.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
        let (table, body) = rest.split_once(' ').ok_or_else(|| wrong("it names no table"))?;
        let (before, after) =
            body.split_once("ENGINE = MergeTree").ok_or_else(|| wrong("its engine is not MergeTree"))?;
        let (key, settings) = after
            .trim_start()
            .strip_prefix("/* shard by ")
            .and_then(|rest| rest.split_once("*/"))
            .ok_or_else(|| wrong("it does not say how to share out rows"))?;
        let settings = settings.replace("non_replicated_deduplication_window", "replicated_deduplication_window");
        let local = local(table);
        // {uuid}, {shard} and {replica} are macros of the server; the first keeps a table that is made anew apart.
        let engine = "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')";
        return Ok(vec![
            format!("CREATE TABLE IF NOT EXISTS {local} {on} {before}{engine}{settings}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {table} {on} AS {local} ENGINE = Distributed({}, currentDatabase(), {}, {})",
                super::sql::literal(cluster),
                super::sql::literal(&local),
                key.trim()
            ),
        ]);
    }
    if let Some(rest) = statement.strip_prefix("CREATE MATERIALIZED VIEW IF NOT EXISTS ") {
        let (view, rest) = rest.split_once(" TO ").ok_or_else(|| wrong("it has no table to write to"))?;
        let (target, query) = rest.split_once(" AS").ok_or_else(|| wrong("it has no query"))?;
        let (select, source) = query.split_once(" FROM ").ok_or_else(|| wrong("its query reads no table"))?;
        let (source, tail) = source.split_once(' ').unwrap_or((source, ""));
        return Ok(vec![format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {view} {on} TO {} AS{select} FROM {} {tail}",
            local(target.trim()),
            local(source)
        )]);
    }
    if let Some(rest) = statement.strip_prefix("CREATE VIEW IF NOT EXISTS ") {
        let (view, query) = rest.split_once(" AS").ok_or_else(|| wrong("it has no query"))?;
        return Ok(vec![format!("CREATE VIEW IF NOT EXISTS {view} {on} AS{query}")]);
    }
    if let Some(rest) = statement.strip_prefix("ALTER TABLE ") {
        let (table, change) = rest.split_once(char::is_whitespace).ok_or_else(|| wrong("it names no table"))?;
        let change = change.trim_start();
        if !change.starts_with("ADD COLUMN IF NOT EXISTS ") || change.contains("ADD INDEX") {
            return Err(wrong("it does not just add columns that are not there"));
        }
        // The table that asks all servers has no codecs of its own; those of a column do no harm.
        return Ok([local(table), table.to_owned()].map(|name| format!("ALTER TABLE {name} {on} {change}")).to_vec());
    }
    Err(wrong("it is no CREATE TABLE, VIEW or MATERIALIZED VIEW, and no ALTER TABLE … ADD COLUMN, with IF NOT EXISTS"))
}
