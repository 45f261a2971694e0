//! `devmesh search "…"`: the patterns of logs that a question means, with counts and examples.

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{self, ServerArgs},
    print,
    table::{inert, moment},
};

/// Characters of a line of the answer; a longer one is cut.
const LINE: usize = 240;
/// Examples of a pattern that are shown.
const EXAMPLES: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The question, in plain words; ids and names in it are looked up.
    query: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Only logs of this last stretch of time, such as 15m, 6h or 7d.
    #[arg(long, value_name = "TIME")]
    last: Option<String>,
    /// Only logs of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only logs of this level.
    #[arg(long)]
    level: Option<String>,
    /// Patterns at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    top: u64,
    /// How the answer is written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// As the API answers.
    Json,
}

/// Asks and writes.
pub(super) async fn run(args: SearchArgs) -> Result<(), Failure> {
    if args.query.trim().is_empty() {
        return Err(Failure::Usage(
            "the question is empty; ask in plain words, such as \"payment declined\"".to_owned(),
        ));
    }
    if let Some(last) = &args.last {
        let wrong = |error: devmesh_schema::time::TimeError| Failure::Usage(format!("--last: {error}"));
        devmesh_schema::time::parse_duration(last).map_err(wrong)?;
    }
    let mut body = Map::from_iter([("query".to_owned(), json!(args.query)), ("top_k".to_owned(), json!(args.top))]);
    let start = args.last.map(|last| format!("now-{last}"));
    for (name, value) in [("start_time", start), ("service", args.service), ("level", args.level)] {
        body.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    }
    let server = args.server.server()?;
    let answer = server.ask(Method::POST, "/search/semantic", "application/json", Some(Value::Object(body))).await?;
    let bytes = client::whole(answer).await?;
    if args.format == Format::Json {
        print(&bytes)?;
        return print(b"\n");
    }
    let answer: Value = serde_json::from_slice(&bytes).map_err(anyhow::Error::from)?;
    print(render(&answer).as_bytes())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn names(value: &Value, name: &str) -> String {
    let names: Vec<String> = list(value, name).iter().filter_map(Value::as_str).map(inert).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn cut(line: &str) -> String {
    let line = inert(line);
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn render(answer: &Value) -> String {
    let results = list(answer, "results");
    let mut out = String::new();
    for (number, result) in results.iter().enumerate() {
        let score = result.get("score").and_then(Value::as_f64).unwrap_or_default();
        let count = result.get("count").and_then(Value::as_u64).unwrap_or_default();
        out.push_str(&format!("{:>2}. {}\n", number + 1, cut(text(result, "template"))));
        out.push_str(&format!(
            "    score {score:.3}  {count} {}  {}  {}  {} to {}  pattern {}\n",
            if count == 1 { "log" } else { "logs" },
            names(result, "services"),
            names(result, "levels"),
            moment(text(result, "first_seen")),
            moment(text(result, "last_seen")),
            inert(text(result, "pattern_id")),
        ));
        for example in list(result, "examples").iter().take(EXAMPLES) {
            let (time, level) = (moment(text(example, "timestamp")), inert(text(example, "level")));
            let service = inert(text(example, "service"));
            out.push_str(&format!("    {time} {level:8} {service} {}\n", cut(text(example, "message"))));
        }
    }
    let elapsed = answer.get("elapsed_ms").and_then(Value::as_f64).unwrap_or_default();
    let patterns = if results.len() == 1 { "pattern" } else { "patterns" };
    out.push_str(&format!("({} {patterns}, model {}, {elapsed:.1} ms)\n", results.len(), inert(text(answer, "model"))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_its_figures_and_its_examples_below_and_steers_no_terminal() {
        let answer = json!({
            "results": [{
                "pattern_id": "00000000000000ff", "template": "payment of <*> declined", "score": 0.8125, "count": 7,
                "services": ["cart", "pay"], "levels": ["ERROR"], "first_seen": "2026-01-02T03:04:05.123456789Z",
                "last_seen": "2026-01-02T03:05:05.000000001Z", "examples": [{"timestamp": "2026-01-02T03:05:05.000000001Z",
                "level": "ERROR", "service": "pay", "message": "payment of 7 declined\u{1b}[2J", "score": 0.7}],
            }],
            "model": "all-MiniLM-L6-v2", "elapsed_ms": 12.34,
        });
        assert_eq!(
            render(&answer),
            " 1. payment of <*> declined\n    score 0.812  7 logs  cart, pay  ERROR  2026-01-02T03:04:05.123Z to \
             2026-01-02T03:05:05.000Z  pattern 00000000000000ff\n    2026-01-02T03:05:05.000Z ERROR    pay payment of 7 \
             declined\\u{1b}[2J\n(1 pattern, model all-MiniLM-L6-v2, 12.3 ms)\n"
        );
    }
}
