//! Why a query has no answer.

/// Why a query has no answer. Prometheus' API answers [`Error::Parse`] with 400 `bad_data`, the others with 422 `execution`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no query.
    #[error("{0}")]
    Parse(String),
    /// It is one, and these samples have no answer to it.
    #[error("{0}")]
    Execution(String),
    /// The answer, or what leads to it, is larger than allowed.
    #[error(
        "query processing would load too many samples into memory: more than {0}; narrow the selectors, the range or the step"
    )]
    TooManySamples(usize),
}

impl Error {
    pub(crate) fn execution(reason: impl Into<String>) -> Self {
        Self::Execution(reason.into())
    }
}
