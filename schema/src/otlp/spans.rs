//! Spans into rows.

use std::sync::Arc;

use arrow_array::{
    ArrayRef,
    types::{Int64Type, UInt32Type, UInt64Type},
};
use arrow_schema::{ArrowError, DataType, Field};

use super::{
    DecodeError,
    check::{EVENT, LINK},
    children::Children,
    columns::{Bools, Bytes, Dictionary, Fixed, Numbers},
    logs::id,
    points::{inner, raw},
    rows::{Items, Rows},
    wire::Reader,
};
use crate::stored;

/// OTLP's span kinds by number.
pub(super) const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/// OTLP's status codes by number.
pub(super) const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// The columns of spans alone.
#[derive(Debug)]
pub(super) struct Spans<'a> {
    trace_id: Fixed<16>,
    span_id: Fixed<8>,
    parent: Fixed<8>,
    trace_state: Bytes,
    name: Dictionary,
    kind: Dictionary,
    duration: Numbers<Int64Type>,
    wire_end: Numbers<UInt64Type>,
    status_code: Dictionary,
    status_message: Bytes,
    has_status: Bools,
    events: Children<'a>,
    links: Children<'a>,
    dropped_events: Numbers<UInt32Type>,
    dropped_links: Numbers<UInt32Type>,
}

#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    parent: &'a [u8],
    name: &'a [u8],
    kind: i32,
    start: u64,
    end: u64,
    dropped: u32,
    dropped_events: u32,
    dropped_links: u32,
    flags: u32,
    status: Option<Status<'a>>,
}

#[derive(Default)]
struct Status<'a> {
    message: &'a [u8],
    code: i32,
}

impl Spans<'_> {
    pub(super) fn new() -> Self {
        Self {
            trace_id: Fixed::new(),
            span_id: Fixed::new(),
            parent: Fixed::new(),
            trace_state: Bytes::new(),
            name: Dictionary::new(),
            kind: Dictionary::new(),
            duration: Numbers::new(),
            wire_end: Numbers::new(),
            status_code: Dictionary::new(),
            status_message: Bytes::new(),
            has_status: Bools::new(),
            events: Children::new(&EVENT),
            links: Children::new(&LINK),
            dropped_events: Numbers::new(),
            dropped_links: Numbers::new(),
        }
    }

    /// Time and duration: what doesn't fit is kept beside as it was on the wire.
    fn times(&mut self, rows: &mut Rows<'_>, start: u64, end: u64) {
        rows.push_time(start, rows.context.received);
        let duration = match end.checked_sub(start).map(i64::try_from) {
            // A span without a start has no duration that means anything.
            Some(Ok(duration)) if start != 0 => duration,
            _ => 0,
        };
        self.duration.push(rows.count, duration);
        if start.wrapping_add(duration as u64) != end {
            self.wire_end.push(rows.count, end);
        }
    }

    fn push(&mut self, rows: &mut Rows<'_>, span: &Span<'_>) -> Result<(), DecodeError> {
        let (Some(trace_id), Some(span_id)) = (id(span.trace_id), id(span.span_id)) else {
            rows.reject("bad_id", || "trace_id has to be 16 bytes and span_id 8 bytes, not all zero".into());
            return Ok(());
        };
        let row = rows.count;
        self.trace_id.push(row, trace_id);
        self.span_id.push(row, span_id);
        if let Some(parent) = id(span.parent) {
            self.parent.push(row, parent);
        }
        if !span.trace_state.is_empty() {
            self.trace_state.push(row, span.trace_state);
        }
        self.name.push(row, span.name);
        push_named(&mut self.kind, row, &KINDS, span.kind);
        self.times(rows, span.start, span.end);
        self.has_status.push(row, span.status.is_some());
        let status = span.status.as_ref();
        push_named(&mut self.status_code, row, &STATUS_CODES, status.map_or(0, |s| s.code));
        if let Some(message) = status.map(|s| s.message).filter(|m| !m.is_empty()) {
            self.status_message.push(row, message);
        }
        let more = self.events.push(row, &mut rows.repaired)?;
        self.dropped_events.push(row, span.dropped_events.saturating_add(more));
        let more = self.links.push(row, &mut rows.repaired)?;
        self.dropped_links.push(row, span.dropped_links.saturating_add(more));
        rows.end_row(span.flags, span.dropped)
    }
}

