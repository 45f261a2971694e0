//! A span of the direct path as OTLP.
//!
//! `trace_id`, `span_id`, `parent_span_id`, `service`, `name`, `start_time`, `end_time` or `duration_ms`, `status`,
//! `attributes` (CONTRACT §5), and `host`, `kind`; every other key is an attribute. The ids, the start, and the end or the
//! duration must be there and right: a span without them belongs nowhere.

use std::borrow::Cow;

use devmesh_schema::otlp::write::{ScopeSpansWriter, Span};

use super::{
    fields::{Attributes, BAD_ID, BAD_TIME, Bad, Origin, event_time, id, object, text},
    json::Json,
};

/// A field whose value it cannot have.
const BAD_FIELD: &str = "bad_field";

/// A span that can be written.
#[derive(Debug, Default)]
pub(super) struct DirectSpan<'a> {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_span_id: Option<[u8; 8]>,
    name: Cow<'a, str>,
    kind: i32,
    start: u64,
    end: u64,
    status: Option<(i32, Cow<'a, str>)>,
    attributes: Attributes<'a>,
}

/// Reads a span.
///
/// # Errors
/// What is wrong with it, naming the field.
pub(super) fn read(record: &str) -> Result<(Origin<'_>, DirectSpan<'_>), Bad> {
    let (mut origin, mut span) = (Origin::default(), DirectSpan::default());
    let (mut trace_id, mut span_id, mut start, mut end, mut duration) = (None, None, None, None, None);
    let mut attributes = Vec::new();
    for (key, value) in object(record)? {
        match key.as_ref() {
            "trace_id" => trace_id = Some(valid_id("trace_id", value)?),
            "span_id" => span_id = Some(valid_id("span_id", value)?),
            "parent_span_id" => span.parent_span_id = parent(value)?,
            "service" => origin.service = text(value),
            "host" => origin.host = text(value),
            "name" => span.name = text(value),
            "kind" => span.kind = kind(value)?,
            "start_time" => start = event_time("start_time", &value)?,
            "end_time" => end = event_time("end_time", &value)?,
            "duration_ms" => duration = nanoseconds(value)?,
            "status" => span.status = status(value)?,
            "status_message" => attributes.push((key, value)),
            "attributes" => match value {
                Json::Map(entries, _) => attributes.extend(entries),
                Json::Null => {}
                _ => return Err(Bad::new(BAD_FIELD, "attributes: it is no JSON object")),
            },
            _ => span.attributes.add(key, value.into_value()),
        }
    }
    span.trace_id = trace_id.ok_or_else(|| Bad::new(BAD_ID, "trace_id: it is missing"))?;
    span.span_id = span_id.ok_or_else(|| Bad::new(BAD_ID, "span_id: it is missing"))?;
    span.start = start.ok_or_else(|| Bad::new(BAD_TIME, "start_time: it is missing"))?;
    span.end = match (end, duration) {
        (Some(end), _) => end,
        (None, Some(duration)) => span.start.saturating_add(duration),
        (None, None) => return Err(Bad::new(BAD_TIME, "end_time: it is missing, and so is duration_ms")),
    };
    if let Some(place) = attributes.iter().position(|(key, _)| key == "status_message")
        && let Some((_, message)) = &mut span.status
    {
        *message = text(attributes.remove(place).1);
    }
    span.attributes.merge(attributes.into_iter().map(|(key, value)| (key, value.into_value())).collect());
    Ok((origin, span))
}

fn valid_id<const N: usize>(field: &str, value: Json<'_>) -> Result<[u8; N], Bad> {
    let value = text(value);
    id(&value).ok_or_else(|| Bad::new(BAD_ID, format!("{field}: it is not {} hex digits, or zeros alone", 2 * N)))
}

fn parent(value: Json<'_>) -> Result<Option<[u8; 8]>, Bad> {
    let value = text(value);
    let none = value.trim().bytes().all(|byte| byte == b'0');
    if none { Ok(None) } else { valid_id("parent_span_id", Json::Text(value)).map(Some) }
}

fn nanoseconds(value: Json<'_>) -> Result<Option<u64>, Bad> {
    let written = match value {
        Json::Null => return Ok(None),
        value => text(value),
    };
    match written.trim().parse::<f64>() {
        // Up to 292 years; a double has the microseconds of any real span.
        Ok(ms) if (0.0..9.2e12).contains(&ms) => Ok(Some((ms * 1e6).round() as u64)),
        _ => Err(Bad::new(BAD_TIME, format!("duration_ms: `{written}` is no number of milliseconds"))),
    }
}

