//! The graph, wired: rows as the store commits them become changes of a [`devmesh_graph::Graph`], and incidents besides.
//!
//! - Rows are read beside the ingestion, which never waits for it. Where they come faster than they are read, some are lost
//!   here (never in the store): what they show is then read by SQL, without figures, so that nothing counts twice.
//! - After a start, what was kept is there; what came after it was kept is read by SQL. Where nothing was kept, the newest rows
//!   are, as many as [`limits::GRAPH_REBUILD_ROWS`].
//! - Where a database keeps it and is away, changes wait in the observer, which is bounded, and queries say so.

mod sql;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use devmesh_graph::{
    Around, Changes, Graph, IncidentSeen, Kind, NodeQuery, Observer, Range, Rows, Seen, identity, statements,
};
use devmesh_query::{Engine, Error, SqlOptions};
use devmesh_schema::{Signal, TimestampNs, limits};
use devmesh_store::{Committed, PatternMap, Store, parse_pattern_id, pattern_id_text};
use futures::StreamExt;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError, error::TryRecvError},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{anomalies::Anomalies, api::params::now};
pub(crate) use sql::{InSql, mean_ms, whole};

/// How long what was seen may wait to be shown.
const SHOW: Duration = Duration::from_millis(250);
/// Time between two looks at incidents and merged patterns.
const LOOK: Duration = Duration::from_secs(5);
/// Time between two times that it is kept.
const KEEP: Duration = Duration::from_secs(10);
/// Commits that are read at once.
const AT_ONCE: usize = 64;
/// How long one statement of a rebuild may run.
const PATIENCE: Duration = Duration::from_secs(25);
/// The time that one statement of a rebuild reads.
const STRETCH: TimestampNs = 600_000_000_000;
/// How far back a rebuild goes from the newest row.
const PAST: TimestampNs = 86_400_000_000_000;
/// How far before the last row read the reading of lost rows begins.
const SLACK: TimestampNs = 60_000_000_000;

/// How long the doors wait for the store to say what it has: a database may be away.
const ANSWER: Duration = Duration::from_secs(2);

/// The graph of a server.
pub(crate) struct Graphed {
    graph: Arc<dyn Graph>,
    /// For how long what is seen no more is kept.
    retention: Duration,
    /// Commits that could not be read in time.
    lost: AtomicU64,
}

impl fmt::Debug for Graphed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graphed").field("graph", &self.graph).finish_non_exhaustive()
    }
}

/// What the graph is made of.
pub(crate) struct Sources {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) anomalies: Arc<Anomalies>,
}

/// The time of the newest record of each signal, where there are any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored([Option<TimestampNs>; 3]);

impl Stored {
    /// What is stored now. A store that cannot say has records up to this moment.
    pub(crate) async fn of(engine: &Engine) -> Self {
        let mut stored = [Some(now()); 3];
        for (place, signal) in stored.iter_mut().zip(Signal::ALL) {
            match tokio::time::timeout(ANSWER, newest(engine, signal)).await {
                Ok(Ok(newest)) => *place = newest,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the store cannot say up to when it has records");
                    break;
                }
                Err(_) => {
                    tracing::warn!("the store takes its time to say up to when it has records");
                    break;
                }
            }
        }
        Self(stored)
    }
}

/// The state of one run.
struct Run {
    graphed: Arc<Graphed>,
    sources: Sources,
    observer: Option<Observer>,
    /// Changes that the graph has not taken.
    pending: Option<Changes>,
    patterns: Arc<PatternMap>,
    /// Incidents as they were last told.
    told: HashMap<String, u64>,
    /// When the last rows were read, by the server's clock.
    last: TimestampNs,
    /// Up to where the graph was told that it has everything.
    taken: TimestampNs,
    catching_up: Option<tokio::task::JoinHandle<()>>,
    /// Whether what was there at the start is in the graph.
    whole: Arc<AtomicBool>,
    failing: bool,
}

impl Graphed {
    pub(crate) fn new(graph: Arc<dyn Graph>, retention: Duration) -> Arc<Self> {
        Arc::new(Self { graph, retention, lost: AtomicU64::new(0) })
    }

