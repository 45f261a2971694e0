//! Search by meaning, as far as queries know of it.
//!
//! Who ranks patterns is handed in ([`Engine::with_meaning`](crate::Engine::with_meaning)): nothing here knows a model. What
//! it ranks is shown as the table function `semantic('…')` ([`function`]), the table `log_embeddings` ([`embeddings`]) and
//! the answer to a search ([`crate::rest::search`]).

pub(crate) mod embeddings;
pub(crate) mod function;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::error::Error;

/// The number of a pattern. The column `pattern_id` shows it as 16 lower-case hexadecimal digits.
pub type PatternId = u64;

/// Floats of a vector.
pub const DIMENSIONS: usize = 384;
/// Bytes of a question: more than a model reads.
pub const QUESTION_BYTES: usize = 4 << 10;

/// A question, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// In plain words.
    pub text: String,
    /// Its vector; `None` where words answer alone.
    pub vector: Option<Vec<f32>>,
    /// The model that takes part; where none does, why, and what to do.
    pub model: String,
}

/// A pattern that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The pattern.
    pub pattern: PatternId,
    /// Its template; empty where it is not known yet.
    pub template: String,
    /// What hits are ordered by, the greatest first. It compares hits of one question only.
    pub score: f32,
    /// The cosine of the pattern's vector with the question's; 0 without one of them.
    pub similarity: f32,
    /// How well the words fit, 0 to 1.
    pub words: f32,
}

/// A pattern that was found, and which of the lines given fit the question.
#[derive(Clone, Debug, PartialEq)]
pub struct HitWithLines {
    /// The pattern.
    pub hit: Hit,
    /// Places in the lines given and their scores, best first.
    pub lines: Vec<(usize, f32)>,
}

/// Whether a pattern is wanted.
pub type Wanted<'a> = &'a dyn Fn(PatternId) -> bool;

/// Vectors as they are read, some at a time.
pub type Vectors = Box<dyn Iterator<Item = Result<(PatternId, Vec<f32>), Error>> + Send>;

/// Ranks patterns by what they mean. Everything here computes or reads for some milliseconds: it is called on threads that
/// may wait.
pub trait SemanticSearch: fmt::Debug + Send + Sync {
    /// Understands a question of at most [`QUESTION_BYTES`].
    fn question(&self, text: &str) -> Question;
    /// The best `k` of the wanted patterns, best first.
    fn rank(&self, question: &Question, k: usize, wanted: Wanted<'_>) -> Vec<Hit>;
    /// The same, where lines that have what the question names lift their patterns.
    fn rank_with_lines(
        &self,
        question: &Question,
        k: usize,
        lines: &[(PatternId, &str)],
        wanted: Wanted<'_>,
    ) -> Vec<HitWithLines>;
    /// Words of a question by which the logs that it means may be looked up: ids, names; often none.
    fn lookups(&self, question: &Question, limit: usize) -> Vec<String>;
    /// The vectors of the patterns that have one.
    ///
    /// # Errors
    /// They cannot be read.
    fn vectors(&self) -> Result<Vectors, Error>;
}

/// The pattern of a `pattern_id`; `None` where the text is none.
pub(crate) fn parse_id(text: &str) -> Option<PatternId> {
    (text.len() == 16).then(|| PatternId::from_str_radix(text, 16).ok()).flatten()
}

/// A pattern as the column `pattern_id` shows it.
pub(crate) fn format_id(pattern: PatternId) -> String {
    format!("{pattern:016x}")
}

/// What an engine was handed, if it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<OnceLock<Arc<dyn SemanticSearch>>>);

impl Slot {
    /// Hands it over; the first counts.
    pub(crate) fn set(&self, meaning: Arc<dyn SemanticSearch>) {
        self.0.get_or_init(|| meaning);
    }

    pub(crate) fn get(&self) -> Option<&Arc<dyn SemanticSearch>> {
        self.0.get()
    }

    /// It, or why there is none.
    pub(crate) fn needed(&self) -> Result<&Arc<dyn SemanticSearch>, Error> {
        let text = "search by meaning needs the patterns of logs, and this store has none";
        self.get().ok_or_else(|| Error::Unavailable(text.into()))
    }
}

/// Checks a question.
///
/// # Errors
/// It is empty or too long; `name` is what it is called where it was asked.
pub(crate) fn check_question(name: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::BadQuery(format!("{name} is empty; ask in plain words, such as 'payment declined'")));
    }
    if text.len() > QUESTION_BYTES {
        return Err(Error::BadQuery(format!("{name} has {} bytes; it has at most {QUESTION_BYTES}", text.len())));
    }
    Ok(())
}
