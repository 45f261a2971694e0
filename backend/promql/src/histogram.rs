//! Native histograms: buckets whose bounds follow from a schema, so that histograms of one schema, or of two, can be added.
//!
//! With an exponential schema `s` (-4 to 8), bucket `i` holds observations in `(2^((i-1)·2^-s), 2^(i·2^-s)]`, negative ones
//! mirrored, and those near zero are in a bucket of their own. With [`CUSTOM`] bounds, bucket `i` ends at the `i`th bound, the
//! last at +Inf. Counts are floats: a rate of histograms is one.

use std::{fmt, sync::Arc};

/// The schema of histograms whose bounds are listed.
pub const CUSTOM: i32 = -53;

/// What is known about a counter's resets before a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing: compare.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// It is no counter.
    Gauge,
}

/// Buckets by index, ascending.
pub type Buckets = Vec<(i32, f64)>;

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// -4 to 8, or [`CUSTOM`].
    pub schema: i32,
    /// Observations from -this to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations.
    pub count: f64,
    /// The sum of what was observed.
    pub sum: f64,
    /// Buckets of positive observations.
    pub positive: Buckets,
    /// Buckets of negative observations.
    pub negative: Buckets,
    /// The upper bounds, where the schema is [`CUSTOM`].
    pub bounds: Arc<[f64]>,
    /// What is known about resets.
    pub reset: ResetHint,
}

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Observations.
    pub count: f64,
    /// Whether `lower` itself is in it.
    pub lower_inclusive: bool,
    /// Whether `upper` itself is in it.
    pub upper_inclusive: bool,
}

/// What floats have lost of a sum of histograms: of the count, and of the sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest([f64; 2]);

/// Histograms that cannot be put together: one has listed bounds, the other an exponential schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

/// Whether the bounds of histograms that were put together had to be made alike.
pub type BoundsReconciled = bool;

impl Histogram {
    /// Whether its bounds are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// The upper bound of a positive bucket.
    pub(crate) fn upper(&self, index: i32) -> f64 {
        if self.is_custom() {
            return usize::try_from(index).ok().and_then(|at| self.bounds.get(at)).copied().unwrap_or(f64::INFINITY);
        }
        exponential_bound(index, self.schema)
    }

    fn lower(&self, index: i32) -> f64 {
        if self.is_custom() {
            return if index == 0 { f64::NEG_INFINITY } else { self.upper(index - 1) };
        }
        exponential_bound(index - 1, self.schema)
    }

