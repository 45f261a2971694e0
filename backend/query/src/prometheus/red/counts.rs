//! Spans counted by stretches of time, and the counters that this makes.

use std::collections::{HashMap, HashSet};

use arrow_array::{
    RecordBatch, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampNanosecondType},
};
use arrow_cast::cast;
use arrow_schema::DataType;
use devmesh_promql::{Labels, STALE, Select, Series};

use super::{CALLS, DURATION, HOUR, Wanted, labels, named, overflow};
use crate::{
    Error,
    prometheus::{PromError, SAMPLES},
};

/// Upper bounds of the histogram, as the connector has them: the label `le`, and ns.
const BOUNDS: [(&str, i64); 16] = [
    ("2", 2_000_000),
    ("4", 4_000_000),
    ("6", 6_000_000),
    ("8", 8_000_000),
    ("10", 10_000_000),
    ("50", 50_000_000),
    ("100", 100_000_000),
    ("200", 200_000_000),
    ("400", 400_000_000),
    ("800", 800_000_000),
    ("1000", 1_000_000_000),
    ("1400", 1_400_000_000),
    ("2000", 2_000_000_000),
    ("5000", 5_000_000_000),
    ("10000", 10_000_000_000),
    ("15000", 15_000_000_000),
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a span, in SQL.
pub(super) fn bucket_sql() -> String {
    let cases: String =
        BOUNDS.iter().enumerate().map(|(n, (_, ns))| format!(" WHEN duration_ns <= {ns} THEN {n}")).collect();
    format!("CASE{cases} ELSE {} END", BOUNDS.len())
}

/// The label `le` of the bucket of a span, by its duration in ns.
pub(super) fn bound(ns: i64) -> &'static str {
    BOUNDS.iter().find(|(_, bound)| ns <= *bound).map_or("+Inf", |(le, _)| le)
}

/// When counters have samples, ms: at multiples of `step`, which divides an hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) step: i64,
}

/// Spans of a stretch of time, and of a bucket.
#[derive(Clone, Copy, Debug)]
struct Bin {
    /// Its start, ms.
    at: i64,
    bucket: usize,
    calls: f64,
    /// ns.
    duration: f64,
}

/// Who is counted: an operation, or all that are not told apart; kind and status.
type Key = (Option<usize>, String, String);

/// Spans counted.
#[derive(Debug)]
pub(super) struct Counts {
    /// Services and names.
    known: HashMap<(String, String), usize>,
    /// No operation is added any more.
    only: bool,
    bins: HashMap<Key, Vec<Bin>>,
    len: usize,
}

/// The services and names of an answer.
pub(super) fn operations(batches: &[RecordBatch]) -> Result<HashMap<(String, String), usize>, Error> {
    let mut known = HashMap::new();
    for batch in batches {
        let (services, names) = (text(batch, "service")?, text(batch, "name")?);
        for row in 0..batch.num_rows() {
            let next = known.len();
            known.entry((services.value(row).to_owned(), names.value(row).to_owned())).or_insert(next);
        }
    }
    Ok(known)
}

impl Counts {
    /// `only`: the operations that are told apart; `None`: all are.
    pub(super) fn new(only: Option<HashMap<(String, String), usize>>) -> Self {
        Self { only: only.is_some(), known: only.unwrap_or_default(), bins: HashMap::new(), len: 0 }
    }

    /// Counts that are held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the last stretch with spans begins, ms.
    pub(super) fn latest(&self) -> i64 {
        self.bins.values().flatten().map(|bin| bin.at).max().unwrap_or(0)
    }

    /// Operations that are told apart.
    pub(super) fn operations(&self) -> usize {
        self.known.len()
    }

