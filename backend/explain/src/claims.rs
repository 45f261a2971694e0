//! What is claimed, the SQL that shows it, and the sentence that its rows allow. Figures come from the rows alone; they are counts,
//! medians, minima and maxima, which come out the same whenever they are asked.

use serde_json::Value;

use crate::{
    Kind, Question,
    answer::Proof,
    facts::{Call, number},
    statements::{inside, quoted, within},
};

/// Characters of a text that is quoted in a sentence.
const QUOTE: usize = 200;
/// Bytes of a body that SQL asks for a pattern by: a statement has 64 KiB.
const EXAMPLE: usize = 8 << 10;

/// What a finding is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Subject {
    /// Time between caller and callee, with a level that parts slow from ordinary, ns.
    Latency { call: Call, level: f64 },
    /// An operation's own time: its middle, or its slowest tenth.
    Own { service: String, name: String, slowest: bool, level: f64 },
    /// Calls that are not made any more.
    Missing { call: Call },
    /// Requests without calls.
    Early { service: String, name: String },
    /// Failing spans.
    Failing { service: String, name: String },
    /// A pattern of logs, with one of its bodies.
    Pattern { service: String, id: String, example: String },
    /// A metric, with a level that parts full from ordinary.
    Metric { service: String, pod: String, name: String, level: f64 },
}

/// Something that is said, and the SQL that proves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// What kind of thing it is.
    pub kind: Kind,
    /// The SQL that shows it: one row.
    pub sql: String,
    pub(crate) subject: Subject,
}

fn filtered(column: &str, condition: &str) -> String {
    format!("{column} FILTER (WHERE {condition})")
}

impl Subject {
    /// Which part of the service it is about.
    pub(crate) fn component(&self) -> String {
        match self {
            Subject::Latency { call, .. } => call.callee.1.clone(),
            Subject::Missing { call } => call.caller.1.clone(),
            Subject::Own { name, .. } | Subject::Early { name, .. } | Subject::Failing { name, .. } => name.clone(),
            Subject::Pattern { example, .. } => cut(example),
            Subject::Metric { name, .. } => name.clone(),
        }
    }

    pub(crate) fn claim(&self, kind: Kind, question: &Question) -> Claim {
        let sql = match self {
            Subject::Latency { call, level } => latency(question, call, *level),
            Subject::Own { service, name, slowest, level } => own(question, service, name, *slowest, *level),
            Subject::Missing { call } => missing(question, call),
            Subject::Early { service, name } => early(question, service, name),
            Subject::Failing { service, name } => failing(question, service, name),
            Subject::Pattern { service, id, example } => pattern(question, service, id, example),
            Subject::Metric { service, pod, name, level } => metric(question, service, pod, name, *level),
        };
        Claim { kind, sql, subject: self.clone() }
    }
}

/// `value` by windows, `window` and `baseline` aggregates of it, an example and since when, of the rows of `from`: they have
/// `trace_id`, `span_id`, `time`, `inside` and `value`.
fn times(from: &str, aggregate: impl Fn(&str) -> String, level: f64) -> String {
    let worst = "ORDER BY value DESC, trace_id, span_id";
    format!(
        "SELECT {} AS in_window, {} AS in_baseline, {} AS window_ns, {} AS baseline_ns, {} AS since, {} AS trace_id, \
         {} AS span_id FROM ({from})",
        filtered("count(*)", "inside"),
        filtered("count(*)", "NOT inside"),
        aggregate("inside"),
        aggregate("NOT inside"),
        filtered("min(time)", &format!("inside AND value > {level:.0}")),
        filtered(&format!("first_value(trace_id {worst})"), "inside"),
        filtered(&format!("first_value(span_id {worst})"), "inside"),
    )
}

fn latency(question: &Question, call: &Call, level: f64) -> String {
    let from = format!(
        "SELECT c.trace_id, c.span_id, c.time, {} AS inside, p.duration_ns - c.duration_ns AS value FROM spans p \
         JOIN spans c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id WHERE {} AND {} AND p.service = {} \
         AND p.name = {} AND c.service = {} AND c.name = {}",
        inside(question, "p."),
        within(question, "p."),
        within(question, "c."),
        quoted(&call.caller.0),
        quoted(&call.caller.1),
        quoted(&call.callee.0),
        quoted(&call.callee.1),
    );
    times(&from, |condition| filtered("median(value)", condition), level)
}

