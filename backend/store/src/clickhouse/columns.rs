//! Which tables there are, and by which expression of ClickHouse each column of ours is read.
//!
//! The tables have the columns of the OpenTelemetry Collector's exporter. Behind them stand ours, which hold what those
//! lack:
//!
//! | column | what it holds | a row of another writer |
//! |---|---|---|
//! | `DevmeshWriter`, `DevmeshBlock` | which log the row came from, and in which block of it | empty, 0 |
//! | `DevmeshPath`, `DevmeshSource`, `DevmeshHost`, `DevmeshLevel`, `DevmeshObserved` | the columns of the same names | made from the others |
//! | `DevmeshSeverity`, `DevmeshFlags` | whole numbers, of which the exporter keeps 8 bits | those 8 bits |
//! | `DevmeshAbsent` | bits: [`absent`] | 0 |
//! | `DevmeshResource`, `DevmeshScope`, `DevmeshMetric` | the envelopes ([`devmesh_schema::stored`]) | empty: made from the others |
//! | `DevmeshTemplate` | the template of the body, `<*>` for each parameter | empty: not known |
//! | `DevmeshShape` | order and types of the attributes | empty: all are text |
//! | `DevmeshRest` | attributes that are lists, maps or bytes, as they were sent | empty |
//! | `DevmeshExact` | what is seldom there: [`exact`] | empty |

use devmesh_schema::{Signal, stored, tables};

/// Bits of `DevmeshAbsent`.
pub(super) mod absent {
    /// Logs: there is no body as text. Spans: there is no status. Metrics: a gauge or sum has no value.
    pub(in crate::clickhouse) const VALUE: u8 = 1;
    pub(in crate::clickhouse) const SUM: u8 = 2;
    pub(in crate::clickhouse) const MIN: u8 = 4;
    pub(in crate::clickhouse) const MAX: u8 = 8;
    pub(in crate::clickhouse) const POSITIVE: u8 = 16;
    pub(in crate::clickhouse) const NEGATIVE: u8 = 32;
    /// Not absent: the value of the point is an integer.
    pub(in crate::clickhouse) const IS_INT: u8 = 64;
    /// An attribute was sent without a value.
    pub(in crate::clickhouse) const ATTRIBUTE: u8 = 128;
}

/// Fields of the protobuf message in `DevmeshExact`; each is there only where it says something.
pub(super) mod exact {
    /// fixed64: [`devmesh_schema::stored::WIRE_TIME`].
    pub(in crate::clickhouse) const WIRE_TIME: u32 = 1;
    /// varint: attributes that were dropped.
    pub(in crate::clickhouse) const DROPPED_ATTRIBUTES: u32 = 2;
    /// bytes: the body, where it is no text.
    pub(in crate::clickhouse) const BODY_VALUE: u32 = 3;
    /// fixed64: [`devmesh_schema::stored::WIRE_END_TIME`].
    pub(in crate::clickhouse) const WIRE_END_TIME: u32 = 4;
    /// bytes: the events as they were sent.
    pub(in crate::clickhouse) const EVENTS: u32 = 5;
    /// bytes: the links as they were sent.
    pub(in crate::clickhouse) const LINKS: u32 = 6;
    /// varint.
    pub(in crate::clickhouse) const DROPPED_EVENTS: u32 = 7;
    /// varint.
    pub(in crate::clickhouse) const DROPPED_LINKS: u32 = 8;
    /// bytes: the exemplars as they were sent.
    pub(in crate::clickhouse) const EXEMPLARS: u32 = 9;
    /// varint: an integer value that a double does not hold.
    pub(in crate::clickhouse) const VALUE_INT: u32 = 10;
    /// message (key, bits as fixed64): an attribute that is a NaN of other bits than the usual one.
    pub(in crate::clickhouse) const NAN: u32 = 11;
}

/// A table of ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Logs,
    Traces,
    Direct,
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

