//! Filters as conditions of ClickHouse.
//!
//! A condition keeps the rows that match its filter. Of some rows ClickHouse cannot tell: those have a condition of their
//! own, which leaves out none that matches, and the engine tells. A limit and groups are made of the other rows.

use std::fmt::Write;

use devmesh_schema::TimestampNs;

use super::columns::{Column, Kind, Table, absent, column};
use crate::{Filter, Op, Scan, Value, database::Seen};

/// Values that a list in a condition has at most: a longer one is left to the engine.
const LIST: usize = 1000;

/// A condition for a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// Keeps the rows that match, but for doubtful ones.
    pub(super) sql: String,
    /// The rows of which ClickHouse cannot tell.
    pub(super) doubtful: Option<Doubtful>,
}

/// Rows of which ClickHouse cannot tell whether they match.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doubtful {
    /// Which they are.
    rows: String,
    /// A condition that every one of them fulfils that matches.
    sql: String,
}

/// What a scan's rows have to fulfil in one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Where {
    /// For all rows.
    parts: Vec<String>,
    /// For those that are not doubtful, and for those that are.
    divided: Vec<(String, Doubtful)>,
    /// Whether every filter has a condition.
    pub(super) exact: bool,
    /// No row can match.
    pub(super) never: bool,
}

impl Where {
    /// The conditions of a scan, and, where there is a bound, that which leaves out what is read elsewhere.
    pub(super) fn new(table: Table, scan: &Scan, bound: Option<&Seen>) -> Self {
        let mut all = Self { exact: true, ..Self::default() };
        let time = table.time();
        if scan.time.start > TimestampNs::MIN {
            all.parts.push(format!("{time} >= fromUnixTimestamp64Nano(toInt64({}))", scan.time.start));
        }
        if scan.time.end < TimestampNs::MAX {
            all.parts.push(format!("{time} < fromUnixTimestamp64Nano(toInt64({}))", scan.time.end));
        }
        for filter in &scan.filters {
            match condition(table, filter) {
                None => all.exact = false,
                Some(Condition { sql, .. }) if sql == NEVER => all.never = true,
                Some(Condition { sql, .. }) if sql == ALWAYS => {}
                Some(Condition { sql, doubtful: None }) => all.parts.push(sql),
                Some(Condition { sql, doubtful: Some(doubtful) }) => all.divided.push((sql, doubtful)),
            }
        }
        if let Some(seen) = bound {
            let writer = literal(&seen.writer);
            all.parts.push(format!("NOT (DevmeshBlock > {} AND DevmeshWriter = {writer})", seen.last));
        }
        all
    }

    /// The rows that match, and, where there can be such, those of which the engine has to tell.
    pub(super) fn split(&self) -> (String, Option<String>) {
        let (mut certain, mut doubtful) = (self.parts.clone(), self.parts.clone());
        let mut any: Vec<&str> = Vec::new();
        for (sql, rows) in &self.divided {
            certain.push(format!("NOT ({})", rows.rows));
            certain.push(sql.clone());
            any.push(&rows.rows);
            doubtful.push(match self.divided.len() {
                1 => rows.sql.clone(),
                _ => format!("if({}, {}, {sql})", rows.rows, rows.sql),
            });
        }
        if any.is_empty() {
            return (clause(&certain), None);
        }
        doubtful.insert(0, format!("({})", any.join(" OR ")));
        (clause(&certain), Some(clause(&doubtful)))
    }
}

fn clause(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
}

const ALWAYS: &str = "1";
const NEVER: &str = "0";

/// The condition of a filter; `None` where there is none.
pub(super) fn condition(table: Table, filter: &Filter) -> Option<Condition> {
    match filter {
        Filter::Compare { column: name, op, value } => compare(&column(table, name)?, *op, value),
        Filter::OneOf { column: name, values } => one_of(&column(table, name)?, values),
        Filter::Attribute { key, value } => {
            let (map, key) = (table.attributes(), literal(key));
            if value.is_empty() {
                // An attribute that was sent without a value is empty there and NULL for us.
                let sql = format!("(mapContains({map}, {key}) AND {map}[{key}] = '')");
                let rows = format!("bitAnd(DevmeshAbsent, {}) != 0", absent::ATTRIBUTE);
                return Some(Condition { doubtful: Some(Doubtful { rows, sql: sql.clone() }), sql });
            }
            Some(exactly(format!("{map}[{key}] = {}", literal(value))))
        }
        Filter::Words { column: name, words } => {
            let column = column(table, name)?;
            (column.kind == Kind::Text).then(|| matches(&column, words))
        }
    }
}

