//! What the graph asks in SQL to be made again: rows of a stretch of time, with the columns that [`Rows`](crate::Rows) reads.

use devmesh_schema::{Signal, TimestampNs, time};

use crate::{
    Range,
    rows::{ATTRIBUTES, RESOURCE},
};

/// The time of the newest record of a signal, in the column `newest`.
pub fn newest(signal: Signal) -> String {
    format!("SELECT max(time) AS newest FROM {}", signal.table())
}

/// The rows of a signal in a range of time. Metrics: one row for each resource.
pub fn rows(signal: Signal, range: Range) -> String {
    let mut columns = vec!["time".to_owned(), "service".to_owned()];
    let resource = RESOURCE.iter().enumerate().map(|(at, key)| format!("resource_attributes['{key}'] AS r{at}"));
    let attributes = ATTRIBUTES.iter().enumerate().map(|(at, key)| format!("attributes['{key}'] AS a{at}"));
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match signal {
        Signal::Traces => {
            columns.extend(named(&["duration_ns", "name", "kind", "status_code", "status_message"]));
            columns.extend(named(&["trace_id", "span_id", "parent_span_id", "events", "links"]));
            columns.extend(attributes);
            columns.extend(resource);
        }
        Signal::Logs => {
            columns.extend(named(&["level", "pattern_id"]));
            columns.extend(attributes);
            columns.extend(resource);
        }
        Signal::Metrics => columns.extend(resource),
    }
    let mut condition = Vec::new();
    if range.start != TimestampNs::MIN {
        condition.push(format!("time >= '{}'", time::format(range.start)));
    }
    if range.end != TimestampNs::MAX {
        condition.push(format!("time < '{}'", time::format(range.end)));
    }
    let condition = if condition.is_empty() { "true".to_owned() } else { condition.join(" AND ") };
    format!("SELECT {} FROM {} WHERE {condition}", columns.join(", "), signal.table())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stands_in_the_statement() {
        let sql = rows(Signal::Metrics, Range { start: 0, end: 1_000_000_000 });
        assert!(sql.ends_with("FROM metrics WHERE time >= '1970-01-01T00:00:00.000000000Z' AND time < '1970-01-01T00:00:01.000000000Z'"), "{sql}");
        assert!(rows(Signal::Traces, Range::default()).ends_with("FROM spans WHERE true"));
    }
}
