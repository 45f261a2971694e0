//! Stored rows into an export request: the inverse of the decoder.
//!
//! Rows come in any order and from anywhere: fresh from the decoder, joined, sorted, or read from a file. Neighbours of
//! equal resource, scope and metric share one message; nobody is moved for that.

use arrow_array::{
    BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
    cast::AsArray,
};
use arrow_schema::ArrowError;

use super::{
    encode_metrics::Metrics,
    spans,
    stored_columns::{Attributes, BytesColumn, boolean, bytes, messages, number, numbers},
    wire::{Reader, put_bytes, put_fixed32, put_fixed64, put_message, put_uint},
};
use crate::{Signal, stored, view};

/// Columns that all signals have.
pub(super) struct Common {
    time: Option<TimestampNanosecondArray>,
    wire_time: Option<UInt64Array>,
    dropped: Option<UInt32Array>,
    flags: Option<UInt32Array>,
    pub(super) attributes: Attributes,
}

impl Common {
    pub(super) fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            time: numbers(rows, stored::TIME)?,
            wire_time: numbers(rows, stored::WIRE_TIME)?,
            dropped: numbers(rows, stored::DROPPED_ATTRIBUTES)?,
            flags: numbers(rows, stored::FLAGS)?,
            attributes: Attributes::new(rows)?,
        })
    }

    /// The time as it was on the wire.
    pub(super) fn time(&self, row: usize) -> u64 {
        let wire = number(self.wire_time.as_ref(), row);
        wire.unwrap_or_else(|| number(self.time.as_ref(), row).unwrap_or_default() as u64)
    }

    fn dropped(&self, row: usize) -> u32 {
        number(self.dropped.as_ref(), row).unwrap_or_default()
    }

    pub(super) fn flags(&self, row: usize) -> u32 {
        number(self.flags.as_ref(), row).unwrap_or_default()
    }
}

pub(super) trait Items {
    /// Writes the rows of one scope as fields 2 of the scope's message.
    fn put(&mut self, out: &mut Vec<u8>, rows: std::ops::Range<usize>);
}

/// Writes rows out.
///
/// # Errors
/// A column has a type that it cannot have.
pub(super) fn encode(signal: Signal, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    match signal {
        Signal::Logs => {
            let rows = view::with_whole_bodies(rows)?;
            put_groups(&rows, Logs::new(&rows)?)
        }
        Signal::Traces => put_groups(rows, Spans::new(rows)?),
        Signal::Metrics => put_groups(rows, Metrics::new(rows)?),
    }
}

fn put_groups(rows: &RecordBatch, mut items: impl Items) -> Result<Vec<u8>, ArrowError> {
    let resource = bytes(rows, stored::RESOURCE)?;
    let scope = bytes(rows, stored::SCOPE)?;
    let mut out = Vec::new();
    for group in runs(resource.as_ref(), 0..rows.num_rows()) {
        put_message(&mut out, 1, |out| {
            put_with_items(out, text(resource.as_ref(), group.start), |out| {
                for run in runs(scope.as_ref(), group.clone()) {
                    put_message(out, 2, |out| {
                        put_with_items(out, text(scope.as_ref(), run.start), |out| items.put(out, run.clone()));
                    });
                }
            });
        });
    }
    Ok(out)
}

/// Writes an envelope with its items between its fields 1 and 3.
fn put_with_items(out: &mut Vec<u8>, envelope: &[u8], items: impl FnOnce(&mut Vec<u8>)) {
    let mut reader = Reader::new(envelope);
    let split = match reader.field() {
        Ok(Some((1, _))) => envelope.len() - reader.rest().len(),
        _ => 0,
    };
    let (inner, rest) = envelope.split_at(split);
    out.extend_from_slice(inner);
    items(out);
    out.extend_from_slice(rest);
}

/// The stretches of rows that have one value.
pub(super) fn runs(
    column: Option<&BytesColumn>,
    rows: std::ops::Range<usize>,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = rows.start;
    std::iter::from_fn(move || {
        if start >= rows.end {
            return None;
        }
        let first = text(column, start);
        let end = (start + 1..rows.end).find(|row| text(column, *row) != first).unwrap_or(rows.end);
        let run = start..end;
        start = end;
        Some(run)
    })
}

pub(super) fn text(column: Option<&BytesColumn>, row: usize) -> &[u8] {
    column.and_then(|column| column.get(row)).unwrap_or_default()
}

/// Writes a field that is not written where it is empty.
pub(super) fn put_some(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        put_bytes(out, field, value);
    }
}

pub(super) fn put_some_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_uint(out, field, value);
    }
}

pub(super) fn put_some_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_fixed64(out, field, value);
    }
}

fn put_some_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    if value != 0 {
        put_fixed32(out, field, value);
    }
}

struct Logs {
    common: Common,
    observed: Option<TimestampNanosecondArray>,
    severity_number: Option<Int32Array>,
    severity_text: Option<BytesColumn>,
    event_name: Option<BytesColumn>,
    body: Option<BytesColumn>,
    body_value: Option<BytesColumn>,
    trace_id: Option<BytesColumn>,
    span_id: Option<BytesColumn>,
}

