//! Calls, errors and durations of spans as metrics, by the names that the OpenTelemetry Collector's `spanmetrics` connector gives
//! them: `traces_span_metrics_calls_total` and the histogram `traces_span_metrics_duration_milliseconds`.
//!
//! Nothing is stored for them: they are counted from the spans when they are asked for. So they cost nothing when spans come in,
//! are as exact as the spans, whatever crashed meanwhile, and reach as far back as these.
//!
//! A counter's value at a time is the number of spans that began since the full hour: it depends on nothing but the time, so two
//! selections of one query fit each other. Each hour ends with a sample a millisecond before the next, which begins at 0 or, where
//! there are no more spans, ends the series: `rate` loses no call to the change.
//!
//! Where a Collector sends such metrics for a service itself, the service has those alone.

mod counts;

use std::collections::HashSet;

use devmesh_promql::{Labels, Matcher, NAME, Op, Select, Series};
use futures::StreamExt;

use self::counts::{Counts, Grid};
use super::{
    Metadata, PromError, SAMPLES, between,
    exemplars::{EXEMPLARS, Exemplar, Exemplars},
    quote,
    source::Source,
};
use crate::{Error, rest::cells};

/// Calls, failed ones by their label `status_code`.
const CALLS: &str = "traces_span_metrics_calls_total";
/// The histogram of durations, ms.
const DURATION: &str = "traces_span_metrics_duration_milliseconds";
/// How all of their names begin.
const PREFIX: &str = "traces_span_metrics_";
/// Operations that a selection tells apart, the most called first; the others are one series, as in the connector
/// (`aggregation_cardinality_limit`), whose label `otel_metric_overflow` says so. Each has up to 38 series.
const OPERATIONS: usize = 1_000;
/// Counters begin again with each hour, ms.
const HOUR: i64 = 3_600_000;
/// Stretches of time that have an exemplar each.
const STRETCHES: i64 = 100;
/// What the connector puts before a kind and a status.
const KIND: &str = "SPAN_KIND_";
const STATUS: &str = "STATUS_CODE_";

/// Which of the series a selection wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    calls: bool,
    buckets: bool,
    sum: bool,
    count: bool,
}

impl Wanted {
    /// `None`: none of them.
    pub(super) fn of(select: &Select) -> Option<Self> {
        let named = |name: &str| {
            select.any.iter().any(|all| all.iter().filter(|matcher| matcher.name == NAME).all(|m| m.matches(name)))
        };
        let part = |suffix: &str| named(&format!("{DURATION}{suffix}"));
        let wanted = Self { calls: named(CALLS), buckets: part("_bucket"), sum: part("_sum"), count: part("_count") };
        (wanted != Self { calls: false, buckets: false, sum: false, count: false }).then_some(wanted)
    }
}

/// The series of spans that a selection wants, but for services that `sent` has. `now`, ms: no sample is later, but for spans that
/// are. With `labels_only` each has one sample.
pub(super) async fn series(
    source: &dyn Source,
    select: &Select,
    sent: &[Series],
    left: &mut usize,
    now: i64,
    labels_only: bool,
) -> Result<Vec<Series>, PromError> {
    let Some(wanted) = Wanted::of(select) else { return Ok(Vec::new()) };
    let sent = sent.iter().map(|series| &series.labels).filter(|labels| labels.name().starts_with(PREFIX));
    let sent: HashSet<&str> = sent.map(|labels| labels.get("service_name")).collect();
    let step = if labels_only { HOUR } else { step(select, wanted) };
    let first = select.start.div_euclid(HOUR) * HOUR;
    // A span counts after the moment when it began: without the last ms.
    let condition = format!("{}{}", between(first, select.end - 1), conditions(select));
    let mut counts = Counts::new(None);
    if !read(source, &rows(&condition, step, wanted), &sent, &mut counts).await? {
        let top = source.all(&most_called(&condition)).await?;
        counts = Counts::new(Some(counts::operations(&top)?));
        read(source, &rows(&condition, step, wanted), &sent, &mut counts).await?;
    }
    let until = select.end.min(now.max(counts.latest() + step));
    counts.series(select, wanted, Grid { from: select.start, until, step }, left, labels_only)
}

