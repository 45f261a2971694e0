//! Go's text templates with Prometheus' functions: what labels and annotations of alerts are written in.
//!
//! A template is parsed once ([`Template::parse`]), where what is wrong with it is said, and expanded for each alert. It has no
//! I/O: `query` asks whoever expands it. How long it may run, how deep it may call itself and what it may write is bounded.

mod functions;
mod lex;
mod parse;
mod printf;
mod run;
mod time;
mod value;

use std::collections::BTreeMap;

pub use self::value::{Sample, Value};

/// Bytes that a template may write: an annotation is a paragraph.
pub const OUTPUT_BYTES: usize = 64 << 10;
/// Steps of an expansion: loops over the answer of a query, not computations.
pub const STEPS: usize = 200_000;
/// How deep templates may call each other.
pub const DEPTH: usize = 50;
/// Bytes of a template.
pub const TEXT_BYTES: usize = 64 << 10;

/// The names that Prometheus sets before each template.
const PREDEFINED: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    tree: Option<parse::Tree>,
}

/// What `query` in a template asks: PromQL, at the time of the evaluation.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<Vec<Sample>, String>;

/// What a template is expanded with.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    /// `$labels`.
    pub labels: &'a BTreeMap<String, String>,
    /// `$externalLabels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// `$externalURL`, without a slash at its end.
    pub external_url: &'a str,
    /// `$value`.
    pub value: f64,
    /// When the rule was evaluated, ms since the epoch.
    pub now: i64,
    /// Answers `query`.
    pub ask: Ask<'a>,
}

impl std::fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Data").field("labels", self.labels).field("value", &self.value).finish_non_exhaustive()
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Where it is none: an unknown function, an unknown variable, an action that does not end.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES {
            return Err(format!("a template has at most {TEXT_BYTES} bytes"));
        }
        // Most are plain.
        let tree = if text.contains("{{") { Some(parse::tree(text)?) } else { None };
        Ok(Self { text: text.to_owned(), tree })
    }

    /// A text that is written as it is, whatever stands in it.
    pub fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), tree: None }
    }

    /// The text that it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Expands it.
    ///
    /// # Errors
    /// An argument of the wrong kind, a query that failed, or a bound that was reached.
    pub fn expand(&self, data: Data<'_>) -> Result<String, String> {
        match &self.tree {
            None => Ok(self.text.clone()),
            Some(tree) => run::expand(tree, data),
        }
    }
}

#[cfg(test)]
mod tests;
