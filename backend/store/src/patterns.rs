//! What a store knows of the templates of log bodies: the seam for whoever reads, embeds or compares them.
//!
//! - [`mining`]: bodies get their templates as they come in.
//! - [`learning`]: beside that, templates are compared with each other, and what is known is kept.
//! - [`state`]: the file that it is kept in.
//!
//! A row says the text of its template. Which pattern that belongs to is decided when the row is read ([`PatternMap`]), so that
//! templates that turn out to say the same are one pattern in old rows as well.

pub(crate) mod filter;
pub(crate) mod learning;
pub(crate) mod mining;
mod state;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use devmesh_templates::{Template, template_id};

/// A pattern: templates that say the same, shown as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternText {
    /// The pattern's id. As text, in the column `pattern_id`: 16 lower-case hexadecimal digits.
    pub id: u64,
    /// Its text, with `<*>` for parameters.
    pub text: String,
    /// A body that has the pattern, cut where it is long.
    pub example: String,
}

/// What the store knows of the templates of log bodies.
pub trait Patterns: Send + Sync {
    /// Rises whenever a pattern was added or its text changed.
    fn version(&self) -> u64;
    /// All patterns, oldest first.
    fn list(&self) -> Vec<PatternText>;
    /// The pattern that a template or an earlier pattern belongs to now; `None` for an id that is not known.
    fn pattern_of(&self, id: u64) -> Option<u64>;
}

/// An id as the column `pattern_id` shows it.
pub fn pattern_id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// The id that the column shows as `text`; `None` where it shows none as that.
pub fn parse_pattern_id(text: &str) -> Option<u64> {
    let shown = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if shown { u64::from_str_radix(text, 16).ok() } else { None }
}

/// A map by ids, which are hashes already.
pub(crate) type ById<V> = HashMap<u64, V, BuildHasherDefault<Id>>;

/// Takes an id as its hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Id(u64);

impl Hasher for Id {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

/// Which pattern each template belongs to, as of one moment: one query sees one of them.
#[derive(Debug, Default)]
pub struct PatternMap {
    pub(crate) version: u64,
    /// Of what was known when it was made.
    pub(crate) changes: u64,
    /// Template to pattern.
    patterns: ById<u64>,
    /// Pattern to the templates that rows of it have.
    templates: ById<Vec<u64>>,
    /// Templates by their ids.
    texts: ById<Arc<Template>>,
    list: Vec<PatternText>,
}

impl PatternMap {
    /// Of templates and earlier patterns, each with the pattern that it belongs to.
    pub fn of(ids: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut map = Self::default();
        for (id, pattern) in ids {
            map.patterns.insert(id, pattern);
            map.templates.entry(pattern).or_default().push(id);
        }
        map
    }

    /// The pattern of a template or of an earlier pattern; `None` for an id that is not known.
    pub fn pattern_of(&self, id: u64) -> Option<u64> {
        self.patterns.get(&id).copied()
    }

    /// The pattern of the template with this text: its own where nothing else is known of it.
    pub fn pattern_of_text(&self, text: &str) -> u64 {
        let id = template_id(text);
        self.pattern_of(id).unwrap_or(id)
    }

    /// All patterns, oldest first.
    pub fn list(&self) -> &[PatternText] {
        &self.list
    }

    /// The templates that rows of a pattern have. Rows of another pattern have none of them.
    pub(crate) fn templates_of(&self, pattern: u64) -> Vec<u64> {
        match self.templates.get(&pattern) {
            Some(templates) => templates.clone(),
            // One that has become part of another, or one that only rows know of.
            None if self.patterns.contains_key(&pattern) => Vec::new(),
            None => vec![pattern],
        }
    }

    /// Their texts; `None` where not all are known.
    pub(crate) fn texts_of(&self, pattern: u64) -> Option<Vec<&str>> {
        let text = |id: &u64| self.texts.get(id).map(|template| template.text());
        self.templates_of(pattern).iter().map(text).collect()
    }
}
