//! Quantiles and fractions, of classic histograms (a series for each bucket, with its bound in `le`) and native ones.

use std::collections::{HashMap, hash_map::Entry};

use super::{argument, native};
use crate::{
    Error, Labels, Sample,
    eval::{Eval, Row, Rows},
    plan::{Call, Node, Times},
};

/// The label with a bucket's upper bound.
const LE: &str = "le";

/// Buckets up to this much apart, relative to the larger, are alike: float arithmetic made the difference.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket: its upper bound, and how many observations lie at or below it.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// The histograms of one set of labels.
struct Group {
    labels: Labels,
    nameless: bool,
    /// By step: the buckets.
    classic: Vec<Vec<Bucket>>,
    native: Vec<Option<std::sync::Arc<crate::histogram::Histogram>>>,
}

pub(crate) fn quantile(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let q = eval.scalar(argument(call, 0)?, times)?;
    eval.check_quantiles(&q);
    let groups = groups(eval, argument(call, 1)?, times)?;
    each(eval, groups, None, give, &|step, buckets| classic_quantile(eval, q[step], buckets), &|step, histogram| {
        nan_observations(eval, histogram, "histogram_quantile");
        native::quantile(q[step], histogram)
    })
}

/// Several quantiles at once: of a vector, the label that says which, and the quantiles.
pub(crate) fn quantiles(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let label = eval.text(argument(call, 1)?)?;
    for at in 2..call.args.len() {
        let q = eval.scalar(argument(call, at)?, times)?;
        eval.check_quantiles(&q);
        let text = q.first().map(|q| open_metrics(*q)).unwrap_or_default();
        let groups = groups(eval, argument(call, 0)?, times)?;
        let named = Some((label, text.as_str()));
        each(
            eval,
            groups,
            named,
            give,
            &|step, buckets| classic_quantile(eval, q[step], buckets),
            &|step, histogram| {
                nan_observations(eval, histogram, "histogram_quantiles");
                native::quantile(q[step], histogram)
            },
        )?;
    }
    Ok(())
}

pub(crate) fn fraction(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let lower = eval.scalar(argument(call, 0)?, times)?;
    let upper = eval.scalar(argument(call, 1)?, times)?;
    let groups = groups(eval, argument(call, 2)?, times)?;
    each(
        eval,
        groups,
        None,
        give,
        &|step, buckets| classic_fraction(lower[step], upper[step], buckets),
        &|step, histogram| {
            nan_observations(eval, histogram, "histogram_fraction");
            native::fraction(lower[step], upper[step], histogram)
        },
    )
}

/// Puts the series of a vector together to histograms.
fn groups(eval: &Eval<'_>, node: &Node, times: Times) -> Result<Vec<Group>, Error> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    eval.rows(node, times, &mut |row| {
        let le = row.labels.get(LE);
        let upper = match le {
            "+Inf" | "Inf" | "inf" | "+inf" => Some(f64::INFINITY),
            other => other.parse::<f64>().ok(),
        };
        let classic = row.points.iter().any(|point| matches!(point, Some(Sample::Float(_))));
        if upper.is_none() && classic {
            eval.warn(format!("bucket label {LE:?} is missing or has a malformed value of {le:?}"));
        }
        let keep_le = row.points.iter().all(|point| !matches!(point, Some(Sample::Float(_))));
        let mut named = row.labels.filter(|name| keep_le || name != LE);
        if !eval.limits.delayed_name_removal {
            named = named.without_name();
        }
        let group = match at.entry(named) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                eval.hold(times.count() * 4)?;
                groups.push(Group {
                    labels: entry.key().clone(),
                    nameless: eval.limits.delayed_name_removal,
                    classic: vec![Vec::new(); times.count()],
                    native: vec![None; times.count()],
                });
                *entry.insert(groups.len() - 1)
            }
        };
        for (step, point) in row.points.into_iter().enumerate() {
            match point {
                Some(Sample::Float(count)) => {
                    if let Some(upper) = upper {
                        groups[group].classic[step].push(Bucket { upper, count });
                    }
                }
                Some(Sample::Histogram(histogram)) => groups[group].native[step] = Some(histogram),
                None => {}
            }
        }
        Ok(())
    })?;
    Ok(groups)
}