fn exactly(sql: String) -> Condition {
    Condition { sql, doubtful: None }
}

fn compare(column: &Column, op: Op, value: &Value) -> Option<Condition> {
    let sql = &column.sql;
    let (condition, empty) = match (column.kind, value) {
        (Kind::Text, Value::Text(text)) => {
            if let Some(constant) = constant(sql) {
                return Some(decided(column, holds(constant.cmp(text.as_str()), op)));
            }
            (format!("{sql} {} {}", sign(op), literal(text)), holds("".cmp(text.as_str()), op))
        }
        (Kind::Int | Kind::Unsigned, Value::Int(number)) => {
            (format!("{sql} {} {}", sign(op), integer(*number)), holds(0.cmp(number), op))
        }
        (Kind::Time, Value::Int(at)) => {
            (format!("toUnixTimestamp64Nano({sql}) {} {}", sign(op), integer(*at)), holds(0.cmp(at), op))
        }
        (Kind::Double, Value::Int(number)) => return doubles(column, op, *number as f64),
        (Kind::Double, Value::Double(number)) => return doubles(column, op, *number),
        _ => return None,
    };
    if column.null.as_deref() == Some("1") {
        return Some(exactly(NEVER.to_owned()));
    }
    match &column.null {
        Some(null) if empty => Some(exactly(format!("({condition} AND NOT ({null}))"))),
        _ => Some(exactly(condition)),
    }
}

/// Comparisons of doubles: ours order NaN behind the infinities and -0 before 0, ClickHouse's do not.
fn doubles(column: &Column, op: Op, number: f64) -> Option<Condition> {
    if column.null.as_deref() == Some("1") {
        return Some(exactly(NEVER.to_owned()));
    }
    if !number.is_finite() {
        return None;
    }
    let sql = &column.sql;
    let present = column.null.as_ref().map_or(String::new(), |null| format!(" AND NOT ({null})"));
    let rows = if number == 0.0 { format!("(isNaN({sql}) OR {sql} = 0)") } else { format!("isNaN({sql})") };
    let condition = format!("({sql} {} {number:?}{present})", sign(op));
    Some(Condition { sql: condition, doubtful: Some(Doubtful { rows, sql: ALWAYS.to_owned() }) })
}

fn one_of(column: &Column, values: &[Value]) -> Option<Condition> {
    if values.len() > LIST {
        return None;
    }
    let mut list = Vec::new();
    let mut empty = false;
    for value in values {
        list.push(match (column.kind, value) {
            (Kind::Text, Value::Text(text)) => {
                empty |= text.is_empty();
                literal(text)
            }
            (Kind::Int | Kind::Unsigned, Value::Int(number)) => {
                empty |= *number == 0;
                integer(*number)
            }
            _ => return None,
        });
    }
    if list.is_empty() || column.null.as_deref() == Some("1") {
        return Some(exactly(NEVER.to_owned()));
    }
    if let Some(constant) = constant(&column.sql) {
        let any = values.iter().any(|value| matches!(value, Value::Text(text) if text == constant));
        return Some(decided(column, any));
    }
    let condition = format!("{} IN ({})", column.sql, list.join(", "));
    match &column.null {
        Some(null) if empty => Some(exactly(format!("({condition} AND NOT ({null}))"))),
        _ => Some(exactly(condition)),
    }
}

/// The text of an expression that is a literal, and has nothing to escape.
fn constant(sql: &str) -> Option<&str> {
    sql.strip_prefix('\'')?.strip_suffix('\'').filter(|text| !text.contains('\''))
}

fn decided(column: &Column, holds: bool) -> Condition {
    let never = !holds || column.null.as_deref() == Some("1");
    exactly(if never { NEVER } else { ALWAYS }.to_owned())
}