    /// What is asked.
    pub(crate) fn graph(&self) -> &dyn Graph {
        &*self.graph
    }

    /// Commits that could not be read in time, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Follows the store until told to stop; then takes in what is left and keeps it. `commits` and `stored` are from before the
    /// doors opened: what comes in later is in the commits alone, whatever its time.
    pub(crate) async fn run(
        self: Arc<Self>,
        sources: Sources,
        mut commits: Receiver<Committed>,
        stored: Stored,
        stop: CancellationToken,
    ) {
        let begun = now();
        let mut run = Run {
            graphed: Arc::clone(&self),
            patterns: sources.store.snapshot().patterns(),
            sources,
            observer: Some(Observer::default()),
            pending: None,
            told: HashMap::new(),
            last: begun,
            taken: TimestampNs::MIN,
            catching_up: None,
            whole: Arc::default(),
            failing: false,
        };
        run.rebuild(stored).await;
        let mut show = interval(SHOW);
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut kept) = (Instant::now(), Instant::now());
        loop {
            let committed = tokio::select! {
                () = stop.cancelled() => break,
                _ = show.tick() => {
                    run.show().await;
                    None
                }
                committed = commits.recv(), if run.has_room() => Some(committed),
            };
            match committed {
                Some(Ok(committed)) => run.read(committed, &mut commits).await,
                Some(Err(RecvError::Lagged(count))) => run.lost(count),
                Some(Err(RecvError::Closed)) => break,
                None => {}
            }
            if looked.elapsed() >= LOOK {
                if run.catching_up.is_none() {
                    run.rebuild(stored).await;
                }
                run.look().await;
                looked = Instant::now();
            }
            if kept.elapsed() >= KEEP {
                run.keep().await;
                kept = Instant::now();
            }
        }
        if let Some(task) = run.catching_up.take() {
            task.abort();
        }
        while let Ok(committed) = commits.try_recv() {
            run.read(committed, &mut commits).await;
        }
        run.look().await;
        run.show().await;
        run.keep().await;
    }
}

impl Run {
    /// Whether more can be taken in: a graph that is away takes no changes.
    fn has_room(&self) -> bool {
        self.observer.as_ref().is_none_or(|observer| observer.changes() < limits::GRAPH_NODES)
    }