impl Logs {
    fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            common: Common::new(rows)?,
            observed: numbers(rows, stored::OBSERVED_TIME)?,
            severity_number: numbers(rows, stored::SEVERITY_NUMBER)?,
            severity_text: bytes(rows, stored::SEVERITY_TEXT)?,
            event_name: bytes(rows, stored::EVENT_NAME)?,
            body: bytes(rows, stored::BODY)?,
            body_value: bytes(rows, stored::BODY_VALUE)?,
            trace_id: bytes(rows, stored::TRACE_ID)?,
            span_id: bytes(rows, stored::SPAN_ID)?,
        })
    }

    fn put_record(&mut self, out: &mut Vec<u8>, row: usize) {
        put_some_fixed64(out, 1, self.common.time(row));
        let severity = number(self.severity_number.as_ref(), row).unwrap_or_default();
        put_some_uint(out, 2, i64::from(severity) as u64);
        put_some(out, 3, text(self.severity_text.as_ref(), row));
        let value = self.body_value.as_ref().and_then(|column| column.get(row));
        let body = self.body.as_ref().and_then(|column| column.get(row));
        match (value, body) {
            (Some(value), _) => put_bytes(out, 5, value),
            (None, Some(body)) => put_message(out, 5, |out| put_bytes(out, 1, body)),
            (None, None) => {}
        }
        self.common.attributes.put(out, 6, row);
        put_some_uint(out, 7, u64::from(self.common.dropped(row)));
        put_some_fixed32(out, 8, self.common.flags(row));
        put_some(out, 9, text(self.trace_id.as_ref(), row));
        put_some(out, 10, text(self.span_id.as_ref(), row));
        put_some_fixed64(out, 11, number(self.observed.as_ref(), row).unwrap_or_default() as u64);
        put_some(out, 12, text(self.event_name.as_ref(), row));
    }
}

impl Items for Logs {
    fn put(&mut self, out: &mut Vec<u8>, rows: std::ops::Range<usize>) {
        for row in rows {
            put_message(out, 2, |out| self.put_record(out, row));
        }
    }
}

struct Spans {
    common: Common,
    trace_id: Option<BytesColumn>,
    span_id: Option<BytesColumn>,
    trace_state: Option<BytesColumn>,
    parent: Option<BytesColumn>,
    name: Option<BytesColumn>,
    kind: Option<BytesColumn>,
    duration: Option<Int64Array>,
    wire_end: Option<UInt64Array>,
    events: Option<BytesColumn>,
    dropped_events: Option<UInt32Array>,
    links: Option<BytesColumn>,
    dropped_links: Option<UInt32Array>,
    has_status: Option<BooleanArray>,
    status_code: Option<BytesColumn>,
    status_message: Option<BytesColumn>,
}

impl Spans {
    fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            common: Common::new(rows)?,
            trace_id: bytes(rows, stored::TRACE_ID)?,
            span_id: bytes(rows, stored::SPAN_ID)?,
            trace_state: bytes(rows, stored::TRACE_STATE)?,
            parent: bytes(rows, stored::PARENT_SPAN_ID)?,
            name: bytes(rows, stored::NAME)?,
            kind: bytes(rows, stored::KIND)?,
            duration: numbers(rows, stored::DURATION_NS)?,
            wire_end: numbers(rows, stored::WIRE_END_TIME)?,
            events: bytes(rows, stored::EVENTS)?,
            dropped_events: numbers(rows, stored::DROPPED_EVENTS)?,
            links: bytes(rows, stored::LINKS)?,
            dropped_links: numbers(rows, stored::DROPPED_LINKS)?,
            has_status: rows.column_by_name(stored::HAS_STATUS).and_then(|array| array.as_boolean_opt().cloned()),
            status_code: bytes(rows, stored::STATUS_CODE)?,
            status_message: bytes(rows, stored::STATUS_MESSAGE)?,
        })
    }

    fn put_span(&mut self, out: &mut Vec<u8>, row: usize) {
        put_some(out, 1, text(self.trace_id.as_ref(), row));
        put_some(out, 2, text(self.span_id.as_ref(), row));
        put_some(out, 3, text(self.trace_state.as_ref(), row));
        put_some(out, 4, text(self.parent.as_ref(), row));
        put_some(out, 5, text(self.name.as_ref(), row));
        put_some_uint(out, 6, enum_number(&spans::KINDS, text(self.kind.as_ref(), row)));
        let start = self.common.time(row);
        put_some_fixed64(out, 7, start);
        let duration = number(self.duration.as_ref(), row).unwrap_or_default() as u64;
        let end = number(self.wire_end.as_ref(), row).unwrap_or_else(|| start.wrapping_add(duration));
        put_some_fixed64(out, 8, end);
        self.common.attributes.put(out, 9, row);
        put_some_uint(out, 10, u64::from(self.common.dropped(row)));
        for event in messages(text(self.events.as_ref(), row)) {
            put_bytes(out, 11, event);
        }
        put_some_uint(out, 12, u64::from(number(self.dropped_events.as_ref(), row).unwrap_or_default()));
        for link in messages(text(self.links.as_ref(), row)) {
            put_bytes(out, 13, link);
        }
        put_some_uint(out, 14, u64::from(number(self.dropped_links.as_ref(), row).unwrap_or_default()));
        if boolean(self.has_status.as_ref(), row).unwrap_or_default() {
            put_message(out, 15, |out| {
                put_some(out, 2, text(self.status_message.as_ref(), row));
                put_some_uint(out, 3, enum_number(&spans::STATUS_CODES, text(self.status_code.as_ref(), row)));
            });
        }
        put_some_fixed32(out, 16, self.common.flags(row));
    }
}

impl Items for Spans {
    fn put(&mut self, out: &mut Vec<u8>, rows: std::ops::Range<usize>) {
        for row in rows {
            put_message(out, 2, |out| self.put_span(out, row));
        }
    }
}

/// The number of an enum's value, which stands there by its name or, an unknown one, as the number.
fn enum_number(names: &[&str], name: &[u8]) -> u64 {
    if let Some(number) = names.iter().position(|n| n.as_bytes() == name) {
        return number as u64;
    }
    let number = std::str::from_utf8(name).ok().and_then(|name| name.parse::<i32>().ok());
    i64::from(number.unwrap_or_default()) as u64
}
