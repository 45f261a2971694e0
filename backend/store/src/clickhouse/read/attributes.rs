//! Attributes: from a map of text, and the shape that says what they were, to typed columns.
//!
//! A row of ours has its attributes in the order of its shape. A row of another writer has no shape: all of its attributes
//! are text. So is a row whose map was changed since, so that it does not go with its shape any more.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array,
    builder::{BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, StringBuilder},
};
use arrow_schema::{ArrowError, DataType, Field};
use devmesh_schema::{
    limits,
    otlp::wire::{Reader, put_bytes, put_fixed64, put_message, put_uint, put_varint},
    stored::{self, Tag},
};

use super::{
    Input,
    children::{Maps, binary},
};
use crate::clickhouse::arrays;

/// The columns of the attributes, [`stored::SHAPE`] and [`stored::REST`].
///
/// `nans`: row, key and bits of attributes that are another NaN than text says, in the order of the rows.
pub(super) fn columns(input: &Input<'_>, nans: &[(usize, String, u64)]) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
    let maps = Maps::new(&input.map("attributes")?)?;
    let (shape_keys, shapes) = arrays::keyed(input.array("shape")?)?;
    let shapes = binary(&shapes)?;
    let rest = binary(input.array("rest")?)?;
    let mut known: HashMap<i32, Shape> = HashMap::default();
    let mut columns = Columns::default();
    let mut keys = Vec::with_capacity(input.len());
    let mut values = Values::default();
    let mut nans = nans.iter().peekable();
    for row in 0..input.len() {
        let key = shape_keys.value(row);
        let bytes = shapes.value(key as usize);
        let shape = known.entry(key).or_insert_with(|| Shape::read(bytes));
        let fits = !bytes.is_empty() && values.read(shape, &maps, rest.value(row), row);
        if !fits {
            values.text(&maps, row);
        }
        while let Some((_, key, bits)) = nans.next_if(|(at, ..)| *at == row) {
            values.set_double(key, f64::from_bits(*bits));
        }
        keys.push(columns.push(row, &values, fits.then_some(key))?);
    }
    columns.finish(keys, input.len())
}

/// The attributes of a shape.
struct Shape {
    entries: Vec<(Tag, String)>,
}

impl Shape {
    fn read(bytes: &[u8]) -> Self {
        let mut entries = Vec::new();
        let mut rest = bytes;
        while let Some((tag, after)) = rest.split_first() {
            let Some(tag) = Tag::from_byte(*tag) else { break };
            if tag == Tag::Rest {
                entries.push((tag, String::new()));
                rest = after;
                continue;
            }
            let mut reader = Reader::new(after);
            let Ok(key) = reader.bytes() else { break };
            entries.push((tag, String::from_utf8_lossy(key).into_owned()));
            rest = reader.rest();
        }
        Self { entries }
    }
}

/// A value of an attribute.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Uuid([u8; 16]),
    Int(i64),
    Double(f64),
    Bool(bool),
    Empty,
    /// A `KeyValue` message.
    Rest(&'a [u8]),
}

impl Value<'_> {
    fn tag(self) -> Tag {
        match self {
            Value::Text(_) => Tag::Text,
            Value::Uuid(_) => Tag::Uuid,
            Value::Int(_) => Tag::Int,
            Value::Double(_) => Tag::Double,
            Value::Bool(_) => Tag::Bool,
            Value::Empty => Tag::Empty,
            Value::Rest(_) => Tag::Rest,
        }
    }
}

