//! Filters as SQL.
//!
//! Two things are asked of a filter: a condition that every matching row meets ([`lax`]), which may use an index of a column
//! that compares letters without case; and one that exactly the matching rows meet ([`exact`]), for aggregates. Columns
//! whose text is cut keep the first from being an equality and the second from being possible, unless the chunks in
//! question say that nothing was cut.

use devmesh_schema::Signal;

use super::{rows::Cut, sql};
use crate::{Filter, Op, Value};

/// A column of a table of records, as SQL over the row `l`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// What it is of the row: exactly the table's value, where `cut` is not set in the row's chunk.
    pub(super) sql: &'static str,
    /// The column with an index, where equality can use it.
    index: Option<&'static str>,
    pub(super) kind: Kind,
    /// Set in a chunk where the column lacks something.
    pub(super) cut: Cut,
    /// Characters from which on a text may be cut.
    length: usize,
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Double,
}

impl Column {
    /// Whether the database compares such texts to their ends in every place.
    pub(super) fn is_short(self) -> bool {
        self.length <= 255
    }
}

const fn text(sql: &'static str, index: &'static str, cut: Cut, length: usize) -> Column {
    Column { sql, index: Some(index), kind: Kind::Text, cut, length }
}

const fn plain(sql: &'static str, kind: Kind, cut: Cut, length: usize) -> Column {
    Column { sql, index: None, kind, cut, length }
}

/// The column of the signal's table that SQL can say; `None` for one that only the chunks have.
///
/// Rows of other programs are told by the same expressions what [`super::foreign`] makes of them.
pub(super) fn column(signal: Signal, name: &str) -> Option<Column> {
    Some(match (signal, name) {
        (Signal::Logs | Signal::Metrics, "source") => {
            plain("IF(LENGTH(l.source) = 0, 'otlp', l.source) COLLATE utf8mb4_nopad_bin", Kind::Text, Cut::SOURCE, 255)
        }
        (Signal::Logs | Signal::Metrics, "service") => {
            text("l.service COLLATE utf8mb4_nopad_bin", "l.service", Cut::SERVICE, 255)
        }
        (Signal::Logs | Signal::Metrics, "host") => text("l.host COLLATE utf8mb4_nopad_bin", "l.host", Cut::HOST, 255),
        (Signal::Logs, "level") => text(
            "IF(l.level + 0 = 0, 'INFO', CAST(l.level AS CHAR)) COLLATE utf8mb4_nopad_bin",
            "l.level",
            Cut::NONE,
            16,
        ),
        (Signal::Logs, "body") => {
            plain("l.message COLLATE utf8mb4_nopad_bin", Kind::Text, Cut(Cut::TEXT.0 | Cut::NULL.0), 16_000)
        }
        (Signal::Metrics, "name") => text(
            "IF(LENGTH(l.metric_name) = 0, 'unnamed', l.metric_name) COLLATE utf8mb4_nopad_bin",
            "l.metric_name",
            Cut::TEXT,
            255,
        ),
        (Signal::Metrics, "unit") => plain("COALESCE(l.unit, '') COLLATE utf8mb4_nopad_bin", Kind::Text, Cut::UNIT, 50),
        (Signal::Metrics, "kind") => plain(
            "CASE WHEN BINARY l.metric_type IN ('sum', 'counter') THEN 'sum' WHEN BINARY l.metric_type IN ('histogram', \
             'exponential_histogram', 'summary') THEN l.metric_type ELSE 'gauge' END COLLATE utf8mb4_nopad_bin",
            Kind::Text,
            Cut::KIND,
            50,
        ),
        (Signal::Metrics, "value") => plain(
            "IF(BINARY l.metric_type IN ('histogram', 'exponential_histogram', 'summary'), NULL, l.value)",
            Kind::Double,
            Cut::VALUE,
            0,
        ),
        (Signal::Metrics, "sum") => plain(
            "CASE WHEN BINARY l.metric_type IN ('histogram', 'exponential_histogram') THEN l.value WHEN BINARY l.metric_type = \
             'summary' THEN COALESCE(l.value, 0) END",
            Kind::Double,
            Cut::VALUE,
            0,
        ),
        (Signal::Traces, "service") => text("l.service", "l.service", Cut::SERVICE, 255),
        (Signal::Traces, "host") => text("l.host", "l.host", Cut::HOST, 255),
        (Signal::Traces, "name") => text("l.name", "l.name", Cut::TEXT, 255),
        (Signal::Traces, "kind") => text("l.kind", "l.kind", Cut::KIND, 16),
        (Signal::Traces, "status_code") => text("l.status_code", "l.status_code", Cut::KIND, 16),
        (Signal::Traces, "status_message") => plain("l.status_message", Kind::Text, Cut::STATUS, 16_000),
        (Signal::Traces, "ingest_path") => text("l.ingest_path", "l.ingest_path", Cut::NONE, 16),
        (Signal::Traces, "trace_id") => text("l.trace_id", "l.trace_id", Cut::NONE, 32),
        (Signal::Traces, "span_id") => text("l.span_id", "l.span_id", Cut::NONE, 16),
        (Signal::Traces, "parent_span_id") => text("l.parent_span_id", "l.parent_span_id", Cut::NONE, 16),
        (Signal::Traces, "duration_ns") => plain("l.duration_ns", Kind::Int, Cut::NONE, 0),
        _ => return None,
    })
}

