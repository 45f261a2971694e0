//! What a store is asked, as EXPLAIN shows it: a line says what runs there, the rest of the plan runs here.

use std::fmt;

use devmesh_schema::time;
use devmesh_store::{Filter, Key, Measure, Op, Scan, Value};

/// A scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a>(pub(crate) &'a Scan);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scan = self.0;
        write!(f, "{}", scan.signal.table())?;
        if scan.time.start > i64::MIN {
            write!(f, ", from={}", time::format(scan.time.start))?;
        }
        if scan.time.end < i64::MAX {
            write!(f, ", to={}", time::format(scan.time.end))?;
        }
        if !scan.filters.is_empty() {
            write!(f, ", filters=[{}]", list(&scan.filters, filter))?;
        }
        if let Some(columns) = &scan.columns {
            write!(f, ", columns=[{}]", columns.join(", "))?;
        }
        match (scan.limit, scan.newest_first) {
            (Some(limit), true) => write!(f, ", newest={limit}"),
            (Some(limit), false) => write!(f, ", limit={limit}"),
            (None, _) => Ok(()),
        }
    }
}

/// All of them, with commas.
pub(crate) fn list<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    items.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// A key.
pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::Column(column) => column.clone(),
        Key::Attribute(key) => format!("attributes['{key}']"),
        Key::Time { width, origin: 0 } => format!("time by {width} ns"),
        Key::Time { width, origin } => format!("time by {width} ns from {}", time::format(*origin)),
    }
}

/// A measure.
pub(crate) fn measure(measure: &Measure) -> String {
    match measure {
        Measure::CountAll => "count(*)".into(),
        Measure::Count(column) => format!("count({column})"),
        Measure::Sum(column) => format!("sum({column})"),
        Measure::Min(column) => format!("min({column})"),
        Measure::Max(column) => format!("max({column})"),
    }
}

fn filter(filter: &Filter) -> String {
    match filter {
        Filter::Compare { column, op, value: with } => {
            let op = match op {
                Op::Eq => "=",
                Op::Lt => "<",
                Op::LtEq => "<=",
                Op::Gt => ">",
                Op::GtEq => ">=",
            };
            format!("{column} {op} {}", value(with))
        }
        Filter::OneOf { column, values } => format!("{column} IN ({})", list(values, value)),
        Filter::Attribute { key, value } => format!("attributes['{key}'] = '{value}'"),
        Filter::Words { column, words } => format!("matches({column}, '{}')", words.join(" ")),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("'{text}'"),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
    }
}
