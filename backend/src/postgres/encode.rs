//! Arrow values as the Postgres wire sends them, in text and in binary.
//!
//! Lists, maps and structs are `json`. 64-bit unsigned integers are `numeric`, since `bigint` cannot hold them. Times have
//! microseconds, Postgres' resolution: `CAST(time AS TEXT)` shows the nanoseconds.

use std::sync::Arc;

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, TimeUnit};
use bytes::{BufMut, BytesMut};
use pgwire::{
    api::{
        Type,
        portal::Format,
        results::{FieldFormat, FieldInfo},
    },
    error::{PgWireError, PgWireResult},
    messages::data::DataRow,
};

use super::error::wrong;
use crate::answer::cell;

/// Microseconds from the Unix epoch to Postgres' (2000-01-01).
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Days from the Unix epoch to Postgres'.
const EPOCH_DAYS: i32 = 10_957;

/// The Postgres type of a column.
pub(super) fn pg_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::UInt64 => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Date32 => Type::DATE,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => Type::NUMERIC,
        DataType::Dictionary(_, values) => pg_type(values),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Struct(_)
        | DataType::Map(_, _) => Type::JSON,
        _ => Type::TEXT,
    }
}

/// Bytes of a type's values; negative where they vary (`pg_type.typlen`).
fn size(pg_type: &Type) -> i16 {
    match *pg_type {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        _ => -1,
    }
}

/// The format a client asked for in a column.
///
/// # Errors
/// It named formats for another number of columns.
fn format_of(format: &Format, index: usize, columns: usize) -> PgWireResult<FieldFormat> {
    match format {
        Format::UnifiedText => Ok(FieldFormat::Text),
        Format::UnifiedBinary => Ok(FieldFormat::Binary),
        Format::Individual(codes) if codes.len() == columns => {
            Ok(codes.get(index).map_or(FieldFormat::Text, |code| FieldFormat::from(*code)))
        }
        Format::Individual(codes) => {
            let text =
                format!("the bind message has {} result formats, but the query has {columns} columns", codes.len());
            Err(wrong("08P01", text))
        }
    }
}

/// The columns of an answer.
///
/// # Errors
/// As the client's formats do not fit.
pub(super) fn fields(schema: &Schema, format: &Format) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    let columns = schema.fields().len();
    let field = |(index, field): (usize, &Arc<arrow_schema::Field>)| {
        let pg_type = pg_type(field.data_type());
        let size = size(&pg_type);
        let format = format_of(format, index, columns)?;
        Ok(FieldInfo::new(field.name().clone(), None, None, pg_type, format).with_type_size(size))
    };
    Ok(Arc::new(schema.fields().iter().enumerate().map(field).collect::<PgWireResult<Vec<_>>>()?))
}

/// The rows of a batch.
///
/// # Errors
/// A value has no form in the asked format.
pub(super) fn rows(batch: &RecordBatch, fields: &[FieldInfo]) -> PgWireResult<Vec<DataRow>> {
    let columns: Vec<Arc<dyn Array>> = batch.columns().iter().map(plain).collect::<PgWireResult<_>>()?;
    let count = i16::try_from(fields.len()).map_err(|_error| wrong("54011", "an answer has at most 32767 columns"))?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut data = BytesMut::with_capacity(columns.len() * 16);
        for (column, field) in columns.iter().zip(fields) {
            value(&mut data, column.as_ref(), row, field)?;
        }
        rows.push(DataRow::new(data, count));
    }
    Ok(rows)
}

/// A dictionary written out; another column as it is.
fn plain(column: &Arc<dyn Array>) -> PgWireResult<Arc<dyn Array>> {
    match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).map_err(|error| PgWireError::ApiError(Box::new(error))),
        _ => Ok(Arc::clone(column)),
    }
}

fn value(out: &mut BytesMut, array: &dyn Array, row: usize, field: &FieldInfo) -> PgWireResult<()> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    match field.format() {
        FieldFormat::Text => text(out, array, row, field.datatype()),
        FieldFormat::Binary => binary(out, array, row, field.datatype())?,
    }
    let length =
        i32::try_from(out.len() - start - 4).map_err(|_error| wrong("54000", "a value is longer than 2 GiB"))?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn text(out: &mut BytesMut, array: &dyn Array, row: usize, pg_type: &Type) {
    let text = match *pg_type {
        Type::BOOL => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        Type::BYTEA => bytes_of(array, row).map_or_else(String::new, |bytes| format!("\\x{}", hex::encode(bytes))),
        Type::TIMESTAMPTZ | Type::TIMESTAMP => timestamp(micros(array, row), *pg_type == Type::TIMESTAMPTZ),
        _ => cell::bare(array, row).unwrap_or_default(),
    };
    // Postgres' texts hold no NUL: a client would take it for the end.
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    out.put_slice(text.as_bytes());
}

fn binary(out: &mut BytesMut, array: &dyn Array, row: usize, pg_type: &Type) -> PgWireResult<()> {
    match *pg_type {
        Type::BOOL => out.put_u8(u8::from(array.as_boolean().value(row))),
        Type::INT2 | Type::INT4 | Type::INT8 => {
            let number = integer(array, row);
            match *pg_type {
                Type::INT2 => out.put_i16(number as i16),
                Type::INT4 => out.put_i32(number as i32),
                _ => out.put_i64(number),
            }
        }
        Type::FLOAT4 => match array.as_primitive_opt::<Float32Type>() {
            Some(floats) => out.put_f32(floats.value(row)),
            None => out.put_f32(cell::bare(array, row).and_then(|text| text.parse().ok()).unwrap_or(f32::NAN)),
        },
        Type::FLOAT8 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        Type::TIMESTAMPTZ | Type::TIMESTAMP => out.put_i64(micros(array, row).saturating_sub(EPOCH_MICROS)),
        Type::DATE => {
            let days = array.as_primitive::<arrow_array::types::Date32Type>().value(row);
            out.put_i32(days.saturating_sub(EPOCH_DAYS));
        }
        Type::BYTEA => out.put_slice(bytes_of(array, row).unwrap_or_default()),
        Type::NUMERIC => numeric(out, &cell::bare(array, row).unwrap_or_default())?,
        _ => out.put_slice(cell::bare(array, row).unwrap_or_default().as_bytes()),
    }
    Ok(())
}

