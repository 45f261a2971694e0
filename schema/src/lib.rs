//! The words of devmesh: the three tables, OTLP into and out of them, the [`Sink`], and the limits. No I/O.
//!
//! Three forms of a record, and the one way between them:
//!
//! 1. **OTLP protobuf bytes** from the door to the write-ahead log: a [`Batch`] is one export request. Every door that
//!    speaks something else (OTLP/JSON, journald, plain JSON) writes the same bytes, so that there is one decoder, and
//!    the log needs no migration when a table changes.
//! 2. **Stored rows** ([`stored`]): an Arrow `RecordBatch` a signal, with each frequent attribute in a typed column of
//!    its own. Lossless: [`otlp::encode`] writes an equal request back.
//! 3. **Table rows** ([`tables`]): what a user sees in SQL. A view of the stored rows, made when a query reads them.

pub mod batch;
pub mod body;
pub mod concat;
pub mod functions;
pub mod limits;
pub mod otlp;
pub mod prometheus;
pub mod record_id;
pub mod sink;
pub mod stored;
pub mod tables;
pub mod time;
pub mod view;
pub mod views;

pub use batch::{Batch, BatchId, IngestPath, Signal};
pub use sink::{Receipt, Rejection, Sink, WriteError};

/// Nanoseconds since the Unix epoch, UTC.
pub type TimestampNs = i64;