impl Table {
    /// The tables of a signal; in the order of `KINDS` for metrics.
    pub(super) fn of(signal: Signal) -> &'static [Table] {
        match signal {
            Signal::Logs => &[Table::Logs],
            Signal::Traces => &[Table::Traces, Table::Direct],
            Signal::Metrics => &[Table::Gauge, Table::Sum, Table::Histogram, Table::Exponential, Table::Summary],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Logs => "otel_logs",
            Table::Traces => "otel_traces",
            Table::Direct => "ai_traces_direct",
            Table::Gauge => "otel_metrics_gauge",
            Table::Sum => "otel_metrics_sum",
            Table::Histogram => "otel_metrics_histogram",
            Table::Exponential => "otel_metrics_exponential_histogram",
            Table::Summary => "otel_metrics_summary",
        }
    }

    pub(super) fn signal(self) -> Signal {
        match self {
            Table::Logs => Signal::Logs,
            Table::Traces | Table::Direct => Signal::Traces,
            _ => Signal::Metrics,
        }
    }

    /// The column of the time.
    pub(super) fn time(self) -> &'static str {
        if self.signal() == Signal::Metrics { "TimeUnix" } else { "Timestamp" }
    }

    /// The column of the record's attributes.
    pub(super) fn attributes(self) -> &'static str {
        match self.signal() {
            Signal::Logs => "LogAttributes",
            Signal::Traces => "SpanAttributes",
            Signal::Metrics => "Attributes",
        }
    }

    /// The value that tells the table's rows from those of the signal's other tables: `ingest_path` of spans, `kind` of
    /// metrics.
    pub(super) fn part(self) -> &'static str {
        match self {
            Table::Logs => "",
            Table::Traces => "collector",
            Table::Direct => "direct",
            Table::Gauge => "gauge",
            Table::Sum => "sum",
            Table::Histogram => "histogram",
            Table::Exponential => "exponential_histogram",
            Table::Summary => "summary",
        }
    }
}

/// How values of a column compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Unsigned,
    Double,
    Time,
}

/// A column of ours as an expression.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) sql: String,
    pub(super) kind: Kind,
    /// The condition under which the column is NULL for us; the expression has the type's default there.
    pub(super) null: Option<String>,
}

/// The expression of a column of the signal's table; `None` where there is none that means exactly the same.
pub(super) fn column(table: Table, name: &str) -> Option<Column> {
    let is_shown = tables::columns(table.signal()).iter().any(|column| column.name == name);
    (is_shown || name == stored::TEMPLATE).then_some(())?;
    match table.signal() {
        Signal::Logs => log_column(name),
        Signal::Traces => span_column(table, name),
        Signal::Metrics => metric_column(table, name),
    }
}

fn plain(sql: &str, kind: Kind) -> Option<Column> {
    Some(Column { sql: sql.to_owned(), kind, null: None })
}

/// Text that is NULL for us where it is empty.
fn optional(sql: &str) -> Option<Column> {
    Some(Column { sql: sql.to_owned(), kind: Kind::Text, null: Some(format!("{sql} = ''")) })
}

fn optional_time(sql: &str) -> Option<Column> {
    let null = format!("toUnixTimestamp64Nano({sql}) = 0");
    Some(Column { sql: sql.to_owned(), kind: Kind::Time, null: Some(null) })
}

fn with_bit(sql: &str, kind: Kind, bit: u8) -> Option<Column> {
    Some(Column { sql: sql.to_owned(), kind, null: Some(format!("bitAnd(DevmeshAbsent, {bit}) != 0")) })
}

/// A column that is NULL in all rows.
fn nothing(sql: &str, kind: Kind) -> Option<Column> {
    Some(Column { sql: sql.to_owned(), kind, null: Some("1".to_owned()) })
}