fn integer(array: &dyn Array, row: usize) -> i64 {
    // Only types that fit into 64 bits with a sign have an integer type of Postgres.
    cell::bare(array, row).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn bytes_of(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}

/// Microseconds since the Unix epoch.
fn micros(array: &dyn Array, row: usize) -> i64 {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).saturating_mul(1000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().value(row),
        _ => array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1000),
    }
}

/// `2026-11-21 12:00:00.25+00`, as Postgres writes it with the time zone UTC.
fn timestamp(micros: i64, zone: bool) -> String {
    let zone = if zone { "+00" } else { "" };
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(timestamp) => {
            format!("{}{zone}", timestamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f"))
        }
        Err(_) if micros > 0 => "infinity".to_owned(),
        Err(_) => "-infinity".to_owned(),
    }
}

/// A decimal number as Postgres' `numeric`: digits to the base 10,000, their weight, sign and scale.
///
/// # Errors
/// The text is no decimal number.
fn numeric(out: &mut BytesMut, text: &str) -> PgWireResult<()> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) || digits.len() > 400 {
        return Err(wrong("22P03", format!("`{text}` cannot be sent as a binary numeric")));
    }
    let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let tail = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = padded.len() as i16 / 4 - 1;
    let groups = padded.as_bytes().chunks(4).chain(tail.as_bytes().chunks(4));
    let mut groups: Vec<i16> =
        groups.map(|group| group.iter().fold(0, |n, digit| n * 10 + i16::from(digit - b'0'))).collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    let weight = if groups.is_empty() { 0 } else { weight };
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_i16(fraction.len() as i16);
    groups.iter().for_each(|group| out.put_i16(*group));
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringViewArray, TimestampNanosecondArray, UInt64Array};
    use arrow_schema::Field;

    use super::*;

    fn encoded(array: ArrayRef, format: Format) -> Vec<Vec<u8>> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", array.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array]).unwrap();
        let fields = fields(&schema, &format).unwrap();
        rows(&batch, &fields).unwrap().into_iter().map(|row| row.data.to_vec()).collect()
    }

    fn texts(array: ArrayRef) -> Vec<String> {
        let row = |row: Vec<u8>| String::from_utf8(row[4..].to_vec()).unwrap();
        encoded(array, Format::UnifiedText).into_iter().map(row).collect()
    }

    #[test]
    fn texts_are_as_postgres_writes_them() {
        assert_eq!(texts(Arc::new(BooleanArray::from(vec![true, false]))), ["t", "f"]);
        assert_eq!(texts(Arc::new(StringViewArray::from(vec!["a\0b"]))), ["a\u{fffd}b"]);
        let times = TimestampNanosecondArray::from(vec![0, 1_700_000_000_250_000_999, -1]).with_timezone("UTC");
        assert_eq!(
            texts(Arc::new(times)),
            ["1970-01-01 00:00:00+00", "2023-11-14 22:13:20.25+00", "1969-12-31 23:59:59.999999+00"]
        );
        assert_eq!(texts(Arc::new(UInt64Array::from(vec![u64::MAX]))), ["18446744073709551615"]);
    }

    #[test]
    fn null_has_no_bytes() {
        assert_eq!(encoded(Arc::new(Int64Array::from(vec![None])), Format::UnifiedText), [vec![255; 4]]);
    }

    #[test]
    fn binary_values_are_big_endian_and_count_from_2000() {
        let rows = encoded(Arc::new(Int64Array::from(vec![258])), Format::UnifiedBinary);
        assert_eq!(rows, [[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2]]);
        let times = TimestampNanosecondArray::from(vec![EPOCH_MICROS * 1000 + 1_000_000]).with_timezone("UTC");
        let rows = encoded(Arc::new(times), Format::UnifiedBinary);
        assert_eq!(rows[0][4..], 1000i64.to_be_bytes());
    }

    #[test]
    fn numerics_are_groups_of_four_digits() {
        let cases: [(&str, &[i16]); 7] = [
            ("0", &[0, 0, 0, 0]),
            ("1", &[1, 0, 0, 0, 1]),
            ("10000", &[1, 1, 0, 0, 1]),
            ("-12345.67", &[3, 1, 0x4000, 2, 1, 2345, 6700]),
            ("0.0001", &[1, -1, 0, 4, 1]),
            ("0.05", &[1, -1, 0, 2, 500]),
            ("18446744073709551615", &[5, 4, 0, 0, 1844, 6744, 737, 955, 1615]),
        ];
        for (text, expected) in cases {
            let mut out = BytesMut::new();
            numeric(&mut out, text).unwrap();
            let numbers: Vec<i16> = out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
            assert_eq!(numbers, expected, "{text}");
        }
        assert!(numeric(&mut BytesMut::new(), "NaN").is_err());
    }

    #[test]
    fn formats_for_another_number_of_columns_are_an_error() {
        let schema = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
        assert!(fields(&schema, &Format::Individual(vec![1, 1])).is_err());
    }
}
