//! PromQL and what Prometheus' API asks, over the table `metrics`.
//!
//! A point that came over OTLP is seen under Prometheus' names ([`names`]): `service.name` is the label `job`,
//! `service.instance.id` is `instance`, a histogram is its `_bucket`, `_sum` and `_count`, an exponential one is a native
//! histogram. Points from remote write and scrapes keep the names and labels that they came with, and their
//! histograms are native. Delta sums and histograms are added
//! up, so that `rate` reads them like any counter.

mod exemplars;
pub(crate) mod function;
mod metric;
mod names;
mod native;
mod points;
mod red;
mod source;
mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use devmesh_promql::{Annotations, Answer, Labels, Limits, Matcher, NAME, Op, Query, Select, Series, Times};
use devmesh_schema::time;
use futures::StreamExt;

use crate::{Engine, Error, rest::cells};

pub use devmesh_promql as promql;

pub use self::{
    exemplars::{Exemplar, Exemplars},
    function::POINTS,
};

use self::{
    metric::Metric,
    points::Collector,
    source::{Asking, Source},
};

/// Samples that a query may read.
const SAMPLES: usize = 20_000_000;
/// Metrics that are looked at.
const METRICS: usize = 100_000;
/// A plain selector sees samples this old where nothing else was said.
pub const LOOKBACK: Duration = Duration::from_secs(300);

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// Prometheus' name of the family.
    pub name: String,
    /// counter, gauge, histogram, summary or unknown.
    pub kind: &'static str,
    /// What it measures.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

