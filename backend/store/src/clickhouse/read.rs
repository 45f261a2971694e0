//! The rows of ClickHouse's tables into stored rows.
//!
//! [`Plan`] says which expressions a scan selects: those that the wanted columns are made of, no others. Rows of ours come
//! back as they were sent. A row of another writer has no envelopes and no shape; they are made of its columns.

mod attributes;
mod children;
mod metrics;
mod sources;

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, MapArray, RecordBatch,
    RecordBatchOptions, StringArray, UInt8Array, UInt32Array, UInt64Array,
    builder::{BinaryBuilder, FixedSizeBinaryBuilder},
    cast::AsArray,
    types::{Int32Type, UInt8Type, UInt64Type},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use devmesh_schema::{
    Signal,
    otlp::wire::{Wire, put_bytes, put_message},
    stored, tables, view,
};

use sources::{all, sources};

use super::{
    arrays,
    columns::{Table, absent, exact},
    write::each,
};

/// What a scan of a table selects, and which stored columns become of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    table: Table,
    wanted: Vec<&'static str>,
    attributes: bool,
    /// Name and expression.
    items: Vec<(&'static str, String)>,
}

impl Plan {
    /// For these columns of the table as users see it; for all of what was stored where there are none.
    pub(super) fn new<'a>(table: Table, columns: Option<impl IntoIterator<Item = &'a str>>) -> Self {
        let signal = table.signal();
        let mut plan = Self { table, wanted: Vec::new(), attributes: false, items: Vec::new() };
        match columns {
            None => {
                plan.wanted = all(signal).to_vec();
                plan.attributes = true;
            }
            Some(columns) => {
                plan.wanted.push(stored::TIME);
                for column in columns {
                    plan.attributes |= view::needs_attribute_columns(column);
                    for source in view::sources(signal, column) {
                        let is_part = column == stored::BODY && *source != stored::BODY;
                        if !is_part && !plan.wanted.contains(source) {
                            plan.wanted.push(source);
                        }
                    }
                }
            }
        }
        // Bodies are whole there.
        let cut = [stored::PARAMS, stored::UUIDS];
        plan.wanted.retain(|name| ![stored::SHAPE, stored::REST].contains(name) && !cut.contains(name));
        let mut items = Vec::new();
        for name in &plan.wanted {
            items.extend(sources(table, name));
        }
        if plan.attributes {
            items.push(("attributes", table.attributes().to_owned()));
            items.push(("shape", "DevmeshShape".to_owned()));
            items.push(("rest", "DevmeshRest".to_owned()));
            items.push(("exact", "DevmeshExact".to_owned()));
        }
        for (name, sql) in items {
            if !plan.items.iter().any(|(known, _)| *known == name) {
                plan.items.push((name, sql));
            }
        }
        plan
    }

    /// What stands between `SELECT` and `FROM`.
    pub(super) fn select(&self) -> String {
        let items = self.items.iter().map(|(name, sql)| format!("{sql} AS r_{name}"));
        items.collect::<Vec<_>>().join(", ")
    }

    /// The stored rows of a batch that the scan gave.
    ///
    /// # Errors
    /// A column has another type than was asked for.
    pub(super) fn stored(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let input = Input { table: self.table, rows };
        let exact = self.exact(&input)?;
        let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
        for name in &self.wanted {
            if let Some((field, array)) = input.column(name, &exact)? {
                columns.push((field, array));
            }
        }
        if self.attributes {
            columns.extend(attributes::columns(&input, &exact.nans)?);
        }
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }

    fn exact(&self, input: &Input<'_>) -> Result<Exact, ArrowError> {
        let Some(column) = input.rows.column_by_name("r_exact") else { return Ok(Exact::default()) };
        let column = cast(column, &DataType::Binary)?;
        Ok(Exact::read(column.as_binary::<i32>()))
    }
}

