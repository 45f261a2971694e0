//! How well search answers, through the product's own doors: `search_eval DATA MODELS|words [OUT]`.
//!
//! `DATA` holds `queries.json` (`[{id, system, query, relevant: [event]}]`), `docs/SYSTEM.jsonl` (`{event_id, example}`) and,
//! where there is one, `logqa/questions.json` (`[{system, question, relevant_lines}]`) with `logqa/SYSTEM.txt`. `MODELS` is a
//! directory of models. Each case has an empty server, which is fed over OTLP and asked at `/search/semantic`; what it finds
//! is told by an attribute of the logs that it shows as examples. Printed are Recall@5 (of at most 5 right ones) and MRR;
//! the rankings are written to `OUT`, a file each.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use devmesh_tests::{Server, client, server::Start, until};
use serde_json::{Map, Value, json};

/// Patterns that are asked for.
const TOP_K: usize = 20;
/// Logs of one request.
const BATCH: usize = 1000;
/// How long a server may take to have a vector of every pattern.
const PATIENCE: Duration = Duration::from_secs(600);

/// A log that is sent, with what it is called in the answers.
struct Log {
    service: String,
    body: String,
    name: String,
}

/// A question with the names of the logs that answer it.
struct Question {
    id: String,
    case: String,
    text: String,
    relevant: Vec<String>,
}

/// How the examples of an answer become a ranking.
#[derive(Clone, Copy)]
enum Order {
    /// By pattern, best first.
    Patterns,
    /// By their own scores.
    Lines,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (data, models, out) = match arguments.as_slice() {
        [data, models] => (data, models, None),
        [data, models, out] => (data, models, Some(PathBuf::from(out))),
        _ => bail!("usage: search_eval DATA MODELS|words [OUT]"),
    };
    let data = Path::new(data);
    let evaluation = Evaluation { models: (models != "words").then(|| models.clone()), out };
    let (events, questions) = events(data)?;
    evaluation.run("search", &events, &questions, Order::Patterns)?;
    let (pooled, questions) = pooled(events, questions);
    evaluation.run("pooled", &pooled, &questions, Order::Patterns)?;
    if data.join("logqa/questions.json").exists() {
        let (lines, questions) = lines(&data.join("logqa"))?;
        evaluation.run("logqa", &lines, &questions, Order::Lines)?;
    }
    Ok(())
}

type Cases = BTreeMap<String, Vec<Log>>;

/// The events of each system, one log each, and the questions about them.
fn events(data: &Path) -> Result<(Cases, Vec<Question>)> {
    let mut cases = Cases::new();
    let mut questions = Vec::new();
    for query in read(&data.join("queries.json"))?.as_array().context("queries.json is no list")? {
        let system = text(query, "system")?;
        if !cases.contains_key(system) {
            let file = fs::read_to_string(data.join(format!("docs/{system}.jsonl")))?;
            let event = |line: &str| -> Result<Log> {
                let event: Value = serde_json::from_str(line)?;
                let (name, body) = (text(&event, "event_id")?.to_owned(), text(&event, "example")?.to_owned());
                Ok(Log { service: system.to_owned(), body, name })
            };
            cases.insert(system.to_owned(), file.lines().map(event).collect::<Result<_>>()?);
        }
        let relevant = query["relevant"].as_array().into_iter().flatten().filter_map(Value::as_str);
        questions.push(Question {
            id: text(query, "id")?.to_owned(),
            case: system.to_owned(),
            text: text(query, "query")?.to_owned(),
            relevant: relevant.map(str::to_owned).collect(),
        });
    }
    Ok((cases, questions))
}

/// All systems in one case.
fn pooled(cases: Cases, questions: Vec<Question>) -> (Cases, Vec<Question>) {
    let logs = cases.into_iter().flat_map(|(system, logs)| {
        logs.into_iter().map(move |log| Log { name: format!("{system}/{}", log.name), ..log })
    });
    let question = |question: Question| Question {
        relevant: question.relevant.iter().map(|name| format!("{}/{name}", question.case)).collect(),
        case: "all".to_owned(),
        ..question
    };
    (Cases::from([("all".to_owned(), logs.collect())]), questions.into_iter().map(question).collect())
}

/// The lines of each system, and the questions about them.
fn lines(data: &Path) -> Result<(Cases, Vec<Question>)> {
    let mut cases = Cases::new();
    let mut questions = Vec::new();
    let all = read(&data.join("questions.json"))?;
    for (number, question) in all.as_array().context("questions.json is no list")?.iter().enumerate() {
        let system = text(question, "system")?;
        if !cases.contains_key(system) {
            let file = fs::read_to_string(data.join(format!("{system}.txt")))?;
            let log = |(place, line): (usize, &str)| Log {
                service: system.to_owned(),
                body: line.to_owned(),
                name: (place + 1).to_string(),
            };
            cases.insert(system.to_owned(), file.lines().enumerate().map(log).collect());
        }
        let relevant = question["relevant_lines"].as_array().into_iter().flatten();
        questions.push(Question {
            id: number.to_string(),
            case: system.to_owned(),
            text: text(question, "question")?.to_owned(),
            relevant: relevant.map(ToString::to_string).collect(),
        });
    }
    Ok((cases, questions))
}

