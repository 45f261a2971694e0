//! One line of `journalctl -o json`, as a log record.
//!
//! A field is text, a list of byte values where it is no UTF-8, a list of these where it occurs several times, or null
//! where journalctl has left it out for its size. What an entry becomes depends on nothing but the entry, so that a batch
//! that is read again is the same, byte for byte.

use std::{borrow::Cow, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use devmesh_schema::{
    limits,
    otlp::write::{Attribute, LogRecord, Value},
};
use regex::Regex;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A source's own time counts where it is at most this much before the journal's, in µs: a day.
const SOURCE_BEFORE: u64 = 86_400_000_000;
/// And at most this much after it: ten minutes.
const SOURCE_AFTER: u64 = 600_000_000;
/// µs after which a time is none: the year 2262, where nanoseconds end.
const TIME_MAX: u64 = i64::MAX as u64 / 1000;

/// An entry of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub cursor: Cursor,
    /// Its unit, where systemd knows it.
    pub unit: String,
    /// The process that wrote it.
    pub pid: Option<i64>,
    /// `service.name`.
    pub service: String,
    /// `host.name`.
    pub host: String,
    /// `host.id`: the machine's id.
    pub machine: String,
    /// How many messages journald says that it dropped, where the entry says that.
    pub suppressed: u64,
    time: u64,
    priority: usize,
    body: Option<Value<'static>>,
    attributes: Vec<Attribute<'static>>,
    dropped: u32,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

/// A place in a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// As journalctl writes and takes it.
    pub text: String,
    /// The numbering it belongs to (`s=`).
    pub numbering: String,
    /// Its number there (`i=`), from 1, one more for each entry.
    pub number: u64,
    /// The boot (`b=`).
    pub boot: String,
    /// When the journal got the entry, µs since the epoch (`t=`).
    pub time: u64,
}

impl Cursor {
    /// `None` for a text that is no cursor.
    pub fn parse(text: &str) -> Option<Self> {
        let mut cursor = Self { text: text.into(), ..Self::default() };
        for part in text.split(';') {
            let (key, value) = part.split_once('=')?;
            match key {
                "s" => cursor.numbering = value.into(),
                "i" => cursor.number = u64::from_str_radix(value, 16).ok()?,
                "b" => cursor.boot = value.into(),
                "t" => cursor.time = u64::from_str_radix(value, 16).ok()?,
                _ => {}
            }
        }
        let whole =
            text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic()) && !cursor.numbering.is_empty();
        whole.then_some(cursor)
    }
}

/// Severity number and text of each priority, 0 to 7.
const SEVERITY: [(i32, &str); 8] = [
    (21, "FATAL"),
    (18, "CRITICAL"),
    (18, "CRITICAL"),
    (17, "ERROR"),
    (13, "WARN"),
    (9, "INFO"),
    (9, "INFO"),
    (5, "DEBUG"),
];
/// The priority of an entry without one.
const INFO: usize = 6;

/// Fields whose meaning OpenTelemetry's semantic conventions name; whether they are numbers.
const NAMED: [(&str, &str, bool); 14] = [
    ("_PID", "process.pid", true),
    ("_COMM", "process.command", false),
    ("_EXE", "process.executable.path", false),
    ("_CMDLINE", "process.command_line", false),
    ("_UID", "process.user.id", true),
    ("SYSLOG_FACILITY", "syslog.facility", true),
    ("SYSLOG_IDENTIFIER", "syslog.identifier", false),
    ("SYSLOG_PID", "syslog.procid", true),
    ("CODE_FILE", "code.file.path", false),
    ("CODE_LINE", "code.line.number", true),
    ("CODE_FUNC", "code.function.name", false),
    ("CONTAINER_ID_FULL", "container.id", false),
    ("CONTAINER_NAME", "container.name", false),
    ("_SYSTEMD_UNIT", "systemd.unit", false),
];

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Null,
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Field>),
}

/// Hides what an operator does not want to leave the machine.
#[derive(Clone, Debug, Default)]
pub struct Redaction(Vec<Regex>);

impl Redaction {
    /// # Errors
    /// A pattern is no regular expression.
    pub fn new(patterns: &[String]) -> Result<Self, regex::Error> {
        patterns.iter().map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>().map(Self)
    }