fn log_column(name: &str) -> Option<Column> {
    match name {
        "time" => plain("Timestamp", Kind::Time),
        "observed_time" => optional_time("DevmeshObserved"),
        "ingest_path" => plain("DevmeshPath", Kind::Text),
        "source" => plain("DevmeshSource", Kind::Text),
        "service" => plain("ServiceName", Kind::Text),
        "host" => plain("DevmeshHost", Kind::Text),
        "level" => plain("DevmeshLevel", Kind::Text),
        "severity_number" => plain("DevmeshSeverity", Kind::Int),
        "severity_text" => optional("SeverityText"),
        "event_name" => optional("EventName"),
        "body" => with_bit("Body", Kind::Text, absent::VALUE),
        stored::TEMPLATE => optional("DevmeshTemplate"),
        "trace_id" => optional("TraceId"),
        "span_id" => optional("SpanId"),
        "trace_flags" => plain("DevmeshFlags", Kind::Unsigned),
        "scope_name" => plain("ScopeName", Kind::Text),
        "scope_version" => plain("ScopeVersion", Kind::Text),
        _ => None,
    }
}

fn span_column(table: Table, name: &str) -> Option<Column> {
    match name {
        "time" => plain("Timestamp", Kind::Time),
        "duration_ns" => plain("Duration", Kind::Int),
        "ingest_path" => plain(&format!("'{}'", table.part()), Kind::Text),
        "service" => plain("ServiceName", Kind::Text),
        "host" => plain("DevmeshHost", Kind::Text),
        "name" => plain("SpanName", Kind::Text),
        "kind" => plain(KIND, Kind::Text),
        "status_code" => plain(STATUS_CODE, Kind::Text),
        "status_message" => optional("StatusMessage"),
        "trace_id" => plain("TraceId", Kind::Text),
        "span_id" => plain("SpanId", Kind::Text),
        "parent_span_id" => optional("ParentSpanId"),
        "trace_state" => optional("TraceState"),
        "scope_name" => plain("ScopeName", Kind::Text),
        "scope_version" => plain("ScopeVersion", Kind::Text),
        _ => None,
    }
}

/// The exporter writes an unknown kind as the empty text; we write its number.
pub(super) const KIND: &str = "if(SpanKind = '', 'UNSPECIFIED', upper(SpanKind))";
/// As [`KIND`].
pub(super) const STATUS_CODE: &str = "if(StatusCode = '', 'UNSET', upper(StatusCode))";

fn metric_column(table: Table, name: &str) -> Option<Column> {
    let number = matches!(table, Table::Gauge | Table::Sum);
    let histogram = matches!(table, Table::Histogram | Table::Exponential);
    match name {
        "time" => plain("TimeUnix", Kind::Time),
        "start_time" => optional_time("StartTimeUnix"),
        "ingest_path" => plain("DevmeshPath", Kind::Text),
        "source" => plain("DevmeshSource", Kind::Text),
        "service" => plain("ServiceName", Kind::Text),
        "host" => plain("DevmeshHost", Kind::Text),
        "name" => plain("MetricName", Kind::Text),
        "description" => plain("MetricDescription", Kind::Text),
        "unit" => plain("MetricUnit", Kind::Text),
        "kind" => plain(&format!("'{}'", table.part()), Kind::Text),
        "temporality" if histogram || table == Table::Sum => plain(
            "multiIf(AggregationTemporality = 1, 'delta', AggregationTemporality = 2, 'cumulative', 'unspecified')",
            Kind::Text,
        ),
        "temporality" => nothing("''", Kind::Text),
        "value" if number => with_bit("Value", Kind::Double, absent::VALUE),
        "value" => nothing("toFloat64(0)", Kind::Double),
        "count" if !number => plain("Count", Kind::Unsigned),
        "count" => nothing("toUInt64(0)", Kind::Unsigned),
        "sum" if !number => with_bit("Sum", Kind::Double, absent::SUM),
        "min" if histogram => with_bit("Min", Kind::Double, absent::MIN),
        "max" if histogram => with_bit("Max", Kind::Double, absent::MAX),
        "sum" | "min" | "max" => nothing("toFloat64(0)", Kind::Double),
        "flags" => plain("Flags", Kind::Unsigned),
        _ => None,
    }
}
