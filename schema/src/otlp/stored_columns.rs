//! Stored columns as they are read: dictionaries in memory, plain or view arrays from a file, all by the same means.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Int32Array, PrimitiveArray,
    RecordBatch, StringArray, StringViewArray,
    cast::AsArray,
    types::{ArrowPrimitiveType, Int32Type},
};
use arrow_schema::{ArrowError, DataType};

use super::wire::{Reader, put_bytes, put_fixed64, put_head, put_message, put_uint, put_varint};
use crate::stored::{self, Tag};

/// Text or bytes, however they are encoded.
#[derive(Clone, Debug)]
pub(crate) enum BytesColumn {
    Text(StringArray),
    TextView(StringViewArray),
    Binary(BinaryArray),
    BinaryView(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
    Dictionary(Int32Array, Box<BytesColumn>),
}

impl BytesColumn {
    pub(crate) fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::Utf8View => Self::TextView(array.as_string_view().clone()),
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Self::Fixed(array.as_fixed_size_binary().clone()),
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                Self::Dictionary(dictionary.keys().clone(), Box::new(Self::new(dictionary.values())?))
            }
            DataType::Dictionary(_, value) => Self::new(&arrow_cast::cast(array, value)?)?,
            _ => Self::Binary(arrow_cast::cast(array, &DataType::Binary)?.as_binary().clone()),
        })
    }

    /// The value of a row; `None` for NULL and for a row that there isn't.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Text(array) => value(array, row, |a| a.value(row).as_bytes()),
            Self::TextView(array) => value(array, row, |a| a.value(row).as_bytes()),
            Self::Binary(array) => value(array, row, |a| a.value(row)),
            Self::BinaryView(array) => value(array, row, |a| a.value(row)),
            Self::Fixed(array) => value(array, row, |a| a.value(row)),
            Self::Dictionary(keys, values) => {
                value(keys, row, |k| k.value(row)).and_then(|key| values.get(usize::try_from(key).ok()?))
            }
        }
    }
}

#[inline]
fn value<'a, A: Array, T>(array: &'a A, row: usize, get: impl FnOnce(&'a A) -> T) -> Option<T> {
    (row < array.len() && array.is_valid(row)).then(|| get(array))
}

/// The text or bytes column of a name, where the batch has it.
pub(crate) fn bytes(rows: &RecordBatch, name: &str) -> Result<Option<BytesColumn>, ArrowError> {
    rows.column_by_name(name).map(BytesColumn::new).transpose()
}

/// The column of numbers of a name, where the batch has it.
pub(crate) fn numbers<T: ArrowPrimitiveType>(
    rows: &RecordBatch,
    name: &str,
) -> Result<Option<PrimitiveArray<T>>, ArrowError> {
    rows.column_by_name(name).map(|array| as_numbers(array)).transpose()
}

/// An array as numbers of one type; times come as their nanoseconds whatever the time zone says.
pub(crate) fn as_numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<PrimitiveArray<T>, ArrowError> {
    match array.as_primitive_opt::<T>() {
        Some(array) => Ok(array.clone()),
        None => Ok(arrow_cast::cast(array, &T::DATA_TYPE)?.as_primitive::<T>().clone()),
    }
}

/// The number of a row; `None` for NULL.
#[inline]
pub(crate) fn number<T: ArrowPrimitiveType>(column: Option<&PrimitiveArray<T>>, row: usize) -> Option<T::Native> {
    column.and_then(|array| value(array, row, |a| a.value(row)))
}

/// The truth value of a row; `None` for NULL.
pub(crate) fn boolean(column: Option<&BooleanArray>, row: usize) -> Option<bool> {
    column.and_then(|array| value(array, row, |a| a.value(row)))
}

/// An attribute column.
#[derive(Clone, Debug)]
pub(crate) enum AttributeColumn {
    Text(BytesColumn),
    Uuid(BytesColumn),
    Int(PrimitiveArray<arrow_array::types::Int64Type>),
    Double(PrimitiveArray<arrow_array::types::Float64Type>),
    Bool(BooleanArray),
}

impl AttributeColumn {
    pub(crate) fn new(tag: Tag, array: &ArrayRef) -> Result<Option<Self>, ArrowError> {
        Ok(Some(match tag {
            Tag::Text => Self::Text(BytesColumn::new(array)?),
            Tag::Uuid => Self::Uuid(BytesColumn::new(array)?),
            Tag::Int => Self::Int(as_numbers(array)?),
            Tag::Double => Self::Double(as_numbers(array)?),
            Tag::Bool => Self::Bool(arrow_cast::cast(array, &DataType::Boolean)?.as_boolean().clone()),
            Tag::Empty | Tag::Rest => return Ok(None),
        }))
    }

