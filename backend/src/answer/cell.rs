//! One value of a record batch as text: JSON, or bare for CSV and the Postgres wire.
//!
//! JSON: 64-bit integers beyond 2^53 are strings, since JavaScript would change them; NaN and the infinities are the
//! strings `NaN`, `Infinity`, `-Infinity`, since JSON has no such numbers; times are RFC 3339 with nanoseconds; bytes
//! are base64; maps and structs are objects, lists are arrays.

use arrow_array::{
    Array,
    cast::AsArray,
    types::{
        Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};
use base64::{Engine, prelude::BASE64_STANDARD};
use devmesh_schema::time;

/// Integers beyond it are not exact as JavaScript numbers.
const EXACT: u64 = 1 << 53;

/// A scalar, taken out of its array.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// ns since the epoch, UTC.
    Time(i64),
    /// Days since the epoch.
    Date(i32),
    /// Decimals, intervals and what else there is, as Arrow writes it.
    Other(String),
    Nested,
}

/// The index of `row` in the values of a dictionary; the array itself where it is none.
fn resolve(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    if array.is_null(row) {
        return None;
    }
    let Some(dictionary) = array.as_any_dictionary_opt() else { return Some((array, row)) };
    let key = match array.as_dictionary_opt::<Int32Type>() {
        Some(ours) => ours.key(row)?,
        None => *dictionary.normalized_keys().get(row)?,
    };
    resolve(dictionary.values().as_ref(), key)
}

fn scalar(array: &dyn Array, row: usize) -> Scalar<'_> {
    match array.data_type() {
        DataType::Null => Scalar::Null,
        DataType::Boolean => Scalar::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Scalar::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Scalar::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Scalar::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Scalar::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Scalar::UInt(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Scalar::UInt(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Scalar::UInt(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Scalar::UInt(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => Scalar::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Scalar::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Scalar::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row)),
        DataType::Binary => Scalar::Bytes(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Scalar::Bytes(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Scalar::Bytes(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Scalar::Bytes(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => Scalar::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, _) => nanoseconds(array, row, *unit),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Struct(_)
        | DataType::Map(_, _) => Scalar::Nested,
        _ => Scalar::Other(display(array, row)),
    }
}

fn nanoseconds(array: &dyn Array, row: usize, unit: TimeUnit) -> Scalar<'_> {
    let (value, factor) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1_000_000_000),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000_000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1),
    };
    value.checked_mul(factor).map_or_else(|| Scalar::Other(display(array, row)), Scalar::Time)
}

fn display(array: &dyn Array, row: usize) -> String {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default());
    formatter.and_then(|formatter| formatter.value(row).try_to_string()).unwrap_or_default()
}

fn date(days: i32) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    let date = jiff::Span::new().try_days(days).and_then(|span| epoch.checked_add(span));
    date.map_or_else(|_| format!("{days} days since 1970-01-01"), |date| date.to_string())
}

/// A floating-point number that no JSON number can be.
fn odd_double(number: f64) -> Option<&'static str> {
    match number {
        n if n.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// Appends the value as JSON.
pub(crate) fn json(out: &mut String, array: &dyn Array, row: usize) {
    let Some((array, row)) = resolve(array, row) else { return out.push_str("null") };
    match scalar(array, row) {
        Scalar::Null => out.push_str("null"),
        Scalar::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Scalar::Int(value) if value.unsigned_abs() > EXACT => quoted(out, &value.to_string()),
        Scalar::Int(value) => out.push_str(&value.to_string()),
        Scalar::UInt(value) if value > EXACT => quoted(out, &value.to_string()),
        Scalar::UInt(value) => out.push_str(&value.to_string()),
        Scalar::Double(value) => match odd_double(value) {
            Some(name) => quoted(out, name),
            None => out.push_str(&double(value)),
        },
        Scalar::Text(value) => quoted(out, value),
        Scalar::Bytes(value) => quoted(out, &BASE64_STANDARD.encode(value)),
        Scalar::Time(value) => quoted(out, &time::format(value)),
        Scalar::Date(days) => quoted(out, &date(days)),
        Scalar::Other(value) => quoted(out, &value),
        Scalar::Nested => nested(out, array, row),
    }
}

/// The shortest text that is read back as the same double; always with a mark of a double where JSON needs none.
fn double(value: f64) -> String {
    serde_json::Number::from_f64(value).map_or_else(|| "null".to_owned(), |number| number.to_string())
}

fn nested(out: &mut String, array: &dyn Array, row: usize) {
    match array.data_type() {
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let pairs = (0..entries.len()).map(|index| (entries.column(0), entries.column(1), index));
            out.push('{');
            for (position, (keys, values, index)) in pairs.enumerate() {
                comma(out, position);
                quoted(out, &bare(keys.as_ref(), index).unwrap_or_default());
                out.push(':');
                json(out, values.as_ref(), index);
            }
            out.push('}');
        }
        DataType::Struct(fields) => {
            out.push('{');
            for (position, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                comma(out, position);
                quoted(out, field.name());
                out.push(':');
                json(out, column.as_ref(), row);
            }
            out.push('}');
        }
        _ => {
            let items = match array.data_type() {
                DataType::List(_) => array.as_list::<i32>().value(row),
                DataType::LargeList(_) => array.as_list::<i64>().value(row),
                _ => array.as_fixed_size_list().value(row),
            };
            out.push('[');
            for index in 0..items.len() {
                comma(out, index);
                json(out, items.as_ref(), index);
            }
            out.push(']');
        }
    }
}

