//! What the rows of all three signals have in common: envelopes, time, attributes, rejections.
//!
//! The messages of a request nest as resource, scope, item. Items are decoded when they come; the keys of the envelopes
//! are filled in for a whole run of rows at the end of the group, so that it does not matter whether `resource` stands
//! before or after the items (Go senders write fields in descending order).

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch, RecordBatchOptions, TimestampNanosecondArray, UInt32Array, types::UInt64Type,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::{
    Context, DecodeError, Decoded, any_value,
    attributes::{Attributes, Raw},
    check::{RESOURCE_ENVELOPE, SCOPE_ENVELOPE},
    columns::{Dictionary, Numbers},
    key_value::{KeyValue, Value},
    points::raw,
    wire::{Reader, Wire, put_bytes},
};
use crate::{Rejection, limits, stored, tables};

/// Rows for which room is made at most before they are seen.
const EXPECTED_ROWS: usize = 8192;

/// What differs between the signals.
pub(super) trait Items<'a> {
    /// Decodes one item of a scope: a log record, a span, a metric with its points.
    fn item(&mut self, rows: &mut Rows<'a>, message: Reader<'a>) -> Result<(), DecodeError>;

    /// The columns of the signal alone.
    fn columns(self, rows: usize, repaired: &mut u64) -> Result<Vec<(Field, ArrayRef)>, ArrowError>;
}

/// Service, host and source of a resource, as keys.
type ResourceKeys = [i32; 3];

/// The columns of all signals.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) context: Context,
    request_bytes: usize,
    /// Rows so far.
    pub(super) count: usize,
    items: u64,
    rejected: u64,
    rejections: Vec<Rejection>,
    pub(super) repaired: u64,
    time: Vec<i64>,
    wire_time: Numbers<UInt64Type>,
    pub(super) flags: Vec<u32>,
    dropped: Vec<u32>,
    service: Dictionary,
    host: Dictionary,
    source: Dictionary,
    resource: Dictionary,
    scope: Dictionary,
    resources: Vec<ResourceKeys>,
    pub(super) attributes: Attributes,
    /// The attributes of the item being read, and how many there are beyond [`limits::ATTRIBUTES`].
    list: Vec<Raw<'a>>,
    beyond: u32,
}

/// Decodes a request whose items `items` understands.
pub(super) fn decode<'a, I: Items<'a>>(
    mut items: I,
    request: &'a [u8],
    context: Context,
    with_source: bool,
) -> Result<Decoded, DecodeError> {
    // Offsets of Arrow's columns have 31 bits, and repairing a text can make it three times as long.
    if request.len() > i32::MAX as usize / 4 {
        return Err(DecodeError { offset: 0, reason: "request is longer than 512 MiB".into() });
    }
    let mut rows = Rows::new(context, request.len());
    let mut reader = Reader::new(request);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            let group = reader.enter(wire.bytes(&reader)?);
            rows.resource_group(&mut items, group)?;
        }
    }
    rows.finish(items, with_source).map_err(|e| DecodeError { offset: request.len(), reason: e.to_string() })
}

impl<'a> Rows<'a> {
    fn new(context: Context, request_bytes: usize) -> Self {
        Self {
            context,
            request_bytes,
            count: 0,
            items: 0,
            rejected: 0,
            rejections: Vec::new(),
            repaired: 0,
            time: Vec::new(),
            wire_time: Numbers::new(),
            flags: Vec::new(),
            dropped: Vec::new(),
            service: Dictionary::new(),
            host: Dictionary::new(),
            source: Dictionary::new(),
            resource: Dictionary::new(),
            scope: Dictionary::new(),
            resources: Vec::new(),
            attributes: Attributes::new(),
            list: Vec::new(),
            beyond: 0,
        }
    }

