//! Table rows out of stored rows: each column of [`tables`] from the columns of [`stored`] it stands in.
//!
//! Nothing is derived before a query asks for it: [`sources`] says which stored columns a table column needs, [`derive()`]
//! makes it of a batch that has them by name. A stored column that the batch lacks is NULL in every row. Rows come from
//! memory and, by way of Parquet, from files, so that dictionaries, plain arrays and views are all read.
//!
//! What many records share is read once for each distinct value of a batch; text that is stored as text is not copied.
//! Errors come only from stored bytes that no decoder has written, or from more than 2 GiB of text in one batch.

mod attributes;
mod body;
mod children;
mod input;
mod shared;
mod text;

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
    cast::AsArray,
    new_null_array,
    types::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Schema};

use crate::{
    Signal,
    stored::{self, Tag},
    tables,
};

/// The stored columns that a column of a signal's table is made of. None for a column that the table does not have.
///
/// [`needs_attribute_columns`] says whether those of all attributes come in addition.
pub fn sources(signal: Signal, column: &str) -> &'static [&'static str] {
    let Some(column) = tables::columns(signal).iter().find(|known| known.name == column) else { return &[] };
    match (column.name, signal) {
        ("attributes", _) => &[stored::SHAPE, stored::REST],
        ("body", Signal::Logs) => &[stored::BODY, stored::TEMPLATE, stored::PARAMS, stored::UUIDS],
        ("pattern_id", Signal::Logs) => &[stored::TEMPLATE],
        ("resource_attributes", _) => &[stored::RESOURCE],
        ("scope_name" | "scope_version" | "scope_attributes", _) => &[stored::SCOPE],
        ("trace_flags", _) => &[stored::FLAGS],
        ("end_time", _) => &[stored::TIME, stored::DURATION_NS, stored::WIRE_END_TIME],
        ("description" | "unit" | "temporality" | "is_monotonic", _) => &[stored::METRIC],
        ("value", _) => &[stored::VALUE_DOUBLE, stored::VALUE_INT],
        _ => std::slice::from_ref(&column.name),
    }
}

/// Whether a table column is made of the columns of all attributes, besides [`sources`].
pub fn needs_attribute_columns(column: &str) -> bool {
    column == "attributes"
}

/// The stored columns that an attribute of the record can stand in.
pub fn attribute_sources(key: &str) -> Vec<String> {
    let columns = Tag::COLUMNS.iter().map(|tag| stored::attribute_column(*tag, key));
    columns.chain([stored::REST.to_owned()]).collect()
}

/// The column of a signal's table, of exactly its type, from the stored rows.
///
/// # Errors
/// The table has no such column; a stored column has a type or bytes that no decoder writes; or the text is longer than
/// 2 GiB.
pub fn derive(signal: Signal, column: &str, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let Some(wanted) = tables::columns(signal).iter().find(|known| known.name == column) else {
        return Err(ArrowError::SchemaError(format!("table {} has no column {column}", signal.table())));
    };
    let array = match wanted.name {
        "attributes" => attributes::all(rows)?,
        "body" => match body::column(rows)? {
            Some(bodies) => bodies,
            None => plain(rows, stored::BODY, &wanted.data_type)?,
        },
        "resource_attributes" => shared::attributes(rows, stored::RESOURCE)?,
        "scope_attributes" => shared::attributes(rows, stored::SCOPE)?,
        "scope_name" => shared::scope_text(rows, 1)?,
        "scope_version" => shared::scope_text(rows, 2)?,
        "description" => shared::metric_text(rows, 2)?,
        "unit" => shared::metric_text(rows, 3)?,
        "temporality" => shared::temporality(rows)?,
        "is_monotonic" => shared::is_monotonic(rows)?,
        "trace_id" | "span_id" | "parent_span_id" => text::hex(rows, wanted.name)?,
        "events" => children::events(rows)?,
        "links" => children::links(rows)?,
        "exemplars" => children::exemplars(rows)?,
        "end_time" => end_time(rows)?,
        "value" => value(rows)?,
        "trace_flags" => plain(rows, stored::FLAGS, &wanted.data_type)?,
        name => plain(rows, name, &wanted.data_type)?,
    };
    let array = if *array.data_type() == wanted.data_type { array } else { cast(&array, &wanted.data_type)? };
    if wanted.nullable { Ok(array) } else { input::without_nulls(array) }
}

/// All columns of a signal's table.
///
/// # Errors
/// As [`derive()`].
pub fn to_table(signal: Signal, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = tables::columns(signal).iter().map(|column| derive(signal, column.name, rows));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(tables::schema(signal), columns.collect::<Result<_, _>>()?, &options)
}

/// Whether rows of these columns have bodies that were cut into template and parameters ([`crate::body`]).
pub fn is_cut(rows: &Schema) -> bool {
    body::is_cut(rows)
}

/// The rows with whole bodies, as they are in memory.
///
/// # Errors
/// As [`derive()`].
pub fn with_whole_bodies(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    body::with_whole(rows)
}