    /// All buckets that hold something, from the least to the greatest.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut all = Vec::with_capacity(self.negative.len() + self.positive.len() + 1);
        for (index, count) in self.negative.iter().rev() {
            all.push(Bucket {
                lower: -self.upper(*index),
                upper: -self.lower(*index),
                count: *count,
                lower_inclusive: true,
                upper_inclusive: false,
            });
        }
        if self.zero_count != 0.0 {
            all.push(Bucket {
                lower: -self.zero_threshold,
                upper: self.zero_threshold,
                count: self.zero_count,
                lower_inclusive: true,
                upper_inclusive: true,
            });
        }
        for (index, count) in &self.positive {
            let lower = self.lower(*index);
            all.push(Bucket {
                lower,
                upper: self.upper(*index),
                count: *count,
                lower_inclusive: self.is_custom() && *index == 0,
                upper_inclusive: true,
            });
        }
        all.retain(|bucket| bucket.count != 0.0);
        all
    }

    /// All counts and the sum times `factor`.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.each(|count| count * factor);
        if factor < 0.0 {
            self.reset = ResetHint::Gauge;
        }
    }

    /// All counts and the sum divided by `divisor`; by zero, the buckets are gone.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.each(|count| count / divisor);
        if divisor < 0.0 {
            self.reset = ResetHint::Gauge;
        }
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
    }

    fn each(&mut self, change: impl Fn(f64) -> f64) {
        self.count = change(self.count);
        self.sum = change(self.sum);
        self.zero_count = change(self.zero_count);
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = change(*count);
        }
    }

    /// Adds the other's observations, at the coarser resolution and with the bounds that both have.
    ///
    /// # Errors
    /// Only one of them has listed bounds.
    pub fn add(&mut self, other: &Histogram) -> Result<BoundsReconciled, Incompatible> {
        self.combine(other, 1.0)
    }

    /// As [`Histogram::add`], in a long sum: what the floats of count, sum and zero bucket lose is kept in `rest`.
    pub(crate) fn add_compensated(
        &mut self,
        other: &Histogram,
        rest: &mut Rest,
    ) -> Result<BoundsReconciled, Incompatible> {
        let before = [self.count, self.sum];
        let reconciled = self.add(other)?;
        for ((total, rest), (before, value)) in [&mut self.count, &mut self.sum]
            .into_iter()
            .zip(&mut rest.0)
            .zip(before.into_iter().zip([other.count, other.sum]))
        {
            *total = before;
            crate::eval::kahan(value, total, rest);
        }
        Ok(reconciled)
    }

    /// Adds what a sum has lost.
    pub(crate) fn compensate(&mut self, rest: &Rest) {
        self.count += rest.0[0];
        self.sum += rest.0[1];
    }

    /// Takes the other's observations away.
    ///
    /// # Errors
    /// Only one of them has listed bounds.
    pub fn subtract(&mut self, other: &Histogram) -> Result<BoundsReconciled, Incompatible> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Histogram, sign: f64) -> Result<BoundsReconciled, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut other = other.clone();
        let mut reconciled = false;
        if self.is_custom() {
            if self.bounds != other.bounds {
                reconciled = true;
                let bounds: Arc<[f64]> = common_bounds(&self.bounds, &other.bounds).into();
                self.rebucket(&bounds);
                other.rebucket(&bounds);
            }
        } else {
            let threshold = self.common_threshold(&other);
            self.widen_zero(threshold);
            other.widen_zero(threshold);
            let schema = self.schema.min(other.schema);
            self.reduce(schema);
            other.reduce(schema);
        }
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
        self.reset = match (self.reset, other.reset) {
            (a, b) if a == b => a,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        Ok(reconciled)
    }

    /// Lowers the resolution to a schema that is not higher.
    pub(crate) fn reduce(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let by = self.schema - schema;
        for buckets in [&mut self.positive, &mut self.negative] {
            let mut reduced: Buckets = Vec::with_capacity(buckets.len());
            for (index, count) in buckets.iter() {
                // Upper bounds stay: bucket i of the finer schema ends in the one that ends at or above it.
                let target = ((index - 1) >> by) + 1;
                match reduced.last_mut() {
                    Some(last) if last.0 == target => last.1 += count,
                    _ => reduced.push((target, *count)),
                }
            }
            *buckets = reduced;
        }
        self.schema = schema;
    }

    /// The least threshold at or above both at which no bucket that holds something is cut.
    fn common_threshold(&self, other: &Histogram) -> f64 {
        let mut threshold = self.zero_threshold.max(other.zero_threshold);
        loop {
            let widest = [self, other]
                .into_iter()
                .flat_map(|h| [(&h.positive, h), (&h.negative, h)])
                .flat_map(|(buckets, h)| {
                    buckets.iter().map(move |(index, count)| (h.lower(*index), h.upper(*index), *count))
                })
                .filter(|(lower, upper, count)| *lower < threshold && threshold < *upper && *count != 0.0)
                .map(|(_, upper, _)| upper)
                .fold(threshold, f64::max);
            if widest <= threshold {
                return threshold;
            }
            threshold = widest;
        }
    }

    /// Moves buckets that lie within the threshold into the zero bucket.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        self.zero_threshold = threshold;
        let schema = self.schema;
        for buckets in [&mut self.positive, &mut self.negative] {
            let inside = |index: i32| exponential_bound(index, schema) <= threshold;
            self.zero_count += buckets.iter().filter(|(index, _)| inside(*index)).map(|(_, count)| count).sum::<f64>();
            buckets.retain(|(index, _)| !inside(*index));
        }
    }

    fn rebucket(&mut self, bounds: &Arc<[f64]>) {
        let mut moved: Buckets = Vec::with_capacity(self.positive.len());
        for (index, count) in &self.positive {
            let upper = self.upper(*index);
            let target = bounds.partition_point(|bound| *bound < upper) as i32;
            match moved.last_mut() {
                Some(last) if last.0 == target => last.1 += count,
                _ => moved.push((target, *count)),
            }
        }
        self.positive = moved;
        self.bounds = Arc::clone(bounds);
    }

    /// Whether the counter was set back between `previous` and this one.
    pub(crate) fn was_reset(&self, previous: &Histogram) -> bool {
        match self.reset {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            _ => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            if self.bounds != previous.bounds {
                let bounds: Arc<[f64]> = common_bounds(&self.bounds, &previous.bounds).into();
                let (mut now, mut then) = (self.clone(), previous.clone());
                now.rebucket(&bounds);
                then.rebucket(&bounds);
                return shrunk(&now.positive, &then.positive);
            }
            return shrunk(&self.positive, &previous.positive);
        }
        // A finer schema or a smaller zero bucket: it began anew.
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let mut previous = previous.clone();
        let common = previous.common_threshold(self);
        if common > self.zero_threshold {
            return true;
        }
        previous.widen_zero(common);
        previous.reduce(self.schema);
        self.zero_count < previous.zero_count
            || shrunk(&self.positive, &previous.positive)
            || shrunk(&self.negative, &previous.negative)
    }

    /// The same counts, whatever was known about resets.
    pub(crate) fn same(&self, other: &Histogram) -> bool {
        let set =
            |buckets: &Buckets| -> Buckets { buckets.iter().copied().filter(|(_, count)| *count != 0.0).collect() };
        self.schema == other.schema
            && self.count == other.count
            && self.sum.to_bits() == other.sum.to_bits()
            && (self.is_custom() || self.zero_threshold == other.zero_threshold)
            && self.zero_count == other.zero_count
            && set(&self.positive) == set(&other.positive)
            && set(&self.negative) == set(&other.negative)
            && self.bounds == other.bounds
    }
}

