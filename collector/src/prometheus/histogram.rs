//! Native histograms: checked as Prometheus checks them, written as OTLP's histograms.
//!
//! One with an exponential schema is an exponential histogram whose scale is the schema; OTLP numbers a bucket by its lower
//! bound, Prometheus by its upper one. One with custom buckets is an explicit histogram. Counts that OTLP's whole numbers
//! in a row cannot hold (parts of an observation, buckets far apart) stand in the attribute [`prometheus::COUNTS`] as well.

use devmesh_schema::{
    limits,
    otlp::write::Writer,
    prometheus::{self, Counts},
};

use super::Bad;

/// The schema of histograms whose bounds are listed.
const CUSTOM: i32 = -53;
/// The schemas whose buckets OTLP can hold. Prometheus itself reads 9 to 20 at the resolution of 8.
const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=20;
/// Whole numbers beyond this are not all exact as a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A count of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(u64),
    Float(f64),
}

impl Default for Number {
    fn default() -> Self {
        Number::Int(0)
    }
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// As a whole number: exact where [`Number::is_whole`].
    fn whole(self) -> u64 {
        match self {
            Number::Int(value) => value,
            Number::Float(value) => value.round() as u64,
        }
    }

    fn is_whole(self) -> bool {
        match self {
            Number::Int(_) => true,
            Number::Float(value) => value.fract() == 0.0 && (0.0..=EXACT).contains(&value),
        }
    }
}

/// What the sender knows about a reset of the counter before a histogram, in the order of the protocol's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reset {
    #[default]
    Unknown,
    Yes,
    No,
    Gauge,
}

impl Reset {
    pub(crate) fn of(number: u64) -> Self {
        match number {
            1 => Reset::Yes,
            2 => Reset::No,
            3 => Reset::Gauge,
            _ => Reset::Unknown,
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Reset::Unknown => None,
            Reset::Yes => Some("yes"),
            Reset::No => Some("no"),
            Reset::Gauge => Some("gauge"),
        }
    }
}

/// The buckets of one sign, as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Offset and length; the first offset is an index, a later one the gap after the span before it.
    pub(crate) spans: Vec<(i32, u32)>,
    /// Counts of whole observations, each less the one before it.
    pub(crate) deltas: Vec<i64>,
    /// Counts of a histogram of floats.
    pub(crate) counts: Vec<f64>,
}

/// A native histogram as it came. Times are ms since the epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) time: i64,
    pub(crate) start: i64,
    /// A float where the histogram is one of floats.
    pub(crate) count: Number,
    pub(crate) sum: f64,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero: Number,
    pub(crate) positive: Side,
    pub(crate) negative: Side,
    pub(crate) reset: Reset,
    /// Upper bounds of custom buckets; the last bucket, up to +Inf, has none.
    pub(crate) bounds: Vec<f64>,
}

/// Buckets by Prometheus' index, ascending, those that count nothing among them.
type Buckets = Vec<(i32, Number)>;

/// A histogram that keeps the rules, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Checked<'h> {
    histogram: &'h Histogram,
    positive: Buckets,
    negative: Buckets,
    /// [`Counts`] as text, where they are needed.
    exact: Option<String>,
}

fn bad(message: impl Into<String>) -> Bad {
    Bad::new("bad_histogram", message)
}

impl Histogram {
    /// Whether it says that its series ended.
    pub(super) fn is_stale(&self) -> bool {
        super::is_stale(self.sum)
    }

    /// Whether its buckets are listed.
    pub(super) fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// Whether it is no counter.
    pub(super) fn is_gauge(&self) -> bool {
        self.reset == Reset::Gauge
    }

