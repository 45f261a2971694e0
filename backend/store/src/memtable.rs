//! The newest rows, in memory: what is in the write-ahead log and not yet in a file.
//!
//! Senders may come with one row at a time. Small chunks are merged as they pile up (each row is copied at most a few
//! times), so that a query never sees thousands of them.

use std::{sync::Arc, time::Instant};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use devmesh_schema::{Signal, TimestampNs, stored};
use devmesh_wal::Seq;

use crate::{Error, columns, settings::Flush};

/// Chunks with fewer rows than this are merged.
const SMALL: usize = 512;
/// How many small chunks of like size become one.
const FAN_IN: usize = 16;

/// Rows of one signal.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Arc<RecordBatch>,
    /// Least and greatest time, both inclusive.
    pub(crate) time: (TimestampNs, TimestampNs),
    bytes: usize,
}

impl Chunk {
    /// # Errors
    /// The rows lack a time.
    pub(crate) fn new(rows: Arc<RecordBatch>) -> Result<Self, Error> {
        let time = time_range(&rows)?;
        let bytes = rows.get_array_memory_size();
        Ok(Self { rows, time, bytes })
    }
}

/// The least and greatest time of the rows.
pub(crate) fn time_range(rows: &RecordBatch) -> Result<(TimestampNs, TimestampNs), Error> {
    let times = rows
        .column_by_name(stored::TIME)
        .and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>())
        .filter(|times| times.null_count() == 0)
        .ok_or_else(|| arrow_schema::ArrowError::SchemaError("stored rows lack their time".into()))?;
    let values = times.values();
    let fold = |(least, greatest): (i64, i64), time: &i64| (least.min(*time), greatest.max(*time));
    Ok(values.iter().fold((TimestampNs::MAX, TimestampNs::MIN), fold))
}

/// Rows of all signals between two numbers of the log.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    pub(crate) chunks: [Vec<Chunk>; 3],
    pub(crate) rows: [u64; 3],
    pub(crate) bytes: usize,
    /// The last record of the log that came before.
    pub(crate) after: Seq,
    /// The last record of the log that is in it.
    pub(crate) last: Seq,
    /// When its first row came.
    pub(crate) since: Option<Instant>,
}

impl Memtable {
    /// An empty table behind record `after`.
    pub(crate) fn new(after: Seq) -> Self {
        Self { after, last: after, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == [0; 3]
    }

    /// Whether its rows are to leave memory.
    pub(crate) fn is_full(&self, flush: &Flush) -> bool {
        self.bytes >= flush.bytes || self.rows.iter().any(|rows| *rows >= flush.rows)
    }

    /// Whether it covers records of the log at all, with or without rows.
    pub(crate) fn covers_nothing(&self) -> bool {
        self.last == self.after
    }

    /// Adds the rows of record `seq`.
    pub(crate) fn insert(&mut self, signal: Signal, seq: Seq, chunk: Chunk) {
        self.last = seq;
        if chunk.rows.num_rows() == 0 {
            return;
        }
        self.since.get_or_insert_with(Instant::now);
        self.rows[signal as usize] += chunk.rows.num_rows() as u64;
        self.bytes += chunk.bytes;
        let chunks = &mut self.chunks[signal as usize];
        chunks.push(chunk);
        while let Some(first) = mergeable(chunks) {
            let Some(merged) = merge(&chunks[first..]) else { return };
            let before: usize = chunks[first..].iter().map(|chunk| chunk.bytes).sum();
            self.bytes = self.bytes + merged.bytes - before.min(self.bytes + merged.bytes);
            chunks.truncate(first);
            chunks.push(merged);
        }
    }

    /// Drops rows whose time lies before `before`; answers how many.
    pub(crate) fn expire(&mut self, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
        let chunks = &mut self.chunks[signal as usize];
        let mut dropped = 0;
        let mut kept = Vec::with_capacity(chunks.len());
        for chunk in chunks.drain(..) {
            if chunk.time.0 >= before {
                kept.push(chunk);
                continue;
            }
            let all = chunk.rows.num_rows();
            let rows = columns::not_before(&chunk.rows, before)?;
            dropped += (all - rows.num_rows()) as u64;
            if rows.num_rows() > 0 {
                kept.push(Chunk::new(Arc::new(rows))?);
            }
        }
        *chunks = kept;
        self.rows[signal as usize] -= dropped.min(self.rows[signal as usize]);
        self.bytes = self.chunks.iter().flatten().map(|chunk| chunk.bytes).sum();
        Ok(dropped)
    }
}

/// Where the run of chunks begins that should become one: the last [`FAN_IN`] small ones of like size.
fn mergeable(chunks: &[Chunk]) -> Option<usize> {
    let level = |chunk: &Chunk| chunk.rows.num_rows().max(1).ilog2() / FAN_IN.ilog2();
    let last = chunks.last().filter(|chunk| chunk.rows.num_rows() < SMALL)?;
    let like = chunks.iter().rev().take_while(|chunk| chunk.rows.num_rows() < SMALL && level(chunk) <= level(last));
    let count = like.count();
    (count >= FAN_IN).then(|| chunks.len() - count)
}

fn merge(chunks: &[Chunk]) -> Option<Chunk> {
    let rows: Vec<&RecordBatch> = chunks.iter().map(|chunk| &*chunk.rows).collect();
    match columns::concat(&rows).and_then(|rows| Chunk::new(Arc::new(rows))) {
        Ok(chunk) => Some(chunk),
        Err(error) => {
            // The rows stay as they are: more chunks, the same rows.
            tracing::error!(%error, "cannot merge rows in memory");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::logs;

    #[test]
    fn ten_thousand_single_rows_become_a_few_chunks_in_their_order() {
        let mut table = Memtable::new(0);
        for n in 0..10_000_i64 {
            table.insert(Signal::Logs, n as u64 + 1, Chunk::new(Arc::new(logs(n..n + 1))).unwrap());
        }
        let chunks = &table.chunks[0];
        assert!(chunks.len() < 80, "{} chunks", chunks.len());
        assert_eq!((table.rows[0], table.last), (10_000, 10_000));
        let times: Vec<i64> = chunks
            .iter()
            .flat_map(|chunk| {
                chunk.rows.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
            })
            .collect();
        assert_eq!(times, (0..10_000).collect::<Vec<i64>>());
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
        assert_eq!(table.bytes, bytes);
    }

    #[test]
    fn expired_rows_leave_memory() {
        let mut table = Memtable::new(0);
        table.insert(Signal::Logs, 1, Chunk::new(Arc::new(logs(0..600))).unwrap());
        table.insert(Signal::Logs, 2, Chunk::new(Arc::new(logs(600..1200))).unwrap());
        assert_eq!(table.expire(Signal::Logs, 700).unwrap(), 700);
        assert_eq!((table.rows[0], table.chunks[0].len()), (500, 1));
        assert_eq!(table.chunks[0][0].time, (700, 1199));
    }
}
