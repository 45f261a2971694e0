//! What native histograms tell of their observations.

use crate::histogram::{Bucket, Histogram};

/// The value below which a share `q` of the observations lies, and whether observations of NaN made it uncertain.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if histogram.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    // From the nearer end; observations of NaN are in the count alone, and lie at the far one.
    let forward = histogram.sum.is_nan() || q < 0.5;
    let mut buckets = histogram.buckets();
    if !forward {
        buckets.reverse();
    }
    let rank = if forward { q } else { 1.0 - q } * histogram.count;
    let mut count = 0.0;
    let mut found = Bucket { lower: 0.0, upper: 0.0, count: 0.0, lower_inclusive: false, upper_inclusive: false };
    for bucket in buckets {
        found = bucket;
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    if histogram.is_custom() {
        if found.lower == f64::NEG_INFINITY {
            if found.upper <= 0.0 {
                return found.upper;
            }
            found.lower = 0.0;
        } else if found.upper == f64::INFINITY {
            return found.lower;
        }
    } else {
        one_sided(histogram, &mut found);
    }
    count = count.min(histogram.count);
    if count < rank {
        return if histogram.sum.is_nan() {
            f64::NAN
        } else if forward {
            found.upper
        } else {
            found.lower
        };
    }
    let within = if forward { rank - (count - found.count) } else { count - rank };
    let fraction = within / found.count;
    if histogram.is_custom() || (found.lower <= 0.0 && found.upper >= 0.0) {
        return found.lower + (found.upper - found.lower) * fraction;
    }
    let (lower, upper) = (found.lower.abs().log2(), found.upper.abs().log2());
    if found.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The zero bucket reaches only to where other observations are.
fn one_sided(histogram: &Histogram, bucket: &mut Bucket) {
    if bucket.lower < 0.0 && bucket.upper > 0.0 {
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
}

/// The share of the observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut rank, mut below, mut above) = (0.0, None, None);
    for mut bucket in histogram.buckets() {
        let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero {
            match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
                (true, false) => bucket.lower = 0.0,
                (false, true) => bucket.upper = 0.0,
                _ => {}
            }
        }
        let linear = zero || histogram.is_custom();
        for (value, at) in [(lower, &mut below), (upper, &mut above)] {
            if at.is_none() && bucket.lower >= value {
                *at = Some(rank);
            } else if at.is_none() && bucket.upper > value {
                *at = Some(if linear {
                    rank_linear(rank, &bucket, value)
                } else {
                    rank_exponential(rank, &bucket, value)
                });
            }
        }
        rank += bucket.count;
    }
    // Observations of NaN are in no bucket, and so in no fraction.
    let at = |found: Option<f64>| found.unwrap_or(rank).min(histogram.count);
    (at(above) - at(below)) / histogram.count
}

fn rank_linear(rank: f64, bucket: &Bucket, value: f64) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        return bucket.count;
    }
    rank + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower)
}

fn rank_exponential(rank: f64, bucket: &Bucket, value: f64) -> f64 {
    let (lower, upper, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    let fraction = if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) };
    rank + bucket.count * fraction
}

/// The variance of the observations, each taken to be at its bucket's (geometric) middle.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut total, mut compensation) = (0.0, 0.0);
    for bucket in histogram.buckets() {
        let middle = if histogram.is_custom() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        crate::eval::kahan(bucket.count * delta * delta, &mut total, &mut compensation);
    }
    (total + compensation) / histogram.count
}
