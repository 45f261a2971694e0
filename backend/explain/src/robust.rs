//! Statistics that a few strange values do not move: earlier faults may lie in a baseline.

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => 0.0,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(*upper, sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(*upper)),
    }
}

/// The median distance from the median, as a standard deviation of a normal distribution.
pub(crate) fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    1.4826 * median(&distances)
}

/// How far `after` of `before + after` events lies from what an exposure `ratio` times as large lets expect: the signed root of
/// the binomial deviance, in standard deviations. Both counts are taken as uncertain, so that little in both is little evidence.
pub(crate) fn deviation(before: f64, after: f64, ratio: f64) -> f64 {
    let total = before + after;
    if total <= 0.0 || !ratio.is_finite() || ratio <= 0.0 {
        return 0.0;
    }
    let share = ratio / (1.0 + ratio);
    let part = |seen: f64, share: f64| if seen > 0.0 { seen * (seen / (total * share)).ln() } else { 0.0 };
    let deviance = part(after, share) + part(before, 1.0 - share);
    (2.0 * deviance.max(0.0)).sqrt().copysign(after - total * share)
}

/// How strongly a duration (ns) has grown: doublings, less where there are few samples or the growth is below milliseconds.
pub(crate) fn growth(before: f64, after: f64, samples_before: f64, samples_after: f64) -> f64 {
    /// A millisecond: what is shorter is noise of schedulers.
    const FLOOR: f64 = 1e6;
    /// Samples from which a quantile is trusted fully.
    const TRUSTED: f64 = 15.0;
    let samples = samples_before.min(samples_after);
    let (before, after) = (before.max(0.0), after.max(0.0));
    if samples < 4.0 || after <= before {
        return 0.0;
    }
    let doublings = ((after + FLOOR) / (before + FLOOR)).log2();
    doublings * (samples / TRUSTED).sqrt().min(1.0) * (1.0 + (after - before) / FLOOR).log10().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_follow_a_fault() {
        assert_eq!(median(&[1.0, 2.0, 900.0]), 2.0);
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
        assert!((spread(&[1.0, 2.0, 3.0, 900.0, 2.0]) - 1.4826).abs() < 1e-9);
    }

    #[test]
    fn a_deviation_grows_with_what_was_seen() {
        assert_eq!(deviation(10.0, 10.0, 1.0), 0.0);
        assert!(deviation(0.0, 8.0, 1.0) < deviation(0.0, 8.0, 0.25));
        assert!(deviation(0.0, 20.0, 1.0) > 5.0 && deviation(20.0, 0.0, 1.0) < -5.0);
        assert!(deviation(0.0, 2.0, 1.0) < 2.0, "little is little evidence");
        assert_eq!(deviation(3.0, 3.0, 0.0), 0.0);
    }

    #[test]
    fn growth_wants_samples_and_milliseconds() {
        assert_eq!(growth(1e6, 1e9, 3.0, 100.0), 0.0);
        assert_eq!(growth(5e6, 4e6, 100.0, 100.0), 0.0);
        assert!(growth(1e3, 9e4, 100.0, 100.0) < 0.1);
        assert!(growth(1e6, 2.55e8, 100.0, 100.0) > 6.0);
        assert!(growth(1e6, 2.55e8, 5.0, 100.0) < growth(1e6, 2.55e8, 50.0, 100.0));
    }
}
