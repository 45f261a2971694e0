//! How fast something changes.

use std::sync::Arc;

use super::{Step, seconds};
use crate::{
    Sample,
    histogram::{Histogram, ResetHint},
    series::Window,
};

pub(crate) fn rate(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    extrapolated(step, window, true, true)
}

pub(crate) fn increase(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    extrapolated(step, window, true, false)
}

pub(crate) fn delta(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    extrapolated(step, window, false, false)
}

/// The change over the range, as far as its samples tell: extrapolated to the range's ends where these are near a sample, by half an
/// interval where they are not, and never to before a counter was zero.
fn extrapolated(step: &Step<'_>, window: &Window<'_>, counter: bool, per_second: bool) -> Option<Sample> {
    if !window.values.is_empty() && !window.histograms.is_empty() {
        step.eval.warn("encountered a mix of histograms and floats for metric");
        return None;
    }
    let (first, last, intervals, result, first_value) = if window.histograms.is_empty() {
        let (first, last) = (*window.times.first()?, *window.times.last()?);
        if window.values.len() < 2 {
            return None;
        }
        let mut change = window.values[window.values.len() - 1] - window.values[0];
        if counter {
            change += window.values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
        }
        (first, last, window.values.len() - 1, Sample::Float(change), window.values[0])
    } else {
        if window.histograms.len() < 2 {
            return None;
        }
        let change = histogram_change(step, window, counter)?;
        let (first, last) = (&window.histograms[0], &window.histograms[window.histograms.len() - 1]);
        (first.0, last.0, window.histograms.len() - 1, Sample::Histogram(Arc::new(change)), first.1.count)
    };
    let mut to_start = seconds(first - window.after);
    let mut to_end = seconds(window.until - last);
    let sampled = seconds(last - first);
    let average = sampled / intervals as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if counter {
        let change = match &result {
            Sample::Float(change) => *change,
            Sample::Histogram(change) => change.count,
        };
        if change > 0.0 && first_value >= 0.0 {
            to_start = to_start.min(sampled * (first_value / change));
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= seconds(window.until - window.after);
    }
    Some(match result {
        Sample::Float(change) => Sample::Float(change * factor),
        Sample::Histogram(mut change) => {
            Arc::make_mut(&mut change).scale(factor);
            Sample::Histogram(change)
        }
    })
}

fn histogram_change(step: &Step<'_>, window: &Window<'_>, counter: bool) -> Option<Histogram> {
    let mut all = window.histograms;
    // What came before a reset tells nothing of what came after it.
    let fresh = counter && all[1].1.was_reset(&all[0].1);
    if fresh {
        all = &all[1..];
    }
    let gauge = |h: &Histogram| h.reset == ResetHint::Gauge;
    if all.iter().any(|(_, h)| h.is_custom()) != all.iter().all(|(_, h)| h.is_custom()) {
        step.eval
            .warn("vector contains a mix of histograms with exponential and custom buckets schemas for metric name");
        return None;
    }
    if counter && all.iter().any(|(_, h)| gauge(h)) {
        step.eval.warn("this native histogram metric is not a counter");
    }
    if !counter && !all.iter().all(|(_, h)| gauge(h)) {
        step.eval.warn("this native histogram metric is not a gauge");
    }
    let least = all.iter().map(|(_, h)| h.schema).min().unwrap_or_default();
    let mut change = (*all[all.len() - 1].1).clone();
    change.reduce(least);
    let mut reconciled = if fresh { false } else { change.subtract(&all[0].1).ok()? };
    if counter {
        for pair in all.windows(2) {
            if pair[1].1.was_reset(&pair[0].1) {
                reconciled |= change.add(&pair[0].1).ok()?;
            }
        }
    }
    step.eval.reconciled(reconciled, "subtraction");
    change.reset = ResetHint::Gauge;
    Some(change)
}

pub(crate) fn irate(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    instant(step, window, true)
}

pub(crate) fn idelta(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    instant(step, window, false)
}

/// The change between the last two samples.
fn instant(step: &Step<'_>, window: &Window<'_>, per_second: bool) -> Option<Sample> {
    let all = merged(window);
    let [.., (before, then), (time, now)] = &all[..] else { return None };
    let elapsed = seconds(time - before);
    match (then, now) {
        (Sample::Float(then), Sample::Float(now)) => {
            let change = if per_second && now < then { *now } else { now - then };
            Some(Sample::Float(if per_second { change / elapsed } else { change }))
        }
        (Sample::Histogram(then), Sample::Histogram(now)) => {
            let mut change = (**now).clone();
            let gauges = [then, now].into_iter().filter(|h| h.reset == ResetHint::Gauge).count();
            if per_second && gauges > 0 {
                step.eval.warn("this native histogram metric is not a counter");
            }
            if !per_second && gauges < 2 {
                step.eval.warn("this native histogram metric is not a gauge");
            }
            if !per_second || !now.was_reset(then) {
                match change.subtract(then) {
                    Ok(reconciled) => step.eval.reconciled(reconciled, "subtraction"),
                    Err(_incompatible) => {
                        step.eval.warn("vector contains a mix of histograms with exponential and custom buckets schemas for metric name");
                        return None;
                    }
                }
            }
            change.reset = ResetHint::Gauge;
            if per_second {
                change.scale(1.0 / elapsed);
            }
            Some(Sample::Histogram(Arc::new(change)))
        }
        _ => {
            step.eval.warn("encountered a mix of histograms and floats for metric");
            None
        }
    }
}

/// Numbers and histograms in the order of time.
pub(crate) fn merged(window: &Window<'_>) -> Vec<(i64, Sample)> {
    let floats = window.times.iter().zip(window.values).map(|(time, value)| (*time, Sample::Float(*value)));
    let histograms = window.histograms.iter().map(|(time, h)| (*time, Sample::Histogram(Arc::clone(h))));
    let mut all: Vec<_> = floats.chain(histograms).collect();
    if !window.histograms.is_empty() {
        all.sort_by_key(|(time, _)| *time);
    }
    all
}

/// How often the value changed.
pub(crate) fn changes(_: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    let changed = |before: &Sample, now: &Sample| match (before, now) {
        (Sample::Float(b), Sample::Float(n)) => b != n && !(b.is_nan() && n.is_nan()),
        (Sample::Histogram(b), Sample::Histogram(n)) => !b.same(n),
        _ => true,
    };
    if window.histograms.is_empty() {
        let pairs =
            window.values.windows(2).filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan()));
        return Some(Sample::Float(pairs.count() as f64));
    }
    let all = merged(window);
    Some(Sample::Float(all.windows(2).filter(|pair| changed(&pair[0].1, &pair[1].1)).count() as f64))
}

/// How often a counter was set back.
pub(crate) fn resets(_: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    let reset = |before: &Sample, now: &Sample| match (before, now) {
        (Sample::Float(b), Sample::Float(n)) => n < b,
        (Sample::Histogram(b), Sample::Histogram(n)) => n.was_reset(b),
        _ => true,
    };
    let all = merged(window);
    Some(Sample::Float(all.windows(2).filter(|pair| reset(&pair[0].1, &pair[1].1)).count() as f64))
}
