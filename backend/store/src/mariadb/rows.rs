//! Stored rows as rows of `log_events`, `metric_events` and `spans`: one INSERT a chunk.
//!
//! Those tables have what people and other programs look for. What does not fit their columns is cut there, and the chunk
//! says in its bits [`Cut`] in which columns that happened, so that no aggregate takes such a column for the truth.

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampNanosecondType},
};
use arrow_schema::ArrowError;
use devmesh_schema::{
    Signal, TimestampNs, stored,
    view::{attribute_text, derive},
};

use super::{
    json::Attributes,
    sql::{Clock, cut, micros},
    statement::Statement,
};

/// Bytes of `TEXT`.
const TEXT: usize = 65_535;
/// Bytes of a JSON object in a row.
const JSON: usize = 65_536;

/// Bits of `devmesh_chunks.cut`: in which columns some row does not hold the whole truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut(pub(super) u32);

impl Cut {
    pub(super) const NONE: Cut = Cut(0);
    pub(super) const SOURCE: Cut = Cut(1);
    pub(super) const SERVICE: Cut = Cut(1 << 1);
    pub(super) const HOST: Cut = Cut(1 << 2);
    /// `message` of logs, `name` of spans and metrics.
    pub(super) const TEXT: Cut = Cut(1 << 3);
    /// `message` is empty where there is no body.
    pub(super) const NULL: Cut = Cut(1 << 4);
    /// `value` is NULL where the value is NaN or infinite.
    pub(super) const VALUE: Cut = Cut(1 << 5);
    pub(super) const STATUS: Cut = Cut(1 << 6);
    pub(super) const JSON: Cut = Cut(1 << 7);
    pub(super) const UNIT: Cut = Cut(1 << 8);
    pub(super) const KIND: Cut = Cut(1 << 9);
}

/// What a packet leaves room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    text: usize,
    json: usize,
    /// Bytes of a statement.
    pub(super) statement: usize,
    /// Bytes of a chunk's data in one packet.
    pub(super) piece: usize,
}

impl Limits {
    /// For a server that takes packets of so many bytes. Escapes may double a text, and a row has a few other columns.
    pub(super) fn of(packet: usize) -> Self {
        let row = packet.saturating_sub(8192) / 6;
        Self {
            text: TEXT.min(row),
            json: JSON.min(row),
            statement: (packet / 8 * 7).min(8 << 20),
            piece: (packet / 2).min(8 << 20),
        }
    }
}

/// A column of the table and how it gets its values.
#[derive(Debug)]
enum Values {
    Micros(TimestampNanosecondArray),
    Int(Int64Array),
    Double(Float64Array, Cut),
    /// The first of them that is not NULL, cut to so many characters and bytes.
    Text {
        from: Vec<StringViewArray>,
        characters: usize,
        bytes: usize,
        cut: Cut,
        null: Null,
    },
    Json(Attributes, usize),
}

/// What becomes of NULL.
#[derive(Clone, Copy, Debug)]
enum Null {
    Stays,
    /// The empty text, noted as this.
    Empty(Cut),
}

/// An INSERT of a batch.
#[derive(Debug)]
pub(super) struct Insert {
    pub(super) statement: Statement,
    pub(super) cut: Cut,
    /// Least and greatest time.
    pub(super) time: (TimestampNs, TimestampNs),
}

/// The table that has a row for each record of the signal.
pub(super) fn table(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "log_events",
        Signal::Traces => "spans",
        Signal::Metrics => "metric_events",
    }
}

/// Writes the INSERT of a batch of stored rows.
///
/// # Errors
/// The batch holds no stored rows.
pub(super) fn insert(signal: Signal, rows: &RecordBatch, limits: Limits) -> Result<Insert, ArrowError> {
    let columns = match signal {
        Signal::Logs => logs(rows, limits)?,
        Signal::Traces => spans(rows, limits)?,
        Signal::Metrics => metrics(rows, limits)?,
    };
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut statement = Statement::new(signal, &names, rows.num_rows(), limits.statement);
    let mut writer = Writer { clock: Clock::default(), cut: 0, json: String::new() };
    for row in 0..rows.num_rows() {
        statement.begin_row();
        for (_, values) in &columns {
            writer.put(&mut statement, values, row)?;
        }
        statement.end_row();
    }
    let time = derive(signal, stored::TIME, rows)?;
    let time = time.as_primitive::<TimestampNanosecondType>().values();
    let bounds = (time.iter().min().copied().unwrap_or(0), time.iter().max().copied().unwrap_or(0));
    Ok(Insert { statement, cut: Cut(writer.cut), time: bounds })
}

struct Writer {
    clock: Clock,
    cut: u32,
    json: String,
}

impl Writer {
    fn put(&mut self, out: &mut Statement, values: &Values, row: usize) -> Result<(), ArrowError> {
        match values {
            Values::Micros(times) => out.time(&mut self.clock, micros(times.value(row)))?,
            Values::Int(numbers) => out.int(numbers.value(row))?,
            Values::Double(numbers, cut) => {
                let number = numbers.is_valid(row).then(|| numbers.value(row));
                if number.is_some_and(|number| !number.is_finite()) {
                    self.cut |= cut.0;
                }
                out.double(number.filter(|number| number.is_finite()))?;
            }
            Values::Text { from, characters, bytes, cut: bit, null } => {
                let text = from.iter().find(|array| array.is_valid(row)).map(|array| array.value(row));
                match (text, null) {
                    (Some(text), _) => {
                        let short = cut(text, *characters, *bytes);
                        if short.len() < text.len() {
                            self.cut |= bit.0;
                        }
                        out.text(Some(short))?;
                    }
                    (None, Null::Stays) => out.text(None)?,
                    (None, Null::Empty(bit)) => {
                        self.cut |= bit.0;
                        out.text(Some(""))?;
                    }
                }
            }
            Values::Json(attributes, limit) => {
                self.json.clear();
                if !attributes.put(&mut self.json, row, *limit)? {
                    self.cut |= Cut::JSON.0;
                }
                out.text(Some(&self.json))?;
            }
        }
        Ok(())
    }
}

