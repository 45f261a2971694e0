//! Columns under construction.
//!
//! A column knows how many rows it has; rows that it was not given are NULL, and are filled in at the next value or at
//! the end. That makes a column of a rare attribute cost nothing in rows that lack it.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, PrimitiveArray,
    StringArray, types::ArrowPrimitiveType,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;

use super::check;

/// A hash map for trusted speed and untrusted keys: seeded anew in every process.
pub(super) type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Bytes of any length: `Utf8` or `Binary`.
#[derive(Debug)]
pub(super) struct Bytes {
    offsets: Vec<i32>,
    values: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Self { offsets: vec![0], values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Makes room for `rows` rows like the one of `bytes` bytes.
    pub(super) fn reserve(&mut self, rows: usize, bytes: usize) {
        self.offsets.reserve(rows);
        self.values.reserve(rows.saturating_mul(bytes.min(64)));
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: &[u8]) {
        self.pad(row);
        self.values.extend_from_slice(value);
        self.close();
    }

    /// Ends the row whose bytes were written to [`Bytes::writer`].
    #[inline]
    pub(super) fn close(&mut self) {
        self.offsets.push(self.values.len() as i32);
        self.nulls.append_non_null();
    }

    /// Where the bytes of row `row` may be written, before [`Bytes::close`].
    pub(super) fn writer(&mut self, row: usize) -> &mut Vec<u8> {
        self.pad(row);
        &mut self.values
    }

    #[inline]
    fn pad(&mut self, rows: usize) {
        if self.len() < rows {
            let missing = rows - self.len();
            self.offsets.resize(rows + 1, self.values.len() as i32);
            self.nulls.append_n_nulls(missing);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        let rows = rows.min(self.len());
        self.offsets.truncate(rows + 1);
        self.nulls.truncate(rows);
        self.values.truncate(self.offsets.last().map_or(0, |end| *end as usize));
    }

    fn parts(mut self, rows: usize) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        self.pad(rows);
        if self.values.capacity() / 2 > self.values.len() {
            // Rows stay in memory for a while: what was reserved in vain goes back.
            self.values.shrink_to_fit();
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        (offsets, Buffer::from_vec(self.values), self.nulls.build())
    }

    pub(super) fn binary(self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let (offsets, values, nulls) = self.parts(rows);
        Ok(Arc::new(BinaryArray::try_new(offsets, values, nulls)?))
    }

    /// The column as text. The check for UTF-8 is one over all values; only if it fails are they looked at singly.
    pub(super) fn text(self, rows: usize, repaired: &mut u64) -> Result<ArrayRef, ArrowError> {
        let (offsets, values, nulls) = self.parts(rows);
        if let Ok(array) = StringArray::try_new(offsets.clone(), values.clone(), nulls.clone()) {
            return Ok(Arc::new(array));
        }
        let broken = BinaryArray::try_new(offsets, values, nulls)?;
        let whole = broken.iter().map(|value| value.map(|value| check::repair(value, repaired)));
        Ok(Arc::new(whole.collect::<StringArray>()))
    }
}

/// Values of a fixed number of bytes: ids.
#[derive(Debug)]
pub(super) struct Fixed<const N: usize> {
    values: Vec<[u8; N]>,
    nulls: NullBufferBuilder,
}

impl<const N: usize> Fixed<N> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: [u8; N]) {
        self.pad(row);
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.nulls.append_n_nulls(rows - self.values.len());
            self.values.resize(rows, [0; N]);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(self.values.len());
    }

    /// The column; `None` where every row is NULL.
    pub(super) fn finish(mut self, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
        if self.values.is_empty() {
            return Ok(None);
        }
        self.pad(rows);
        let values = Buffer::from_vec(self.values.into_flattened());
        Ok(Some(Arc::new(FixedSizeBinaryArray::try_new(N as i32, values, self.nulls.build())?)))
    }
}

/// Numbers.
#[derive(Debug)]
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: T::Native) {
        self.pad(row);
        self.values.push(value);
        self.nulls.append_non_null();
    }

    #[inline]
    fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.nulls.append_n_nulls(rows - self.values.len());
            self.values.resize(rows, T::Native::default());
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(self.values.len());
    }

    /// The column; `None` where every row is NULL, unless `always`.
    pub(super) fn finish(mut self, rows: usize, always: bool) -> Result<Option<PrimitiveArray<T>>, ArrowError> {
        if self.values.is_empty() && !always {
            return Ok(None);
        }
        self.pad(rows);
        PrimitiveArray::try_new(ScalarBuffer::from(self.values), self.nulls.build()).map(Some)
    }
}

/// Truth values.
#[derive(Debug)]
pub(super) struct Bools {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Bools {
    pub(super) fn new() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn push(&mut self, row: usize, value: bool) {
        self.pad(row);
        self.values.append(value);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            let missing = rows - self.values.len();
            self.nulls.append_n_nulls(missing);
            self.values.append_n(missing, false);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
        }
    }

    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        Arc::new(BooleanArray::new(self.values.build(), self.nulls.build()))
    }
}

/// Text or bytes of few distinct values: a dictionary and a key a row.
#[derive(Debug)]
pub(super) struct Dictionary {
    known: FastMap<Box<[u8]>, i32>,
    values: Bytes,
    keys: Vec<i32>,
    nulls: NullBufferBuilder,
    last: i32,
    last_value: Box<[u8]>,
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self {
            known: FastMap::default(),
            values: Bytes::new(),
            keys: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            last: -1,
            last_value: Box::default(),
        }
    }

    /// The key of a value.
    #[inline]
    pub(super) fn intern(&mut self, value: &[u8]) -> i32 {
        if self.last >= 0 && *self.last_value == *value {
            return self.last;
        }
        self.look_up(value)
    }

    fn look_up(&mut self, value: &[u8]) -> i32 {
        let key = match self.known.get(value) {
            Some(key) => *key,
            None => {
                let key = self.values.len() as i32;
                self.values.push(key as usize, value);
                self.known.insert(value.into(), key);
                key
            }
        };
        self.last = key;
        self.last_value = value.into();
        key
    }

    /// Gives the next `count` rows one value.
    pub(super) fn push_run(&mut self, key: i32, count: usize) {
        self.keys.resize(self.keys.len() + count, key);
        self.nulls.append_n_non_nulls(count);
    }

    #[inline]
    pub(super) fn push_key(&mut self, row: usize, key: i32) {
        self.pad(row);
        self.keys.push(key);
        self.nulls.append_non_null();
    }

    #[inline]
    pub(super) fn push(&mut self, row: usize, value: &[u8]) {
        let key = self.intern(value);
        self.push_key(row, key);
    }

    fn pad(&mut self, rows: usize) {
        if self.keys.len() < rows {
            self.nulls.append_n_nulls(rows - self.keys.len());
            self.keys.resize(rows, 0);
        }
    }

    /// How many distinct values there are.
    pub(super) fn distinct(&self) -> usize {
        self.values.len()
    }

    /// Whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn binary(self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.finish(rows, |values, n| values.binary(n))
    }

    pub(super) fn text(self, rows: usize, repaired: &mut u64) -> Result<ArrayRef, ArrowError> {
        self.finish(rows, |values, n| values.text(n, repaired))
    }

    fn finish(
        mut self,
        rows: usize,
        build: impl FnOnce(Bytes, usize) -> Result<ArrayRef, ArrowError>,
    ) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        let distinct = self.values.len();
        let keys = Int32Array::try_new(ScalarBuffer::from(self.keys), self.nulls.build())?;
        Ok(Arc::new(DictionaryArray::try_new(keys, build(self.values, distinct)?)?))
    }
}
