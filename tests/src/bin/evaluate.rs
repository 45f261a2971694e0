//! The figures of `docs/evaluation.md` through the product's own doors: `cargo run --release -p devmesh-tests --bin evaluate -- patterns DATA`.
//!
//! `DATA/parsing/SYSTEM` has `content.txt`, a message a line, and `ground_truth.csv`, the template of each line. Each system is sent
//! to an empty server over OTLP, and the patterns are asked back in SQL.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use devmesh_tests::{Server, client, until};
use serde_json::{Value, json};

/// Lines of one request.
const BATCH: usize = 200;
/// How long patterns must stay as they are to count as found.
const CALM: Duration = Duration::from_secs(2);
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["patterns", data] => patterns(Path::new(data)),
        _ => bail!("usage: evaluate patterns DATA"),
    }
}

/// Shares of lines and templates that were told right.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    ga: f64,
    fga: f64,
    pa: f64,
    fta: f64,
}

fn patterns(data: &Path) -> Result<()> {
    let mut systems: Vec<_> =
        fs::read_dir(data.join("parsing"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    systems.retain(|path| path.is_dir());
    systems.sort();
    ensure!(!systems.is_empty(), "{} has no systems", data.display());
    println!("| system | GA | FGA | PA | FTA | patterns, of |\n|---|---|---|---|---|---|");
    let mut total = Score::default();
    for system in &systems {
        let (truth, found) = told(system)?;
        let score = score(&truth, &found);
        let distinct = |texts: &[String]| texts.iter().collect::<BTreeSet<_>>().len();
        let name = system.file_name().unwrap_or_default().to_string_lossy();
        let Score { ga, fga, pa, fta } = score;
        println!("| {name} | {ga:.3} | {fga:.3} | {pa:.3} | {fta:.3} | {}, {} |", distinct(&found), distinct(&truth));
        total = Score { ga: total.ga + ga, fga: total.fga + fga, pa: total.pa + pa, fta: total.fta + fta };
    }
    let n = systems.len() as f64;
    println!(
        "| **mean** | {:.3} | {:.3} | {:.3} | {:.3} | |",
        total.ga / n,
        total.fga / n,
        total.pa / n,
        total.fta / n
    );
    Ok(())
}

/// The true template of each line, and the one that the server tells.
fn told(system: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let read =
        |name: &str| fs::read_to_string(system.join(name)).with_context(|| format!("{name} of {}", system.display()));
    let content = read("content.txt")?;
    let lines: Vec<&str> = content.split_terminator('\n').collect();
    let truth = csv(&read("ground_truth.csv")?);
    let column = truth.first().and_then(|head| head.iter().position(|name| name == "EventTemplate"));
    let column = column.context("ground_truth.csv has no EventTemplate")?;
    let truth: Vec<String> = truth.iter().skip(1).filter_map(|row| row.get(column)).map(|text| norm(text)).collect();
    ensure!(truth.len() == lines.len(), "{}: {} lines, {} templates", system.display(), lines.len(), truth.len());
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path())?;
    send(&server, &lines)?;
    let shown = settled(&server)?;
    let mut found = vec![String::new(); lines.len()];
    for from in (0..lines.len()).step_by(5000) {
        let line = "CAST(attributes['line'] AS BIGINT)";
        let sql = format!("SELECT {line}, pattern_id FROM logs WHERE {line} >= {from} AND {line} < {}", from + 5000);
        for row in server.sql(&sql)? {
            let line = row.first().and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).context("no line")?;
            let id = row.get(1).and_then(Value::as_str).unwrap_or_default();
            let text = shown.get(id).with_context(|| format!("pattern {id} of line {line} is not in log_patterns"));
            // A line without a word has no pattern, and none would say more.
            let text = if id.is_empty() { String::new() } else { norm(text?) };
            *found.get_mut(line).context("a line that nobody sent")? = text;
        }
    }
    Ok((truth, found))
}

