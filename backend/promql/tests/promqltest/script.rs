//! Prometheus' test scripts: series are loaded, queries evaluated, answers compared.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use devmesh_promql::{
    Annotations, Answer, Error, Labels, Limits, NAME, Query, Sample, Series, Times, histogram::Histogram,
};

use crate::notation::{number, quoted, samples, series};

const LOOKBACK: Duration = Duration::from_secs(300);

/// One evaluation of a script, and what became of it.
pub(crate) struct Case {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) failure: Option<String>,
}

/// Runs a script.
pub(crate) fn run(script: &str) -> Result<Vec<Case>, String> {
    let lines: Vec<&str> = script.lines().collect();
    let (mut store, mut cases, mut at) = (Vec::<Series>::new(), Vec::new(), 0);
    while at < lines.len() {
        let line = lines[at].trim();
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = at;
        let mut block = Vec::new();
        while at < lines.len() && (lines[at].starts_with([' ', '\t']) || lines[at].trim().is_empty()) {
            let inner = lines[at].trim();
            if inner.is_empty() {
                break;
            }
            at += 1;
            if !inner.starts_with('#') {
                block.push(inner);
            }
        }
        let place = |error: String| format!("line {first}: {error}");
        match line.split_whitespace().next().unwrap_or_default() {
            "clear" => store.clear(),
            "load" | "load_with_nhcb" => {
                let mut words = line.split_whitespace();
                let custom = words.next() == Some("load_with_nhcb");
                let step = duration(words.next().unwrap_or_default()).map_err(place)?;
                load(&mut store, step, &block, custom).map_err(place)?;
            }
            word if word.starts_with("eval") => {
                let (query, failure) = evaluate(&store, line, &block).map_err(place)?;
                cases.push(Case { line: first, query, failure });
            }
            other => return Err(format!("line {first}: unknown command {other}")),
        }
    }
    Ok(cases)
}

/// A time or duration in ms.
fn duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let (mut total, mut digits, mut rest) = (0.0, String::new(), text);
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() || c == '.' {
            digits.push(c);
            rest = &rest[1..];
            continue;
        }
        let units =
            [("ms", 1.0), ("s", 1e3), ("m", 6e4), ("h", 3.6e6), ("d", 8.64e7), ("w", 6.048e8), ("y", 3.1536e10)];
        let (unit, factor) =
            units.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or(format!("no duration: {text}"))?;
        total += digits.parse::<f64>().map_err(|_bad| format!("no duration: {text}"))? * factor;
        digits.clear();
        rest = &rest[unit.len()..];
    }
    Ok(total as i64)
}

fn load(store: &mut Vec<Series>, step: i64, block: &[&str], custom: bool) -> Result<(), String> {
    let mut loaded = Vec::new();
    for line in block {
        let (labels, rest) = series(line)?;
        let mut one = Series::new(labels);
        for (n, sample) in samples(rest)?.into_iter().enumerate() {
            if let Some(sample) = sample {
                one.push(step * n as i64, sample);
            }
        }
        loaded.push(one);
    }
    if custom {
        let histograms = crate::custom::histograms(&loaded);
        loaded.extend(histograms);
    }
    for one in loaded {
        match store.iter_mut().find(|s| s.labels == one.labels) {
            Some(existing) => merge(existing, one),
            None => store.push(one),
        }
    }
    store.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(())
}

fn merge(into: &mut Series, other: Series) {
    let mut floats: BTreeMap<i64, f64> = into.times.drain(..).zip(into.values.drain(..)).collect();
    floats.extend(other.times.into_iter().zip(other.values));
    (into.times, into.values) = floats.into_iter().unzip();
    let mut histograms: BTreeMap<i64, Arc<Histogram>> = into.histograms.drain(..).collect();
    histograms.extend(other.histograms);
    into.histograms = histograms.into_iter().collect();
}

#[derive(Default)]
struct Expected<'a> {
    fail: bool,
    ordered: bool,
    notes: Vec<&'a str>,
    text: Option<String>,
    range: Option<Times>,
    rows: Vec<&'a str>,
}

