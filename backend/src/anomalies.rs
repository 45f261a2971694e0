//! Anomalies, wired: the statements of [`devmesh_insight::anomaly`] are asked of the engine every so often, what they answer makes
//! baselines and incidents, and these are kept in the data directory.
//!
//! A round that fails (the store is away, a query takes too long) is asked again at the next; nothing is skipped within a day.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampNanosecondType},
};
use arrow_schema::{DataType, TimeUnit};
use devmesh_insight::anomaly::{
    Incident, Incidents, Monitor, monitor,
    signals::{self, Row, Source},
    state,
    vector::Report,
};
use devmesh_query::{Engine, Error, SqlOptions, incidents};
use devmesh_schema::TimestampNs;
use tokio_util::sync::CancellationToken;

use crate::api::params::now;

/// Seconds of a bucket.
const BUCKET_SECONDS: u64 = 60;
/// How long one statement may run.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two writings of the baselines. What came later is read again after a crash.
const SAVE: Duration = Duration::from_secs(600);

/// What is watched, and what was found.
pub(crate) struct Anomalies {
    directory: PathBuf,
    /// `None` while a round computes with it.
    monitor: Mutex<Option<Monitor>>,
    incidents: Mutex<Incidents>,
    status: Mutex<Status>,
}

impl fmt::Debug for Anomalies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anomalies")
    }
}

/// What there is to say of the baselines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// Series with a baseline.
    pub(crate) watched: usize,
    /// Series that found no room.
    pub(crate) unwatched: usize,
    /// Until when everything has been judged.
    pub(crate) taken: Option<TimestampNs>,
    /// Rounds that failed, since the start.
    pub(crate) failed: u64,
    /// The network over each service's signals.
    pub(crate) network: Report,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a state; a damaged one is said and left out, since baselines are made again of the telemetry.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    state::load(path).unwrap_or_else(|error| {
        tracing::warn!("{}: {error}; begun anew", path.display());
        None
    })
}

impl Anomalies {
    /// What was kept in a directory, or nothing yet.
    pub(crate) fn open(directory: PathBuf) -> Arc<Self> {
        let monitor: Option<Monitor> = read(&directory.join("baselines"));
        let monitor = monitor.filter(|monitor| monitor.bucket_seconds() == BUCKET_SECONDS);
        let monitor = monitor.unwrap_or_else(|| Monitor::new(BUCKET_SECONDS));
        let incidents = read(&directory.join("incidents")).unwrap_or_default();
        let status = Mutex::new(Status::of(&monitor, 0));
        Arc::new(Self { directory, monitor: Mutex::new(Some(monitor)), incidents: Mutex::new(incidents), status })
    }