/// Gives the row the name of an enum's value, or the number where it has none.
fn push_named(column: &mut Dictionary, row: usize, names: &[&str], value: i32) {
    match usize::try_from(value).ok().and_then(|i| names.get(i)) {
        Some(name) => column.push(row, name.as_bytes()),
        None => column.push(row, value.to_string().as_bytes()),
    }
}

impl<'a> Items<'a> for Spans<'a> {
    fn item(&mut self, rows: &mut Rows<'a>, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        if !rows.count_item() {
            return Ok(());
        }
        let mut span = Span::default();
        rows.begin_item(&reader);
        self.events.clear();
        self.links.clear();
        while let Some((number, wire)) = reader.field()? {
            match number {
                9 => rows.add_attribute(raw(&reader, wire)?),
                1 => span.trace_id = wire.bytes(&reader)?,
                2 => span.span_id = wire.bytes(&reader)?,
                3 => span.trace_state = wire.bytes(&reader)?,
                4 => span.parent = wire.bytes(&reader)?,
                5 => span.name = wire.bytes(&reader)?,
                6 => span.kind = wire.int32(&reader)?,
                7 => span.start = wire.fixed64(&reader)?,
                8 => span.end = wire.fixed64(&reader)?,
                10 => span.dropped = wire.uint32(&reader)?,
                11 => self.events.add(inner(&reader, wire)?),
                12 => span.dropped_events = wire.uint32(&reader)?,
                13 => self.links.add(inner(&reader, wire)?),
                14 => span.dropped_links = wire.uint32(&reader)?,
                15 => span.status.get_or_insert_default().read(inner(&reader, wire)?)?,
                16 => span.flags = wire.fixed32(&reader)?,
                _ => {}
            }
        }
        self.push(rows, &span)
    }

    fn columns(self, rows: usize, repaired: &mut u64) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let text = |name| stored::dictionary(name, DataType::Utf8, false);
        let mut out: Vec<(Field, ArrayRef)> = vec![
            (text(stored::NAME), self.name.text(rows, repaired)?),
            (text(stored::KIND), self.kind.text(rows, repaired)?),
            (text(stored::STATUS_CODE), self.status_code.text(rows, repaired)?),
            (Field::new(stored::HAS_STATUS, DataType::Boolean, false), self.has_status.finish(rows)),
        ];
        if let Some(array) = self.duration.finish(rows, true)? {
            out.push((Field::new(stored::DURATION_NS, DataType::Int64, false), Arc::new(array)));
        }
        if let Some(array) = self.wire_end.finish(rows, false)? {
            out.push((Field::new(stored::WIRE_END_TIME, DataType::UInt64, true), Arc::new(array)));
        }
        let counts = [(stored::DROPPED_EVENTS, self.dropped_events), (stored::DROPPED_LINKS, self.dropped_links)];
        for (name, column) in counts {
            if let Some(array) = column.finish(rows, true)? {
                out.push((Field::new(name, DataType::UInt32, false), Arc::new(array)));
            }
        }
        let trace_id = self.trace_id.finish(rows)?.map(|array| (stored::TRACE_ID, array));
        let span_id = self.span_id.finish(rows)?.map(|array| (stored::SPAN_ID, array));
        let parent = self.parent.finish(rows)?.map(|array| (stored::PARENT_SPAN_ID, array));
        for (name, array) in [trace_id, span_id, parent].into_iter().flatten() {
            out.push((Field::new(name, array.data_type().clone(), true), array));
        }
        let texts = [(stored::TRACE_STATE, self.trace_state), (stored::STATUS_MESSAGE, self.status_message)];
        for (name, column) in texts {
            if column.len() > 0 {
                out.push((Field::new(name, DataType::Utf8, true), column.text(rows, repaired)?));
            }
        }
        for (name, column) in [(stored::EVENTS, self.events.column), (stored::LINKS, self.links.column)] {
            if column.len() > 0 {
                out.push((Field::new(name, DataType::Binary, true), column.binary(rows)?));
            }
        }
        Ok(out)
    }
}

impl<'a> Status<'a> {
    fn read(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => self.message = wire.bytes(&reader)?,
                3 => self.code = wire.int32(&reader)?,
                _ => {}
            }
        }
        Ok(())
    }
}
