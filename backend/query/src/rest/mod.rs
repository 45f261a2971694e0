//! What the HTTP API asks, as typed answers: logs, traces, services, searches. All of it is SQL over the engine.

pub(crate) mod cells;
pub mod logs;
pub mod patterns;
pub mod search;
pub mod services;
pub mod traces;
pub mod tree;

use devmesh_schema::{TimestampNs, time};

pub use logs::{LogEvent, LogQuery};
pub use patterns::{ComparedPattern, Comparison, PatternFigures, PatternQuery};
pub use search::{Example, SearchAnswer, SearchQuery, SearchResult};
pub use services::{ServiceEdge, ServiceFigures, ServiceMap};
pub use traces::{Event, Link, Span, Trace, TraceQuery, TraceSummary};

/// A time range; an open end is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// From when on, ns since the epoch.
    pub start: Option<TimestampNs>,
    /// Until when, that moment excluded.
    pub end: Option<TimestampNs>,
}

impl TimeRange {
    /// Seconds, where both ends are known.
    fn seconds(self) -> Option<f64> {
        let (start, end) = (self.start?, self.end?);
        (end > start).then(|| (end - start) as f64 / 1e9)
    }
}

/// A condition being put together. Values stand in it as SQL literals: this is the one place that quotes them.
#[derive(Debug)]
struct Condition(String);

impl Condition {
    /// True.
    fn new() -> Self {
        Self("true".into())
    }

    fn and(&mut self, condition: std::fmt::Arguments<'_>) -> &mut Self {
        self.0 += &format!(" AND {condition}");
        self
    }

    fn time(&mut self, range: TimeRange) -> &mut Self {
        if let Some(start) = range.start {
            self.and(format_args!("time >= '{}'", time::format(start)));
        }
        if let Some(end) = range.end {
            self.and(format_args!("time < '{}'", time::format(end)));
        }
        self
    }

    /// A level of logs, whatever the case. WARN and WARNING are one.
    fn level(&mut self, level: Option<&str>) -> &mut Self {
        match level.map(str::to_ascii_uppercase).as_deref() {
            Some("WARN" | "WARNING") => self.and(format_args!("level IN ('WARN', 'WARNING')")),
            level => self.equals("level", level),
        }
    }

    fn equals(&mut self, column: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.and(format_args!("{column} = {}", quote(value)));
        }
        self
    }
}

/// A text as an SQL literal. Only the quote is special in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