/// The row's time: in ns where the table has them, else in microseconds.
pub(super) fn time(signal: Signal) -> (&'static str, i64) {
    match signal {
        Signal::Traces => ("l.time_ns", 1),
        _ => ("TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', l.timestamp)", 1000),
    }
}

/// A condition that every row meets which matches the filter; `None` where there is no useful one.
pub(super) fn lax(signal: Signal, filter: &Filter) -> Option<String> {
    match filter {
        Filter::Compare { column, op: Op::Eq, value } => equals(signal, column, std::slice::from_ref(value)),
        Filter::OneOf { column, values } => equals(signal, column, values),
        Filter::Compare { column, op, value } => {
            let known = self::column(signal, column).filter(|column| column.kind == Kind::Int)?;
            Some(format!("{} {} {}", known.sql, sign(*op), literal(known, value)?))
        }
        Filter::Words { column, words } if signal == Signal::Logs && column == "body" => words_of(words),
        Filter::Words { .. } | Filter::Attribute { .. } => None,
    }
}

/// Bytes of a message that may be cut: less than the shortest packet leaves room for.
const LONG: usize = 1000;

/// The condition on messages that may have these words. Where a text has a letter beyond ASCII whose lower case is an ASCII
/// one (the Kelvin sign, İ), any letter will do.
fn words_of(words: &[String]) -> Option<String> {
    let words = words.iter().filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let likes: Vec<String> =
        words.map(|word| format!("l.message LIKE '%{}%'", word.replace(['k', 'i'], "_"))).collect();
    (!likes.is_empty()).then(|| format!("({} OR LENGTH(l.message) >= {LONG})", likes.join(" AND ")))
}

/// Whether the filter finds few rows by an index.
pub(super) fn is_narrow(filter: &Filter) -> bool {
    match filter {
        Filter::Compare { column, op: Op::Eq, value: Value::Text(_) } => column == "trace_id",
        Filter::OneOf { column, .. } => column == "trace_id",
        _ => false,
    }
}

/// Whether an index gives the rows of the filter, sorted by time or few.
pub(super) fn is_indexed(signal: Signal, filter: &Filter) -> bool {
    match filter {
        Filter::Compare { column, op: Op::Eq, .. } | Filter::OneOf { column, .. } => {
            let has_index = self::column(signal, column).is_some_and(|column| column.index.is_some());
            has_index && lax(signal, filter).is_some()
        }
        _ => false,
    }
}

fn equals(signal: Signal, name: &str, values: &[Value]) -> Option<String> {
    if signal == Signal::Logs && matches!(name, "trace_id" | "span_id") {
        // Ids of other programs may be in upper case, whatever the collation.
        let ids = values.iter().map(|value| match value {
            Value::Text(id) => Some(format!("{}, {}", sql::text(id), sql::text(&id.to_ascii_uppercase()))),
            _ => None,
        });
        return Some(format!("l.{name} IN ({})", ids.collect::<Option<Vec<_>>>()?.join(", ")));
    }
    let column = self::column(signal, name)?;
    let index = column.index.filter(|_| {
        // What stands for another value needs its expression: the level of a row without one, a metric without a name.
        !values.iter().any(|value| matches!(value, Value::Text(text) if text == "INFO" || text == "unnamed"))
    });
    let literals = values.iter().map(|value| match value {
        // A text of a cut column's length may go on where the row ends.
        Value::Text(text) => {
            Some(sql::text(text)).filter(|_| column.cut == Cut::NONE || text.chars().count() < column.length)
        }
        _ => None,
    });
    let literals = literals.collect::<Option<Vec<_>>>()?;
    if literals.is_empty() {
        return Some("FALSE".to_owned());
    }
    Some(format!("{} IN ({})", index.unwrap_or(column.sql), literals.join(", ")))
}

