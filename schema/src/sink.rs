//! The one seam between the doors and everything behind them.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::Batch;

/// Takes batches in.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// Commits the batch. `Ok` only after its log record is fsynced: it survives kill -9 and a power cut, and is
    /// visible to every query that starts a second later. Idempotent by `batch.id`. Waits while the sink is full: that
    /// wait is the back-pressure, bounded by [`crate::limits::SINK_WAIT`].
    ///
    /// Items that can never be stored are named in the receipt; the rest of the batch is kept.
    ///
    /// # Errors
    /// [`WriteError::retry_after`] is `Some` where the same batch may be sent again.
    ///
    /// # Cancel safety
    /// Dropped, the batch is either wholly committed or wholly absent.
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError>;
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Leaf items (log records, spans, data points) that are stored.
    pub accepted: u64,
    /// Leaf items that are not, and never will be.
    pub rejected: u64,
    /// The first of them, at most [`crate::limits::REJECTIONS_NAMED`].
    pub rejections: Vec<Rejection>,
    /// The batch id was known already: nothing was stored now.
    pub deduplicated: bool,
}

/// Why one leaf item was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which leaf item of the request, counted from 0 in the order of the message.
    pub index: u64,
    /// A short, stable word: the label `reason` of `devmesh_rejected_items_total`.
    pub reason: &'static str,
    /// What was wrong, for the sender.
    pub message: String,
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The request is no valid message: sending it again cannot help.
    #[error("{0}")]
    Invalid(String),
    /// Another batch with other content was stored under this id.
    #[error("batch id {0} was already used for a batch with other content")]
    BatchIdConflict(String),
    /// The queue before the log stayed full for [`crate::limits::SINK_WAIT`].
    #[error("the server takes in more than it can write at present")]
    Full,
    /// The log cannot be written now: disk full, read-only, I/O error. Writing resumes by itself.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// The sink is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

impl WriteError {
    /// After what time the same batch may be sent again; `None` where it never may.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            WriteError::Invalid(_) | WriteError::BatchIdConflict(_) => None,
            WriteError::Full => Some(Duration::from_secs(1)),
            WriteError::Unavailable(_) | WriteError::Closed => Some(Duration::from_secs(5)),
        }
    }
}
