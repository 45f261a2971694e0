//! From the text of a query to its rows.
//!
//! Queries run on threads of their own, with deep stacks, so that ingest never waits for one and none can overflow a
//! stack (S13). Each has a bounded time, memory and number of rows; dropping its answer stops it.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::{
    execution::{
        SessionState, SessionStateBuilder,
        cache::cache_manager::CacheManagerConfig,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    physical_plan::{ExecutionPlan, execute_stream, metrics::MetricValue},
};
use devmesh_store::Store;
use futures::{FutureExt, Stream, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    alerts::{self, Alerts},
    error::{Error, from_datafusion},
    graph::{self, Graph},
    guard, in_store,
    incidents::{self, Incidents},
    limits::{self, Limits},
    meaning::{SemanticSearch, Slot},
    memory,
    pool::{QueryPool, Total},
    scope::Scope,
    session::{self, Base},
};

/// How a query is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlOptions {
    /// Rows of the answer at most; `None`: [`limits::ROWS_DEFAULT`]. The answer says whether there were more.
    pub limit: Option<usize>,
    /// Wall time at most; `None`, or more than the engine's own limit: that.
    pub timeout: Option<Duration>,
}

/// What became known while a query ran. Complete once its rows have ended.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    rows_scanned: AtomicU64,
    truncated: AtomicBool,
    elapsed: OnceLock<Duration>,
}

impl Stats {
    fn new() -> Arc<Self> {
        let (rows_scanned, truncated) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { started: Instant::now(), rows_scanned, truncated, elapsed: OnceLock::new() })
    }

    /// Rows that were looked at, once files and pages without a match were ruled out.
    pub fn rows_scanned(&self) -> u64 {
        self.rows_scanned.load(Ordering::Acquire)
    }

    /// Whether there were more rows than the limit.
    pub fn truncated(&self) -> bool {
        self.truncated.load(Ordering::Acquire)
    }

    /// From the question to the last row; to now, where that hasn't come.
    pub fn elapsed(&self) -> Duration {
        self.elapsed.get().copied().unwrap_or_else(|| self.started.elapsed())
    }
}

/// The rows of an answer, as they come. Dropped, the query stops.
pub struct Rows {
    batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    task: AbortHandle,
    stats: Arc<Stats>,
    ended: bool,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.batches.poll_recv(cx));
        // Every query takes its time at its end, however it ends; one that was stopped in the middle did not.
        let cut = next.is_none() && !self.ended && self.stats.elapsed.get().is_none();
        self.ended |= next.is_none();
        Poll::Ready(if cut { Some(Err(Error::Internal("the query was stopped before its end".into()))) } else { next })
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query.
#[derive(Debug)]
pub struct Answer {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows; the last item is an error where the query failed on the way.
    pub rows: Rows,
    /// Figures, complete once the rows have ended.
    pub stats: Arc<Stats>,
}

impl Answer {
    /// All rows at once.
    ///
    /// # Errors
    /// The query failed on the way.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.rows.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// Answers queries over a store.
pub struct Engine {
    store: Arc<dyn Store>,
    base: Arc<Base>,
    meaning: Slot,
    incidents: incidents::Slot,
    graph: graph::Slot,
    alerts: alerts::Slot,
    limits: Limits,
    total: Arc<Total>,
    turns: Arc<Semaphore>,
    /// `Some` until dropped.
    threads: Option<Runtime>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Engine {
    /// An engine over a store.
    ///
    /// # Errors
    /// No threads could be started, or a view is not valid SQL.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = if limits.threads == 0 { cores } else { limits.threads };
        let threads = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_stack_size(limits::STACK_BYTES)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|error| Error::Internal(format!("failed to start threads for queries: {error}")))?;
        let caches = RuntimeEnvBuilder::new()
            .with_cache_manager(CacheManagerConfig::default().with_metadata_cache_limit(limits.metadata_cache))
            .build()
            .map_err(Error::from)?;
        let metadata = caches.cache_manager.get_file_metadata_cache();
        // On a thread of the engine: the caller may itself be inside a runtime, where blocking is not allowed.
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let meaning = Slot::default();
        let slot = meaning.clone();
        let incidents = incidents::Slot::default();
        let listed = incidents.clone();
        let graph = graph::Slot::default();
        let asked = graph.clone();
        let alerts = alerts::Slot::default();
        let shown = alerts.clone();
        threads.spawn(async move {
            // The engine's making ends with the answer; nobody else listens.
            drop(tell.send(session::base(metadata, count, slot, listed, shown, &asked).await));
        });
        let base = told.recv().map_err(|error| Error::Internal(error.to_string()))??;
        Ok(Self {
            store,
            base: Arc::new(base),
            meaning,
            incidents,
            graph,
            alerts,
            total: Total::new(limits.total_memory),
            turns: Arc::new(Semaphore::new(limits.concurrency)),
            limits,
            threads: Some(threads),
        })
    }

