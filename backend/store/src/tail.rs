//! Rows as they are committed, for whoever watches: a bounded channel in which a slow reader loses the oldest.

use std::sync::Arc;

use arrow_array::RecordBatch;
use devmesh_schema::Signal;
use tokio::sync::broadcast;

use crate::Committed;

/// Batches that a reader may lag behind. They share their memory with the in-memory table for as long as they lie
/// there, and a reader that sleeps keeps at most so many alive.
const LAG: usize = 64;

/// The sending end.
#[derive(Debug)]
pub(crate) struct Tail(broadcast::Sender<Committed>);

impl Default for Tail {
    fn default() -> Self {
        Self(broadcast::channel(LAG).0)
    }
}

impl Tail {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.0.subscribe()
    }

    /// Whether anybody watches.
    pub(crate) fn watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn send(&self, signal: Signal, rows: Arc<RecordBatch>) {
        // Fails where nobody watches any more.
        match self.0.send(Committed { signal, rows }) {
            Ok(_) | Err(_) => {}
        }
    }
}