/// The messages in `DevmeshExact`, read: one entry a row that has the field.
#[derive(Debug, Default)]
struct Exact {
    wire_time: Vec<(usize, u64)>,
    wire_end: Vec<(usize, u64)>,
    dropped: [Vec<(usize, u64)>; 3],
    value_int: Vec<(usize, u64)>,
    body: Vec<(usize, Vec<u8>)>,
    events: Vec<(usize, Vec<u8>)>,
    links: Vec<(usize, Vec<u8>)>,
    exemplars: Vec<(usize, Vec<u8>)>,
    /// Row, key and bits of attributes that are a NaN.
    nans: Vec<(usize, String, u64)>,
}

impl Exact {
    fn read(column: &BinaryArray) -> Self {
        let mut exact = Exact::default();
        for (row, message) in column.iter().enumerate() {
            each(message.unwrap_or_default(), |field, wire| match (field, wire) {
                (exact::WIRE_TIME, Wire::Fixed64(time)) => exact.wire_time.push((row, time)),
                (exact::WIRE_END_TIME, Wire::Fixed64(time)) => exact.wire_end.push((row, time)),
                (exact::DROPPED_ATTRIBUTES, Wire::Varint(count)) => exact.dropped[0].push((row, count)),
                (exact::DROPPED_EVENTS, Wire::Varint(count)) => exact.dropped[1].push((row, count)),
                (exact::DROPPED_LINKS, Wire::Varint(count)) => exact.dropped[2].push((row, count)),
                (exact::VALUE_INT, Wire::Varint(value)) => exact.value_int.push((row, value)),
                (exact::BODY_VALUE, Wire::Bytes(bytes)) => exact.body.push((row, bytes.to_vec())),
                (exact::EVENTS, Wire::Bytes(bytes)) => exact.events.push((row, bytes.to_vec())),
                (exact::LINKS, Wire::Bytes(bytes)) => exact.links.push((row, bytes.to_vec())),
                (exact::EXEMPLARS, Wire::Bytes(bytes)) => exact.exemplars.push((row, bytes.to_vec())),
                (exact::NAN, Wire::Bytes(message)) => {
                    let (mut key, mut bits) = (String::new(), 0);
                    each(message, |field, wire| match (field, wire) {
                        (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Fixed64(value)) => bits = value,
                        _ => {}
                    });
                    exact.nans.push((row, key, bits));
                }
                _ => {}
            });
        }
        exact
    }
}

/// The rows that a scan gave.
struct Input<'a> {
    table: Table,
    rows: &'a RecordBatch,
}

type Made = Option<(Field, ArrayRef)>;