struct Evaluation {
    models: Option<String>,
    out: Option<PathBuf>,
}

impl Evaluation {
    fn run(&self, name: &str, cases: &Cases, questions: &[Question], order: Order) -> Result<()> {
        let (mut recall, mut reciprocal, mut rankings, mut took) = (0.0, 0.0, Map::new(), Duration::ZERO);
        for (case, logs) in cases {
            let home = tempfile::tempdir()?;
            let server = self.server(home.path(), logs)?;
            for question in questions.iter().filter(|question| question.case == *case) {
                let begun = Instant::now();
                let answer = client::post_json(
                    &server.url("http", "/search/semantic"),
                    &json!({"query": question.text, "top_k": TOP_K}),
                )?;
                took += begun.elapsed();
                let ranking = ranking(&answer, order);
                let right = ranking.iter().take(5).filter(|name| question.relevant.contains(name)).count();
                recall += right as f64 / question.relevant.len().min(5) as f64;
                let first = ranking.iter().position(|name| question.relevant.contains(name));
                reciprocal += first.map_or(0.0, |place| 1.0 / (place + 1) as f64);
                let number = |name: &String| name.parse::<u64>().map_or_else(|_| json!(name), |number| json!(number));
                rankings.insert(question.id.clone(), ranking.iter().map(number).collect());
            }
            server.stop()?;
        }
        let count = questions.len() as f64;
        println!(
            "{name}: {} questions, Recall@5 {:.3}, MRR {:.3}, {:.0} ms a question",
            questions.len(),
            recall / count,
            reciprocal / count,
            took.as_secs_f64() * 1000.0 / count
        );
        if let Some(out) = &self.out {
            fs::create_dir_all(out)?;
            fs::write(out.join(format!("{name}.json")), Value::Object(rankings).to_string())?;
        }
        Ok(())
    }

    /// A server with these logs alone, once every pattern has its vector.
    fn server(&self, home: &Path, logs: &[Log]) -> Result<Server> {
        let start = Start::new(home)?;
        let server = match &self.models {
            Some(models) => start.env("DEVMESH_MODEL_DIRECTORY", models),
            None => start,
        }
        .ready()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() - logs.len() as u128 * 1_000_000;
        for (number, batch) in logs.chunks(BATCH).enumerate() {
            client::post_json(&server.url("otlp-http", "/v1/logs"), &request(batch, now, number * BATCH))?;
        }
        // Patterns are joined as logs come; the last word on them is what is looked at.
        let patterns = "SELECT count(DISTINCT pattern_id) FROM logs";
        let embedded =
            "SELECT count(*) FROM log_embeddings JOIN (SELECT DISTINCT pattern_id FROM logs) USING (pattern_id)";
        if self.models.is_some() {
            until(PATIENCE, "every pattern to have a vector", || {
                let wanted = server.number(patterns)?;
                Ok((wanted > 0 && server.number(embedded)? == wanted).then_some(()))
            })?;
        }
        Ok(server)
    }
}

fn request(logs: &[Log], now: u128, from: usize) -> Value {
    let mut services: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (place, log) in logs.iter().enumerate() {
        services.entry(&log.service).or_default().push(json!({
            "timeUnixNano": (now + (from + place) as u128 * 1_000_000).to_string(),
            "severityNumber": 9,
            "body": {"stringValue": log.body},
            "attributes": [{"key": "name", "value": {"stringValue": log.name}}],
        }));
    }
    let resource = |service: &str| json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let all: Vec<Value> = services
        .into_iter()
        .map(|(service, records)| json!({"resource": resource(service), "scopeLogs": [{"logRecords": records}]}))
        .collect();
    json!({ "resourceLogs": all })
}

/// The names of the logs that an answer shows, best first, each once.
fn ranking(answer: &Value, order: Order) -> Vec<String> {
    let results = answer["results"].as_array().into_iter().flatten();
    let mut examples: Vec<&Value> =
        results.flat_map(|result| result["examples"].as_array().into_iter().flatten()).collect();
    if let Order::Lines = order {
        let score = |example: &Value| example["score"].as_f64().unwrap_or_default();
        examples.sort_by(|a, b| score(b).total_cmp(&score(a)));
    }
    let mut seen = HashSet::new();
    let names = examples.iter().filter_map(|example| example["meta_json"]["name"].as_str());
    names.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}
