//! `AnyValue` as text: what SQL shows for a body or an attribute that is no string.
//!
//! Numbers and truth values are their plain text, bytes are base64, lists and maps compact JSON; within JSON, bytes and
//! numbers that JSON lacks (NaN, the infinities) are strings. This never fails on bytes that the decoder has accepted.

use std::{borrow::Cow, fmt::Write};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    DecodeError,
    wire::{Reader, Wire},
};
use crate::limits;

/// The text of the `AnyValue` message; `None` where nothing is set or the bytes are no such message.
pub fn text(message: &[u8]) -> Option<String> {
    cut_text(message, usize::MAX).map(|(text, _)| text)
}

/// The first bytes of the text of the `AnyValue` message, about `limit`, and how many were left out. What is left out is
/// counted and never written, since a few bytes of a message can have a text many times as long.
pub(super) fn cut_text(message: &[u8], limit: usize) -> Option<(String, usize)> {
    let value = read(Reader::new(message)).ok().flatten()?;
    let mut out = Text { text: String::new(), limit, left_out: 0 };
    match value {
        Any::Text(text) => out.push(&String::from_utf8_lossy(text)),
        Any::Bytes(bytes) => out.push_base64(bytes),
        Any::Double(double) => out.push_double(double),
        value => put_json(&mut out, &value, 1).ok()?,
    }
    Some((out.text, out.left_out))
}

/// A text that stops growing soon after a limit.
struct Text {
    text: String,
    limit: usize,
    left_out: usize,
}

impl Text {
    fn push(&mut self, text: &str) {
        let room = self.limit.saturating_sub(self.text.len());
        let kept =
            if text.len() <= room { text } else { text.get(..text.floor_char_boundary(room)).unwrap_or_default() };
        self.text.push_str(kept);
        if kept.len() < text.len() {
            // Once something is missing nothing may follow it.
            self.limit = 0;
            self.left_out += text.len() - kept.len();
        }
    }

    fn push_double(&mut self, double: f64) {
        let mut text = String::new();
        put_double(&mut text, double);
        self.push(&text);
    }

    fn push_base64(&mut self, bytes: &[u8]) {
        // Three bytes are four characters: a piece ends where a group ends.
        for piece in bytes.chunks(48 << 10) {
            if self.text.len() < self.limit {
                self.push(&BASE64_STANDARD.encode(piece));
            } else {
                self.left_out += piece.len().div_ceil(3) * 4;
            }
        }
    }

    fn push_quoted(&mut self, text: &str) {
        let mut quoted = String::new();
        for piece in pieces(text) {
            quoted.clear();
            put_json_inner(&mut quoted, piece);
            self.push(&quoted);
        }
    }
}

/// The text in pieces that are not long.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(48 << 10));
        rest = after;
        Some(piece)
    })
}

/// The text of a double as OTLP/JSON writes it: `1`, `0.5`, `1e+21`, `NaN`, `Infinity`, `-Infinity`.
pub fn put_double(out: &mut String, double: f64) {
    if double.is_nan() {
        out.push_str("NaN");
    } else if double.is_infinite() {
        out.push_str(if double > 0.0 { "Infinity" } else { "-Infinity" });
    } else if double != 0.0 && !(1e-6..1e21).contains(&double.abs()) {
        let scientific = format!("{double:e}");
        match scientific.split_once('e') {
            Some((digits, power)) if power.starts_with('-') => put(out, format_args!("{digits}e{power}")),
            Some((digits, power)) => put(out, format_args!("{digits}e+{power}")),
            None => out.push_str(&scientific),
        }
    } else {
        put(out, format_args!("{double}"));
    }
}

/// Writing to a `String` cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

