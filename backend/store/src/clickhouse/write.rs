//! Stored rows into the rows of ClickHouse's tables.
//!
//! Every column is made of whole columns; what many records share is looked at once for each distinct value.

mod metrics;

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    TimestampNanosecondArray, UInt8Array, UInt32Array, UInt64Array,
    builder::BinaryBuilder,
    cast::AsArray,
    new_null_array,
    types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use devmesh_schema::{
    Signal,
    otlp::wire::{Reader, Wire, put_bytes, put_fixed64, put_message, put_uint},
    stored::{self, Tag},
    view,
};

use super::{
    arrays,
    columns::{Table, absent, exact},
};

/// The columns of rows that go to one table.
pub(super) struct Columns<'a> {
    rows: &'a RecordBatch,
    signal: Signal,
    named: Vec<(&'static str, ArrayRef)>,
}

/// The rows of each table, out of stored rows.
///
/// # Errors
/// A stored column has a type or bytes that no decoder writes.
pub(super) fn rows(
    signal: Signal,
    rows: &RecordBatch,
    writer: &str,
    block: u64,
) -> Result<Vec<(Table, RecordBatch)>, ArrowError> {
    let parting = match signal {
        Signal::Logs => return Ok(vec![(Table::Logs, table_rows(Table::Logs, rows, writer, block)?)]),
        Signal::Traces => stored::INGEST_PATH,
        Signal::Metrics => stored::KIND,
    };
    let missing = || ArrowError::SchemaError(format!("stored rows lack the column {parting}"));
    let (keys, values) = arrays::keyed(rows.column_by_name(parting).ok_or_else(missing)?)?;
    let values = cast(&values, &DataType::Utf8)?;
    let values = values.as_string::<i32>();
    let mut out = Vec::new();
    for table in Table::of(signal) {
        let of_table = |key: i32| values.is_valid(key as usize) && values.value(key as usize) == table.part();
        let known: Vec<bool> = (0..values.len() as i32).map(of_table).collect();
        let mask: BooleanArray =
            keys.iter().map(|key| Some(key.is_some_and(|key| known.get(key as usize) == Some(&true)))).collect();
        match mask.true_count() {
            0 => {}
            count if count == rows.num_rows() => out.push((*table, table_rows(*table, rows, writer, block)?)),
            _ => {
                let part = arrow_select::filter::filter_record_batch(rows, &mask)?;
                out.push((*table, table_rows(*table, &part, writer, block)?));
            }
        }
    }
    Ok(out)
}

fn table_rows(table: Table, rows: &RecordBatch, writer: &str, block: u64) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns { rows, signal: table.signal(), named: Vec::with_capacity(48) };
    columns.put("DevmeshWriter", arrays::constant(writer, rows.num_rows())?);
    columns.put("DevmeshBlock", Arc::new(UInt64Array::from_value(block, rows.num_rows())));
    columns.shared()?;
    match table {
        Table::Logs => columns.logs()?,
        Table::Traces | Table::Direct => columns.spans()?,
        _ => columns.metrics(table)?,
    }
    let fields = columns.named.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.named.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, arrays, &options)
}