/// As Prometheus writes it.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, self.sum)?;
        for bucket in self.buckets() {
            let (open, close) =
                (if bucket.lower_inclusive { '[' } else { '(' }, if bucket.upper_inclusive { ']' } else { ')' });
            write!(f, ", {open}{},{}{close}:{}", bucket.lower, bucket.upper, bucket.count)?;
        }
        f.write_str("}")
    }
}

/// The upper bound of a bucket of an exponential schema.
pub(crate) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema <= 0 {
        // Beyond the largest float the bound is it.
        let exponent = i64::from(index) << -schema;
        return if exponent >= 1024 { f64::MAX } else { 2f64.powi(i32::try_from(exponent).unwrap_or(i32::MIN)) };
    }
    let per_power = 1 << schema;
    let (power, fraction) = (index.div_euclid(per_power), index.rem_euclid(per_power));
    if power >= 1024 && fraction == 0 && power == 1024 {
        return f64::MAX;
    }
    let within = (f64::from(fraction) / f64::from(per_power)).exp2();
    // In two steps: 2^1024 is no float, times a fraction it may be one.
    let bound = within * 2f64.powi(power - 1) * 2.0;
    if bound.is_infinite() { f64::MAX } else { bound }
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// Both sides' buckets, the right ones times `sign`.
fn merged(left: &Buckets, right: &Buckets, sign: f64) -> Buckets {
    let mut all = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        match (l.peek(), r.peek()) {
            (Some(a), Some(b)) if a.0 == b.0 => {
                all.push((a.0, a.1 + sign * b.1));
                l.next();
                r.next();
            }
            (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                all.push(**a);
                l.next();
            }
            (_, Some(b)) => {
                all.push((b.0, sign * b.1));
                r.next();
            }
            _ => return all,
        }
    }
}

/// Whether a bucket holds less than it did.
fn shrunk(now: &Buckets, then: &Buckets) -> bool {
    then.iter().any(|(index, count)| {
        let at = now.binary_search_by_key(index, |bucket| bucket.0);
        at.map_or(0.0, |at| now[at].1) < *count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_schema() {
        for (index, schema, bound) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, -1, 4.0),
            (1, 1, 2f64.sqrt()),
            (2, 1, 2.0),
            (1024, 0, f64::MAX),
        ] {
            let got = exponential_bound(index, schema);
            assert!((got - bound).abs() <= bound * 1e-12, "bucket {index} of schema {schema}: {got}");
        }
    }

    #[test]
    fn a_finer_histogram_is_added_to_a_coarser_one_at_the_coarser_resolution() {
        let fine = Histogram { schema: 1, count: 4.0, positive: vec![(1, 1.0), (2, 3.0)], ..Histogram::default() };
        let mut coarse = Histogram { schema: 0, count: 2.0, positive: vec![(1, 2.0)], ..Histogram::default() };
        coarse.add(&fine).unwrap();
        assert_eq!((coarse.schema, coarse.count, coarse.positive), (0, 6.0, vec![(1, 6.0)]));
        let custom = Histogram { schema: CUSTOM, bounds: [1.0].into(), ..Histogram::default() };
        assert_eq!(custom.clone().add(&fine), Err(Incompatible));
    }

    #[test]
    fn less_in_any_bucket_is_a_reset() {
        let before = Histogram { count: 5.0, positive: vec![(1, 2.0), (2, 3.0)], ..Histogram::default() };
        let more = Histogram { count: 7.0, positive: vec![(1, 2.0), (2, 5.0)], ..Histogram::default() };
        let moved = Histogram { count: 7.0, positive: vec![(1, 1.0), (2, 6.0)], ..Histogram::default() };
        assert!(!more.was_reset(&before));
        assert!(moved.was_reset(&before));
        assert!(before.was_reset(&more));
    }
}
