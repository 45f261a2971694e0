//! Stored data points into `Metric` messages: neighbours of one metric share it.

use arrow_array::{
    Array, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray, RecordBatch, TimestampNanosecondArray,
    UInt64Array,
    cast::AsArray,
    types::{ArrowPrimitiveType, Float64Type, UInt64Type},
};
use arrow_schema::ArrowError;

use super::{
    encode::{Common, Items, put_some_fixed64, put_some_uint, runs, text},
    metrics,
    stored_columns::{BytesColumn, as_numbers, bytes, messages, number, numbers},
    wire::{Reader, Wire, put_bytes, put_field, put_fixed64, put_head, put_message, put_varint, varint_len},
};
use crate::stored;

/// The columns of metrics.
pub(super) struct Metrics {
    common: Common,
    metric: Option<BytesColumn>,
    start: Option<TimestampNanosecondArray>,
    value_double: Option<Float64Array>,
    value_int: Option<Int64Array>,
    count: Option<UInt64Array>,
    sum: Option<Float64Array>,
    min: Option<Float64Array>,
    max: Option<Float64Array>,
    buckets: Option<Lists<UInt64Type>>,
    bounds: Option<Lists<Float64Type>>,
    scale: Option<Int32Array>,
    zero_count: Option<UInt64Array>,
    zero_threshold: Option<Float64Array>,
    positive: Buckets,
    negative: Buckets,
    quantiles: Option<Quantiles>,
    exemplars: Option<BytesColumn>,
}

struct Buckets {
    offset: Option<Int32Array>,
    counts: Option<Lists<UInt64Type>>,
}

/// A column of lists of numbers.
struct Lists<T: ArrowPrimitiveType> {
    lists: ListArray,
    values: PrimitiveArray<T>,
}

struct Quantiles {
    lists: ListArray,
    quantiles: Float64Array,
    values: Float64Array,
}

impl<T: ArrowPrimitiveType> Lists<T> {
    fn new(rows: &RecordBatch, name: &str) -> Result<Option<Self>, ArrowError> {
        let Some(lists) = rows.column_by_name(name).and_then(|array| array.as_list_opt::<i32>()) else {
            return Ok(None);
        };
        Ok(Some(Self { lists: lists.clone(), values: as_numbers(lists.values())? }))
    }
}

/// The numbers of a row.
fn list<T: ArrowPrimitiveType>(column: Option<&Lists<T>>, row: usize) -> &[T::Native] {
    column.and_then(|c| c.values.values().get(range(&c.lists, row))).unwrap_or_default()
}

/// Where the values of a row's list stand.
fn range(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    match lists.value_offsets().get(row..row + 2) {
        Some([start, end]) if lists.is_valid(row) => *start as usize..*end as usize,
        _ => 0..0,
    }
}

impl Quantiles {
    fn new(rows: &RecordBatch) -> Result<Option<Self>, ArrowError> {
        let Some(lists) = rows.column_by_name("quantiles").and_then(|array| array.as_list_opt::<i32>()) else {
            return Ok(None);
        };
        let structs = lists.values().as_struct();
        let part = |name: &str| -> Result<Float64Array, ArrowError> {
            let missing = || ArrowError::SchemaError(format!("quantiles have no field {name}"));
            as_numbers(structs.column_by_name(name).ok_or_else(missing)?)
        };
        Ok(Some(Self { lists: lists.clone(), quantiles: part("quantile")?, values: part("value")? }))
    }
}

impl Buckets {
    fn new(rows: &RecordBatch, sign: &str) -> Result<Self, ArrowError> {
        Ok(Self {
            offset: numbers(rows, &format!("{sign}_offset"))?,
            counts: Lists::new(rows, &format!("{sign}_buckets"))?,
        })
    }

    fn put(&self, out: &mut Vec<u8>, field: u32, row: usize) {
        let Some(offset) = number(self.offset.as_ref(), row) else { return };
        let counts = list(self.counts.as_ref(), row);
        put_message(out, field, |out| {
            put_some_uint(out, 1, zigzag(offset));
            if !counts.is_empty() {
                put_head(out, 2, counts.iter().map(|count| varint_len(*count)).sum());
                counts.iter().for_each(|count| put_varint(out, *count));
            }
        });
    }
}