/// The attributes of one row, in order; the keys of those of the rest are empty.
#[derive(Default)]
struct Values<'a> {
    list: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Values<'a> {
    /// Reads a row's values as its shape says. `false`: the map does not go with it.
    fn read(&mut self, shape: &Shape, maps: &'a Maps, rest: &'a [u8], row: usize) -> bool {
        self.list.clear();
        let range = maps.range(row);
        if range.len() != shape.entries.len() {
            return false;
        }
        let mut rest = Reader::new(rest);
        for ((tag, key), at) in shape.entries.iter().zip(range) {
            let (name, text) = (maps.name(at), maps.values.value(at));
            let value = match tag {
                Tag::Rest => rest.bytes().ok().map(Value::Rest),
                _ if name != key => None,
                Tag::Text => Some(Value::Text(text)),
                Tag::Uuid => uuid(text).map(Value::Uuid),
                Tag::Int => text.parse().ok().map(Value::Int),
                Tag::Double => text.parse().ok().map(Value::Double),
                Tag::Bool => text.parse().ok().map(Value::Bool),
                Tag::Empty => Some(Value::Empty),
            };
            let Some(value) = value else { return false };
            self.list.push((if *tag == Tag::Rest { "" } else { name }, value));
        }
        true
    }

    /// Sets a double that is there.
    fn set_double(&mut self, key: &str, double: f64) {
        let value = self.list.iter_mut().find(|(name, value)| *name == key && value.tag() == Tag::Double);
        if let Some((_, value)) = value {
            *value = Value::Double(double);
        }
    }

    /// Reads a row's values as text; of equal keys the first one, as ClickHouse looks them up.
    fn text(&mut self, maps: &'a Maps, row: usize) {
        self.list.clear();
        for at in maps.range(row) {
            let name = maps.name(at);
            if !self.list.iter().any(|(known, _)| *known == name) {
                self.list.push((name, Value::Text(maps.values.value(at))));
            }
        }
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = [0; 32];
    let mut count = 0;
    for (i, byte) in text.bytes().enumerate() {
        match i {
            8 | 13 | 18 | 23 if byte == b'-' => {}
            _ => {
                *digits.get_mut(count)? = byte;
                count += 1;
            }
        }
    }
    let mut id = [0; 16];
    (text.len() == 36 && count == 32 && hex::decode_to_slice(digits, &mut id).is_ok()).then_some(id)
}

enum Builder {
    Text(StringBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
}

struct Column {
    tag: Tag,
    key: String,
    builder: Builder,
    /// Rows so far.
    len: usize,
}

/// The columns of a batch under construction.
#[derive(Default)]
struct Columns {
    columns: Vec<Column>,
    /// By key: which columns it has, one a type.
    by_key: HashMap<String, Vec<(Tag, usize)>>,
    /// By the key of a stored shape, what it became: its column for each attribute (`None`: none, or the rest), and its key in the dictionary.
    by_shape: HashMap<i32, (Vec<Option<usize>>, i32)>,
    shapes: HashMap<Vec<u8>, i32>,
    rest: BinaryBuilder,
    rest_any: bool,
    scratch: Vec<u8>,
}

impl Columns {
    /// Adds a row whose values go with the stored shape of a key, if with any; answers the key of its shape.
    fn push(&mut self, row: usize, values: &Values<'_>, stored: Option<i32>) -> Result<i32, ArrowError> {
        let known = stored.and_then(|stored| self.by_shape.get(&stored)).cloned();
        let (targets, key) = match known {
            Some(known) => known,
            None => {
                let made = self.targets(values);
                if let Some(stored) = stored {
                    self.by_shape.insert(stored, made.clone());
                }
                made
            }
        };
        self.scratch.clear();
        for ((name, value), target) in values.list.iter().zip(&targets) {
            match (target, value) {
                (Some(column), _) => self.columns[*column].push(row, *value)?,
                (None, Value::Empty) => {}
                (None, Value::Rest(message)) => {
                    put_varint(&mut self.scratch, message.len() as u64);
                    self.scratch.extend_from_slice(message);
                }
                (None, value) => {
                    let message = key_value(name, *value);
                    put_varint(&mut self.scratch, message.len() as u64);
                    self.scratch.extend_from_slice(&message);
                }
            }
        }
        if self.scratch.is_empty() {
            self.rest.append_null();
        } else {
            self.rest.append_value(&self.scratch);
            self.rest_any = true;
        }
        Ok(key)
    }

    /// The column of each attribute, and the key of the shape.
    fn targets(&mut self, values: &Values<'_>) -> (Vec<Option<usize>>, i32) {
        let mut targets = Vec::with_capacity(values.list.len());
        let mut shape = Vec::new();
        for (name, value) in &values.list {
            let target = self.column(name, value.tag());
            let tag = if target.is_some() || value.tag() == Tag::Empty { value.tag() } else { Tag::Rest };
            shape.push(tag as u8);
            if tag != Tag::Rest {
                put_varint(&mut shape, name.len() as u64);
                shape.extend_from_slice(name.as_bytes());
            }
            targets.push(target);
        }
        let next = self.shapes.len() as i32;
        (targets, *self.shapes.entry(shape).or_insert(next))
    }