impl Input<'_> {
    fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// The column that was selected under a name.
    fn array(&self, name: &str) -> Result<&ArrayRef, ArrowError> {
        let selected = self.rows.column_by_name(&format!("r_{name}"));
        selected.ok_or_else(|| ArrowError::SchemaError(format!("the answer of ClickHouse lacks the column r_{name}")))
    }

    fn typed(&self, name: &str, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let array = self.array(name)?;
        if array.data_type() == data_type { Ok(Arc::clone(array)) } else { cast(array, data_type) }
    }

    fn text(&self, name: &str) -> Result<StringArray, ArrowError> {
        let array = self.array(name)?;
        let array = match array.data_type() {
            DataType::Dictionary(_, values) => cast(array, values)?,
            _ => Arc::clone(array),
        };
        Ok(arrays::repaired(&array)?.as_string::<i32>().clone())
    }

    fn map(&self, name: &str) -> Result<MapArray, ArrowError> {
        let array = self.array(name)?;
        let wrong = || ArrowError::SchemaError(format!("column r_{name} of ClickHouse is no map"));
        array.as_map_opt().cloned().ok_or_else(wrong)
    }

    fn absent(&self) -> Result<UInt8Array, ArrowError> {
        Ok(self.typed("absent", &DataType::UInt8)?.as_primitive::<UInt8Type>().clone())
    }

    /// A stored column; `None` where no row has it.
    fn column(&self, name: &str, exact: &Exact) -> Result<Made, ArrowError> {
        Ok(match name {
            stored::TIME => {
                Some((Field::new(name, tables::timestamp(), false), self.typed("time", &tables::timestamp())?))
            }
            stored::OBSERVED_TIME => self.optional_time(name, "observed")?,
            stored::START_TIME => self.optional_time(name, "start")?,
            stored::INGEST_PATH if self.table.signal() == Signal::Traces => self.one_text(name, self.table.part())?,
            stored::INGEST_PATH => self.dictionary(name, "path", false)?,
            stored::SOURCE => self.dictionary(name, "source", false)?,
            stored::SERVICE => self.dictionary(name, "service", false)?,
            stored::HOST => self.dictionary(name, "host", false)?,
            stored::LEVEL => self.dictionary(name, "level", false)?,
            stored::NAME => self.dictionary(name, "name", false)?,
            stored::SEVERITY_TEXT => self.dictionary(name, "severity_text", true)?,
            stored::EVENT_NAME => self.dictionary(name, "event_name", true)?,
            stored::KIND if self.table.signal() == Signal::Metrics => self.one_text(name, self.table.part())?,
            stored::KIND => self.upper(name, "kind", "UNSPECIFIED")?,
            stored::STATUS_CODE => self.upper(name, "status_code", "UNSET")?,
            stored::RESOURCE => Some((envelope_field(name), self.resources()?)),
            stored::SCOPE => Some((envelope_field(name), self.scopes()?)),
            stored::FLAGS => Some((Field::new(name, DataType::UInt32, false), self.typed("flags", &DataType::UInt32)?)),
            stored::SEVERITY_NUMBER => {
                Some((Field::new(name, DataType::Int32, false), self.typed("severity", &DataType::Int32)?))
            }
            stored::DURATION_NS => self.duration(name)?,
            stored::TRACE_ID => self.id(name, "trace_id", 16)?,
            stored::SPAN_ID => self.id(name, "span_id", 8)?,
            stored::PARENT_SPAN_ID => self.id(name, "parent_span_id", 8)?,
            stored::TRACE_STATE => self.optional_text(name, "trace_state")?,
            stored::STATUS_MESSAGE => self.optional_text(name, "status_message")?,
            stored::HAS_STATUS => {
                let absent = self.absent()?;
                let has = absent.values().iter().map(|bits| Some(bits & absent::VALUE == 0));
                let has = has.collect::<arrow_array::BooleanArray>();
                Some((Field::new(name, DataType::Boolean, false), Arc::new(has)))
            }
            stored::BODY => self.body(name)?,
            stored::TEMPLATE => self.dictionary(name, "template", true)?,
            stored::WIRE_TIME => numbers(name, &exact.wire_time, self.len()),
            stored::WIRE_END_TIME => numbers(name, &exact.wire_end, self.len()),
            stored::DROPPED_ATTRIBUTES => Some(counts(name, &exact.dropped[0], self.len())),
            stored::DROPPED_EVENTS => Some(counts(name, &exact.dropped[1], self.len())),
            stored::DROPPED_LINKS => Some(counts(name, &exact.dropped[2], self.len())),
            stored::BODY_VALUE => bytes(name, &exact.body, self.len()),
            stored::EVENTS => self.events(name, &exact.events)?,
            stored::LINKS => self.links(name, &exact.links)?,
            stored::EXEMPLARS if self.table == Table::Summary => None,
            stored::EXEMPLARS => self.exemplars(name, &exact.exemplars)?,
            _ => self.metric_column(name, exact)?,
        })
    }

    fn optional_time(&self, name: &str, from: &str) -> Result<Made, ArrowError> {
        let times = self.typed(from, &tables::timestamp())?;
        let times = times.as_primitive::<arrow_array::types::TimestampNanosecondType>();
        let times = times.iter().map(|time| time.filter(|time| *time != 0));
        let times = times.collect::<arrow_array::TimestampNanosecondArray>().with_timezone("UTC");
        let some = times.null_count() < times.len();
        Ok(some.then(|| (Field::new(name, tables::timestamp(), true), Arc::new(times) as ArrayRef)))
    }

    /// Text in a dictionary; empty is NULL where the column may be.
    fn dictionary(&self, name: &str, from: &str, nullable: bool) -> Result<Made, ArrowError> {
        let (keys, values) = text_dictionary(self.array(from)?)?;
        let array = dictionary_array(keys, values, nullable)?;
        let some = !nullable || array.null_count() < array.len();
        Ok(some.then(|| (stored::dictionary(name, DataType::Utf8, nullable), array)))
    }

    fn one_text(&self, name: &str, text: &str) -> Result<Made, ArrowError> {
        Ok(Some((stored::dictionary(name, DataType::Utf8, false), arrays::constant(text, self.len())?)))
    }

    /// Text as we write it in capitals; `empty` where there is none.
    fn upper(&self, name: &str, from: &str, empty: &str) -> Result<Made, ArrowError> {
        let (keys, values) = text_dictionary(self.array(from)?)?;
        let upper = |text: Option<&str>| match text.unwrap_or_default() {
            "" => Some(empty.to_owned()),
            text => Some(text.to_ascii_uppercase()),
        };
        let values: StringArray = values.iter().map(upper).collect();
        Ok(Some((stored::dictionary(name, DataType::Utf8, false), dictionary_array(keys, values, false)?)))
    }

    fn duration(&self, name: &str) -> Result<Made, ArrowError> {
        let duration = self.typed("duration", &DataType::UInt64)?;
        let duration: &UInt64Array = duration.as_primitive::<UInt64Type>();
        let duration = duration.values().iter().map(|ns| i64::try_from(*ns).unwrap_or(i64::MAX));
        let duration = arrow_array::Int64Array::from_iter_values(duration);
        Ok(Some((Field::new(name, DataType::Int64, false), Arc::new(duration))))
    }

    /// An id of `size` bytes from hex digits; NULL for what is none.
    fn id(&self, name: &str, from: &str, size: i32) -> Result<Made, ArrowError> {
        let digits = cast(self.array(from)?, &DataType::Binary)?;
        let mut builder = FixedSizeBinaryBuilder::with_capacity(self.len(), size);
        let mut id = vec![0; size as usize];
        let mut any = false;
        for digits in digits.as_binary::<i32>() {
            let digits = digits.unwrap_or_default();
            if digits.len() == 2 * id.len() && hex::decode_to_slice(digits, &mut id).is_ok() {
                builder.append_value(&id)?;
                any = true;
            } else {
                builder.append_null();
            }
        }
        let array: FixedSizeBinaryArray = builder.finish();
        Ok(any.then(|| (Field::new(name, DataType::FixedSizeBinary(size), true), Arc::new(array) as ArrayRef)))
    }

    fn optional_text(&self, name: &str, from: &str) -> Result<Made, ArrowError> {
        let text = self.text(from)?;
        let text: StringArray = text.iter().map(|text| text.filter(|text| !text.is_empty())).collect();
        let some = text.null_count() < text.len();
        Ok(some.then(|| (Field::new(name, DataType::Utf8, true), Arc::new(text) as ArrayRef)))
    }

    fn body(&self, name: &str) -> Result<Made, ArrowError> {
        let (text, absent) = (self.text("body")?, self.absent()?);
        let body = if absent.values().iter().any(|bits| bits & absent::VALUE != 0) {
            let bodies = text.iter().zip(absent.values());
            bodies.map(|(text, bits)| text.filter(|_| bits & absent::VALUE == 0)).collect()
        } else {
            text
        };
        Ok(Some((Field::new(name, DataType::Utf8, true), Arc::new(body))))
    }

    /// The envelopes of resources.
    fn resources(&self) -> Result<ArrayRef, ArrowError> {
        let maps = children::Maps::new(&self.map("resource_attributes")?)?;
        let urls = self.rows.column_by_name("r_resource_url").map(|_| self.text("resource_url")).transpose()?;
        self.envelopes("resource", |out, row| {
            put_some_message(out, 1, |out| maps.put(out, 1, row));
            put_text(out, 3, urls.as_ref().map_or("", |urls| urls.value(row)));
        })
    }

    /// The envelopes of scopes.
    fn scopes(&self) -> Result<ArrayRef, ArrowError> {
        let (names, versions) = (self.text("scope_name")?, self.text("scope_version")?);
        let has_more = self.rows.column_by_name("r_scope_attributes").is_some();
        let maps = if has_more { Some(children::Maps::new(&self.map("scope_attributes")?)?) } else { None };
        let urls = if has_more { Some(self.text("scope_url")?) } else { None };
        self.envelopes("scope", |out, row| {
            put_some_message(out, 1, |out| {
                put_text(out, 1, names.value(row));
                put_text(out, 2, versions.value(row));
                if let Some(maps) = &maps {
                    maps.put(out, 3, row);
                }
            });
            put_text(out, 3, urls.as_ref().map_or("", |urls| urls.value(row)));
        })
    }

    /// A column of envelopes; where there is none `make` makes one.
    fn envelopes(&self, name: &str, make: impl Fn(&mut Vec<u8>, usize)) -> Result<ArrayRef, ArrowError> {
        let (keys, values) = arrays::keyed(self.array(name)?)?;
        let values = cast(&values, &DataType::Binary)?;
        let values = values.as_binary::<i32>();
        let mut distinct: Vec<Vec<u8>> = values.iter().map(|value| value.unwrap_or_default().to_vec()).collect();
        let mut made: HashMap<Vec<u8>, i32> = HashMap::default();
        let mut envelope = Vec::new();
        let key = |(row, key): (usize, Option<i32>)| {
            let stored = key.filter(|key| !values.value(*key as usize).is_empty());
            stored.unwrap_or_else(|| {
                envelope.clear();
                make(&mut envelope, row);
                *made.entry(envelope.clone()).or_insert_with(|| {
                    distinct.push(envelope.clone());
                    distinct.len() as i32 - 1
                })
            })
        };
        let keys: Int32Array = keys.iter().enumerate().map(key).map(Some).collect();
        let values = BinaryArray::from_iter_values(distinct);
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values))?))
    }
}

