//! The decoder and encoder of stored rows, with prost and the published messages as the oracle.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

mod flatten;
mod generate;
mod joined;
mod lossless;
mod robust;
mod rules;
mod rules_metrics;
mod scramble;

use devmesh_schema::{IngestPath, otlp::Context};

/// 2026-11-21T12:00:00Z.
pub(crate) const RECEIVED: i64 = 1_795_262_400_000_000_000;

/// The context in which all tests decode.
pub(crate) fn context() -> Context {
    Context { path: IngestPath::Collector, received: RECEIVED }
}
