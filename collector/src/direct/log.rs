//! A log record of the direct path as OTLP.
//!
//! `timestamp`, `source`, `service`, `host`, `level`, `message`, `trace_id`, `span_id`, `event_type`, `error_code`,
//! `meta_json` (CONTRACT §5); every other key is an attribute. Only `message` must be there. What a value is not fit for,
//! the column, is kept as an attribute of the key's name. A record whose time is none has that of its receipt and the
//! attribute `devmesh.bad_time`, and its sender is told.

use std::borrow::Cow;

use devmesh_schema::otlp::write::{Attribute, LogRecord, ScopeLogsWriter, Value};

use super::{
    fields::{Attributes, Bad, Origin, event_time, id, object, text},
    json::{self, Json},
};

/// The column `source` of a record that names none.
const SOURCE: &str = "direct";

/// A record that can be written.
#[derive(Debug)]
pub(super) struct Log<'a> {
    time: u64,
    level: Cow<'a, str>,
    message: Cow<'a, str>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    event: Cow<'a, str>,
    attributes: Attributes<'a>,
    /// What the sender should know of a record that is kept.
    pub(super) warning: Option<String>,
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it, naming the field.
pub(super) fn read(record: &str) -> Result<(Origin<'_>, Log<'_>), Bad> {
    let mut origin = Origin { source: SOURCE.into(), ..Origin::default() };
    let mut log = Log {
        time: 0,
        level: Cow::default(),
        message: Cow::default(),
        trace_id: None,
        span_id: None,
        event: Cow::default(),
        attributes: Attributes::default(),
        warning: None,
    };
    let (mut has_message, mut meta) = (false, Vec::new());
    for (key, value) in object(record)? {
        match key.as_ref() {
            "timestamp" => log.set_time(key, value),
            "service" => origin.service = text(value),
            "host" => origin.host = text(value),
            "source" => origin.source = some(text(value)).unwrap_or(SOURCE.into()),
            "level" => log.level = text(value),
            "message" => (has_message, log.message) = (true, text(value)),
            "event_type" => log.event = text(value),
            "trace_id" => log.trace_id = log.attributes.id(key, text(value)),
            "span_id" => log.span_id = log.attributes.id(key, text(value)),
            "error_code" => {
                if let Some(code) = some(text(value)) {
                    log.attributes.add(key, Value::Text(code));
                }
            }
            "meta_json" => meta = log.attributes.meta(key, value),
            _ => log.attributes.add(key, value.into_value()),
        }
    }
    if !has_message {
        return Err(Bad::new("no_message", "message: it is missing"));
    }
    log.attributes.merge(meta);
    Ok((origin, log))
}

impl<'a> Log<'a> {
    /// The time, or the attribute that keeps what is none.
    fn set_time(&mut self, key: Cow<'a, str>, value: Json<'a>) {
        match event_time("timestamp", &value) {
            Ok(time) => self.time = time.unwrap_or(0),
            Err(bad) => {
                self.warning = Some(format!("{}; it has the time of its receipt", bad.message));
                self.attributes.add(key, value.into_value());
                self.attributes.add(crate::BAD_TIME, Value::Bool(true));
            }
        }
    }
}

fn some(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

impl<'a> Attributes<'a> {
    /// An id, or the attribute that keeps what is none.
    fn id<const N: usize>(&mut self, key: Cow<'a, str>, value: Cow<'a, str>) -> Option<[u8; N]> {
        let read = id(&value);
        if read.is_none() && !value.trim().is_empty() {
            self.add(key, Value::Text(value));
        }
        read
    }

    /// The entries of `meta_json`: an object, or its JSON in a text. Anything else is an attribute of that name.
    fn meta(&mut self, key: Cow<'a, str>, value: Json<'a>) -> Vec<Attribute<'a>> {
        match value {
            Json::Null => Vec::new(),
            Json::Map(entries, _) => entries.into_iter().map(|(key, value)| (key, value.into_value())).collect(),
            Json::Text(inner) => inner_object(&inner).unwrap_or_else(|| {
                self.add(key, Value::Text(inner));
                Vec::new()
            }),
            other => {
                self.add(key, other.into_value());
                Vec::new()
            }
        }
    }
}

