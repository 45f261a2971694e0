//! How well abnormal stretches of metrics are found, through the product's own doors: `anomaly_eval DATA [OUT]`.
//!
//! `DATA` holds `windows.json` (`{file: [[from, to], …]}`, the abnormal windows) and `series/FILE` (CSV: timestamp, value). Each series
//! is a gauge that is sent over OTLP to an empty server, moved by whole weeks so that its end is not older than one, and judged
//! by `GET /anomalies`. A stretch is called at the time at which it opened. The first 15 % of a series, at most 750 points, are
//! warm-up. A window is found when it has a call; calls outside of windows that are less than 2 % of the series apart are one
//! false alarm. The calls are written to `OUT` as JSON: `{file: [timestamp, …]}`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use devmesh_tests::{Server, client};
use serde_json::{Map, Value, json};

/// Points of one request.
const BATCH: usize = 2000;
const WEEK: i64 = 7 * 86_400;
/// The name of the gauge.
const METRIC: &str = "series";

/// A series with its abnormal windows, in seconds.
struct Series {
    /// The timestamps as the file has them.
    stamps: Vec<String>,
    times: Vec<i64>,
    values: Vec<f64>,
    windows: Vec<(i64, i64)>,
}

/// What was found in one or more series.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    windows: usize,
    found: usize,
    false_alarms: usize,
}

impl Found {
    fn and(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            found: self.found + other.found,
            false_alarms: self.false_alarms + other.false_alarms,
        }
    }

    /// Precision, recall and F1 of events.
    fn rates(self) -> (f64, f64, f64) {
        let part = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let (precision, recall) = (part(self.found, self.found + self.false_alarms), part(self.found, self.windows));
        let sum = precision + recall;
        (precision, recall, if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 })
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (data, out) = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [data] => ((*data).to_owned(), None),
        [data, out] => ((*data).to_owned(), Some((*out).to_owned())),
        _ => bail!("usage: anomaly_eval DATA [OUT]"),
    };
    let (data, mut calls) = (Path::new(&data), Map::new());
    let mut halves = [Found::default(); 2];
    println!("| series | windows | found | false alarms |\n|---|---|---|---|");
    for (at, (file, windows)) in windows(&data.join("windows.json"))?.into_iter().enumerate() {
        let series = series(&data.join("series").join(&file), windows)?;
        let called = judged(&series).with_context(|| format!("failed to judge {file}"))?;
        let found = score(&series, &called);
        println!("| {file} | {} | {} | {} |", found.windows, found.found, found.false_alarms);
        halves[at % 2] = halves[at % 2].and(found);
        let stamps: Vec<&String> = called.iter().filter_map(|at| series.stamps.get(*at)).collect();
        calls.insert(file, json!(stamps));
    }
    println!("\n| | windows | found | false alarms | precision | recall | F1 |\n|---|---|---|---|---|---|---|");
    for (name, found) in
        [("all", halves[0].and(halves[1])), ("every other series", halves[0]), ("the others", halves[1])]
    {
        let (precision, recall, f1) = found.rates();
        let Found { windows, found, false_alarms } = found;
        println!("| {name} | {windows} | {found} | {false_alarms} | {precision:.3} | {recall:.3} | **{f1:.3}** |");
    }
    if let Some(out) = out {
        fs::write(&out, Value::Object(calls).to_string()).with_context(|| format!("failed to write {out}"))?;
    }
    Ok(())
}

fn windows(path: &Path) -> Result<BTreeMap<String, Vec<(i64, i64)>>> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let all: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str::<Value>(&text)
        .and_then(serde_json::from_value)
        .with_context(|| format!("{} is not what is expected", path.display()))?;
    let seconds = |(from, to): (String, String)| Ok((seconds(&from)?, seconds(&to)?));
    all.into_iter().map(|(file, all)| Ok((file, all.into_iter().map(seconds).collect::<Result<_>>()?))).collect()
}

