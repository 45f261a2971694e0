//! Which words can stand in the bodies of a template: a question for words is decided by them without reading a body.
//!
//! A word that stands within the constants of a template is in all of its bodies. Any other is in one only where a parameter
//! is part of it. Those are gathered while a file is written, by their hashes. Numbers and the parts of ids are not: they are
//! countless, and who asks for one wants single rows.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::index::AsIs;
use crate::words::missing;

/// Words of one template that are gathered: with more, its parameters are free text.
const WORDS: usize = 256;
/// Words of a file that are kept, 8 bytes each.
const ALL: usize = 16_384;

/// What stands in the bodies of one template beside the words within its constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Hashes of words, ascending; `None`: any word may be there.
    pub(crate) words: Option<Vec<u64>>,
    /// Whether every body has the constants.
    pub(crate) is_exact: bool,
}

/// Gathers it.
#[derive(Debug)]
pub(crate) struct Gathered {
    words: Option<HashSet<u64, AsIs>>,
    is_exact: bool,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { words: Some(HashSet::default()), is_exact: true }
    }
}

impl Gathered {
    /// A word that a parameter is part of.
    pub(crate) fn word(&mut self, word: &str) {
        let Some(words) = &mut self.words else { return };
        if is_told(word) {
            words.insert(xxh3_64(word.as_bytes()));
            if words.len() > WORDS {
                self.words = None;
            }
        }
    }

    /// A body is not of the template: its words follow.
    pub(crate) fn another(&mut self) {
        self.is_exact = false;
    }

    /// What was gathered of the templates of a file.
    pub(crate) fn finish(all: impl IntoIterator<Item = Gathered>) -> Vec<Beside> {
        let mut left = ALL;
        let of = |gathered: Gathered| {
            let words = gathered.words.filter(|words| words.len() <= left).map(|words| {
                left -= words.len();
                let mut words: Vec<u64> = words.into_iter().collect();
                words.sort_unstable();
                words
            });
            Beside { words, is_exact: gathered.is_exact }
        };
        all.into_iter().map(of).collect()
    }
}

/// Whether such a word is gathered: it has no digit, and is not as long as a part of a UUID and of its letters.
fn is_told(word: &str) -> bool {
    let bytes = word.as_bytes();
    let of_id = matches!(bytes.len(), 4 | 8 | 12) && bytes.iter().all(|byte| matches!(byte, b'a'..=b'f'));
    !of_id && !bytes.iter().any(u8::is_ascii_digit)
}

/// Whether bodies may be decided on without being read.
pub(crate) fn may_decide(wanted: &[String]) -> bool {
    wanted.iter().any(|word| is_told(word))
}

impl Beside {
    /// Whether all of the words stand in every body (`Some(true)`) or in none (`Some(false)`); `None` where bodies have to be
    /// read. `template` is the text of their template, where they have one.
    pub(crate) fn decide(&self, template: Option<&str>, wanted: &[String]) -> Option<bool> {
        let missing: Vec<&str> = match template {
            Some(text) => missing(text, wanted),
            None => wanted.iter().map(String::as_str).collect(),
        };
        if missing.is_empty() {
            return (template.is_some() && self.is_exact).then_some(true);
        }
        let words = self.words.as_ref()?;
        let cannot = |word: &&str| is_told(word) && words.binary_search(&xxh3_64(word.as_bytes())).is_err();
        missing.iter().any(cannot).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(words: &[&str], others: bool) -> Beside {
        let mut gathered = Gathered::default();
        words.iter().for_each(|word| gathered.word(word));
        if others {
            gathered.another();
        }
        Gathered::finish([gathered]).remove(0)
    }

    #[test]
    fn words_are_decided_by_constants_and_by_what_stands_beside_them() {
        let table: &[(Option<&str>, &str, Option<bool>)] = &[
            (Some("order <*> failed"), "failed", Some(true)),
            (Some("order <*> failed"), "order failed", Some(true)),
            (Some("order <*> failed"), "refused", Some(false)),
            (Some("order <*> failed"), "failed refused", Some(false)),
            // A parameter may have it, or be it.
            (Some("order <*> failed"), "cart", None),
            (Some("order <*> failed"), "cart refused", Some(false)),
            (Some("order <*> failed"), "42", None),
            (Some("order <*> failed"), "a1", None),
            (Some("order <*> failed"), "cafe", None),
            (Some("order <*> failed"), "added", Some(false)),
            // The constant is part of another word.
            (Some("order<*> failed"), "order", Some(false)),
            (None, "cart", None),
            (None, "refused", Some(false)),
            (None, "7", None),
        ];
        for (template, wanted, expected) in table {
            let mut all = Vec::new();
            crate::words(wanted, |word| all.push(word.to_owned()));
            assert_eq!(beside(&["cart"], false).decide(*template, &all), *expected, "{template:?} {wanted}");
        }
    }

    #[test]
    fn bodies_that_lack_the_constants_leave_only_what_is_nowhere() {
        let others = beside(&["cart"], true);
        let failed = ["failed".to_owned()];
        assert_eq!(others.decide(Some("order <*> failed"), &failed), None);
        assert_eq!(others.decide(Some("order <*> failed"), &["refused".to_owned()]), Some(false));
    }

    #[test]
    fn too_many_words_are_any_word() {
        let words: Vec<String> = (0..=WORDS).map(|n| "x".repeat(n + 1)).collect();
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(beside(&all, false).words, None);
        assert_eq!(beside(&all, false).decide(Some("<*> failed"), &["refused".to_owned()]), None);
        assert_eq!(beside(&all, false).decide(Some("<*> failed"), &["failed".to_owned()]), Some(true));
        assert_eq!(beside(&all[1..], false).words.map(|words| words.len()), Some(WORDS));
        let of = |_| {
            let mut gathered = Gathered::default();
            all[1..].iter().for_each(|word| gathered.word(word));
            gathered
        };
        let file = Gathered::finish((0..ALL / WORDS + 1).map(of));
        assert!(file.iter().rev().skip(1).all(|beside| beside.words.is_some()) && file.last().unwrap().words.is_none());
    }
}
