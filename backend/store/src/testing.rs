//! Stored rows for tests.

#[path = "../../../schema/tests/otlp/generate.rs"]
pub(crate) mod generate;

use std::{ops::Range, sync::Arc};

use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    types::Int32Type,
};

/// What generated requests take for the time of receipt: 2026-11-21T12:00:00Z.
pub(crate) const RECEIVED: i64 = 1_795_262_400_000_000_000;

/// Log rows whose times are the numbers of the range.
pub(crate) fn logs(times: Range<i64>) -> RecordBatch {
    let count = times.end - times.start;
    let service: DictionaryArray<Int32Type> = times.clone().map(|n| if n % 3 == 0 { "cart" } else { "shop" }).collect();
    let body = StringArray::from_iter_values(times.clone().map(|n| format!("request {n} took {} ms", n * 7 % 1000)));
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("time".into(), Arc::new(TimestampNanosecondArray::from_iter_values(times.clone()).with_timezone("UTC"))),
        ("service".into(), Arc::new(service)),
        ("body".into(), Arc::new(body)),
        ("severity_number".into(), Arc::new(Int32Array::from_iter_values((0..count).map(|n| (n % 24) as i32)))),
    ];
    if times.start % 2 == 0 {
        columns.push(("attributes.i:n".into(), Arc::new(Int64Array::from_iter_values(times))));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}
