//! Columns of many pieces as one: the pieces of a table have the columns they need, each its own.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions, cast::AsArray,
    new_null_array, types::TimestampNanosecondType,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::{filter::filter_record_batch, interleave::interleave};
use devmesh_schema::{TimestampNs, stored};

use crate::Error;

/// Rows in pieces: batches in memory, or files.
pub(crate) trait Piece {
    /// Its columns.
    fn schema(&self) -> &Schema;
    /// One of them; `None` where it has none of that name.
    fn column(&self, name: &str) -> Result<Option<ArrayRef>, Error>;
    /// Whether the column has NULLs, or might.
    fn has_nulls(&self, name: &str) -> bool;
    /// Whether a dictionary would pay for the column, as far as this piece can tell.
    fn dictionary_pays(&self, name: &str) -> Option<bool>;
}

impl Piece for RecordBatch {
    fn schema(&self) -> &Schema {
        self.schema_ref()
    }

    fn column(&self, name: &str) -> Result<Option<ArrayRef>, Error> {
        Ok(self.column_by_name(name).cloned())
    }

    fn has_nulls(&self, name: &str) -> bool {
        self.column_by_name(name).is_some_and(|column| column.null_count() > 0)
    }

    fn dictionary_pays(&self, _name: &str) -> Option<bool> {
        None
    }
}

/// Which row of which piece.
pub(crate) type Place = (usize, usize);

/// All columns that any of the pieces has, by name; those without NULLs are declared so.
pub(crate) fn fields(pieces: &[&dyn Piece]) -> Result<Vec<Field>, Error> {
    let mut fields: BTreeMap<&str, (&DataType, usize)> = BTreeMap::new();
    for piece in pieces {
        for field in piece.schema().fields() {
            let (data_type, count) = fields.entry(field.name()).or_insert((field.data_type(), 0));
            if *data_type != field.data_type() {
                let reason = format!("column {} is {} and {data_type}", field.name(), field.data_type());
                return Err(ArrowError::SchemaError(reason).into());
            }
            *count += 1;
        }
    }
    let field = |(name, (data_type, count)): (&str, (&DataType, usize))| {
        let nullable = count < pieces.len() || pieces.iter().any(|piece| piece.has_nulls(name));
        Field::new(name, data_type.clone(), nullable)
    };
    Ok(fields.into_iter().map(field).collect())
}

/// One column of the pieces, its rows in `order`; NULL where a piece lacks it.
pub(crate) fn gather(pieces: &[&dyn Piece], field: &Field, order: &[Place]) -> Result<ArrayRef, Error> {
    let mut arrays = Vec::with_capacity(pieces.len());
    let mut missing = false;
    for piece in pieces {
        let column = piece.column(field.name())?;
        missing |= column.is_none();
        arrays.push(column);
    }
    if !missing {
        let arrays: Vec<ArrayRef> = arrays.into_iter().flatten().collect();
        return interleave_any(&arrays, order);
    }
    // Rows of pieces that lack the column all point at one NULL.
    let null = new_null_array(field.data_type(), 1);
    let lacks: Vec<bool> = arrays.iter().map(Option::is_none).collect();
    let arrays: Vec<ArrayRef> = arrays.into_iter().map(|array| array.unwrap_or_else(|| Arc::clone(&null))).collect();
    let order: Vec<Place> =
        order.iter().map(|(piece, row)| if lacks[*piece] { (*piece, 0) } else { (*piece, *row) }).collect();
    interleave_any(&arrays, &order)
}

fn interleave_any(arrays: &[ArrayRef], order: &[Place]) -> Result<ArrayRef, Error> {
    if let Some(DataType::FixedSizeBinary(width)) = arrays.first().map(|array| array.data_type()) {
        return interleave_fixed(arrays, order, *width);
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&arrays, order)?)
}

/// Arrow's own way goes row by row through `MutableArrayData`, at several times the price.
fn interleave_fixed(arrays: &[ArrayRef], order: &[Place], width: i32) -> Result<ArrayRef, Error> {
    let arrays: Vec<&FixedSizeBinaryArray> = arrays.iter().map(|array| array.as_fixed_size_binary()).collect();
    let mut values = Vec::with_capacity(order.len() * usize::try_from(width).unwrap_or_default());
    for (array, row) in order {
        values.extend_from_slice(arrays[*array].value(*row));
    }
    let nulls = arrays.iter().any(|array| array.null_count() > 0).then(|| {
        NullBuffer::new(BooleanBuffer::collect_bool(order.len(), |at| {
            let (array, row) = order[at];
            arrays[array].is_valid(row)
        }))
    });
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(values), nulls)?))
}

/// All rows of the batches, one after the other.
pub(crate) fn concat(batches: &[&RecordBatch]) -> Result<RecordBatch, Error> {
    let pieces: Vec<&dyn Piece> = batches.iter().map(|batch| *batch as &dyn Piece).collect();
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let mut order = Vec::with_capacity(rows);
    for (piece, batch) in batches.iter().enumerate() {
        order.extend((0..batch.num_rows()).map(|row| (piece, row)));
    }
    let fields = fields(&pieces)?;
    let columns = fields.iter().map(|field| gather(&pieces, field, &order)).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// The rows whose time is `before` or later.
pub(crate) fn not_before(rows: &RecordBatch, before: TimestampNs) -> Result<RecordBatch, Error> {
    let times = rows
        .column_by_name(stored::TIME)
        .and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>())
        .ok_or_else(|| ArrowError::SchemaError("stored rows lack their time".into()))?;
    let keep: BooleanArray = times.values().iter().map(|time| Some(*time >= before)).collect();
    Ok(filter_record_batch(rows, &keep)?)
}