/// What a template tells of the bodies that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All of them hold what is looked for.
    All,
    /// None does.
    None,
    /// Those can of which a parameter holds each of these texts, whatever the case of ASCII letters.
    Maybe {
        /// None: that says nothing.
        in_params: Vec<Vec<u8>>,
    },
}

/// Which bodies of cut rows hold what is looked for, NULL where there is none: `decide` says what the text of a template
/// tells, `holds` looks at a whole body.
///
/// # Errors
/// As [`derive()`].
pub fn search_bodies(
    rows: &RecordBatch,
    decide: impl Fn(&str) -> Told,
    holds: impl Fn(&str) -> bool,
) -> Result<BooleanArray, ArrowError> {
    body::search(rows, decide, holds)
}

/// What templates and parameters tell of bodies, and those that have to be looked at.
#[derive(Clone, Debug)]
pub struct Sifted {
    /// Of each row: whether its body holds what is looked for; `None` where it is open, and where there is no body.
    pub known: Vec<Option<bool>>,
    /// The rows that are open, ascending.
    pub open: Vec<usize>,
    /// Their bodies.
    pub bodies: StringArray,
}

/// What `decide` tells of cut rows' bodies by the texts of their templates, and the bodies that it leaves open.
///
/// # Errors
/// As [`derive()`].
pub fn sift_bodies(rows: &RecordBatch, decide: impl Fn(&str) -> Told) -> Result<Sifted, ArrowError> {
    body::sift(rows, decide)
}

/// The distinct texts of a text column and which of them each row has: one for each, `None` for NULL.
///
/// # Errors
/// As [`derive()`].
pub fn distinct(rows: &RecordBatch, name: &str) -> Result<(Vec<Option<String>>, UInt32Array), ArrowError> {
    let distinct = input::Distinct::of(rows, name)?;
    let mut texts = Vec::new();
    distinct.each(|text| {
        texts.push(text.map(|text| String::from_utf8_lossy(text).into_owned()));
        Ok(())
    })?;
    Ok((texts, distinct.keys))
}

/// An attribute of the record as text (`Utf8View`), whatever its type: `attributes['key']`. NULL where it is absent or
/// was sent empty.
///
/// # Errors
/// As [`derive()`].
pub fn attribute_text(key: &str, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    attributes::text(key, rows)
}

/// An attribute of the record as a number: integers and doubles as they are, text that is a number parsed, all else NULL.
///
/// # Errors
/// As [`derive()`].
pub fn attribute_f64(key: &str, rows: &RecordBatch) -> Result<Float64Array, ArrowError> {
    attributes::number(key, rows)
}

/// An attribute of what the records share, as text (`Utf8View`): `envelope` is [`stored::RESOURCE`] or
/// [`stored::SCOPE`], for `resource_attributes['key']` and `scope_attributes['key']`.
///
/// # Errors
/// As [`derive()`].
pub fn envelope_attribute_text(rows: &RecordBatch, envelope: &str, key: &str) -> Result<ArrayRef, ArrowError> {
    shared::attribute_text(rows, envelope, key)
}

/// A stored column as the table has it.
fn plain(rows: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match rows.column_by_name(name) {
        Some(array) if array.data_type() == data_type => Ok(Arc::clone(array)),
        Some(array) => cast(array, data_type),
        None => Ok(new_null_array(data_type, rows.num_rows())),
    }
}

/// The end on the wire, where it was stored, else the start and the duration.
fn end_time(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let time = plain(rows, stored::TIME, &tables::timestamp())?;
    let duration = plain(rows, stored::DURATION_NS, &DataType::Int64)?;
    let wire = plain(rows, stored::WIRE_END_TIME, &DataType::UInt64)?;
    let time: &TimestampNanosecondArray = time.as_primitive::<TimestampNanosecondType>();
    let duration: &Int64Array = duration.as_primitive::<Int64Type>();
    let wire: &UInt64Array = wire.as_primitive::<UInt64Type>();
    let ends = time.iter().zip(duration).zip(wire).map(|((time, duration), wire)| {
        let sent = wire.filter(|wire| *wire > 0).and_then(|wire| i64::try_from(wire).ok());
        sent.unwrap_or_else(|| time.unwrap_or(0).saturating_add(duration.unwrap_or(0)))
    });
    Ok(Arc::new(TimestampNanosecondArray::from_iter_values(ends).with_timezone("UTC")))
}

/// The value of a gauge or sum: integers beyond 2^53 lose digits.
fn value(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let double = plain(rows, stored::VALUE_DOUBLE, &DataType::Float64)?;
    if rows.column_by_name(stored::VALUE_INT).is_none() {
        return Ok(double);
    }
    let int = plain(rows, stored::VALUE_INT, &DataType::Int64)?;
    let doubles = double.as_primitive::<Float64Type>().iter();
    let values = doubles.zip(int.as_primitive::<Int64Type>()).map(|(double, int)| double.or(int.map(|int| int as f64)));
    Ok(Arc::new(values.collect::<Float64Array>()))
}
