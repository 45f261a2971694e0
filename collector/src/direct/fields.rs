//! What logs and spans of the direct path have in common: ids, texts, attributes, the resource.

use std::borrow::Cow;

use devmesh_schema::{
    otlp::write::{Attribute, Value, Writer, write_resource},
    stored, time,
};

use super::json::{self, Json};

/// What a record's resource is made of; records with the same share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Origin<'a> {
    pub(super) service: Cow<'a, str>,
    pub(super) host: Cow<'a, str>,
    pub(super) source: Cow<'a, str>,
}

impl Origin<'_> {
    /// Writes the resource, without what the sender left out.
    pub(super) fn write(&self, out: &mut Writer) {
        let named =
            [("service.name", &self.service), ("host.name", &self.host), (stored::SOURCE_ATTRIBUTE, &self.source)];
        let given = named.into_iter().filter(|(_, value)| !value.is_empty());
        let attributes: Vec<Attribute<'_>> =
            given.map(|(key, value)| (Cow::Borrowed(key), Value::Text(Cow::Borrowed(value.as_ref())))).collect();
        write_resource(out, &attributes);
    }

    /// The same, borrowing nothing.
    pub(super) fn into_owned(self) -> Origin<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Origin { service: own(self.service), host: own(self.host), source: own(self.source) }
    }
}

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// The label in the counters.
    pub(super) reason: &'static str,
    /// What is wrong, naming the field.
    pub(super) message: String,
}

/// The record is no JSON object.
pub(super) const DECODE: &str = "decode";
/// A time is missing or none.
pub(super) const BAD_TIME: &str = "bad_time";
/// An id is missing or none.
pub(super) const BAD_ID: &str = "bad_id";

impl Bad {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The entries of a record.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn object(text: &str) -> Result<Vec<(Cow<'_, str>, Json<'_>)>, Bad> {
    match json::parse(text) {
        Ok(Json::Map(entries, _)) => Ok(entries),
        Ok(_) => Err(Bad::new(DECODE, "the record is no JSON object")),
        Err(fault) => Err(Bad::new(DECODE, format!("the record is no JSON: {fault} of the record"))),
    }
}

/// The text of a string, the JSON of anything else, nothing for null.
pub(super) fn text(value: Json<'_>) -> Cow<'_, str> {
    value.into_text().unwrap_or_default()
}

/// A time in ns since the epoch, by the rules of [`time::parse_event`]; `None` for null.
pub(super) fn event_time(field: &str, value: &Json<'_>) -> Result<Option<u64>, Bad> {
    let bad = |what: String| Bad::new(BAD_TIME, format!("{field}: {what}"));
    let text = match value {
        Json::Null => return Ok(None),
        Json::Text(text) => text.as_ref(),
        Json::Number(digits) => digits,
        _ => return Err(bad("a time is a text or a number".into())),
    };
    let ns = time::parse_event(text).map_err(|error| bad(error.to_string()))?;
    u64::try_from(ns).map(Some).map_err(|_negative| bad(format!("`{text}` lies before 1970")))
}

/// An id of `N` bytes in hex, any case, with or without dashes; `None` for another text, or zeros alone.
pub(super) fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut id = [0; N];
    let text = text.trim();
    if text.contains('-') {
        hex::decode_to_slice(text.replace('-', ""), &mut id).ok()?;
    } else {
        hex::decode_to_slice(text, &mut id).ok()?;
    }
    id.iter().any(|byte| *byte != 0).then_some(id)
}

/// Attributes in the order in which they were first named; of a repeated key the last value counts.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    list: Vec<Attribute<'a>>,
}

impl<'a> Attributes<'a> {
    /// Adds a key that is not among the others.
    pub(super) fn add(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) {
        self.list.push((key.into(), value));
    }

    /// Adds an object's entries, its keys unlike each other; they count more than those that are here.
    pub(super) fn merge(&mut self, entries: Vec<Attribute<'a>>) {
        if !self.list.is_empty() {
            let keys: std::collections::HashSet<&str> = entries.iter().map(|(key, _)| key.as_ref()).collect();
            self.list.retain(|(key, _)| !keys.contains(key.as_ref()));
        }
        self.list.extend(entries);
    }

    /// The attributes, to be written.
    pub(super) fn as_slice(&self) -> &[Attribute<'a>] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hex_of_its_length_and_not_zero() {
        let expected = Some([0xab, 0xcd, 0, 0, 0, 0, 0, 1]);
        assert_eq!(id::<8>("abcd000000000001"), expected);
        assert_eq!(id::<8>("ABCD000000000001"), expected);
        assert_eq!(id::<16>("5b8efff7-9803-8103-d269-b633813fc60c").map(|id| id[0]), Some(0x5b));
        for wrong in ["", "0000000000000000", "abcd", "abcd00000000000g", "abcd0000000000011"] {
            assert_eq!(id::<8>(wrong), None, "{wrong}");
        }
    }
}
