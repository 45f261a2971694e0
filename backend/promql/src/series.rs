//! Samples and series.

use std::sync::Arc;

use crate::{Labels, histogram::Histogram};

/// The bits of the value that says that a series ended (Prometheus' stale marker). An ordinary NaN has other bits.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Whether the value is the stale marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// Samples of one series in the order of time, each time once; numbers and histograms apart, since nearly every series has
/// only the one or the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Times of the numbers, ms since the epoch, ascending.
    pub times: Vec<i64>,
    /// The numbers, stale markers among them.
    pub values: Vec<f64>,
    /// Histograms with their times, ascending. One whose sum is the stale marker is one.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl Series {
    /// A series without samples.
    pub fn new(labels: Labels) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Adds a sample behind the others.
    pub fn push(&mut self, time: i64, sample: Sample) {
        match sample {
            Sample::Float(value) => {
                self.times.push(time);
                self.values.push(value);
            }
            Sample::Histogram(histogram) => self.histograms.push((time, histogram)),
        }
    }

    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of `(after, until]`.
    pub(crate) fn window(&self, after: i64, until: i64) -> Window<'_> {
        let floats = self.times.partition_point(|t| *t <= after)..self.times.partition_point(|t| *t <= until);
        let times = |at: &(i64, Arc<Histogram>)| at.0;
        let histograms = self.histograms.partition_point(|at| times(at) <= after)
            ..self.histograms.partition_point(|at| times(at) <= until);
        Window {
            times: &self.times[floats.clone()],
            values: &self.values[floats],
            histograms: &self.histograms[histograms],
            after,
            until,
        }
    }

    /// The newest sample of `(after, until]`; `None` where there is none, or where it says that the series ended.
    pub(crate) fn newest(&self, after: i64, until: i64) -> Option<(i64, Sample)> {
        let float = self.times.partition_point(|t| *t <= until).checked_sub(1).map(|at| (self.times[at], at));
        let histogram =
            self.histograms.partition_point(|at| at.0 <= until).checked_sub(1).map(|at| (self.histograms[at].0, at));
        let (time, sample) = match (float, histogram) {
            (Some((time, at)), other) if other.is_none_or(|(later, _)| later < time) => {
                if is_stale(self.values[at]) {
                    return None;
                }
                (time, Sample::Float(self.values[at]))
            }
            (_, Some((time, at))) => {
                if is_stale(self.histograms[at].1.sum) {
                    return None;
                }
                (time, Sample::Histogram(Arc::clone(&self.histograms[at].1)))
            }
            _ => return None,
        };
        (time > after).then_some((time, sample))
    }

    /// Without the samples that say that the series ended: what ranges see.
    pub(crate) fn without_stale(mut self) -> Self {
        if self.values.iter().any(|v| is_stale(*v)) {
            let keep: Vec<bool> = self.values.iter().map(|v| !is_stale(*v)).collect();
            let mut at = keep.iter();
            self.times.retain(|_| *at.next().unwrap_or(&true));
            self.values.retain(|v| !is_stale(*v));
        }
        self.histograms.retain(|(_, h)| !is_stale(h.sum));
        self
    }
}

/// The samples of a series in a range of times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) histograms: &'a [(i64, Arc<Histogram>)],
    /// The range is open here, ms.
    pub(crate) after: i64,
    /// And closed here, ms.
    pub(crate) until: i64,
}

impl Window<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_on_the_left_and_a_stale_marker_ends_the_series() {
        let mut series = Series::new(Labels::default());
        for (time, value) in [(10, 1.0), (20, 2.0), (30, f64::from_bits(STALE)), (40, f64::NAN)] {
            series.push(time, Sample::Float(value));
        }
        assert_eq!(series.window(10, 30).times, [20, 30]);
        assert_eq!(series.newest(10, 25), Some((20, Sample::Float(2.0))));
        assert_eq!(series.newest(20, 25), None, "the range is open on the left");
        assert_eq!(series.newest(0, 35), None, "it has ended");
        assert!(matches!(series.newest(0, 45), Some((40, Sample::Float(v))) if v.is_nan()));
        assert_eq!(series.without_stale().times, [10, 20, 40]);
    }
}
