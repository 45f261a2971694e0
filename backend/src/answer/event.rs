//! Log records as `/query/logs` answers them, made from stored rows without a query: for the live tail.
//!
//! The id is over the same columns as in the view `log_events`, so that a record seen in a tail is known again in a list
//! (a test compares the two).

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use arrow_schema::ArrowError;
use devmesh_schema::{Signal, record_id::RecordId, view};

use super::cell;

/// Stored log rows, with the columns that their events are made of.
#[derive(Debug)]
pub(crate) struct Events {
    time: ArrayRef,
    observed_time: ArrayRef,
    source: ArrayRef,
    service: ArrayRef,
    host: ArrayRef,
    level: ArrayRef,
    trace_id: ArrayRef,
    span_id: ArrayRef,
    event_name: ArrayRef,
    body: ArrayRef,
    attributes: ArrayRef,
    resource_attributes: ArrayRef,
}

impl Events {
    /// Reads the columns of stored rows.
    ///
    /// # Errors
    /// The rows are no stored log rows.
    pub(crate) fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        let column = |name: &str| view::derive(Signal::Logs, name, rows);
        Ok(Self {
            time: column("time")?,
            observed_time: column("observed_time")?,
            source: column("source")?,
            service: column("service")?,
            host: column("host")?,
            level: column("level")?,
            trace_id: column("trace_id")?,
            span_id: column("span_id")?,
            event_name: column("event_name")?,
            body: column("body")?,
            attributes: column("attributes")?,
            resource_attributes: column("resource_attributes")?,
        })
    }

    pub(crate) fn service(&self, row: usize) -> &str {
        text(&self.service, row).unwrap_or_default()
    }

    pub(crate) fn level(&self, row: usize) -> &str {
        text(&self.level, row).unwrap_or_default()
    }

    pub(crate) fn body(&self, row: usize) -> Option<&str> {
        text(&self.body, row)
    }

    /// A row of `/query/logs` as a JSON object, and `resource_attributes`.
    pub(crate) fn json(&self, row: usize) -> String {
        let mut meta = String::new();
        cell::json(&mut meta, self.attributes.as_ref(), row);
        let mut out = String::from("{");
        field(&mut out, "id", Some(&self.id(row, &meta)));
        out.push_str(",\"timestamp\":");
        cell::json(&mut out, self.time.as_ref(), row);
        for (name, column) in
            [("source", &self.source), ("service", &self.service), ("host", &self.host), ("level", &self.level)]
        {
            out.push(',');
            field(&mut out, name, Some(text(column, row).unwrap_or_default()));
        }
        let event_type = text(&self.event_name, row).map(str::to_owned).or_else(|| self.attribute(row, "event_type"));
        for (name, value) in [
            ("trace_id", text(&self.trace_id, row)),
            ("span_id", text(&self.span_id, row)),
            ("event_type", event_type.as_deref()),
            ("error_code", self.attribute(row, "error_code").as_deref()),
            ("message", self.body(row)),
        ] {
            out.push(',');
            field(&mut out, name, value);
        }
        out.push_str(",\"meta_json\":");
        out.push_str(&meta);
        out.push_str(",\"resource_attributes\":");
        cell::json(&mut out, self.resource_attributes.as_ref(), row);
        out.push('}');
        out
    }

    /// An attribute of a record.
    fn attribute(&self, row: usize, key: &str) -> Option<String> {
        let map = self.attributes.as_map_opt().filter(|map| map.is_valid(row))?;
        let entries = map.value(row);
        let (keys, values) = (entries.column(0), entries.column(1));
        let found = (0..entries.len()).find(|index| cell::bare(keys.as_ref(), *index).as_deref() == Some(key))?;
        cell::bare(values.as_ref(), found)
    }

    fn id(&self, row: usize, meta: &str) -> String {
        let mut id = RecordId::default();
        for column in [&self.time, &self.observed_time] {
            id.int(time(column, row));
        }
        for column in [&self.service, &self.host, &self.level, &self.trace_id, &self.span_id, &self.body] {
            id.text(text(column, row));
        }
        id.text(self.attributes.is_valid(row).then_some(meta));
        id.finish()
    }
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.as_string_view().value(row))
}

fn time(column: &ArrayRef, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.as_primitive::<TimestampNanosecondType>().value(row))
}

fn field(out: &mut String, name: &str, value: Option<&str>) {
    cell::quoted(out, name);
    out.push(':');
    match value {
        Some(value) => cell::quoted(out, value),
        None => out.push_str("null"),
    }
}
