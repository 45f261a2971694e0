//! Values and attributes: `AnyValue`, `KeyValue`, `Resource`.

use std::borrow::Cow;

use super::Writer;
use crate::limits;

/// What an attribute or a body can hold: OTLP's `AnyValue`.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    /// Nothing is set: null.
    #[default]
    Empty,
    /// `string_value`.
    Text(Cow<'a, str>),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `bytes_value`.
    Bytes(Cow<'a, [u8]>),
    /// `array_value`.
    List(Vec<Value<'a>>),
    /// `kvlist_value`.
    Map(Vec<Attribute<'a>>),
    /// Any JSON: objects and lists keep their structure down to [`limits::DEPTH`], and are JSON text below it. A number
    /// that is neither an `i64` nor a `f64` is written as text.
    Json(&'a serde_json::Value),
}

/// A key and its value.
pub type Attribute<'a> = (Cow<'a, str>, Value<'a>);

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Value::Text(Cow::Owned(value))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(value: Cow<'a, str>) -> Self {
        Value::Text(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a serde_json::Value> for Value<'a> {
    fn from(value: &'a serde_json::Value) -> Self {
        Value::Json(value)
    }
}

impl Value<'_> {
    /// Writes the value as field `field`, an `AnyValue`.
    pub fn write(&self, out: &mut Writer, field: u32) {
        self.write_nested(out, field, limits::DEPTH);
    }

    /// `depth`: how many messages of values may still be begun, this one included.
    fn write_nested(&self, out: &mut Writer, field: u32, depth: usize) {
        let mark = out.begin(field);
        match self {
            Value::Empty => {}
            Value::Text(text) => out.put_text(1, text),
            Value::Bool(value) => out.put_boolean(2, *value),
            Value::Int(value) => out.put_int(3, *value),
            Value::Double(value) => out.put_double(4, *value),
            Value::Bytes(bytes) => out.put_bytes(7, bytes),
            Value::List(values) if depth > 1 => out.message(5, |out| {
                for value in values {
                    value.write_nested(out, 1, depth - 1);
                }
            }),
            Value::Map(entries) if depth > 1 => out.message(6, |out| {
                for (key, value) in entries {
                    write_attribute(out, 1, key, value, depth - 1);
                }
            }),
            // Below the limit only what is there is said.
            Value::List(values) => out.put_text(1, &format!("[{} values]", values.len())),
            Value::Map(entries) => out.put_text(1, &format!("{{{} entries}}", entries.len())),
            Value::Json(json) => write_json(out, json, depth),
        }
        out.end(mark);
    }
}

/// Writes the contents of an `AnyValue` that is `json`.
fn write_json(out: &mut Writer, json: &serde_json::Value, depth: usize) {
    use serde_json::Value as Json;
    match json {
        Json::Null => {}
        Json::Bool(value) => out.put_boolean(2, *value),
        Json::String(text) => out.put_text(1, text),
        Json::Number(number) => match (number.as_i64(), number.is_u64(), number.as_f64()) {
            (Some(int), ..) => out.put_int(3, int),
            (None, false, Some(double)) if double.is_finite() => out.put_double(4, double),
            _ => out.put_text(1, &number.to_string()),
        },
        Json::Array(values) if depth > 1 => out.message(5, |out| {
            for value in values {
                Value::Json(value).write_nested(out, 1, depth - 1);
            }
        }),
        Json::Object(entries) if depth > 1 => out.message(6, |out| {
            for (key, value) in entries {
                write_attribute(out, 1, key, &Value::Json(value), depth - 1);
            }
        }),
        deep => out.put_text(1, &deep.to_string()),
    }
}

fn write_attribute(out: &mut Writer, field: u32, key: &str, value: &Value<'_>, depth: usize) {
    let mark = out.begin(field);
    out.text(1, key);
    value.write_nested(out, 2, depth);
    out.end(mark);
}

/// Writes `attributes` as `repeated KeyValue` in field `field`.
pub fn write_attributes(out: &mut Writer, field: u32, attributes: &[Attribute<'_>]) {
    for (key, value) in attributes {
        write_attribute(out, field, key, value, limits::DEPTH);
    }
}

/// Writes a `Resource` with these attributes as field 1 of a `ResourceLogs`, `ResourceSpans` or `ResourceMetrics`.
pub fn write_resource(out: &mut Writer, attributes: &[Attribute<'_>]) {
    out.message(1, |out| write_attributes(out, 1, attributes));
}