fn evaluate(store: &[Series], line: &str, block: &[&str]) -> Result<(String, Option<String>), String> {
    let mut words = line.split_whitespace();
    let mut expected = Expected::default();
    match words.next() {
        Some("eval_fail") => expected.fail = true,
        Some("eval_ordered") => expected.ordered = true,
        _ => {}
    }
    for inner in block {
        match inner.strip_prefix("expect ") {
            Some(rest) if rest.starts_with("fail") => expected.fail = true,
            Some(rest) if rest.starts_with("ordered") => expected.ordered = true,
            Some(rest) if rest.starts_with("range vector ") => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let [_, _, _, from, _, to, _, step] = words[..] else { return Err(format!("cannot read {inner}")) };
                expected.range = Some(Times { start: duration(from)?, end: duration(to)?, step: duration(step)? });
            }
            Some(rest) if rest.starts_with("string ") => {
                expected.text = Some(quoted(rest["string ".len()..].trim())?.0)
            }
            Some(rest) => expected.notes.push(rest.split_whitespace().next().unwrap_or_default()),
            None if inner.starts_with("expected_fail_") => expected.fail = true,
            None => expected.rows.push(inner),
        }
    }
    let range = words.next() == Some("range");
    let (times, query) = if range {
        let part = |from: &str, to: &str| -> Result<String, String> {
            let at = line.find(from).ok_or(format!("no {from}in {line}"))? + from.len();
            let end = if to.is_empty() { line.len() } else { line[at..].find(to).map_or(line.len(), |end| at + end) };
            Ok(line[at..end].trim().to_owned())
        };
        let after = line[line.find(" step ").ok_or("no step")? + 6..].trim_start();
        let (step, query) = after.split_once(char::is_whitespace).ok_or("no query")?;
        let times = Times {
            start: duration(&part("from ", " to ")?)?,
            end: duration(&part(" to ", " step ")?)?,
            step: duration(step)?,
        };
        (times, query.trim().to_owned())
    } else {
        let after = line[line.find(" at ").ok_or("no at")? + 4..].trim_start();
        let (time, query) = after.split_once(char::is_whitespace).ok_or("no query")?;
        (Times::at(duration(time)?), query.trim().to_owned())
    };
    let failure = compare(ask(store, &query, times, range), &expected, times, range);
    Ok((query, failure))
}

fn ask(store: &[Series], text: &str, times: Times, range: bool) -> Result<(Answer, Annotations), Error> {
    let query = if range { Query::range(text, times, LOOKBACK)? } else { Query::instant(text, times.start, LOOKBACK)? };
    // Only what was asked for, so that a selection that asks for too little is found out.
    let data: Vec<Vec<Series>> = query
        .selects()
        .iter()
        .map(|select| {
            let wanted = store.iter().filter(|series| select.matches(&series.labels));
            wanted
                .map(|series| {
                    let mut cut = Series::new(series.labels.clone());
                    for (time, value) in series.times.iter().zip(&series.values) {
                        if (select.start..=select.end).contains(time) {
                            cut.push(*time, Sample::Float(*value));
                        }
                    }
                    for (time, histogram) in &series.histograms {
                        if (select.start..=select.end).contains(time) {
                            cut.push(*time, Sample::Histogram(Arc::clone(histogram)));
                        }
                    }
                    cut
                })
                .filter(|series| !series.is_empty())
                .collect()
        })
        .collect();
    query.run(&data, Limits { delayed_name_removal: true, ..Limits::default() })
}