type OfClassic<'f> = &'f dyn Fn(usize, &mut Vec<Bucket>) -> f64;
type OfNative<'f> = &'f dyn Fn(usize, &crate::histogram::Histogram) -> f64;

fn each(
    eval: &Eval<'_>,
    groups: Vec<Group>,
    named: Option<(&str, &str)>,
    give: Rows<'_>,
    of_classic: OfClassic<'_>,
    of_native: OfNative<'_>,
) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(groups.len());
    for Group { labels, nameless, classic, native } in groups {
        let points = classic.into_iter().zip(native).enumerate().map(|(step, pair)| match pair {
            (buckets, None) if buckets.is_empty() => None,
            (mut buckets, None) => Some(Sample::Float(of_classic(step, &mut buckets))),
            (buckets, Some(histogram)) if buckets.is_empty() => Some(Sample::Float(of_native(step, &histogram))),
            _ => {
                eval.warn("vector contains a mix of classic and native histograms");
                None
            }
        });
        let points = points.collect();
        let labels = named.map_or_else(|| labels.clone(), |(label, value)| labels.with(label, value));
        let mut row = Row::new(labels, points);
        row.nameless = nameless;
        rows.push(row);
    }
    crate::eval::merge(rows)?.into_iter().try_for_each(give)
}

/// Observations of NaN are in no bucket.
fn nan_observations(eval: &Eval<'_>, histogram: &crate::histogram::Histogram, function: &str) {
    if histogram.sum.is_nan() && histogram.count > 0.0 {
        eval.info(format!("input to {function} has NaN observations, which are in no bucket"));
    }
}

/// A number as OpenMetrics writes it in labels: with a point.
fn open_metrics(value: f64) -> String {
    let text = crate::eval::format_float(value);
    if value.is_finite() && !text.contains('.') { text + ".0" } else { text }
}

/// Sorts buckets and puts equal bounds together; false where the last bound is not +Inf.
fn tidy(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.upper == f64::INFINITY)
}

/// Makes counts never fall; says whether one did by more than float arithmetic does.
fn monotonic(buckets: &mut [Bucket]) -> bool {
    let (mut forced, mut before) = (false, f64::NAN);
    for (n, bucket) in buckets.iter_mut().enumerate() {
        if n > 0 && bucket.count != before {
            let alike = (bucket.count - before).abs() <= SMALL_DELTA * (bucket.count.abs() + before.abs());
            if alike {
                bucket.count = before;
            } else if bucket.count < before {
                (bucket.count, forced) = (before, true);
            }
        }
        before = bucket.count;
    }
    forced
}

fn classic_quantile(eval: &Eval<'_>, q: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if !tidy(buckets) {
        return f64::NAN;
    }
    if monotonic(buckets) {
        eval.info("input to histogram_quantile needed to be fixed for monotonicity");
    }
    let [.., before, last] = &buckets[..] else { return f64::NAN };
    if last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let at = buckets[..buckets.len() - 1].partition_point(|bucket| bucket.count < rank);
    if at == buckets.len() - 1 {
        return before.upper;
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }
    let (mut start, mut count) = (0.0, buckets[at].count);
    if at > 0 {
        start = buckets[at - 1].upper;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    start + (buckets[at].upper - start) * (rank / count)
}

fn classic_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !tidy(buckets) {
        return f64::NAN;
    }
    monotonic(buckets);
    let total = buckets.last().map_or(0.0, |last| last.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut rank, mut below, mut above) = (0.0, None, None);
    for (n, bucket) in buckets.iter().enumerate() {
        let start = match n {
            0 if bucket.upper > 0.0 => 0.0,
            0 => f64::NEG_INFINITY,
            _ => buckets[n - 1].upper,
        };
        for (value, at) in [(lower, &mut below), (upper, &mut above)] {
            if at.is_some() {
                continue;
            }
            if start >= value {
                *at = Some(rank);
            } else if bucket.upper > value {
                let share = if start == f64::NEG_INFINITY { 1.0 } else { (value - start) / (bucket.upper - start) };
                *at = Some(rank + (bucket.count - rank) * share);
            }
        }
        rank = bucket.count;
    }
    let at = |rank: Option<f64>| rank.unwrap_or(total).min(total);
    (at(above) - at(below)) / total
}
