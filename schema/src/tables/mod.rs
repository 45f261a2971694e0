//! The tables as a user sees them in SQL: one file a table, one line a column.
//!
//! These are the columns of CONTRACT §4, in its order. Text is `Utf8View`, times are nanoseconds in UTC, attributes are
//! maps from text to text (numbers as decimal text, lists and maps as compact JSON, bytes as base64).

mod logs;
mod metrics;
mod spans;

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::Signal;

/// A column: its name, its type, whether it may be NULL, and what it says.
#[derive(Clone, Debug)]
pub struct Column {
    /// The name in SQL.
    pub name: &'static str,
    /// The Arrow type.
    pub data_type: DataType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// What it holds, for the reference page and the console.
    pub doc: &'static str,
}

/// The columns of a signal's table, in order.
pub fn columns(signal: Signal) -> &'static [Column] {
    static LOGS: LazyLock<Vec<Column>> = LazyLock::new(logs::columns);
    static SPANS: LazyLock<Vec<Column>> = LazyLock::new(spans::columns);
    static METRICS: LazyLock<Vec<Column>> = LazyLock::new(metrics::columns);
    match signal {
        Signal::Logs => &LOGS,
        Signal::Traces => &SPANS,
        Signal::Metrics => &METRICS,
    }
}

/// The Arrow schema of a signal's table.
pub fn schema(signal: Signal) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 3]> = LazyLock::new(|| {
        Signal::ALL.map(|signal| {
            let field = |c: &Column| Field::new(c.name, c.data_type.clone(), c.nullable);
            Arc::new(Schema::new(columns(signal).iter().map(field).collect::<Fields>()))
        })
    });
    Arc::clone(&SCHEMAS[signal as usize])
}

/// The type of every time: nanoseconds since the epoch, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The type of attributes: a map from text to text; NULL where a value was sent empty.
pub fn attributes() -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The type of an event of a span.
pub fn event() -> Fields {
    Fields::from(vec![
        Field::new("time", timestamp(), false),
        Field::new("name", DataType::Utf8View, false),
        Field::new("attributes", attributes(), false),
    ])
}

/// The type of a link of a span.
pub fn link() -> Fields {
    Fields::from(vec![
        Field::new("trace_id", DataType::Utf8View, false),
        Field::new("span_id", DataType::Utf8View, false),
        Field::new("trace_state", DataType::Utf8View, false),
        Field::new("attributes", attributes(), false),
    ])
}

/// The type of an exemplar of a data point.
pub fn exemplar() -> Fields {
    Fields::from(vec![
        Field::new("time", timestamp(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("trace_id", DataType::Utf8View, true),
        Field::new("span_id", DataType::Utf8View, true),
        Field::new("attributes", attributes(), false),
    ])
}

/// The type of a quantile of a summary.
pub fn quantile() -> Fields {
    Fields::from(vec![Field::new("quantile", DataType::Float64, false), Field::new("value", DataType::Float64, false)])
}

/// A list of structs with `fields`.
pub fn list_of(fields: Fields) -> DataType {
    list(DataType::Struct(fields))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn text() -> DataType {
    DataType::Utf8View
}

fn column(name: &'static str, data_type: DataType, nullable: bool, doc: &'static str) -> Column {
    Column { name, data_type, nullable, doc }
}
