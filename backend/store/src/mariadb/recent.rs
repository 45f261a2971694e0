//! The newest rows that match, where no index of the database finds them: words, attributes.
//!
//! Chunks are read from the newest on, a few at first and then more at once, until there are as many rows as were asked for
//! and no further chunk has a newer one.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use devmesh_schema::{TimestampNs, view::derive};
use futures::{TryStreamExt, future::try_join_all, stream};

use super::{
    connection::Connections,
    scan::{Chunk, FETCH, read_some},
};
use crate::{Error, Scan};

/// Chunks that are read first.
const FIRST: usize = 2;

struct Walk {
    connections: Arc<Connections>,
    scan: Arc<Scan>,
    /// Those that were not read yet, the one with the newest row first.
    chunks: VecDeque<Chunk>,
    limit: usize,
    /// How many are read next.
    next: usize,
    /// Times of the newest rows found, the oldest of them on top: `limit` of them at most.
    newest: BinaryHeap<Reverse<TimestampNs>>,
}

/// The newest `limit` rows that match are among these. `chunks` come with the newest row first.
pub(super) fn rows(
    connections: Arc<Connections>,
    scan: Scan,
    chunks: Vec<Chunk>,
    limit: usize,
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    let (scan, newest) = (Arc::new(scan), BinaryHeap::new());
    let walk = Walk { connections, scan, chunks: chunks.into(), limit, next: FIRST, newest };
    stream::try_unfold(walk, |mut walk| async move {
        if walk.is_over() {
            return Ok::<_, Error>(None);
        }
        let batches = walk.step().await?;
        Ok(Some((stream::iter(batches.into_iter().map(Ok::<_, Error>)), walk)))
    })
    .try_flatten()
}

impl Walk {
    fn is_over(&self) -> bool {
        let Some(next) = self.chunks.front() else { return true };
        let oldest = self.newest.peek().map(|Reverse(oldest)| *oldest);
        self.newest.len() >= self.limit && oldest.is_none_or(|oldest| oldest >= next.max_time)
    }

    async fn step(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let chunks: Vec<Chunk> = self.chunks.drain(..self.next.min(self.chunks.len())).collect();
        self.next = (self.next * 4).min(FETCH * self.connections.readers());
        let reads = chunks
            .chunks(FETCH)
            .map(|chunks| read_some(Arc::clone(&self.connections), Arc::clone(&self.scan), chunks.to_vec()));
        let batches = try_join_all(reads).await?.concat();
        for batch in &batches {
            let times = derive(self.scan.signal, "time", batch)?;
            for time in times.as_primitive::<TimestampNanosecondType>().values() {
                self.newest.push(Reverse(*time));
                if self.newest.len() > self.limit {
                    self.newest.pop();
                }
            }
        }
        Ok(batches)
    }
}
