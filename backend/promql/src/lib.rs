//! PromQL, apart from where the samples come from.
//!
//! [`Query::new`] parses and checks a query, and says which series it needs over which times ([`Query::selects`]). Whoever has
//! the store fetches them, and [`Query::run`] computes the answer: no I/O, no waiting, the same answer for the same samples.
//!
//! The meaning is that of Prometheus 3: ranges and the lookback are open on the left, an answer's series that have all labels
//! alike are an error, what is dubious is a warning in the answer.
//!
//! Not here: duration expressions, and the modifiers `anchored` and `smoothed`, which are experimental there as well.

mod annotations;
mod error;
mod eval;
mod functions;
pub mod histogram;
mod labels;
mod plan;
mod select;
mod series;
mod written;

pub use annotations::Annotations;
pub use error::Error;
pub use eval::{Answer, Limits, Row};
pub use labels::{Labels, NAME};
pub use plan::{Query, Times, format, tree};
pub use select::{Matcher, Op, Select};
pub use series::{STALE, Sample, Series, is_stale};
pub use written::written;