    /// The same engine, with search by meaning.
    #[must_use]
    pub fn with_meaning(self, meaning: Arc<dyn SemanticSearch>) -> Self {
        self.meaning.set(meaning);
        self
    }

    /// The same engine, with the table `incidents` filled.
    #[must_use]
    pub fn with_incidents(self, incidents: Arc<dyn Incidents>) -> Self {
        self.incidents.set(incidents);
        self
    }

    /// The same engine, with the table `alerts` filled.
    #[must_use]
    pub fn with_alerts(self, alerts: Arc<dyn Alerts>) -> Self {
        self.alerts.set(alerts);
        self
    }

    /// The same engine, with the graph to be asked in SQL.
    #[must_use]
    pub fn with_graph(self, graph: Arc<dyn Graph>) -> Self {
        self.graph.set(graph);
        self
    }

    /// Search by meaning.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the engine has none.
    pub(crate) fn meaning(&self) -> Result<&Arc<dyn SemanticSearch>, Error> {
        self.meaning.needed()
    }

    /// What is asked.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Names of the tables and views, sorted.
    pub fn tables(&self) -> &[String] {
        &self.base.tables
    }

    /// Answers one query: SELECT, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE.
    ///
    /// # Errors
    /// See [`Error`]. What goes wrong after the first row comes with the rows.
    pub async fn sql(&self, sql: &str, options: SqlOptions) -> Result<Answer, Error> {
        let stats = Stats::new();
        let turn = self.turn().await?;
        let time = options.timeout.map_or(self.limits.timeout, |t| t.min(self.limits.timeout));
        let scope = Scope::new(&*self.store);
        let query = Query {
            store: Arc::clone(&self.store),
            base: Arc::clone(&self.base),
            state: self.state(&scope)?,
            scope,
            sql: sql.into(),
            limit: options.limit.unwrap_or(limits::ROWS_DEFAULT),
            stats: Arc::clone(&stats),
        };
        let (begun, begins) = oneshot::channel();
        let (batches, receiver) = mpsc::channel(limits::BATCHES_AHEAD);
        let Some(threads) = &self.threads else { return Err(Error::Internal("the engine is closed".into())) };
        let task = threads.spawn(query.run(begun, batches, time, turn)).abort_handle();
        let rows = Rows { batches: receiver, task, stats: Arc::clone(&stats), ended: false };
        match begins.await {
            Ok(schema) => Ok(Answer { schema: schema?, rows, stats }),
            Err(_) => Err(Error::Internal("the query ended without an answer".into())),
        }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        match timeout(self.limits.queue_wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Busy { running: self.limits.concurrency, waited: self.limits.queue_wait }),
        }
    }

    /// The session of one query: rows, memory and files to spill to of its own.
    fn state(&self, scope: &Arc<Scope>) -> Result<SessionState, Error> {
        let runtime = match &self.limits.spill_dir {
            // On a disk that is full or read-only, queries that need no spilling are answered all the same.
            Some(dir) => self.runtime(DiskManagerMode::Directories(vec![dir.clone()])).or_else(|error| {
                tracing::debug!(%error, directory = %dir.display(), "a query cannot spill");
                self.runtime(DiskManagerMode::Disabled)
            }),
            None => self.runtime(DiskManagerMode::Disabled),
        };
        let mut builder = SessionStateBuilder::new_from_existing(self.base.state.clone()).with_runtime_env(runtime?);
        builder.config().get_or_insert_default().set_extension(Arc::clone(scope));
        Ok(builder.build())
    }

    fn runtime(&self, spill: DiskManagerMode) -> Result<Arc<RuntimeEnv>, Error> {
        let pool = QueryPool::new(FairSpillPool::new(self.limits.query_memory), Arc::clone(&self.total));
        let spill =
            DiskManagerBuilder::default().with_mode(spill).with_max_temp_directory_size(self.limits.spill_bytes);
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(spill)
            .build_arc()
            .map_err(Error::from)
    }
}