/// A name of OTLP's `SpanKind`, in any case, or its number.
fn kind(value: Json<'_>) -> Result<i32, Bad> {
    let written = text(value);
    let word = written.trim().to_ascii_uppercase();
    let word = word.strip_prefix("SPAN_KIND_").unwrap_or(&word);
    let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let known = (0..).zip(kinds).find(|(number, kind)| *kind == word || number.to_string() == word);
    match known {
        Some((number, _)) => Ok(number),
        None if word.is_empty() => Ok(0),
        None => Err(Bad::new(BAD_FIELD, format!("kind: `{written}` is none of {}", kinds.join(", ")))),
    }
}

/// A status as a word or OTLP's number, or `{"code":…,"message":…}`.
fn status(value: Json<'_>) -> Result<Option<(i32, Cow<'_, str>)>, Bad> {
    let (code, message) = match value {
        Json::Null => return Ok(None),
        Json::Map(entries, _) => {
            let (mut code, mut message) = (Cow::default(), Cow::default());
            for (key, value) in entries {
                match key.as_ref() {
                    "code" => code = text(value),
                    "message" => message = text(value),
                    _ => {}
                }
            }
            (code, message)
        }
        other => (text(other), Cow::default()),
    };
    let word = code.trim().to_ascii_uppercase();
    match word.strip_prefix("STATUS_CODE_").unwrap_or(&word) {
        "" | "UNSET" | "0" => Ok(Some((0, message))),
        "OK" | "SUCCESS" | "1" => Ok(Some((1, message))),
        "ERROR" | "ERR" | "FAILED" | "2" => Ok(Some((2, message))),
        _ => Err(Bad::new(BAD_FIELD, format!("status: `{code}` is none of UNSET, OK, ERROR"))),
    }
}

impl DirectSpan<'_> {
    /// Writes the span.
    pub(super) fn write(&self, out: &mut ScopeSpansWriter<'_>) {
        out.span(&Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            name: &self.name,
            kind: self.kind,
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes.as_slice(),
            status: self.status.as_ref().map(|(code, message)| (*code, message.as_ref())),
            ..Span::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = r#""trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174""#;

    #[test]
    fn the_end_is_given_or_the_duration_is() {
        for (times, end) in [
            (r#""start_time":1000000000000000000,"end_time":1000000002000000000"#, 1_000_000_002_000_000_000),
            (r#""start_time":"2001-09-09T01:46:40Z","duration_ms":1.5"#, 1_000_000_000_001_500_000),
            (r#""start_time":1000000000,"duration_ms":0"#, 1_000_000_000_000_000_000),
        ] {
            let record = format!("{{{IDS},{times}}}");
            assert_eq!(read(&record).unwrap().1.end, end, "{times}");
        }
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (fields, error) in [
            (r#""span_id":"eee19b7ec3c1b174","start_time":1,"end_time":2"#.to_owned(), "trace_id: it is missing"),
            (r#""trace_id":"00""#.into(), "trace_id: it is not 32 hex digits, or zeros alone"),
            (IDS.into(), "start_time: it is missing"),
            (format!("{IDS},\"start_time\":1000000000"), "end_time: it is missing, and so is duration_ms"),
            (format!("{IDS},\"duration_ms\":\"x\""), "duration_ms: `x` is no number of milliseconds"),
            (format!("{IDS},\"status\":\"meh\""), "status: `meh` is none of UNSET, OK, ERROR"),
            (format!("{IDS},\"attributes\":[]"), "attributes: it is no JSON object"),
        ] {
            assert_eq!(read(&format!("{{{fields}}}")).unwrap_err().message, error);
        }
    }

    #[test]
    fn a_status_is_a_word_a_number_or_an_object() {
        for (status, expected) in [
            ("\"ok\"", Some((1, ""))),
            ("\"STATUS_CODE_ERROR\"", Some((2, ""))),
            ("2", Some((2, ""))),
            (r#"{"code":"ERROR","message":"boom"}"#, Some((2, "boom"))),
            ("null", None),
        ] {
            let record = format!("{{{IDS},\"start_time\":1000000000,\"duration_ms\":1,\"status\":{status}}}");
            let read = read(&record).unwrap().1.status;
            assert_eq!(read.as_ref().map(|(code, message)| (*code, message.as_ref())), expected, "{status}");
        }
    }
}
