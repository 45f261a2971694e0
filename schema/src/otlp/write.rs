//! Writes OTLP as protobuf bytes, without building messages first.
//!
//! Doors that speak something else (journald, plain JSON, OTLP/JSON) write what they read straight into an export
//! request: [`LogsRequest`], [`TracesRequest`] and [`MetricsRequest`] for records that a door makes up itself, [`Writer`]
//! for everything below them. Nothing here can fail: lengths are patched in when a message ends, and defaults are left
//! out, so that the bytes are those that prost would write for the same message.

mod metrics;
mod request;
mod value;

pub use metrics::{MetricKind, MetricWriter, MetricsRequest, NumberPoint, PointValue, ScopeMetricsWriter};
pub use request::{
    LogRecord, LogsRequest, ScopeLogsWriter, ScopeSpansWriter, Span, SpanEvent, SpanLink, TracesRequest,
};
pub use value::{Attribute, Value, write_attributes, write_resource};

/// Protobuf's wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// A growing protobuf message.
///
/// The plain methods leave out a field with its default value, as proto3 says; those named `put_…` write it always, as
/// the members of a `oneof` and `optional` fields need it.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

/// Where an unfinished nested message begins: [`Writer::begin`] gives it, [`Writer::end`] takes it.
#[derive(Debug)]
#[must_use = "the message needs its length: give this to `end`"]
pub struct Mark(usize);

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty message with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes) }
    }

    /// The bytes written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// The message's bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.buffer
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes back what was written after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(len);
    }

    /// Takes back the bytes in `range`, wherever they are.
    pub(crate) fn remove(&mut self, range: std::ops::Range<usize>) {
        self.buffer.drain(range);
    }

    /// Adds fields that were written already.
    pub fn append(&mut self, fields: &[u8]) {
        self.buffer.extend_from_slice(fields);
    }

    /// `uint32`, `uint64`.
    pub fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.put_uint(field, value);
        }
    }

    /// `uint32`, `uint64`, also where it is 0.
    pub fn put_uint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// `int32`, `int64` and enums: negative numbers take ten bytes.
    pub fn int(&mut self, field: u32, value: i64) {
        if value != 0 {
            self.put_int(field, value);
        }
    }

    /// `int32`, `int64` and enums, also where it is 0.
    pub fn put_int(&mut self, field: u32, value: i64) {
        self.put_uint(field, value.cast_unsigned());
    }

    /// `sint32`: zigzag.
    pub fn sint32(&mut self, field: u32, value: i32) {
        let zigzag = ((value << 1) ^ (value >> 31)).cast_unsigned();
        self.uint(field, u64::from(zigzag));
    }

    /// `bool`.
    pub fn boolean(&mut self, field: u32, value: bool) {
        self.uint(field, u64::from(value));
    }

    /// `bool`, also where it is false.
    pub fn put_boolean(&mut self, field: u32, value: bool) {
        self.put_uint(field, u64::from(value));
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.buffer.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `fixed64`.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.put_fixed64(field, value);
        }
    }

    /// `fixed64`, also where it is 0.
    pub fn put_fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    /// `sfixed64`, also where it is 0.
    pub fn put_sfixed64(&mut self, field: u32, value: i64) {
        self.put_fixed64(field, value.cast_unsigned());
    }

    /// `double`. Negative zero is not the default, and is kept.
    pub fn double(&mut self, field: u32, value: f64) {
        if value.to_bits() != 0 {
            self.put_double(field, value);
        }
    }

    /// `double`, also where it is 0.
    pub fn put_double(&mut self, field: u32, value: f64) {
        self.put_fixed64(field, value.to_bits());
    }

    /// `string`.
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// `string`, also where it is empty.
    pub fn put_text(&mut self, field: u32, value: &str) {
        self.put_bytes(field, value.as_bytes());
    }

    /// `bytes`.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.put_bytes(field, value);
        }
    }

    /// `bytes`, also where it is empty; an element of `repeated bytes`, `repeated string`; a message written already.
    pub fn put_bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, DELIMITED);
        self.varint(value.len() as u64);
        self.buffer.extend_from_slice(value);
    }

    /// `repeated fixed64` and `repeated double` (by their bits), packed.
    pub fn packed_fixed64(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() == 0 {
            return;
        }
        self.tag(field, DELIMITED);
        self.varint(values.len() as u64 * 8);
        for value in values {
            self.buffer.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `repeated uint64`, packed.
    pub fn packed_uint(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() == 0 {
            return;
        }
        let mark = self.begin(field);
        for value in values {
            self.varint(value);
        }
        self.end(mark);
    }

    /// A nested message, also where it is empty: that it is there says something.
    pub fn message<R>(&mut self, field: u32, write: impl FnOnce(&mut Writer) -> R) -> R {
        let mark = self.begin(field);
        let result = write(self);
        self.end(mark);
        result
    }

    /// Begins a nested message: what is written up to [`Writer::end`] belongs to it.
    pub fn begin(&mut self, field: u32) -> Mark {
        self.tag(field, DELIMITED);
        self.buffer.push(0);
        Mark(self.buffer.len())
    }

    /// Ends the nested message that `mark` began, and writes its length before it.
    pub fn end(&mut self, Mark(start): Mark) {
        let length = self.buffer.len() - start;
        let mut prefix = [0; 10];
        let size = encode_varint(length as u64, &mut prefix);
        // One byte was left for the length; a longer one moves the message up.
        if size == 1 {
            self.buffer[start - 1] = prefix[0];
        } else {
            self.buffer.splice(start - 1..start, prefix[..size].iter().copied());
        }
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.buffer.push(value as u8);
            return;
        }
        let mut bytes = [0; 10];
        let size = encode_varint(value, &mut bytes);
        self.buffer.extend_from_slice(&bytes[..size]);
    }
}

/// Writes `value` as a varint to the beginning of `out` and returns its length, 1 to 10 bytes.
fn encode_varint(mut value: u64, out: &mut [u8; 10]) -> usize {
    for (at, byte) in out.iter_mut().enumerate() {
        if value < 0x80 {
            *byte = value as u8;
            return at + 1;
        }
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out.len()
}