type Begun = oneshot::Sender<Result<SchemaRef, Error>>;

/// A query on its way.
struct Query {
    store: Arc<dyn Store>,
    base: Arc<Base>,
    state: SessionState,
    scope: Arc<Scope>,
    sql: String,
    limit: usize,
    stats: Arc<Stats>,
}

impl Query {
    async fn run(
        self,
        begun: Begun,
        batches: mpsc::Sender<Result<RecordBatch, Error>>,
        time: Duration,
        turn: OwnedSemaphorePermit,
    ) {
        let mut begun = Some(begun);
        let stats = Arc::clone(&self.stats);
        let (scope, store) = (Arc::clone(&self.scope), Arc::clone(&self.store));
        let work = AssertUnwindSafe(self.answer(&mut begun, &batches)).catch_unwind();
        let outcome = match timeout(time, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(Error::Internal("the query met a fault of the engine".into())),
            Err(_) => Err(Error::Timeout(time)),
        };
        stats.elapsed.get_or_init(|| stats.started.elapsed());
        if let Err(error) = outcome {
            let error = blame(error, &scope, &*store).await;
            // Where nobody listens any more, nobody needs the reason.
            match begun {
                Some(begun) => drop(begun.send(Err(error))),
                None => drop(batches.send(Err(error)).await),
            }
        }
        drop(turn);
    }

    async fn answer(
        self,
        begun: &mut Option<Begun>,
        batches: &mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> Result<(), Error> {
        let say = |error| from_datafusion(&error, &self.base.tables);
        let statement = guard::parse(&self.sql, &self.base.cased)?;
        let cut = guard::is_query(&statement);
        let plan = self.state.statement_to_plan(statement).await.map_err(say)?;
        guard::check_plan(&plan)?;
        let plan = if cut { limited(plan, self.limit)? } else { plan };
        let plan = self.state.optimize(&plan).map_err(say)?;
        let plan = in_store::plan(plan, &self.scope).await.map_err(say)?;
        let plan = self.state.query_planner().create_physical_plan(&plan, &self.state).await.map_err(say)?;
        let mut rows = execute_stream(Arc::clone(&plan), self.state.task_ctx()).map_err(say)?;
        if let Some(begun) = begun.take()
            && begun.send(Ok(rows.schema())).is_err()
        {
            return Ok(());
        }
        let mut left = self.limit;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(say)?;
            let kept = batch.num_rows().min(left);
            self.stats.truncated.fetch_or(kept < batch.num_rows(), Ordering::AcqRel);
            left -= kept;
            if kept > 0 && batches.send(Ok(batch.slice(0, kept))).await.is_err() {
                break;
            }
            if self.stats.truncated() {
                break;
            }
        }
        drop(rows);
        self.stats.rows_scanned.store(rows_scanned(plan.as_ref()), Ordering::Release);
        Ok(())
    }
}

/// Says which file a query failed by, where it was one.
async fn blame(error: Error, scope: &Scope, store: &dyn Store) -> Error {
    if !matches!(error, Error::Internal(_) | Error::Store(_)) {
        return error;
    }
    match timeout(limits::CHECK_TIME, scope.damaged(store)).await {
        Ok(Some(path)) => Error::Store(format!(
            "{path} is damaged and the store has set it aside; ask again for the rows that are left ({error})"
        )),
        _ => error,
    }
}

/// One row more than wanted, so that it is known whether there were more.
fn limited(plan: LogicalPlan, limit: usize) -> Result<LogicalPlan, Error> {
    LogicalPlanBuilder::from(plan)
        .limit(0, Some(limit.saturating_add(1)))
        .and_then(LogicalPlanBuilder::build)
        .map_err(Error::from)
}

/// Rows that the sources of a plan looked at.
fn rows_scanned(plan: &dyn ExecutionPlan) -> u64 {
    if !plan.children().is_empty() {
        return plan.children().into_iter().map(|child| rows_scanned(child.as_ref())).sum();
    }
    let Some(metrics) = plan.metrics() else { return 0 };
    let named = |name: &str| metrics.sum(|m| m.value().name() == name).map(|value| value.as_usize() as u64);
    if let Some(rows) = named(memory::ROWS_SCANNED) {
        return rows;
    }
    let dropped = named("pushdown_rows_pruned").unwrap_or(0);
    let shown = metrics.sum(|m| matches!(m.value(), MetricValue::OutputRows(_))).map_or(0, |v| v.as_usize() as u64);
    dropped + shown
}
