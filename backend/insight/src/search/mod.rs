//! Search by meaning: patterns ranked for a question in plain words, by vectors and words together.
//!
//! [`Index`] holds patterns and ranks them; [`Searcher`] puts a model before it. Without a model, words and the thesaurus
//! answer alone, and the answer says so. Nothing here fails for want of a model; a question that the model can't embed is
//! answered by words, too.

mod index;
mod searcher;
mod text;
mod thesaurus;
mod vectors;
mod words;

pub use index::{Hit, HitWithLines, Index};
pub use searcher::{Found, QUESTION_BYTES, Searcher, WORDS_ONLY};
pub use text::{model_text, text_hash};
