//! Documents by their words: an inverted index over terms and meanings.
//!
//! Each word of a question is looked for once in a document: as itself, or as a word of the same meaning, whichever says
//! more. Rarer words say more (the idf of BM25); how often a document repeats a word, and how long it is, says nothing here:
//! templates are a line long. The weight of words follows the question: names, numbers and values of parameters count in full; a plain word
//! counts less, since the one who asks rarely knows the log's own words; and a document that has one word of many in common
//! with the question gets less than that word's share, since that is often chance.

use std::collections::HashMap;

use super::text::{self, Terms};
use super::thesaurus::{Meaning, THESAURUS};

/// The number of a document, dense from 0.
pub(super) type Slot = u32;

/// What a plain word counts beside a name or number of the same rarity. One that the thesaurus knows is also found as a word of
/// its own meaning.
const PLAIN: f32 = 0.35;
/// What a word of the same meaning counts.
const MEANING: f32 = 0.6;
/// What a name counts beyond its parts, which are counted too.
const NAME: f32 = 0.5;
/// What a pair of number and word counts beyond the two.
const PAIR: f32 = 1.0;

/// The term of a stem that is the value of a parameter: it says which one, as a number does, and counts like it.
fn value(stem: &str) -> String {
    format!("={stem}")
}

/// The inverted index.
#[derive(Debug, Default)]
pub(super) struct Words {
    terms: HashMap<Box<str>, u32>,
    /// Documents by term, and by meaning.
    by_term: Vec<Vec<Slot>>,
    by_meaning: Vec<Vec<Slot>>,
    documents: HashMap<Slot, Found>,
}

/// What a document is listed under.
#[derive(Debug)]
struct Found {
    terms: Vec<u32>,
    meanings: Vec<Meaning>,
}

/// How well documents match a question's words, by slot: 0 for none of them, 1 for all of them if each were as rare as can be.
#[derive(Debug)]
pub(super) struct WordScores {
    scores: Vec<f32>,
}

impl WordScores {
    pub(super) fn of(&self, slot: Slot) -> f32 {
        self.scores.get(slot as usize).copied().unwrap_or(0.0)
    }
}

impl Words {
    /// Lists a document, which isn't listed yet, under the terms of its template and of one text of it.
    pub(super) fn add(&mut self, slot: Slot, template: &str, text: &str) {
        let (constant, whole) = (Terms::of(template), Terms::of(text));
        let mut meanings = THESAURUS.of(&constant.stems);
        meanings.extend(THESAURUS.of(&whole.stems));
        let mut terms = Vec::new();
        for found in [&constant, &whole] {
            terms.extend(found.names.iter().chain(&found.pairs).map(|t| self.term(t)));
        }
        terms.extend(constant.stems.iter().map(|stem| self.term(stem)));
        for stem in whole.stems.iter().filter(|stem| !constant.stems.contains(stem)) {
            terms.push(if text::is_specific(stem) { self.term(stem) } else { self.term(&value(stem)) });
        }
        terms.sort_unstable();
        terms.dedup();
        meanings.sort_unstable();
        meanings.dedup();
        self.by_meaning.resize_with(THESAURUS.meanings(), Vec::new);
        for &term in &terms {
            self.by_term[term as usize].push(slot);
        }
        for &meaning in &meanings {
            self.by_meaning[usize::from(meaning)].push(slot);
        }
        self.documents.insert(slot, Found { terms, meanings });
    }