    fn resource_group<I: Items<'a>>(&mut self, items: &mut I, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        let first = self.count;
        let mut envelope = Envelope::default();
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => {
                    let group = reader.enter(wire.bytes(&reader)?);
                    self.scope_group(items, group)?;
                }
                _ => envelope.add(number, wire, &reader)?,
            }
        }
        let bytes = envelope.bytes();
        let bytes = RESOURCE_ENVELOPE.checked(Reader::at(&bytes, envelope.offset), &mut self.repaired)?;
        if self.count > first {
            let run = self.count - first;
            let key = self.resource.intern(&bytes);
            if key as usize == self.resources.len() {
                let keys = self.resource_keys(&bytes)?;
                self.resources.push(keys);
            }
            let [service, host, source] = self.resources.get(key as usize).copied().unwrap_or_default();
            self.resource.push_run(key, run);
            self.service.push_run(service, run);
            self.host.push_run(host, run);
            self.source.push_run(source, run);
        }
        Ok(())
    }

    fn scope_group<I: Items<'a>>(&mut self, items: &mut I, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        let first = self.count;
        let mut envelope = Envelope::default();
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => {
                    let item = reader.enter(wire.bytes(&reader)?);
                    items.item(self, item)?;
                }
                _ => envelope.add(number, wire, &reader)?,
            }
        }
        let bytes = envelope.bytes();
        let bytes = SCOPE_ENVELOPE.checked(Reader::at(&bytes, envelope.offset), &mut self.repaired)?;
        if self.count > first {
            let key = self.scope.intern(&bytes);
            self.scope.push_run(key, self.count - first);
        }
        Ok(())
    }

    fn resource_keys(&mut self, envelope: &[u8]) -> Result<ResourceKeys, DecodeError> {
        let (mut service, mut host, mut node, mut source) = (None, None, None, None);
        each_resource_attribute(envelope, |raw| {
            let KeyValue { key, value } = KeyValue::read(raw)?;
            let slot = match &*key {
                b"service.name" => &mut service,
                b"host.name" => &mut host,
                b"k8s.node.name" => &mut node,
                key if key == stored::SOURCE_ATTRIBUTE.as_bytes() => &mut source,
                _ => return Ok(()),
            };
            let text = match value {
                Value::Text(text) => String::from_utf8_lossy(&text).into_owned(),
                _ => KeyValue::value_bytes(raw)?.and_then(|bytes| any_value::text(&bytes)).unwrap_or_default(),
            };
            *slot = Some(text).filter(|text| !text.is_empty());
            Ok(())
        })?;
        Ok([
            self.service.intern(service.unwrap_or_default().as_bytes()),
            self.host.intern(host.or(node).unwrap_or_default().as_bytes()),
            self.source.intern(source.as_deref().unwrap_or("otlp").as_bytes()),
        ])
    }

    /// Begins the item in `message`: it has no attributes yet. The first one says about how many will come.
    #[inline]
    pub(super) fn begin_item(&mut self, message: &Reader<'_>) {
        if self.items == 1 {
            let expected = (self.request_bytes / (message.rest().len() + 3)).min(EXPECTED_ROWS);
            self.time.reserve(expected);
            self.flags.reserve(expected);
            self.dropped.reserve(expected);
            self.attributes.expect(expected);
        }
        self.list.clear();
        self.beyond = 0;
    }

    /// Adds an attribute to the item.
    #[inline]
    pub(super) fn add_attribute(&mut self, attribute: Raw<'a>) {
        if self.list.len() < limits::ATTRIBUTES {
            self.list.push(attribute);
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Counts the item that is being read; `false` where it is one too many.
    #[inline]
    pub(super) fn count_item(&mut self) -> bool {
        self.items += 1;
        if self.items as usize > limits::ITEMS {
            self.reject("too_many_items", || format!("a request may hold {} items", limits::ITEMS));
            return false;
        }
        true
    }

    /// Refuses the item that was counted last.
    #[cold]
    pub(super) fn reject(&mut self, reason: &'static str, message: impl FnOnce() -> String) {
        self.rejected += 1;
        if self.rejections.len() < limits::REJECTIONS_NAMED {
            self.rejections.push(Rejection { index: self.items - 1, reason, message: message() });
        }
    }

    /// Whether a time on the wire lies further ahead than the clocks of honest senders.
    #[inline]
    pub(super) fn is_future(&self, time: u64) -> bool {
        let latest = self.context.received.saturating_add(limits::FUTURE.as_nanos() as i64);
        i64::try_from(time).map_or(true, |time| time > latest)
    }

    /// Begins the row of an item: its time, or, where that is missing or in the future, `instead`.
    #[inline]
    pub(super) fn push_time(&mut self, wire: u64, instead: i64) {
        if wire == 0 || self.is_future(wire) {
            self.time.push(instead);
            self.wire_time.push(self.count, wire);
        } else {
            self.time.push(wire as i64);
        }
    }

    /// Ends the row with the attributes added; `dropped` is the sender's count.
    #[inline]
    pub(super) fn end_row(&mut self, flags: u32, dropped: u32) -> Result<(), DecodeError> {
        let list = std::mem::take(&mut self.list);
        let more = self.attributes.append(self.count, &list)?;
        self.list = list;
        self.dropped.push(dropped.saturating_add(more).saturating_add(self.beyond));
        self.flags.push(flags);
        self.count += 1;
        Ok(())
    }

    /// Ends the row with one attribute more, which goes before those beyond the limit.
    #[cold]
    pub(super) fn end_row_with(&mut self, flags: u32, dropped: u32, more: Raw<'_>) -> Result<(), DecodeError> {
        let beyond = (self.list.len() + 1).saturating_sub(limits::ATTRIBUTES);
        let list: Vec<Raw<'_>> = self.list.iter().take(limits::ATTRIBUTES - 1).copied().chain([more]).collect();
        let more = self.attributes.append(self.count, &list)?;
        let beyond = self.beyond.saturating_add(beyond as u32);
        self.dropped.push(dropped.saturating_add(more).saturating_add(beyond));
        self.flags.push(flags);
        self.count += 1;
        Ok(())
    }

    fn finish<I: Items<'a>>(mut self, items: I, with_source: bool) -> Result<Decoded, ArrowError> {
        let rows = self.count;
        let mut path = Dictionary::new();
        if rows > 0 {
            let key = path.intern(self.context.path.name().as_bytes());
            path.push_run(key, rows);
        }
        let repaired = &mut self.repaired;
        let text = |name| stored::dictionary(name, DataType::Utf8, false);
        let bytes = |name| stored::dictionary(name, DataType::Binary, false);
        let time = TimestampNanosecondArray::new(ScalarBuffer::from(self.time), None).with_timezone("UTC");
        let mut columns: Vec<(Field, ArrayRef)> = vec![
            (Field::new(stored::TIME, tables::timestamp(), false), Arc::new(time)),
            (text(stored::INGEST_PATH), path.text(rows, repaired)?),
            (text(stored::SERVICE), self.service.text(rows, repaired)?),
            (text(stored::HOST), self.host.text(rows, repaired)?),
            (bytes(stored::RESOURCE), self.resource.binary(rows)?),
            (bytes(stored::SCOPE), self.scope.binary(rows)?),
            (
                Field::new(stored::DROPPED_ATTRIBUTES, DataType::UInt32, false),
                Arc::new(UInt32Array::new(ScalarBuffer::from(self.dropped), None)),
            ),
            (
                Field::new(stored::FLAGS, DataType::UInt32, false),
                Arc::new(UInt32Array::new(ScalarBuffer::from(self.flags), None)),
            ),
        ];
        if with_source {
            columns.push((text(stored::SOURCE), self.source.text(rows, repaired)?));
        }
        if let Some(array) = self.wire_time.finish(rows, false)? {
            columns.push((Field::new(stored::WIRE_TIME, DataType::UInt64, true), Arc::new(array)));
        }
        columns.extend(items.columns(rows, repaired)?);
        columns.extend(self.attributes.finish(rows, repaired)?);
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        Ok(Decoded { rows: batch, rejected: self.rejected, rejections: self.rejections, repaired: self.repaired })
    }
}