    /// Adds rows, but for those of services that send such metrics themselves.
    pub(super) fn add(&mut self, batch: &RecordBatch, sent: &HashSet<&str>) -> Result<(), Error> {
        let (services, names) = (text(batch, "service")?, text(batch, "name")?);
        let (kinds, statuses) = (text(batch, "kind")?, text(batch, "status_code")?);
        let at = column(batch, "began", &DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, None))?;
        let at = at.as_primitive::<TimestampNanosecondType>();
        let (buckets, calls) = (column(batch, "bucket", &DataType::Int64)?, column(batch, "calls", &DataType::Int64)?);
        let (buckets, calls) = (buckets.as_primitive::<Int64Type>(), calls.as_primitive::<Int64Type>());
        let durations = column(batch, "duration", &DataType::Float64)?;
        let durations = durations.as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let service = services.value(row);
            if sent.contains(service) {
                continue;
            }
            let operation = (service.to_owned(), names.value(row).to_owned());
            let next = self.known.len();
            let operation = if self.only {
                self.known.get(&operation).copied()
            } else {
                Some(*self.known.entry(operation).or_insert(next))
            };
            let bin = Bin {
                at: at.value(row).div_euclid(1_000_000),
                bucket: usize::try_from(buckets.value(row)).unwrap_or(0).min(BOUNDS.len()),
                calls: calls.value(row) as f64,
                duration: durations.value(row),
            };
            let key = (operation, kinds.value(row).to_owned(), statuses.value(row).to_owned());
            self.bins.entry(key).or_default().push(bin);
            self.len += 1;
        }
        Ok(())
    }

    /// The series that a selection wants, in the order of their labels.
    pub(super) fn series(
        self,
        select: &Select,
        wanted: Wanted,
        grid: Grid,
        left: &mut usize,
        labels_only: bool,
    ) -> Result<Vec<Series>, PromError> {
        let mut operations: Vec<(&str, &str)> = vec![("", ""); self.known.len()];
        for ((service, name), at) in &self.known {
            operations[*at] = (service, name);
        }
        let mut all = Vec::new();
        for ((operation, kind, status), mut bins) in self.bins {
            let pairs = match operation {
                Some(at) => labels(operations[at].0, operations[at].1, &kind, &status),
                None => overflow(&kind, &status),
            };
            let mut streams: Vec<(Part, Series)> = parts(wanted)
                .map(|(part, name, le)| (part, named(&pairs, &name, le)))
                .filter(|(_, labels)| select.matches(labels))
                .map(|(part, labels): (Part, Labels)| (part, Series::new(labels)))
                .collect();
            if streams.is_empty() {
                continue;
            }
            bins.sort_by_key(|bin| bin.at);
            if labels_only {
                streams.iter_mut().for_each(|(part, series)| push(series, grid.until, part.of(&Totals::default())));
            } else {
                counters(&bins, grid, &mut streams, left)?;
            }
            all.extend(streams.into_iter().map(|(_, series)| series).filter(|series| !series.is_empty()));
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

/// What a series counts.
#[derive(Clone, Copy, Debug)]
enum Part {
    Calls,
    Duration,
    /// All spans up to a bound.
    UpTo(usize),
}

/// What was counted since the hour began.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    calls: f64,
    duration: f64,
    buckets: [f64; BUCKETS],
}

impl Part {
    fn of(self, totals: &Totals) -> f64 {
        match self {
            Part::Calls => totals.calls,
            Part::Duration => totals.duration / 1e6,
            Part::UpTo(bucket) => totals.buckets[..=bucket].iter().sum(),
        }
    }
}

/// The series of a stream: what each counts, its name and its bound.
fn parts(wanted: Wanted) -> impl Iterator<Item = (Part, String, Option<&'static str>)> {
    let single = [
        (wanted.calls, Part::Calls, CALLS.to_owned()),
        (wanted.count, Part::Calls, format!("{DURATION}_count")),
        (wanted.sum, Part::Duration, format!("{DURATION}_sum")),
    ];
    let bounds = BOUNDS.iter().map(|(le, _)| *le).chain(["+Inf"]).enumerate().filter(move |_| wanted.buckets);
    let buckets = bounds.map(|(n, le)| (Part::UpTo(n), format!("{DURATION}_bucket"), Some(le)));
    single.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, part, name)| (part, name, None)).chain(buckets)
}

fn push(series: &mut Series, at: i64, value: f64) {
    series.times.push(at);
    series.values.push(value);
}

/// Samples of the streams, hour by hour; `bins` in the order of time.
fn counters(bins: &[Bin], grid: Grid, streams: &mut [(Part, Series)], left: &mut usize) -> Result<(), PromError> {
    let mut tell = |at: i64, totals: Option<&Totals>| {
        if at < grid.from || at > grid.until {
            return Ok(());
        }
        *left = left.checked_sub(streams.len()).ok_or(devmesh_promql::Error::TooManySamples(SAMPLES))?;
        for (part, series) in streams.iter_mut() {
            push(series, at, totals.map_or(f64::from_bits(STALE), |totals| part.of(totals)));
        }
        Ok::<(), PromError>(())
    };
    let hours: Vec<&[Bin]> = bins.chunk_by(|a, b| a.at.div_euclid(HOUR) == b.at.div_euclid(HOUR)).collect();
    for (n, hour) in hours.iter().enumerate() {
        let Some(first) = hour.first() else { continue };
        let end = (first.at.div_euclid(HOUR) + 1) * HOUR;
        let mut totals = Totals::default();
        let mut bins = hour.iter().peekable();
        let mut at = first.at;
        while at < end && at <= grid.until {
            while let Some(bin) = bins.next_if(|bin| bin.at < at) {
                totals.add(bin);
            }
            tell(at, Some(&totals))?;
            at += grid.step;
        }
        bins.for_each(|bin| totals.add(bin));
        // What has come since the last sample, at the end of the hour or of the selection.
        let last = (end - 1).min(grid.until);
        if last > at - grid.step {
            tell(last, Some(&totals))?;
        }
        let goes_on = hours.get(n + 1).and_then(|next| next.first()).is_some_and(|next| next.at == end);
        if !goes_on {
            tell(end, None)?;
        }
    }
    Ok(())
}

