//! Search by meaning as a server has it: the patterns of a store, followed; their vectors, made once and kept; questions
//! answered.
//!
//! One thread looks at the source's version a few times a second. What is new or has changed is listed under its words at
//! once, and its text goes to the [`Queue`], whose thread embeds it, writes the vector down and lists it. A pattern that is
//! gone leaves the index, and its vector the file. Weights may come while it runs: they are looked for now and then,
//! compared with their checksums, and loaded.
//!
//! # How it fails
//! Without weights, with damaged ones, or with a directory that can't be written, words answer alone; [`Meaning::status`] says so
//! and what to do, and it is tried again later. A vector that could not be written is made again after a restart.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::embedding::{Embedder, Queue, QueueStatus, VectorFile, VectorReader};
use crate::model::{self, MINILM};
use crate::search::{Hit, HitWithLines, QUESTION_BYTES, Searcher, text_hash};
use crate::{Error, PatternId};

/// How long the source is left alone at least. A new pattern is seen so much later.
const PAUSE: Duration = Duration::from_millis(250);
/// How much longer than following took it is left alone, so that a stream of new patterns costs a fifth of a core at most.
const REST: u32 = 4;
/// How often weights are looked for: three looks at a directory.
const WEIGHTS_PAUSE: Duration = Duration::from_secs(2);
/// How long what failed is left alone before it is tried again.
const FAULT_PAUSE: Duration = Duration::from_secs(60);
/// Texts that wait for the model; what finds no room waits with the follower.
const QUEUE: usize = 8192;
/// Patterns that are listed under one lock: searches wait for so many.
const BATCH: usize = 128;

/// A pattern, as its source lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Its number.
    pub id: PatternId,
    /// Its text, with `<*>` for parameters.
    pub template: String,
    /// A text that has it.
    pub example: String,
}

/// Who has patterns.
pub trait Source: Send + 'static {
    /// Rises whenever a pattern was added or its text changed.
    fn version(&self) -> u64;
    /// All patterns.
    fn patterns(&self) -> Vec<Pattern>;
}

/// Where things lie, and what may be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of models.
    pub models: PathBuf,
    /// The file of vectors; its directory is made.
    pub vectors: PathBuf,
    /// Threads that embed in the background.
    pub threads: usize,
}

/// What is known of the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// They are not there.
    Absent,
    /// They are being compared with their checksums and loaded.
    Loading,
    /// They take part.
    Ready,
    /// They can't be used, and why.
    Broken(String),
}

/// What has been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Patterns that can be found.
    pub patterns: usize,
    /// Patterns that wait for their vector.
    pub waiting: usize,
    /// Vectors made since the start.
    pub embedded: u64,
    /// The weights.
    pub weights: Weights,
}

/// A question with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// In plain words.
    pub text: String,
    /// `None` where words answer alone.
    pub vector: Option<Vec<f32>>,
    /// The model that takes part; where none does, why, and what to do.
    pub model: String,
}

/// The service. Dropping it stops its threads.
#[derive(Debug)]
pub struct Meaning {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    searcher: Arc<Searcher>,
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stop: bool,
    weights: Weights,
    /// Whether the source's last version has been followed, and no text waits with the follower.
    settled: bool,
    /// Texts that wait with the follower.
    waiting: usize,
    queue: QueueStatus,
}

