//! Joins stored batches into one.
//!
//! Batches of the same signal have different columns: each has the attributes that its records had. The joined batch has
//! all of them; what a part lacks is NULL in its rows. Dictionaries are merged, each value once, and only those that a
//! row uses. With more attribute columns than [`limits::ATTRIBUTE_COLUMNS`] the emptiest ones are moved into the column
//! [`stored::REST`], and the shapes say so.
//!
//! The number of shapes is not bounded here: it is at most the sum over the parts.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, RecordBatch, RecordBatchOptions, StringArray,
    builder::BinaryBuilder, cast::AsArray, new_null_array, types::Int32Type,
};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use crate::{
    Signal, limits,
    otlp::{
        stored_columns::{Attributes, BytesColumn, messages, shape},
        wire::put_varint,
    },
    stored::{self, Tag},
};

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Joins stored batches of `signal`, the rows in the order given. Without batches it is an empty batch without columns.
///
/// # Errors
/// Columns of one name have types that cannot be joined, or together more than 2 GiB of text.
pub fn concat(signal: Signal, batches: &[&RecordBatch]) -> Result<RecordBatch, ArrowError> {
    if let [single] = batches {
        return Ok((*single).clone());
    }
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for column in columns(batches) {
        let parts = column
            .parts
            .iter()
            .zip(batches)
            .map(|(part, batch)| match part {
                Some(array) if array.data_type() == column.field.data_type() => Ok(Arc::clone(array)),
                Some(array) => arrow_cast::cast(array, column.field.data_type()),
                None => Ok(new_null_array(column.field.data_type(), batch.num_rows())),
            })
            .collect::<Result<Vec<ArrayRef>, ArrowError>>()
            .map_err(|e| ArrowError::SchemaError(format!("join column {} of {signal}: {e}", column.field.name())))?;
        let nullable = column.field.is_nullable() || column.parts.iter().any(Option::is_none);
        fields.push(column.field.clone().with_nullable(nullable));
        arrays.push(join(column.field.data_type(), &parts)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let joined = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
    let surplus = surplus(&joined);
    if surplus.is_empty() { Ok(joined) } else { move_to_rest(&joined, &surplus) }
}

/// A column of the joined batch: one part a batch.
struct Column {
    field: Field,
    parts: Vec<Option<ArrayRef>>,
}

fn columns(batches: &[&RecordBatch]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut by_name: FastMap<&str, usize> = FastMap::default();
    for (i, batch) in batches.iter().enumerate() {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let at = *by_name.entry(field.name().as_str()).or_insert_with(|| {
                columns.push(Column { field: field.as_ref().clone(), parts: vec![None; batches.len()] });
                columns.len() - 1
            });
            if let Some(column) = columns.get_mut(at) {
                let nullable = column.field.is_nullable() || field.is_nullable();
                column.field.set_nullable(nullable);
                if let Some(part) = column.parts.get_mut(i) {
                    *part = Some(Arc::clone(array));
                }
            }
        }
    }
    columns
}

fn join(data_type: &DataType, parts: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
    match data_type {
        DataType::Dictionary(key, value)
            if **key == DataType::Int32 && matches!(**value, DataType::Utf8 | DataType::Binary) =>
        {
            join_dictionaries(value, parts)
        }
        _ => {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            arrow_select::concat::concat(&parts)
        }
    }
}

/// Joins dictionaries of text or bytes: equal values get one key, values that no row has get none.
fn join_dictionaries(value_type: &DataType, parts: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
    let rows = parts.iter().map(|part| part.len()).sum();
    let parts: Vec<_> = parts.iter().map(|part| part.as_dictionary::<Int32Type>()).collect();
    let values = parts.iter().map(|part| BytesColumn::new(part.values())).collect::<Result<Vec<_>, _>>()?;
    let mut known: FastMap<&[u8], i32> = FastMap::default();
    let mut distinct: Vec<&[u8]> = Vec::new();
    let mut keys: Vec<i32> = Vec::with_capacity(rows);
    let mut translation: Vec<i32> = Vec::new();
    for (part, values) in parts.iter().zip(&values) {
        translation.clear();
        translation.resize(part.values().len(), -1);
        let nulls = part.keys().nulls();
        for (row, key) in part.keys().values().iter().enumerate() {
            let slot = translation.get_mut(*key as usize).filter(|_| nulls.is_none_or(|nulls| nulls.is_valid(row)));
            let Some(slot) = slot else {
                keys.push(0);
                continue;
            };
            if *slot < 0 {
                let value = values.get(*key as usize).unwrap_or_default();
                *slot = *known.entry(value).or_insert_with(|| {
                    distinct.push(value);
                    distinct.len() as i32 - 1
                });
            }
            keys.push(*slot);
        }
    }
    let nulls = join_nulls(&parts.iter().map(|part| part.keys() as &dyn Array).collect::<Vec<_>>(), rows);
    let keys = Int32Array::try_new(ScalarBuffer::from(keys), nulls)?;
    let values: ArrayRef = match value_type {
        DataType::Utf8 => {
            let text = |bytes: &&[u8]| std::str::from_utf8(bytes).map(str::to_owned);
            let texts = distinct.iter().map(text).collect::<Result<Vec<String>, _>>();
            Arc::new(StringArray::from(texts.map_err(|e| ArrowError::ExternalError(Box::new(e)))?))
        }
        _ => Arc::new(BinaryArray::from_vec(distinct)),
    };
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}

fn join_nulls(parts: &[&dyn Array], rows: usize) -> Option<NullBuffer> {
    if parts.iter().all(|part| part.null_count() == 0) {
        return None;
    }
    let mut builder = arrow_buffer::NullBufferBuilder::new(rows);
    for part in parts {
        match part.nulls() {
            Some(nulls) => builder.append_buffer(nulls),
            None => builder.append_n_non_nulls(part.len()),
        }
    }
    builder.finish()
}

/// The names of the attribute columns that are too many: those with the fewest values.
fn surplus(batch: &RecordBatch) -> Vec<String> {
    let mut attributes: Vec<(usize, &str)> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| stored::parse_attribute_column(field.name()).is_some())
        .map(|(field, array)| (array.null_count(), field.name().as_str()))
        .collect();
    attributes.sort_unstable();
    attributes.iter().skip(limits::ATTRIBUTE_COLUMNS).map(|(_, name)| (*name).to_owned()).collect()
}