fn send(server: &Server, lines: &[&str]) -> Result<()> {
    let (agent, url) = (client::agent(), server.url("otlp-http", "/v1/logs"));
    for (batch, lines) in lines.chunks(BATCH).enumerate() {
        let record = |(at, line): (usize, &&str)| {
            let number = batch * BATCH + at;
            json!({"timeUnixNano": (1_800_000_000_000_000_000_u64 + number as u64).to_string(), "body": {"stringValue": line},
                "attributes": [{"key": "line", "value": {"intValue": number.to_string()}}]})
        };
        let records: Vec<Value> = lines.iter().enumerate().map(record).collect();
        let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).to_string();
        let answer = client::post(&agent, &url, "application/json", request.as_bytes())?;
        ensure!(answer.status == 200, "the server answered {}: {}", answer.status, answer.text());
    }
    Ok(())
}

/// The patterns by their ids, once they stay as they are.
fn settled(server: &Server) -> Result<HashMap<String, String>> {
    let mut last: Option<(BTreeMap<String, String>, Instant)> = None;
    let known = until(PATIENCE, "patterns to stay as they are", || {
        let text = |row: &[Value], at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let rows = server.sql("SELECT pattern_id, template FROM log_patterns")?;
        let now: BTreeMap<String, String> = rows.iter().map(|row| (text(row, 0), text(row, 1))).collect();
        Ok(match &last {
            Some((before, since)) if *before == now => (since.elapsed() >= CALM).then_some(now),
            _ => {
                last = Some((now, Instant::now()));
                None
            }
        })
    })?;
    Ok(known.into_iter().collect())
}

/// Parameters side by side are one, and so are blanks.
fn norm(text: &str) -> String {
    const MARK: &str = "<*>";
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        out.push_str(MARK);
        rest = &rest[at + MARK.len()..];
        loop {
            let skip =
                rest.strip_prefix(|c| ".:/,_-@#".contains(c)).filter(|rest| rest.starts_with(MARK)).unwrap_or(rest);
            let Some(next) = skip.strip_prefix(MARK) else { break };
            rest = next;
        }
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Grouping accuracy by lines and by templates, then the same of the texts.
fn score(truth: &[String], found: &[String]) -> Score {
    fn groups(texts: &[String]) -> BTreeMap<&str, Vec<usize>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        texts.iter().enumerate().for_each(|(line, text)| groups.entry(text).or_default().push(line));
        groups
    }
    let (truth_groups, found_groups) = (groups(truth), groups(found));
    let exact: BTreeSet<&Vec<usize>> = truth_groups.values().collect();
    let right: Vec<&Vec<usize>> = found_groups.values().filter(|lines| exact.contains(lines)).collect();
    let lines = truth.len() as f64;
    let f1 = |right: usize| 2.0 * right as f64 / (found_groups.len() + truth_groups.len()) as f64;
    let texts = found_groups.iter().filter(|(text, lines)| lines.iter().all(|line| truth[*line] == **text));
    Score {
        ga: right.iter().map(|lines| lines.len()).sum::<usize>() as f64 / lines,
        fga: f1(right.len()),
        pa: truth.iter().zip(found).filter(|(a, b)| a == b).count() as f64 / lines,
        fta: f1(texts.count()),
    }
}

/// Rows of comma-separated values with quotes.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if !row.is_empty() || !cell.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_as_the_scorer_of_the_data_does() {
        for (text, expected) in [
            ("a <*>:<*> b", "a <*> b"),
            ("<*><*>.<*>", "<*>"),
            (" a  b\t<*>- <*> ", "a b <*>- <*>"),
            ("plain", "plain"),
        ] {
            assert_eq!(norm(text), expected);
        }
        assert_eq!(csv("a,\"b,\"\"c\"\"\"\r\n1,2"), [["a", "b,\"c\""], ["1", "2"]]);
    }

    #[test]
    fn a_score_is_of_exact_groups_and_texts() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let score = score(&texts(&["a", "a", "b", "c"]), &texts(&["a", "a", "x", "x"]));
        assert_eq!((score.ga, score.pa), (0.5, 0.5));
        assert_eq!((score.fga, score.fta), (0.4, 0.4));
    }
}