fn own(question: &Question, service: &str, name: &str, slowest: bool, level: f64) -> String {
    let from = format!(
        "SELECT s.trace_id, s.span_id, s.time, {} AS inside, greatest(0, s.duration_ns - coalesce(k.inner_ns, 0)) AS value \
         FROM spans s LEFT JOIN (SELECT trace_id, parent_span_id, sum(duration_ns) AS inner_ns FROM spans WHERE {} \
         AND parent_span_id IS NOT NULL GROUP BY trace_id, parent_span_id) k \
         ON s.trace_id = k.trace_id AND s.span_id = k.parent_span_id WHERE {} AND s.service = {} AND s.name = {}",
        inside(question, "s."),
        within(question, ""),
        within(question, "s."),
        quoted(service),
        quoted(name),
    );
    let aggregate = if slowest { "percentile_cont(value, 0.9)" } else { "median(value)" };
    times(&from, |condition| filtered(aggregate, condition), level)
}

fn missing(question: &Question, call: &Call) -> String {
    let kids = format!(
        "SELECT trace_id, parent_span_id, count(*) AS calls FROM spans WHERE {} AND service = {} AND name = {} \
         AND parent_span_id IS NOT NULL GROUP BY trace_id, parent_span_id",
        within(question, ""),
        quoted(&call.callee.0),
        quoted(&call.callee.1),
    );
    requests(question, &call.caller.0, &call.caller.1, &kids)
}

fn early(question: &Question, service: &str, name: &str) -> String {
    let kids = format!(
        "SELECT trace_id, parent_span_id, count(*) AS calls FROM spans WHERE {} AND parent_span_id IS NOT NULL \
         GROUP BY trace_id, parent_span_id",
        within(question, ""),
    );
    requests(question, service, name, &kids)
}

/// Requests of an operation, and how many have no calls among `kids`.
fn requests(question: &Question, service: &str, name: &str, kids: &str) -> String {
    let without = "inside AND calls IS NULL";
    format!(
        "SELECT {} AS in_window, {} AS in_baseline, {} AS window_without, {} AS baseline_without, {} AS window_calls, \
         {} AS baseline_calls, {} AS since, {} AS trace_id, {} AS span_id FROM \
         (SELECT s.trace_id, s.span_id, s.time, {} AS inside, k.calls FROM spans s LEFT JOIN ({kids}) k \
         ON s.trace_id = k.trace_id AND s.span_id = k.parent_span_id WHERE {} AND s.service = {} AND s.name = {})",
        filtered("count(*)", "inside"),
        filtered("count(*)", "NOT inside"),
        filtered("count(*)", without),
        filtered("count(*)", "NOT inside AND calls IS NULL"),
        filtered("sum(calls)", "inside"),
        filtered("sum(calls)", "NOT inside"),
        filtered("min(time)", without),
        filtered("first_value(trace_id ORDER BY time, trace_id, span_id)", without),
        filtered("first_value(span_id ORDER BY time, trace_id, span_id)", without),
        inside(question, "s."),
        within(question, "s."),
        quoted(service),
        quoted(name),
    )
}

fn failing(question: &Question, service: &str, name: &str) -> String {
    let failed = "inside AND failed";
    format!(
        "SELECT {} AS in_window, {} AS in_baseline, {} AS window_failed, {} AS baseline_failed, {} AS since, \
         {} AS trace_id, {} AS span_id FROM (SELECT trace_id, span_id, time, {} AS inside, status_code = 'ERROR' AS failed \
         FROM spans WHERE {} AND service = {} AND name = {})",
        filtered("count(*)", "inside"),
        filtered("count(*)", "NOT inside"),
        filtered("count(*)", failed),
        filtered("count(*)", "NOT inside AND failed"),
        filtered("min(time)", failed),
        filtered("first_value(trace_id ORDER BY time, trace_id, span_id)", failed),
        filtered("first_value(span_id ORDER BY time, trace_id, span_id)", failed),
        inside(question, ""),
        within(question, ""),
        quoted(service),
        quoted(name),
    )
}

/// A pattern is asked for by one of its bodies: its id changes when patterns turn out to be one.
fn pattern(question: &Question, service: &str, id: &str, example: &str) -> String {
    let (inside, within, service) = (inside(question, ""), within(question, ""), quoted(service));
    let which = if example.is_empty() || example.len() > EXAMPLE {
        quoted(id)
    } else {
        let body = quoted(example);
        format!("(SELECT min(pattern_id) FROM logs WHERE {within} AND service = {service} AND body = {body})")
    };
    format!(
        "SELECT {} AS in_window, {} AS in_baseline, coalesce({}, min(body)) AS body, {} AS since, max(time) AS last \
         FROM logs WHERE {within} AND service = {service} AND pattern_id = {which}",
        filtered("count(*)", &inside),
        filtered("count(*)", &format!("NOT ({inside})")),
        filtered("min(body)", &inside),
        filtered("min(time)", &inside),
    )
}