    /// Reads a commit and those behind it, on a thread that may take its time.
    async fn read(&mut self, committed: Committed, commits: &mut Receiver<Committed>) {
        let mut batch = vec![committed];
        while batch.len() < AT_ONCE {
            match commits.try_recv() {
                Ok(committed) => batch.push(committed),
                Err(TryRecvError::Lagged(count)) => self.lost(count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let Some(mut observer) = self.observer.take() else { return };
        let patterns = Arc::clone(&self.patterns);
        let at = now();
        let read = tokio::task::spawn_blocking(move || {
            for Committed { signal, rows } in &batch {
                let pattern = |text: &str| (pattern_id_text(patterns.pattern_of_text(text)), text.to_owned());
                if let Err(error) = observer.read(*signal, &Rows::Stored(*signal, rows), at, &pattern) {
                    tracing::error!(%error, "a commit is not in the graph");
                }
            }
            observer
        });
        self.last = at;
        self.observer = Some(read.await.unwrap_or_else(|error| {
            tracing::error!(%error, "what the graph had not yet taken in is lost");
            Observer::default()
        }));
    }

    /// Hands what was seen to the graph.
    async fn show(&mut self) {
        let now = now();
        let Some(observer) = &mut self.observer else { return };
        observer.expire(now);
        if self.pending.is_none() {
            let mut changes = observer.take(now);
            // What came before the last rows was read before them.
            changes.taken = self.whole.load(Relaxed).then_some(self.last);
            let news = !changes.is_empty() || changes.taken > Some(self.taken);
            self.pending = news.then_some(changes);
        }
        let Some(changes) = &self.pending else { return };
        match self.graphed.graph.apply(changes).await {
            Ok(()) => {
                self.taken = changes.taken.unwrap_or(self.taken);
                self.pending = None;
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the graph is written again");
                }
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(%error, "the graph cannot be written; it is tried again");
            }
            Err(_) => {}
        }
    }

    /// Looks at what is no row: incidents, and patterns that have become part of others.
    async fn look(&mut self) {
        self.patterns = self.sources.store.snapshot().patterns();
        let query = NodeQuery { kind: Some(Kind::Pattern), limit: limits::GRAPH_NODES, ..NodeQuery::default() };
        let known = self.graphed.graph.nodes(&query).await.unwrap_or_default();
        for node in known.nodes {
            let Some(text) = node.id.strip_prefix(Kind::Pattern.prefix()) else { continue };
            let part_of = parse_pattern_id(text).and_then(|id| self.patterns.pattern_of(id).filter(|now| *now != id));
            if let Some(id) = part_of
                && let Err(error) = self.merge(&node.id, id).await
            {
                tracing::warn!(%error, "a pattern that is part of another is still in the graph");
            }
        }
        let Some(observer) = &mut self.observer else { return };
        let now = now();
        for incident in self.sources.anomalies.newest() {
            let ends = incident.closed.unwrap_or(now);
            // An open one is told again every minute.
            let minute = u64::try_from(ends / 60_000_000_000).unwrap_or(0);
            if self.told.insert(incident.id.clone(), minute) == Some(minute) {
                continue;
            }
            observer.incident(IncidentSeen {
                state: incident.state().to_owned(),
                severity: incident.severity.name().to_owned(),
                seen: Seen { first: incident.opened, last: ends.max(incident.opened) },
                id: incident.id,
                title: incident.title,
                services: incident.services,
                causes: Vec::new(),
            });
        }
    }

    /// What is known of a pattern becomes known of the one that it is part of now.
    async fn merge(&self, old: &str, id: u64) -> Result<(), devmesh_graph::Error> {
        let around = Around { depth: 1, range: Range::default(), limit: limits::GRAPH_NODES };
        let Some(part) = self.graphed.graph.neighbours(old, around).await? else { return Ok(()) };
        let Some(mut node) = part.nodes.into_iter().next() else { return Ok(()) };
        let text = self.patterns.list().iter().find(|pattern| pattern.id == id).map(|pattern| pattern.text.as_str());
        let gone = std::mem::replace(&mut node.id, identity(Kind::Pattern, &[&pattern_id_text(id)]).into());
        node.name = text.map_or_else(|| Arc::clone(&node.name), Arc::from);
        let mut edges = part.edges;
        edges.retain_mut(|edge| {
            let is_its = edge.to == gone;
            edge.to = Arc::clone(&node.id);
            is_its
        });
        let changes = Changes { nodes: vec![node], edges, gone: vec![gone], now: now(), taken: None };
        self.graphed.graph.apply(&changes).await
    }

    async fn keep(&self) {
        let graphed = Arc::clone(&self.graphed);
        let runtime = tokio::runtime::Handle::current();
        let oldest = i64::try_from(graphed.retention.as_nanos()).unwrap_or(i64::MAX);
        let kept = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                graphed.graph.prune(now().saturating_sub(oldest), limits::GRAPH_NODES * 9 / 10).await?;
                graphed.graph.keep().await
            })
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the graph could not be kept"),
            Err(error) => tracing::error!(%error, "the graph could not be kept"),
        }
    }

    /// Some commits came faster than they were read.
    fn lost(&mut self, count: u64) {
        self.graphed.lost.fetch_add(count, Relaxed);
        if self.catching_up.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        tracing::info!(commits = count, "the graph is behind; what it missed is read from the store");
        let start = self.last.saturating_sub(SLACK);
        let (graphed, engine) = (Arc::clone(&self.graphed), Arc::clone(&self.sources.engine));
        self.catching_up = Some(tokio::spawn(async move {
            let stored = Stored::of(&engine).await;
            said(&read_back(&graphed, &engine, start, stored, None).await);
        }));
    }

    /// Begins to read what the graph has not got: since it was kept, or the newest rows where nothing was.
    async fn rebuild(&mut self, stored: Stored) {
        let taken = match self.graphed.graph.taken().await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "the graph cannot be read");
                return;
            }
        };
        let (graphed, engine) = (Arc::clone(&self.graphed), Arc::clone(&self.sources.engine));
        let start = taken.unwrap_or(TimestampNs::MIN);
        let (whole, patterns) = (Arc::clone(&self.whole), Arc::clone(&self.patterns));
        self.catching_up = Some(tokio::spawn(async move {
            let read = read_back(&graphed, &engine, start, stored, Some(&patterns)).await;
            whole.store(read.is_ok(), Relaxed);
            said(&read);
        }));
    }
}

