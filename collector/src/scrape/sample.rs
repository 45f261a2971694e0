//! What an exposition says, whatever its format.

use crate::prometheus::{About, Histogram, Type};

/// Labels by name, with the metric's name as `__name__`.
pub(super) type Owned = Vec<(String, String)>;

/// Why an exposition is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(super) struct ParseError {
    /// From 1; of a binary exposition, the number of the family.
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// A series' text, or its labels where the exposition has no text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Name<'a> {
    /// As it stands in the line, and the type of its family where it matters for labels.
    Text(&'a str, Type),
    /// Sorted, with a text that no other series of the exposition has.
    Labels(Owned, String),
}

impl Name<'_> {
    /// What the series is known by from scrape to scrape.
    pub(super) fn key(&self) -> &str {
        match self {
            Name::Text(text, _) => text,
            Name::Labels(_, key) => key,
        }
    }
}

/// A sample's value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(f64),
    Native(Box<Histogram>),
}

/// One sample.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// Where it stands, as in [`ParseError`].
    pub(super) line: usize,
    pub(super) name: Name<'a>,
    pub(super) value: Value,
    /// Ms since the epoch, where the exposition says it.
    pub(super) time: Option<i64>,
    /// Since when it counts, ms.
    pub(super) start: i64,
    pub(super) exemplars: Vec<OwnExemplar>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(text: &'a str, kind: Type) -> Self {
        let name = Name::Text(text, kind);
        Self { line: 0, name, value: Value::Number(0.0), time: None, start: 0, exemplars: Vec::new() }
    }
}

/// An exemplar with its own texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OwnExemplar {
    pub(super) labels: Owned,
    pub(super) value: f64,
    /// Ms since the epoch.
    pub(super) time: Option<i64>,
}

/// An exposition.
#[derive(Clone, Debug, Default)]
pub(super) struct Scraped<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    /// What is said of families, in no order.
    pub(super) families: Vec<(String, About<'static>)>,
}