/// Moves attribute columns into [`stored::REST`], and rewrites the shapes.
fn move_to_rest(batch: &RecordBatch, surplus: &[String]) -> Result<RecordBatch, ArrowError> {
    let Some(shapes) = batch.column_by_name(stored::SHAPE) else { return Ok(batch.clone()) };
    let moved: Vec<(Tag, &str)> = surplus.iter().filter_map(|name| stored::parse_attribute_column(name)).collect();
    let attributes = Attributes::new(batch)?;
    let shapes = BytesColumn::new(shapes)?;
    let rest = batch.column_by_name(stored::REST).map(BytesColumn::new).transpose()?;
    let mut rewritten = Rewritten { moved: &moved, by_old: FastMap::default(), by_new: FastMap::default() };
    let mut keys = Vec::with_capacity(batch.num_rows());
    let mut builder = BinaryBuilder::new();
    for row in 0..batch.num_rows() {
        let old = rest.as_ref().and_then(|column| column.get(row));
        let shape = rewritten.shape(shapes.get(row).unwrap_or_default());
        keys.push(shape.key);
        if shape.moved.is_empty() {
            builder.append_option(old);
        } else {
            builder.append_value(row_rest(&attributes, &shape.moved, old.unwrap_or_default(), row));
        }
    }
    let shapes = rewritten.values();
    let shapes: ArrayRef = Arc::new(DictionaryArray::try_new(Int32Array::from(keys), shapes)?);
    let gone = |name: &str| name == stored::SHAPE || name == stored::REST || surplus.iter().any(|s| s == name);
    let kept = batch.schema_ref().fields().iter().zip(batch.columns()).filter(|(field, _)| !gone(field.name()));
    let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) =
        kept.map(|(field, array)| (field.as_ref().clone(), Arc::clone(array))).unzip();
    fields.push(stored::dictionary(stored::SHAPE, DataType::Binary, false));
    arrays.push(shapes);
    fields.push(Field::new(stored::REST, DataType::Binary, true));
    arrays.push(Arc::new(builder.finish()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// The shapes of a batch from which columns are moved.
struct Rewritten<'a> {
    moved: &'a [(Tag, &'a str)],
    by_old: FastMap<&'a [u8], NewShape<'a>>,
    by_new: FastMap<Vec<u8>, i32>,
}

struct NewShape<'a> {
    key: i32,
    /// What the rest of a row is made of: one that was there, or a column's value. Empty where nothing is moved.
    moved: Vec<(Tag, &'a str)>,
}

impl<'a> Rewritten<'a> {
    fn shape(&mut self, old: &'a [u8]) -> &NewShape<'a> {
        self.by_old.entry(old).or_insert_with(|| {
            let mut entries = shape(old);
            let new = without(&entries, self.moved);
            entries.retain(|entry| entry.0 == Tag::Rest || self.moved.contains(entry));
            if entries.iter().all(|(tag, _)| *tag == Tag::Rest) {
                entries.clear();
            }
            let next = self.by_new.len() as i32;
            NewShape { key: *self.by_new.entry(new).or_insert(next), moved: entries }
        })
    }

    /// The values of the dictionary.
    fn values(&self) -> ArrayRef {
        let mut values: Vec<(i32, &[u8])> = self.by_new.iter().map(|(shape, key)| (*key, shape.as_slice())).collect();
        values.sort_unstable();
        Arc::new(BinaryArray::from_iter_values(values.into_iter().map(|(_, shape)| shape)))
    }
}

/// The rest of a row: the messages that were there and the values of columns, in the order of the shape.
fn row_rest(attributes: &Attributes, entries: &[(Tag, &str)], old: &[u8], row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut old = messages(old);
    for (tag, key) in entries {
        if *tag == Tag::Rest {
            let message = old.next().unwrap_or_default();
            put_varint(&mut out, message.len() as u64);
            out.extend_from_slice(message);
        } else {
            attributes.put_message(&mut out, *tag, key, row);
        }
    }
    out
}

/// The shape with the `moved` attributes in the rest.
fn without(entries: &[(Tag, &str)], moved: &[(Tag, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, key) in entries {
        if *tag == Tag::Rest || moved.contains(&(*tag, *key)) {
            out.push(Tag::Rest as u8);
        } else {
            out.push(*tag as u8);
            put_varint(&mut out, key.len() as u64);
            out.extend_from_slice(key.as_bytes());
        }
    }
    out
}
