//! Arrays in the forms that ClickHouse takes: without NULL, without views.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, ListArray, MapArray, StringArray, StructArray,
    cast::AsArray,
    types::{ArrowDictionaryKeyType, Int32Type},
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Fields};

/// Text without NULL: empty instead.
pub(super) fn text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let array = cast(array, &DataType::Utf8)?;
    if array.null_count() == 0 {
        return Ok(array);
    }
    let text = array.as_string::<i32>();
    Ok(Arc::new(text.iter().map(|text| Some(text.unwrap_or_default())).collect::<StringArray>()))
}

/// A dictionary of `values` (Utf8 or Binary) without NULL: empty instead.
pub(super) fn dictionary(array: &ArrayRef, values: &DataType) -> Result<ArrayRef, ArrowError> {
    let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(values.clone()));
    let array = if *array.data_type() == wanted { Arc::clone(array) } else { cast(array, &wanted)? };
    let dictionary = array.as_dictionary::<Int32Type>();
    let binary = cast(dictionary.values(), &DataType::Binary)?;
    let values = binary.as_binary::<i32>();
    distinct(dictionary.keys(), (0..values.len()).map(|at| values.is_valid(at).then(|| values.value(at))), &wanted)
}

/// A dictionary in which each value stands once, as ClickHouse wants it, without NULL: empty instead.
fn distinct<'a>(
    keys: &Int32Array,
    values: impl Iterator<Item = Option<&'a [u8]>>,
    wanted: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let mut known: HashMap<&[u8], i32> = HashMap::new();
    let mut all: Vec<&[u8]> = Vec::new();
    let mut number = |value: &'a [u8]| {
        *known.entry(value).or_insert_with(|| {
            all.push(value);
            all.len() as i32 - 1
        })
    };
    let numbers: Vec<i32> = values.map(|value| number(value.unwrap_or_default())).collect();
    let empty = if keys.null_count() > 0 { number(b"") } else { 0 };
    let of = |key: Option<i32>| key.and_then(|key| numbers.get(key as usize).copied()).unwrap_or(empty);
    let keys: Int32Array = keys.iter().map(|key| Some(of(key))).collect();
    let all: ArrayRef = Arc::new(BinaryArray::from_vec(all));
    let all = match wanted {
        DataType::Dictionary(_, values) => cast(&all, values)?,
        _ => all,
    };
    Ok(Arc::new(DictionaryArray::try_new(keys, all)?))
}

/// One text in all rows.
pub(super) fn constant(text: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let keys = Int32Array::from_value(0, rows);
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(vec![text])))?))
}

/// A text made of each distinct value of a column of bytes.
pub(super) fn of_each(column: &ArrayRef, make: impl Fn(&[u8]) -> String) -> Result<ArrayRef, ArrowError> {
    let column = dictionary(column, &DataType::Binary)?;
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_binary::<i32>();
    let made: Vec<String> = values.iter().map(|value| make(value.unwrap_or_default())).collect();
    let wanted = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    distinct(column.keys(), made.iter().map(|text| Some(text.as_bytes())), &wanted)
}

/// A map whose values are not NULL: empty instead.
pub(super) fn map(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let map = array.as_map();
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)]);
    let entries = StructArray::try_new(fields.clone(), vec![text(map.keys())?, text(map.values())?], None)?;
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    Ok(Arc::new(MapArray::try_new(field, map.offsets().clone(), entries, None, false)?))
}

/// Whether a map has a value that is NULL.
pub(super) fn has_nulls(array: &ArrayRef) -> Vec<bool> {
    let map = array.as_map();
    let Some(nulls) = map.values().nulls() else { return vec![false; map.len()] };
    let any = |row: usize| {
        let range = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
        range.into_iter().any(|at| nulls.is_null(at))
    };
    (0..map.len()).map(any).collect()
}

/// The list of a field of a list of structs; `shape` makes the field's values as ClickHouse takes them.
pub(super) fn list_field(
    array: &ArrayRef,
    field: &str,
    shape: impl Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let (lists, offsets) = dense(array)?;
    let missing = || ArrowError::SchemaError(format!("a list has no field {field}"));
    let values = shape(lists.as_struct().column_by_name(field).ok_or_else(missing)?)?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

/// A list of numbers without NULL: empty instead.
pub(super) fn list(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let (values, offsets) = dense(array)?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

/// The values of a list, and offsets in which a NULL is an empty list.
fn dense(array: &ArrayRef) -> Result<(ArrayRef, OffsetBuffer<i32>), ArrowError> {
    let lists = array.as_list_opt::<i32>().ok_or_else(|| ArrowError::SchemaError("a column is no list".into()))?;
    let nulls: Option<&NullBuffer> = lists.nulls();
    let empty_nulls =
        nulls.is_none_or(|nulls| (0..lists.len()).all(|row| nulls.is_valid(row) || lists.value_length(row) == 0));
    if empty_nulls {
        return Ok((Arc::clone(lists.values()), lists.offsets().clone()));
    }
    // NULLs that have values behind them are cut out.
    let kept: Vec<u64> = (0..lists.len())
        .filter(|row| lists.is_valid(*row))
        .flat_map(|row| lists.value_offsets()[row] as u64..lists.value_offsets()[row + 1] as u64)
        .collect();
    let values = arrow_select::take::take(lists.values(), &arrow_array::UInt64Array::from(kept), None)?;
    let lengths = (0..lists.len()).map(|row| if lists.is_valid(row) { lists.value_length(row) as usize } else { 0 });
    Ok((values, OffsetBuffer::from_lengths(lengths)))
}

/// The keys and values of a dictionary whose keys have any type; a plain column is made one.
pub(super) fn keyed(array: &ArrayRef) -> Result<(Int32Array, ArrayRef), ArrowError> {
    fn of<K: ArrowDictionaryKeyType>(array: &ArrayRef) -> Result<(Int32Array, ArrayRef), ArrowError> {
        let dictionary = array.as_dictionary::<K>();
        let keys = cast(&(Arc::new(dictionary.keys().clone()) as ArrayRef), &DataType::Int32)?;
        Ok((keys.as_primitive::<Int32Type>().clone(), Arc::clone(dictionary.values())))
    }
    match array.data_type() {
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::Int8 => of::<arrow_array::types::Int8Type>(array),
            DataType::Int16 => of::<arrow_array::types::Int16Type>(array),
            DataType::Int32 => of::<Int32Type>(array),
            DataType::Int64 => of::<arrow_array::types::Int64Type>(array),
            DataType::UInt8 => of::<arrow_array::types::UInt8Type>(array),
            DataType::UInt16 => of::<arrow_array::types::UInt16Type>(array),
            DataType::UInt32 => of::<arrow_array::types::UInt32Type>(array),
            _ => of::<arrow_array::types::UInt64Type>(array),
        },
        _ => {
            let keys = ScalarBuffer::from((0..array.len() as i32).collect::<Vec<_>>());
            Ok((Int32Array::new(keys, array.nulls().cloned()), Arc::clone(array)))
        }
    }
}

/// Bytes as text; what is no UTF-8 is repaired.
pub(super) fn repaired(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let binary = cast(array, &DataType::Binary)?;
    let binary = binary.as_binary::<i32>();
    let offsets = binary.offsets().clone();
    if let Ok(text) = StringArray::try_new(offsets, binary.values().clone(), binary.nulls().cloned()) {
        return Ok(Arc::new(text));
    }
    Ok(Arc::new(binary.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect::<StringArray>()))
}