    /// The column of a key and type, made where it is new; `None` where it has none.
    fn column(&mut self, key: &str, tag: Tag) -> Option<usize> {
        let found = self.by_key.get(key).and_then(|columns| columns.iter().find(|(known, _)| *known == tag));
        if let Some((_, column)) = found {
            return Some(*column);
        }
        if self.columns.len() >= limits::ATTRIBUTE_COLUMNS {
            return None;
        }
        let builder = match tag {
            Tag::Text => Builder::Text(StringBuilder::new()),
            Tag::Uuid => Builder::Uuid(FixedSizeBinaryBuilder::new(16)),
            Tag::Int => Builder::Int(Int64Builder::new()),
            Tag::Double => Builder::Double(Float64Builder::new()),
            Tag::Bool => Builder::Bool(BooleanBuilder::new()),
            Tag::Empty | Tag::Rest => return None,
        };
        let column = self.columns.len();
        self.columns.push(Column { tag, key: key.to_owned(), builder, len: 0 });
        self.by_key.entry(key.to_owned()).or_default().push((tag, column));
        Some(column)
    }

    fn finish(mut self, keys: Vec<i32>, rows: usize) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let mut shapes: Vec<(i32, Vec<u8>)> = self.shapes.into_iter().map(|(shape, key)| (key, shape)).collect();
        shapes.sort_unstable();
        let shapes = BinaryArray::from_iter_values(shapes.into_iter().map(|(_, shape)| shape));
        let shapes = DictionaryArray::try_new(Int32Array::from(keys), Arc::new(shapes))?;
        let mut out: Vec<(Field, ArrayRef)> =
            vec![(stored::dictionary(stored::SHAPE, DataType::Binary, false), Arc::new(shapes))];
        if self.rest_any {
            out.push((Field::new(stored::REST, DataType::Binary, true), Arc::new(self.rest.finish())));
        }
        for column in self.columns {
            out.push(column.finish(rows));
        }
        Ok(out)
    }
}

impl Column {
    fn push(&mut self, row: usize, value: Value<'_>) -> Result<(), ArrowError> {
        self.pad(row);
        match (&mut self.builder, value) {
            (Builder::Text(builder), Value::Text(text)) => builder.append_value(text),
            (Builder::Uuid(builder), Value::Uuid(uuid)) => builder.append_value(uuid)?,
            (Builder::Int(builder), Value::Int(int)) => builder.append_value(int),
            (Builder::Double(builder), Value::Double(double)) => builder.append_value(double),
            (Builder::Bool(builder), Value::Bool(bool)) => builder.append_value(bool),
            _ => return Err(ArrowError::SchemaError("an attribute is not of its column's type".into())),
        }
        self.len += 1;
        Ok(())
    }

    /// Adds NULLs up to a row.
    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len);
        match &mut self.builder {
            Builder::Text(builder) => (0..missing).for_each(|_| builder.append_null()),
            Builder::Uuid(builder) => (0..missing).for_each(|_| builder.append_null()),
            Builder::Int(builder) => builder.append_nulls(missing),
            Builder::Double(builder) => builder.append_nulls(missing),
            Builder::Bool(builder) => (0..missing).for_each(|_| builder.append_null()),
        }
        self.len += missing;
    }

    fn finish(mut self, rows: usize) -> (Field, ArrayRef) {
        self.pad(rows);
        let array: ArrayRef = match self.builder {
            Builder::Text(mut builder) => Arc::new(builder.finish()),
            Builder::Uuid(mut builder) => Arc::new(builder.finish()),
            Builder::Int(mut builder) => Arc::new(builder.finish()),
            Builder::Double(mut builder) => Arc::new(builder.finish()),
            Builder::Bool(mut builder) => Arc::new(builder.finish()),
        };
        (Field::new(stored::attribute_column(self.tag, &self.key), array.data_type().clone(), true), array)
    }
}

/// An attribute as a `KeyValue` message.
fn key_value(key: &str, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, key.as_bytes());
    put_message(&mut out, 2, |out| match value {
        Value::Text(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Uuid(uuid) => put_bytes(out, 1, hyphenated(uuid).as_bytes()),
        Value::Int(int) => put_uint(out, 3, int as u64),
        Value::Double(double) => put_fixed64(out, 4, double.to_bits()),
        Value::Bool(bool) => put_uint(out, 2, u64::from(bool)),
        Value::Empty | Value::Rest(_) => {}
    });
    out
}

fn hyphenated(uuid: [u8; 16]) -> String {
    let digits = hex::encode(uuid);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits.get(part).unwrap_or_default()).join("-")
}
