//! Series that the server computes itself, such as those of recording rules, as a batch for the sink: by the same way as those of
//! remote write, so that they are stored and read alike.

use std::time::Duration;

use devmesh_schema::{Batch, IngestPath, Signal, limits, prometheus};

use crate::prometheus::{Bounds, Families, Histogram, Number, Request, Reset, STALE, Sample, Series, Side};

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A native histogram.
    Histogram(Box<Native>),
    /// The series has ended.
    End,
}

/// A native histogram of floats, buckets by Prometheus' index, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// -4 to 8, or -53 where the bounds are listed.
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
    pub positive: Vec<(i32, f64)>,
    /// Buckets of negative observations.
    pub negative: Vec<(i32, f64)>,
    /// The upper bounds, where they are listed.
    pub bounds: Vec<f64>,
}

/// A series with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its labels, the metric's name (`__name__`) among them.
    pub labels: Vec<(String, String)>,
    /// When, ms since the epoch.
    pub time: i64,
    /// The value.
    pub value: Value,
}

/// What became of series.
#[derive(Debug, Default)]
pub struct Written {
    /// What the sink takes; none where there is nothing to write.
    pub batches: Vec<Batch>,
    /// Series that can never be stored.
    pub refused: u64,
    /// Why the first of them cannot.
    pub why: Option<String>,
}

/// Writes series as batches for the sink. Those older than `past` are refused: they would be deleted at once.
pub fn batches(recorded: &[Recorded], past: Duration) -> Written {
    let received = crate::now();
    let bounds = Bounds::new(received, past);
    let families = Families::default();
    let mut out = Written::default();
    for part in recorded.chunks(limits::ITEMS) {
        let mut request = Request::new(prometheus::RULES, bounds, &families);
        for one in part {
            request.add(&mut series(one));
        }
        let ready = request.finish();
        out.refused += ready.refused.items;
        out.why = out.why.or_else(|| ready.refused.named.into_iter().next().map(|bad| bad.message));
        if ready.points > 0 {
            let (signal, path, request) = (Signal::Metrics, IngestPath::Collector, ready.request.into());
            out.batches.push(Batch { signal, id: None, path, received, request });
        }
    }
    out
}

fn series(one: &Recorded) -> Series<'_> {
    let labels = one.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let number = |value| vec![Sample { time: one.time, start: 0, value }];
    let (samples, histograms) = match &one.value {
        Value::Number(value) => (number(*value), Vec::new()),
        Value::End => (number(f64::from_bits(STALE)), Vec::new()),
        Value::Histogram(native) => (Vec::new(), vec![histogram(native, one.time)]),
    };
    Series { labels, samples, histograms, ..Series::default() }
}

fn histogram(native: &Native, time: i64) -> Histogram {
    Histogram {
        time,
        start: 0,
        count: Number::Float(native.count),
        sum: native.sum,
        schema: native.schema,
        zero_threshold: native.zero_threshold,
        zero: Number::Float(native.zero_count),
        positive: side(&native.positive),
        negative: side(&native.negative),
        // What a query computes is no counter.
        reset: Reset::Gauge,
        bounds: native.bounds.clone(),
    }
}

/// Buckets as spans: the first offset is an index, a later one the gap after the span before it.
fn side(buckets: &[(i32, f64)]) -> Side {
    let mut side = Side::default();
    let mut next = None;
    for (index, count) in buckets {
        match (next, side.spans.last_mut()) {
            (Some(expected), Some((_, length))) if expected == *index => *length += 1,
            (Some(expected), _) => side.spans.push((index.saturating_sub(expected), 1)),
            (None, _) => side.spans.push((*index, 1)),
        }
        side.counts.push(*count);
        next = Some(index.saturating_add(1));
    }
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn one(labels: &[(&str, &str)], time: i64, value: Value) -> Recorded {
        Recorded { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), time, value }
    }

    #[test]
    fn series_become_one_batch_and_what_cannot_be_stored_is_named() {
        let now = crate::now() / 1_000_000;
        let native = Native { count: 3.0, positive: vec![(1, 1.0), (2, 1.5), (7, 0.5)], ..Native::default() };
        let all = [
            one(&[("__name__", "job:x"), ("job", "a")], now, Value::Number(1.5)),
            one(&[("__name__", "job:h")], now, Value::Histogram(Box::new(native))),
            one(&[("__name__", "job:gone")], now, Value::End),
            one(&[("job", "nameless")], now, Value::Number(1.0)),
            one(&[("__name__", "old")], now - 7_200_000, Value::Number(1.0)),
        ];
        let written = batches(&all, HOUR);
        assert_eq!((written.batches.len(), written.refused), (1, 2));
        assert!(written.why.is_some());
        assert!(batches(&[], HOUR).batches.is_empty());
    }

    #[test]
    fn buckets_become_spans_with_the_gaps_between_them() {
        let side = side(&[(-3, 1.0), (-2, 2.0), (0, 3.0), (5, 4.0)]);
        assert_eq!(side.spans, [(-3, 2), (1, 1), (4, 1)]);
        assert_eq!(side.counts, [1.0, 2.0, 3.0, 4.0]);
    }
}
