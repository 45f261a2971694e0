//! What can go wrong, worded for the operator.

use std::path::{Path, PathBuf};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the model is missing, damaged, or of another model.
    #[error("can't {what} in {}: {cause}; `devmesh model pull` fetches them again", file.display())]
    Model {
        /// What was tried.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        cause: Cause,
    },
    /// A text could not be embedded.
    #[error("can't embed a text: {0}")]
    Embed(Cause),
    /// The network over the signals of services could not be trained.
    #[error("can't train the network of anomalies: {0}")]
    Train(String),
    /// The file of vectors could not be read or written.
    #[error("can't {what} the file of vectors {}: {cause}", file.display())]
    Vectors {
        /// What was tried.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// A model's file could not be fetched.
    #[error("can't fetch {url}: {cause}")]
    Fetch {
        /// Where it was asked for.
        url: String,
        /// Why it failed.
        cause: Cause,
    },
    /// What was fetched isn't what was promised.
    #[error("{} has SHA-256 {found} instead of {expected} and is not used; try again, or another source", file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// The checksum it has.
        found: String,
        /// The checksum it should have.
        expected: &'static str,
    },
}

impl Error {
    pub(crate) fn model(what: &'static str, file: &Path, cause: impl Into<Cause>) -> Self {
        Self::Model { what, file: file.to_owned(), cause: cause.into() }
    }

    pub(crate) fn embed(cause: impl Into<Cause>) -> Self {
        Self::Embed(cause.into())
    }

    pub(crate) fn vectors(what: &'static str, file: &Path, cause: std::io::Error) -> Self {
        Self::Vectors { what, file: file.to_owned(), cause }
    }

    pub(crate) fn fetch(url: &str, cause: impl Into<Cause>) -> Self {
        Self::Fetch { url: url.to_owned(), cause: cause.into() }
    }
}