    /// Takes a document out.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(found) = self.documents.remove(&slot) else { return };
        for term in found.terms {
            self.by_term[term as usize].retain(|s| *s != slot);
        }
        for meaning in found.meanings {
            self.by_meaning[usize::from(meaning)].retain(|s| *s != slot);
        }
    }

    fn term(&mut self, term: &str) -> u32 {
        if let Some(number) = self.terms.get(term) {
            return *number;
        }
        let number = self.by_term.len() as u32;
        self.by_term.push(Vec::new());
        self.terms.insert(term.into(), number);
        number
    }

    /// Scores the first `slots` slots for a question.
    pub(super) fn scores(&self, question: &str, slots: usize) -> WordScores {
        let terms = Terms::of(question);
        let mut sums = Sums { scores: vec![0.0; slots], words: vec![0; slots], seen: vec![0; slots], round: 0 };
        for (stem, meanings) in terms.stems.iter().zip(THESAURUS.of_each(&terms.stems)) {
            let plain = if text::is_specific(stem) { 1.0 } else { PLAIN };
            let mut lists: Vec<(f32, &[Slot])> = self.list(stem, plain).into_iter().collect();
            lists.extend(self.list(&value(stem), 1.0));
            lists.extend(meanings.into_iter().filter_map(|m| {
                let list = self.by_meaning.get(usize::from(m))?;
                Some((MEANING * self.idf(list), list.as_slice()))
            }));
            sums.add(lists, 1);
        }
        for name in &terms.names {
            sums.add(self.list(name, NAME), 1);
        }
        for pair in &terms.pairs {
            sums.add(self.list(pair, PAIR), 0);
        }
        let rarest = (1.0 + self.documents.len() as f32).ln();
        WordScores { scores: sums.scores(rarest, terms.stems.len() + terms.names.len()) }
    }

    /// How many documents are listed under a stem, be it of the template or a value.
    pub(super) fn listed(&self, term: &str) -> usize {
        let listed = |term: &str| self.terms.get(term).map_or(0, |t| self.by_term[*t as usize].len());
        listed(term) + listed(&value(term))
    }

    fn list(&self, term: &str, weight: f32) -> Option<(f32, &[Slot])> {
        let list = &self.by_term[*self.terms.get(term)? as usize];
        Some((weight * self.idf(list), list))
    }

    fn idf(&self, list: &[Slot]) -> f32 {
        let (all, with) = (self.documents.len() as f32, list.len() as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

/// Scores that are being summed up, word by word.
struct Sums {
    scores: Vec<f32>,
    /// How many of the question's words a slot has.
    words: Vec<u16>,
    /// The last round in which a slot was given something.
    seen: Vec<u32>,
    round: u32,
}

impl Sums {
    /// Gives each document the greatest weight of the lists that it is in, and counts `words` for it.
    fn add<'a>(&mut self, lists: impl IntoIterator<Item = (f32, &'a [Slot])>, words: u16) {
        self.round += 1;
        let mut lists: Vec<(f32, &[Slot])> = lists.into_iter().collect();
        lists.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (weight, list) in lists {
            for &slot in list {
                let slot = slot as usize;
                if self.seen[slot] != self.round {
                    self.seen[slot] = self.round;
                    self.scores[slot] += weight;
                    self.words[slot] = self.words[slot].saturating_add(words);
                }
            }
        }
    }

    /// The share of what `words` words of the greatest rarity would give, times the root of the share of words that are there.
    fn scores(mut self, rarest: f32, words: usize) -> Vec<f32> {
        let words = words.max(1) as f32;
        let most = rarest.max(f32::MIN_POSITIVE) * words;
        for (score, found) in self.scores.iter_mut().zip(&self.words) {
            *score = *score / most * (f32::from(*found) / words).sqrt();
        }
        self.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Words {
        let mut words = Words::default();
        for (slot, text) in texts.iter().enumerate() {
            words.add(slot as Slot, text, text);
        }
        words
    }

    fn best(words: &Words, question: &str, slots: usize) -> Option<usize> {
        let scores = words.scores(question, slots);
        let best = (0..slots).max_by(|a, b| scores.of(*a as Slot).total_cmp(&scores.of(*b as Slot)))?;
        (scores.of(best as Slot) > 0.0).then_some(best)
    }

    #[test]
    fn a_question_finds_the_words_ids_and_meanings_of_a_document() {
        let texts = [
            "Received block blk_7 of size 3 from 10.0.0.7",
            "Received block blk_8 of size 3 from 10.0.0.8",
            "Finished task 7 in stage 2",
            "Finished task 2 in stage 7",
            "java.lang.OutOfMemoryError: heap space",
        ];
        let words = index(&texts);
        for (question, want) in [
            ("what happened to blk_8?", Some(1)),
            ("who is 10.0.0.7", Some(0)),
            ("what was done in stage 7", Some(3)),
            ("task 7", Some(2)),
            ("RAM used up", Some(4)),
            ("zyx", None),
        ] {
            assert_eq!(best(&words, question, texts.len()), want, "{question}");
        }
    }

    #[test]
    fn a_parameters_value_counts_more_than_a_word_of_the_template() {
        let mut words = Words::default();
        words.add(0, "zyx opened by <*>", "zyx opened by ann");
        words.add(1, "<*> opened by <*>", "qwv opened by bob");
        let scores = words.scores("zyx of bob", 2);
        assert!(scores.of(1) > scores.of(0));
    }

    #[test]
    fn a_document_that_is_taken_out_is_found_no_more() {
        let mut words = index(&["disk is full", "disk is empty"]);
        words.remove(0);
        assert_eq!(best(&words, "full", 2), None);
        assert_eq!(best(&words, "disk", 2), Some(1));
        words.add(0, "full again", "full again");
        assert_eq!(best(&words, "full", 2), Some(0));
    }
}
