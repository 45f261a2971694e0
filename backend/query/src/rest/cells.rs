//! Values of an answer by column name.

use std::collections::BTreeMap;

use arrow_array::{
    Array, ArrayRef, RecordBatch, StructArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type},
};
use arrow_cast::cast;
use arrow_schema::DataType;
use devmesh_schema::{TimestampNs, time};

/// Attributes, by key; NULL where a value was sent empty.
pub(crate) type Attributes = BTreeMap<String, Option<String>>;

/// A row of an answer, or of a list in it. A column that is missing reads as NULL.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    columns: Columns<'a>,
    row: usize,
}

#[derive(Clone, Copy)]
enum Columns<'a> {
    Batch(&'a RecordBatch),
    Struct(&'a StructArray),
}

/// The rows of batches.
pub(crate) fn rows(batches: &[RecordBatch]) -> impl Iterator<Item = Row<'_>> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| Row { columns: Columns::Batch(batch), row }))
}

impl<'a> Row<'a> {
    fn column(&self, name: &str) -> Option<&'a ArrayRef> {
        let column = match self.columns {
            Columns::Batch(batch) => batch.column_by_name(name),
            Columns::Struct(list) => list.column_by_name(name),
        };
        column.filter(|column| column.is_valid(self.row))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::Utf8View => Some(column.as_string_view().value(self.row).into()),
            DataType::Utf8 => Some(column.as_string::<i32>().value(self.row).into()),
            _ => None,
        }
    }

    /// A text, empty for NULL.
    pub(crate) fn text_or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A time, ns since the epoch.
    pub(crate) fn ns(&self, name: &str) -> Option<TimestampNs> {
        Some(self.column(name)?.as_primitive_opt::<TimestampNanosecondType>()?.value(self.row))
    }

    /// A time in RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Option<String> {
        self.ns(name).map(time::format)
    }

    /// A whole number.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(self.row)),
            DataType::UInt64 => i64::try_from(column.as_primitive::<UInt64Type>().value(self.row)).ok(),
            _ => None,
        }
    }

    /// A count; 0 for NULL.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.int(name).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    /// A number; only finite ones are numbers in JSON.
    pub(crate) fn double(&self, name: &str) -> Option<f64> {
        let value = self.column(name)?.as_primitive_opt::<Float64Type>()?.value(self.row);
        value.is_finite().then_some(value)
    }

    /// Whether it is so.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        Some(self.column(name)?.as_boolean_opt()?.value(self.row))
    }

    /// A map from text to text.
    pub(crate) fn attributes(&self, name: &str) -> Attributes {
        let Some(map) = self.column(name).and_then(|column| column.as_map_opt()) else { return Attributes::new() };
        let entries = map.value(self.row);
        let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
        (0..entries.len()).map(|i| (keys.value(i).into(), values.is_valid(i).then(|| values.value(i).into()))).collect()
    }

    /// What `read` makes of each element of a list of structs.
    pub(crate) fn list<T>(&self, name: &str, read: impl Fn(&Row<'_>) -> T) -> Vec<T> {
        let Some(list) = self.column(name).and_then(|column| column.as_list_opt::<i32>()) else { return Vec::new() };
        let items = list.value(self.row);
        let Some(items) = items.as_struct_opt() else { return Vec::new() };
        (0..items.len()).map(|row| read(&Row { columns: Columns::Struct(items), row })).collect()
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let Some(list) = self.column(name).and_then(|column| column.as_list_opt::<i32>()) else { return Vec::new() };
        let items = list.value(self.row);
        let Ok(items) = cast(&items, &DataType::Utf8View) else { return Vec::new() };
        items.as_string_view().iter().flatten().map(Into::into).collect()
    }
}