/// A number as `sint32`.
fn zigzag(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

impl Metrics {
    pub(super) fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            common: Common::new(rows)?,
            metric: bytes(rows, stored::METRIC)?,
            start: numbers(rows, stored::START_TIME)?,
            value_double: numbers(rows, stored::VALUE_DOUBLE)?,
            value_int: numbers(rows, stored::VALUE_INT)?,
            count: numbers(rows, "count")?,
            sum: numbers(rows, "sum")?,
            min: numbers(rows, "min")?,
            max: numbers(rows, "max")?,
            buckets: Lists::new(rows, "buckets")?,
            bounds: Lists::new(rows, "bounds")?,
            scale: numbers(rows, "scale")?,
            zero_count: numbers(rows, "zero_count")?,
            zero_threshold: numbers(rows, "zero_threshold")?,
            positive: Buckets::new(rows, "positive")?,
            negative: Buckets::new(rows, "negative")?,
            quantiles: Quantiles::new(rows)?,
            exemplars: bytes(rows, stored::EXEMPLARS)?,
        })
    }

    fn put_number(&mut self, out: &mut Vec<u8>, row: usize) {
        self.put_times(out, row);
        if let Some(value) = number(self.value_double.as_ref(), row) {
            put_fixed64(out, 4, value.to_bits());
        }
        self.put_exemplars(out, 5, row);
        if let Some(value) = number(self.value_int.as_ref(), row) {
            put_fixed64(out, 6, value as u64);
        }
        self.common.attributes.put(out, 7, row);
        put_some_uint(out, 8, u64::from(self.common.flags(row)));
    }

    fn put_histogram(&mut self, out: &mut Vec<u8>, row: usize) {
        self.put_times(out, row);
        self.put_totals(out, row);
        let buckets = list(self.buckets.as_ref(), row);
        if !buckets.is_empty() {
            put_head(out, 6, buckets.len() * 8);
            buckets.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        }
        let bounds = list(self.bounds.as_ref(), row);
        if !bounds.is_empty() {
            put_head(out, 7, bounds.len() * 8);
            bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        }
        self.put_exemplars(out, 8, row);
        self.common.attributes.put(out, 9, row);
        put_some_uint(out, 10, u64::from(self.common.flags(row)));
        self.put_extremes(out, 11, row);
    }

    fn put_exponential(&mut self, out: &mut Vec<u8>, row: usize) {
        self.common.attributes.put(out, 1, row);
        self.put_times(out, row);
        self.put_totals(out, row);
        put_some_uint(out, 6, zigzag(number(self.scale.as_ref(), row).unwrap_or_default()));
        put_some_fixed64(out, 7, number(self.zero_count.as_ref(), row).unwrap_or_default());
        self.positive.put(out, 8, row);
        self.negative.put(out, 9, row);
        put_some_uint(out, 10, u64::from(self.common.flags(row)));
        self.put_exemplars(out, 11, row);
        self.put_extremes(out, 12, row);
        put_some_fixed64(out, 14, number(self.zero_threshold.as_ref(), row).unwrap_or_default().to_bits());
    }

    fn put_summary(&mut self, out: &mut Vec<u8>, row: usize) {
        self.put_times(out, row);
        self.put_totals(out, row);
        if let Some(column) = &self.quantiles {
            for i in range(&column.lists, row) {
                put_message(out, 6, |out| {
                    put_some_fixed64(out, 1, number(Some(&column.quantiles), i).unwrap_or_default().to_bits());
                    put_some_fixed64(out, 2, number(Some(&column.values), i).unwrap_or_default().to_bits());
                });
            }
        }
        self.common.attributes.put(out, 7, row);
        put_some_uint(out, 8, u64::from(self.common.flags(row)));
    }

    fn put_times(&self, out: &mut Vec<u8>, row: usize) {
        put_some_fixed64(out, 2, number(self.start.as_ref(), row).unwrap_or_default() as u64);
        put_some_fixed64(out, 3, self.common.time(row));
    }

    fn put_totals(&self, out: &mut Vec<u8>, row: usize) {
        put_some_fixed64(out, 4, number(self.count.as_ref(), row).unwrap_or_default());
        if let Some(sum) = number(self.sum.as_ref(), row) {
            put_fixed64(out, 5, sum.to_bits());
        }
    }

    fn put_extremes(&self, out: &mut Vec<u8>, field: u32, row: usize) {
        for (field, column) in [(field, &self.min), (field + 1, &self.max)] {
            if let Some(value) = number(column.as_ref(), row) {
                put_fixed64(out, field, value.to_bits());
            }
        }
    }

    fn put_exemplars(&self, out: &mut Vec<u8>, field: u32, row: usize) {
        for exemplar in messages(text(self.exemplars.as_ref(), row)) {
            put_bytes(out, field, exemplar);
        }
    }

    fn put_point(&mut self, out: &mut Vec<u8>, kind: u32, row: usize) {
        match kind {
            9 => self.put_histogram(out, row),
            10 => self.put_exponential(out, row),
            11 => self.put_summary(out, row),
            _ => self.put_number(out, row),
        }
    }
}

impl Items for Metrics {
    fn put(&mut self, out: &mut Vec<u8>, rows: std::ops::Range<usize>) {
        let metric = self.metric.clone();
        for run in runs(metric.as_ref(), rows) {
            put_message(out, 2, |out| {
                let mut reader = Reader::new(text(metric.as_ref(), run.start));
                while let Ok(Some((field, wire))) = reader.field() {
                    match wire {
                        Wire::Bytes(kind) if metrics::KINDS.iter().any(|(number, _)| *number == field) => {
                            put_message(out, field, |out| {
                                for row in run.clone() {
                                    put_message(out, 1, |out| self.put_point(out, field, row));
                                }
                                out.extend_from_slice(kind);
                            });
                        }
                        _ => put_field(out, field, wire),
                    }
                }
            });
        }
    }
}
