//! The patterns that can be searched, in memory: their words and their vectors.
//!
//! The score of a pattern is its vector's cosine with the question's plus [`WORDS`] times its words' score. Where a question
//! shares no word and no meaning with any pattern, vectors decide alone; where it names an id, words do. Without vectors, the
//! words' score stands alone.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::text::{self, Terms};
use super::thesaurus::THESAURUS;
use super::vectors::Vectors;
use super::words::{Slot, WordScores, Words};
use crate::PatternId;

/// What the words' score (0 to 1, seldom above 0.3) counts beside a cosine.
const WORDS: f32 = 2.0;

/// All patterns of an installation.
#[derive(Debug, Default)]
pub struct Index {
    /// By slot; `None` where one was taken out.
    patterns: Vec<Option<Entry>>,
    slots: HashMap<PatternId, Slot>,
    free: Vec<Slot>,
    words: Words,
    vectors: Vectors,
}

#[derive(Debug)]
struct Entry {
    pattern: PatternId,
    template: Box<str>,
    /// Hash of the texts whose words are listed.
    texts: u64,
    /// Hash of the text that the model is given.
    model_text: u64,
    has_vector: bool,
}

/// A pattern that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The pattern.
    pub pattern: PatternId,
    /// What hits are ordered by; greater is better. It compares hits of one question only.
    pub score: f32,
    /// The cosine of the pattern's vector with the question's; 0 without one of them.
    pub similarity: f32,
    /// The score of the words, 0 to 1.
    pub words: f32,
}

impl Index {
    /// Takes in a pattern or what has changed of it. Returns the text that its vector is to be made of, where it has none of
    /// that text.
    pub fn upsert(&mut self, pattern: PatternId, template: &str, example: &str) -> Option<String> {
        let texts = text::text_hash(&format!("{template}\0{example}"));
        let model_text = text::model_text(template);
        let model_hash = text::text_hash(&model_text);
        let slot = self.slot_for(pattern);
        let known = self.patterns[slot as usize].as_ref();
        let keeps_vector = known.is_some_and(|e| e.has_vector && e.model_text == model_hash);
        if known.is_none_or(|e| e.texts != texts) {
            self.words.remove(slot);
            self.words.add(slot, template, example);
        }
        if !keeps_vector {
            self.vectors.clear(slot);
        }
        self.patterns[slot as usize] =
            Some(Entry { pattern, template: template.into(), texts, model_text: model_hash, has_vector: keeps_vector });
        (!keeps_vector).then_some(model_text)
    }

    fn slot_for(&mut self, pattern: PatternId) -> Slot {
        if let Some(slot) = self.slots.get(&pattern) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.patterns.push(None);
            (self.patterns.len() - 1) as Slot
        });
        self.slots.insert(pattern, slot);
        slot
    }

    /// Gives a pattern its vector, made of the text with this hash; `false` where the pattern is unknown or its text is another
    /// by now.
    pub fn set_vector(&mut self, pattern: PatternId, text: u64, vector: &[f32]) -> bool {
        let Some(&slot) = self.slots.get(&pattern) else { return false };
        let Some(entry) = self.patterns[slot as usize].as_mut().filter(|e| e.model_text == text) else { return false };
        entry.has_vector = true;
        self.vectors.set(slot, vector);
        true
    }

    /// The template of a pattern.
    pub fn template(&self, pattern: PatternId) -> Option<&str> {
        let slot = self.slots.get(&pattern)?;
        self.patterns[*slot as usize].as_ref().map(|e| &*e.template)
    }

    /// Whether a pattern has the vector of the text with this hash.
    pub fn has_vector(&self, pattern: PatternId, text: u64) -> bool {
        let entry = self.slots.get(&pattern).and_then(|slot| self.patterns[*slot as usize].as_ref());
        entry.is_some_and(|e| e.has_vector && e.model_text == text)
    }

    /// Forgets a pattern.
    pub fn remove(&mut self, pattern: PatternId) {
        if let Some(slot) = self.slots.remove(&pattern) {
            self.words.remove(slot);
            self.vectors.clear(slot);
            self.patterns[slot as usize] = None;
            self.free.push(slot);
        }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The best `k` patterns among those that are `wanted` (time, service, level), best first. Where two score the same, the
    /// smaller number comes first. `vector` is the question's.
    pub fn search(
        &self,
        question: &str,
        vector: Option<&[f32]>,
        k: usize,
        wanted: impl Fn(PatternId) -> bool,
    ) -> Vec<Hit> {
        let slots = self.patterns.len();
        let words = self.words.scores(question, slots);
        let cosines = vector.map(|v| self.vectors.cosines(v, slots));
        let patterns = self.patterns.iter().enumerate().filter_map(|(slot, e)| Some((slot, e.as_ref()?.pattern)));
        let hits = patterns.map(|(slot, pattern)| {
            let similarity = cosines.as_ref().map_or(0.0, |c| c[slot]);
            Hit::new(pattern, similarity, words.of(slot as Slot))
        });
        // Without a vector, a pattern that shares nothing with the question is no answer to it.
        let hits = hits.filter(|hit| vector.is_some() || hit.words > 0.0);
        best(hits, k, |hit| wanted(hit.pattern))
    }

    /// Ranks lines of known patterns for a question: which of the live examples say it best. Lines without a known pattern
    /// have their words only. Returns the places of the best `k` in `lines` with their scores, best first.
    pub fn rank_lines(
        &self,
        question: &str,
        vector: Option<&[f32]>,
        lines: &[(PatternId, &str)],
        k: usize,
    ) -> Vec<(usize, f32)> {
        let mut words = Words::default();
        for (slot, (pattern, line)) in lines.iter().enumerate() {
            words.add(slot as Slot, self.template(*pattern).unwrap_or_default(), line);
        }
        let words: WordScores = words.scores(question, lines.len());
        let cosines = vector.map(|v| self.vectors.cosines(v, self.patterns.len()));
        let similarity = |pattern| {
            let slot = self.slots.get(pattern)?;
            cosines.as_ref().map(|c| c[*slot as usize])
        };
        let hits = lines.iter().enumerate().map(|(at, (pattern, _))| {
            Hit::new(at as PatternId, similarity(pattern).unwrap_or(0.0), words.of(at as Slot))
        });
        best(hits, k, |_| true).into_iter().map(|hit| (hit.pattern as usize, hit.score)).collect()
    }
}

