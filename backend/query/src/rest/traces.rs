//! `GET /query/traces` and `GET /query/traces/{trace_id}`.

use std::collections::{BTreeSet, HashMap};

use arrow_array::RecordBatch;
use devmesh_schema::TimestampNs;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Condition, LogEvent, TimeRange,
    cells::{self, Attributes, Row},
    logs, quote,
    tree::{self, Node, Segment},
};
use crate::{Engine, Error, SqlOptions};

/// Spans and logs that the answer for one trace has at most.
const TRACE_ROWS: usize = 10_000;
/// Traces asked for in one query.
const TRACES_AT_ONCE: usize = 500;
/// Spans looked at for each trace wanted, in the first attempt.
const SPANS_A_TRACE: usize = 8;
/// Spans looked at in one attempt at most.
const SPANS_AT_MOST: usize = 1 << 20;
/// How long before and after the span that was found the rest of its trace is looked for.
const AROUND: i64 = 3_600_000_000_000;

/// Which traces: those with a span that fits all of it.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// Of this service.
    pub service: Option<String>,
    /// Of this name.
    pub operation: Option<String>,
    /// That lasts at least so long, milliseconds.
    pub min_duration_ms: Option<f64>,
    /// With this status: UNSET, OK, ERROR, whatever the case.
    pub status: Option<String>,
    /// With these attributes.
    pub attributes: Vec<(String, String)>,
    /// That begins in this range.
    pub range: TimeRange,
    /// How many traces.
    pub limit: usize,
}

/// A trace in a list.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct TraceSummary {
    /// 32 hex digits.
    pub trace_id: String,
    /// Start of its first span, RFC 3339.
    pub start_time: String,
    /// From there to the end of its last span.
    pub duration_ms: f64,
    /// Service of its root; of its first span, where the root is missing.
    pub root_service: String,
    /// Name of that span.
    pub root_operation: String,
    /// Spans.
    pub spans: u64,
    /// Spans with status ERROR.
    pub errors: u64,
    /// Its services, sorted.
    pub services: Vec<String>,
}

/// An event of a span.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs, reason = "the fields of an OTLP event")]
pub struct Event {
    pub time: String,
    pub name: String,
    pub attributes: Attributes,
}

/// A link of a span.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs, reason = "the fields of an OTLP link")]
pub struct Link {
    pub trace_id: String,
    pub span_id: String,
    pub trace_state: String,
    pub attributes: Attributes,
}

/// A span of a trace.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs, reason = "the columns of spans, CONTRACT §4")]
pub struct Span {
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub service: String,
    pub host: String,
    pub operation: String,
    pub kind: String,
    pub status: String,
    pub status_message: Option<String>,
    pub start_time: String,
    pub end_time: String,
    /// From the start of the trace.
    pub offset_ns: i64,
    pub duration_ns: i64,
    /// Time in which no child ran.
    pub self_ns: i64,
    /// Steps from a root.
    pub depth: usize,
    /// Ids of its children, in order of their start.
    pub children: Vec<String>,
    /// Whether the critical path goes through it.
    pub critical: bool,
    pub ingest_path: String,
    pub attributes: Attributes,
    pub resource_attributes: Attributes,
    pub scope_name: String,
    pub scope_version: String,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
}

/// One trace.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// In short; how many spans it has is `span_count` here.
    #[serde(flatten, serialize_with = "in_short")]
    pub summary: TraceSummary,
    /// Ids of the spans without a known parent, in order of their start.
    pub roots: Vec<String>,
    /// What its longest root waited for, earliest first.
    pub critical_path: Vec<Segment>,
    /// Its spans, in order of their start.
    #[serde(rename = "spans")]
    pub span_list: Vec<Span>,
    /// Its logs, in order of time.
    pub logs: Vec<LogEvent>,
    /// Whether there are more spans or logs than an answer has room for.
    pub truncated: bool,
}

/// The summary beside the spans, whose number has another name than in a list of traces.
fn in_short<S: Serializer>(summary: &TraceSummary, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(8))?;
    map.serialize_entry("trace_id", &summary.trace_id)?;
    map.serialize_entry("start_time", &summary.start_time)?;
    map.serialize_entry("duration_ms", &summary.duration_ms)?;
    map.serialize_entry("root_service", &summary.root_service)?;
    map.serialize_entry("root_operation", &summary.root_operation)?;
    map.serialize_entry("span_count", &summary.spans)?;
    map.serialize_entry("errors", &summary.errors)?;
    map.serialize_entry("services", &summary.services)?;
    map.end()
}

