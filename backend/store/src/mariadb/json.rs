//! A record's attributes as a JSON object, with the types that they came with: numbers are numbers.

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use devmesh_schema::{
    otlp::{
        DecodeError,
        any_value::{put_double, put_json_text, text},
        wire::{Reader, Wire},
    },
    stored::{self, Tag},
};

/// Under this key an object says that it lacks attributes, since all of them would have been too long.
const CUT: &str = "devmesh.cut";
/// Nesting that the database's check of JSON takes, less the object around the attributes.
const DEPTH: usize = 30;

/// The attributes of a batch's records.
#[derive(Debug)]
pub(super) struct Attributes {
    /// Which shape a row has.
    keys: Int32Array,
    shapes: Vec<Vec<Entry>>,
    rest: Option<BinaryArray>,
}

/// One attribute of a shape: what stands before its value, and the value's column.
#[derive(Debug)]
enum Entry {
    Column { head: String, values: Values },
    Empty { head: String },
    Rest,
}

#[derive(Debug)]
enum Values {
    Text(StringArray),
    Uuid(FixedSizeBinaryArray),
    Int(Int64Array),
    Double(Float64Array),
    Bool(BooleanArray),
}

impl Attributes {
    pub(super) fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        let Some(shapes) = rows.column_by_name(stored::SHAPE) else {
            return Ok(Self { keys: Int32Array::from(vec![0; rows.num_rows()]), shapes: Vec::new(), rest: None });
        };
        let target = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary));
        let shapes = as_type(shapes, &target)?;
        let shapes = shapes.as_dictionary::<arrow_array::types::Int32Type>();
        let values = shapes.values().as_binary::<i32>();
        let parsed = values.iter().map(|shape| entries(rows, shape.unwrap_or_default()));
        let rest = rows.column_by_name(stored::REST).map(|rest| as_type(rest, &DataType::Binary)).transpose()?;
        Ok(Self {
            keys: shapes.keys().clone(),
            shapes: parsed.collect::<Result<_, _>>()?,
            rest: rest.map(|rest| rest.as_binary::<i32>().clone()),
        })
    }

    /// Writes the row's object, of about `limit` bytes at most. Answers whether all attributes are in it.
    pub(super) fn put(&self, out: &mut String, row: usize, limit: usize) -> Result<bool, ArrowError> {
        let rest = self.rest.as_ref().filter(|rest| rest.is_valid(row)).map_or(&[][..], |rest| rest.value(row));
        let mut rest = Reader::new(rest);
        let shape = self.shapes.get(self.keys.value(row) as usize).map_or(&[][..], Vec::as_slice);
        let start = out.len();
        let mut whole = true;
        out.push('{');
        for entry in shape {
            let before = out.len();
            if before > start + 1 {
                out.push(',');
            }
            match entry {
                Entry::Column { head, values } => {
                    out.push_str(head);
                    values.put(out, row);
                }
                Entry::Empty { head } => {
                    out.push_str(head);
                    out.push_str("null");
                }
                Entry::Rest => put_message(out, rest.bytes().map_err(invalid)?).map_err(invalid)?,
            }
            if out.len() - start > limit {
                out.truncate(before);
                whole = false;
            }
        }
        if !whole {
            if out.len() > start + 1 {
                out.push(',');
            }
            put_json_text(out, CUT);
            out.push_str(":true");
        }
        out.push('}');
        Ok(whole)
    }
}

impl Values {
    fn put(&self, out: &mut String, row: usize) {
        match self {
            Values::Text(array) if array.is_valid(row) => put_json_text(out, array.value(row)),
            Values::Uuid(array) if array.is_valid(row) => match uuid::Uuid::from_slice(array.value(row)) {
                Ok(uuid) => put_json_text(out, &uuid.hyphenated().to_string()),
                Err(_) => out.push_str("null"),
            },
            Values::Int(array) if array.is_valid(row) => out.push_str(&array.value(row).to_string()),
            Values::Double(array) if array.is_valid(row) => {
                let mut text = String::new();
                put_double(&mut text, array.value(row));
                if array.value(row).is_finite() { out.push_str(&text) } else { put_json_text(out, &text) }
            }
            Values::Bool(array) if array.is_valid(row) => {
                out.push_str(if array.value(row) { "true" } else { "false" });
            }
            _ => out.push_str("null"),
        }
    }
}

/// Writes a `KeyValue` message.
fn put_message(out: &mut String, message: &[u8]) -> Result<(), DecodeError> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = text,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    put_json_text(out, &String::from_utf8_lossy(key));
    out.push(':');
    match text(value) {
        None => out.push_str("null"),
        Some(text) if is_text(value) || depth(&text) > DEPTH => put_json_text(out, &text),
        Some(text) => out.push_str(&text),
    }
    Ok(())
}

/// How deep the lists and maps of a JSON text nest.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether the `AnyValue` is a string, bytes, or a number that JSON lacks.
fn is_text(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    let mut is_text = false;
    while let Ok(Some((number, wire))) = reader.field() {
        is_text = match (number, wire) {
            (1 | 7, Wire::Bytes(_)) => true,
            (4, Wire::Fixed64(bits)) => !f64::from_bits(bits).is_finite(),
            (1..=7, _) => false,
            _ => is_text,
        };
    }
    is_text
}

fn entries(rows: &RecordBatch, shape: &[u8]) -> Result<Vec<Entry>, ArrowError> {
    let mut entries = Vec::new();
    let mut left = shape;
    while let [letter, tail @ ..] = left {
        let tag = Tag::from_byte(*letter);
        let tag = tag.ok_or_else(|| ArrowError::ParseError("a shape of attributes cannot be read".into()))?;
        if tag == Tag::Rest {
            entries.push(Entry::Rest);
            left = tail;
            continue;
        }
        let mut reader = Reader::new(tail);
        let key = String::from_utf8_lossy(reader.bytes().map_err(invalid)?).into_owned();
        left = reader.rest();
        let mut head = String::new();
        put_json_text(&mut head, &key);
        head.push(':');
        let array = rows.column_by_name(&stored::attribute_column(tag, &key)).zip(tag.data_type());
        entries.push(match array {
            Some((array, data_type)) => Entry::Column { head, values: values(&as_type(array, &data_type)?, tag) },
            None => Entry::Empty { head },
        });
    }
    Ok(entries)
}

fn values(array: &ArrayRef, tag: Tag) -> Values {
    match tag {
        Tag::Uuid => Values::Uuid(array.as_fixed_size_binary().clone()),
        Tag::Int => Values::Int(array.as_primitive::<Int64Type>().clone()),
        Tag::Double => Values::Double(array.as_primitive::<Float64Type>().clone()),
        Tag::Bool => Values::Bool(array.as_boolean().clone()),
        // The other tags have no column.
        Tag::Text | Tag::Empty | Tag::Rest => Values::Text(array.as_string::<i32>().clone()),
    }
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type { Ok(ArrayRef::clone(array)) } else { cast(array, data_type) }
}

fn invalid(error: DecodeError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}