/// The entries of an object that is JSON in a text.
fn inner_object(inner: &str) -> Option<Vec<Attribute<'static>>> {
    let Ok(Json::Map(entries, _)) = json::parse(inner) else { return None };
    let own = |(key, value): (Cow<'_, str>, Json<'_>)| (Cow::Owned(key.into_owned()), owned(value.into_value()));
    Some(entries.into_iter().map(own).collect())
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Empty | Value::Json(_) => Value::Empty,
        Value::Text(text) => Value::Text(text.into_owned().into()),
        Value::Bool(value) => Value::Bool(value),
        Value::Int(value) => Value::Int(value),
        Value::Double(value) => Value::Double(value),
        Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
        Value::List(values) => Value::List(values.into_iter().map(owned).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key.into_owned().into(), owned(value))).collect())
        }
    }
}

impl Log<'_> {
    /// Writes the record. Without an observed time: the same body is the same request, so that a batch id stores it once.
    pub(super) fn write(&self, out: &mut ScopeLogsWriter<'_>) {
        out.record(&LogRecord {
            time: self.time,
            severity_number: severity(&self.level),
            severity_text: &self.level,
            body: Some(Value::Text(Cow::Borrowed(&self.message))),
            attributes: self.attributes.as_slice(),
            trace_id: self.trace_id,
            span_id: self.span_id,
            event_name: &self.event,
            ..LogRecord::default()
        });
    }
}

/// OpenTelemetry's number for a word (logs data model, appendix B); 0, unspecified, for one that nobody knows.
fn severity(level: &str) -> i32 {
    match level.trim().to_ascii_uppercase().as_str() {
        "TRACE" => 1,
        "DEBUG" => 5,
        "INFO" | "INFORMATION" => 9,
        "NOTICE" => 10,
        "WARN" | "WARNING" => 13,
        "ERROR" | "ERR" => 17,
        "CRITICAL" | "CRIT" => 18,
        "ALERT" => 19,
        "FATAL" | "EMERG" | "EMERGENCY" | "PANIC" => 21,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_a_message_may_be_anything_but_missing() {
        for (message, expected) in [
            ("\"text\"", "text"),
            ("null", ""),
            ("\"\"", ""),
            ("3", "3"),
            ("true", "true"),
            ("{\"a\": [1]}", "{\"a\": [1]}"),
        ] {
            let record = format!("{{\"message\":{message}}}");
            assert_eq!(read(&record).unwrap().1.message, expected, "{message}");
        }
        assert_eq!(read("{\"level\":\"INFO\"}").unwrap_err().message, "message: it is missing");
        assert_eq!(read("[]").unwrap_err().message, "the record is no JSON object");
    }

    #[test]
    fn c8_a_level_is_mapped_or_unspecified_and_kept_as_written() {
        for (level, number) in
            [("FATAL", 21), ("warn ", 13), ("Warning", 13), ("critical", 18), ("3", 0), ("", 0), ("💥", 0), ("INFO", 9)]
        {
            assert_eq!(severity(level), number, "{level}");
        }
    }

    #[test]
    fn a_key_that_is_no_column_and_an_id_that_is_none_are_attributes() {
        let record =
            r#"{"message":"m","trace_id":"xyz","span_id":"eee19b7ec3c1b174","meta_json":{"a":1,"n":"meta"},"n":"top"}"#;
        let (_, log) = read(record).unwrap();
        assert_eq!((log.trace_id, log.span_id.is_some()), (None, true));
        let shown = format!("{:?}", log.attributes.as_slice());
        assert_eq!(shown, r#"[("trace_id", Text("xyz")), ("a", Int(1)), ("n", Text("meta"))]"#);
    }

    #[test]
    fn meta_json_is_an_object_or_its_text() {
        for (meta, expected) in [
            (r#"{"a":1}"#, r#"[("a", Int(1))]"#),
            (r#""{\"a\":1}""#, r#"[("a", Int(1))]"#),
            (r#""{}""#, "[]"),
            ("null", "[]"),
            (r#""plain""#, r#"[("meta_json", Text("plain"))]"#),
            ("[1]", r#"[("meta_json", List([Int(1)]))]"#),
        ] {
            let record = format!("{{\"message\":\"m\",\"meta_json\":{meta}}}");
            assert_eq!(format!("{:?}", read(&record).unwrap().1.attributes.as_slice()), expected, "{meta}");
        }
    }
}