    /// The histogram, if it keeps the rules (remote write 2.0, "Native Histograms").
    pub(super) fn check(&self) -> Result<Checked<'_>, Bad> {
        let floats = matches!(self.count, Number::Float(_));
        if self.is_custom() {
            self.check_custom()?;
        } else if !EXPONENTIAL.contains(&self.schema) {
            return Err(bad(format!("the schema {} is none: -4 to 20, or -53 for custom buckets", self.schema)));
        } else if !self.bounds.is_empty() {
            return Err(bad("an exponential histogram has no custom bounds"));
        } else if self.zero_threshold.is_nan() {
            return Err(bad("the width of the zero bucket has to be a number"));
        }
        let (positive, negative) = (self.positive.buckets(floats)?, self.negative.buckets(floats)?);
        if self.is_custom()
            && positive.iter().any(|(index, _)| usize::try_from(*index).is_ok_and(|at| at > self.bounds.len()))
        {
            return Err(bad("there are more buckets than bounds"));
        }
        self.check_counts(&positive, &negative)?;
        let mut checked = Checked { histogram: self, positive, negative, exact: None };
        if checked.needs_exact() {
            let text = checked.counts().to_text();
            if text.len() > limits::VALUE_BYTES {
                return Err(bad("there are too many buckets"));
            }
            checked.exact = Some(text);
        }
        Ok(checked)
    }

    fn check_custom(&self) -> Result<(), Bad> {
        if self.bounds.iter().any(|bound| bound.is_nan()) || self.bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(bad("custom bounds have to ascend"));
        }
        if self.bounds.last() == Some(&f64::INFINITY) {
            return Err(bad("the last bound, +Inf, is not listed"));
        }
        if self.zero.float() != 0.0 || self.zero_threshold != 0.0 {
            return Err(bad("custom buckets have no zero bucket"));
        }
        if !self.negative.spans.is_empty() || !self.negative.deltas.is_empty() || !self.negative.counts.is_empty() {
            return Err(bad("custom buckets have no negative ones"));
        }
        if self.positive.spans.iter().any(|(offset, _)| *offset < 0) {
            return Err(bad("the index of a custom bucket is not negative"));
        }
        Ok(())
    }

    /// Whole counts have to add up; of those of NaN only the count knows.
    fn check_counts(&self, positive: &Buckets, negative: &Buckets) -> Result<(), Bad> {
        let Number::Int(count) = self.count else {
            let all =
                [self.count, self.zero].into_iter().chain(positive.iter().chain(negative).map(|(_, count)| *count));
            let less = all.into_iter().any(|count| count.float() < 0.0);
            return if less { Err(bad("a count is negative")) } else { Ok(()) };
        };
        let buckets = positive.iter().chain(negative).map(|(_, count)| count.whole());
        let sum = buckets.fold(u128::from(self.zero.whole()), |sum, count| sum + u128::from(count));
        let count = u128::from(count);
        if sum > count || (sum < count && !self.sum.is_nan()) {
            return Err(bad(format!("the buckets hold {sum} observations, the count is {count}")));
        }
        Ok(())
    }
}

impl Side {
    fn buckets(&self, floats: bool) -> Result<Buckets, Bad> {
        let mut counts: Vec<Number> = Vec::with_capacity(self.deltas.len().max(self.counts.len()));
        if floats {
            counts.extend(self.counts.iter().map(|count| Number::Float(*count)));
        } else {
            let mut last = 0_i64;
            for delta in &self.deltas {
                last = last.checked_add(*delta).ok_or_else(|| bad("a bucket's count does not fit 64 bits"))?;
                let count = u64::try_from(last).map_err(|_negative| bad("a bucket's count is negative"))?;
                counts.push(Number::Int(count));
            }
        }
        let length: u64 = self.spans.iter().map(|(_, length)| u64::from(*length)).sum();
        if length != counts.len() as u64 {
            return Err(bad(format!("the spans need {length} buckets, here are {}", counts.len())));
        }
        let mut all = Vec::with_capacity(counts.len());
        let (mut counts, mut next) = (counts.into_iter(), 0_i64);
        for (at, (offset, length)) in self.spans.iter().enumerate() {
            if at > 0 && *offset < 0 {
                return Err(bad("a span overlaps the one before it"));
            }
            next += i64::from(*offset);
            for count in counts.by_ref().take(*length as usize) {
                let index = i32::try_from(next).ok().filter(|index| *index > i32::MIN && *index < i32::MAX);
                all.push((index.ok_or_else(|| bad("the index of a bucket does not fit 32 bits"))?, count));
                next += 1;
            }
        }
        Ok(all)
    }
}

