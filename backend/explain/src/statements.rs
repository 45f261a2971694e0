//! The SQL of an explanation: what both windows say, aggregated where the rows lie. Bounded by groups, not by rows.

use devmesh_schema::time;

use crate::{Question, Range, Source};

/// Spans in both windows from which on only a share of the traces is looked at.
const SPANS: u64 = 2_000_000;
/// Rows that a statement's answer may have; what is beyond is not looked at.
pub const ROWS: usize = 50_000;

/// A share of all traces, as the four first digits of their ids. `None`: all.
pub type Sample = Option<u16>;

/// How many spans there are.
pub fn volume(question: &Question) -> String {
    format!("SELECT count(*) AS spans FROM spans WHERE {}", within(question, ""))
}

/// Which share of the traces is looked at.
pub fn sample(spans: u64) -> Sample {
    let share = (SPANS << 16).checked_div(spans.max(1)).unwrap_or(u64::MAX);
    u16::try_from(share).ok().map(|digits| digits.max(1))
}

/// A text as SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn stamp(at: i64) -> String {
    format!("TIMESTAMP '{}'", time::format(at))
}

/// What is inside the window rather than in the baseline.
pub(crate) fn inside(question: &Question, table: &str) -> String {
    format!("{table}time >= {}", stamp(question.window.start))
}

/// Both windows.
pub(crate) fn within(question: &Question, table: &str) -> String {
    let (baseline, window) = (question.baseline, question.window);
    let range = |range: Range| format!("{table}time >= {} AND {table}time < {}", stamp(range.start), stamp(range.end));
    let both = range(Range { start: baseline.start, end: window.end });
    if baseline.end == window.start {
        return both;
    }
    format!("{both} AND (({}) OR ({}))", range(baseline), range(window))
}

fn sampled(sample: Sample, table: &str) -> String {
    sample.map_or_else(String::new, |digits| format!(" AND {table}trace_id < '{digits:04x}'"))
}

/// The statements, each with what its rows are.
pub fn all(question: &Question, sample: Sample) -> Vec<(Source, String)> {
    vec![
        (Source::Coverage, coverage(question)),
        (Source::Operations, operations(question, sample)),
        (Source::Calls, calls(question, sample)),
        (Source::Patterns, patterns(question)),
        (Source::Metrics, metrics(question)),
    ]
}

/// `signal, inside, buckets`: in how many stretches of ten seconds there is anything.
fn coverage(question: &Question) -> String {
    let (inside, within) = (inside(question, ""), within(question, ""));
    let of = |table: &str| {
        format!(
            "SELECT '{table}' AS signal, {inside} AS inside, count(DISTINCT date_bin(INTERVAL '10 seconds', time)) AS \
             buckets FROM {table} WHERE {within} GROUP BY {inside}"
        )
    };
    format!("{} UNION ALL {}", of("spans"), of("logs"))
}

/// `service, name, inside, n, failed, own50, own90, leaves`: operations, and their time without that of their children.
fn operations(question: &Question, sample: Sample) -> String {
    let own = "greatest(0, s.duration_ns - coalesce(k.inner_ns, 0))";
    format!(
        "WITH s AS (SELECT trace_id, span_id, parent_span_id, service, name, duration_ns, \
         CAST(status_code = 'ERROR' AS BIGINT) AS failed, {} AS inside FROM spans WHERE {}{}), \
         k AS (SELECT trace_id, parent_span_id, sum(duration_ns) AS inner_ns FROM s WHERE parent_span_id IS NOT NULL \
         GROUP BY trace_id, parent_span_id) \
         SELECT s.service, s.name, s.inside, count(*) AS n, sum(s.failed) AS failed, quantile({own}, 0.5) AS own50, \
         quantile({own}, 0.9) AS own90, count(*) - count(k.inner_ns) AS leaves \
         FROM s LEFT JOIN k ON s.trace_id = k.trace_id AND s.span_id = k.parent_span_id \
         GROUP BY s.service, s.name, s.inside ORDER BY n DESC, s.service, s.name",
        inside(question, ""),
        within(question, ""),
        sampled(sample, ""),
    )
}

/// `caller, caller_name, callee, callee_name, inside, n, gap25, gap50, gap90`: parents with their children, and the time of the parent
/// that is not the child's.
fn calls(question: &Question, sample: Sample) -> String {
    let gap = "greatest(0, p.duration_ns - c.duration_ns)";
    let inside = inside(question, "p.");
    format!(
        "SELECT p.service AS caller, p.name AS caller_name, c.service AS callee, c.name AS callee_name, {inside} AS inside, \
         count(*) AS n, quantile({gap}, 0.25) AS gap25, quantile({gap}, 0.5) AS gap50, quantile({gap}, 0.9) AS gap90 \
         FROM spans p JOIN spans c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id \
         WHERE {}{} AND {}{} GROUP BY p.service, p.name, c.service, c.name, {inside} \
         ORDER BY n DESC, p.service, p.name, c.service, c.name",
        within(question, "p."),
        sampled(sample, "p."),
        within(question, "c."),
        sampled(sample, "c."),
    )
}

/// `service, pattern_id, level, inside, n, example`: patterns of logs.
fn patterns(question: &Question) -> String {
    let inside = inside(question, "");
    format!(
        "SELECT service, pattern_id, level, {inside} AS inside, count(*) AS n, min(body) AS example FROM logs \
         WHERE {} AND pattern_id IS NOT NULL GROUP BY service, pattern_id, level, {inside} \
         ORDER BY n DESC, service, pattern_id, level",
        within(question, ""),
    )
}

/// What the name of a metric of something that can fill or run hot has in it.
pub(crate) const FILLS: &str = "cpu|processor|mem|heap|disk|filesystem|queue|lag|gc|connection|thread|pool|backlog";

/// `service, pod, name, minute, inside, value`: metrics of what can fill, by minute.
fn metrics(question: &Question) -> String {
    let inside = inside(question, "");
    let pod = "coalesce(attribute(resource_attributes, 'k8s.pod.name'), host, '')";
    let minute = "date_bin(INTERVAL '1 minute', time)";
    format!(
        "SELECT service, {pod} AS pod, name, {minute} AS minute, {inside} AS inside, max(value) AS value FROM metrics \
         WHERE {} AND value IS NOT NULL AND (kind = 'gauge' OR (kind = 'sum' AND NOT is_monotonic)) \
         AND regexp_like(lower(name), '{FILLS}') \
         GROUP BY service, {pod}, name, {minute}, {inside} ORDER BY inside DESC, minute DESC, service, pod, name",
        within(question, ""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn a_quote_ends_no_text() {
        assert_eq!(quoted("o'neil'; DROP TABLE spans --"), "'o''neil''; DROP TABLE spans --'");
    }

    #[test]
    fn few_spans_are_all_looked_at_and_many_by_their_share() {
        assert_eq!(sample(0), None);
        assert_eq!(sample(SPANS), None);
        assert_eq!(sample(SPANS * 2), Some(0x8000));
        assert_eq!(sample(u64::MAX), Some(1));
    }

    #[test]
    fn a_hole_between_the_windows_is_left_out() {
        let window = Range { start: 10 * HOUR, end: 11 * HOUR };
        let near = Question::new(window, Some(Range { start: 8 * HOUR, end: 10 * HOUR }), None).unwrap();
        assert!(!within(&near, "").contains("OR"));
        let far = Question::new(window, Some(Range { start: 8 * HOUR, end: 9 * HOUR }), None).unwrap();
        assert!(within(&far, "p.").contains(") OR (p.time"));
    }
}
