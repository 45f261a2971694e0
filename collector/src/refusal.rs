//! Why a request was not taken, and what that is in HTTP and in gRPC. The one table for all doors.
//!
//! Senders retry HTTP 429, 502, 503 and 504 only, and gRPC `UNAVAILABLE` among others (OTLP specification, "Failures"): a
//! passing trouble must be one of these, or the sender drops its data; a lasting one must not be, or it sends for ever.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinError;

/// Codes of gRPC (`google.rpc.Code`).
pub(crate) mod code {
    pub(crate) const CANCELLED: u32 = 1;
    pub(crate) const INVALID_ARGUMENT: u32 = 3;
    pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
    pub(crate) const PERMISSION_DENIED: u32 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const INTERNAL: u32 = 13;
    pub(crate) const UNAVAILABLE: u32 = 14;
    pub(crate) const UNAUTHENTICATED: u32 = 16;
}

/// The stable word for a refusal: the label `reason` of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The body is larger than allowed, as sent or decompressed.
    TooLarge,
    /// The body is no valid message.
    Decode,
    /// Broken gRPC framing.
    Framing,
    /// A Content-Encoding or grpc-encoding that is not understood.
    UnsupportedEncoding,
    /// A Content-Type that is not understood.
    UnsupportedType,
    /// The body took longer than [`devmesh_schema::limits::BODY_TIME`].
    SlowBody,
    /// The sender went away, or broke HTTP, before the end of the body.
    Cancelled,
    /// The doors or the queue before the log are full.
    Overload,
    /// The log cannot be written.
    StorageUnavailable,
    /// The server is shutting down.
    Closing,
    /// The batch id is none.
    BatchId,
    /// The batch id was used with other content.
    BatchIdConflict,
    /// No or wrong credentials.
    AuthFailed,
    /// Credentials without the right to write.
    Scope,
    /// Another method than POST.
    Method,
    /// No such path, or no such gRPC method.
    NotFound,
    /// Wrong credentials came too often from the sender's address.
    AuthSlowed,
    /// The sender sends more than one sender may.
    RateLimited,
}

impl Reason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Reason; 18] = [
        Reason::TooLarge,
        Reason::Decode,
        Reason::Framing,
        Reason::UnsupportedEncoding,
        Reason::UnsupportedType,
        Reason::SlowBody,
        Reason::Cancelled,
        Reason::Overload,
        Reason::StorageUnavailable,
        Reason::Closing,
        Reason::BatchId,
        Reason::BatchIdConflict,
        Reason::AuthFailed,
        Reason::Scope,
        Reason::Method,
        Reason::NotFound,
        Reason::AuthSlowed,
        Reason::RateLimited,
    ];

    /// Its label, HTTP status and gRPC code.
    fn row(self) -> (&'static str, u16, u32) {
        match self {
            Reason::TooLarge => ("too_large", 413, code::RESOURCE_EXHAUSTED),
            Reason::Decode => ("decode", 400, code::INVALID_ARGUMENT),
            Reason::Framing => ("framing", 400, code::INTERNAL),
            Reason::UnsupportedEncoding => ("unsupported_encoding", 415, code::UNIMPLEMENTED),
            Reason::UnsupportedType => ("unsupported_type", 415, code::INVALID_ARGUMENT),
            Reason::SlowBody => ("slow_body", 408, code::DEADLINE_EXCEEDED),
            Reason::Cancelled => ("cancelled", 400, code::CANCELLED),
            Reason::Overload => ("overload", 503, code::UNAVAILABLE),
            Reason::StorageUnavailable => ("storage_unavailable", 503, code::UNAVAILABLE),
            Reason::Closing => ("closing", 503, code::UNAVAILABLE),
            Reason::BatchId => ("batch_id", 400, code::INVALID_ARGUMENT),
            Reason::BatchIdConflict => ("batch_id_conflict", 400, code::INVALID_ARGUMENT),
            Reason::AuthFailed => ("auth_failed", 401, code::UNAUTHENTICATED),
            Reason::Scope => ("scope", 403, code::PERMISSION_DENIED),
            Reason::Method => ("method", 405, code::UNIMPLEMENTED),
            Reason::NotFound => ("not_found", 404, code::UNIMPLEMENTED),
            Reason::AuthSlowed => ("auth_slowed", 429, code::UNAVAILABLE),
            Reason::RateLimited => ("rate_limited", 429, code::RESOURCE_EXHAUSTED),
        }
    }

    /// The label in the counters.
    pub fn label(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The gRPC code.
    pub fn grpc(self) -> u32 {
        self.row().2
    }
}

/// A request that was not taken: nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The table's row.
    pub reason: Reason,
    /// What was wrong and what to do, for the sender.
    pub message: String,
    /// When the same request may be sent again; `None`: never.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal for good.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    /// A refusal after which the same request may come again.
    pub fn retry(reason: Reason, message: impl Into<String>, after: Duration) -> Self {
        Self { reason, message: message.into(), retry_after: Some(after) }
    }

    /// A body was given to a thread to be read, and the thread has no answer: reading panics, for this body at every try,
    /// or the server stops.
    pub(crate) fn of_task(error: &JoinError) -> Self {
        if error.is_panic() {
            tracing::error!(%error, "reading a body made the server panic");
            return Self::new(Reason::Decode, "the body cannot be read: a fault of the server, whose log says more");
        }
        Self::retry(Reason::Closing, "the server is shutting down", Duration::from_secs(5))
    }

    /// Whole seconds for `Retry-After`, at least 1: rounded up, so that the sender does not come too early.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_all_is_the_order_of_the_counters() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.label());
        }
    }
}