/// A failure of a query in PromQL.
#[derive(Debug, thiserror::Error)]
pub enum PromError {
    /// The query itself, or what it makes of its samples.
    #[error(transparent)]
    Promql(#[from] devmesh_promql::Error),
    /// The samples could not be read.
    #[error(transparent)]
    Read(#[from] Error),
}

impl Engine {
    /// Answers a query for one time, ms since the epoch.
    ///
    /// # Errors
    /// It is no query, its samples have no answer to it, or they cannot be read.
    pub async fn promql_instant(
        &self,
        query: &str,
        at: i64,
        lookback: Duration,
        timeout: Option<Duration>,
    ) -> Result<(Answer, Annotations), PromError> {
        self.promql(Query::instant(query, at, lookback)?, timeout).await
    }

    /// Answers a query for several times.
    ///
    /// # Errors
    /// As [`Engine::promql_instant`].
    pub async fn promql_range(
        &self,
        query: &str,
        times: Times,
        lookback: Duration,
        timeout: Option<Duration>,
    ) -> Result<(Answer, Annotations), PromError> {
        self.promql(Query::range(query, times, lookback)?, timeout).await
    }

    async fn promql(&self, query: Query, timeout: Option<Duration>) -> Result<(Answer, Annotations), PromError> {
        run(&Asking { engine: self, timeout }, query).await
    }

    /// The labels of all series that one of the selectors wants, in a range of times, ms.
    ///
    /// # Errors
    /// A selector is none, or the store cannot be read.
    pub async fn prom_series(&self, selectors: &[String], start: i64, end: i64) -> Result<BTreeSet<Labels>, PromError> {
        let source = Asking { engine: self, timeout: None };
        let mut all = BTreeSet::new();
        let everything = [format!("{{{NAME}!=\"\"}}")];
        let selectors = if selectors.is_empty() { &everything } else { selectors };
        for selector in selectors {
            let query =
                Query::instant(selector, end, Duration::from_millis(u64::try_from(end - start).unwrap_or(0) + 1))?;
            for select in query.selects() {
                let series = fetch(&source, select, &mut SAMPLES.clone(), true).await?;
                all.extend(series.into_iter().map(|series| series.labels));
            }
        }
        Ok(all)
    }

    /// What is known of the metrics of a range of times, ms, by Prometheus' name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn prom_metadata(&self, start: i64, end: i64) -> Result<BTreeMap<String, BTreeSet<Metadata>>, Error> {
        let source = Asking { engine: self, timeout: None };
        let mut all = metric::metadata(&metrics_between(&source, start, end).await?);
        if red::any(&source, start, end).await? {
            for metadata in red::metadata() {
                all.entry(metadata.name.clone()).or_insert_with(|| BTreeSet::from([metadata]));
            }
        }
        Ok(all)
    }
}

/// Fetches what a query needs, and computes it.
async fn run(source: &dyn Source, query: Query) -> Result<(Answer, Annotations), PromError> {
    let mut data = Vec::with_capacity(query.selects().len());
    let mut left = SAMPLES;
    for select in query.selects() {
        data.push(fetch(source, select, &mut left, false).await?);
    }
    // Computing may take seconds: not on a thread that others wait for.
    let limits = Limits { samples: SAMPLES * 2, ..Limits::default() };
    let done = tokio::task::spawn_blocking(move || query.run(&data, limits)).await;
    let (answer, annotations) = done.map_err(|error| Error::Internal(format!("PromQL: {error}")))??;
    Ok((answer, annotations))
}

/// The series that a selection wants, with their samples; with `labels_only` those that were counted have one each.
async fn fetch(
    source: &dyn Source,
    select: &Select,
    left: &mut usize,
    labels_only: bool,
) -> Result<Vec<Series>, PromError> {
    let mut all = stored(source, select, left).await?;
    let mut made = red::series(source, select, &all, left, now(), labels_only).await?;
    made.extend(target::series(source, select, left).await?);
    if !made.is_empty() {
        // What was sent stays, where the same was made; sorting keeps their order.
        all.extend(made);
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all.dedup_by(|next, kept| next.labels == kept.labels);
    }
    Ok(all)
}

/// The series that the table `metrics` has.
async fn stored(source: &dyn Source, select: &Select, left: &mut usize) -> Result<Vec<Series>, PromError> {
    let Some(sql) = points_sql(source, select, "").await? else { return Ok(Vec::new()) };
    let mut collector = Collector::new(select);
    let mut rows = source.rows(&sql).await?;
    while let Some(batch) = rows.next().await {
        let added = collector.add(&batch?)?;
        *left = left.checked_sub(added).ok_or(devmesh_promql::Error::TooManySamples(SAMPLES))?;
    }
    Ok(collector.finish())
}

/// The statement that reads the points of a selection, with `more` columns; `None` where there are none.
async fn points_sql(source: &dyn Source, select: &Select, more: &str) -> Result<Option<String>, Error> {
    let metrics = metrics_between(source, select.start, select.end).await?;
    let wanted: Vec<&Metric> = metrics.iter().filter(|metric| metric.may_match(select)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let names: BTreeSet<&str> = wanted.iter().map(|metric| metric.name.as_str()).collect();
    let names: Vec<String> = names.into_iter().map(quote).collect();
    let service = common_job(select).map(|job| format!(" AND service = {}", quote(job))).unwrap_or_default();
    Ok(Some(format!(
        "SELECT {}{more} FROM metrics WHERE {} AND name IN ({}){service}",
        points::COLUMNS,
        between(select.start, select.end),
        names.join(", ")
    )))
}

/// The metrics that have points in a range of times, ms, both inclusive.
async fn metrics_between(source: &dyn Source, start: i64, end: i64) -> Result<Vec<Metric>, Error> {
    let sql = format!(
        "SELECT name, unit, kind, source, temporality, is_monotonic, max(description) AS description FROM metrics \
         WHERE {} GROUP BY name, unit, kind, source, temporality, is_monotonic LIMIT {METRICS}",
        between(start, end)
    );
    let batches = source.all(&sql).await?;
    Ok(cells::rows(&batches).map(|row| Metric::of(&row)).collect())
}

/// ms since the epoch.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A condition on `time` for a range of ms, both inclusive.
fn between(start: i64, end: i64) -> String {
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    format!("time >= '{}' AND time < '{}'", time::format(ns(start)), time::format(ns(end.saturating_add(1))))
}

/// The job that all of a selection's series have, where it can be told from `service` alone.
fn common_job(select: &Select) -> Option<&str> {
    let job = |all: &[Matcher]| {
        let exact = all.iter().find(|m| m.name == "job" && m.op == Op::Equal && !m.value.is_empty());
        exact.map(|m| m.value.clone()).filter(|value| !value.contains('/'))
    };
    let first = select.any.first().and_then(|all| job(all))?;
    let same = select.any.iter().all(|all| job(all).as_deref() == Some(first.as_str()));
    let found = select.any.first()?.iter().find(|m| m.name == "job" && m.op == Op::Equal)?;
    same.then_some(found.value.as_str())
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