/// `matches()`. Words of ASCII in a text of ASCII are ClickHouse's tokens. Elsewhere it does not know our letters: such
/// texts are doubtful, less those that lack the letters of a word.
fn matches(column: &Column, words: &[String]) -> Condition {
    let sql = &column.sql;
    let lower = format!("lower({sql})");
    let rows = match sql.as_str() {
        "Body" => "DevmeshUnicode = 1".to_owned(),
        _ => format!("lengthUTF8({sql}) != length({sql})"),
    };
    let ascii: Vec<&String> = words.iter().filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric())).collect();
    // A letter beyond ASCII whose lower case is a k or an i (the Kelvin sign, İ) must not be missed.
    let letters = ascii.iter().filter(|word| !word.contains(['k', 'i']));
    let mut letters: Vec<String> = letters.map(|word| format!("position({lower}, {}) > 0", literal(word))).collect();
    if letters.is_empty() {
        letters.push(ALWAYS.to_owned());
    }
    let doubtful = Some(Doubtful { rows, sql: letters.join(" AND ") });
    if ascii.len() < words.len() {
        return Condition { sql: "1 = 0".to_owned(), doubtful };
    }
    let tokens: Vec<String> = ascii.iter().map(|word| format!("hasToken({lower}, {})", literal(word))).collect();
    Condition { sql: tokens.join(" AND "), doubtful }
}

fn holds(ordering: std::cmp::Ordering, op: Op) -> bool {
    match op {
        Op::Eq => ordering.is_eq(),
        Op::Lt => ordering.is_lt(),
        Op::LtEq => ordering.is_le(),
        Op::Gt => ordering.is_gt(),
        Op::GtEq => ordering.is_ge(),
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

fn integer(number: i64) -> String {
    format!("toInt64({number})")
}

/// Text as a literal.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A name in backticks.
pub(super) fn name(text: &str) -> String {
    let mut out = String::new();
    write!(out, "`{}`", text.replace('\\', "\\\\").replace('`', "\\`")).unwrap_or_default();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(column: &str, op: Op, value: Value) -> Filter {
        Filter::Compare { column: column.into(), op, value }
    }

    #[test]
    fn a_filter_is_a_condition_that_says_where_it_is_not_exact() {
        let text = |text: &str| Value::Text(text.into());
        // The condition, and where it is not exact the ones for the rows that it judges and the others.
        type Said<'a> = Option<(&'a str, Option<(&'a str, &'a str)>)>;
        let table: [(Table, Filter, Said<'_>); 14] = [
            (Table::Logs, compare("service", Op::Eq, text("a'b\\")), Some((r"ServiceName = 'a\'b\\'", None))),
            (Table::Logs, compare("trace_id", Op::Eq, text("ab")), Some(("TraceId = 'ab'", None))),
            (
                Table::Logs,
                compare("trace_id", Op::Lt, text("ab")),
                Some(("(TraceId < 'ab' AND NOT (TraceId = ''))", None)),
            ),
            (
                Table::Logs,
                compare("body", Op::Eq, text("")),
                Some(("(Body = '' AND NOT (bitAnd(DevmeshAbsent, 1) != 0))", None)),
            ),
            (
                Table::Logs,
                compare("severity_number", Op::GtEq, Value::Int(17)),
                Some(("DevmeshSeverity >= toInt64(17)", None)),
            ),
            (Table::Logs, compare("pattern_id", Op::Eq, text("x")), None),
            (Table::Logs, compare("service", Op::Eq, Value::Int(1)), None),
            (Table::Traces, compare("ingest_path", Op::Eq, text("direct")), Some(("0", None))),
            (Table::Direct, compare("ingest_path", Op::Eq, text("direct")), Some(("1", None))),
            (
                Table::Gauge,
                compare("value", Op::Gt, Value::Double(0.5)),
                Some(("(Value > 0.5 AND NOT (bitAnd(DevmeshAbsent, 1) != 0))", Some(("isNaN(Value)", "1")))),
            ),
            (Table::Histogram, compare("value", Op::Gt, Value::Double(0.5)), Some(("0", None))),
            (
                Table::Sum,
                Filter::OneOf { column: "kind".into(), values: vec![text("gauge"), text("sum")] },
                Some(("1", None)),
            ),
            (
                Table::Traces,
                Filter::Attribute { key: "k'".into(), value: "v".into() },
                Some((r"SpanAttributes['k\''] = 'v'", None)),
            ),
            (
                Table::Logs,
                Filter::Words { column: "body".into(), words: vec!["refused".into(), "ok".into()] },
                Some((
                    "hasToken(lower(Body), 'refused') AND hasToken(lower(Body), 'ok')",
                    Some(("DevmeshUnicode = 1", "position(lower(Body), 'refused') > 0")),
                )),
            ),
        ];
        for (table, filter, expected) in table {
            let doubt = |(rows, sql): (&str, &str)| Doubtful { rows: rows.into(), sql: sql.into() };
            let expected = expected.map(|(sql, doubtful)| Condition { sql: sql.into(), doubtful: doubtful.map(doubt) });
            assert_eq!(condition(table, &filter), expected, "{filter:?}");
        }
    }
}
