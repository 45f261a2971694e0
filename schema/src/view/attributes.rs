//! The attributes of records: one of them from its columns, or all as a map.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch,
    StringViewArray,
    cast::AsArray,
    new_null_array,
    types::{Float64Type, Int64Type},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};

use super::{
    input::{self, Distinct},
    text::{Attribute, Maps, Texts, each_field, each_message, invalid, put_hex},
};
use crate::{
    otlp::{
        any_value,
        wire::{Reader, Wire},
    },
    stored::{self, Tag},
};

/// A typed column of an attribute.
#[derive(Debug)]
enum Column {
    Text(StringViewArray),
    Uuid(FixedSizeBinaryArray),
    Int(Int64Array),
    Double(Float64Array),
    Bool(BooleanArray),
}

impl Column {
    /// The column of `key` with type `tag`; `None` where the batch has none.
    fn of(rows: &RecordBatch, tag: Tag, key: &str) -> Result<Option<Self>, ArrowError> {
        let name = stored::attribute_column(tag, key);
        let (Some(array), Some(data_type)) = (rows.column_by_name(&name), tag.data_type()) else { return Ok(None) };
        Ok(Some(match tag {
            Tag::Text => match input::text(rows, &name)? {
                Some(text) => Column::Text(text),
                None => return Ok(None),
            },
            Tag::Uuid => {
                let binary = match array.data_type() {
                    DataType::BinaryView => cast(array, &DataType::Binary)?,
                    _ => Arc::clone(array),
                };
                Column::Uuid(input::as_type(&binary, &data_type)?.as_fixed_size_binary().clone())
            }
            Tag::Int => Column::Int(input::as_type(array, &data_type)?.as_primitive::<Int64Type>().clone()),
            Tag::Double => Column::Double(input::as_type(array, &data_type)?.as_primitive::<Float64Type>().clone()),
            Tag::Bool => Column::Bool(input::as_type(array, &data_type)?.as_boolean().clone()),
            Tag::Empty | Tag::Rest => return Ok(None),
        }))
    }

    /// All columns of `key` that the batch has.
    fn all_of(rows: &RecordBatch, key: &str) -> Result<Vec<Self>, ArrowError> {
        Tag::COLUMNS.into_iter().filter_map(|tag| Column::of(rows, tag, key).transpose()).collect()
    }

    fn is_valid(&self, row: usize) -> bool {
        match self {
            Column::Text(array) => array.is_valid(row),
            Column::Uuid(array) => array.is_valid(row),
            Column::Int(array) => array.is_valid(row),
            Column::Double(array) => array.is_valid(row),
            Column::Bool(array) => array.is_valid(row),
        }
    }

    /// Adds the row's value, which is not NULL, as text.
    fn put(&self, row: usize, out: &mut Texts) {
        match self {
            Column::Text(array) => return out.push(array.value(row).as_bytes()),
            Column::Uuid(array) => put_uuid(out.writer(), array.value(row)),
            Column::Int(array) => put_int(out.writer(), array.value(row)),
            Column::Double(array) => {
                let mut text = String::new();
                any_value::put_double(&mut text, array.value(row));
                out.writer().extend_from_slice(text.as_bytes());
            }
            Column::Bool(array) => out.writer().extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
        }
        out.close();
    }

    /// The row's value, which is not NULL, as a number.
    fn number(&self, row: usize) -> Option<f64> {
        match self {
            Column::Text(array) => parse(array.value(row)),
            Column::Int(array) => Some(array.value(row) as f64),
            Column::Double(array) => Some(array.value(row)),
            Column::Uuid(_) | Column::Bool(_) => None,
        }
    }
}

/// Attribute `key` as text.
pub(super) fn text(key: &str, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let mut columns = Column::all_of(rows, key)?;
    let rest = rest(rows)?;
    let mut extras = in_rest(rest.as_ref(), key, &columns)?.into_iter().peekable();
    if extras.peek().is_none() {
        match columns.pop() {
            None => return Ok(new_null_array(&DataType::Utf8View, rows.num_rows())),
            Some(Column::Text(text)) if columns.is_empty() => return Ok(Arc::new(text)),
            Some(other) => columns.push(other),
        }
    }
    let mut out = Texts::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        match (extras.next_if(|(at, _)| *at == row), columns.iter().find(|column| column.is_valid(row))) {
            (Some((_, value)), _) => out.push_value(value),
            (None, Some(column)) => column.put(row, &mut out),
            (None, None) => out.push_null(),
        }
    }
    Ok(Arc::new(out.finish_views()?))
}

