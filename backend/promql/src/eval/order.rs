//! Sums that lose nothing, and order statistics.

/// Adds `value` to a sum and its compensation (Neumaier's form of Kahan summation).
pub(crate) fn kahan(value: f64, sum: &mut f64, compensation: &mut f64) {
    let total = *sum + value;
    if total.is_infinite() {
        *compensation = 0.0;
    } else if sum.abs() >= value.abs() {
        *compensation += (*sum - total) + value;
    } else {
        *compensation += (value - total) + *sum;
    }
    *sum = total;
}

/// The `q`-quantile of the values, interpolated between neighbours. NaN counts as less than anything.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        for (q, want) in
            [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.25, 1.75), (-1.0, f64::NEG_INFINITY), (2.0, f64::INFINITY)]
        {
            assert_eq!(quantile(q, &mut [4.0, 1.0, 3.0, 2.0]), want, "{q}");
        }
        assert!(quantile(0.5, &mut []).is_nan());
    }

    #[test]
    fn small_values_are_not_lost_beside_large_ones() {
        let (mut sum, mut c) = (0.0, 0.0);
        for value in [5.0, 1e100, 5.0, -1e100] {
            kahan(value, &mut sum, &mut c);
        }
        assert_eq!(sum + c, 10.0);
    }
}