/// A pattern that was found, and which of the lines given fit the question.
#[derive(Debug, Clone, PartialEq)]
pub struct HitWithLines {
    /// The pattern; its score is that of its template or of its best line, whichever is greater.
    pub hit: Hit,
    /// Places in the lines given and their scores, best first.
    pub lines: Vec<(usize, f32)>,
}

impl Index {
    /// The tokens of a question, as written, by which logs that it means may be looked up: names and numbers first, then words
    /// that neither the thesaurus nor many patterns know, such as a user's name. At most `limit`; often none.
    pub fn lookups(&self, question: &str, limit: usize) -> Vec<String> {
        let mut tokens: Vec<(bool, usize, &str)> = Vec::new();
        for token in text::tokens(question) {
            let terms = Terms::of(token);
            let specific = token.contains(|c: char| c.is_numeric());
            let known = terms.stems.iter().map(|s| self.words.listed(s)).min().unwrap_or(usize::MAX);
            let meant = THESAURUS.of_each(&terms.stems).iter().all(|meanings| !meanings.is_empty());
            let common = meant || known * COMMON > self.len();
            if (specific || !common) && !tokens.iter().any(|t| t.2 == token) {
                tokens.push((!specific, known, token));
            }
        }
        tokens.sort_by_key(|t| (t.0, t.1));
        tokens.into_iter().take(limit).map(|t| t.2.to_owned()).collect()
    }

    /// As [`search`](Self::search), with lines of logs at hand (those that [`lookups`](Self::lookups) lead to, and the latest of likely
    /// patterns): a line that has what the question names lifts its pattern.
    pub fn search_with_lines(
        &self,
        question: &str,
        vector: Option<&[f32]>,
        k: usize,
        lines: &[(PatternId, &str)],
        wanted: impl Fn(PatternId) -> bool,
    ) -> Vec<HitWithLines> {
        let found = self.search(question, vector, k, &wanted);
        let mut hits: Vec<HitWithLines> =
            found.into_iter().map(|hit| HitWithLines { hit, lines: Vec::new() }).collect();
        let mut places: HashMap<PatternId, usize> =
            hits.iter().enumerate().map(|(at, h)| (h.hit.pattern, at)).collect();
        for (line, ranked) in self.rank_lines(question, vector, lines, lines.len()) {
            let pattern = lines[line].0;
            // Without a vector, a line that shares nothing with the question is no answer to it.
            let shares = vector.is_some() || ranked > 0.0 || places.contains_key(&pattern);
            if !shares || !wanted(pattern) {
                continue;
            }
            let at = *places.entry(pattern).or_insert(hits.len());
            if at == hits.len() {
                hits.push(HitWithLines {
                    hit: Hit { pattern, score: ranked, similarity: 0.0, words: 0.0 },
                    lines: Vec::new(),
                });
            }
            hits[at].hit.score = hits[at].hit.score.max(ranked);
            hits[at].lines.push((line, ranked));
        }
        hits.sort_by(|a, b| b.hit.score.total_cmp(&a.hit.score).then(a.hit.pattern.cmp(&b.hit.pattern)));
        hits.truncate(k);
        hits
    }
}

/// A word in more than one of so many patterns leads to too many logs to be looked up.
const COMMON: usize = 20;

impl Hit {
    fn new(pattern: PatternId, similarity: f32, words: f32) -> Self {
        Self { pattern, score: similarity + WORDS * words, similarity, words }
    }
}

