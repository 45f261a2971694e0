//! Language models, where somebody configured one. What is true is decided elsewhere: here it is worded, and questions are translated.
//!
//! - [`endpoint`]: an OpenAI-compatible endpoint, with its bounds and its budget of tokens.
//! - [`narrate`]: an explanation in words. A sentence that says what its evidence does not is dropped.
//! - [`ask`]: a question as one query and a chart. The query is run by whoever asked, through the guards of all queries.
//! - [`veil`]: what a stranger wrote does not reach a model: it gets a placeholder, which is put back afterwards.
//!
//! A model's answer is text and nothing else: it is checked against a fixed form, never executed, and calls nothing
//! (reliability.md S28). Where a model is away, slow or wrong, everything is as it is without one.

pub mod ask;
pub mod endpoint;
pub mod narrate;
pub mod veil;

pub use endpoint::{Endpoint, Error, Settings};