type Columns = Vec<(&'static str, Values)>;

/// The columns that begin both of the tables that other programs know.
fn events(signal: Signal, rows: &RecordBatch) -> Result<Columns, ArrowError> {
    let text = |name| Ok::<_, ArrowError>(views(&derive(signal, name, rows)?));
    Ok(vec![
        ("timestamp", Values::Micros(times(&derive(signal, "time", rows)?))),
        ("source", name(text("source")?, 255, Cut::SOURCE)),
        ("service", name(text("service")?, 255, Cut::SERVICE)),
        ("host", name(text("host")?, 255, Cut::HOST)),
    ])
}

fn logs(rows: &RecordBatch, limits: Limits) -> Result<Columns, ArrowError> {
    let signal = Signal::Logs;
    let text = |name| Ok::<_, ArrowError>(views(&derive(signal, name, rows)?));
    let attribute = |key| Ok::<_, ArrowError>(views(&attribute_text(key, rows)?));
    let mut columns = events(signal, rows)?;
    let event = vec![text("event_name")?, attribute("event_type")?];
    let message = vec![text("body")?];
    columns.extend([
        ("level", level(text("level")?)),
        ("trace_id", short(text("trace_id")?, 64, Cut::NONE)),
        ("span_id", short(text("span_id")?, 32, Cut::NONE)),
        ("event_type", column(event, 100, 400, Cut::NONE, Null::Stays)),
        ("error_code", short(attribute("error_code")?, 50, Cut::NONE)),
        ("message", column(message, usize::MAX, limits.text, Cut::TEXT, Null::Empty(Cut::NULL))),
        ("meta_json", Values::Json(Attributes::new(rows)?, limits.json)),
    ]);
    Ok(columns)
}

fn metrics(rows: &RecordBatch, limits: Limits) -> Result<Columns, ArrowError> {
    let signal = Signal::Metrics;
    let text = |name| Ok::<_, ArrowError>(views(&derive(signal, name, rows)?));
    let number = |name| Ok::<_, ArrowError>(derive(signal, name, rows)?.as_primitive::<Float64Type>().clone());
    let mut columns = events(signal, rows)?;
    let (value, sum) = (number("value")?, number("sum")?);
    let value: Float64Array = value.iter().zip(&sum).map(|(value, sum)| value.or(sum)).collect();
    columns.extend([
        ("metric_name", name(text("name")?, 255, Cut::TEXT)),
        ("metric_type", name(text("kind")?, 50, Cut::KIND)),
        ("value", Values::Double(value, Cut::VALUE)),
        ("unit", short(text("unit")?, 50, Cut::UNIT)),
        ("labels_json", Values::Json(Attributes::new(rows)?, limits.json)),
    ]);
    Ok(columns)
}

fn spans(rows: &RecordBatch, limits: Limits) -> Result<Columns, ArrowError> {
    let signal = Signal::Traces;
    let text = |name| Ok::<_, ArrowError>(views(&derive(signal, name, rows)?));
    let id = |name, null| Ok::<_, ArrowError>(column(vec![text(name)?], 32, 32, Cut::NONE, null));
    let time: Int64Array = times(&derive(signal, "time", rows)?).reinterpret_cast();
    let duration = derive(signal, "duration_ns", rows)?.as_primitive::<Int64Type>().clone();
    let message = vec![text("status_message")?];
    Ok(vec![
        ("time_ns", Values::Int(time)),
        ("duration_ns", Values::Int(duration)),
        ("ingest_path", name(text("ingest_path")?, 16, Cut::NONE)),
        ("service", name(text("service")?, 255, Cut::SERVICE)),
        ("host", name(text("host")?, 255, Cut::HOST)),
        ("name", name(text("name")?, 255, Cut::TEXT)),
        ("kind", name(text("kind")?, 16, Cut::KIND)),
        ("status_code", name(text("status_code")?, 16, Cut::KIND)),
        ("status_message", column(message, usize::MAX, limits.text, Cut::STATUS, Null::Stays)),
        ("trace_id", id("trace_id", Null::Empty(Cut::NONE))?),
        ("span_id", id("span_id", Null::Empty(Cut::NONE))?),
        ("parent_span_id", id("parent_span_id", Null::Stays)?),
        ("attributes", Values::Json(Attributes::new(rows)?, limits.json)),
    ])
}

/// A `VARCHAR` of so many characters that is never NULL.
fn name(text: StringViewArray, characters: usize, cut: Cut) -> Values {
    column(vec![text], characters, characters * 4, cut, Null::Empty(cut))
}

/// The level; INFO where there is none, as the decoder has it.
fn level(text: StringViewArray) -> Values {
    let otherwise = StringViewArray::from(vec!["INFO"; text.len()]);
    column(vec![text, otherwise], 16, 16, Cut::NONE, Null::Stays)
}

/// A `VARCHAR` of so many characters.
fn short(text: StringViewArray, characters: usize, cut: Cut) -> Values {
    column(vec![text], characters, characters * 4, cut, Null::Stays)
}

fn column(from: Vec<StringViewArray>, characters: usize, bytes: usize, cut: Cut, null: Null) -> Values {
    Values::Text { from, characters, bytes, cut, null }
}

fn views(array: &ArrayRef) -> StringViewArray {
    array.as_string_view().clone()
}

fn times(array: &ArrayRef) -> TimestampNanosecondArray {
    array.as_primitive::<TimestampNanosecondType>().clone()
}