impl Columns<'_> {
    fn put(&mut self, name: &'static str, array: ArrayRef) {
        self.named.push((name, array));
    }

    /// A stored column; NULL in all rows where the rows lack it.
    fn stored(&self, name: &str, data_type: DataType) -> Result<ArrayRef, ArrowError> {
        match self.rows.column_by_name(name) {
            Some(array) if *array.data_type() == data_type => Ok(Arc::clone(array)),
            Some(array) => cast(array, &data_type),
            None => Ok(new_null_array(&data_type, self.rows.num_rows())),
        }
    }

    fn any(&self, name: &str, otherwise: DataType) -> ArrayRef {
        let found = self.rows.column_by_name(name).map(Arc::clone);
        found.unwrap_or_else(|| new_null_array(&otherwise, self.rows.num_rows()))
    }

    fn derived(&self, name: &str) -> Result<ArrayRef, ArrowError> {
        view::derive(self.signal, name, self.rows)
    }

    fn put_text(&mut self, name: &'static str, stored: &str) -> Result<(), ArrowError> {
        let array = arrays::text(&self.any(stored, DataType::Utf8))?;
        self.put(name, array);
        Ok(())
    }

    fn put_hex(&mut self, name: &'static str, table: &str) -> Result<(), ArrowError> {
        let array = arrays::text(&self.derived(table)?)?;
        self.put(name, array);
        Ok(())
    }

    fn put_dictionary(&mut self, name: &'static str, stored: &str) -> Result<(), ArrowError> {
        let array = arrays::dictionary(&self.any(stored, DataType::Utf8), &DataType::Utf8)?;
        self.put(name, array);
        Ok(())
    }

    fn put_bytes(&mut self, name: &'static str, stored: &str) -> Result<(), ArrowError> {
        let array = arrays::dictionary(&self.any(stored, DataType::Binary), &DataType::Binary)?;
        self.put(name, array);
        Ok(())
    }

    /// What is made the same way for all signals.
    fn shared(&mut self) -> Result<(), ArrowError> {
        let time = self.stored(stored::TIME, devmesh_schema::tables::timestamp())?;
        self.put(if self.signal == Signal::Metrics { "TimeUnix" } else { "Timestamp" }, time);
        self.put_dictionary("ServiceName", stored::SERVICE)?;
        self.put_dictionary("DevmeshHost", stored::HOST)?;
        if self.signal != Signal::Traces {
            self.put_dictionary("DevmeshPath", stored::INGEST_PATH)?;
            self.put_dictionary("DevmeshSource", stored::SOURCE)?;
        }
        let resource = arrays::map(&self.derived("resource_attributes")?)?;
        self.put("ResourceAttributes", resource);
        let scope = self.any(stored::SCOPE, DataType::Binary);
        self.put("ScopeName", arrays::text(&arrays::of_each(&scope, |scope| inner_text(scope, 1))?)?);
        let version = arrays::of_each(&scope, |scope| inner_text(scope, 2))?;
        self.put("ScopeVersion", version);
        if self.signal != Signal::Traces {
            let attributes = view::derive(Signal::Logs, "scope_attributes", self.rows)?;
            self.put("ScopeAttributes", arrays::map(&attributes)?);
            let resource = self.any(stored::RESOURCE, DataType::Binary);
            self.put("ResourceSchemaUrl", arrays::of_each(&resource, schema_url)?);
            self.put("ScopeSchemaUrl", arrays::of_each(&scope, schema_url)?);
        }
        self.put_bytes("DevmeshResource", stored::RESOURCE)?;
        self.put_bytes("DevmeshScope", stored::SCOPE)?;
        self.put_bytes("DevmeshShape", stored::SHAPE)?;
        let rest = self.stored(stored::REST, DataType::Binary)?;
        let rest = rest.as_binary::<i32>().iter().map(|rest| Some(rest.unwrap_or_default())).collect::<BinaryArray>();
        self.put("DevmeshRest", Arc::new(rest));
        Ok(())
    }

    fn logs(&mut self) -> Result<(), ArrowError> {
        self.put_hex("TraceId", "trace_id")?;
        self.put_hex("SpanId", "span_id")?;
        let flags = self.numbers_u32(stored::FLAGS)?;
        self.put("TraceFlags", Arc::new(UInt8Array::from_iter_values(flags.values().iter().map(|flags| *flags as u8))));
        self.put("DevmeshFlags", Arc::new(flags));
        let severity = self.stored(stored::SEVERITY_NUMBER, DataType::Int32)?;
        let severity = severity.as_primitive::<Int32Type>();
        let severity = Int32Array::from_iter_values(severity.iter().map(Option::unwrap_or_default));
        let short = UInt8Array::from_iter_values(severity.values().iter().map(|number| *number as u8));
        self.put("SeverityNumber", Arc::new(short));
        self.put("DevmeshSeverity", Arc::new(severity));
        self.put_dictionary("SeverityText", stored::SEVERITY_TEXT)?;
        self.put_dictionary("DevmeshLevel", stored::LEVEL)?;
        self.put_text("EventName", stored::EVENT_NAME)?;
        self.put_text("Body", stored::BODY)?;
        self.put_dictionary("DevmeshTemplate", stored::TEMPLATE)?;
        let observed = self.time_or_zero(stored::OBSERVED_TIME)?;
        self.put("DevmeshObserved", observed);
        let body = self.any(stored::BODY, DataType::Utf8);
        let bits = self.put_attributes("LogAttributes", |row| if body.is_null(row) { absent::VALUE } else { 0 })?;
        self.put("DevmeshAbsent", bits);
        let value = self.bytes(stored::BODY_VALUE)?;
        self.exact(|out, row| {
            if let Some(value) = value.as_ref().filter(|value| value.is_valid(row)) {
                put_bytes(out, exact::BODY_VALUE, value.value(row));
            }
        })
    }

    fn spans(&mut self) -> Result<(), ArrowError> {
        for (name, table) in [("TraceId", "trace_id"), ("SpanId", "span_id"), ("ParentSpanId", "parent_span_id")] {
            self.put_hex(name, table)?;
        }
        self.put_text("TraceState", stored::TRACE_STATE)?;
        self.put_dictionary("SpanName", stored::NAME)?;
        self.put_capital("SpanKind", stored::KIND)?;
        self.put_capital("StatusCode", stored::STATUS_CODE)?;
        self.put_text("StatusMessage", stored::STATUS_MESSAGE)?;
        let duration = self.stored(stored::DURATION_NS, DataType::Int64)?;
        let duration: &Int64Array = duration.as_primitive::<Int64Type>();
        let duration = duration.iter().map(|duration| duration.unwrap_or_default().max(0) as u64);
        self.put("Duration", Arc::new(UInt64Array::from_iter_values(duration)));
        self.put("DevmeshFlags", Arc::new(self.numbers_u32(stored::FLAGS)?));
        self.children()?;
        let status = self.stored(stored::HAS_STATUS, DataType::Boolean)?;
        let status: &BooleanArray = status.as_boolean();
        let absent_status = |row| if status.is_valid(row) && status.value(row) { 0 } else { absent::VALUE };
        let bits = self.put_attributes("SpanAttributes", absent_status)?;
        self.put("DevmeshAbsent", bits);
        let end = self.stored(stored::WIRE_END_TIME, DataType::UInt64)?;
        let end: &UInt64Array = end.as_primitive::<UInt64Type>();
        let (events, links) = (self.bytes(stored::EVENTS)?, self.bytes(stored::LINKS)?);
        let dropped = [stored::DROPPED_EVENTS, stored::DROPPED_LINKS].map(|name| self.numbers_u32(name));
        let [dropped_events, dropped_links] = dropped;
        let (dropped_events, dropped_links) = (dropped_events?, dropped_links?);
        self.exact(|out, row| {
            if end.is_valid(row) {
                put_fixed64(out, exact::WIRE_END_TIME, end.value(row));
            }
            for (field, column) in [(exact::EVENTS, &events), (exact::LINKS, &links)] {
                if let Some(column) = column.as_ref().filter(|column| column.is_valid(row)) {
                    put_bytes(out, field, column.value(row));
                }
            }
            put_some(out, exact::DROPPED_EVENTS, dropped_events.value(row));
            put_some(out, exact::DROPPED_LINKS, dropped_links.value(row));
        })
    }

    fn children(&mut self) -> Result<(), ArrowError> {
        let events = self.derived("events")?;
        self.put("Events.Timestamp", arrays::list_field(&events, "time", |array| Ok(Arc::clone(array)))?);
        self.put("Events.Name", arrays::list_field(&events, "name", arrays::text)?);
        self.put("Events.Attributes", arrays::list_field(&events, "attributes", arrays::map)?);
        let links = self.derived("links")?;
        self.put("Links.TraceId", arrays::list_field(&links, "trace_id", arrays::text)?);
        self.put("Links.SpanId", arrays::list_field(&links, "span_id", arrays::text)?);
        self.put("Links.TraceState", arrays::list_field(&links, "trace_state", arrays::text)?);
        self.put("Links.Attributes", arrays::list_field(&links, "attributes", arrays::map)?);
        Ok(())
    }

    /// `SERVER` as the exporter writes it: `Server`.
    fn put_capital(&mut self, name: &'static str, stored: &str) -> Result<(), ArrowError> {
        let column = self.any(stored, DataType::Utf8);
        let capital = |text: &[u8]| {
            let lower = String::from_utf8_lossy(text).to_ascii_lowercase();
            let mut chars = lower.chars();
            chars.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
        };
        let array = arrays::of_each(&column, capital)?;
        self.put(name, array);
        Ok(())
    }

    /// Puts the attributes, and gives the bits of each row: those that `bits` says, and that of empty attributes.
    fn put_attributes(&mut self, name: &'static str, bits: impl Fn(usize) -> u8) -> Result<ArrayRef, ArrowError> {
        let attributes = self.derived("attributes")?;
        let empty = arrays::has_nulls(&attributes);
        self.put(name, arrays::map(&attributes)?);
        let with_empty = |(row, empty): (usize, bool)| bits(row) | if empty { absent::ATTRIBUTE } else { 0 };
        Ok(Arc::new(UInt8Array::from_iter_values(empty.into_iter().enumerate().map(with_empty))))
    }

    /// Puts what is seldom there: what all signals have, and what `more` writes for a row.
    fn exact(&mut self, more: impl Fn(&mut Vec<u8>, usize)) -> Result<(), ArrowError> {
        let wire_time = self.stored(stored::WIRE_TIME, DataType::UInt64)?;
        let wire_time: &UInt64Array = wire_time.as_primitive::<UInt64Type>();
        let dropped = self.numbers_u32(stored::DROPPED_ATTRIBUTES)?;
        let nans = self.nans();
        let mut nans = nans.iter().peekable();
        let mut builder = BinaryBuilder::with_capacity(self.rows.num_rows(), 0);
        let mut message = Vec::new();
        for row in 0..self.rows.num_rows() {
            message.clear();
            if wire_time.is_valid(row) {
                put_fixed64(&mut message, exact::WIRE_TIME, wire_time.value(row));
            }
            put_some(&mut message, exact::DROPPED_ATTRIBUTES, dropped.value(row));
            while let Some((_, key, bits)) = nans.next_if(|(at, ..)| *at == row) {
                put_message(&mut message, exact::NAN, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    put_fixed64(out, 2, *bits);
                });
            }
            more(&mut message, row);
            builder.append_value(&message);
        }
        self.put("DevmeshExact", Arc::new(builder.finish()));
        Ok(())
    }

    /// Attributes that are a NaN which text does not tell from others: row, key and bits, in the order of the rows.
    fn nans(&self) -> Vec<(usize, &str, u64)> {
        let mut nans = Vec::new();
        for (field, array) in self.rows.schema_ref().fields().iter().zip(self.rows.columns()) {
            let Some((Tag::Double, key)) = stored::parse_attribute_column(field.name()) else { continue };
            let Some(doubles) = array.as_primitive_opt::<Float64Type>() else { continue };
            let unusual = |double: &f64| double.is_nan() && double.to_bits() != f64::NAN.to_bits();
            for (row, double) in doubles.values().iter().enumerate().filter(|(_, double)| unusual(double)) {
                if doubles.is_valid(row) {
                    nans.push((row, key, double.to_bits()));
                }
            }
        }
        nans.sort_unstable();
        nans
    }

    fn bytes(&self, name: &str) -> Result<Option<BinaryArray>, ArrowError> {
        let array = self.rows.column_by_name(name).map(|array| cast(array, &DataType::Binary)).transpose()?;
        Ok(array.map(|array| array.as_binary::<i32>().clone()))
    }

    fn numbers_u32(&self, name: &str) -> Result<UInt32Array, ArrowError> {
        let array = self.stored(name, DataType::UInt32)?;
        let array: &UInt32Array = array.as_primitive::<UInt32Type>();
        Ok(UInt32Array::from_iter_values(array.iter().map(Option::unwrap_or_default)))
    }

    /// A time; 1970 where there is none.
    fn time_or_zero(&self, name: &str) -> Result<ArrayRef, ArrowError> {
        let array = self.stored(name, devmesh_schema::tables::timestamp())?;
        let array: &TimestampNanosecondArray = array.as_primitive::<TimestampNanosecondType>();
        let times = array.iter().map(Option::unwrap_or_default);
        Ok(Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")))
    }
}

/// Writes a number that is not zero.
fn put_some(out: &mut Vec<u8>, field: u32, value: u32) {
    if value != 0 {
        put_uint(out, field, u64::from(value));
    }
}

/// The schema URL of an envelope.
fn schema_url(envelope: &[u8]) -> String {
    text_field(envelope, 3)
}

/// A text field of an envelope's own message.
fn inner_text(envelope: &[u8], field: u32) -> String {
    let mut found = String::new();
    each(envelope, |number, wire| {
        if let (1, Wire::Bytes(inner)) = (number, wire) {
            found = text_field(inner, field);
        }
    });
    found
}

fn text_field(message: &[u8], field: u32) -> String {
    let mut found = String::new();
    each(message, |number, wire| {
        if let (true, Wire::Bytes(text)) = (number == field, wire) {
            found = String::from_utf8_lossy(text).into_owned();
        }
    });
    found
}

/// Calls `field` with the fields of a message, up to one that cannot be read.
pub(super) fn each<'a>(message: &'a [u8], mut field: impl FnMut(u32, Wire<'a>)) {
    let mut reader = Reader::new(message);
    while let Ok(Some((number, wire))) = reader.field() {
        field(number, wire);
    }
}
