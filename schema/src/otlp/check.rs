//! Which fields OTLP's shared messages have, and whether given bytes are such a message.
//!
//! Envelopes, events, links, exemplars and nested values are stored as the bytes that came. Before that they are walked
//! once here, so that nothing is stored that a reader could not read: wire types, lengths, nesting
//! ([`limits::DEPTH`]) and UTF-8. A message whose strings are no UTF-8 is written anew with U+FFFD for what is invalid.

use std::borrow::Cow;

use super::{
    DecodeError,
    wire::{Reader, Wire, put_bytes, put_field, put_message},
};
use crate::limits;

/// What a field holds.
#[derive(Debug)]
enum Kind {
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    Message(&'static Message),
}

/// The fields of a message that are known; others are passed over.
#[derive(Debug)]
pub(super) struct Message {
    fields: &'static [(u32, Kind)],
    /// Whether it counts as a level of nesting.
    nests: bool,
}

const fn message(fields: &'static [(u32, Kind)]) -> Message {
    Message { fields, nests: false }
}

/// `AnyValue`.
pub(super) static ANY_VALUE: Message = Message {
    fields: &[
        (1, Kind::Text),
        (2, Kind::Varint),
        (3, Kind::Varint),
        (4, Kind::Fixed64),
        (5, Kind::Message(&ARRAY)),
        (6, Kind::Message(&KEY_VALUE_LIST)),
        (7, Kind::Bytes),
        (8, Kind::Varint),
    ],
    nests: true,
};
static ARRAY: Message = message(&[(1, Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = message(&[(1, Kind::Message(&KEY_VALUE))]);
/// `KeyValue`.
pub(super) static KEY_VALUE: Message = message(&[(1, Kind::Text), (2, Kind::Message(&ANY_VALUE)), (3, Kind::Varint)]);
static ENTITY_REF: Message = message(&[(1, Kind::Text), (2, Kind::Text), (3, Kind::Text), (4, Kind::Text)]);
static RESOURCE: Message =
    message(&[(1, Kind::Message(&KEY_VALUE)), (2, Kind::Varint), (3, Kind::Message(&ENTITY_REF))]);
static SCOPE: Message = message(&[(1, Kind::Text), (2, Kind::Text), (3, Kind::Message(&KEY_VALUE)), (4, Kind::Varint)]);
/// `ResourceLogs` and its like without the scopes.
pub(super) static RESOURCE_ENVELOPE: Message = message(&[(1, Kind::Message(&RESOURCE)), (3, Kind::Text)]);
/// `ScopeLogs` and its like without the records.
pub(super) static SCOPE_ENVELOPE: Message = message(&[(1, Kind::Message(&SCOPE)), (3, Kind::Text)]);
static KIND_ENVELOPE: Message = message(&[(2, Kind::Varint), (3, Kind::Varint)]);
/// `Metric` without the data points.
pub(super) static METRIC_ENVELOPE: Message = message(&[
    (1, Kind::Text),
    (2, Kind::Text),
    (3, Kind::Text),
    (5, Kind::Message(&KIND_ENVELOPE)),
    (7, Kind::Message(&KIND_ENVELOPE)),
    (9, Kind::Message(&KIND_ENVELOPE)),
    (10, Kind::Message(&KIND_ENVELOPE)),
    (11, Kind::Message(&KIND_ENVELOPE)),
    (12, Kind::Message(&KEY_VALUE)),
]);
/// `Span.Event`.
pub(super) static EVENT: Message =
    message(&[(1, Kind::Fixed64), (2, Kind::Text), (3, Kind::Message(&KEY_VALUE)), (4, Kind::Varint)]);
/// `Span.Link`.
pub(super) static LINK: Message = message(&[
    (1, Kind::Bytes),
    (2, Kind::Bytes),
    (3, Kind::Text),
    (4, Kind::Message(&KEY_VALUE)),
    (5, Kind::Varint),
    (6, Kind::Fixed32),
]);
/// `Exemplar`.
pub(super) static EXEMPLAR: Message = message(&[
    (2, Kind::Fixed64),
    (3, Kind::Fixed64),
    (4, Kind::Bytes),
    (5, Kind::Bytes),
    (6, Kind::Fixed64),
    (7, Kind::Message(&KEY_VALUE)),
]);

impl Message {
    fn kind(&self, number: u32) -> Option<&'static Kind> {
        self.fields.iter().find(|(n, _)| *n == number).map(|(_, kind)| kind)
    }

    /// Whether all strings of the message in `reader` are UTF-8.
    ///
    /// # Errors
    /// The bytes are no such message, or values nest deeper than [`limits::DEPTH`].
    fn is_utf8(&self, mut reader: Reader<'_>, depth: usize) -> Result<bool, DecodeError> {
        let depth = depth + usize::from(self.nests);
        if depth > limits::DEPTH {
            return Err(reader.error("values nest too deep"));
        }
        let mut valid = true;
        while let Some((number, wire)) = reader.field()? {
            match self.kind(number) {
                None => {}
                Some(Kind::Varint) => {
                    wire.varint(&reader)?;
                }
                Some(Kind::Fixed64) => {
                    wire.fixed64(&reader)?;
                }
                Some(Kind::Fixed32) => {
                    wire.fixed32(&reader)?;
                }
                Some(Kind::Bytes) => {
                    wire.bytes(&reader)?;
                }
                Some(Kind::Text) => valid &= simdutf8::basic::from_utf8(wire.bytes(&reader)?).is_ok(),
                Some(Kind::Message(inner)) => valid &= inner.is_utf8(reader.enter(wire.bytes(&reader)?), depth)?,
            }
        }
        Ok(valid)
    }

    /// Writes the message with its strings repaired.
    fn repair(&self, mut reader: Reader<'_>, out: &mut Vec<u8>, repaired: &mut u64) {
        while let Ok(Some((number, wire))) = reader.field() {
            match (self.kind(number), wire) {
                (Some(Kind::Text), Wire::Bytes(text)) => put_bytes(out, number, repair(text, repaired).as_bytes()),
                (Some(Kind::Message(inner)), Wire::Bytes(bytes)) => {
                    put_message(out, number, |out| inner.repair(reader.enter(bytes), out, repaired));
                }
                _ => put_field(out, number, wire),
            }
        }
    }

    /// The bytes of the message in `reader`, with strings that are no UTF-8 repaired and counted.
    ///
    /// # Errors
    /// The bytes are no such message, or values nest deeper than [`limits::DEPTH`].
    pub(super) fn checked<'a>(&self, reader: Reader<'a>, repaired: &mut u64) -> Result<Cow<'a, [u8]>, DecodeError> {
        if self.is_utf8(reader, 0)? {
            return Ok(Cow::Borrowed(reader.rest()));
        }
        let mut out = Vec::with_capacity(reader.rest().len() + 16);
        self.repair(reader, &mut out, repaired);
        Ok(Cow::Owned(out))
    }
}

/// The text, with U+FFFD for what is no UTF-8; counts where that was so.
pub(super) fn repair<'a>(text: &'a [u8], repaired: &mut u64) -> Cow<'a, str> {
    match simdutf8::basic::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            *repaired += 1;
            String::from_utf8_lossy(text)
        }
    }
}

/// The first bytes of `text`, at most `limit`, ending where a character ends.
pub(super) fn cut(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    let start = limit.saturating_sub(3);
    let end = (start..=limit).rev().find(|i| text.get(*i).is_none_or(|b| b & 0xC0 != 0x80)).unwrap_or(limit);
    text.get(..end).unwrap_or(text)
}