/// Hits by rank; the greatest is the best.
struct Ranked(Hit);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.score.total_cmp(&other.0.score).then_with(|| other.0.pattern.cmp(&self.0.pattern))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The best `k` hits that are wanted, best first; `wanted` is asked only of hits that would be among them.
fn best(hits: impl Iterator<Item = Hit>, k: usize, wanted: impl Fn(&Hit) -> bool) -> Vec<Hit> {
    let mut heap: BinaryHeap<Reverse<Ranked>> = BinaryHeap::new();
    for hit in hits {
        let hit = Ranked(hit);
        let full = heap.len() >= k;
        if (full && heap.peek().is_none_or(|least| hit <= least.0)) || !wanted(&hit.0) {
            continue;
        }
        if full {
            heap.pop();
        }
        heap.push(Reverse(hit));
    }
    let hits = heap.into_sorted_vec();
    hits.into_iter().map(|hit| hit.0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::DIMENSIONS;

    fn axis(i: usize) -> Vec<f32> {
        let mut v = vec![0.0; DIMENSIONS];
        v[i] = 1.0;
        v
    }

    fn index() -> Index {
        let mut index = Index::default();
        let templates = ["Connection refused by <*>", "Disk <*> is full", "Received block <*>"];
        let examples = ["Connection refused by db", "Disk sda is full", "Received block blk_38"];
        for (i, (template, example)) in templates.iter().zip(examples).enumerate() {
            let text = index.upsert(i as u64 + 1, template, example).unwrap();
            assert!(index.set_vector(i as u64 + 1, text::text_hash(&text), &axis(i)));
        }
        index
    }

    fn patterns(hits: &[Hit]) -> Vec<PatternId> {
        hits.iter().map(|h| h.pattern).collect()
    }

    #[test]
    fn without_a_shared_word_vectors_decide_and_a_named_id_decides_against_them() {
        let index = index();
        assert_eq!(patterns(&index.search("zyx", Some(&axis(1)), 1, |_| true)), [2]);
        assert_eq!(patterns(&index.search("what of blk_38", Some(&axis(0)), 1, |_| true)), [3]);
    }

    #[test]
    fn words_alone_answer_without_vectors_and_only_what_shares_something() {
        assert_eq!(patterns(&index().search("no room on the drive", None, 10, |_| true)), [2]);
        assert!(index().search("zyx", None, 10, |_| true).is_empty());
    }

    #[test]
    fn only_wanted_patterns_are_found_and_no_more_than_asked_for() {
        let index = index();
        assert_eq!(patterns(&index.search("zyx", Some(&axis(1)), 10, |p| p != 2)), [1, 3]);
        assert_eq!(index.search("zyx", Some(&axis(1)), 0, |_| true).len(), 0);
    }

    #[test]
    fn a_changed_template_needs_a_new_vector_and_a_late_one_of_the_old_text_is_refused() {
        let mut index = index();
        assert_eq!(index.upsert(1, "Connection refused by <*>", "Connection refused by web"), None);
        let text = index.upsert(1, "Connection <*> by <*>", "Connection refused by web").unwrap();
        assert!(!index.set_vector(1, text::text_hash("Connection refused by"), &axis(5)));
        assert!(index.set_vector(1, text::text_hash(&text), &axis(5)));
        assert_eq!(patterns(&index.search("zyx", Some(&axis(5)), 1, |_| true)), [1]);
        index.remove(1);
        assert!(index.search("refused", None, 10, |_| true).is_empty());
        assert_eq!(index.len(), 2);
        assert!(index.upsert(9, "new one", "new one").is_some());
        assert!(index.search("refused", None, 10, |_| true).is_empty());
    }

    #[test]
    fn names_and_unknown_words_are_looked_up_and_common_ones_are_not() {
        let index = index();
        for (question, want) in [
            ("Where is blk_38 at 10.0.0.7:50010?", &["10.0.0.7", "50010", "blk_38"][..]),
            ("why was the connection of PlcmSpIp refused", &["PlcmSpIp"]),
            ("is the disk full?", &[]),
        ] {
            let mut tokens = index.lookups(question, 5);
            tokens.sort();
            assert_eq!(tokens, want, "{question}");
        }
        assert_eq!(index.lookups("zyx order_7", 1), ["order_7"]);
    }

    #[test]
    fn a_line_with_the_named_id_lifts_its_pattern() {
        let lines = [(2, "Disk sdb is full"), (1, "Connection refused by web7"), (1, "Connection refused by web8")];
        let index = index();
        let hits = index.search_with_lines("what of web8", Some(&axis(1)), 2, &lines, |_| true);
        assert_eq!((hits[0].hit.pattern, hits[0].lines[0].0), (1, 2), "{hits:?}");
        assert_eq!(hits.len(), 2);
        let hits = index.search_with_lines("what of web8", Some(&axis(1)), 2, &lines, |p| p != 1);
        assert!(hits.iter().all(|h| h.hit.pattern != 1));
        let hits = index.search_with_lines("web8", None, 9, &lines, |_| true);
        assert_eq!(hits.iter().map(|h| h.hit.pattern).collect::<Vec<_>>(), [1], "{hits:?}");
    }

    #[test]
    fn the_line_with_the_named_id_is_the_best_example() {
        let lines = [(3, "Received block blk_1"), (3, "Received block blk_38"), (1, "Connection refused by blk_2")];
        let ranked = index().rank_lines("where is blk_38", Some(&axis(0)), &lines, 2);
        assert_eq!(ranked[0].0, 1);
        assert_eq!(ranked.len(), 2);
    }
}
