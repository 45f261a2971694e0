//! What can go wrong, in words for whoever has to do something about it.

use std::{io, path::PathBuf};

/// Why a log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("lock {}: another process uses this directory; stop it, or use another directory", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A segment of another log lies in the directory.
    #[error(
        "read segment {}: it belongs to log {found}, this directory to log {expected}; move the file away",
        .path.display()
    )]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// The log it belongs to.
        found: String,
        /// The log of the directory.
        expected: String,
    },
    /// A later version of devmesh wrote the segment.
    #[error(
        "read segment {}: format version {found} is later than {}; use the devmesh that wrote it",
        .path.display(),
        crate::frame::VERSION
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// [`crate::Replay::Strict`], and a segment is damaged.
    #[error("read segment {}: damaged at byte {offset}; open with recovery to keep what is whole", .path.display())]
    Damaged {
        /// The segment, or the one after the place where one is missing.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

/// Why a record was not committed. It is absent, now and after a replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The log cannot be written now: disk full, read-only, I/O error, or [`crate::Options::max_bytes`] reached. Later
    /// commits try again.
    #[error("{0}")]
    Unavailable(String),
    /// The queue before the log stayed full for [`crate::Options::wait`].
    #[error("the queue before the log stayed full")]
    Full,
    /// The record can never fit.
    #[error("a record of {bytes} bytes is larger than the log allows ({max})")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The longest possible.
        max: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}
