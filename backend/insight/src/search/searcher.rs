//! The index with a model before it, shared by all who search.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Hit, Index};
use crate::PatternId;
use crate::embedding::Embedder;

/// What an answer names instead of a model where words answered alone.
pub const WORDS_ONLY: &str = "words";
/// Bytes of a question that are looked at; more than the model reads.
pub const QUESTION_BYTES: usize = 4 << 10;

/// Answers searches.
#[derive(Debug, Default)]
pub struct Searcher {
    embedder: OnceLock<Arc<Embedder>>,
    index: RwLock<Index>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The patterns, best first.
    pub hits: Vec<Hit>,
    /// The question's vector, for [`Index::rank_lines`]; `None` where words answered alone.
    pub vector: Option<Vec<f32>>,
    /// The model that took part, or [`WORDS_ONLY`].
    pub model: String,
}

impl Searcher {
    /// A searcher over an empty index; without a model, it searches by words alone.
    pub fn new(embedder: Option<Arc<Embedder>>) -> Self {
        Self { embedder: embedder.map_or_else(OnceLock::new, OnceLock::from), index: RwLock::default() }
    }

    /// Gives it the model, where it has none yet.
    pub fn set_embedder(&self, embedder: Arc<Embedder>) {
        self.embedder.get_or_init(|| embedder);
    }

    /// The index. An update is whole between two calls of its methods, so a panic elsewhere doesn't spoil it.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index, to change it. Searches wait meanwhile: hold it for a batch, not for longer.
    pub fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vector of a question; `None` without a model, or where it fails. It computes for some milliseconds: call it on a
    /// thread that may.
    pub fn embed(&self, question: &str) -> Option<Vec<f32>> {
        let question = &question[..question.floor_char_boundary(QUESTION_BYTES)];
        match self.embedder.get()?.embed(question) {
            Ok(vector) => Some(vector),
            Err(e) => {
                tracing::warn!(error = %e, "a question was answered by words alone");
                None
            }
        }
    }

    /// The best `k` of the `wanted` patterns for a question. It computes as [`embed`](Self::embed) does.
    pub fn search(&self, question: &str, k: usize, wanted: impl Fn(PatternId) -> bool) -> Found {
        let question = &question[..question.floor_char_boundary(QUESTION_BYTES)];
        let vector = self.embed(question);
        let hits = self.index().search(question, vector.as_deref(), k, wanted);
        let model = self.embedder.get().filter(|_| vector.is_some()).map_or(WORDS_ONLY, |e| e.name()).to_owned();
        Found { hits, vector, model }
    }
}