impl Meaning {
    /// Starts following a source.
    ///
    /// # Errors
    /// The operating system's, where it gives no thread.
    pub fn start(source: impl Source, settings: Settings) -> std::io::Result<Self> {
        let state =
            State { stop: false, weights: Weights::Absent, settled: false, waiting: 0, queue: QueueStatus::default() };
        let shared = Arc::new(Shared {
            searcher: Arc::new(Searcher::default()),
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut follower = Follower::new(Arc::clone(&shared), source);
        let thread = std::thread::Builder::new().name("meaning".into()).spawn(move || follower.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Embeds a question. It computes for some milliseconds: call it on a thread that may, as all that follows.
    pub fn question(&self, text: &str) -> Question {
        let text = text[..text.floor_char_boundary(QUESTION_BYTES)].to_owned();
        let vector = self.shared.searcher.embed(&text);
        let model = if vector.is_some() { model::NAME.to_owned() } else { self.without_model() };
        Question { text, vector, model }
    }

    fn without_model(&self) -> String {
        let name = model::NAME;
        let why = match &self.shared.lock().weights {
            Weights::Absent => format!("`devmesh model pull` fetches {name}"),
            Weights::Loading => format!("{name} is being loaded"),
            Weights::Ready => format!("{name} failed on this question"),
            Weights::Broken(why) => why.clone(),
        };
        format!("none: words only; {why}")
    }

    /// The best `k` of the `wanted` patterns, best first.
    pub fn search(&self, question: &Question, k: usize, wanted: impl Fn(PatternId) -> bool) -> Vec<Hit> {
        self.shared.searcher.index().search(&question.text, question.vector.as_deref(), k, wanted)
    }

    /// The same, with lines of logs at hand: see [`Index::search_with_lines`](crate::search::Index::search_with_lines).
    pub fn search_with_lines(
        &self,
        question: &Question,
        k: usize,
        lines: &[(PatternId, &str)],
        wanted: impl Fn(PatternId) -> bool,
    ) -> Vec<HitWithLines> {
        let index = self.shared.searcher.index();
        index.search_with_lines(&question.text, question.vector.as_deref(), k, lines, wanted)
    }

    /// The tokens of a question by which logs that it means may be looked up.
    pub fn lookups(&self, question: &Question, limit: usize) -> Vec<String> {
        self.shared.searcher.index().lookups(&question.text, limit)
    }

    /// The templates of patterns, as far as they are known.
    pub fn templates(&self, patterns: impl IntoIterator<Item = PatternId>) -> Vec<Option<String>> {
        let index = self.shared.searcher.index();
        patterns.into_iter().map(|pattern| index.template(pattern).map(str::to_owned)).collect()
    }

    /// The vectors of the patterns that have one, read from the file.
    ///
    /// # Errors
    /// [`Error::Vectors`] where it can't be opened; each item the same where it can't be read on.
    pub fn vectors(&self) -> Result<impl Iterator<Item = Result<(PatternId, Vec<f32>), Error>> + Send + use<>, Error> {
        let reader = VectorReader::open(&self.shared.settings.vectors, model::NAME)?;
        let searcher = Arc::clone(&self.shared.searcher);
        let mut seen = HashSet::new();
        Ok(reader.filter_map(move |record| match record {
            Ok((pattern, text, vector)) => {
                let counts = searcher.index().has_vector(pattern, text) && seen.insert(pattern);
                counts.then_some(Ok((pattern, vector)))
            }
            Err(error) => Some(Err(error)),
        }))
    }

    /// What has been done.
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        let (waiting, embedded) = (state.waiting + state.queue.waiting, state.queue.embedded);
        let weights = state.weights.clone();
        drop(state);
        Status { patterns: self.shared.searcher.index().len(), waiting, embedded, weights }
    }

    /// Waits until all patterns that the source has now can be found, by meaning where there are weights; `false` where that
    /// takes longer than `limit`.
    pub fn wait_settled(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        // What was settled before this call may be so no more.
        state.settled = false;
        while !state.settled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Meaning {
    /// Stops following and embedding, after the texts that are being embedded. Questions are still answered.
    pub fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows patterns had panicked");
        }
    }
}

impl Drop for Meaning {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The state is whole between any two statements that hold the lock, so a panic elsewhere doesn't spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Vectors by pattern, with the hashes of their texts.
type Stored = HashMap<PatternId, (u64, Vec<f32>)>;

/// The thread.
struct Follower<S> {
    shared: Arc<Shared>,
    source: S,
    /// Hash of what was listed of each pattern.
    known: HashMap<PatternId, u64>,
    /// Texts that have neither a vector nor a place in the queue.
    wanting: HashMap<PatternId, String>,
    /// The source's version that was followed.
    version: Option<u64>,
    /// Before it the source is left alone.
    rest: Instant,
    queue: Option<Queue>,
    /// Vectors of the file, until the first patterns are there.
    stored: Option<Stored>,
    /// Before it weights are not looked for.
    look: Instant,
}

impl<S: Source> Follower<S> {
    fn new(shared: Arc<Shared>, source: S) -> Self {
        let now = Instant::now();
        let (known, wanting) = (HashMap::new(), HashMap::new());
        Self { shared, source, known, wanting, version: None, rest: now, queue: None, stored: None, look: now }
    }

    fn run(&mut self) {
        loop {
            if Instant::now() >= self.rest {
                self.follow();
            }
            if self.queue.is_none() && Instant::now() >= self.look {
                self.load();
            }
            self.take_stored();
            self.offer();
            if self.wait() {
                return;
            }
        }
    }

    /// Takes over what the source has, where that is another than before.
    fn follow(&mut self) {
        let version = self.source.version();
        if self.version == Some(version) {
            return;
        }
        let begun = Instant::now();
        let patterns = self.source.patterns();
        let now: HashSet<PatternId> = patterns.iter().map(|p| p.id).collect();
        let gone: Vec<PatternId> = self.known.keys().filter(|id| !now.contains(id)).copied().collect();
        self.forget(&gone);
        let hash = |p: &Pattern| text_hash(&format!("{}\0{}", p.template, p.example));
        let changed: Vec<(u64, &Pattern)> =
            patterns.iter().map(|p| (hash(p), p)).filter(|(hash, p)| self.known.get(&p.id) != Some(hash)).collect();
        for batch in changed.chunks(BATCH) {
            let mut index = self.shared.searcher.index_mut();
            for (hash, pattern) in batch {
                match index.upsert(pattern.id, &pattern.template, &pattern.example) {
                    Some(text) => drop(self.wanting.insert(pattern.id, text)),
                    None => drop(self.wanting.remove(&pattern.id)),
                }
                self.known.insert(pattern.id, *hash);
            }
        }
        self.version = Some(version);
        self.rest = Instant::now() + begun.elapsed() * REST;
    }

    fn forget(&mut self, gone: &[PatternId]) {
        for batch in gone.chunks(BATCH) {
            let mut index = self.shared.searcher.index_mut();
            batch.iter().for_each(|pattern| index.remove(*pattern));
        }
        for pattern in gone {
            self.known.remove(pattern);
            self.wanting.remove(pattern);
        }
        if let Some(queue) = &self.queue {
            queue.forget(gone);
        }
    }

    /// Loads the weights and opens the file, where the weights are there.
    fn load(&mut self) {
        self.look = Instant::now() + WEIGHTS_PAUSE;
        let models = &self.shared.settings.models;
        if !MINILM.installed(models).is_complete() {
            self.shared.lock().weights = Weights::Absent;
            return;
        }
        self.shared.lock().weights = Weights::Loading;
        let begun = Instant::now();
        match self.open() {
            Ok((embedder, queue, stored)) => {
                let vectors = stored.len();
                self.shared.searcher.set_embedder(embedder);
                (self.queue, self.stored) = (Some(queue), Some(stored));
                self.shared.lock().weights = Weights::Ready;
                tracing::info!(
                    model = model::NAME,
                    vectors,
                    elapsed_ms = begun.elapsed().as_millis() as u64,
                    "search by meaning is ready"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "search goes by words alone");
                self.look = Instant::now() + FAULT_PAUSE;
                self.shared.lock().weights = Weights::Broken(error.to_string());
            }
        }
    }

    fn open(&self) -> Result<(Arc<Embedder>, Queue, Stored), Error> {
        let Settings { models, vectors, threads } = &self.shared.settings;
        let io = |e: std::io::Error| Error::vectors("create the directory of", vectors, e);
        MINILM.verify(models)?;
        let embedder = Arc::new(Embedder::load(&MINILM.directory(models))?);
        if let Some(directory) = vectors.parent() {
            std::fs::create_dir_all(directory).map_err(io)?;
        }
        let (file, stored) = VectorFile::open(vectors, embedder.name())?;
        let searcher = Arc::clone(&self.shared.searcher);
        let receive = move |vectors: &[(PatternId, u64, Vec<f32>)]| {
            let mut index = searcher.index_mut();
            for (pattern, text, vector) in vectors {
                // A pattern that has changed meanwhile waits for its new text's vector.
                index.set_vector(*pattern, *text, vector);
            }
        };
        let queue = Queue::start(Arc::clone(&embedder), file, QUEUE, *threads, receive).map_err(io)?;
        Ok((embedder, queue, stored.into_iter().map(|(pattern, text, vector)| (pattern, (text, vector))).collect()))
    }

    /// Gives patterns the vectors that the file had of their texts, once there are patterns.
    fn take_stored(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let Some(stored) = self.stored.take() else { return };
        let stored: Vec<(PatternId, (u64, Vec<f32>))> = stored.into_iter().collect();
        for batch in stored.chunks(BATCH) {
            let mut index = self.shared.searcher.index_mut();
            for (pattern, (text, vector)) in batch {
                if index.set_vector(*pattern, *text, vector) {
                    self.wanting.remove(pattern);
                }
            }
        }
        let gone: Vec<PatternId> = stored.iter().map(|v| v.0).filter(|id| !self.known.contains_key(id)).collect();
        if let Some(queue) = &self.queue {
            queue.forget(&gone);
        }
    }

    /// Hands texts to the queue as long as it has room.
    fn offer(&mut self) {
        let Some(queue) = &self.queue else { return };
        let room = QUEUE - queue.status().waiting.min(QUEUE);
        let patterns: Vec<PatternId> = self.wanting.keys().take(room).copied().collect();
        for pattern in patterns {
            let Some(text) = self.wanting.remove(&pattern) else { continue };
            if !queue.offer(pattern, text.clone()) {
                self.wanting.insert(pattern, text);
                return;
            }
        }
    }

    /// Says how far it is, and waits. Whether it is to stop.
    fn wait(&mut self) -> bool {
        let queue = self.queue.as_ref().map(Queue::status).unwrap_or_default();
        let idle = self.queue.as_ref().is_some_and(|queue| queue.wait_idle(Duration::ZERO));
        let embedded = idle && self.wanting.is_empty();
        let followed = self.version == Some(self.source.version());
        let mut state = self.shared.lock();
        (state.waiting, state.queue) = (self.wanting.len(), queue);
        state.settled = followed && (embedded || self.queue.is_none());
        if state.settled {
            self.shared.changed.notify_all();
        }
        if !state.stop {
            state = self.shared.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stop
    }
}
