//! The rows of a window of time as batches: the same rows always make the same batches.

use std::ops::Range;

use bytes::Bytes;
use devmesh_schema::{IngestPath, Signal, TimestampNs};
use futures::TryStreamExt;

use super::rows::{self, Row, Sum};
use crate::{Error, Snapshot};

/// Rows of a batch at most.
const BATCH_ROWS: usize = 2048;
/// Bytes of a batch, about: a record of the log, and what a database takes in one statement.
const BATCH_BYTES: usize = 2 << 20;

/// A window, or a part of one: the rows whose hash has this remainder.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) time: Range<TimestampNs>,
    pub(crate) part: u32,
    pub(crate) parts: u32,
}

/// What was loaded.
pub(crate) enum Loaded {
    Rows(Vec<Row>),
    /// More than was allowed.
    TooMuch,
}

/// A batch to be written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: IngestPath,
    /// What decoding has to know so that the rows get the times that they have.
    pub(crate) received: TimestampNs,
    pub(crate) request: Bytes,
    pub(crate) sum: Sum,
}

/// Loads the rows of a cut, in their order.
pub(crate) async fn load(
    snapshot: &dyn Snapshot,
    signal: Signal,
    cut: &Cut,
    max_rows: usize,
    max_bytes: usize,
) -> Result<Loaded, Error> {
    let mut stream = rows::read(snapshot, signal, cut.time.clone()).await?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await? {
        for row in rows::write_out(signal, &batch)? {
            if row.hash % u128::from(cut.parts) == u128::from(cut.part) {
                bytes += row.request.len();
                found.push(row);
            }
        }
        if found.len() > max_rows || bytes > max_bytes {
            return Ok(Loaded::TooMuch);
        }
    }
    found.sort_unstable_by_key(|row| (class(row), row.time, row.hash));
    Ok(Loaded::Rows(found))
}

/// What rows of one batch have in common: the path, and, where their time is the one of receipt, that time.
fn class(row: &Row) -> (bool, Option<TimestampNs>) {
    (row.path == IngestPath::Direct, row.own_time.then_some(row.time))
}

/// Cuts rows into batches, in their order. Requests one after the other are a request.
pub(crate) fn batches(rows: Vec<Row>) -> Vec<Written> {
    let mut written = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.next() {
        let kind = class(&first);
        let (path, mut received, mut sum) = (first.path, first.time, Sum::default());
        sum.add(first.hash);
        let mut request = first.request;
        while let Some(row) = rows.next_if(|row| {
            class(row) == kind && (sum.rows as usize) < BATCH_ROWS && request.len() + row.request.len() <= BATCH_BYTES
        }) {
            // A record that lies before the time of receipt is never taken for one of the future.
            received = received.max(row.time);
            sum.add(row.hash);
            request.extend_from_slice(&row.request);
        }
        written.push(Written { path, received, request: request.into(), sum });
    }
    written
}