/// The parts of a `Resource…` or `Scope…` message that are not its items.
#[derive(Debug, Default)]
struct Envelope<'a> {
    inner: Option<Cow<'a, [u8]>>,
    schema_url: &'a [u8],
    offset: usize,
}

impl<'a> Envelope<'a> {
    fn add(&mut self, number: u32, wire: Wire<'a>, reader: &Reader<'a>) -> Result<(), DecodeError> {
        match number {
            1 => {
                let part = wire.bytes(reader)?;
                self.offset = reader.offset() - part.len();
                // Two parts of one message, put together, are the merged message.
                match &mut self.inner {
                    None => self.inner = Some(Cow::Borrowed(part)),
                    Some(whole) => whole.to_mut().extend_from_slice(part),
                }
            }
            3 => self.schema_url = wire.bytes(reader)?,
            _ => {}
        }
        Ok(())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(self.inner.as_ref().map_or(0, |inner| inner.len()) + self.schema_url.len() + 12);
        if let Some(inner) = &self.inner {
            put_bytes(&mut out, 1, inner);
        }
        if !self.schema_url.is_empty() {
            put_bytes(&mut out, 3, self.schema_url);
        }
        out
    }
}

fn each_resource_attribute<'a>(
    envelope: &'a [u8],
    mut visit: impl FnMut(Raw<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(envelope);
    while let Some((number, wire)) = reader.field()? {
        if number != 1 {
            continue;
        }
        let mut resource = reader.enter(wire.bytes(&reader)?);
        while let Some((number, wire)) = resource.field()? {
            if number == 1 {
                visit(raw(&resource, wire)?)?;
            }
        }
    }
    Ok(())
}
