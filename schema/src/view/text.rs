//! Text that a view makes: columns of it, maps of it, ids in hex.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, MapArray, RecordBatch, StringArray, StringViewArray, StructArray, cast::AsArray, new_null_array,
};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use super::input;
use crate::{
    otlp::{
        DecodeError, any_value,
        wire::{Reader, Wire},
    },
    tables,
};

/// A column of text under construction.
#[derive(Debug)]
pub(super) struct Texts {
    data: Vec<u8>,
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
    overflow: bool,
}

impl Texts {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { data: Vec::new(), ends, nulls: NullBufferBuilder::new(rows), overflow: false }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.data.extend_from_slice(text);
        self.close();
    }

    pub(super) fn push_null(&mut self) {
        self.nulls.append_null();
        self.end();
    }

    /// Where the next text may be written before [`Texts::close`].
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Ends the text that was written to [`Texts::writer`].
    pub(super) fn close(&mut self) {
        self.nulls.append_non_null();
        self.end();
    }

    fn end(&mut self) {
        let end = i32::try_from(self.data.len());
        self.overflow |= end.is_err();
        self.ends.push(end.unwrap_or(i32::MAX));
    }

    /// Adds the text of an `AnyValue`; NULL where nothing is set.
    pub(super) fn push_value(&mut self, message: &[u8]) {
        // A plain string in the one form that writers use needs no copy of its own.
        let mut reader = Reader::new(message);
        match reader.field() {
            Ok(Some((1, Wire::Bytes(text)))) if reader.is_empty() => self.push(text),
            _ => match any_value::text(message) {
                Some(text) => self.push(text.as_bytes()),
                None => self.push_null(),
            },
        }
    }

    pub(super) fn finish(self) -> Result<StringArray, ArrowError> {
        if self.overflow {
            return Err(ArrowError::OffsetOverflowError(self.data.len()));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        StringArray::try_new(offsets, Buffer::from_vec(self.data), self.nulls.build())
    }

    /// The column as views.
    pub(super) fn finish_views(self) -> Result<StringViewArray, ArrowError> {
        Ok(StringViewArray::from(&self.finish()?))
    }
}

/// A column of maps from text to text under construction.
#[derive(Debug)]
pub(super) struct Maps {
    keys: Texts,
    values: Texts,
    ends: Vec<i32>,
}

impl Maps {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { keys: Texts::with_capacity(rows), values: Texts::with_capacity(rows), ends }
    }

    /// Adds a key to the present map and gives the column where its value goes.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut Texts {
        self.keys.push(key);
        &mut self.values
    }

    /// Adds a `KeyValue` to the present map.
    pub(super) fn push_attribute(&mut self, attribute: &Attribute<'_>) {
        let values = self.entry(attribute.key);
        match attribute.value {
            Some(value) => values.push_value(value),
            None => values.push_null(),
        }
    }

    /// Ends the present map.
    pub(super) fn close(&mut self) {
        // A column of keys that overflows says so itself.
        self.ends.push(i32::try_from(self.keys.len()).unwrap_or(i32::MAX));
    }

    pub(super) fn finish(self) -> Result<MapArray, ArrowError> {
        let DataType::Map(field, ordered) = tables::attributes() else {
            return Err(ArrowError::SchemaError("attributes are no map".into()));
        };
        let DataType::Struct(fields) = field.data_type() else {
            return Err(ArrowError::SchemaError("attributes have no entries".into()));
        };
        let entries: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()?), Arc::new(self.values.finish()?)];
        let entries = StructArray::try_new(fields.clone(), entries, None)?;
        MapArray::try_new(field, OffsetBuffer::new(ScalarBuffer::from(self.ends)), entries, None, ordered)
    }
}

/// A `KeyValue` message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    pub(super) key: &'a [u8],
    /// The `AnyValue` message.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Attribute<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ArrowError> {
        let mut attribute = Self { key: &[], value: None };
        each_field(message, |number, wire| match (number, wire) {
            (1, Wire::Bytes(key)) => attribute.key = key,
            (2, Wire::Bytes(value)) => attribute.value = Some(value),
            _ => {}
        })?;
        Ok(attribute)
    }
}

/// Calls `field` with each field of a message.
pub(super) fn each_field<'a>(message: &'a [u8], mut field: impl FnMut(u32, Wire<'a>)) -> Result<(), ArrowError> {
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field().map_err(invalid)? {
        field(number, wire);
    }
    Ok(())
}

/// Calls `message` with each message of a column that holds them with their lengths.
pub(super) fn each_message<'a>(
    messages: &'a [u8],
    mut message: impl FnMut(&'a [u8]) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    let mut reader = Reader::new(messages);
    while !reader.is_empty() {
        message(reader.bytes().map_err(invalid)?)?;
    }
    Ok(())
}

/// Stored bytes that are no message.
pub(super) fn invalid(error: DecodeError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

/// A column of ids in hex; NULL where there is none.
pub(super) fn hex(rows: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    let Some(array) = rows.column_by_name(name) else {
        return Ok(new_null_array(&DataType::Utf8View, rows.num_rows()));
    };
    let array = match array.data_type() {
        DataType::Dictionary(_, values) => input::as_type(array, values)?,
        _ => Arc::clone(array),
    };
    let Some(ids) = array.as_fixed_size_binary_opt() else {
        let Some(ids) = input::bytes(rows, name)? else { return Ok(array) };
        let mut out = Texts::with_capacity(ids.len());
        for id in &ids {
            match id {
                Some(id) => {
                    put_hex(out.writer(), id);
                    out.close();
                }
                None => out.push_null(),
            }
        }
        return Ok(Arc::new(out.finish_views()?));
    };
    // The ids lie one behind the other, and so do their digits; where there is none, the digits are of no account.
    let digits = 2 * ids.value_length();
    let bytes = ids.value_data().get(..ids.len() * ids.value_length() as usize).unwrap_or_default();
    let mut data = Vec::with_capacity(2 * bytes.len());
    put_hex(&mut data, bytes);
    let ends = i32::try_from(data.len()).ok().ok_or(ArrowError::OffsetOverflowError(data.len()))?;
    let offsets: Vec<i32> = (0..=ends).step_by(digits.max(1) as usize).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let nulls: Option<NullBuffer> = ids.nulls().cloned();
    let text = StringArray::try_new(offsets, Buffer::from_vec(data), nulls)?;
    Ok(Arc::new(StringViewArray::from(&text)))
}

const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// Writes bytes in lower-case hex.
pub(super) fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&HEX[usize::from(*byte)]);
    }
}
