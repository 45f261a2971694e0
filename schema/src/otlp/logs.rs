//! Log records into rows.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    ArrayRef,
    types::{Int32Type, TimestampNanosecondType},
};
use arrow_schema::{ArrowError, DataType, Field};

use super::{
    DecodeError,
    any_value::cut_text,
    attributes::Raw,
    check::{self, ANY_VALUE},
    columns::{Bytes, Dictionary, Fixed, Numbers},
    key_value::{Value, any_value},
    points::raw,
    rows::{Items, Rows},
    wire::{Reader, put_bytes, put_message, put_uint},
};
use crate::{limits, stored, tables};

/// The attribute that says how many bytes a body had more than it has here.
pub(super) const TRUNCATED_BYTES: &str = "devmesh.truncated_bytes";

/// The columns of logs alone.
#[derive(Debug)]
pub(super) struct Logs {
    observed: Numbers<TimestampNanosecondType>,
    level: Dictionary,
    severity_number: Numbers<Int32Type>,
    severity_text: Dictionary,
    event_name: Dictionary,
    body: Bytes,
    body_value: Bytes,
    trace_id: Fixed<16>,
    span_id: Fixed<8>,
    last_level: LastLevel,
}

#[derive(Debug, Default)]
struct LastLevel {
    number: i32,
    text: Vec<u8>,
    key: Option<i32>,
}

#[derive(Default)]
struct Record<'a> {
    time: u64,
    observed: u64,
    severity_number: i32,
    severity_text: &'a [u8],
    body: Option<Body<'a>>,
    dropped: u32,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

struct Body<'a> {
    bytes: Cow<'a, [u8]>,
    offset: usize,
}

impl Logs {
    pub(super) fn new() -> Self {
        Self {
            observed: Numbers::new(),
            level: Dictionary::new(),
            severity_number: Numbers::new(),
            severity_text: Dictionary::new(),
            event_name: Dictionary::new(),
            body: Bytes::new(),
            body_value: Bytes::new(),
            trace_id: Fixed::new(),
            span_id: Fixed::new(),
            last_level: LastLevel::default(),
        }
    }

    fn level(&mut self, number: i32, text: &[u8]) -> i32 {
        if let Some(key) = self.last_level.key
            && self.last_level.number == number
            && *self.last_level.text == *text
        {
            return key;
        }
        let key = self.level.intern(level(number, text).as_bytes());
        self.last_level = LastLevel { number, text: text.to_vec(), key: Some(key) };
        key
    }

    /// Writes the body's columns. Returns how many bytes were cut off.
    fn body(&mut self, row: usize, body: Option<Body<'_>>, repaired: &mut u64) -> Result<usize, DecodeError> {
        let Some(Body { bytes, offset }) = body else { return Ok(0) };
        if let [0x0A, rest @ ..] = &*bytes {
            // One field, a string: what nearly all bodies are.
            let mut reader = Reader::at(rest, offset + 1);
            let text = reader.bytes()?;
            if reader.is_empty() {
                let kept = check::cut(text, limits::LOG_BODY_BYTES);
                self.body.push(row, kept);
                return Ok(text.len() - kept.len());
            }
        }
        let value = ANY_VALUE.checked(Reader::at(&bytes, offset), repaired)?;
        let Some((text, cut)) = cut_text(&value, limits::LOG_BODY_BYTES) else {
            // Nothing is set, or nothing that is known.
            self.body_value.push(row, &value);
            return Ok(0);
        };
        self.body.push(row, text.as_bytes());
        let is_text = matches!(any_value(Reader::at(&value, offset))?, Value::Text(_) | Value::Uuid(_));
        if cut == 0 && !is_text {
            self.body_value.push(row, &value);
        }
        Ok(cut)
    }

    fn push(&mut self, rows: &mut Rows<'_>, mut record: Record<'_>) -> Result<(), DecodeError> {
        let row = rows.count;
        let received = rows.context.received;
        let observed = record.observed != 0 && !rows.is_future(record.observed);
        let instead = if record.time == 0 && observed { record.observed as i64 } else { received };
        rows.push_time(record.time, instead);
        if record.observed != 0 {
            // Beyond the year 2262 the number does not fit; its bits are kept so that it can be sent on as it came.
            self.observed.push(row, record.observed as i64);
        }
        let level = self.level(record.severity_number, record.severity_text);
        self.level.push_key(row, level);
        self.severity_number.push(row, record.severity_number);
        if !record.severity_text.is_empty() {
            self.severity_text.push(row, record.severity_text);
        }
        if !record.event_name.is_empty() {
            self.event_name.push(row, record.event_name);
        }
        if let Some(id) = id(record.trace_id) {
            self.trace_id.push(row, id);
        }
        if let Some(id) = id(record.span_id) {
            self.span_id.push(row, id);
        }
        let cut = self.body(row, record.body.take(), &mut rows.repaired)?;
        if cut > 0 {
            return end_cut(rows, &record, cut);
        }
        rows.end_row(record.flags, record.dropped)
    }
}

/// The bytes of an id; `None` where it is all zero or of another length.
#[inline]
pub(super) fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| *id != [0; N])
}

