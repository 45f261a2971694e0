//! `devmesh trace ID`: the spans of a trace as a tree, its critical path marked, and its logs.

use clap::Args;
use serde_json::Value;

use super::{
    Failure,
    client::ServerArgs,
    print,
    table::{inert, moment},
};

/// Spans deeper than this are drawn at this depth.
const DEPTH: usize = 40;

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The trace id: 32 hex digits.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Write the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks and writes.
pub(super) async fn run(args: TraceArgs) -> Result<(), Failure> {
    if args.id.len() != 32 || !args.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::Usage(format!("{}: a trace id has 32 hex digits", args.id)));
    }
    let answer = args.server.server()?.get(&format!("/query/traces/{}", args.id.to_lowercase())).await?;
    if args.json {
        return print(format!("{answer}\n").as_bytes());
    }
    print(render(&answer).as_bytes())
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn milliseconds(value: &Value) -> String {
    let nanos = value.get("duration_ns").and_then(|nanos| nanos.as_i64().or_else(|| nanos.as_str()?.parse().ok()));
    format!("{:.3} ms", nanos.unwrap_or(0) as f64 / 1e6)
}

fn service(value: &Value) -> String {
    match text(value, "service") {
        "" => "-".to_owned(),
        service => inert(service),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn render(trace: &Value) -> String {
    let spans = list(trace, "spans");
    let critical = |id: &str| list(trace, "critical_path").iter().any(|step| text(step, "span_id") == id);
    let whole = trace.get("duration_ms").and_then(Value::as_f64).unwrap_or(0.0);
    let mut out = format!(
        "trace {}: {}, {whole:.3} ms from {} (* critical path)\n",
        text(trace, "trace_id"),
        counted(spans.len(), "span"),
        moment(text(trace, "start_time")),
    );
    let width = spans.iter().map(|span| milliseconds(span).len()).max().unwrap_or(0);
    let known = |id: &str| spans.iter().any(|span| text(span, "span_id") == id);
    let roots = spans.iter().filter(|span| !known(text(span, "parent_span_id")));
    let mut stack: Vec<(&Value, usize)> = roots.map(|span| (span, 0)).collect();
    stack.reverse();
    let mut left = spans.len();
    while let Some((span, depth)) = stack.pop() {
        let id = text(span, "span_id");
        let mark = if critical(id) { "*" } else { " " };
        let error = if text(span, "status") == "ERROR" { "  ERROR" } else { "" };
        out.push_str(&format!(
            "{mark} {:>width$}  {}{} {}{error}\n",
            milliseconds(span),
            "  ".repeat(depth.min(DEPTH)),
            service(span),
            inert(text(span, "operation")),
        ));
        // Spans that are their own ancestors would never end.
        left = left.saturating_sub(1);
        if left == 0 && stack.is_empty() {
            break;
        }
        if left > 0 {
            let children = spans.iter().filter(|child| !id.is_empty() && text(child, "parent_span_id") == id);
            let mut children: Vec<_> = children.map(|child| (child, depth + 1)).collect();
            children.reverse();
            stack.extend(children);
        }
    }
    let logs = list(trace, "logs");
    if !logs.is_empty() {
        out.push_str(&format!("\n{}\n", counted(logs.len(), "log record")));
    }
    for log in logs {
        let (time, body) = (moment(text(log, "timestamp")), text(log, "message"));
        out.push_str(&format!("  {time} {:8} {} {}\n", inert(text(log, "level")), service(log), inert(body)));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_stand_under_their_parents() {
        let trace = json!({
            "trace_id": "t", "critical_path": [{"span_id": "a"}, {"span_id": "b"}], "duration_ms": 2.0,
            "start_time": "2026-01-02T03:04:05.123456789Z",
            "spans": [
                {"span_id": "a", "parent_span_id": null, "service": "web", "operation": "GET /", "duration_ns": 12_000_000},
                {"span_id": "b", "parent_span_id": "a", "service": "db", "operation": "SELECT", "duration_ns": 1_500_000,
                 "status": "ERROR"},
                {"span_id": "c", "parent_span_id": "gone", "service": "x", "operation": "y", "duration_ns": 0},
            ],
            "logs": [{"timestamp": "now", "level": "INFO", "service": "web", "message": "hi\u{1b}"}],
        });
        assert_eq!(
            render(&trace),
            "trace t: 3 spans, 2.000 ms from 2026-01-02T03:04:05.123Z (* critical path)\n* 12.000 ms  web GET /\n*  \
             1.500 ms    db SELECT  ERROR\n   0.000 ms  x y\n\n1 log record\n  now INFO     web hi\\u{1b}\n"
        );
    }
}
