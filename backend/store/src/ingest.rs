//! What a batch is in the write-ahead log, and the counts of what became of every item.
//!
//! A log record is a header (version, signal, path, time of receipt, batch id) and the request as it came. Replay
//! decodes it again, so that a change of the tables needs no migration of the log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use devmesh_schema::{Batch, IngestPath, Receipt, Signal};

/// Version of the header below.
const VERSION: u8 = 1;
const FIXED: usize = 12;

/// The two pieces of a batch's log record.
pub(crate) fn record(batch: &Batch) -> [Bytes; 2] {
    let id = batch.id.as_ref().map_or("", |id| id.as_str());
    let mut header = BytesMut::with_capacity(FIXED + id.len());
    header.put_u8(VERSION);
    header.put_u8(batch.signal as u8);
    header.put_u8(match batch.path {
        IngestPath::Collector => 0,
        IngestPath::Direct => 1,
    });
    // An id has at most 128 bytes.
    header.put_u8(u8::try_from(id.len()).unwrap_or_default());
    header.put_i64_le(batch.received);
    header.put_slice(id.as_bytes());
    [header.freeze(), batch.request.clone()]
}

/// Reads a log record back.
///
/// # Errors
/// What is wrong with its header.
pub(crate) fn parse(record: Bytes) -> Result<Batch, &'static str> {
    let Some(header) = record.first_chunk::<FIXED>() else { return Err("the record is shorter than its header") };
    let [version, signal, path, id_len, received @ ..] = *header;
    if version != VERSION {
        return Err("the record has a version of another devmesh");
    }
    let signal = *Signal::ALL.get(usize::from(signal)).ok_or("the record names an unknown signal")?;
    let path = match path {
        0 => IngestPath::Collector,
        1 => IngestPath::Direct,
        _ => return Err("the record names an unknown path"),
    };
    let end = FIXED + usize::from(id_len);
    let id = record.get(FIXED..end).ok_or("the record ends within its batch id")?;
    let id = std::str::from_utf8(id).map_err(|_utf8| "the batch id is no text")?;
    let id = if id.is_empty() { None } else { Some(id.parse().map_err(|_id| "the batch id is none")?) };
    Ok(Batch { signal, id, path, received: i64::from_le_bytes(received), request: record.slice(end..) })
}

/// Items of one signal since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) rejected: u64,
    pub(crate) deduplicated: u64,
}

/// The counts of all signals; changed and read as a whole, so that `received = stored + rejected + deduplicated` holds
/// in every reading.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: [Counts; 3],
    rejections: BTreeMap<(Signal, &'static str), u64>,
}

impl Counters {
    /// Counts a batch that was committed, or rejected as a whole.
    pub(crate) fn stored(&self, signal: Signal, receipt: &Receipt) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut inner.counts[signal as usize];
        counts.received += receipt.accepted + receipt.rejected;
        counts.stored += receipt.accepted;
        counts.rejected += receipt.rejected;
        let mut unnamed = receipt.rejected;
        for rejection in &receipt.rejections {
            *inner.rejections.entry((signal, rejection.reason)).or_default() += 1;
            unnamed = unnamed.saturating_sub(1);
        }
        // Only the first are named; the rest is most likely of the last one's kind.
        if unnamed > 0 {
            let reason = receipt.rejections.last().map_or("other", |rejection| rejection.reason);
            *inner.rejections.entry((signal, reason)).or_default() += unnamed;
        }
    }

    /// Counts a batch that was known already.
    pub(crate) fn deduplicated(&self, signal: Signal, items: u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut inner.counts[signal as usize];
        counts.received += items;
        counts.deduplicated += items;
    }

    pub(crate) fn read(&self) -> ([Counts; 3], Vec<(Signal, &'static str, u64)>) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rejections = inner.rejections.iter().map(|((signal, reason), count)| (*signal, *reason, *count)).collect();
        (inner.counts, rejections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_the_log() {
        for id in [None, Some("host-1:42".parse().unwrap()), Some("x".repeat(128).parse().unwrap())] {
            let batch = Batch {
                signal: Signal::Metrics,
                id,
                path: IngestPath::Direct,
                received: -5,
                request: Bytes::from_static(b"\x0a\x00"),
            };
            let whole: Bytes = record(&batch).concat().into();
            let again = parse(whole.clone()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{batch:?}"));
            for cut in 0..whole.len() - 2 {
                assert!(parse(whole.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            drop(parse(bytes.into()));
        }
    }
}
