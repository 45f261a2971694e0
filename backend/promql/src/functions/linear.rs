//! Lines through samples.

use super::{Step, seconds};
use crate::{Sample, eval::kahan, series::Window};

pub(crate) fn deriv(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    let (slope, _) = regression(step, window, *window.times.first()?)?;
    Some(Sample::Float(slope))
}

pub(crate) fn predict(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    let (slope, intercept) = regression(step, window, step.time)?;
    Some(Sample::Float(slope * step.args.first()? + intercept))
}

/// Slope by second and value at `origin` of the line with the least squares.
fn regression(step: &Step<'_>, window: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    if window.values.len() < 2 {
        if !window.values.is_empty() && !window.histograms.is_empty() {
            step.eval.info("ignored histograms in a range containing both floats and histograms");
        }
        return None;
    }
    if !window.histograms.is_empty() {
        step.eval.info("ignored histograms in a range containing both floats and histograms");
    }
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    // Sums with their compensation: of x, y, xy and x².
    let mut sums = [(0.0, 0.0); 4];
    for (time, y) in window.times.iter().zip(window.values) {
        let x = seconds(time - origin);
        for ((sum, compensation), value) in sums.iter_mut().zip([x, *y, x * y, x * x]) {
            kahan(value, sum, compensation);
        }
    }
    let n = window.values.len() as f64;
    let [x, y, xy, x2] = sums.map(|(sum, compensation)| sum + compensation);
    let slope = (xy - x * y / n) / (x2 - x * x / n);
    Some((slope, y / n - slope * x / n))
}

/// Holt's double exponential smoothing: arguments are the smoothing and the trend factor.
pub(crate) fn smooth(step: &Step<'_>, window: &Window<'_>) -> Option<Sample> {
    let [smoothing, trend] = step.args else { return None };
    if !window.histograms.is_empty() && !window.values.is_empty() {
        step.eval.info("ignored histograms in a range containing both floats and histograms");
    }
    let [first, second, ..] = window.values else { return None };
    let mut level = *first;
    let mut slope = second - first;
    for value in &window.values[1..] {
        let before = level;
        level = smoothing * value + (1.0 - smoothing) * (level + slope);
        slope = trend * (level - before) + (1.0 - trend) * slope;
    }
    Some(Sample::Float(level))
}