impl Engine {
    /// Traces, newest first.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn traces(&self, query: &TraceQuery) -> Result<Vec<TraceSummary>, Error> {
        let mut condition = Condition::new();
        condition
            .time(query.range)
            .equals("service", query.service.as_deref())
            .equals("name", query.operation.as_deref())
            .equals("status_code", query.status.as_deref().map(str::to_ascii_uppercase).as_deref());
        if let Some(ms) = query.min_duration_ms {
            condition.and(format_args!("duration_ns >= {}", (ms * 1e6) as i64));
        }
        for (key, value) in &query.attributes {
            condition.and(format_args!("attributes[{}] = {}", quote(key), quote(value)));
        }
        let anything = query.service.is_none() && query.operation.is_none() && query.min_duration_ms.is_none();
        if anything && query.status.is_none() && query.attributes.is_empty() {
            condition.and(format_args!("parent_span_id IS NULL"));
        }
        let found = self.newest_traces(&condition, query.limit).await?;
        let mut summaries = Vec::with_capacity(found.len());
        for part in found.chunks(TRACES_AT_ONCE) {
            summaries.extend(self.summaries(part).await?);
        }
        let place: HashMap<&str, usize> = found.iter().enumerate().map(|(i, (id, _))| (id.as_str(), i)).collect();
        summaries.sort_by_key(|summary| place.get(summary.trace_id.as_str()).copied());
        Ok(summaries)
    }

    /// Ids of traces with a span that fits, and when that span began; newest first.
    async fn newest_traces(&self, condition: &Condition, limit: usize) -> Result<Vec<(String, TimestampNs)>, Error> {
        let mut spans = limit.saturating_mul(SPANS_A_TRACE).min(SPANS_AT_MOST);
        loop {
            let sql =
                format!("SELECT trace_id, time FROM spans WHERE {} ORDER BY time DESC LIMIT {spans}", condition.0);
            let options = SqlOptions { limit: Some(spans), timeout: None };
            let batches = self.sql(&sql, options).await?.collect().await?;
            let mut seen = BTreeSet::new();
            let mut traces = Vec::new();
            let mut looked_at = 0;
            for row in cells::rows(&batches) {
                looked_at += 1;
                let (id, time) = (row.text_or_empty("trace_id"), row.ns("time").unwrap_or_default());
                if traces.len() < limit && seen.insert(id.clone()) {
                    traces.push((id, time));
                }
            }
            if traces.len() == limit || looked_at < spans || spans == SPANS_AT_MOST {
                return Ok(traces);
            }
            spans = spans.saturating_mul(SPANS_A_TRACE).min(SPANS_AT_MOST);
        }
    }

    async fn summaries(&self, traces: &[(String, TimestampNs)]) -> Result<Vec<TraceSummary>, Error> {
        let Some(first) = traces.iter().map(|(_, time)| *time).min() else { return Ok(Vec::new()) };
        let last = traces.iter().map(|(_, time)| *time).max().unwrap_or(first);
        let ids: Vec<String> = traces.iter().map(|(id, _)| quote(id)).collect();
        let mut condition = Condition::new();
        condition.and(format_args!("trace_id IN ({})", ids.join(", ")));
        let around = TimeRange { start: Some(first.saturating_sub(AROUND)), end: Some(last.saturating_add(AROUND)) };
        condition.time(around);
        let sql = format!(
            "SELECT trace_id, min(time) AS start, max(end_time) AS end, count(*) AS spans, \
             sum(CASE WHEN status_code = 'ERROR' THEN 1 ELSE 0 END) AS errors, \
             array_agg(DISTINCT service) AS services, \
             first_value(service ORDER BY parent_span_id IS NULL DESC, time) AS root_service, \
             first_value(name ORDER BY parent_span_id IS NULL DESC, time) AS root_operation \
             FROM spans WHERE {} GROUP BY trace_id",
            condition.0
        );
        let options = SqlOptions { limit: Some(traces.len()), timeout: None };
        let batches = self.sql(&sql, options).await?.collect().await?;
        Ok(cells::rows(&batches).map(|row| summary(&row)).collect())
    }

    /// One trace: its spans, their tree, its critical path, its logs.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no span has the id; else as [`Engine::sql`].
    pub async fn trace(&self, trace_id: &str) -> Result<Trace, Error> {
        let id = trace_id.to_ascii_lowercase();
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::BadQuery("a trace id is 32 hexadecimal digits".into()));
        }
        let options = SqlOptions { limit: Some(TRACE_ROWS), timeout: None };
        let answer = self.sql(&format!("SELECT * FROM spans WHERE trace_id = '{id}'"), options).await?;
        let stats = std::sync::Arc::clone(&answer.stats);
        let spans = answer.collect().await?;
        let log_query = logs::LogQuery { trace_id: Some(id.clone()), limit: TRACE_ROWS, ..Default::default() };
        let mut logs = self.logs(&log_query).await?;
        logs.reverse();
        let full = logs.len() == TRACE_ROWS;
        let mut trace = assemble(id, &spans)?;
        trace.truncated = stats.truncated() || full;
        trace.logs = logs;
        Ok(trace)
    }
}

