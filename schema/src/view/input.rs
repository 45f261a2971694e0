//! Stored columns as they come: in dictionaries, plain, as views.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, RecordBatch, Scalar, StringViewArray, UInt32Array,
    cast::AsArray, downcast_dictionary_array, make_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_cast::cast;
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};
use arrow_select::zip::zip;

/// A text column as views; text is not copied. `None` where the batch has none.
pub(super) fn text(rows: &RecordBatch, name: &str) -> Result<Option<StringViewArray>, ArrowError> {
    let Some(array) = rows.column_by_name(name) else { return Ok(None) };
    Ok(Some(as_type(array, &DataType::Utf8View)?.as_string_view().clone()))
}

/// A column of bytes as views. `None` where the batch has none.
pub(super) fn bytes(rows: &RecordBatch, name: &str) -> Result<Option<BinaryViewArray>, ArrowError> {
    rows.column_by_name(name).map(binary_view).transpose()
}

fn binary_view(array: &ArrayRef) -> Result<BinaryViewArray, ArrowError> {
    if let Some(fixed) = array.as_fixed_size_binary_opt() {
        return Ok(BinaryViewArray::from(&fixed.iter().collect::<BinaryArray>()));
    }
    Ok(as_type(array, &DataType::BinaryView)?.as_binary_view().clone())
}

/// The column as `data_type`.
pub(super) fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type { Ok(Arc::clone(array)) } else { cast(array, data_type) }
}

/// What few values stand behind many rows.
#[derive(Debug)]
pub(super) struct Distinct {
    values: BinaryViewArray,
    /// Where in `values` each distinct one stands; `None`: NULL.
    places: Vec<Option<usize>>,
    /// Which of `places` each row has.
    pub(super) keys: UInt32Array,
}

impl Distinct {
    /// The distinct values of a column. All rows are NULL where the batch has none.
    pub(super) fn of(rows: &RecordBatch, name: &str) -> Result<Self, ArrowError> {
        let Some(array) = rows.column_by_name(name) else {
            let keys = UInt32Array::from_value(0, rows.num_rows());
            return Ok(Self { values: BinaryViewArray::new_null(0), places: vec![None], keys });
        };
        downcast_dictionary_array!(
            array => {
                let values = binary_view(array.values())?;
                let keys = array.keys_iter().map(|key| key.filter(|key| values.is_valid(*key)));
                let (places, keys) = number_places(keys, values.len());
                Ok(Self { places, keys, values })
            },
            _ => {
                let values = binary_view(array)?;
                let by_view = matches!(array.data_type(), DataType::BinaryView | DataType::Utf8View);
                let (places, keys) = number_values(&values, by_view);
                Ok(Self { places, keys, values })
            }
        )
    }

    /// Calls `read` with each distinct value, in the order of `keys`; `None` for NULL.
    pub(super) fn each<'a>(
        &'a self,
        mut read: impl FnMut(Option<&'a [u8]>) -> Result<(), ArrowError>,
    ) -> Result<(), ArrowError> {
        self.places.iter().try_for_each(|place| read(place.map(|place| self.values.value(place))))
    }
}

type Known<K> = HashMap<K, u32, foldhash::fast::RandomState>;

/// Numbers the rows of a dictionary of `size` values: each value that a row has gets a number, and NULL one.
fn number_places(rows: impl Iterator<Item = Option<usize>>, size: usize) -> (Vec<Option<usize>>, UInt32Array) {
    const NEW: u32 = u32::MAX;
    let mut places = Vec::new();
    let mut known = vec![NEW; size + 1];
    let keys: Vec<u32> = rows
        .map(|place| {
            let slot = &mut known[place.map_or(size, |place| place)];
            if *slot == NEW {
                *slot = push(&mut places, place);
            }
            *slot
        })
        .collect();
    (places, UInt32Array::new(ScalarBuffer::from(keys), None))
}

/// Numbers rows by their values. Rows that a Parquet dictionary page gave share their views, so that, `by_view`, the
/// bytes of each value are looked at once.
fn number_values(values: &BinaryViewArray, by_view: bool) -> (Vec<Option<usize>>, UInt32Array) {
    let mut places = Vec::new();
    let mut views: Known<Option<u128>> = Known::default();
    let mut known: Known<Option<&[u8]>> = Known::default();
    let mut last = None;
    let keys: Vec<u32> = (0..values.len())
        .map(|row| {
            let place = values.is_valid(row).then_some(row);
            let view = place.map(|row| values.views()[row]);
            if let Some((same, key)) = last
                && same == view
            {
                return key;
            }
            let mut by_bytes =
                || *known.entry(place.map(|row| values.value(row))).or_insert_with(|| push(&mut places, place));
            let key = if by_view { *views.entry(view).or_insert_with(by_bytes) } else { by_bytes() };
            last = Some((view, key));
            key
        })
        .collect();
    (places, UInt32Array::new(ScalarBuffer::from(keys), None))
}

/// Adds a place and gives its number.
fn push(places: &mut Vec<Option<usize>>, place: Option<usize>) -> u32 {
    places.push(place);
    places.len() as u32 - 1
}

/// The array with the type's default for NULL: 0, false, the empty text.
pub(super) fn without_nulls(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(array) };
    let valid = BooleanArray::new(nulls.inner().clone(), None);
    let default = ArrayData::new_null(array.data_type(), 1).into_builder().nulls(None).build()?;
    zip(&valid, &array, &Scalar::new(make_array(default)))
}
