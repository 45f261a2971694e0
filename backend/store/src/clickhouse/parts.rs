//! Cuts a block into parts, each of which is one insert.
//!
//! Where it is cut depends on the rows alone, not on the batches that they come in: a block that comes again, after a crash,
//! in other batches, is cut at the same rows, and ClickHouse knows the inserts again.

use std::{ops::Range, sync::Arc};

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use devmesh_schema::stored;

use super::arrays;

/// Rows of one insert: fewer than the server's own block (`max_insert_block_size`, a million), so that an insert is one
/// block of it.
const ROWS: usize = 32_768;
/// Bytes of what the rows of one insert share: ClickHouse's tables have the attributes of a resource once a row.
const SHARED_BYTES: usize = 64 << 20;

/// A part: pieces of batches.
pub(super) type Part = Vec<RecordBatch>;

/// The parts of a block, in order.
///
/// # Errors
/// An envelope is none.
pub(super) fn parts(batches: &[Arc<RecordBatch>]) -> Result<Vec<Part>, ArrowError> {
    cut(batches, ROWS, SHARED_BYTES)
}

fn cut(batches: &[Arc<RecordBatch>], rows: usize, bytes: usize) -> Result<Vec<Part>, ArrowError> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let (mut count, mut shared) = (0, 0);
    for batch in batches {
        let weights = weights(batch)?;
        let mut piece: Range<usize> = 0..0;
        for (row, weight) in weights.into_iter().enumerate() {
            if count == rows || (count > 0 && shared + weight > bytes) {
                push(&mut part, batch, &piece);
                parts.push(std::mem::take(&mut part));
                (piece, count, shared) = (row..row, 0, 0);
            }
            piece.end = row + 1;
            count += 1;
            shared += weight;
        }
        push(&mut part, batch, &piece);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

fn push(part: &mut Part, batch: &RecordBatch, piece: &Range<usize>) {
    if !piece.is_empty() {
        part.push(batch.slice(piece.start, piece.len()));
    }
}

/// The bytes of the envelopes of each row.
fn weights(batch: &RecordBatch) -> Result<Vec<usize>, ArrowError> {
    let mut weights = vec![0; batch.num_rows()];
    for name in [stored::RESOURCE, stored::SCOPE] {
        let Some(column) = batch.column_by_name(name) else { continue };
        let (keys, values) = arrays::keyed(column)?;
        let values = cast(&values, &DataType::Binary)?;
        let values = values.as_binary::<i32>();
        let lengths: Vec<usize> =
            (0..values.len()).map(|at| if values.is_valid(at) { values.value(at).len() } else { 0 }).collect();
        for (weight, key) in weights.iter_mut().zip(&keys) {
            *weight += key.and_then(|key| lengths.get(key as usize)).copied().unwrap_or(0);
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, types::Int32Type};

    /// Rows with their numbers, and resources of so many bytes.
    fn batch(numbers: Range<i64>, bytes: &[usize]) -> Arc<RecordBatch> {
        let resources: Vec<Vec<u8>> = bytes.iter().map(|bytes| vec![1; *bytes]).collect();
        let values = arrow_array::BinaryArray::from_iter_values(resources);
        let keys: Int32Array = numbers.clone().map(|n| Some((n as usize % bytes.len()) as i32)).collect();
        let resource: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        Arc::new(RecordBatch::try_from_iter([(stored::RESOURCE, resource), ("n", numbers)]).unwrap())
    }

    fn numbers(parts: &[Part]) -> Vec<Vec<i64>> {
        let of = |batch: &RecordBatch| {
            let column: &Int64Array = batch.column_by_name("n").unwrap().as_primitive();
            column.values().to_vec()
        };
        parts.iter().map(|part| part.iter().flat_map(of).collect()).collect()
    }

    #[test]
    fn a_block_is_cut_at_the_same_rows_whatever_batches_it_comes_in() {
        let bytes = [10, 40, 7];
        let whole = numbers(&cut(&[batch(0..100, &bytes)], 9, 150).unwrap());
        assert_eq!(whole.concat(), (0..100).collect::<Vec<_>>());
        assert!(whole.iter().all(|part| part.len() <= 9) && whole.iter().any(|part| part.len() < 9), "{whole:?}");
        for at in [1, 3, 9, 10, 50, 99] {
            let pieces = [batch(0..at, &bytes), batch(at..100, &bytes)];
            assert_eq!(numbers(&cut(&pieces, 9, 150).unwrap()), whole, "{at}");
        }
    }

    #[test]
    fn a_row_that_is_larger_than_a_part_is_a_part() {
        let parts = numbers(&cut(&[batch(0..3, &[500])], 9, 150).unwrap());
        assert_eq!(parts, [[0], [1], [2]]);
        assert!(cut(&[], 9, 150).unwrap().is_empty());
    }
}