/// Adds what a statement counts; `false` where there are more operations than are told apart.
async fn read(source: &dyn Source, sql: &str, sent: &HashSet<&str>, counts: &mut Counts) -> Result<bool, PromError> {
    let mut rows = source.rows(sql).await?;
    while let Some(batch) = rows.next().await {
        counts.add(&batch?, sent)?;
        if counts.len() > SAMPLES {
            return Err(devmesh_promql::Error::TooManySamples(SAMPLES).into());
        }
        if counts.operations() > OPERATIONS {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Calls by service, name, kind, status and stretch of time, and by bucket of the histogram where it is wanted. Without buckets a
/// store can be asked for the groups.
fn rows(condition: &str, step: i64, wanted: Wanted) -> String {
    let (bucket, group) = if wanted.buckets { (counts::bucket_sql(), ", bucket") } else { ("0".to_owned(), "") };
    format!(
        "SELECT service, name, kind, status_code, date_bin(INTERVAL '{step} milliseconds', time) AS began, {bucket} AS bucket, \
         count(*) AS calls, sum(CAST(duration_ns AS DOUBLE)) AS duration FROM spans WHERE {condition} \
         GROUP BY service, name, kind, status_code, began{group}"
    )
}

fn most_called(condition: &str) -> String {
    format!(
        "SELECT service, name, count(*) AS calls FROM spans WHERE {condition} GROUP BY service, name \
         ORDER BY calls DESC, service, name LIMIT {}",
        OPERATIONS - 1
    )
}

/// How far samples are apart, ms: close enough for four in the range that is read. The longer a selection and the more series a
/// histogram has, the farther they are.
fn step(select: &Select, wanted: Wanted) -> i64 {
    let many = wanted.buckets || select.end - select.start > 6 * HOUR;
    let fits = [60_000, 15_000, 5_000].into_iter().find(|step| step * 4 <= select.range && (*step < 60_000 || many));
    fits.unwrap_or(1_000)
}

/// What of a selection's matchers a condition on the columns of `spans` can say.
fn conditions(select: &Select) -> String {
    let [all] = select.any.as_slice() else { return String::new() };
    all.iter().filter_map(condition).map(|condition| format!(" AND {condition}")).collect()
}

fn condition(matcher: &Matcher) -> Option<String> {
    // A span without a service or name has an empty label, which is none; so has the overflow of all of them.
    if matcher.op != Op::Equal || matcher.value.is_empty() {
        return None;
    }
    let (column, value) = match matcher.name.as_str() {
        "job" | "service_name" => ("service", matcher.value.as_str()),
        "span_name" => ("name", matcher.value.as_str()),
        "span_kind" => ("kind", matcher.value.strip_prefix(KIND)?),
        "status_code" => ("status_code", matcher.value.strip_prefix(STATUS)?),
        _ => return None,
    };
    Some(format!("{column} = {}", quote(value)))
}

/// What is known of them.
pub(super) fn metadata() -> [Metadata; 2] {
    let metadata = |name: &str, kind, help: &str, unit: &str| Metadata {
        name: name.to_owned(),
        kind,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    [
        metadata(CALLS, "counter", "Spans, by service, name, kind and status", ""),
        metadata(DURATION, "histogram", "Durations of spans, by service, name, kind and status", "ms"),
    ]
}

/// Whether there are spans in a range of times, ms.
pub(super) async fn any(source: &dyn Source, start: i64, end: i64) -> Result<bool, Error> {
    let rows = source.all(&format!("SELECT 1 AS one FROM spans WHERE {} LIMIT 1", between(start, end))).await?;
    Ok(rows.iter().any(|batch| batch.num_rows() > 0))
}

/// Adds spans as exemplars of the histogram: of each operation, kind and status the slowest of each stretch of time, so that they
/// are spread over the range.
pub(super) async fn exemplars(source: &dyn Source, select: &Select, all: &mut Exemplars) -> Result<(), PromError> {
    if !Wanted::of(select).is_some_and(|wanted| wanted.buckets) {
        return Ok(());
    }
    let stretch = ((select.end - select.start) / STRETCHES).max(1_000);
    let slowest = |column: &str| format!("first_value({column} ORDER BY duration_ns DESC, span_id) AS {column}");
    let sql = format!(
        "SELECT service, name, kind, status_code, date_bin(INTERVAL '{stretch} milliseconds', time) AS began, {}, {}, {}, \
         max(duration_ns) AS duration FROM spans WHERE {}{} GROUP BY service, name, kind, status_code, began LIMIT {EXEMPLARS}",
        slowest("time"),
        slowest("trace_id"),
        slowest("span_id"),
        between(select.start, select.end),
        conditions(select)
    );
    for row in cells::rows(&source.all(&sql).await?) {
        let text = |name: &str| row.text_or_empty(name);
        let (ns, at) = (row.int("duration").unwrap_or(0), row.ns("time").unwrap_or(0).div_euclid(1_000_000));
        let pairs = labels(&text("service"), &text("name"), &text("kind"), &text("status_code"));
        let series = named(&pairs, &format!("{DURATION}_bucket"), Some(counts::bound(ns)));
        if select.matches(&series) {
            let labels = Labels::new([("trace_id", text("trace_id")), ("span_id", text("span_id"))]);
            all.entry(series).or_default().push(Exemplar { at, value: ns as f64 / 1e6, labels });
        }
    }
    Ok(())
}

/// The labels of a stream's series, without their name.
fn labels(service: &str, name: &str, kind: &str, status: &str) -> Vec<(String, String)> {
    let mut pairs =
        vec![("span_kind".to_owned(), format!("{KIND}{kind}")), ("status_code".into(), format!("{STATUS}{status}"))];
    for (label, value) in [("job", service), ("service_name", service), ("span_name", name)] {
        pairs.push((label.to_owned(), value.to_owned()));
    }
    pairs
}

/// The labels of what is not told apart.
fn overflow(kind: &str, status: &str) -> Vec<(String, String)> {
    let mut pairs = labels("", "", kind, status);
    pairs.push(("otel_metric_overflow".into(), "true".into()));
    pairs
}

fn named(pairs: &[(String, String)], name: &str, le: Option<&str>) -> Labels {
    let more = [(NAME.to_owned(), name.to_owned()), ("le".to_owned(), le.unwrap_or_default().to_owned())];
    Labels::new(pairs.iter().cloned().chain(more))
}