fn said(result: &Result<usize, Error>) {
    match result {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "the graph has read back what it had not got"),
        Err(error) => tracing::warn!(%error, "what the graph has not got could not be read back"),
    }
}

/// Reads rows from a time on by SQL, the newest first, until there are enough. With `patterns` they count and show their
/// patterns, else they were counted by somebody. Answers how many rows.
async fn read_back(
    graphed: &Graphed,
    engine: &Engine,
    start: TimestampNs,
    stored: Stored,
    patterns: Option<&PatternMap>,
) -> Result<usize, Error> {
    let mut rows = 0;
    let texts = patterns.map(|patterns| {
        let text = |pattern: &devmesh_store::PatternText| (pattern_id_text(pattern.id), pattern.text.clone());
        Arc::new(patterns.list().iter().map(text).collect::<HashMap<String, String>>())
    });
    for (signal, newest) in Signal::ALL.into_iter().zip(stored.0) {
        let Some(newest) = newest else { continue };
        let first = start.max(newest.saturating_sub(PAST));
        let mut end = newest.saturating_add(1);
        let mut left = limits::GRAPH_REBUILD_ROWS;
        while end > first && left > 0 {
            let start = end.saturating_sub(STRETCH).max(first);
            let read = read_stretch(graphed, engine, signal, Range { start, end }, texts.as_ref(), left).await?;
            left -= read.min(left);
            rows += read;
            end = start;
        }
    }
    Ok(rows)
}

async fn newest(engine: &Engine, signal: Signal) -> Result<Option<TimestampNs>, Error> {
    let options = SqlOptions { limit: Some(1), timeout: Some(PATIENCE) };
    let answer = engine.sql(&statements::newest(signal), options).await?.collect().await?;
    let newest = answer.first().and_then(|batch| {
        let times = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Int64).ok()?;
        let times = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&times).clone();
        times.iter().next().flatten()
    });
    Ok(newest)
}

async fn read_stretch(
    graphed: &Graphed,
    engine: &Engine,
    signal: Signal,
    range: Range,
    texts: Option<&Arc<HashMap<String, String>>>,
    limit: usize,
) -> Result<usize, Error> {
    let options = SqlOptions { limit: Some(limit), timeout: Some(PATIENCE) };
    let mut answer = engine.sql(&statements::rows(signal, range), options).await?;
    let mut observer = Observer::default();
    let mut rows = 0;
    while let Some(batch) = answer.rows.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        let texts = texts.map(Arc::clone);
        let read = tokio::task::spawn_blocking(move || {
            let text = |id: &str| texts.as_ref().and_then(|texts| texts.get(id)).cloned();
            let pattern = |id: &str| (id.to_owned(), text(id).unwrap_or_else(|| id.to_owned()));
            let result = observer.read(signal, &Rows::Answered(&batch), 0, &pattern);
            (observer, result)
        });
        let (read, result) = read.await.map_err(|error| Error::Internal(error.to_string()))?;
        observer = read;
        result.map_err(|error| Error::Internal(error.to_string()))?;
    }
    observer.finish();
    let mut changes = observer.take(now());
    if texts.is_none() {
        changes.nodes.iter_mut().for_each(|node| node.figures = devmesh_graph::Figures::default());
        changes.edges.iter_mut().for_each(|edge| edge.figures = devmesh_graph::Figures::default());
    }
    graphed.graph.apply(&changes).await.map_err(|error| Error::Store(error.to_string()))?;
    Ok(rows)
}
