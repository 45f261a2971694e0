//! Reads Prometheus' configuration key by key, so that every error names its key, and one that is not understood is an
//! error: a scrape that is not as its owner wrote it would be worse than none.

use std::{fmt::Display, time::Duration};

use serde_yaml_ng::{Mapping, Value};

/// A mapping whose keys are taken one by one.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    map: Mapping,
}

impl Fields {
    /// # Errors
    /// The value is no mapping; nothing is an empty one.
    pub(super) fn new(path: impl Into<String>, value: Value) -> Result<Self, String> {
        let path = path.into();
        match value {
            Value::Mapping(map) => Ok(Self { path, map }),
            Value::Null => Ok(Self { path, map: Mapping::new() }),
            _ => Err(format!("{path}: it has to be a mapping of keys")),
        }
    }

    /// The path of a key.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// What is wrong with a key.
    pub(super) fn wrong(&self, key: &str, reason: impl Display) -> String {
        format!("{}: {reason}", self.at(key))
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// A text; a number or boolean is one as it is written.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        text(&value).map(Some).ok_or_else(|| self.wrong(key, "it has to be a text"))
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "it has to be true or false"))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "it has to be a whole number, 0 or more"))
    }

    /// A duration such as `1m30s`.
    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        duration(&text)
            .map(Some)
            .ok_or_else(|| self.wrong(key, format!("{text:?} is no duration such as 15s or 1m30s")))
    }

    /// A size such as `10MB`.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        size(&text).map(Some).ok_or_else(|| self.wrong(key, format!("{text:?} is no size such as 10MB")))
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, String> {
        let all = self.list(key)?;
        let texts: Option<Vec<String>> = all.iter().map(text).collect();
        texts.ok_or_else(|| self.wrong(key, "it has to be a list of texts"))
    }

    /// A list of anything.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>, String> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Sequence(all)) => Ok(all),
            Some(_) => Err(self.wrong(key, "it has to be a list")),
        }
    }

    /// A list of mappings, each read by `read`.
    pub(super) fn each<T>(&mut self, key: &str, read: impl Fn(Fields) -> Result<T, String>) -> Result<Vec<T>, String> {
        let all = self.list(key)?.into_iter().enumerate();
        all.map(|(n, value)| read(Fields::new(format!("{}[{n}]", self.at(key)), value)?)).collect()
    }

    /// A mapping below a key; `None` where it is not there.
    pub(super) fn below(&mut self, key: &str) -> Result<Option<Fields>, String> {
        let path = self.at(key);
        self.take(key).map(|value| Fields::new(path, value)).transpose()
    }

    /// All keys that are left, with texts as values.
    pub(super) fn rest(self) -> Result<Vec<(String, String)>, String> {
        let pair = |(key, value): (Value, Value)| {
            let key = text(&key).ok_or_else(|| format!("{}: a key has to be a text", self.path))?;
            let value = text(&value).ok_or_else(|| format!("{}.{key}: it has to be a text", self.path))?;
            Ok((key, value))
        };
        self.map.into_iter().map(pair).collect()
    }

    /// All keys that are left, as they are.
    pub(super) fn values(self) -> Result<Vec<(String, Value)>, String> {
        let pair = |(key, value): (Value, Value)| {
            Ok((text(&key).ok_or_else(|| format!("{}: a key has to be a text", self.path))?, value))
        };
        self.map.into_iter().map(pair).collect()
    }

    /// # Errors
    /// A key that nobody has taken.
    pub(super) fn end(self) -> Result<(), String> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(&text(key).unwrap_or_default(), "not supported")),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// `1y2w3d4h5m6s7ms`, in this order, each part at most once; `0` is none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut next, mut ms) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest.bytes().skip(digits).take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let at = UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= next)?;
        ms = number.parse::<u64>().ok()?.checked_mul(UNITS[at].1)?.checked_add(ms)?;
        (rest, next) = (&rest[digits + letters..], at + 1);
    }
    (!text.is_empty()).then(|| Duration::from_millis(ms))
}

/// Bytes; all units are powers of 1024, as Prometheus has them.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_prometheus_own() {
        for (text, ms) in [
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1d2h", Some(93_600_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("15", None),
            ("1s1m", None),
            ("1s1s", None),
            ("-1s", None),
            ("s", None),
            ("1é", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis() as u64), ms, "{text}");
        }
        for (text, bytes) in
            [("10MB", Some(10 << 20)), ("1KiB", Some(1024)), ("7", Some(7)), ("1TB", None), ("x", None)]
        {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