impl Totals {
    fn add(&mut self, bin: &Bin) {
        self.calls += bin.calls;
        self.duration += bin.duration;
        self.buckets[bin.bucket] += bin.calls;
    }
}

fn column(batch: &RecordBatch, name: &str, as_type: &DataType) -> Result<arrow_array::ArrayRef, Error> {
    let column = batch.column_by_name(name).ok_or_else(|| Error::Internal(format!("counts lack the column {name}")))?;
    cast(column, as_type).map_err(|error| Error::Internal(format!("counts' {name}: {error}")))
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, Error> {
    Ok(column(batch, name, &DataType::Utf8)?.as_string::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 500_000 * HOUR;

    fn bin(at: i64, bucket: usize, calls: f64) -> Bin {
        Bin { at: H + at, bucket, calls, duration: calls * 3e6 }
    }

    fn calls(bins: &[Bin], from: i64, until: i64, step: i64) -> Vec<(i64, String)> {
        let mut streams = vec![(Part::Calls, Series::default())];
        let grid = Grid { from: H + from, until: H + until, step };
        counters(bins, grid, &mut streams, &mut 1000).unwrap();
        let series = &streams[0].1;
        let text = |value: f64| if devmesh_promql::is_stale(value) { "stale".to_owned() } else { value.to_string() };
        series.times.iter().zip(&series.values).map(|(at, value)| (at - H, text(*value))).collect()
    }

    fn told(samples: &[(i64, &str)]) -> Vec<(i64, String)> {
        samples.iter().map(|(at, value)| (*at, (*value).to_owned())).collect()
    }

    #[test]
    fn a_counter_starts_at_zero_and_shows_what_has_come_at_the_end_of_the_selection() {
        let bins = [bin(15_000, 0, 2.0), bin(45_000, 0, 5.0)];
        let want = [(15_000, "0"), (30_000, "2"), (45_000, "2"), (60_000, "7"), (65_000, "7")];
        assert_eq!(calls(&bins, 0, 65_000, 15_000), told(&want));
        // The last stretch is not over yet.
        assert_eq!(calls(&bins, 30_000, 50_000, 15_000), told(&[(30_000, "2"), (45_000, "2"), (50_000, "7")]));
    }

    #[test]
    fn an_hour_ends_with_all_its_calls_and_the_next_begins_at_zero() {
        let bins = [bin(HOUR - 30_000, 0, 1.0), bin(HOUR - 15_000, 0, 3.0), bin(HOUR, 0, 9.0)];
        let want = [(HOUR - 30_000, "0"), (HOUR - 15_000, "1"), (HOUR - 1, "4"), (HOUR, "0"), (HOUR + 15_000, "9")];
        assert_eq!(calls(&bins, 0, HOUR + 15_000, 15_000), told(&want));
    }

    #[test]
    fn a_series_ends_with_the_hour_of_its_last_span() {
        let bins = [bin(HOUR - 15_000, 0, 3.0), bin(2 * HOUR + 15_000, 0, 1.0)];
        let want = [
            (HOUR - 15_000, "0"),
            (HOUR - 1, "3"),
            (HOUR, "stale"),
            (2 * HOUR + 15_000, "0"),
            (2 * HOUR + 30_000, "1"),
        ];
        assert_eq!(calls(&bins, 0, 2 * HOUR + 30_000, 15_000), told(&want));
    }

    #[test]
    fn what_is_before_the_selection_counts_and_has_no_sample() {
        let bins = [bin(0, 0, 3.0), bin(30_000, 0, 1.0)];
        assert_eq!(calls(&bins, 40_000, 46_000, 15_000), told(&[(45_000, "4"), (46_000, "4")]));
    }

    #[test]
    fn buckets_are_cumulative_and_durations_are_milliseconds() {
        let mut streams: Vec<(Part, Series)> =
            [Part::UpTo(0), Part::UpTo(3), Part::UpTo(16), Part::Duration].map(|part| (part, Series::default())).into();
        let bins = [bin(0, 0, 1.0), bin(0, 3, 2.0), bin(0, 16, 4.0)];
        counters(&bins, Grid { from: H + 15_000, until: H + 15_000, step: 15_000 }, &mut streams, &mut 1000).unwrap();
        let values: Vec<f64> = streams.iter().map(|(_, series)| series.values[0]).collect();
        assert_eq!(values, [1.0, 3.0, 7.0, 21.0]);
    }

    #[test]
    fn samples_are_bounded() {
        let mut streams = vec![(Part::Calls, Series::default())];
        let grid = Grid { from: H, until: H + HOUR, step: 1_000 };
        assert!(counters(&[bin(0, 0, 1.0)], grid, &mut streams, &mut 100).is_err());
    }
}