fn metric(question: &Question, service: &str, pod: &str, name: &str, level: f64) -> String {
    let inside = inside(question, "");
    let outside = format!("NOT ({inside})");
    format!(
        "SELECT {} AS in_window, {} AS in_baseline, {} AS window_median, {} AS baseline_median, {} AS window_max, \
         {} AS baseline_max, {} AS since FROM metrics WHERE {} AND service = {} AND name = {} AND \
         coalesce(attribute(resource_attributes, 'k8s.pod.name'), host, '') = {} AND value IS NOT NULL",
        filtered("count(*)", &inside),
        filtered("count(*)", &outside),
        filtered("median(value)", &inside),
        filtered("median(value)", &outside),
        filtered("max(value)", &inside),
        filtered("max(value)", &outside),
        filtered("min(time)", &format!("{inside} AND value > {level:?}")),
        within(question, ""),
        quoted(service),
        quoted(name),
        quoted(pod),
    )
}

/// A text, cut to what is read in a sentence.
pub(crate) fn cut(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(QUOTE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The row that a claim's SQL gave, by name.
struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl Row<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.columns.iter().position(|column| column == name)?)
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(number).unwrap_or(0.0)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

/// A duration in words.
fn span(ns: f64) -> String {
    if ns >= 1e9 { format!("{:.2} s", ns / 1e9) } else { format!("{:.1} ms", ns / 1e6) }
}

fn figure(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

impl Claim {
    /// The proof, of the rows that the SQL gave; `None` where they show nothing.
    pub(crate) fn proof(&self, columns: &[String], rows: &[Vec<Value>]) -> Option<Proof> {
        let row = Row { columns, values: rows.first()? };
        let (now, before) = (row.number("in_window"), row.number("in_baseline"));
        if now + before < 1.0 {
            return None;
        }
        let (signal, service, statement) = self.said(&row, now, before);
        let traced = signal == "trace";
        if traced && row.text("trace_id").is_none() && !matches!(self.subject, Subject::Missing { .. }) {
            return None;
        }
        Some(Proof {
            id: String::new(),
            signal,
            service,
            statement,
            sql: self.sql.clone(),
            body: row.text("body"),
            trace_id: row.text("trace_id"),
            span_id: row.text("span_id"),
            metric: match &self.subject {
                Subject::Metric { name, .. } => Some(name.clone()),
                _ => None,
            },
            columns: columns.to_vec(),
            rows: rows.to_vec(),
            since: row.text("since").or_else(|| row.text("last")),
            kind: self.kind.name(),
        })
    }

    fn said(&self, row: &Row<'_>, now: f64, before: f64) -> (&'static str, String, String) {
        let (new, old) = (span(row.number("window_ns")), span(row.number("baseline_ns")));
        match &self.subject {
            Subject::Latency { call, .. } => {
                let ((caller, _), (callee, name)) = (&call.caller, &call.callee);
                let text = format!(
                    "latency between {caller} and {callee}: a call of `{name}` spends a median of {new} outside of {callee}'s \
                     span, before it was {old} ({now} calls, {before} before)"
                );
                ("trace", callee.clone(), text)
            }
            Subject::Own { service, name, slowest, .. } => {
                let what = if *slowest { "the slowest tenth takes" } else { "the median is" };
                let text = format!(
                    "own duration of `{name}` in {service}, without the calls it makes: {what} {new}, before it was {old} \
                     ({now} spans, {before} before)"
                );
                ("trace", service.clone(), text)
            }
            Subject::Missing { call } => {
                let ((caller, operation), (callee, name)) = (&call.caller, &call.callee);
                let each = |calls: &str, of: f64| row.number(calls) / of.max(1.0);
                let text = format!(
                    "`{operation}` of {caller} calls `{name}` of {callee} {:.2} times a request, before it was {:.2} \
                     ({now} requests, {before} before)",
                    each("window_calls", now),
                    each("baseline_calls", before),
                );
                ("trace", caller.clone(), text)
            }
            Subject::Early { service, name } => {
                let (new, old) = (row.number("window_without"), row.number("baseline_without"));
                let text = format!(
                    "`{name}` of {service} ends without calling anything in {new} of {now} requests, before in {old} of {before}"
                );
                ("trace", service.clone(), text)
            }
            Subject::Failing { service, name } => {
                let (new, old) = (row.number("window_failed"), row.number("baseline_failed"));
                let text = format!("`{name}` of {service} fails in {new} of {now} spans, before in {old} of {before}");
                ("trace", service.clone(), text)
            }
            Subject::Pattern { service, .. } => {
                let body = cut(&row.text("body").unwrap_or_default());
                let text = format!("{service} logged this {now} times, and {before} times before: {body}");
                ("log", service.clone(), text)
            }
            Subject::Metric { service, pod, name, .. } => {
                let at = if pod.is_empty() { String::new() } else { format!(" at {pod}") };
                let text = format!(
                    "{name} of {service}{at} has a median of {}, before it was {} (largest {}, before {})",
                    figure(row.number("window_median")),
                    figure(row.number("baseline_median")),
                    figure(row.number("window_max")),
                    figure(row.number("baseline_max")),
                );
                ("metric", service.clone(), text)
            }
        }
    }
}
