//! Which figures of the telemetry are watched, and the SQL that reads them.
//!
//! Everything is read by four statements that group by stretches of time (a bucket), so that a store does the counting; the
//! statements differ, their columns do not: `t`, `service`, `name`, `n` (how many), `bad` (how many of them failed), `total` (the sum
//! of what is measured). Each answer is bounded by the number of groups that are watched at most.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clock;

/// Series of one source at most, of those with the most records.
pub const SERIES_EACH: usize = 250;
/// Bytes of a service's or signal's name; longer ones are not watched.
const NAME_BYTES: usize = 512;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The log records of a service.
    Logs,
    /// The log records of one pattern.
    Pattern,
    /// The spans of an operation.
    Operation,
    /// A metric.
    Metric,
}

/// What is judged of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How many a bucket.
    Rate,
    /// Which part of them failed.
    Errors,
    /// How long they took.
    Latency,
    /// What a gauge shows: saturation above all.
    Saturation,
}

impl Source {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Source; 4] = [Source::Logs, Source::Pattern, Source::Operation, Source::Metric];

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Source::Logs => "logs",
            Source::Pattern => "pattern",
            Source::Operation => "operation",
            Source::Metric => "metric",
        }
    }

    /// The table it is read from.
    fn table(self) -> &'static str {
        match self {
            Source::Logs | Source::Pattern => "logs",
            Source::Operation => "spans",
            Source::Metric => "metrics",
        }
    }

    /// The expressions of its name, of what failed and of what is measured.
    fn columns(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Source::Logs => ("''", "count(*) FILTER (WHERE severity_number >= 17)", "CAST(0 AS DOUBLE)"),
            Source::Pattern => ("pattern_id", "CAST(0 AS BIGINT)", "CAST(0 AS DOUBLE)"),
            Source::Operation => {
                ("name", "count(*) FILTER (WHERE status_code = 'ERROR')", "CAST(sum(duration_ns) AS DOUBLE)")
            }
            Source::Metric => ("name", "CAST(0 AS BIGINT)", "sum(value)"),
        }
    }

    /// Which rows count.
    fn condition(self) -> &'static str {
        match self {
            Source::Logs => "",
            Source::Pattern => " AND pattern_id IS NOT NULL",
            Source::Operation => " AND kind IN ('SERVER', 'CONSUMER', 'CLIENT', 'PRODUCER')",
            Source::Metric => " AND kind = 'gauge'",
        }
    }
}

impl Measure {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Rate => "rate",
            Measure::Errors => "errors",
            Measure::Latency => "latency",
            Measure::Saturation => "saturation",
        }
    }
}

/// A series that is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Whose it is.
    pub service: String,
    /// What is counted.
    pub source: Source,
    /// The operation, metric or pattern; empty for all logs or all operations of the service.
    pub name: String,
    /// What is judged.
    pub measure: Measure,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measure, source) = (self.measure.name(), self.source.name());
        match (self.source, self.measure) {
            (Source::Logs, Measure::Errors) => write!(f, "errors in the logs"),
            (Source::Logs, _) => write!(f, "rate of logs"),
            (Source::Operation, _) if self.name.is_empty() => write!(f, "{measure} of all operations"),
            _ => write!(f, "{measure} of {source} {}", self.name),
        }
    }
}

/// A stretch of time, ns since the epoch, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// From.
    pub start: i64,
    /// Until.
    pub end: i64,
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The beginning of the bucket, ns since the epoch.
    pub time: i64,
    /// Whose.
    pub service: String,
    /// What of it.
    pub name: String,
    /// How many records.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The sum of what they measure.
    pub total: f64,
}

impl Row {
    /// Whether its names are short enough to be kept.
    pub fn fits(&self) -> bool {
        self.service.len() <= NAME_BYTES && self.name.len() <= NAME_BYTES
    }
}

/// Quotes a text for SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A time in SQL.
fn at(time: i64) -> String {
    format!("'{}'", clock::format(time))
}

/// The statement that reads a source over whole buckets of `bucket_seconds`.
pub fn statement(source: Source, range: Range, bucket_seconds: u64) -> String {
    let (name, failed, total) = source.columns();
    let (table, condition) = (source.table(), source.condition());
    let (start, end) = (at(range.start), at(range.end));
    let buckets = (range.end - range.start) / 1_000_000_000 / bucket_seconds.max(1) as i64;
    let rows = SERIES_EACH as i64 * buckets.max(1);
    format!(
        "SELECT date_bin(INTERVAL '{bucket_seconds} seconds', time) AS t, service, {name} AS name, count(*) AS n, {failed} AS bad, \
         {total} AS total FROM {table} WHERE time >= {start} AND time < {end}{condition} GROUP BY 1, 2, 3 \
         ORDER BY n DESC, service, name, t LIMIT {rows}"
    )
}

/// Statements that have a row where there is any record since a time.
pub fn any_since(time: i64) -> [String; 3] {
    ["logs", "spans", "metrics"].map(|table| format!("SELECT time FROM {table} WHERE time >= {} LIMIT 1", at(time)))
}

/// A statement that shows a series over a range, for whoever reads an incident.
pub fn evidence(key: &Key, range: Range, bucket_seconds: u64) -> String {
    let (_, failed, total) = key.source.columns();
    let (table, condition) = (key.source.table(), key.source.condition());
    let named = match key.source {
        Source::Logs => String::new(),
        Source::Operation if key.name.is_empty() => String::new(),
        Source::Pattern => format!(" AND pattern_id = {}", quoted(&key.name)),
        Source::Operation | Source::Metric => format!(" AND name = {}", quoted(&key.name)),
    };
    let value = match key.measure {
        Measure::Rate => "count(*) AS records".to_owned(),
        Measure::Errors => format!("count(*) AS records, {failed} AS failed"),
        Measure::Latency => format!("count(*) AS spans, {total} / count(*) / 1e6 AS mean_ms"),
        Measure::Saturation => "avg(value) AS mean".to_owned(),
    };
    let (service, start, end) = (quoted(&key.service), at(range.start), at(range.end));
    format!(
        "SELECT date_bin(INTERVAL '{bucket_seconds} seconds', time) AS t, {value} FROM {table} WHERE service = {service}{named} \
         AND time >= {start} AND time < {end}{condition} GROUP BY 1 ORDER BY 1"
    )
}