/// A condition that exactly the matching rows meet, and the bits that must not be set in their chunks; `None` where SQL
/// cannot say it.
pub(super) fn exact(signal: Signal, filter: &Filter) -> Option<(String, Cut)> {
    match filter {
        Filter::Compare { column, op: Op::Eq, value } if signal == Signal::Logs && column == "level" => {
            Some((levels(std::slice::from_ref(value))?, Cut::NONE))
        }
        Filter::Compare { column, op, value } => {
            let known = self::column(signal, column)?;
            let sql = format!("{} {} {}", known.sql, sign(*op), literal(known, value)?);
            // The index finds them; the expression picks the right ones among them.
            let with_index = lax(signal, filter).filter(|lax| *op == Op::Eq && known.index.is_some() && *lax != sql);
            Some((with_index.map_or(sql.clone(), |lax| format!("{lax} AND {sql}")), known.cut))
        }
        Filter::OneOf { column, values } if signal == Signal::Logs && column == "level" => {
            Some((levels(values)?, Cut::NONE))
        }
        Filter::OneOf { column, values } => {
            let known = self::column(signal, column)?;
            let literals: Vec<String> = values.iter().map(|value| literal(known, value)).collect::<Option<_>>()?;
            if literals.is_empty() {
                return Some(("FALSE".to_owned(), Cut::NONE));
            }
            Some((format!("{} IN ({})", known.sql, literals.join(", ")), known.cut))
        }
        Filter::Attribute { .. } | Filter::Words { .. } => None,
    }
}

/// Values of the column `level`; no two differ by case alone.
const LEVELS: [&str; 7] = ["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"];

/// The condition on rows of these levels, as numbers of the ENUM. Another text is no level.
fn levels(values: &[Value]) -> Option<String> {
    let mut known = Vec::new();
    for value in values {
        let Value::Text(text) = value else { return None };
        known.extend(LEVELS.iter().filter(|level| *level == text));
    }
    if known.is_empty() {
        return Some("FALSE".to_owned());
    }
    let list: Vec<String> = known.iter().map(|level| format!("'{level}'")).collect();
    let list = format!("l.level IN ({})", list.join(", "));
    // A row without a level counts as one of INFO.
    Some(if known.contains(&&"INFO") { format!("({list} OR l.level + 0 = 0)") } else { list })
}

/// A column that rows are grouped by, cheaper than its expression, and the text that its empty text stands for; groups
/// of both are two of the same key.
pub(super) fn key(signal: Signal, name: &str) -> Option<(&'static str, &'static str)> {
    match (signal, name) {
        (Signal::Logs, "level") => Some(("l.level", "INFO")),
        (Signal::Logs | Signal::Metrics, "source") => Some(("l.source COLLATE utf8mb4_nopad_bin", "otlp")),
        (Signal::Metrics, "name") => Some(("l.metric_name COLLATE utf8mb4_nopad_bin", "unnamed")),
        _ => None,
    }
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Lt => "<",
        Op::LtEq => "<=",
        Op::Gt => ">",
        Op::GtEq => ">=",
    }
}

/// A value as a literal that the database compares with the column as the engine does.
fn literal(column: Column, value: &Value) -> Option<String> {
    match (column.kind, value) {
        (Kind::Text, Value::Text(text)) => Some(sql::text(text)),
        (Kind::Int, Value::Int(int)) => Some(int.to_string()),
        (Kind::Double, Value::Double(double)) if double.is_finite() => Some(format!("{double:e}")),
        (Kind::Double, Value::Int(int)) if int.unsigned_abs() < 1 << 53 => Some(format!("{:e}", *int as f64)),
        _ => None,
    }
}
