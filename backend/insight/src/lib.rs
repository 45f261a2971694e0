//! What the telemetry means: embeddings, search by meaning, anomalies.
//!
//! [`model`] brings the weights of all-MiniLM-L6-v2 onto the machine, [`embedding`] makes vectors with them, and [`search`]
//! ranks patterns (templates of log bodies) for a question in plain words, by vectors and words together, or by words alone
//! where there are no weights. [`meaning`] does all of it for a server: it follows whoever has patterns, embeds what is new in
//! the background and answers. All of it works on plain data: how patterns are stored is no concern here.

pub mod anomaly;
pub mod embedding;
mod error;
pub mod meaning;
pub mod model;
pub mod search;

pub use error::Error;
pub use meaning::Meaning;

/// The number of a pattern, as `log_patterns` has it.
pub type PatternId = u64;
