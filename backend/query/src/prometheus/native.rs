//! Histograms of the store as Prometheus' native ones.
//!
//! What came over OTLP is translated (OpenTelemetry's compatibility specification, "Exponential Histograms"). What came
//! from Prometheus is what it was: [`devmesh_schema::prometheus`] says where its parts stand.

use devmesh_promql::histogram::{Buckets, CUSTOM, Histogram, ResetHint};
use devmesh_schema::prometheus::{COUNTS, Counts, RESET_HINT};

/// The highest resolution of a native histogram.
const SCHEMA_MAX: i32 = 8;
/// The lowest.
const SCHEMA_MIN: i32 = -4;
/// The width of the zero bucket where a point of OTLP names none.
const ZERO_THRESHOLD: f64 = 1e-128;

/// Counts of neighbouring buckets; OTLP's numbers.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// A point of an exponential histogram; OTLP's fields.
#[derive(Debug, Default)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) positive: Row,
    pub(super) negative: Row,
}

/// What attributes say of a native histogram from Prometheus.
#[derive(Debug, Default)]
pub(super) struct Extra {
    reset: ResetHint,
    exact: Option<Counts>,
}

impl Extra {
    /// Reads an attribute, if it is one of those.
    pub(super) fn read(&mut self, key: &str, value: &str) {
        match key {
            RESET_HINT => {
                self.reset = match value {
                    "yes" => ResetHint::Reset,
                    "no" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                }
            }
            COUNTS => self.exact = Counts::parse(value),
            _ => {}
        }
    }
}

/// A point of an exponential histogram; `None` where it is too coarse to be a native one. `own`: it came from Prometheus.
pub(super) fn exponential(point: &Exponential, own: bool, extra: Extra) -> Option<Histogram> {
    if point.scale < SCHEMA_MIN {
        return None;
    }
    let schema = point.scale.min(SCHEMA_MAX);
    let by = point.scale - schema;
    let threshold = point.zero_threshold;
    let mut histogram = Histogram {
        schema,
        zero_threshold: if threshold > 0.0 || own { threshold } else { ZERO_THRESHOLD },
        sum: point.sum,
        reset: extra.reset,
        ..Histogram::default()
    };
    match extra.exact {
        Some(exact) => {
            histogram.count = exact.count;
            histogram.zero_count = exact.zero;
            histogram.positive =
                coarser(exact.positive.into_iter().map(|(index, count)| (i64::from(index) - 1, count)), by);
            histogram.negative =
                coarser(exact.negative.into_iter().map(|(index, count)| (i64::from(index) - 1, count)), by);
        }
        None => {
            histogram.count = point.count as f64;
            histogram.zero_count = point.zero_count as f64;
            histogram.positive = coarser(numbered(&point.positive), by);
            histogram.negative = coarser(numbered(&point.negative), by);
        }
    }
    Some(histogram)
}

/// Counts with OTLP's index, those of buckets that count something.
fn numbered(row: &Row) -> impl Iterator<Item = (i64, f64)> + '_ {
    let indices = i64::from(row.offset)..;
    indices.zip(&row.counts).filter(|(_, count)| **count > 0).map(|(index, count)| (index, *count as f64))
}

/// Buckets of OTLP's index as Prometheus', each of `2^by` of them. OTLP numbers a bucket by its lower bound, Prometheus by
/// its upper one.
fn coarser(buckets: impl Iterator<Item = (i64, f64)>, by: i32) -> Buckets {
    let mut all = Buckets::new();
    for (index, count) in buckets {
        let Ok(index) = i32::try_from((index >> by) + 1) else { continue };
        match all.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => all.push((index, count)),
        }
    }
    all
}

/// A point of an explicit histogram as one with custom buckets.
pub(super) fn custom(count: u64, sum: f64, counts: &[u64], bounds: Vec<f64>, extra: Extra) -> Histogram {
    let buckets = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let buckets = buckets.filter_map(|(at, count)| Some((i32::try_from(at).ok()?, *count as f64)));
    let (count, positive) = match extra.exact {
        Some(exact) => (exact.count, exact.positive),
        None => (count as f64, buckets.collect()),
    };
    Histogram {
        schema: CUSTOM,
        count,
        sum,
        positive,
        bounds: bounds.into(),
        reset: extra.reset,
        ..Histogram::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> Exponential {
        let positive = Row { offset: -1, counts: vec![1, 0, 2, 3] };
        Exponential { count: 6, sum: 2.5, positive, ..Exponential::default() }
    }

    #[test]
    fn buckets_are_numbered_by_their_upper_bound_and_made_coarser() {
        let histogram = exponential(&point(), false, Extra::default()).unwrap();
        assert_eq!((histogram.schema, histogram.zero_threshold), (0, ZERO_THRESHOLD));
        assert_eq!(histogram.positive, [(0, 1.0), (2, 2.0), (3, 3.0)]);
        let positive = Row { offset: 0, counts: vec![1, 0, 2, 3] };
        let fine = exponential(&Exponential { scale: 9, positive, ..point() }, true, Extra::default()).unwrap();
        assert_eq!((fine.schema, fine.zero_threshold), (8, 0.0), "Prometheus says what it means");
        assert_eq!(fine.positive, [(1, 1.0), (2, 5.0)]);
        assert!(exponential(&Exponential { scale: -5, ..point() }, true, Extra::default()).is_none());
    }

    #[test]
    fn what_otlp_cannot_hold_is_read_from_attributes() {
        let exact = Counts { count: 1.5, zero: 0.5, positive: vec![(3, 1.0)], negative: vec![(-2, 0.25)] };
        let mut extra = Extra::default();
        for (key, value) in [(RESET_HINT, "gauge"), (COUNTS, exact.to_text().as_str()), ("le", "1")] {
            extra.read(key, value);
        }
        let histogram = exponential(&point(), true, extra).unwrap();
        assert_eq!((histogram.count, histogram.zero_count, histogram.sum), (1.5, 0.5, 2.5));
        assert_eq!((histogram.positive, histogram.negative), (vec![(3, 1.0)], vec![(-2, 0.25)]));
        assert_eq!(histogram.reset, ResetHint::Gauge);
    }

    #[test]
    fn an_explicit_histogram_has_custom_buckets() {
        let histogram = custom(3, 1.0, &[1, 0, 2], vec![0.5, 1.0], Extra::default());
        assert_eq!((histogram.schema, &*histogram.bounds), (CUSTOM, &[0.5, 1.0][..]));
        assert_eq!((histogram.count, histogram.positive), (3.0, vec![(0, 1.0), (2, 2.0)]));
    }
}
