//! Search by meaning: how soon new patterns are found by it, how long a question takes, and what of that is what.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use devmesh_demo::QUESTIONS;
use serde_json::{Value, json};

use super::size;
use crate::{client, program, server::Start, until};

/// Where below the models the weights lie.
const MODEL: &str = "all-MiniLM-L6-v2";
/// Questions that are timed.
const ASKED: usize = 40;

/// Sends new templates to a server with the model and asks it.
///
/// # Errors
/// The server or the model is missing, or it takes minutes.
#[allow(clippy::print_stdout, reason = "a benchmark's figures")]
pub fn run() -> Result<()> {
    let models = program::installed("models")?;
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let server = Start::new(dir.path())?.env("DEVMESH_MODEL_DIRECTORY", &models.to_string_lossy()).ready()?;
    let ask = |question: &str| client::post_json(&server.url("http", "/search/semantic"), &json!({"query": question}));
    until(Duration::from_secs(60), "the model to be loaded", || {
        Ok((ask("anything")?["model"] == "all-MiniLM-L6-v2").then_some(()))
    })?;
    let sentences = devmesh_demo::sentences(size("BENCH_PATTERNS", 1000)).enumerate();
    let bodies: Vec<String> = sentences.map(|(number, text)| format!("{text} order_{number}")).collect();
    let begun = Instant::now();
    for batch in bodies.chunks(1000) {
        let record = |body: &String| json!({"severityNumber": 9, "body": {"stringValue": body}});
        let records: Vec<Value> = batch.iter().map(record).collect();
        let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
        client::post_json(&server.url("otlp-http", "/v1/logs"), &request)?;
    }
    let patterns = server.number("SELECT count(DISTINCT pattern_id) FROM logs")?;
    let found = "SELECT count(DISTINCT l.pattern_id) FROM logs l JOIN log_embeddings USING (pattern_id)";
    let all = until(Duration::from_secs(600), "every pattern to have a vector", || {
        let patterns = server.number("SELECT count(DISTINCT pattern_id) FROM logs")?;
        Ok((server.number(found)? == patterns).then_some(patterns))
    })?;
    ensure!(patterns * 10 > bodies.len() as u64, "the bodies have {patterns} patterns only");
    println!(
        "{all} new patterns were found by meaning {:.1} s after their logs were sent",
        begun.elapsed().as_secs_f64()
    );
    let mut times = Vec::new();
    for number in 0..ASKED {
        let begun = Instant::now();
        ask(QUESTIONS[number % QUESTIONS.len()])?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    println!("a question over HTTP: median {:.0} ms, p95 {:.0} ms", times[ASKED / 2], times[ASKED * 95 / 100]);
    inside(&models.join(MODEL))
}

/// The parts of a question alone, over more patterns than one store keeps: an example of the crate that has them.
#[allow(clippy::print_stdout, reason = "a benchmark's figures")]
fn inside(model: &Path) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "-p",
        "devmesh-insight",
        "--example",
        "meaning_bench",
        "--",
    ]);
    let output = program::run(cargo.arg(model).current_dir(program::root()))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
