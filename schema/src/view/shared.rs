//! What many records share: resource, scope and metric, each read once for each distinct envelope of a batch.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::take::take;

use super::{
    input::Distinct,
    text::{Attribute, Maps, Texts, each_field},
};
use crate::{otlp::wire::Wire, stored};

/// Fields of `Metric` whose messages have a temporality: sum, histogram, exponential histogram.
const WITH_TEMPORALITY: [u32; 3] = [SUM, 9, 10];
const SUM: u32 = 7;

/// The field of an envelope's own message (field 1) that holds its attributes.
fn attributes_field(envelope: &str) -> u32 {
    if envelope == stored::SCOPE { 3 } else { 1 }
}

/// The attributes of a resource or scope as maps.
pub(super) fn attributes(rows: &RecordBatch, envelope: &str) -> Result<ArrayRef, ArrowError> {
    let distinct = Distinct::of(rows, envelope)?;
    let mut maps = Maps::with_capacity(16);
    distinct.each(|message| {
        each_attribute(message.unwrap_or_default(), envelope, |attribute| maps.push_attribute(&attribute))?;
        maps.close();
        Ok(())
    })?;
    take(&maps.finish()?, &distinct.keys, None)
}

/// One attribute of a resource or scope as text.
pub(super) fn attribute_text(rows: &RecordBatch, envelope: &str, key: &str) -> Result<ArrayRef, ArrowError> {
    text(rows, envelope, |message, texts| {
        let mut found = None;
        each_attribute(message, envelope, |attribute| {
            if attribute.key == key.as_bytes() {
                found = attribute.value;
            }
        })?;
        match found {
            Some(value) => texts.push_value(value),
            None => texts.push_null(),
        }
        Ok(())
    })
}

/// A text field of the scope.
pub(super) fn scope_text(rows: &RecordBatch, field: u32) -> Result<ArrayRef, ArrowError> {
    text(rows, stored::SCOPE, |message, texts| {
        let mut found: &[u8] = &[];
        each_part(message, |scope| {
            each_field(scope, |number, wire| {
                if let (true, Wire::Bytes(text)) = (number == field, wire) {
                    found = text;
                }
            })
        })?;
        texts.push(found);
        Ok(())
    })
}

/// A text field of the metric.
pub(super) fn metric_text(rows: &RecordBatch, field: u32) -> Result<ArrayRef, ArrowError> {
    text(rows, stored::METRIC, |message, texts| {
        let mut found: &[u8] = &[];
        each_field(message, |number, wire| {
            if let (true, Wire::Bytes(text)) = (number == field, wire) {
                found = text;
            }
        })?;
        texts.push(found);
        Ok(())
    })
}

/// The temporality of sums and histograms.
pub(super) fn temporality(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    text(rows, stored::METRIC, |message, texts| {
        match kind(message)? {
            Some((field, temporality, _)) if WITH_TEMPORALITY.contains(&field) => texts.push(match temporality {
                1 => b"delta",
                2 => b"cumulative",
                _ => b"unspecified",
            }),
            _ => texts.push_null(),
        }
        Ok(())
    })
}

/// Whether sums only grow.
pub(super) fn is_monotonic(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let distinct = Distinct::of(rows, stored::METRIC)?;
    let mut values: Vec<Option<bool>> = Vec::new();
    distinct.each(|message| {
        let kind = kind(message.unwrap_or_default())?;
        values.push(kind.filter(|(field, ..)| *field == SUM).map(|(_, _, is_monotonic)| is_monotonic));
        Ok(())
    })?;
    take(&BooleanArray::from(values), &distinct.keys, None)
}

/// The kind of a metric: the field of its message, temporality and monotonicity.
fn kind(metric: &[u8]) -> Result<Option<(u32, u64, bool)>, ArrowError> {
    let mut data = None;
    each_field(metric, |number, wire| {
        if let (5 | 7 | 9..=11, Wire::Bytes(message)) = (number, wire) {
            data = Some((number, message));
        }
    })?;
    let Some((field, message)) = data else { return Ok(None) };
    let (mut temporality, mut is_monotonic) = (0, 0);
    each_field(message, |number, wire| match (number, wire) {
        (2, Wire::Varint(value)) => temporality = value,
        (3, Wire::Varint(value)) => is_monotonic = value,
        _ => {}
    })?;
    Ok(Some((field, temporality, is_monotonic != 0)))
}

/// A text that `read` adds for each distinct envelope; NULL where there is none. Text is shared between rows.
fn text(
    rows: &RecordBatch,
    envelope: &str,
    mut read: impl FnMut(&[u8], &mut Texts) -> Result<(), ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let distinct = Distinct::of(rows, envelope)?;
    let mut texts = Texts::with_capacity(16);
    distinct.each(|message| match message {
        Some(message) => read(message, &mut texts),
        None => {
            texts.push_null();
            Ok(())
        }
    })?;
    let texts: ArrayRef = Arc::new(texts.finish_views()?);
    take(&texts, &distinct.keys, None)
}

/// Calls `part` with each part of an envelope's own message: the parts of a split message are stored one by one.
fn each_part<'a>(
    envelope: &'a [u8],
    mut part: impl FnMut(&'a [u8]) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    let mut outcome = Ok(());
    each_field(envelope, |number, wire| {
        if let (1, Wire::Bytes(message), true) = (number, wire, outcome.is_ok()) {
            outcome = part(message);
        }
    })?;
    outcome
}

fn each_attribute<'a>(
    message: &'a [u8],
    envelope: &str,
    mut attribute: impl FnMut(Attribute<'a>),
) -> Result<(), ArrowError> {
    let field = attributes_field(envelope);
    each_part(message, |inner| {
        let mut outcome = Ok(());
        each_field(inner, |number, wire| {
            if let (true, Wire::Bytes(message), true) = (number == field, wire, outcome.is_ok()) {
                outcome = Attribute::read(message).map(&mut attribute);
            }
        })?;
        outcome
    })
}
