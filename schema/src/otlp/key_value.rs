//! Reads a `KeyValue`: the way all senders write it in a few comparisons, every other way as protobuf allows it.

use std::borrow::Cow;

use super::{
    DecodeError,
    attributes::Raw,
    wire::{Reader, Wire},
};
use crate::stored::Tag;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// An `AnyValue` with nothing set.
    Empty,
    Text(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// No value at all, a list, a map, bytes.
    Other,
}

#[derive(Debug)]
pub(super) struct KeyValue<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: Value<'a>,
}

impl Value<'_> {
    #[inline]
    pub(super) fn tag(&self) -> Tag {
        match self {
            Value::Empty => Tag::Empty,
            Value::Text(_) => Tag::Text,
            Value::Uuid(_) => Tag::Uuid,
            Value::Int(_) => Tag::Int,
            Value::Double(_) => Tag::Double,
            Value::Bool(_) => Tag::Bool,
            Value::Other => Tag::Rest,
        }
    }
}

#[inline]
fn text(text: &[u8]) -> Value<'_> {
    match uuid(text) {
        Some(uuid) => Value::Uuid(uuid),
        None => Value::Text(Cow::Borrowed(text)),
    }
}

/// The 16 bytes of a UUID in its canonical form: 36 characters, lower case.
#[inline]
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let mut out = [0; 16];
    let starts = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (byte, start) in out.iter_mut().zip(starts) {
        *byte = nibble(*text.get(start)?)? << 4 | nibble(*text.get(start + 1)?)?;
    }
    Some(out)
}

#[inline]
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl<'a> KeyValue<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// It is none. The inside of lists and maps is not looked at.
    #[inline]
    pub(super) fn read(raw: Raw<'a>) -> Result<Self, DecodeError> {
        if let [0x0A, key_len, rest @ ..] = raw.bytes
            && *key_len < 0x80
            && let Some((key, [0x12, any_len, any @ ..])) = rest.split_at_checked(usize::from(*key_len))
            && *any_len < 0x80
            && any.len() == usize::from(*any_len)
        {
            let value = match any {
                [0x0A, len, bytes @ ..] if *len < 0x80 && bytes.len() == usize::from(*len) => text(bytes),
                [0x18, byte] if *byte < 0x80 => Value::Int(i64::from(*byte)),
                [0x10, byte] if *byte < 0x80 => Value::Bool(*byte != 0),
                [0x21, a, b, c, d, e, f, g, h] => Value::Double(f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
                [] => Value::Empty,
                _ => any_value(Reader::at(any, raw.offset + raw.bytes.len() - any.len()))?,
            };
            return Ok(Self { key: Cow::Borrowed(key), value });
        }
        Self::read_any_way(raw)
    }

    fn read_any_way(raw: Raw<'a>) -> Result<Self, DecodeError> {
        let mut key: &[u8] = &[];
        let mut values = 0;
        let mut value = Value::Other;
        let mut reader = Reader::at(raw.bytes, raw.offset);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => key = wire.bytes(&reader)?,
                2 => {
                    values += 1;
                    value = any_value(reader.enter(wire.bytes(&reader)?))?;
                }
                _ => {}
            }
        }
        if values > 1
            && let Some(Cow::Owned(whole)) = Self::value_bytes(raw)?
        {
            value = any_value(Reader::at(&whole, raw.offset))?.into_owned();
        }
        Ok(Self { key: Cow::Borrowed(key), value })
    }

    /// The bytes of the `AnyValue`, joined where it came in parts; `None` where there is none.
    pub(super) fn value_bytes(raw: Raw<'a>) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let mut whole: Option<Cow<'a, [u8]>> = None;
        let mut reader = Reader::at(raw.bytes, raw.offset);
        while let Some((number, wire)) = reader.field()? {
            if let (2, Wire::Bytes(part)) = (number, wire) {
                match &mut whole {
                    None => whole = Some(Cow::Borrowed(part)),
                    Some(whole) => whole.to_mut().extend_from_slice(part),
                }
            }
        }
        Ok(whole)
    }
}

impl Value<'_> {
    fn into_owned<'b>(self) -> Value<'b> {
        match self {
            Value::Empty => Value::Empty,
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Uuid(uuid) => Value::Uuid(uuid),
            Value::Int(int) => Value::Int(int),
            Value::Double(double) => Value::Double(double),
            Value::Bool(bool) => Value::Bool(bool),
            Value::Other => Value::Other,
        }
    }
}

/// The value of an `AnyValue`: the field that stands last.
pub(super) fn any_value(mut reader: Reader<'_>) -> Result<Value<'_>, DecodeError> {
    let mut value = Value::Empty;
    while let Some((number, wire)) = reader.field()? {
        value = match number {
            1 => text(wire.bytes(&reader)?),
            2 => Value::Bool(wire.varint(&reader)? != 0),
            3 => Value::Int(wire.varint(&reader)? as i64),
            4 => Value::Double(f64::from_bits(wire.fixed64(&reader)?)),
            5..=7 => {
                wire.bytes(&reader)?;
                Value::Other
            }
            8 => {
                wire.varint(&reader)?;
                Value::Other
            }
            _ => continue,
        };
    }
    Ok(value)
}