fn compare(
    outcome: Result<(Answer, Annotations), Error>,
    expected: &Expected<'_>,
    times: Times,
    range: bool,
) -> Option<String> {
    let (answer, annotations) = match outcome {
        Err(_) if expected.fail => return None,
        Err(error) => return Some(format!("failed: {error}")),
        Ok((answer, _)) if expected.fail => return Some(format!("did not fail: {answer:?}")),
        Ok(both) => both,
    };
    for note in &expected.notes {
        let (set, want) = match *note {
            "warn" => (&annotations.warnings, true),
            "no_warn" => (&annotations.warnings, false),
            "info" => (&annotations.infos, true),
            "no_info" => (&annotations.infos, false),
            _ => continue,
        };
        if set.is_empty() == want {
            return Some(format!("expected {note}, got {annotations:?}"));
        }
    }
    match answer {
        Answer::Text(text) => (expected.text.as_ref() != Some(&text)).then(|| format!("got the text {text:?}")),
        Answer::Scalar(values) => {
            let want: Vec<f64> = expected
                .rows
                .first()
                .map_or(Ok(Vec::new()), |row| {
                    let bare = row.strip_prefix("{}").unwrap_or(row);
                    samples(bare).map(|all| {
                        all.into_iter()
                            .filter_map(|s| match s {
                                Some(Sample::Float(v)) => Some(v),
                                _ => None,
                            })
                            .collect()
                    })
                })
                .unwrap_or_default();
            let same = want.len() == values.len() && want.iter().zip(&values).all(|(a, b)| almost(*a, *b));
            (!same).then(|| format!("got the scalar {values:?}"))
        }
        Answer::Vector(rows) => {
            let got = rows.into_iter().map(|row| (row.labels, row.points)).collect();
            rows_differ(got, expected, times, range)
        }
        Answer::Matrix(series) => {
            let Some(times) = expected.range else { return Some("got ranges".to_owned()) };
            let steps: Vec<i64> = times.iter().collect();
            let mut got = Vec::new();
            for series in series {
                let mut points = vec![None; steps.len()];
                let floats = series.times.iter().zip(&series.values).map(|(time, v)| (*time, Sample::Float(*v)));
                let histograms = series.histograms.iter().map(|(time, h)| (*time, Sample::Histogram(Arc::clone(h))));
                for (time, sample) in floats.chain(histograms) {
                    match steps.iter().position(|step| *step == time) {
                        Some(at) => points[at] = Some(sample),
                        None => return Some(format!("a sample at {time}")),
                    }
                }
                got.push((series.labels, points));
            }
            rows_differ(got, expected, times, true)
        }
    }
}

fn rows_differ(
    got: Vec<(Labels, Vec<Option<Sample>>)>,
    expected: &Expected<'_>,
    times: Times,
    range: bool,
) -> Option<String> {
    let mut want = Vec::new();
    for row in &expected.rows {
        if number(row).is_ok() && !row.starts_with('{') {
            return Some(format!("expected the scalar {row}, got {got:?}"));
        }
        let parsed = series(row).and_then(|(labels, rest)| Ok((labels, samples(rest)?)));
        match parsed {
            Ok((labels, mut points)) => {
                points.resize(times.count(), None);
                want.push((labels, points));
            }
            Err(error) => return Some(format!("cannot read {row}: {error}")),
        }
    }
    let describe = || format!("\n   want {want:?}\n   got  {got:?}");
    if want.len() != got.len() {
        return Some(format!("{} rows, expected {}{}", got.len(), want.len(), describe()));
    }
    for (n, (labels, points)) in want.iter().enumerate() {
        let found = if expected.ordered && !range {
            got.get(n).filter(|(l, _)| l == labels)
        } else {
            got.iter().find(|(l, _)| l == labels)
        };
        let Some((_, values)) = found else { return Some(format!("no row {labels}{}", describe())) };
        for (a, b) in points.iter().zip(values) {
            let same = match (a, b) {
                (None, None) => true,
                (Some(Sample::Float(a)), Some(Sample::Float(b))) => almost(*a, *b),
                (Some(Sample::Histogram(a)), Some(Sample::Histogram(b))) => alike(a, b),
                _ => false,
            };
            if !same {
                return Some(format!("{} of {labels} differs{}", labels.get(NAME), describe()));
            }
        }
    }
    None
}

fn almost(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * (a.abs() + b.abs()) || (a - b).abs() < 1e-300
}

fn alike(a: &Histogram, b: &Histogram) -> bool {
    let set = |h: &Histogram| h.buckets();
    let (left, right) = (set(a), set(b));
    a.schema == b.schema
        && almost(a.count, b.count)
        && almost(a.sum, b.sum)
        && almost(a.zero_count, b.zero_count)
        && almost(a.zero_threshold, b.zero_threshold)
        && a.bounds == b.bounds
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(l, r)| almost(l.upper, r.upper) && almost(l.count, r.count))
}
