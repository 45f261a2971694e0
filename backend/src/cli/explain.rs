//! `devmesh explain --last 15m`: what happened in a window, and why, for people or as JSON for `devmesh verify`.

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{self, ServerArgs},
    print,
    table::{inert, moment},
};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The window: this last stretch of time, such as 15m or 6h.
    #[arg(long, value_name = "TIME", required_unless_present = "start", conflicts_with_all = ["start", "end"])]
    last: Option<String>,
    /// The window's start: RFC 3339, Unix nanoseconds, or now-1h.
    #[arg(long, value_name = "TIME", requires = "end")]
    start: Option<String>,
    /// The window's end.
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// Start of what the window is compared with [default: four times the window, at least 30 minutes, before it].
    #[arg(long, value_name = "TIME", requires = "baseline_end")]
    baseline_start: Option<String>,
    /// End of what the window is compared with; not after the window's start.
    #[arg(long, value_name = "TIME", requires = "baseline_start")]
    baseline_end: Option<String>,
    /// What is asked about, in words.
    #[arg(long, value_name = "WORDS")]
    query: Option<String>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// As the API answers; `devmesh verify` reads it.
    Json,
    /// The explanation as a page.
    Markdown,
}

/// Asks and writes.
pub(super) async fn run(args: ExplainArgs) -> Result<(), Failure> {
    let body = question(&args)?;
    let server = args.server.server()?;
    let answer = server.ask(Method::POST, "/explain/incident", "application/json", Some(body)).await?;
    let bytes = client::whole(answer).await?;
    if args.format == Format::Json {
        print(&bytes)?;
        return print(b"\n");
    }
    let answer: Value = serde_json::from_slice(&bytes).map_err(anyhow::Error::from)?;
    match args.format {
        Format::Markdown => print(text(&answer, "markdown").as_bytes()),
        _ => print(render(&answer).as_bytes()),
    }
}

fn question(args: &ExplainArgs) -> Result<Value, Failure> {
    let (start, end) = match (&args.last, &args.start, &args.end) {
        (Some(last), _, _) => {
            let wrong = |error: devmesh_schema::time::TimeError| Failure::Usage(format!("--last: {error}"));
            devmesh_schema::time::parse_duration(last).map_err(wrong)?;
            (format!("now-{last}"), "now".to_owned())
        }
        (None, Some(start), Some(end)) => (start.clone(), end.clone()),
        _ => return Err(Failure::Usage("name the window: --last 15m, or --start and --end".to_owned())),
    };
    let mut body = Map::from_iter([("start_time".to_owned(), json!(start)), ("end_time".to_owned(), json!(end))]);
    if let (Some(start), Some(end)) = (&args.baseline_start, &args.baseline_end) {
        body.insert("baseline".to_owned(), json!({ "start_time": start, "end_time": end }));
    }
    body.extend(args.query.as_ref().map(|query| ("query".to_owned(), json!(query))));
    Ok(Value::Object(body))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn render(answer: &Value) -> String {
    let mut out = format!("{}: {}\n", text(answer, "verdict"), inert(text(answer, "summary")));
    let evidence = list(answer, "evidence");
    for suspect in list(answer, "suspects") {
        let rank = suspect.get("rank").and_then(Value::as_u64).unwrap_or_default();
        let confidence = suspect.get("confidence").and_then(Value::as_f64).unwrap_or_default();
        out.push_str(&format!(
            "\n{rank}. {}  {}  confidence {confidence:.2}  {}\n",
            inert(text(suspect, "service")),
            inert(text(suspect, "kind")),
            inert(text(suspect, "component")),
        ));
        for id in list(suspect, "evidence").iter().filter_map(Value::as_str) {
            for proof in evidence.iter().filter(|proof| text(proof, "id") == id) {
                out.push_str(&format!("   [{id}] {}\n", inert(text(proof, "statement"))));
                if let Some(trace) = proof.get("trace_id").and_then(Value::as_str) {
                    out.push_str(&format!("        devmesh trace {}\n", inert(trace)));
                }
            }
        }
    }
    let timeline = list(answer, "timeline");
    if !timeline.is_empty() {
        out.push('\n');
    }
    for entry in timeline {
        out.push_str(&format!(
            "{} {} [{}]\n",
            moment(text(entry, "time")),
            inert(text(entry, "what")),
            inert(text(entry, "evidence"))
        ));
    }
    let elapsed = answer.get("elapsed_ms").and_then(Value::as_f64).unwrap_or_default();
    out.push_str(&format!(
        "({} pieces of evidence, {elapsed:.1} ms; --format json has the SQL of each)\n",
        evidence.len()
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_has_its_evidence_below_it_and_steers_no_terminal() {
        let answer = json!({
            "verdict": "incident", "summary": "cart is why", "elapsed_ms": 12.34, "narrator": "none",
            "suspects": [{"rank": 1, "service": "cart\u{1b}[2J", "kind": "self_time", "confidence": 0.912, "component": "add",
                "why": "", "evidence": ["e1"]}],
            "timeline": [{"time": "2026-01-02T03:04:05.123456789Z", "service": "cart", "what": "slow", "evidence": "e1"}],
            "evidence": [{"id": "e1", "statement": "add is slow", "trace_id": "00ff"}],
        });
        assert_eq!(
            render(&answer),
            "incident: cart is why\n\n1. cart\\u{1b}[2J  self_time  confidence 0.91  add\n   [e1] add is slow\n        \
             devmesh trace 00ff\n\n2026-01-02T03:04:05.123Z slow [e1]\n(1 pieces of evidence, 12.3 ms; --format json has the SQL \
             of each)\n"
        );
    }
}
