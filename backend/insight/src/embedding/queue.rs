//! Embedding in the background: new patterns wait here for one thread, which embeds them, appends them to the file and hands
//! them to the index.
//!
//! The queue is bounded and holds a pattern once, with its newest text. A pattern that finds it full is refused; the owner
//! offers what has no vector again later, so nothing is lost. A text that can't be embedded, or a file that can't be
//! written, is counted and logged; in the second case the vectors still serve searches until the process ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Embedder, VectorFile};
use crate::PatternId;

/// Texts that are taken from the queue at once: what a stop has to wait for.
const BATCH: usize = 32;
/// Records that are out of date are dropped by a rewrite of the file when the queue is empty; never in between.
type Receive = Box<dyn FnMut(&[(PatternId, u64, Vec<f32>)]) + Send>;

/// The queue and its thread; dropping it stops the thread after the batch it is at.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<PatternId>,
    texts: HashMap<PatternId, String>,
    /// Patterns whose vectors are to go.
    gone: Vec<PatternId>,
    busy: bool,
    stop: bool,
    status: QueueStatus,
}

/// What the queue has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Patterns that wait.
    pub waiting: usize,
    /// Vectors made.
    pub embedded: u64,
    /// Patterns that were refused because the queue was full.
    pub refused: u64,
    /// Texts that couldn't be embedded.
    pub failed: u64,
    /// Vectors that couldn't be written to the file.
    pub unwritten: u64,
}

impl Queue {
    /// Starts the thread. At most `capacity` patterns wait; each batch is embedded on `threads` threads; `receive` gets each
    /// batch's patterns, hashes of texts ([`text_hash`](crate::search::text_hash)) and vectors.
    ///
    /// # Errors
    /// The operating system's, where it gives no thread.
    pub fn start(
        embedder: Arc<Embedder>,
        file: VectorFile,
        capacity: usize,
        threads: usize,
        receive: impl FnMut(&[(PatternId, u64, Vec<f32>)]) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), capacity });
        let mut worker = Worker { shared: shared.clone(), embedder, file, threads, receive: Box::new(receive) };
        let thread = std::thread::Builder::new().name("embedding".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Queues a pattern's text. `false` where the queue is full.
    pub fn offer(&self, pattern: PatternId, text: String) -> bool {
        let mut state = self.shared.lock();
        if let Some(waiting) = state.texts.get_mut(&pattern) {
            *waiting = text;
            return true;
        }
        if state.order.len() >= self.shared.capacity {
            state.status.refused += 1;
            return false;
        }
        state.order.push_back(pattern);
        state.texts.insert(pattern, text);
        drop(state);
        self.shared.changed.notify_all();
        true
    }

    /// Forgets patterns: what waits of them is not embedded, and their vectors leave the file in time.
    pub fn forget(&self, patterns: &[PatternId]) {
        if patterns.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        for pattern in patterns {
            state.texts.remove(pattern);
        }
        state.gone.extend_from_slice(patterns);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// What the queue has done.
    pub fn status(&self) -> QueueStatus {
        let state = self.shared.lock();
        QueueStatus { waiting: state.texts.len(), ..state.status }
    }

    /// Waits until nothing waits and nothing is being embedded; `false` where that takes longer than `limit`.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        while state.busy || !state.order.is_empty() || !state.gone.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedding thread had panicked");
        }
    }
}

impl Shared {
    /// The state is whole between any two statements that hold the lock, so a panic elsewhere doesn't spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    shared: Arc<Shared>,
    embedder: Arc<Embedder>,
    file: VectorFile,
    threads: usize,
    receive: Receive,
}

/// Texts to embed, and patterns whose vectors go.
type Work = (Vec<(PatternId, String)>, Vec<PatternId>);

impl Worker {
    fn run(&mut self) {
        while let Some((batch, gone)) = self.next() {
            gone.into_iter().for_each(|pattern| self.file.forget(pattern));
            let vectors = self.embed(&batch);
            let written = self.file.append(vectors.iter().map(|(p, t, v)| (*p, *t, v.as_slice())));
            if let Err(e) = &written {
                tracing::warn!(error = %e, "vectors were not written; they are made again after a restart");
            }
            (self.receive)(&vectors);
            let mut state = self.shared.lock();
            state.busy = false;
            state.status.embedded += vectors.len() as u64;
            state.status.failed += (batch.len() - vectors.len()) as u64;
            state.status.unwritten += if written.is_err() { vectors.len() as u64 } else { 0 };
            let idle = state.order.is_empty();
            drop(state);
            self.shared.changed.notify_all();
            if idle && self.file.wants_compaction() {
                self.compact();
            }
        }
    }

    /// Waits for work; `None` at the stop.
    fn next(&self) -> Option<Work> {
        let mut state = self.shared.lock();
        while state.order.is_empty() && state.gone.is_empty() && !state.stop {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stop {
            return None;
        }
        state.busy = true;
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH
            && let Some(pattern) = state.order.pop_front()
        {
            let text = state.texts.remove(&pattern);
            batch.extend(text.map(|t| (pattern, t)));
        }
        Some((batch, std::mem::take(&mut state.gone)))
    }

    fn embed(&self, batch: &[(PatternId, String)]) -> Vec<(PatternId, u64, Vec<f32>)> {
        let texts: Vec<&str> = batch.iter().map(|b| b.1.as_str()).collect();
        let vectors: Vec<Option<Vec<f32>>> = match self.embedder.embed_batch(&texts, self.threads) {
            Ok(vectors) => vectors.into_iter().map(Some).collect(),
            // One of them fails: the others shall not suffer.
            Err(_) => texts.iter().map(|t| self.embed_one(t)).collect(),
        };
        let done = batch.iter().zip(vectors);
        done.filter_map(|((p, t), v)| Some((*p, crate::search::text_hash(t), v?))).collect()
    }

    fn embed_one(&self, text: &str) -> Option<Vec<f32>> {
        match self.embedder.embed(text) {
            Ok(vector) => Some(vector),
            Err(e) => {
                tracing::warn!(error = %e, text, "a pattern has no vector; words still find it");
                None
            }
        }
    }

    fn compact(&mut self) {
        if let Err(e) = self.file.compact() {
            tracing::warn!(error = %e, "the file of vectors was not rewritten");
        }
    }
}
