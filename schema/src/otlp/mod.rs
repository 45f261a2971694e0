//! OTLP: protobuf bytes into stored rows and back, JSON into protobuf bytes.

pub mod any_value;
mod attributes;
mod check;
mod children;
mod columns;
mod encode;
mod encode_metrics;
pub mod json;
mod key_value;
mod logs;
mod metrics;
mod points;
mod rows;
mod spans;
pub(crate) mod stored_columns;
pub mod wire;
pub mod write;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::{IngestPath, Rejection, Signal, TimestampNs};

/// What a door knows of a request that its bytes don't say.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// By which way it came in.
    pub path: IngestPath,
    /// When; stands in for a missing time, and bounds the future.
    pub received: TimestampNs,
}

/// The outcome of decoding a request.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows of the valid items, as [`crate::stored`] says.
    pub rows: RecordBatch,
    /// How many items were refused.
    pub rejected: u64,
    /// The first of them.
    pub rejections: Vec<Rejection>,
    /// Strings that were no UTF-8 and have U+FFFD in them now.
    pub repaired: u64,
}

/// Why a request is no message of its signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct DecodeError {
    /// Where in the request.
    pub offset: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Decodes an export request in one pass, straight into columns.
///
/// # Errors
/// The bytes are no valid protobuf of the signal's request.
pub fn decode(signal: Signal, request: &[u8], context: Context) -> Result<Decoded, DecodeError> {
    match signal {
        Signal::Logs => rows::decode(logs::Logs::new(), request, context, true),
        Signal::Traces => rows::decode(spans::Spans::new(), request, context, false),
        Signal::Metrics => rows::decode(metrics::Metrics::new(), request, context, true),
    }
}

/// Writes stored rows out as an export request: the inverse of [`decode`]. Neighbours with equal envelopes share them.
///
/// # Errors
/// A column has a type that it cannot have: the batch holds no stored rows.
pub fn encode(signal: Signal, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    encode::encode(signal, rows)
}