fn envelope_field(name: &str) -> Field {
    stored::dictionary(name, DataType::Binary, false)
}

/// Writes a message that is not empty.
fn put_some_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let mut empty = true;
    put_message(out, field, |out| {
        let start = out.len();
        write(out);
        empty = out.len() == start;
    });
    if empty {
        out.truncate(start);
    }
}

/// Writes text that is not empty.
fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

/// A text column as keys and text.
fn text_dictionary(array: &ArrayRef) -> Result<(Int32Array, StringArray), ArrowError> {
    let (keys, values) = arrays::keyed(array)?;
    Ok((keys, arrays::repaired(&values)?.as_string::<i32>().clone()))
}

fn dictionary_array(keys: Int32Array, values: StringArray, nullable: bool) -> Result<ArrayRef, ArrowError> {
    let keys = if nullable {
        keys.iter().map(|key| key.filter(|key| !values.value(*key as usize).is_empty())).collect()
    } else {
        keys
    };
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
}

/// A column of the rows that have a number.
fn numbers(name: &str, some: &[(usize, u64)], rows: usize) -> Made {
    if some.is_empty() {
        return None;
    }
    let mut values = vec![None; rows];
    for (row, value) in some {
        values[*row] = Some(*value);
    }
    Some((Field::new(name, DataType::UInt64, true), Arc::new(UInt64Array::from(values))))
}

/// A column of counts, 0 in the other rows.
fn counts(name: &str, some: &[(usize, u64)], rows: usize) -> (Field, ArrayRef) {
    let mut values = vec![0; rows];
    for (row, value) in some {
        values[*row] = *value as u32;
    }
    (Field::new(name, DataType::UInt32, false), Arc::new(UInt32Array::from(values)))
}

/// A column of the rows that have bytes, which come in the order of the rows.
fn bytes(name: &str, some: &[(usize, Vec<u8>)], rows: usize) -> Made {
    if some.is_empty() {
        return None;
    }
    let mut builder = BinaryBuilder::with_capacity(rows, some.iter().map(|(_, bytes)| bytes.len()).sum());
    let mut next = 0;
    for (row, bytes) in some {
        (next..*row).for_each(|_| builder.append_null());
        builder.append_value(bytes);
        next = row + 1;
    }
    (next..rows).for_each(|_| builder.append_null());
    Some((Field::new(name, DataType::Binary, true), Arc::new(builder.finish())))
}
