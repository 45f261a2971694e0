//! The columns of data points.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, StructArray,
    cast::AsArray,
    types::{Float64Type, Int32Type, UInt64Type},
};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field};
use devmesh_schema::{
    otlp::wire::{put_message, put_uint},
    stored, tables,
};

use super::{
    Exact, Input, Made, put_text,
    sources::{foreign, foreign_maps},
};
use crate::clickhouse::columns::{Table, absent};

/// What a stored column of metrics is made of.
pub(super) fn sources(table: Table, name: &str) -> Vec<(&'static str, String)> {
    let own = |name: &'static str, sql: &str| (name, sql.to_owned());
    let number = matches!(table, Table::Gauge | Table::Sum);
    let histogram = matches!(table, Table::Histogram | Table::Exponential);
    let exponential = table == Table::Exponential;
    let absent = || own("absent", "DevmeshAbsent");
    match name {
        stored::WIRE_TIME | stored::DROPPED_ATTRIBUTES => vec![own("exact", "DevmeshExact")],
        stored::START_TIME => vec![own("start", "StartTimeUnix")],
        stored::METRIC => {
            let mut items = vec![
                own("metric", "DevmeshMetric"),
                ("metric_name", foreign("toString(MetricName)", "''")),
                ("description", foreign("MetricDescription", "''")),
                ("unit", foreign("MetricUnit", "''")),
            ];
            if histogram || table == Table::Sum {
                items.push(own("temporality", "AggregationTemporality"));
            }
            if table == Table::Sum {
                items.push(own("monotonic", "toUInt64(IsMonotonic)"));
            }
            items
        }
        stored::VALUE_DOUBLE | stored::VALUE_INT if number => {
            vec![own("value", "Value"), absent(), own("exact", "DevmeshExact")]
        }
        "count" if !number => vec![own("count", "Count")],
        "sum" if !number => vec![own("sum", "Sum"), absent()],
        "min" if histogram => vec![own("min", "Min"), absent()],
        "max" if histogram => vec![own("max", "Max"), absent()],
        "buckets" if table == Table::Histogram => vec![own("buckets", "BucketCounts")],
        "bounds" if table == Table::Histogram => vec![own("bounds", "ExplicitBounds")],
        "scale" if exponential => vec![own("scale", "Scale")],
        "zero_count" if exponential => vec![own("zero_count", "ZeroCount")],
        "zero_threshold" if exponential => vec![own("zero_threshold", "ZeroThreshold")],
        "positive_offset" if exponential => vec![own("positive_offset", "PositiveOffset"), absent()],
        "positive_buckets" if exponential => vec![own("positive_buckets", "PositiveBucketCounts"), absent()],
        "negative_offset" if exponential => vec![own("negative_offset", "NegativeOffset"), absent()],
        "negative_buckets" if exponential => vec![own("negative_buckets", "NegativeBucketCounts"), absent()],
        "quantiles" if table == Table::Summary => {
            vec![own("quantile", "ValueAtQuantiles.Quantile"), own("quantile_value", "ValueAtQuantiles.Value")]
        }
        stored::EXEMPLARS if table != Table::Summary => vec![
            own("exact", "DevmeshExact"),
            ("exemplar_time", foreign("Exemplars.TimeUnix", "[]")),
            ("exemplar_value", foreign("Exemplars.Value", "[]")),
            ("exemplar_span", foreign("Exemplars.SpanId", "[]")),
            ("exemplar_trace", foreign("Exemplars.TraceId", "[]")),
            ("exemplar_attributes", foreign_maps("Exemplars.FilteredAttributes")),
        ],
        _ => Vec::new(),
    }
}