/// Seconds since the epoch of `2014-02-14 14:30:00`, with or without a fraction.
fn seconds(stamp: &str) -> Result<i64> {
    let parts: Vec<i64> = stamp
        .split(['-', ' ', ':', '.'])
        .take(6)
        .map(|part| part.parse().with_context(|| format!("`{stamp}` is no time")))
        .collect::<Result<_>>()?;
    let [year, month, day, hour, minute, second] = parts[..] else { bail!("`{stamp}` is no time") };
    // Days of a calendar whose years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn series(path: &Path, windows: Vec<(i64, i64)>) -> Result<Series> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut series = Series { stamps: Vec::new(), times: Vec::new(), values: Vec::new(), windows };
    for line in text.lines().skip(1) {
        let (stamp, value) = line.split_once(',').with_context(|| format!("`{line}` has no value"))?;
        series.times.push(seconds(stamp)?);
        series.values.push(value.trim().parse().with_context(|| format!("`{value}` is no number"))?);
        series.stamps.push(stamp.to_owned());
    }
    ensure!(!series.times.is_empty(), "{} has no points", path.display());
    Ok(series)
}

/// The places of the points at which an empty server calls a stretch.
fn judged(series: &Series) -> Result<Vec<usize>> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let last = series.times.iter().copied().max().unwrap_or(now);
    let moved = (now - last).div_euclid(WEEK) * WEEK;
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path())?;
    let (agent, url) = (client::agent(), server.url("otlp-http", "/v1/metrics"));
    let points: Vec<(&i64, &f64)> = series.times.iter().zip(&series.values).collect();
    for points in points.chunks(BATCH) {
        let point = |(time, value): &(&i64, &f64)| json!({"timeUnixNano": format!("{}000000000", *time + moved), "asDouble": value});
        let points: Vec<Value> = points.iter().map(point).collect();
        let metrics = json!([{"name": METRIC, "gauge": {"dataPoints": points}}]);
        let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).to_string();
        let answer = client::post(&agent, &url, "application/json", request.as_bytes())?;
        ensure!(answer.status == 200, "the server answered {}: {}", answer.status, answer.text());
    }
    let answer = client::get_json(&server.url("http", &format!("/anomalies?metric={METRIC}")))?;
    let distinct = series.times.iter().collect::<BTreeSet<_>>().len() as u64;
    ensure!(answer["points"].as_u64() == Some(distinct), "the server judged {} points of {distinct}", answer["points"]);
    let places: BTreeMap<i64, usize> = series.times.iter().enumerate().rev().map(|(at, time)| (*time, at)).collect();
    let mut called = Vec::new();
    for stretch in answer["stretches"].as_array().context("there are no stretches")? {
        let opened = stretch["opened"].as_str().context("a stretch without a time")?.replace(['T', 'Z'], " ");
        let time = seconds(opened.trim())? - moved;
        called.push(*places.get(&time).with_context(|| format!("no point at {opened}"))?);
    }
    Ok(called)
}

fn score(series: &Series, called: &[usize]) -> Found {
    let points = series.times.len();
    let warm_up = (points * 15 / 100).min(750);
    let begun = series.times.get(warm_up).copied().unwrap_or(i64::MAX);
    let windows: Vec<_> = series.windows.iter().filter(|(_, to)| *to > begun).collect();
    let (mut found, mut false_alarms, mut last) = (BTreeSet::new(), 0, None);
    for at in called.iter().copied().filter(|at| *at >= warm_up) {
        let time = series.times.get(at).copied().unwrap_or_default();
        match windows.iter().position(|(from, to)| (*from..=*to).contains(&time)) {
            Some(window) => {
                found.insert(window);
            }
            None => {
                false_alarms += usize::from(last.is_none_or(|last| (at - last) as f64 > 0.02 * points as f64));
                last = Some(at);
            }
        }
    }
    Found { windows: windows.len(), found: found.len(), false_alarms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read() {
        for (stamp, expected) in [
            ("1970-01-01 00:00:00", 0),
            ("2014-02-14 14:30:00", 1_392_388_200),
            ("2024-02-29 23:59:59.000000", 1_709_251_199),
        ] {
            assert_eq!(seconds(stamp).unwrap(), expected, "{stamp}");
        }
        assert!(seconds("yesterday").is_err());
    }

    #[test]
    fn a_window_is_found_once_and_false_alarms_close_together_are_one() {
        let times: Vec<i64> = (0..1000).collect();
        let stamps = times.iter().map(ToString::to_string).collect();
        let series = Series { stamps, values: vec![0.0; 1000], times, windows: vec![(10, 20), (400, 450), (600, 610)] };
        let found = score(&series, &[100, 410, 420, 500, 510, 540, 700]);
        assert_eq!((found.windows, found.found, found.false_alarms), (2, 1, 3));
        let (precision, recall, _) = found.rates();
        assert_eq!((precision, recall), (0.25, 0.5));
    }
}
