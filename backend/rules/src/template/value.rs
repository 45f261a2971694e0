//! What templates compute with.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::time;
use crate::number;

/// A series with its value, as `query` answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Texts by name: labels.
    Labels(Arc<BTreeMap<String, String>>),
    /// Values by name: what `args` makes, and the data of a template.
    Map(Arc<BTreeMap<String, Value>>),
    /// A list: the answer of a query.
    List(Arc<Vec<Value>>),
    /// One of them.
    Sample(Arc<Sample>),
    /// A time, ns since the epoch.
    Time(i64),
    /// A length of time, ns.
    Duration(i64),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Labels(_) | Value::Map(_) => "map",
            Value::List(_) => "list",
            Value::Sample(_) => "sample",
            Value::Time(_) => "time",
            Value::Duration(_) => "duration",
        }
    }

    /// Whether `if` takes it for true: it is not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) | Value::Duration(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Labels(map) => !map.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Sample(_) | Value::Time(_) => true,
        }
    }

    /// A field, or the value of a key; a key that is not there is empty.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Value::Labels(map) => Ok(Value::text(map.get(name).cloned().unwrap_or_default())),
            Value::Map(map) => Ok(map.get(name).cloned().unwrap_or(Value::Nil)),
            Value::Sample(sample) => match name {
                "Labels" => Ok(Value::Labels(Arc::new(sample.labels.clone()))),
                "Value" => Ok(Value::Float(sample.value)),
                _ => Err(format!("can't evaluate field {name} in type *template.sample")),
            },
            Value::Nil => Err(format!("nil pointer evaluating {name}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.kind())),
        }
    }

    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Value::Int(value) => Ok(*value as f64),
            Value::Float(value) => Ok(*value),
            Value::Duration(ns) => Ok(*ns as f64 / 1e9),
            Value::Text(text) => float(text).ok_or_else(|| format!("{text:?} is no number")),
            other => Err(format!("can't convert {} to float", other.kind())),
        }
    }

    pub(super) fn as_text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
        }
    }

    /// As `print` writes it.
    pub(super) fn show(&self) -> String {
        match self {
            Value::Nil => "<no value>".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => number::shortest(*value),
            Value::Text(text) => text.clone(),
            Value::Labels(map) => map_text(map.iter().map(|(name, value)| (name, value.clone()))),
            Value::Map(map) => map_text(map.iter().map(|(name, value)| (name, value.show()))),
            Value::List(list) => format!("[{}]", list.iter().map(Value::show).collect::<Vec<_>>().join(" ")),
            Value::Sample(sample) => {
                let labels = map_text(sample.labels.iter().map(|(name, value)| (name, value.clone())));
                format!("{{{labels} {}}}", number::shortest(sample.value))
            }
            Value::Time(ns) => time::text(*ns),
            Value::Duration(ns) => time::duration(*ns),
        }
    }

    /// As `eq` compares; kinds that cannot be compared are an error.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, String> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Ok(a == b),
            (Value::Nil, Value::Nil) => Ok(true),
            (Value::Nil, _) | (_, Value::Nil) => Ok(false),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            _ => Ok(self.order(other)? == Some(Ordering::Equal)),
        }
    }

    /// As `lt` and its like compare; `None` where neither is less and they are not equal.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
            (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
            (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
            (Value::Duration(a), Value::Duration(b)) | (Value::Time(a), Value::Time(b)) => Ok(Some(a.cmp(b))),
            (a, b) => Err(format!("incompatible types for comparison: {} and {}", a.kind(), b.kind())),
        }
    }
}

fn map_text<'a>(pairs: impl Iterator<Item = (&'a String, String)>) -> String {
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}:{value}")).collect();
    format!("map[{}]", pairs.join(" "))
}

/// A number as Go's `strconv.ParseFloat` reads it, but for hexadecimal ones.
pub(super) fn float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if plain { text.parse().ok() } else { None }
}