/// Attribute `key` as a number.
pub(super) fn number(key: &str, rows: &RecordBatch) -> Result<Float64Array, ArrowError> {
    let columns = Column::all_of(rows, key)?;
    let rest = rest(rows)?;
    let mut extras = in_rest(rest.as_ref(), key, &columns)?.into_iter().peekable();
    if let (None, [Column::Double(doubles)]) = (extras.peek(), columns.as_slice()) {
        return Ok(doubles.clone());
    }
    let value = |row| match extras.next_if(|(at, _)| *at == row) {
        Some((_, value)) => message_number(value),
        None => Ok(columns.iter().find(|column| column.is_valid(row)).and_then(|column| column.number(row))),
    };
    (0..rows.num_rows()).map(value).collect()
}

/// The number that an `AnyValue` is.
fn message_number(message: &[u8]) -> Result<Option<f64>, ArrowError> {
    let mut number = None;
    each_field(message, |field, wire| match (field, wire) {
        (1, Wire::Bytes(text)) => number = std::str::from_utf8(text).ok().and_then(parse),
        (3, Wire::Varint(int)) => number = Some(int.cast_signed() as f64),
        (4, Wire::Fixed64(bits)) => number = Some(f64::from_bits(bits)),
        (1..=8, _) => number = None,
        _ => {}
    })?;
    Ok(number)
}

fn parse(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// What stands in no column, if any row has such attributes.
fn rest(rows: &RecordBatch) -> Result<Option<BinaryViewArray>, ArrowError> {
    Ok(input::bytes(rows, stored::REST)?.filter(|rest| rest.null_count() < rest.len()))
}

/// The rows that have attribute `key` in no column but in the rest, each with its `AnyValue`.
fn in_rest<'a>(
    rest: Option<&'a BinaryViewArray>,
    key: &str,
    columns: &[Column],
) -> Result<Vec<(usize, &'a [u8])>, ArrowError> {
    let mut found = Vec::new();
    let Some(rest) = rest else { return Ok(found) };
    for (row, messages) in rest.iter().enumerate() {
        let Some(messages) = messages else { continue };
        if columns.iter().any(|column| column.is_valid(row)) {
            continue;
        }
        let mut value = None;
        each_message(messages, |message| {
            let attribute = Attribute::read(message)?;
            if attribute.key == key.as_bytes() {
                value = attribute.value;
            }
            Ok(())
        })?;
        found.extend(value.map(|value| (row, value)));
    }
    Ok(found)
}

/// One attribute of a shape.
#[derive(Debug)]
enum Entry {
    /// A key and its column.
    Column(Vec<u8>, Column),
    /// A key whose value is not set, or whose column the batch lacks.
    Empty(Vec<u8>),
    /// The next message of the rest.
    Rest,
}

/// All attributes as a map.
pub(super) fn all(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let distinct = Distinct::of(rows, stored::SHAPE)?;
    let mut shapes = Vec::new();
    distinct.each(|shape| {
        shapes.push(entries(rows, shape.unwrap_or_default())?);
        Ok(())
    })?;
    let rest = rest(rows)?;
    let mut maps = Maps::with_capacity(rows.num_rows());
    for (row, shape) in distinct.keys.values().iter().enumerate() {
        let messages = rest.as_ref().filter(|rest| rest.is_valid(row)).map_or(&[][..], |rest| rest.value(row));
        let mut messages = Reader::new(messages);
        for entry in shapes.get(*shape as usize).map_or(&[][..], Vec::as_slice) {
            match entry {
                Entry::Column(key, column) if column.is_valid(row) => column.put(row, maps.entry(key)),
                Entry::Column(key, _) | Entry::Empty(key) => maps.entry(key).push_null(),
                Entry::Rest => maps.push_attribute(&Attribute::read(messages.bytes().map_err(invalid)?)?),
            }
        }
        maps.close();
    }
    Ok(Arc::new(maps.finish()?))
}

/// The attributes that a shape names.
fn entries(rows: &RecordBatch, shape: &[u8]) -> Result<Vec<Entry>, ArrowError> {
    let no_shape = || ArrowError::InvalidArgumentError("a stored shape of attributes cannot be read".into());
    let mut entries = Vec::new();
    let mut rest = shape;
    while let [tag, tail @ ..] = rest {
        let tag = Tag::from_byte(*tag).ok_or_else(no_shape)?;
        if tag == Tag::Rest {
            rest = tail;
            entries.push(Entry::Rest);
            continue;
        }
        let mut reader = Reader::new(tail);
        let key = reader.bytes().map_err(invalid)?;
        rest = reader.rest();
        let name = std::str::from_utf8(key).map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
        entries.push(match Column::of(rows, tag, name)? {
            Some(column) => Entry::Column(key.to_vec(), column),
            None => Entry::Empty(key.to_vec()),
        });
    }
    Ok(entries)
}

fn put_uuid(out: &mut Vec<u8>, uuid: &[u8]) {
    let mut start = 0;
    for (group, end) in [4, 6, 8, 10, 16].into_iter().enumerate() {
        if group > 0 {
            out.push(b'-');
        }
        put_hex(out, uuid.get(start..end).unwrap_or_default());
        start = end;
    }
}

fn put_int(out: &mut Vec<u8>, int: i64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = int.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if int < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}