impl Input<'_> {
    pub(super) fn metric_column(&self, name: &str, exact: &Exact) -> Result<Made, ArrowError> {
        if sources(self.table, name).is_empty() {
            return Ok(None);
        }
        let plain = |data_type: DataType| -> Result<Made, ArrowError> {
            Ok(Some((Field::new(name, data_type.clone(), true), self.typed(name, &data_type)?)))
        };
        match name {
            stored::METRIC => Ok(Some((super::envelope_field(name), self.metrics()?))),
            stored::VALUE_DOUBLE => self.double_values(name),
            stored::VALUE_INT => self.int_values(name, exact),
            "count" | "zero_count" => plain(DataType::UInt64),
            "sum" => self.present(name, DataType::Float64, absent::SUM),
            "min" => self.present(name, DataType::Float64, absent::MIN),
            "max" => self.present(name, DataType::Float64, absent::MAX),
            "scale" => plain(DataType::Int32),
            "zero_threshold" => plain(DataType::Float64),
            "positive_offset" => self.present(name, DataType::Int32, absent::POSITIVE),
            "negative_offset" => self.present(name, DataType::Int32, absent::NEGATIVE),
            "buckets" => plain(list(DataType::UInt64)),
            "bounds" => plain(list(DataType::Float64)),
            "positive_buckets" => self.present(name, list(DataType::UInt64), absent::POSITIVE),
            "negative_buckets" => self.present(name, list(DataType::UInt64), absent::NEGATIVE),
            "quantiles" => self.quantiles(name),
            _ => Ok(None),
        }
    }

    /// A column that is NULL where the row's bit is set.
    fn present(&self, name: &str, data_type: DataType, bit: u8) -> Result<Made, ArrowError> {
        let array = self.typed(name, &data_type)?;
        let absent = self.absent()?;
        let there = NullBuffer::from_iter(absent.values().iter().map(|bits| bits & bit == 0));
        if there.null_count() == array.len() {
            return Ok(None);
        }
        let array: ArrayRef = match &data_type {
            DataType::Float64 => {
                Arc::new(Float64Array::new(array.as_primitive::<Float64Type>().values().clone(), Some(there)))
            }
            DataType::Int32 => {
                Arc::new(Int32Array::new(array.as_primitive::<Int32Type>().values().clone(), Some(there)))
            }
            _ => {
                let lists = array.as_list::<i32>();
                let DataType::List(item) = &data_type else { return Ok(None) };
                let values = Arc::clone(lists.values());
                Arc::new(ListArray::try_new(Arc::clone(item), lists.offsets().clone(), values, Some(there))?)
            }
        };
        Ok(Some((Field::new(name, data_type, true), array)))
    }

    fn double_values(&self, name: &str) -> Result<Made, ArrowError> {
        let values = self.typed("value", &DataType::Float64)?;
        let absent = self.absent()?;
        let double = |bits: &u8| bits & (absent::VALUE | absent::IS_INT) == 0;
        if !absent.values().iter().any(double) {
            return Ok(None);
        }
        let there = NullBuffer::from_iter(absent.values().iter().map(double));
        let values = values.as_primitive::<Float64Type>().values().clone();
        Ok(Some((Field::new(name, DataType::Float64, true), Arc::new(Float64Array::new(values, Some(there))))))
    }

    fn int_values(&self, name: &str, exact: &Exact) -> Result<Made, ArrowError> {
        let values = self.typed("value", &DataType::Float64)?;
        let absent = self.absent()?;
        if !absent.values().iter().any(|bits| bits & absent::IS_INT != 0) {
            return Ok(None);
        }
        let values = values.as_primitive::<Float64Type>().values().iter().zip(absent.values());
        let mut ints: Vec<Option<i64>> =
            values.map(|(value, bits)| (bits & absent::IS_INT != 0).then_some(*value as i64)).collect();
        for (row, value) in &exact.value_int {
            ints[*row] = Some(value.cast_signed());
        }
        Ok(Some((Field::new(name, DataType::Int64, true), Arc::new(Int64Array::from(ints)))))
    }

    fn quantiles(&self, name: &str) -> Result<Made, ArrowError> {
        let (quantiles, values) = (self.array("quantile")?, self.array("quantile_value")?);
        let wrong = || ArrowError::SchemaError("quantiles of ClickHouse are no lists".into());
        let quantiles = quantiles.as_list_opt::<i32>().ok_or_else(wrong)?;
        let values = values.as_list_opt::<i32>().ok_or_else(wrong)?;
        let number = |array: &ArrayRef| cast(array, &DataType::Float64);
        let pairs = vec![number(quantiles.values())?, number(values.values())?];
        let structs = StructArray::try_new(tables::quantile(), pairs, None)?;
        let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
        let lists = ListArray::try_new(item, quantiles.offsets().clone(), Arc::new(structs), None)?;
        Ok(Some((Field::new(name, lists.data_type().clone(), true), Arc::new(lists))))
    }

    /// The envelopes of metrics.
    fn metrics(&self) -> Result<ArrayRef, ArrowError> {
        let texts = ["metric_name", "description", "unit"].map(|name| self.text(name));
        let [names, descriptions, units] = texts;
        let (names, descriptions, units) = (names?, descriptions?, units?);
        let number = |name: &str| -> Result<Option<arrow_array::UInt64Array>, ArrowError> {
            match self.rows.column_by_name(&format!("r_{name}")) {
                None => Ok(None),
                Some(array) => {
                    let array = cast(&cast(array, &DataType::Int64)?, &DataType::UInt64)?;
                    Ok(Some(array.as_primitive::<UInt64Type>().clone()))
                }
            }
        };
        let (temporality, monotonic) = (number("temporality")?, number("monotonic")?);
        let kind = match self.table {
            Table::Sum => 7,
            Table::Histogram => 9,
            Table::Exponential => 10,
            Table::Summary => 11,
            _ => 5,
        };
        self.envelopes("metric", |out, row| {
            put_text(out, 1, names.value(row));
            put_text(out, 2, descriptions.value(row));
            put_text(out, 3, units.value(row));
            put_message(out, kind, |out| {
                for (field, column) in [(2, &temporality), (3, &monotonic)] {
                    let value =
                        column.as_ref().filter(|column| column.is_valid(row)).map_or(0, |column| column.value(row));
                    if value != 0 {
                        put_uint(out, field, value);
                    }
                }
            });
        })
    }
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    #[test]
    fn whole_doubles_are_the_integers_they_were_made_of() {
        let ints = [0, 1, -1, 1 << 53, -(1 << 53)];
        let doubles: Vec<f64> = ints.iter().map(|int| *int as f64).collect();
        let back: Int64Array = doubles.iter().map(|double| Some(*double as i64)).collect();
        assert_eq!(back.values(), &ints);
    }
}