fn summary(row: &Row<'_>) -> TraceSummary {
    let (start, end) = (row.ns("start").unwrap_or_default(), row.ns("end").unwrap_or_default());
    let mut services = row.texts("services");
    services.sort();
    TraceSummary {
        trace_id: row.text_or_empty("trace_id"),
        start_time: row.time("start").unwrap_or_default(),
        duration_ms: end.saturating_sub(start) as f64 / 1e6,
        root_service: row.text_or_empty("root_service"),
        root_operation: row.text_or_empty("root_operation"),
        spans: row.count("spans"),
        errors: row.count("errors"),
        services,
    }
}

/// A span, and its times as numbers.
struct Read {
    span: Span,
    start: TimestampNs,
    end: TimestampNs,
}

fn assemble(trace_id: String, batches: &[RecordBatch]) -> Result<Trace, Error> {
    let mut read: Vec<Read> = cells::rows(batches).map(|row| span(&row)).collect();
    if read.is_empty() {
        return Err(Error::NotFound(format!("no span of trace {trace_id} is stored")));
    }
    read.sort_by(|a, b| (a.start, &a.span.span_id).cmp(&(b.start, &b.span.span_id)));
    let nodes: Vec<Node<'_>> = read
        .iter()
        .map(|r| Node { id: &r.span.span_id, parent: r.span.parent_span_id.as_deref(), start: r.start, end: r.end })
        .collect();
    let tree = tree::build(&nodes);
    let longest = tree.roots.iter().copied().max_by_key(|&root| nodes[root].end - nodes[root].start);
    let critical_path = longest.map(|root| tree::critical_path(&nodes, &tree, root)).unwrap_or_default();
    let critical: BTreeSet<&str> = critical_path.iter().map(|segment| segment.span_id.as_str()).collect();
    let id = |index: &usize| nodes[*index].id.to_owned();
    let roots: Vec<String> = tree.roots.iter().map(id).collect();
    let children: Vec<Vec<String>> = tree.places.iter().map(|p| p.children.iter().map(id).collect()).collect();
    let on_path: Vec<bool> = nodes.iter().map(|node| critical.contains(node.id)).collect();
    let start = read.iter().map(|r| r.start).min().unwrap_or_default();
    let end = read.iter().map(|r| r.end).max().unwrap_or_default();
    let root = tree.roots.first().map_or(&read[0], |&root| &read[root]);
    let services: BTreeSet<String> = read.iter().map(|r| r.span.service.clone()).collect();
    let summary = TraceSummary {
        trace_id,
        start_time: devmesh_schema::time::format(start),
        duration_ms: (end - start) as f64 / 1e6,
        root_service: root.span.service.clone(),
        root_operation: root.span.operation.clone(),
        spans: read.len() as u64,
        errors: read.iter().filter(|r| r.span.status == "ERROR").count() as u64,
        services: services.into_iter().collect(),
    };
    for (((read, place), children), critical) in read.iter_mut().zip(&tree.places).zip(children).zip(on_path) {
        read.span.offset_ns = read.start - start;
        read.span.self_ns = place.self_ns;
        read.span.depth = place.depth;
        read.span.children = children;
        read.span.critical = critical;
    }
    let span_list = read.into_iter().map(|r| r.span).collect();
    Ok(Trace { summary, roots, critical_path, span_list, logs: Vec::new(), truncated: false })
}

fn span(row: &Row<'_>) -> Read {
    let event = |row: &Row<'_>| Event {
        time: row.time("time").unwrap_or_default(),
        name: row.text_or_empty("name"),
        attributes: row.attributes("attributes"),
    };
    let link = |row: &Row<'_>| Link {
        trace_id: row.text_or_empty("trace_id"),
        span_id: row.text_or_empty("span_id"),
        trace_state: row.text_or_empty("trace_state"),
        attributes: row.attributes("attributes"),
    };
    let span = Span {
        span_id: row.text_or_empty("span_id"),
        parent_span_id: row.text("parent_span_id"),
        service: row.text_or_empty("service"),
        host: row.text_or_empty("host"),
        operation: row.text_or_empty("name"),
        kind: row.text_or_empty("kind"),
        status: row.text_or_empty("status_code"),
        status_message: row.text("status_message"),
        start_time: row.time("time").unwrap_or_default(),
        end_time: row.time("end_time").unwrap_or_default(),
        offset_ns: 0,
        duration_ns: row.int("duration_ns").unwrap_or_default(),
        self_ns: 0,
        depth: 0,
        children: Vec::new(),
        critical: false,
        ingest_path: row.text_or_empty("ingest_path"),
        attributes: row.attributes("attributes"),
        resource_attributes: row.attributes("resource_attributes"),
        scope_name: row.text_or_empty("scope_name"),
        scope_version: row.text_or_empty("scope_version"),
        events: row.list("events", event),
        links: row.list("links", link),
    };
    Read { span, start: row.ns("time").unwrap_or_default(), end: row.ns("end_time").unwrap_or_default() }
}