    fn apply(&self, text: String, redacted: &mut u64) -> String {
        self.0.iter().fold(text, |text, pattern| match pattern.replace_all(&text, "[redacted]") {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => {
                *redacted += 1;
                changed
            }
        })
    }
}

/// Reads a line.
///
/// # Errors
/// It is no entry: no JSON object, or one without a cursor.
pub fn parse(line: &[u8], redaction: &Redaction, redacted: &mut u64) -> Result<Entry, String> {
    let Fields { fields, dropped } = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let text = |name: &str| match fields.iter().find(|(key, _)| key == name) {
        Some((_, Field::Text(text))) => text.as_str(),
        _ => "",
    };
    let cursor = Cursor::parse(text("__CURSOR")).ok_or("no cursor")?;
    let valid = |text: &str| text.parse::<u64>().ok().filter(|time| (1..=TIME_MAX).contains(time));
    let journal_time = valid(text("__REALTIME_TIMESTAMP"));
    let arrived = journal_time.or(Some(cursor.time).filter(|time| (1..=TIME_MAX).contains(time)));
    let said = valid(text("_SOURCE_REALTIME_TIMESTAMP"));
    let time = match (said, arrived) {
        (Some(said), Some(arrived)) if said + SOURCE_BEFORE >= arrived && said <= arrived + SOURCE_AFTER => said,
        (_, arrived) => arrived.unwrap_or(0),
    };
    let unit = text("_SYSTEMD_UNIT");
    let service = [unit.strip_suffix(".service").unwrap_or(unit), text("SYSLOG_IDENTIFIER"), text("_COMM")];
    let mut entry = Entry {
        service: service.into_iter().find(|name| !name.is_empty()).unwrap_or("unknown_service").to_owned(),
        host: text("_HOSTNAME").to_owned(),
        machine: text("_MACHINE_ID").to_owned(),
        pid: text("_PID").parse().ok(),
        priority: text("PRIORITY").parse().ok().filter(|priority| *priority < SEVERITY.len()).unwrap_or(INFO),
        trace_id: id(text("TRACE_ID")),
        span_id: id(text("SPAN_ID")),
        suppressed: suppressed(text("SYSLOG_IDENTIFIER"), text("MESSAGE")),
        unit: unit.to_owned(),
        time,
        cursor,
        body: None,
        attributes: Vec::with_capacity(fields.len()),
        dropped,
    };
    if journal_time.is_none() {
        entry.attributes.push((crate::BAD_TIME.into(), Value::Bool(true)));
    }
    for (name, field) in fields {
        entry.take(name, field, redaction, redacted);
    }
    Ok(entry)
}

impl Entry {
    fn take(&mut self, name: String, field: Field, redaction: &Redaction, redacted: &mut u64) {
        if name == "MESSAGE" {
            self.body = self.message(field, redaction, redacted);
            return;
        }
        let consumed = match name.as_str() {
            "PRIORITY" | "_HOSTNAME" | "_MACHINE_ID" | "_SOURCE_REALTIME_TIMESTAMP" => true,
            "TRACE_ID" => self.trace_id.is_some(),
            "SPAN_ID" => self.span_id.is_some(),
            name => name.starts_with("__"),
        };
        if consumed {
            return;
        }
        let value = value(field, redaction, redacted);
        let attribute = match NAMED.iter().find(|(journal, ..)| *journal == name) {
            Some((_, named, number)) => match value {
                Value::Text(text) if *number => match text.parse() {
                    Ok(number) => (Cow::Borrowed(*named), Value::Int(number)),
                    Err(_) => (Cow::Borrowed(*named), Value::Text(text)),
                },
                value => (Cow::Borrowed(*named), value),
            },
            None => (Cow::Owned(format!("journald.{name}")), value),
        };
        self.attributes.push(attribute);
    }

