//! Aggregations of a series over a range of time.

use std::sync::Arc;

use super::{Function, RangeFn, Step, seconds};
use crate::{
    Sample,
    eval::{kahan, quantile},
    histogram::{Histogram, ResetHint, Rest},
    series::Window,
};

pub(crate) fn named(name: &str) -> Option<Function> {
    let (function, keeps_name): (RangeFn, bool) = match name {
        "last_over_time" => (|_, w| newest(w).map(|(_, sample)| sample), true),
        "first_over_time" => (|_, w| oldest(w).map(|(_, sample)| sample), true),
        "count_over_time" => (|_, w| float((w.values.len() + w.histograms.len()) as f64), false),
        "present_over_time" => (|_, _| float(1.0), false),
        "sum_over_time" => (sum, false),
        "avg_over_time" => (avg, false),
        "min_over_time" => (|s, w| floats(s, w).and_then(|v| float(extreme(v, |new, old| new < old))), false),
        "max_over_time" => (|s, w| floats(s, w).and_then(|v| float(extreme(v, |new, old| new > old))), false),
        "stdvar_over_time" => (|s, w| floats(s, w).and_then(|v| float(variance(v))), false),
        "stddev_over_time" => (|s, w| floats(s, w).and_then(|v| float(variance(v).sqrt())), false),
        "quantile_over_time" => {
            (|s, w| floats(s, w).and_then(|v| float(quantile(*s.args.first()?, &mut v.to_vec()))), false)
        }
        "mad_over_time" => (|s, w| floats(s, w).and_then(|v| float(mad(v))), false),
        "ts_of_last_over_time" => (|_, w| newest(w).and_then(|(time, _)| float(seconds(time))), false),
        "ts_of_first_over_time" => (|_, w| oldest(w).and_then(|(time, _)| float(seconds(time))), false),
        "ts_of_min_over_time" => (|s, w| floats(s, w).and_then(|v| float(when(w, v, |new, old| new <= old))), false),
        "ts_of_max_over_time" => (|s, w| floats(s, w).and_then(|v| float(when(w, v, |new, old| new >= old))), false),
        _ => return None,
    };
    Some(Function::Range(function, keeps_name))
}

fn float(value: f64) -> Option<Sample> {
    Some(Sample::Float(value))
}

/// The numbers of a range, for functions that know nothing of histograms.
fn floats<'w>(step: &Step<'_>, window: &Window<'w>) -> Option<&'w [f64]> {
    if window.values.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        step.eval.info("ignored histograms in a range containing both floats and histograms");
    }
    Some(window.values)
}

fn newest(window: &Window<'_>) -> Option<(i64, Sample)> {
    let float = window.times.last().zip(window.values.last()).map(|(t, v)| (*t, Sample::Float(*v)));
    let histogram = window.histograms.last().map(|(t, h)| (*t, Sample::Histogram(Arc::clone(h))));
    match (float, histogram) {
        (Some(f), Some(h)) => Some(if h.0 > f.0 { h } else { f }),
        (f, h) => f.or(h),
    }
}

fn oldest(window: &Window<'_>) -> Option<(i64, Sample)> {
    let float = window.times.first().zip(window.values.first()).map(|(t, v)| (*t, Sample::Float(*v)));
    let histogram = window.histograms.first().map(|(t, h)| (*t, Sample::Histogram(Arc::clone(h))));
    match (float, histogram) {
        (Some(f), Some(h)) => Some(if h.0 < f.0 { h } else { f }),
        (f, h) => f.or(h),
    }
}

fn mixed(step: &Step<'_>, window: &Window<'_>) -> bool {
    let mixed = !window.values.is_empty() && !window.histograms.is_empty();
    if mixed {
        step.eval.warn("encountered a mix of histograms and floats for metric");
    }
    mixed
}

fn sum(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    if mixed(step, window) {
        return None;
    }
    if !window.histograms.is_empty() {
        return Some(Sample::Histogram(Arc::new(histograms(step, window)?)));
    }
    let (mut total, mut compensation) = (0.0, 0.0);
    window.values.iter().for_each(|value| kahan(*value, &mut total, &mut compensation));
    float(if total.is_infinite() { total } else { total + compensation })
}

fn avg(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    if mixed(step, window) {
        return None;
    }
    if !window.histograms.is_empty() {
        let mut all = histograms(step, window)?;
        all.divide(window.histograms.len() as f64);
        return Some(Sample::Histogram(Arc::new(all)));
    }
    float(mean(window.values))
}

fn histograms(step: &Step<'_>, window: &Window<'_>) -> Option<Histogram> {
    let (mut all, mut rest) = ((*window.histograms.first()?.1).clone(), Rest::default());
    for (_, histogram) in &window.histograms[1..] {
        if matches!(
            (all.reset, histogram.reset),
            (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset)
        ) {
            step.eval.warn("conflicting counter resets during histogram aggregation");
        }
        match all.add_compensated(histogram, &mut rest) {
            Ok(reconciled) => step.eval.reconciled(reconciled, "aggregation"),
            Err(_incompatible) => {
                step.eval.warn(
                    "vector contains a mix of histograms with exponential and custom buckets schemas for metric name",
                );
                return None;
            }
        }
    }
    all.compensate(&rest);
    Some(all)
}

/// The mean, also of values whose sum is no float any more.
fn mean(values: &[f64]) -> f64 {
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in values {
        kahan(*value, &mut sum, &mut compensation);
    }
    let n = values.len() as f64;
    if !sum.is_infinite() || values.iter().any(|v| !v.is_finite()) {
        return if sum.is_infinite() { sum } else { sum / n + compensation / n };
    }
    let (mut mean, mut compensation) = (0.0, 0.0);
    for value in values {
        kahan(value / n, &mut mean, &mut compensation);
    }
    mean + compensation
}

fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    values
        .iter()
        .copied()
        .reduce(|old, new| if better(new, old) || old.is_nan() { new } else { old })
        .unwrap_or(f64::NAN)
}

/// The time of the extreme that came last.
fn when(window: &Window<'_>, values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut at = 0;
    for (n, value) in values.iter().enumerate() {
        if better(*value, values[at]) || values[at].is_nan() {
            at = n;
        }
    }
    seconds(window.times[at])
}

fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut mean_rest, mut aux, mut aux_rest) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean + mean_rest);
        kahan(delta / count, &mut mean, &mut mean_rest);
        kahan(delta * (value - (mean + mean_rest)), &mut aux, &mut aux_rest);
    }
    (aux + aux_rest) / count
}

/// The median of the distances from the median.
fn mad(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut all = values.to_vec();
    let median = quantile(0.5, &mut all);
    all.iter_mut().for_each(|value| *value = (*value - median).abs());
    quantile(0.5, &mut all)
}