/// Ends the row of a record whose body was cut, and says so in an attribute.
fn end_cut(rows: &mut Rows<'_>, record: &Record<'_>, cut: usize) -> Result<(), DecodeError> {
    let mut note = Vec::new();
    put_bytes(&mut note, 1, TRUNCATED_BYTES.as_bytes());
    put_message(&mut note, 2, |out| put_uint(out, 3, cut as u64));
    rows.end_row_with(record.flags, record.dropped, Raw { bytes: &note, offset: 0 })
}

impl<'a> Items<'a> for Logs {
    fn item(&mut self, rows: &mut Rows<'a>, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        if !rows.count_item() {
            return Ok(());
        }
        let mut record = Record::default();
        rows.begin_item(&reader);
        while let Some((number, wire)) = reader.field()? {
            match number {
                6 => rows.add_attribute(raw(&reader, wire)?),
                1 => record.time = wire.fixed64(&reader)?,
                2 => record.severity_number = wire.int32(&reader)?,
                3 => record.severity_text = wire.bytes(&reader)?,
                5 => {
                    let part = wire.bytes(&reader)?;
                    match &mut record.body {
                        None => {
                            let offset = reader.offset() - part.len();
                            record.body = Some(Body { bytes: Cow::Borrowed(part), offset });
                        }
                        Some(body) => body.bytes.to_mut().extend_from_slice(part),
                    }
                }
                7 => record.dropped = wire.uint32(&reader)?,
                8 => record.flags = wire.fixed32(&reader)?,
                9 => record.trace_id = wire.bytes(&reader)?,
                10 => record.span_id = wire.bytes(&reader)?,
                11 => record.observed = wire.fixed64(&reader)?,
                12 => record.event_name = wire.bytes(&reader)?,
                _ => {}
            }
        }
        self.push(rows, record)
    }

    fn columns(self, rows: usize, repaired: &mut u64) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let mut out: Vec<(Field, ArrayRef)> =
            vec![(stored::dictionary(stored::LEVEL, DataType::Utf8, false), self.level.text(rows, repaired)?)];
        if let Some(array) = self.severity_number.finish(rows, true)? {
            out.push((Field::new(stored::SEVERITY_NUMBER, DataType::Int32, false), Arc::new(array)));
        }
        if let Some(array) = self.observed.finish(rows, false)? {
            let array = array.with_timezone("UTC");
            out.push((Field::new(stored::OBSERVED_TIME, tables::timestamp(), true), Arc::new(array)));
        }
        for (name, column) in [(stored::SEVERITY_TEXT, self.severity_text), (stored::EVENT_NAME, self.event_name)] {
            if !column.is_empty() {
                out.push((stored::dictionary(name, DataType::Utf8, true), column.text(rows, repaired)?));
            }
        }
        if self.body.len() > 0 {
            out.push((Field::new(stored::BODY, DataType::Utf8, true), self.body.text(rows, repaired)?));
        }
        if self.body_value.len() > 0 {
            out.push((Field::new(stored::BODY_VALUE, DataType::Binary, true), self.body_value.binary(rows)?));
        }
        if let Some(array) = self.trace_id.finish(rows)? {
            out.push((Field::new(stored::TRACE_ID, DataType::FixedSizeBinary(16), true), array));
        }
        if let Some(array) = self.span_id.finish(rows)? {
            out.push((Field::new(stored::SPAN_ID, DataType::FixedSizeBinary(8), true), array));
        }
        Ok(out)
    }
}

/// The column `level`: the sender's word where it is one of the column's own, else by the number (OTLP logs data model,
/// "SeverityNumber"), else by the words that others use for the same.
fn level(number: i32, text: &[u8]) -> &'static str {
    let word = String::from_utf8_lossy(text).trim().to_ascii_uppercase();
    let own = ["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"];
    if let Some(level) = own.into_iter().find(|level| *level == word) {
        return level;
    }
    match number {
        1..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => match word.as_str() {
            "TRACE" | "TRC" | "DBG" | "VERBOSE" | "FINE" | "FINER" | "FINEST" => "DEBUG",
            "ERR" | "SEVERE" => "ERROR",
            "WRN" => "WARN",
            "CRIT" | "ALERT" => "CRITICAL",
            "EMERG" | "EMERGENCY" | "PANIC" => "FATAL",
            // INFORMATION, NOTICE, and what nobody knows.
            _ => "INFO",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn the_level_is_the_word_then_the_number_then_an_alias() {
        let table = [
            (0, "", "INFO"),
            (17, "", "ERROR"),
            (17, "warning", "WARNING"),
            (0, "Critical", "CRITICAL"),
            (1, "TRACE", "DEBUG"),
            (0, "trace", "DEBUG"),
            (0, "Information", "INFO"),
            (0, "notice", "INFO"),
            (0, "err", "ERROR"),
            (0, "crit", "CRITICAL"),
            (0, "alert", "CRITICAL"),
            (0, "emerg", "FATAL"),
            (0, "PANIC", "FATAL"),
            (0, "SEVERE", "ERROR"),
            (24, "emerg", "FATAL"),
            (13, "whatever", "WARN"),
            (25, "", "INFO"),
            (-1, "", "INFO"),
        ];
        for (number, text, expected) in table {
            assert_eq!(level(number, text.as_bytes()), expected, "{number} {text}");
        }
    }
}
