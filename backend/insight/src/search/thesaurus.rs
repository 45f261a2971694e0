//! Words that say the same: people ask for "memory" where a log says "heap".
//!
//! `thesaurus.txt` has one group of words and phrases a line, and a group is one meaning; a word may be in several. It is general
//! knowledge of computing; no line stands for a product, a service or a template. A meaning is found in a text by the stems
//! of its phrases.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::text::Terms;

/// The number of a group.
pub(super) type Meaning = u16;

/// The thesaurus that is built in.
pub(super) static THESAURUS: LazyLock<Thesaurus> = LazyLock::new(|| Thesaurus::parse(include_str!("thesaurus.txt")));

/// Phrases by their stems.
#[derive(Debug)]
pub(super) struct Thesaurus {
    phrases: HashMap<Vec<String>, Vec<Meaning>>,
    /// Stems of the longest phrase.
    longest: usize,
    meanings: usize,
}

impl Thesaurus {
    fn parse(text: &str) -> Self {
        let mut phrases: HashMap<Vec<String>, Vec<Meaning>> = HashMap::new();
        let groups = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let mut meanings = 0;
        for (meaning, group) in (0..Meaning::MAX).zip(groups) {
            meanings += 1;
            for phrase in group.split(',') {
                let stems = Terms::of(phrase).stems;
                if stems.is_empty() {
                    continue;
                }
                let of_phrase = phrases.entry(stems).or_default();
                if of_phrase.last() != Some(&meaning) {
                    of_phrase.push(meaning);
                }
            }
        }
        let longest = phrases.keys().map(Vec::len).max().unwrap_or(0);
        Self { phrases, longest, meanings }
    }

    /// How many groups there are.
    pub(super) fn meanings(&self) -> usize {
        self.meanings
    }

    /// The meanings of a text, ascending.
    pub(super) fn of(&self, stems: &[String]) -> Vec<Meaning> {
        let mut found = Vec::new();
        self.each(stems, |_, meanings| found.extend_from_slice(meanings));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The meanings of each stem of a text: those of every phrase that it is part of.
    pub(super) fn of_each(&self, stems: &[String]) -> Vec<Vec<Meaning>> {
        let mut found = vec![Vec::new(); stems.len()];
        self.each(stems, |range, meanings| {
            for at in range {
                found[at].extend_from_slice(meanings);
            }
        });
        for meanings in &mut found {
            meanings.sort_unstable();
            meanings.dedup();
        }
        found
    }

    fn each(&self, stems: &[String], mut found: impl FnMut(std::ops::Range<usize>, &[Meaning])) {
        for from in 0..stems.len() {
            for to in from + 1..=stems.len().min(from + self.longest) {
                if let Some(meanings) = self.phrases.get(&stems[from..to]) {
                    found(from..to, meanings);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_and_forms_of_words_share_a_meaning() {
        let of = |text: &str| THESAURUS.of(&Terms::of(text).stems);
        for (asked, logged) in [
            ("RAM used up", "OutOfMemory: heap"),
            ("wrong secret", "Failed password for root"),
            ("disk is full", "No space left on device"),
            ("it went away", "Connection reset by peer"),
        ] {
            assert!(of(asked).iter().any(|m| of(logged).contains(m)), "{asked} / {logged}");
        }
        assert!(of("zyx").is_empty());
    }

    #[test]
    fn every_group_has_at_least_two_phrases_and_none_is_cut_off() {
        let lines: Vec<&str> =
            include_str!("thesaurus.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
        assert!(lines.len() < usize::from(Meaning::MAX));
        for line in &lines {
            assert!(line.split(',').count() >= 2, "{line}");
        }
        assert_eq!(THESAURUS.meanings(), lines.len());
    }
}