    /// Writes a row's value as an `AnyValue` message. `false`: it is NULL, and nothing is written.
    pub(crate) fn put(&self, out: &mut Vec<u8>, row: usize) -> bool {
        match self {
            Self::Text(column) => column.get(row).map(|text| put_bytes(out, 1, text)).is_some(),
            Self::Uuid(column) => match column.get(row) {
                Some(uuid) => {
                    put_uuid(out, uuid);
                    true
                }
                None => false,
            },
            Self::Int(column) => number(Some(column), row).map(|int| put_uint(out, 3, int as u64)).is_some(),
            Self::Double(column) => {
                number(Some(column), row).map(|double| put_fixed64(out, 4, double.to_bits())).is_some()
            }
            Self::Bool(column) => boolean(Some(column), row).map(|bool| put_uint(out, 2, u64::from(bool))).is_some(),
        }
    }
}

fn put_uuid(out: &mut Vec<u8>, uuid: &[u8]) {
    put_head(out, 1, uuid.len() * 2 + 4);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        for digit in [byte >> 4, byte & 15] {
            out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
}

/// The attributes of a shape, in order; those of the rest have no key. What is no shape ends the list.
pub(crate) fn shape(bytes: &[u8]) -> Vec<(Tag, &str)> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((tag, after)) = rest.split_first() {
        let Some(tag) = Tag::from_byte(*tag) else { break };
        if tag == Tag::Rest {
            out.push((tag, ""));
            rest = after;
            continue;
        }
        let mut reader = Reader::new(after);
        let Ok(key) = reader.bytes() else { break };
        out.push((tag, std::str::from_utf8(key).unwrap_or_default()));
        rest = reader.rest();
    }
    out
}

/// The messages with their lengths before them.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || if reader.is_empty() { None } else { reader.bytes().ok() })
}

/// The attributes of stored rows, to be written out.
#[derive(Debug)]
pub(crate) struct Attributes {
    shape: Option<BytesColumn>,
    rest: Option<BytesColumn>,
    columns: Vec<((Tag, Arc<str>), AttributeColumn)>,
    /// The shape that `entries` are of.
    last: Vec<u8>,
    entries: Vec<Entry>,
}

/// An attribute of a shape.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    /// The field `key` as it is written.
    head: Vec<u8>,
    /// Index into the columns.
    column: Option<usize>,
}

impl Attributes {
    pub(crate) fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        let mut columns = Vec::new();
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            if let Some((tag, key)) = stored::parse_attribute_column(field.name())
                && let Some(column) = AttributeColumn::new(tag, array)?
            {
                columns.push(((tag, Arc::from(key)), column));
            }
        }
        columns.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            shape: bytes(rows, stored::SHAPE)?,
            rest: bytes(rows, stored::REST)?,
            columns,
            last: Vec::new(),
            entries: Vec::new(),
        })
    }

    /// Writes the attributes of a row as fields `number`.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, number: u32, row: usize) {
        let Some(shape) = self.shape.as_ref().and_then(|column| column.get(row)) else { return };
        if *shape != *self.last {
            self.last = shape.to_vec();
            self.entries = entries(&self.columns, &self.last);
        }
        let rest = self.rest.as_ref().and_then(|column| column.get(row)).unwrap_or_default();
        let mut rest = messages(rest);
        for entry in &self.entries {
            match entry.tag {
                Tag::Rest => {
                    if let Some(message) = rest.next() {
                        put_bytes(out, number, message);
                    }
                }
                _ => entry.put(&self.columns, out, number, row),
            }
        }
    }

    /// Writes the column's value as a `KeyValue` with its length before it. `false`: it is NULL.
    pub(crate) fn put_message(&self, out: &mut Vec<u8>, tag: Tag, key: &str, row: usize) -> bool {
        let Some(column) = find(&self.columns, tag, key).and_then(|i| self.columns.get(i)) else { return false };
        let mut message = Vec::new();
        put_bytes(&mut message, 1, key.as_bytes());
        let mut set = false;
        put_message(&mut message, 2, |out| set = column.1.put(out, row));
        if set {
            put_varint(out, message.len() as u64);
            out.extend_from_slice(&message);
        }
        set
    }
}

fn entries(columns: &[((Tag, Arc<str>), AttributeColumn)], bytes: &[u8]) -> Vec<Entry> {
    let entry = |(tag, key): (Tag, &str)| {
        let mut head = Vec::new();
        if tag != Tag::Rest {
            put_bytes(&mut head, 1, key.as_bytes());
        }
        Entry { tag, head, column: find(columns, tag, key) }
    };
    shape(bytes).into_iter().map(entry).collect()
}

fn find(columns: &[((Tag, Arc<str>), AttributeColumn)], tag: Tag, key: &str) -> Option<usize> {
    columns.binary_search_by(|((t, k), _)| (*t, &**k).cmp(&(tag, key))).ok()
}

impl Entry {
    fn put(&self, columns: &[((Tag, Arc<str>), AttributeColumn)], out: &mut Vec<u8>, number: u32, row: usize) {
        let start = out.len();
        let mut set = self.tag == Tag::Empty;
        put_message(out, number, |out| {
            out.extend_from_slice(&self.head);
            put_message(out, 2, |out| {
                if let Some((_, column)) = self.column.and_then(|i| columns.get(i)) {
                    set = column.put(out, row);
                }
            });
        });
        if !set {
            out.truncate(start);
        }
    }
}
