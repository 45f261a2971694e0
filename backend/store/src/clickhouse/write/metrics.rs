//! Data points into the rows of their kind's table.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, UInt32Array, UInt64Array,
    cast::AsArray,
    types::{Float64Type, Int32Type, Int64Type, UInt64Type},
};
use arrow_schema::{ArrowError, DataType, Field};
use devmesh_schema::{
    otlp::wire::{Wire, put_bytes, put_uint},
    stored, tables,
};

use super::{Columns, each};
use crate::clickhouse::{
    arrays,
    columns::{Table, absent, exact},
};

impl Columns<'_> {
    pub(super) fn metrics(&mut self, table: Table) -> Result<(), ArrowError> {
        let metric = self.any(stored::METRIC, DataType::Binary);
        self.put_dictionary("MetricName", stored::NAME)?;
        self.put("MetricDescription", arrays::of_each(&metric, |metric| super::text_field(metric, 2))?);
        self.put("MetricUnit", arrays::of_each(&metric, |metric| super::text_field(metric, 3))?);
        let scope = self.any(stored::SCOPE, DataType::Binary);
        let dropped = self.numbers_of(&scope, |scope| {
            let mut dropped = 0;
            each(scope, |number, wire| {
                if let (1, Wire::Bytes(inner)) = (number, wire) {
                    each(inner, |number, wire| {
                        if let (4, Wire::Varint(value)) = (number, wire) {
                            dropped = value as i32;
                        }
                    });
                }
            });
            dropped
        })?;
        let dropped = UInt32Array::from_iter_values(dropped.values().iter().map(|dropped| *dropped as u32));
        self.put("ScopeDroppedAttrCount", Arc::new(dropped));
        self.put_bytes("DevmeshMetric", stored::METRIC)?;
        let start = self.time_or_zero(stored::START_TIME)?;
        self.put("StartTimeUnix", start);
        self.put("Flags", Arc::new(self.numbers_u32(stored::FLAGS)?));
        if table != Table::Summary {
            self.exemplars()?;
        }
        if !matches!(table, Table::Gauge | Table::Summary) {
            let temporality = self.numbers_of(&metric, |metric| kind_number(metric, 2))?;
            self.put("AggregationTemporality", Arc::new(temporality));
        }
        match table {
            Table::Gauge => self.values()?,
            Table::Sum => {
                self.values()?;
                let monotonic = self.numbers_of(&metric, |metric| kind_number(metric, 3))?;
                let monotonic: BooleanArray = monotonic.values().iter().map(|value| Some(*value != 0)).collect();
                self.put("IsMonotonic", Arc::new(monotonic));
            }
            Table::Histogram => {
                self.totals(true)?;
                self.put_list("BucketCounts", "buckets", DataType::UInt64)?;
                self.put_list("ExplicitBounds", "bounds", DataType::Float64)?;
            }
            Table::Exponential => self.exponential()?,
            _ => {
                self.totals(false)?;
                let quantiles = self.any("quantiles", tables::list_of(tables::quantile()));
                let as_is = |array: &ArrayRef| Ok(Arc::clone(array));
                self.put("ValueAtQuantiles.Quantile", arrays::list_field(&quantiles, "quantile", as_is)?);
                self.put("ValueAtQuantiles.Value", arrays::list_field(&quantiles, "value", as_is)?);
            }
        }
        self.absences(table)?;
        let exemplars = self.bytes(stored::EXEMPLARS)?;
        let ints = self.stored(stored::VALUE_INT, DataType::Int64)?;
        let ints: &Int64Array = ints.as_primitive::<Int64Type>();
        self.exact(|out, row| {
            if let Some(column) = exemplars.as_ref().filter(|column| column.is_valid(row)) {
                put_bytes(out, exact::EXEMPLARS, column.value(row));
            }
            if ints.is_valid(row) && !fits(ints.value(row)) {
                put_uint(out, exact::VALUE_INT, ints.value(row) as u64);
            }
        })
    }

    fn values(&mut self) -> Result<(), ArrowError> {
        let values = self.derived("value")?;
        let values: &Float64Array = values.as_primitive::<Float64Type>();
        let values = Float64Array::from_iter_values(values.iter().map(Option::unwrap_or_default));
        self.put("Value", Arc::new(values));
        Ok(())
    }

    fn totals(&mut self, extremes: bool) -> Result<(), ArrowError> {
        let count = self.stored("count", DataType::UInt64)?;
        let count: &UInt64Array = count.as_primitive::<UInt64Type>();
        self.put("Count", Arc::new(UInt64Array::from_iter_values(count.iter().map(Option::unwrap_or_default))));
        self.put_double("Sum", "sum")?;
        if extremes {
            self.put_double("Min", "min")?;
            self.put_double("Max", "max")?;
        }
        Ok(())
    }

    fn exponential(&mut self) -> Result<(), ArrowError> {
        self.totals(true)?;
        self.put_double("ZeroThreshold", "zero_threshold")?;
        for (name, stored) in
            [("Scale", "scale"), ("PositiveOffset", "positive_offset"), ("NegativeOffset", "negative_offset")]
        {
            let array = self.stored(stored, DataType::Int32)?;
            let array: &Int32Array = array.as_primitive::<Int32Type>();
            self.put(name, Arc::new(Int32Array::from_iter_values(array.iter().map(Option::unwrap_or_default))));
        }
        let zero = self.stored("zero_count", DataType::UInt64)?;
        let zero: &UInt64Array = zero.as_primitive::<UInt64Type>();
        self.put("ZeroCount", Arc::new(UInt64Array::from_iter_values(zero.iter().map(Option::unwrap_or_default))));
        self.put_list("PositiveBucketCounts", "positive_buckets", DataType::UInt64)?;
        self.put_list("NegativeBucketCounts", "negative_buckets", DataType::UInt64)
    }

    fn put_double(&mut self, name: &'static str, stored: &str) -> Result<(), ArrowError> {
        let array = self.stored(stored, DataType::Float64)?;
        let array: &Float64Array = array.as_primitive::<Float64Type>();
        let values = Float64Array::from_iter_values(array.iter().map(Option::unwrap_or_default));
        self.put(name, Arc::new(values));
        Ok(())
    }

    fn put_list(&mut self, name: &'static str, stored: &str, item: DataType) -> Result<(), ArrowError> {
        let list = DataType::List(Arc::new(Field::new("item", item, true)));
        let array = arrays::list(&self.any(stored, list))?;
        self.put(name, array);
        Ok(())
    }

    fn exemplars(&mut self) -> Result<(), ArrowError> {
        let exemplars = self.derived("exemplars")?;
        let value = |array: &ArrayRef| -> Result<ArrayRef, ArrowError> {
            let values: &Float64Array = array.as_primitive::<Float64Type>();
            Ok(Arc::new(Float64Array::from_iter_values(values.iter().map(Option::unwrap_or_default))))
        };
        self.put("Exemplars.FilteredAttributes", arrays::list_field(&exemplars, "attributes", arrays::map)?);
        self.put("Exemplars.TimeUnix", arrays::list_field(&exemplars, "time", |array| Ok(Arc::clone(array)))?);
        self.put("Exemplars.Value", arrays::list_field(&exemplars, "value", value)?);
        self.put("Exemplars.SpanId", arrays::list_field(&exemplars, "span_id", arrays::text)?);
        self.put("Exemplars.TraceId", arrays::list_field(&exemplars, "trace_id", arrays::text)?);
        Ok(())
    }

    fn absences(&mut self, table: Table) -> Result<(), ArrowError> {
        let double = self.any(stored::VALUE_DOUBLE, DataType::Float64);
        let int = self.any(stored::VALUE_INT, DataType::Int64);
        let columns = [
            ("sum", absent::SUM, DataType::Float64),
            ("min", absent::MIN, DataType::Float64),
            ("max", absent::MAX, DataType::Float64),
            ("positive_offset", absent::POSITIVE, DataType::Int32),
            ("negative_offset", absent::NEGATIVE, DataType::Int32),
        ]
        .map(|(name, bit, data_type)| (self.any(name, data_type), bit));
        let number = matches!(table, Table::Gauge | Table::Sum);
        let bits = |row: usize| {
            if number {
                return match (double.is_valid(row), int.is_valid(row)) {
                    (true, _) => 0,
                    (false, true) => absent::IS_INT,
                    (false, false) => absent::VALUE,
                };
            }
            columns.iter().filter(|(array, _)| array.is_null(row)).fold(0, |bits, (_, bit)| bits | bit)
        };
        let bits = self.put_attributes("Attributes", bits)?;
        self.put("DevmeshAbsent", bits);
        Ok(())
    }

    /// A number made of each distinct value of a column of bytes.
    fn numbers_of(&self, column: &ArrayRef, make: impl Fn(&[u8]) -> i32) -> Result<Int32Array, ArrowError> {
        let column = arrays::dictionary(column, &DataType::Binary)?;
        let column = column.as_dictionary::<Int32Type>();
        let made: Vec<i32> =
            column.values().as_binary::<i32>().iter().map(|value| make(value.unwrap_or_default())).collect();
        let number = |key: &i32| made.get(*key as usize).copied().unwrap_or_default();
        Ok(Int32Array::from_iter_values(column.keys().values().iter().map(number)))
    }
}

/// Whether a double holds the integer.
fn fits(value: i64) -> bool {
    value.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}

/// A number of the kind's own message in a metric: 2 is the temporality, 3 the monotonicity.
fn kind_number(metric: &[u8], field: u32) -> i32 {
    let mut found = 0;
    each(metric, |number, wire| {
        if let (5 | 7 | 9..=11, Wire::Bytes(kind)) = (number, wire) {
            each(kind, |number, wire| {
                if let (true, Wire::Varint(value)) = (number == field, wire) {
                    found = value as i32;
                }
            });
        }
    });
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn integers_that_a_double_does_not_hold_are_kept_beside_it() {
        for (value, expected) in
            [(0, true), (1 << 53, true), (-(1 << 53), true), ((1 << 53) + 1, false), (i64::MIN, false)]
        {
            assert_eq!(super::fits(value), expected, "{value}");
        }
    }
}