fn comma(out: &mut String, position: usize) {
    if position > 0 {
        out.push(',');
    }
}

/// Appends a JSON string.
pub(crate) fn quoted(out: &mut String, text: &str) {
    // Writing a str into JSON cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The value as plain text; `None` for NULL. Nested values are JSON.
pub(crate) fn bare(array: &dyn Array, row: usize) -> Option<String> {
    let (array, row) = resolve(array, row)?;
    Some(match scalar(array, row) {
        Scalar::Null => return None,
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::UInt(value) => value.to_string(),
        Scalar::Double(value) => odd_double(value).map_or_else(|| double(value), str::to_owned),
        Scalar::Text(value) => value.to_owned(),
        Scalar::Bytes(value) => BASE64_STANDARD.encode(value),
        Scalar::Time(value) => time::format(value),
        Scalar::Date(days) => date(days),
        Scalar::Other(value) => value,
        Scalar::Nested => {
            let mut out = String::new();
            nested(&mut out, array, row);
            out
        }
    })
}

/// The type's name in answers.
pub(crate) fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytes",
        DataType::Timestamp(_, _) => "timestamp",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Duration(_) | DataType::Interval(_) => "interval",
        DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => "decimal",
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Map(_, _) => "map",
        DataType::Struct(_) => "struct",
        _ => "list",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int64Array, ListArray,
        StringViewArray, TimestampNanosecondArray, UInt64Array,
        builder::{MapBuilder, StringBuilder},
    };

    use super::*;

    fn all(array: ArrayRef) -> String {
        let mut out = String::new();
        for row in 0..array.len() {
            comma(&mut out, row);
            json(&mut out, array.as_ref(), row);
        }
        out
    }

    #[test]
    fn json_keeps_what_javascript_would_change() {
        let max = (1i64 << 53, i64::MAX, i64::MIN);
        assert_eq!(
            all(Arc::new(Int64Array::from(vec![Some(1), None, Some(max.0), Some(max.1), Some(max.2)]))),
            r#"1,null,9007199254740992,"9223372036854775807","-9223372036854775808""#
        );
        assert_eq!(all(Arc::new(UInt64Array::from(vec![u64::MAX]))), r#""18446744073709551615""#);
        let doubles = vec![0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        assert_eq!(all(Arc::new(Float64Array::from(doubles))), r#"0.1,-0.0,"NaN","Infinity","-Infinity",1e+300"#);
    }

    #[test]
    fn text_bytes_times_and_dictionaries() {
        assert_eq!(
            all(Arc::new(StringViewArray::from(vec![Some("a\"\n</script>"), None]))),
            r#""a\"\n</script>",null"#
        );
        assert_eq!(all(Arc::new(BinaryArray::from(vec![b"\x00\xff".as_ref()]))), r#""AP8=""#);
        assert_eq!(all(Arc::new(BooleanArray::from(vec![true, false]))), "true,false");
        assert_eq!(all(Arc::new(Date32Array::from(vec![0, 20_000]))), r#""1970-01-01","2024-10-04""#);
        let times = TimestampNanosecondArray::from(vec![1]).with_timezone("UTC");
        assert_eq!(all(Arc::new(times)), r#""1970-01-01T00:00:00.000000001Z""#);
        let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b"), Some("a")].into_iter().collect();
        assert_eq!(all(Arc::new(words)), r#""a",null,"b","a""#);
    }

    #[test]
    fn lists_are_arrays_and_maps_are_objects() {
        let lists =
            ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
        assert_eq!(all(Arc::new(lists)), "[1,null],null,[]");
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        maps.keys().append_value("http.route");
        maps.values().append_value("/cart");
        maps.append(true).unwrap();
        maps.append(true).unwrap();
        assert_eq!(all(Arc::new(maps.finish())), r#"{"http.route":"/cart"},{}"#);
    }
}