enum Any<'a> {
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list, and behind it perhaps more of it: a list that comes in two fields is one list. From here on the message
    /// has no other value.
    List(Reader<'a>),
    /// A map, likewise.
    Map(Reader<'a>),
    Bytes(&'a [u8]),
}

const LIST: u32 = 5;
const MAP: u32 = 6;

fn read(mut reader: Reader<'_>) -> Result<Option<Any<'_>>, DecodeError> {
    let mut value = None;
    let mut here = reader;
    while let Some((number, wire)) = reader.field()? {
        let start = std::mem::replace(&mut here, reader);
        value = Some(match (number, wire) {
            (1, Wire::Bytes(text)) => Any::Text(text),
            (2, Wire::Varint(bool)) => Any::Bool(bool != 0),
            (3, Wire::Varint(int)) => Any::Int(int as i64),
            (4, Wire::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
            (LIST, Wire::Bytes(_)) => match value {
                Some(Any::List(first)) => Any::List(first),
                _ => Any::List(start),
            },
            (MAP, Wire::Bytes(_)) => match value {
                Some(Any::Map(first)) => Any::Map(first),
                _ => Any::Map(start),
            },
            (7, Wire::Bytes(bytes)) => Any::Bytes(bytes),
            _ => continue,
        });
    }
    Ok(value)
}

fn put_json(out: &mut Text, value: &Any<'_>, depth: usize) -> Result<(), DecodeError> {
    match value {
        Any::Text(text) => put_quoted(out, &String::from_utf8_lossy(text)),
        Any::Bool(bool) => out.push(if *bool { "true" } else { "false" }),
        Any::Int(int) => out.push(&int.to_string()),
        Any::Double(double) if double.is_finite() => out.push_double(*double),
        Any::Double(double) => {
            out.push("\"");
            out.push_double(*double);
            out.push("\"");
        }
        Any::Bytes(bytes) => {
            out.push("\"");
            out.push_base64(bytes);
            out.push("\"");
        }
        Any::List(parts) => {
            out.push("[");
            put_items(out, *parts, LIST, |out, item| put_inner(out, item, depth))?;
            out.push("]");
        }
        Any::Map(parts) => {
            out.push("{");
            put_items(out, *parts, MAP, |out, entry| put_entry(out, entry, depth))?;
            out.push("}");
        }
    }
    Ok(())
}

/// Writes the items of all fields `number` that `parts` has, with commas between.
fn put_items(
    out: &mut Text,
    mut parts: Reader<'_>,
    number: u32,
    mut put: impl FnMut(&mut Text, Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut first = true;
    while let Some((field, wire)) = parts.field()? {
        let (true, Wire::Bytes(part)) = (field == number, wire) else { continue };
        let mut part = parts.enter(part);
        while let Some((field, wire)) = part.field()? {
            if let (1, Wire::Bytes(item)) = (field, wire) {
                if !std::mem::replace(&mut first, false) {
                    out.push(",");
                }
                put(out, part.enter(item))?;
            }
        }
    }
    Ok(())
}

fn put_inner(out: &mut Text, reader: Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    if depth >= limits::DEPTH {
        return Err(reader.error("values nest too deep"));
    }
    match read(reader)? {
        Some(value) => put_json(out, &value, depth + 1),
        None => {
            out.push("null");
            Ok(())
        }
    }
}

fn put_entry(out: &mut Text, entry: Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    let mut key: &[u8] = &[];
    let mut value: Option<Cow<'_, [u8]>> = None;
    let mut reader = entry;
    while let Some((number, wire)) = reader.field()? {
        match (number, wire, &mut value) {
            (1, Wire::Bytes(text), _) => key = text,
            (2, Wire::Bytes(part), None) => value = Some(Cow::Borrowed(part)),
            (2, Wire::Bytes(part), Some(whole)) => whole.to_mut().extend_from_slice(part),
            _ => {}
        }
    }
    put_quoted(out, &String::from_utf8_lossy(key));
    out.push(":");
    put_inner(out, Reader::new(value.as_deref().unwrap_or_default()), depth)
}

fn put_quoted(out: &mut Text, text: &str) {
    out.push("\"");
    out.push_quoted(text);
    out.push("\"");
}

/// Writes a JSON string with its quotes.
pub fn put_json_text(out: &mut String, text: &str) {
    out.push('"');
    put_json_inner(out, text);
    out.push('"');
}

fn put_json_inner(out: &mut String, text: &str) {
    // Most texts have nothing to escape, and without a branch for each byte many are looked at in one step.
    let escapes = text.bytes().fold(false, |any, byte| any | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if !escapes {
        out.push_str(text);
        return;
    }
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(text.get(plain..i).unwrap_or_default());
        match escape {
            "" => put(out, format_args!("\\u{byte:04x}")),
            escape => out.push_str(escape),
        }
        plain = i + 1;
    }
    out.push_str(text.get(plain..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::{
        super::wire::{put_bytes, put_message},
        *,
    };

    #[test]
    fn doubles_read_as_in_go() {
        let table = [
            (1.0, "1"),
            (0.5, "0.5"),
            (-0.0, "-0"),
            (0.0, "0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (double, expected) in table {
            let mut out = String::new();
            put_double(&mut out, double);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_text_is_cut_at_its_limit_and_the_rest_counted() {
        let mut list = Vec::new();
        for _ in 0..1000 {
            put_message(&mut list, 1, |out| put_bytes(out, 1, "ü\n".as_bytes()));
        }
        let mut message = Vec::new();
        put_bytes(&mut message, 5, &list);
        let whole = text(&message).unwrap();
        assert_eq!(whole.len(), 1000 * 7 + 1);
        for limit in 0..40 {
            let (text, left_out) = cut_text(&message, limit).unwrap();
            assert!(text.len() <= limit && whole.starts_with(&text), "{text}");
            assert_eq!(text.len() + left_out, whole.len());
        }
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 7, &vec![7; 200_000]);
        let (text, left_out) = cut_text(&bytes, 100_000).unwrap();
        assert_eq!(text.len() + left_out, 200_000usize.div_ceil(3) * 4);
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = String::new();
        put_json_text(&mut out, "a\"b\\c\n\u{1}é");
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\u0001é\"");
    }
}
