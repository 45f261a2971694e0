//! The rows of a batch that a scan asks for: its time range and its filters, as the engine would evaluate them.
//!
//! What the database has picked may be more than was asked for, since its columns are cut and its collations are lax. A
//! limit counts the rows that are left after this.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, Scalar, StringViewArray,
    TimestampNanosecondArray, cast::AsArray, types::TimestampNanosecondType,
};
use arrow_ord::cmp;
use arrow_schema::{ArrowError, DataType};
use arrow_select::filter::filter_record_batch;
use devmesh_schema::{
    Signal, stored,
    view::{attribute_text, derive, distinct},
};

use crate::{Filter, Op, Scan, Value, patterns::filter::COLUMN as PATTERN, words};

/// Whether [`rows`] evaluates all filters of the scan: only then may a limit count.
pub(super) fn is_exact(scan: &Scan) -> bool {
    let schema = devmesh_schema::tables::schema(scan.signal);
    let comparable = |column: &str, value: &Value| {
        schema.field_with_name(column).is_ok_and(|field| constant(field.data_type(), value).is_some())
    };
    scan.filters.iter().all(|filter| match filter {
        Filter::Compare { column, .. } | Filter::OneOf { column, .. } if column == PATTERN => false,
        Filter::OneOf { column, .. } if column == stored::TEMPLATE => true,
        Filter::Compare { column, value, .. } => comparable(column, value),
        Filter::OneOf { column, values } => values.iter().all(|value| comparable(column, value)),
        Filter::Attribute { .. } => true,
        Filter::Words { column, .. } => {
            schema.field_with_name(column).is_ok_and(|field| *field.data_type() == DataType::Utf8View)
        }
    })
}

/// The rows that match; those of filters that cannot be evaluated stay.
///
/// # Errors
/// The batch holds no stored rows.
pub(super) fn rows(scan: &Scan, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut mask = in_time(scan, batch)?;
    for filter in &scan.filters {
        if let Some(matches) = matches(scan.signal, filter, batch)? {
            mask = Some(match mask {
                Some(mask) => and(&mask, &matches),
                None => matches,
            });
        }
    }
    match mask {
        Some(mask) if mask.null_count() > 0 || mask.true_count() < batch.num_rows() => {
            filter_record_batch(batch, &mask)
        }
        _ => Ok(batch.clone()),
    }
}

fn and(left: &BooleanArray, right: &BooleanArray) -> BooleanArray {
    left.iter().zip(right).map(|(left, right)| Some(left == Some(true) && right == Some(true))).collect()
}

fn in_time(scan: &Scan, batch: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
    if scan.time.start == i64::MIN && scan.time.end == i64::MAX {
        return Ok(None);
    }
    let time = derive(scan.signal, "time", batch)?;
    let time = time.as_primitive::<TimestampNanosecondType>();
    Ok(Some(time.iter().map(|time| time.map(|time| scan.time.contains(&time))).collect()))
}

/// Which rows match; `None` where that is left to the engine.
fn matches(signal: Signal, filter: &Filter, batch: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
    match filter {
        // Which templates a pattern has is known where the query is.
        Filter::Compare { column, .. } | Filter::OneOf { column, .. } if column == PATTERN => Ok(None),
        Filter::OneOf { column, values } if column == stored::TEMPLATE => templates(values, batch).map(Some),
        Filter::Compare { column, op, value } => compare(&derive(signal, column, batch)?, *op, value),
        Filter::OneOf { column, values } => {
            let array = derive(signal, column, batch)?;
            let mut any: Option<BooleanArray> = Some(BooleanArray::from(vec![false; batch.num_rows()]));
            for value in values {
                any = match (any, compare(&array, Op::Eq, value)?) {
                    (Some(any), Some(this)) => {
                        let either = any.iter().zip(&this).map(|(a, b)| Some(a == Some(true) || b == Some(true)));
                        Some(either.collect())
                    }
                    _ => return Ok(None),
                };
            }
            Ok(any)
        }
        Filter::Attribute { key, value } => compare(&attribute_text(key, batch)?, Op::Eq, &Value::Text(value.clone())),
        Filter::Words { column, words } => {
            let array = derive(signal, column, batch)?;
            let Some(texts) = array.as_string_view_opt() else { return Ok(None) };
            Ok(Some(texts.iter().map(|text| Some(text.is_some_and(|text| has_words(text, words)))).collect()))
        }
    }
}

/// The rows that have one of the templates.
fn templates(wanted: &[Value], batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let (texts, keys) = distinct(batch, stored::TEMPLATE)?;
    let is_wanted = |text: &Option<String>| {
        text.as_ref().is_some_and(|text| wanted.iter().any(|wanted| matches!(wanted, Value::Text(w) if w == text)))
    };
    let texts: Vec<bool> = texts.iter().map(is_wanted).collect();
    Ok(keys.values().iter().map(|key| texts.get(*key as usize).copied()).collect())
}

/// Whether every one of the words stands in the text.
fn has_words(text: &str, wanted: &[String]) -> bool {
    let mut found = vec![false; wanted.len()];
    words(text, |word| {
        for (found, wanted) in found.iter_mut().zip(wanted) {
            *found |= wanted == word;
        }
    });
    found.into_iter().all(|found| found)
}

fn compare(array: &ArrayRef, op: Op, value: &Value) -> Result<Option<BooleanArray>, ArrowError> {
    let Some((data_type, constant)) = constant(array.data_type(), value) else { return Ok(None) };
    let array = match array.data_type() {
        same if *same == data_type => Arc::clone(array),
        _ => arrow_cast::cast(array, &data_type)?,
    };
    let constant = Scalar::new(constant);
    let matches = match op {
        Op::Eq => cmp::eq(&array, &constant),
        Op::Lt => cmp::lt(&array, &constant),
        Op::LtEq => cmp::lt_eq(&array, &constant),
        Op::Gt => cmp::gt(&array, &constant),
        Op::GtEq => cmp::gt_eq(&array, &constant),
    };
    matches.map(Some)
}

/// The type in which a column is compared with a value, and the value in it; `None` for pairs whose comparison needs the
/// engine's rules.
fn constant(column: &DataType, value: &Value) -> Option<(DataType, ArrayRef)> {
    match (column, value) {
        (DataType::Utf8View, Value::Text(text)) => {
            Some((DataType::Utf8View, Arc::new(StringViewArray::from(vec![text.as_str()]))))
        }
        (DataType::Int32 | DataType::Int64 | DataType::UInt32, Value::Int(int)) => {
            Some((DataType::Int64, Arc::new(Int64Array::from(vec![*int]))))
        }
        (DataType::Timestamp(..), Value::Int(ns)) => {
            let time = TimestampNanosecondArray::from(vec![*ns]).with_timezone("UTC");
            Some((column.clone(), Arc::new(time)))
        }
        (DataType::Float64, Value::Double(double)) => {
            Some((DataType::Float64, Arc::new(Float64Array::from(vec![*double]))))
        }
        (DataType::Float64, Value::Int(int)) if int.unsigned_abs() < 1 << 53 => {
            Some((DataType::Float64, Arc::new(Float64Array::from(vec![*int as f64]))))
        }
        _ => None,
    }
}