/// Counts in a row from the first to the last that is not 0; `None` where that row would be mostly zeros.
fn row(buckets: &Buckets) -> Option<(i32, Vec<u64>)> {
    let mut used = buckets.iter().filter(|(_, count)| count.float() != 0.0);
    let Some((first, _)) = used.next() else { return Some((0, Vec::new())) };
    let last = used.next_back().map_or(*first, |(last, _)| *last);
    let width = usize::try_from(i64::from(last) - i64::from(*first) + 1).ok()?;
    let room = (limits::EMPTY_BUCKETS + 4 * buckets.len()).min(limits::BUCKETS);
    if width > room {
        return None;
    }
    let mut row = vec![0; width];
    for (index, count) in buckets.iter().filter(|(index, _)| (*first..=last).contains(index)) {
        if let Some(slot) = usize::try_from(index - first).ok().and_then(|at| row.get_mut(at)) {
            *slot = count.whole();
        }
    }
    Some((*first, row))
}

impl Checked<'_> {
    fn needs_exact(&self) -> bool {
        let numbers = self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        let mut numbers = numbers.chain([self.histogram.count, self.histogram.zero]);
        let sparse =
            !self.histogram.is_custom() && [&self.positive, &self.negative].into_iter().any(|side| row(side).is_none());
        sparse || numbers.any(|count| !count.is_whole())
    }

    fn counts(&self) -> Counts {
        let side = |buckets: &Buckets| {
            let floats = buckets.iter().map(|(index, count)| (*index, count.float()));
            floats.filter(|(_, count)| *count != 0.0).collect()
        };
        let (positive, negative) = (side(&self.positive), side(&self.negative));
        Counts { count: self.histogram.count.float(), zero: self.histogram.zero.float(), positive, negative }
    }

    /// Attributes of its point beside the labels.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let hint = self.histogram.reset.name().map(|hint| (prometheus::RESET_HINT, hint));
        let exact = self.exact.as_deref().map(|text| (prometheus::COUNTS, text));
        hint.into_iter().chain(exact)
    }

    /// Writes the fields of its point that only histograms have.
    pub(super) fn write(&self, out: &mut Writer) {
        let histogram = self.histogram;
        out.put_fixed64(4, histogram.count.whole());
        out.put_double(5, histogram.sum);
        if histogram.is_custom() {
            let mut counts = vec![0_u64; histogram.bounds.len() + 1];
            for (index, count) in &self.positive {
                if let Some(slot) = usize::try_from(*index).ok().and_then(|at| counts.get_mut(at)) {
                    *slot = count.whole();
                }
            }
            out.packed_fixed64(6, counts.into_iter());
            out.packed_fixed64(7, histogram.bounds.iter().map(|bound| bound.to_bits()));
            return;
        }
        out.sint32(6, histogram.schema);
        out.fixed64(7, histogram.zero.whole());
        for (field, buckets) in [(8, &self.positive), (9, &self.negative)] {
            let Some((first, row)) = row(buckets).filter(|(_, row)| !row.is_empty()) else { continue };
            out.message(field, |out| {
                out.sint32(1, first - 1);
                out.packed_uint(2, row.into_iter());
            });
        }
        out.double(14, histogram.zero_threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(spans: &[(i32, u32)], deltas: &[i64]) -> Side {
        Side { spans: spans.to_vec(), deltas: deltas.to_vec(), counts: Vec::new() }
    }

    fn whole() -> Histogram {
        Histogram {
            count: Number::Int(27),
            sum: 1.0,
            zero: Number::Int(1),
            positive: side(&[(0, 3), (2, 2)], &[1, 2, 1, 3, 1]),
            negative: side(&[(0, 2)], &[1, 1]),
            ..Histogram::default()
        }
    }

    #[test]
    fn spans_and_deltas_are_buckets_by_index() {
        let histogram = whole();
        let checked = histogram.check().unwrap();
        let indices: Vec<i32> = checked.positive.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, [0, 1, 2, 5, 6]);
        assert_eq!(row(&checked.positive), Some((0, vec![1, 3, 4, 0, 0, 7, 8])));
        assert_eq!(row(&checked.negative), Some((0, vec![1, 2])));
        assert_eq!(checked.exact, None);
    }

    #[test]
    fn counts_that_otlp_cannot_hold_are_kept_as_text() {
        let far =
            Histogram { positive: side(&[(-50_000, 1), (100_000, 1)], &[1, 0]), count: Number::Int(6), ..whole() };
        let text = far.check().unwrap().exact.unwrap();
        assert_eq!(text, "6.0 1.0|-50000:1.0 50001:1.0|0:1.0 1:2.0");
        let half = Side { spans: vec![(1, 2)], counts: vec![0.5, 2.0], deltas: Vec::new() };
        let float = Histogram { count: Number::Float(2.5), positive: half, ..Histogram::default() };
        assert_eq!(float.check().unwrap().exact.unwrap(), "2.5 0.0|1:0.5 2:2.0|");
        let whole = Side { spans: vec![(1, 2)], counts: vec![1.0, 2.0], deltas: Vec::new() };
        let float = Histogram { count: Number::Float(3.0), positive: whole, ..Histogram::default() };
        assert_eq!(float.check().unwrap().exact, None, "whole floats are whole numbers");
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        let custom = Histogram {
            schema: CUSTOM,
            bounds: vec![1.0, 2.0],
            count: Number::Int(6),
            positive: side(&[(0, 3)], &[1, 1, 1]),
            ..Histogram::default()
        };
        assert!(custom.check().is_ok());
        for (histogram, part) in [
            (Histogram { schema: 127, ..whole() }, "schema 127"),
            (Histogram { schema: -128, ..whole() }, "schema -128"),
            (Histogram { schema: -5, ..whole() }, "schema -5"),
            (Histogram { count: Number::Int(99), ..whole() }, "hold 27 observations, the count is 99"),
            (Histogram { count: Number::Int(26), sum: f64::NAN, ..whole() }, "the count is 26"),
            (Histogram { positive: side(&[(0, 4)], &[1]), ..whole() }, "need 4 buckets"),
            (Histogram { positive: side(&[(0, u32::MAX), (0, u32::MAX)], &[1]), ..whole() }, "need 8589934590 buckets"),
            (Histogram { positive: side(&[(0, 1), (-1, 1)], &[1, 1]), ..whole() }, "overlaps"),
            (Histogram { positive: side(&[(i32::MAX, 1), (i32::MAX, 1)], &[1, 1]), ..whole() }, "32 bits"),
            (Histogram { positive: side(&[(0, 2)], &[1, -2]), ..whole() }, "negative"),
            (Histogram { positive: side(&[(0, 2)], &[i64::MAX, 1]), ..whole() }, "64 bits"),
            (Histogram { zero_threshold: f64::NAN, ..whole() }, "zero bucket"),
            (Histogram { bounds: vec![1.0], ..whole() }, "no custom bounds"),
            (
                Histogram {
                    count: Number::Float(-1.0),
                    positive: Side::default(),
                    negative: Side::default(),
                    ..whole()
                },
                "negative",
            ),
            (Histogram { bounds: vec![2.0, 1.0], ..custom.clone() }, "ascend"),
            (Histogram { bounds: vec![1.0, f64::INFINITY], ..custom.clone() }, "+Inf"),
            (Histogram { bounds: vec![1.0], ..custom.clone() }, "more buckets than bounds"),
            (Histogram { zero: Number::Int(1), ..custom.clone() }, "no zero bucket"),
            (Histogram { negative: side(&[(0, 1)], &[1]), ..custom.clone() }, "no negative"),
            (Histogram { positive: side(&[(-1, 3)], &[1, 1, 1]), ..custom.clone() }, "not negative"),
        ] {
            let error = histogram.check().unwrap_err();
            assert!(error.reason == "bad_histogram" && error.message.contains(part), "{part}: {error:?}");
        }
        let nan = Histogram { count: Number::Int(28), sum: f64::NAN, ..whole() };
        assert!(nan.check().is_ok(), "an observation of NaN is in no bucket");
    }
}
