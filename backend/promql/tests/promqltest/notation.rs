//! The notation of series, samples and histograms in Prometheus' test scripts.

use std::sync::Arc;

use devmesh_promql::{
    Labels, NAME, STALE, Sample,
    histogram::{Histogram, ResetHint},
};

/// `name{label="value", …}`, and what follows it.
pub(crate) fn series(text: &str) -> Result<(Labels, &str), String> {
    let text = text.trim_start();
    let end = text.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((NAME.to_owned(), name.to_owned()));
    }
    if rest.starts_with('{') && !rest.starts_with("{{") {
        rest = rest[1..].trim_start();
        while !rest.starts_with('}') {
            let (label, after) = if rest.starts_with(['"', '\'', '`']) {
                quoted(rest)?
            } else {
                let end = rest.find(['=', '!', ',', '}']).ok_or_else(|| format!("no end of label in {text}"))?;
                (rest[..end].trim().to_owned(), &rest[end..])
            };
            rest = after.trim_start();
            if let Some(after) = rest.strip_prefix('=') {
                let (value, after) = quoted(after.trim_start())?;
                pairs.push((label, value));
                rest = after.trim_start();
            } else {
                pairs.push((NAME.to_owned(), label));
            }
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    Ok((Labels::new(pairs), rest))
}

/// A text in quotes, and what follows it.
pub(crate) fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c)).ok_or_else(|| format!("no text at {text}"))?;
    let (mut value, mut chars) = (String::new(), text.char_indices().skip(1));
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' if quote != '`' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c) => value.push(c),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(format!("no end of text in {text}"))
}

/// Samples in a row; `None` where there is none.
pub(crate) fn samples(text: &str) -> Result<Vec<Option<Sample>>, String> {
    let mut all = Vec::new();
    for item in items(text) {
        let (item, _start) = item.split_once('@').unwrap_or((&item, ""));
        item_samples(item, &mut all)?;
    }
    Ok(all)
}

/// Splits at spaces outside of histograms.
fn items(text: &str) -> Vec<String> {
    let (mut all, mut now, mut depth) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            c if c.is_whitespace() && depth == 0 => {
                if !now.is_empty() {
                    all.push(std::mem::take(&mut now));
                }
                continue;
            }
            _ => {}
        }
        now.push(c);
    }
    if !now.is_empty() {
        all.push(now);
    }
    all
}

fn item_samples(item: &str, all: &mut Vec<Option<Sample>>) -> Result<(), String> {
    if item.starts_with("{{") {
        let end = item.find("}}").ok_or("no end of histogram")? + 2;
        let first = histogram(&item[2..end - 2])?;
        let rest = &item[end..];
        if rest.is_empty() {
            all.push(Some(Sample::Histogram(Arc::new(first))));
        } else if let Some(times) = rest.strip_prefix('x') {
            let times: usize = times.parse().map_err(|_bad| format!("bad count {rest}"))?;
            all.extend((0..=times).map(|_| Some(Sample::Histogram(Arc::new(first.clone())))));
        } else {
            let sign = &rest[..1];
            let end = rest.find("}}").ok_or("no end of histogram")? + 2;
            let change = histogram(&rest[3..end - 2])?;
            let times: usize = rest[end + 1..].parse().map_err(|_bad| format!("bad count {rest}"))?;
            let mut now = first;
            all.push(Some(Sample::Histogram(Arc::new(now.clone()))));
            for _ in 0..times {
                let done = if sign == "+" { now.add(&change) } else { now.subtract(&change) };
                done.map_err(|error| format!("{item}: {error:?}"))?;
                all.push(Some(Sample::Histogram(Arc::new(now.clone()))));
            }
        }
        return Ok(());
    }
    if let Some(rest) = item.strip_prefix('_') {
        let times = rest.strip_prefix('x').map_or(Ok(1), str::parse::<usize>).map_err(|_bad| format!("bad {item}"))?;
        all.extend((0..times).map(|_| None));
        return Ok(());
    }
    if item == "stale" {
        all.push(Some(Sample::Float(f64::from_bits(STALE))));
        return Ok(());
    }
    let Some((values, times)) = item.rsplit_once('x') else {
        all.push(Some(Sample::Float(number(item)?)));
        return Ok(());
    };
    let times: usize = times.parse().map_err(|_bad| format!("bad count {item}"))?;
    // The sign between start and change: not the first character, not that of an exponent.
    let bytes = values.as_bytes();
    let at = (1..bytes.len()).find(|at| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E'));
    let (start, change) = match at {
        Some(at) => (number(&values[..at])?, number(&values[at..])?),
        None => (number(values)?, 0.0),
    };
    let mut now = start;
    for n in 0..=times {
        all.push(Some(Sample::Float(now)));
        if n < times {
            now += change;
        }
    }
    Ok(())
}

/// A number as Go reads it.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (sign, bare) = match text.strip_prefix('-') {
        Some(bare) => (-1.0, bare),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = bare.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).map(|v| sign * v as f64).map_err(|_bad| format!("no number: {text}"));
    }
    match bare.to_ascii_lowercase().as_str() {
        "inf" => Ok(sign * f64::INFINITY),
        "nan" => Ok(f64::NAN),
        _ => bare.replace('_', "").parse::<f64>().map(|v| sign * v).map_err(|_bad| format!("no number: {text}")),
    }
}

/// A histogram, without its braces.
fn histogram(text: &str) -> Result<Histogram, String> {
    let mut all = Histogram { zero_threshold: 0.0, ..Histogram::default() };
    let (mut offset, mut n_offset) = (0, 0);
    let (mut positive, mut negative): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let list =
        |value: &str| value.trim_matches(['[', ']']).split_whitespace().map(number).collect::<Result<Vec<_>, _>>();
    for item in items(text) {
        let (key, value) = item.split_once(':').ok_or_else(|| format!("no value: {item}"))?;
        match key {
            "schema" => all.schema = number(value)? as i32,
            "sum" => all.sum = number(value)?,
            "count" => all.count = number(value)?,
            "z_bucket" => all.zero_count = number(value)?,
            "z_bucket_w" => all.zero_threshold = number(value)?,
            "buckets" => positive = list(value)?,
            "n_buckets" => negative = list(value)?,
            "offset" => offset = number(value)? as i32,
            "n_offset" => n_offset = number(value)? as i32,
            "custom_values" => all.bounds = list(value)?.into(),
            "counter_reset_hint" => {
                all.reset = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    other => return Err(format!("no hint: {other}")),
                }
            }
            other => return Err(format!("unknown key {other}")),
        }
    }
    let index = |offset: i32, counts: Vec<f64>| (offset..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
    all.positive = index(offset, positive);
    all.negative = index(n_offset, negative);
    Ok(all)
}