    /// Looks every `interval`, until told to stop; then keeps what is known.
    pub(crate) async fn run(self: Arc<Self>, engine: Arc<Engine>, interval: Duration, stop: CancellationToken) {
        let mut saved = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.round(&engine, &stop) => {}
            }
            if saved.elapsed() >= SAVE {
                self.keep().await;
                saved = Instant::now();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(interval) => {}
            }
        }
        self.keep().await;
    }

    /// Takes in all buckets that are complete.
    async fn round(self: &Arc<Self>, engine: &Arc<Engine>, stop: &CancellationToken) {
        if let Err(error) = self.begin(engine).await {
            tracing::warn!(%error, "anomalies: the store could not be read");
            return;
        }
        while !stop.is_cancelled() {
            let Some(range) = lock(&self.monitor).as_ref().and_then(|monitor| monitor.next(now())) else { return };
            match self.ask(engine, range).await {
                Ok(rows) => self.take(range, rows).await,
                Err(error) => {
                    lock(&self.status).failed += 1;
                    tracing::warn!(%error, "anomalies: a round failed and is asked again");
                    return;
                }
            }
        }
    }

    /// Where nothing was ever judged and nothing came within a day, there is nothing to go back to.
    async fn begin(&self, engine: &Engine) -> Result<(), Error> {
        if lock(&self.monitor).as_ref().is_none_or(|monitor| monitor.taken().is_some()) {
            return Ok(());
        }
        let now = now();
        for sql in signals::any_since(now - monitor::PAST) {
            let answer = engine.sql(&sql, SqlOptions { limit: Some(1), timeout: Some(PATIENCE) }).await?;
            if answer.collect().await?.iter().any(|batch| batch.num_rows() > 0) {
                return Ok(());
            }
        }
        if let Some(monitor) = lock(&self.monitor).as_mut() {
            monitor.begin(now);
        }
        Ok(())
    }

    async fn ask(&self, engine: &Engine, range: signals::Range) -> Result<Vec<(Source, Row)>, Error> {
        let statements = lock(&self.monitor).as_ref().map(|monitor| monitor.statements(range));
        let mut rows = Vec::new();
        let limit = Some(signals::SERIES_EACH * monitor::BUCKETS as usize);
        for (source, sql) in statements.into_iter().flatten() {
            let answer = engine.sql(&sql, SqlOptions { limit, timeout: Some(PATIENCE) }).await?;
            for batch in answer.collect().await? {
                rows.extend(of(&batch)?.into_iter().map(|row| (source, row)));
            }
        }
        Ok(rows)
    }

    /// Computes on a thread that may take its time.
    async fn take(self: &Arc<Self>, range: signals::Range, rows: Vec<(Source, Row)>) {
        let this = Arc::clone(self);
        let computed = tokio::task::spawn_blocking(move || this.compute(range, rows));
        match computed.await {
            Ok(false) => {}
            Ok(true) => self.keep_incidents().await,
            Err(error) => {
                tracing::error!(%error, "anomalies: the baselines are begun anew");
                *lock(&self.monitor) = Some(Monitor::new(BUCKET_SECONDS));
            }
        }
    }

    /// Whether incidents changed.
    fn compute(&self, range: signals::Range, rows: Vec<(Source, Row)>) -> bool {
        let Some(mut monitor) = lock(&self.monitor).take() else { return false };
        let changed = {
            let mut incidents = lock(&self.incidents);
            let before = incidents.clone();
            monitor.take(range, rows, &mut incidents);
            *incidents != before
        };
        // The training takes longer than those who ask for incidents should wait.
        if let Err(error) = monitor.train() {
            tracing::warn!(%error, "anomalies: the network stays as it was");
        }
        {
            let mut status = lock(&self.status);
            *status = Status::of(&monitor, status.failed);
        }
        *lock(&self.monitor) = Some(monitor);
        changed
    }

    /// Writes baselines and incidents.
    async fn keep(&self) {
        let monitor = lock(&self.monitor).clone();
        let path = self.directory.join("baselines");
        let saved = tokio::task::spawn_blocking(move || monitor.map_or(Ok(()), |monitor| state::save(&path, &monitor)));
        said(saved.await, "baselines");
        self.keep_incidents().await;
    }

    async fn keep_incidents(&self) {
        let incidents = lock(&self.incidents).clone();
        let path = self.directory.join("incidents");
        said(tokio::task::spawn_blocking(move || state::save(&path, &incidents)).await, "incidents");
    }

    /// The incidents, newest first.
    pub(crate) fn newest(&self) -> Vec<Incident> {
        lock(&self.incidents).newest().cloned().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Option<Incident> {
        lock(&self.incidents).get(id).cloned()
    }

    /// Opens one that a person has seen.
    pub(crate) async fn report(&self, incident: Incident) -> Incident {
        let opened = lock(&self.incidents).open(incident).clone();
        self.keep_incidents().await;
        opened
    }

    /// Closes one.
    pub(crate) async fn close(&self, id: &str) -> Option<Incident> {
        let closed = lock(&self.incidents).close(id, now()).cloned()?;
        self.keep_incidents().await;
        Some(closed)
    }

    /// What there is to say of the baselines.
    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }
}

fn said(saved: Result<io::Result<()>, tokio::task::JoinError>, what: &str) {
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "anomalies: failed to write the {what}"),
        Err(error) => tracing::error!(%error, "anomalies: failed to write the {what}"),
    }
}

impl Status {
    fn of(monitor: &Monitor, failed: u64) -> Self {
        Self {
            watched: monitor.watched(),
            unwatched: monitor.unwatched(),
            taken: monitor.taken(),
            failed,
            network: monitor.autoencoder().report().clone(),
        }
    }
}

impl incidents::Incidents for Anomalies {
    fn all(&self) -> Vec<incidents::Incident> {
        let row = |incident: Incident| incidents::Incident {
            state: incident.state(),
            severity: incident.severity.name(),
            id: incident.id,
            opened: incident.opened,
            closed: incident.closed,
            services: incident.services,
            title: incident.title,
            what: incident.what.into_iter().map(signal).collect(),
        };
        self.newest().into_iter().map(row).collect()
    }
}

fn signal(finding: devmesh_insight::anomaly::Finding) -> incidents::Signal {
    incidents::Signal {
        service: finding.service,
        signal: finding.signal,
        score: finding.score,
        value: finding.value,
        expected: finding.expected,
        first: finding.first,
        last: finding.last,
        sql: finding.sql,
    }
}

/// The rows of an answer to one of the statements.
fn of(batch: &RecordBatch) -> Result<Vec<Row>, Error> {
    let column = |name: &str, kind: &DataType| {
        let column = batch.column_by_name(name).ok_or_else(|| Error::Internal(format!("no column {name}")))?;
        arrow_cast::cast(column, kind).map_err(|error| Error::Internal(error.to_string()))
    };
    let time = column("t", &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
    let (service, name) = (column("service", &DataType::Utf8)?, column("name", &DataType::Utf8)?);
    let (count, failed) = (column("n", &DataType::Int64)?, column("bad", &DataType::Int64)?);
    let total = column("total", &DataType::Float64)?;
    let (time, total) = (time.as_primitive::<TimestampNanosecondType>(), total.as_primitive::<Float64Type>());
    let (service, name) = (service.as_string::<i32>(), name.as_string::<i32>());
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let row = |at: usize| Row {
        time: time.value(at),
        service: service.value(at).to_owned(),
        name: name.value(at).to_owned(),
        count: number(count.as_primitive::<Int64Type>().value(at)),
        failed: number(failed.as_primitive::<Int64Type>().value(at)),
        total: total.value(at),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
