//! Lists of messages that a record has: events and links of spans, exemplars of data points.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryViewArray, Float64Array, ListArray, RecordBatch, StructArray, TimestampNanosecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field, Fields};

use super::{
    input,
    text::{Attribute, Maps, Texts, each_field, each_message, put_hex},
};
use crate::{otlp::wire::Wire, stored, tables};

/// `events`: time, name, attributes.
pub(super) fn events(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let messages = input::bytes(rows, stored::EVENTS)?;
    let (mut times, mut names, mut maps) = (Vec::new(), Texts::with_capacity(0), Maps::with_capacity(0));
    let ends = each_child(rows, messages.as_ref(), |message| {
        let (mut time, mut name): (_, &[u8]) = (0, &[]);
        each_field(message, |number, wire| match (number, wire) {
            (1, Wire::Fixed64(value)) => time = nanoseconds(value),
            (2, Wire::Bytes(text)) => name = text,
            _ => {}
        })?;
        times.push(time);
        names.push(name);
        put_attributes(&mut maps, message, 3)
    })?;
    let columns: Vec<ArrayRef> = vec![timestamps(times), Arc::new(names.finish_views()?), Arc::new(maps.finish()?)];
    list(tables::event(), columns, ends)
}

/// `links`: trace_id, span_id, trace_state, attributes.
pub(super) fn links(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let messages = input::bytes(rows, stored::LINKS)?;
    let mut texts = [(); 3].map(|()| Texts::with_capacity(0));
    let mut maps = Maps::with_capacity(0);
    let ends = each_child(rows, messages.as_ref(), |message| {
        let mut found: [&[u8]; 3] = [&[]; 3];
        each_field(message, |number, wire| {
            if let (1..=3, Wire::Bytes(bytes)) = (number, wire) {
                found[number as usize - 1] = bytes;
            }
        })?;
        for (texts, id) in texts.iter_mut().zip(found).take(2) {
            put_hex(texts.writer(), id);
            texts.close();
        }
        texts[2].push(found[2]);
        put_attributes(&mut maps, message, 4)
    })?;
    let mut columns: Vec<ArrayRef> = Vec::new();
    for texts in texts {
        columns.push(Arc::new(texts.finish_views()?));
    }
    columns.push(Arc::new(maps.finish()?));
    list(tables::link(), columns, ends)
}

/// `exemplars`: time, value, trace_id, span_id, attributes.
pub(super) fn exemplars(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let messages = input::bytes(rows, stored::EXEMPLARS)?;
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let (mut traces, mut spans) = (Texts::with_capacity(0), Texts::with_capacity(0));
    let mut maps = Maps::with_capacity(0);
    let ends = each_child(rows, messages.as_ref(), |message| {
        let (mut time, mut value): (_, Option<f64>) = (0, None);
        let (mut trace, mut span): (&[u8], &[u8]) = (&[], &[]);
        each_field(message, |number, wire| match (number, wire) {
            (2, Wire::Fixed64(sent)) => time = nanoseconds(sent),
            (3, Wire::Fixed64(bits)) => value = Some(f64::from_bits(bits)),
            (6, Wire::Fixed64(int)) => value = Some(int.cast_signed() as f64),
            (4, Wire::Bytes(id)) => span = id,
            (5, Wire::Bytes(id)) => trace = id,
            _ => {}
        })?;
        times.push(time);
        values.push(value);
        put_id(&mut traces, trace);
        put_id(&mut spans, span);
        put_attributes(&mut maps, message, 7)
    })?;
    let columns: Vec<ArrayRef> = vec![
        timestamps(times),
        Arc::new(Float64Array::from(values)),
        Arc::new(traces.finish_views()?),
        Arc::new(spans.finish_views()?),
        Arc::new(maps.finish()?),
    ];
    list(tables::exemplar(), columns, ends)
}

/// Calls `child` with each message of each row; gives the offsets of the rows' lists.
fn each_child<'a>(
    rows: &RecordBatch,
    messages: Option<&'a BinaryViewArray>,
    mut child: impl FnMut(&'a [u8]) -> Result<(), ArrowError>,
) -> Result<Vec<i32>, ArrowError> {
    let mut ends = vec![0; rows.num_rows() + 1];
    let Some(messages) = messages else { return Ok(ends) };
    let mut count: i32 = 0;
    for (end, messages) in ends.iter_mut().skip(1).zip(messages) {
        each_message(messages.unwrap_or_default(), |message| {
            count = count.checked_add(1).ok_or(ArrowError::OffsetOverflowError(i32::MAX as usize))?;
            child(message)
        })?;
        *end = count;
    }
    Ok(ends)
}

fn list(fields: Fields, columns: Vec<ArrayRef>, ends: Vec<i32>) -> Result<ArrayRef, ArrowError> {
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    let item = Arc::new(Field::new("item", arrow_schema::DataType::Struct(fields), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), None)?))
}

fn timestamps(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

/// A time on the wire; one beyond the year 2262 is the last that there is.
fn nanoseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// Adds an id in hex; NULL where it is none.
fn put_id(texts: &mut Texts, id: &[u8]) {
    if id.iter().all(|byte| *byte == 0) {
        texts.push_null();
    } else {
        put_hex(texts.writer(), id);
        texts.close();
    }
}

/// Adds the map of a message's attributes, which are its field `field`.
fn put_attributes(maps: &mut Maps, message: &[u8], field: u32) -> Result<(), ArrowError> {
    let mut outcome = Ok(());
    each_field(message, |number, wire| {
        if let (true, Wire::Bytes(attribute), true) = (number == field, wire, outcome.is_ok()) {
            outcome = Attribute::read(attribute).map(|attribute| maps.push_attribute(&attribute));
        }
    })?;
    maps.close();
    outcome
}
