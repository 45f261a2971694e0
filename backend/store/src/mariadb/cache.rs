//! Chunks that were looked into, decoded: a lookup reads a few rows of each, and those that are looked at are often the
//! newest ones, again and again.
//!
//! A chunk never changes. What is kept here is right as long as the database says, with each query, that the chunk is there
//! and may be seen.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrow_array::RecordBatch;
use devmesh_schema::{Signal, limits};
use futures::future::try_join_all;

use super::{
    chunk,
    connection::Connections,
    scan::{Chunk, FETCH, Key, data_of},
};
use crate::Error;

/// The chunks that are kept.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    chunks: HashMap<(Signal, Key), Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    rows: RecordBatch,
    bytes: usize,
    /// When it was used last.
    used: u64,
}

impl Cache {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, signal: Signal, key: &Key) -> Option<RecordBatch> {
        let mut kept = self.kept();
        kept.clock += 1;
        let now = kept.clock;
        let entry = kept.chunks.get_mut(&(signal, key.clone()))?;
        entry.used = now;
        Some(entry.rows.clone())
    }

    fn put(&self, signal: Signal, key: &Key, rows: &RecordBatch, bytes: usize) {
        self.put_within(signal, key, rows, bytes, limits::CHUNK_CACHE_BYTES);
    }

    /// Keeps a chunk, and lets those go that were used least lately, so that all have no more bytes than `limit`.
    fn put_within(&self, signal: Signal, key: &Key, rows: &RecordBatch, bytes: usize, limit: usize) {
        // One that leaves no room for others is not worth it.
        if bytes > limit / 4 {
            return;
        }
        let mut kept = self.kept();
        kept.clock += 1;
        let entry = Entry { rows: rows.clone(), bytes, used: kept.clock };
        kept.bytes += bytes;
        if let Some(old) = kept.chunks.insert((signal, key.clone()), entry) {
            kept.bytes -= old.bytes;
        }
        while kept.bytes > limit {
            let Some(oldest) = kept.chunks.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            else {
                return;
            };
            if let Some(gone) = kept.chunks.remove(&oldest) {
                kept.bytes -= gone.bytes;
            }
        }
    }
}

/// The rows of chunks, in the order of the chunks, kept for the next who asks; `None` for one that retention has taken.
///
/// # Errors
/// The database is away or refuses, or a chunk is damaged.
pub(super) async fn rows(
    connections: &Connections,
    signal: Signal,
    chunks: &[Chunk],
) -> Result<Vec<Option<RecordBatch>>, Error> {
    let cache = connections.cache();
    let mut rows: Vec<Option<RecordBatch>> = chunks.iter().map(|chunk| cache.get(signal, &chunk.key)).collect();
    let missing: Vec<usize> = (0..chunks.len()).filter(|at| rows[*at].is_none()).collect();
    for places in missing.chunks(FETCH) {
        let wanted: Vec<Chunk> = places.iter().map(|at| chunks[*at].clone()).collect();
        let data = data_of(connections, signal, &wanted).await.map_err(|fault| connections.error(fault))?;
        let decoded = try_join_all(data.into_iter().map(|data| async {
            let Some(data) = data else { return Ok(None) };
            let bytes = chunk::bytes(&data);
            // Several at once, off the threads that wait for answers.
            let rows = tokio::task::spawn_blocking(move || chunk::decode(&data)).await;
            let rows = rows.map_err(|stopped| Error::Away(format!("reading was given up: {stopped}")))?;
            Ok::<_, Error>(Some((rows?, bytes)))
        }));
        for (at, decoded) in places.iter().zip(decoded.await?) {
            if let Some((decoded, bytes)) = decoded {
                cache.put(signal, &chunks[*at].key, &decoded, bytes);
                rows[*at] = Some(decoded);
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array};

    use super::*;

    fn key(last: u64) -> Key {
        Key { writer: "w".into(), last, first_row: 0 }
    }

    fn rows(number: i32) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![number])) as ArrayRef)]).unwrap()
    }

    #[test]
    fn what_was_used_least_lately_makes_room() {
        let cache = Cache::default();
        let put = |last: u64, bytes| cache.put_within(Signal::Logs, &key(last), &rows(last as i32), bytes, 400);
        (1..=4).for_each(|last| put(last, 100));
        assert_eq!(cache.get(Signal::Logs, &key(1)), Some(rows(1)));
        assert_eq!(cache.get(Signal::Traces, &key(1)), None);
        put(5, 100);
        // Again, and one that would leave no room for others.
        put(5, 100);
        put(6, 101);
        let kept: Vec<u64> = (1..=6).filter(|last| cache.get(Signal::Logs, &key(*last)).is_some()).collect();
        assert_eq!((kept, cache.kept().bytes), (vec![1, 3, 4, 5], 400));
    }
}