    /// A text stays one, with all its lines. Bytes that are none are kept beside a readable form.
    fn message(&mut self, field: Field, redaction: &Redaction, redacted: &mut u64) -> Option<Value<'static>> {
        match field {
            Field::Null => {
                self.attributes.push(("devmesh.field_elided".into(), "MESSAGE".into()));
                None
            }
            Field::Bytes(bytes) => Some(match String::from_utf8(bytes) {
                Ok(text) => redaction.apply(text, redacted).into(),
                Err(error) => {
                    let bytes = error.into_bytes();
                    if redaction.0.is_empty() && bytes.len() <= limits::VALUE_BYTES / 4 * 3 {
                        self.attributes.push(("journald.MESSAGE.base64".into(), BASE64_STANDARD.encode(&bytes).into()));
                    }
                    redaction.apply(String::from_utf8_lossy(&bytes).into_owned(), redacted).into()
                }
            }),
            field => Some(value(field, redaction, redacted)),
        }
    }

    /// The record that a server stores.
    pub fn record(&self) -> LogRecord<'_> {
        let (severity_number, severity_text) = SEVERITY[self.priority];
        LogRecord {
            time: self.time.saturating_mul(1000),
            observed_time: self.cursor.time.min(TIME_MAX).saturating_mul(1000),
            severity_number,
            severity_text,
            body: self.body.clone(),
            attributes: &self.attributes,
            dropped_attributes_count: self.dropped,
            trace_id: self.trace_id,
            span_id: self.span_id,
            ..LogRecord::default()
        }
    }
}

fn value(field: Field, redaction: &Redaction, redacted: &mut u64) -> Value<'static> {
    match field {
        Field::Null => Value::Empty,
        Field::Text(text) => redaction.apply(text, redacted).into(),
        Field::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => redaction.apply(text, redacted).into(),
            Err(error) => Value::Bytes(error.into_bytes().into()),
        },
        Field::List(fields) => Value::List(fields.into_iter().map(|field| value(field, redaction, redacted)).collect()),
    }
}

/// A trace or span id in hex; all zeros is none.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut id = [0; N];
    hex::decode_to_slice(text, &mut id).ok()?;
    id.iter().any(|byte| *byte != 0).then_some(id)
}

/// journald's own "Suppressed 12 messages from app.service".
fn suppressed(identifier: &str, message: &str) -> u64 {
    let count = || message.strip_prefix("Suppressed ")?.split_once(" messages from ")?.0.parse().ok();
    if identifier == "systemd-journald" { count().unwrap_or(0) } else { 0 }
}

/// The fields of an entry by name, of which at most [`limits::ATTRIBUTES`] are kept.
struct Fields {
    fields: Vec<(String, Field)>,
    dropped: u32,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a journal entry: an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, Field>()? {
                    fields.push(field);
                }
                // journalctl writes them in another order each time. The journal's own are never left out.
                let own = |name: &str| name.starts_with('_') || matches!(name, "MESSAGE" | "PRIORITY");
                fields.sort_by(|(a, _), (b, _)| (!own(a), a).cmp(&(!own(b), b)));
                let kept =
                    fields.iter().filter(|(name, _)| own(name)).count().max(limits::ATTRIBUTES).min(fields.len());
                let dropped = u32::try_from(fields.len() - kept).unwrap_or(u32::MAX);
                fields.truncate(kept);
                Ok(Fields { fields, dropped })
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a journal field: a text, bytes, a list of these, or null")
            }

            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.into()))
            }

            fn visit_string<E>(self, text: String) -> Result<Field, E> {
                Ok(Field::Text(text))
            }

            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
                Ok(Field::Text(value.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
                Ok(Field::Text(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
                Ok(Field::Text(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
                Ok(Field::Text(number.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
                // Bytes come as a list of numbers, several values as a list of anything else.
                let (mut bytes, mut list) = (Vec::new(), Vec::new());
                while let Some(element) = seq.next_element::<Element>()? {
                    match element {
                        Element::Byte(byte) if list.is_empty() => bytes.push(byte),
                        Element::Byte(byte) => list.push(Field::Text(byte.to_string())),
                        Element::Field(field) => {
                            list.extend(bytes.drain(..).map(|byte| Field::Text(byte.to_string())));
                            list.push(field);
                        }
                    }
                }
                Ok(if list.is_empty() { Field::Bytes(bytes) } else { Field::List(list) })
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

enum Element {
    Byte(u8),
    Field(Field),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte or a journal field")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Element, E> {
                Ok(u8::try_from(number).map_or_else(|_| Element::Field(Field::Text(number.to_string())), Element::Byte))
            }

            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Field(Field::Text(text.into())))
            }

            fn visit_unit<E>(self) -> Result<Element, E> {
                Ok(Element::Field(Field::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element::<u8>()? {
                    bytes.push(byte);
                }
                Ok(Element::Field(Field::Bytes(bytes)))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}
