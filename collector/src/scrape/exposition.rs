//! The binary format: `io.prometheus.client.MetricFamily` messages, each with its length before it. The only one that has
//! native histograms.

use devmesh_schema::{
    limits,
    otlp::{
        DecodeError,
        wire::{Reader, Wire},
    },
};

use super::{
    number,
    sample::{Entry, Name, OwnExemplar, Owned, ParseError, Scraped, Value},
};
use crate::prometheus::{About, Histogram, Number, Side, Type};

type Result<T> = std::result::Result<T, DecodeError>;

/// What is wanted of a histogram that is classic and native.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// The native one.
    pub(super) native: bool,
    /// The classic series beside it.
    pub(super) classic: bool,
}

/// Reads an exposition.
///
/// # Errors
/// The first family that is none.
pub(super) fn parse(body: &[u8], wanted: Wanted) -> std::result::Result<Scraped<'_>, ParseError> {
    let mut out = Scraped::default();
    let mut reader = Reader::new(body);
    let mut line = 0;
    while !reader.is_empty() {
        line += 1;
        let failed = |_: DecodeError| ParseError { line, message: "a metric family that is no such message" };
        let family = reader.bytes().map_err(failed)?;
        let mut family = Family::read(reader.enter(family)).map_err(failed)?;
        family.wanted = wanted;
        family.write(&mut out).map_err(failed)?;
    }
    Ok(out)
}

/// `MetricFamily {1 name, 2 help, 3 type, 4 metric, 5 unit}`.
#[derive(Default)]
struct Family<'a> {
    name: String,
    help: String,
    unit: String,
    kind: u64,
    metrics: Vec<Reader<'a>>,
    wanted: Wanted,
}

/// A sample's labels beside its metric's own, and the suffix of its name.
type Part<'p> = (&'p str, Option<(&'p str, String)>);

impl<'a> Family<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self> {
        let mut family = Family::default();
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 => family.name = text(&reader, wire)?,
                2 => family.help = text(&reader, wire)?,
                3 => family.kind = wire.varint(&reader)?,
                4 => family.metrics.push(inner(&reader, wire)?),
                5 => family.unit = text(&reader, wire)?,
                _ => {}
            }
        }
        Ok(family)
    }

    fn kind(&self) -> Type {
        match self.kind {
            0 => Type::Counter,
            1 => Type::Gauge,
            2 => Type::Summary,
            4 => Type::Histogram,
            5 => Type::GaugeHistogram,
            _ => Type::Unknown,
        }
    }

    fn write(self, out: &mut Scraped<'a>) -> Result<()> {
        for metric in &self.metrics {
            let metric = Metric::read(*metric)?;
            match &metric.value {
                None => {}
                Some(Kind::Number(value, exemplar)) => {
                    self.add(out, &metric, ("", None), *value, exemplar.clone());
                }
                Some(Kind::Summary(summary)) => self.summary(out, &metric, summary),
                Some(Kind::Histogram(histogram)) => self.histogram(out, &metric, histogram),
            }
        }
        let about = About::new(self.kind(), &self.help, &self.unit).owned();
        out.families.push((self.name, about));
        Ok(())
    }

    fn entry(&self, metric: &Metric, (suffix, label): Part<'_>, value: Value) -> Entry<'a> {
        let mut labels = metric.labels.clone();
        labels.push(("__name__".to_owned(), format!("{}{suffix}", self.name)));
        labels.extend(label.map(|(name, value)| (name.to_owned(), value)));
        labels.sort_unstable();
        let key = labels.iter().map(|(name, value)| format!("{}:{name}{}:{value}", name.len(), value.len())).collect();
        let name = Name::Labels(labels, key);
        Entry { line: 0, name, value, time: metric.time, start: metric.start, exemplars: Vec::new() }
    }

    fn add(&self, out: &mut Scraped<'a>, metric: &Metric, part: Part<'_>, value: f64, exemplar: Option<OwnExemplar>) {
        let mut entry = self.entry(metric, part, Value::Number(value));
        entry.exemplars.extend(exemplar);
        out.entries.push(entry);
    }

    fn summary(&self, out: &mut Scraped<'a>, metric: &Metric, summary: &Summary) {
        self.add(out, metric, ("_count", None), summary.count as f64, None);
        self.add(out, metric, ("_sum", None), summary.sum, None);
        for (quantile, value) in &summary.quantiles {
            let label = Some(("quantile", number::canonical(*quantile)));
            self.add(out, metric, ("", label), *value, None);
        }
    }

    fn histogram(&self, out: &mut Scraped<'a>, metric: &Metric, histogram: &Both) {
        if histogram.is_native && self.wanted.native {
            let native = Value::Native(Box::new(histogram.native.clone()));
            let mut entry = self.entry(metric, ("", None), native);
            entry.exemplars.clone_from(&histogram.exemplars);
            if entry.exemplars.is_empty() {
                entry.exemplars.extend(histogram.buckets.iter().filter_map(|bucket| bucket.exemplar.clone()));
            }
            out.entries.push(entry);
            if !self.wanted.classic || histogram.buckets.is_empty() {
                return;
            }
        }
        let count = match histogram.native.count {
            Number::Int(count) => count as f64,
            Number::Float(count) => count,
        };
        self.add(out, metric, ("_count", None), count, None);
        self.add(out, metric, ("_sum", None), histogram.native.sum, None);
        for bucket in &histogram.buckets {
            let label = Some(("le", number::canonical(bucket.bound)));
            self.add(out, metric, ("_bucket", label), bucket.count, bucket.exemplar.clone());
        }
        if histogram.buckets.last().is_none_or(|bucket| bucket.bound != f64::INFINITY) {
            self.add(out, metric, ("_bucket", Some(("le", "+Inf".to_owned()))), count, None);
        }
    }
}

/// `Metric {1 label, 2 gauge, 3 counter, 4 summary, 5 untyped, 6 timestamp_ms, 7 histogram}`.
#[derive(Default)]
struct Metric {
    labels: Owned,
    time: Option<i64>,
    start: i64,
    value: Option<Kind>,
}

enum Kind {
    Number(f64, Option<OwnExemplar>),
    Summary(Summary),
    Histogram(Box<Both>),
}

#[derive(Default)]
struct Summary {
    count: u64,
    sum: f64,
    quantiles: Vec<(f64, f64)>,
}

/// A histogram, which may be classic, native, or both.
#[derive(Default)]
struct Both {
    native: Histogram,
    is_native: bool,
    buckets: Vec<Bucket>,
    exemplars: Vec<OwnExemplar>,
}

#[derive(Default)]
struct Bucket {
    bound: f64,
    count: f64,
    exemplar: Option<OwnExemplar>,
}

impl Metric {
    fn read(mut reader: Reader<'_>) -> Result<Self> {
        let mut metric = Metric::default();
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 => metric.labels.push(label(inner(&reader, wire)?)?),
                6 => metric.time = Some(wire.varint(&reader)?.cast_signed()),
                2 | 3 | 5 => {
                    let (value, exemplar, start) = number(inner(&reader, wire)?)?;
                    metric.value = Some(Kind::Number(value, exemplar));
                    metric.start = start;
                }
                4 => {
                    let (summary, start) = summary(inner(&reader, wire)?)?;
                    metric.value = Some(Kind::Summary(summary));
                    metric.start = start;
                }
                7 => {
                    let histogram = histogram(inner(&reader, wire)?)?;
                    metric.start = histogram.native.start;
                    metric.value = Some(Kind::Histogram(Box::new(histogram)));
                }
                _ => {}
            }
        }
        Ok(metric)
    }
}

fn inner<'a>(reader: &Reader<'a>, wire: Wire<'a>) -> Result<Reader<'a>> {
    Ok(reader.enter(wire.bytes(reader)?))
}

fn text(reader: &Reader<'_>, wire: Wire<'_>) -> Result<String> {
    let bytes = wire.bytes(reader)?;
    Ok(std::str::from_utf8(bytes).map_err(|_utf8| reader.error("a text is no UTF-8"))?.to_owned())
}

fn double(reader: &Reader<'_>, wire: Wire<'_>) -> Result<f64> {
    Ok(f64::from_bits(wire.fixed64(reader)?))
}

/// `LabelPair {1 name, 2 value}`.
fn label(mut reader: Reader<'_>) -> Result<(String, String)> {
    let mut pair = (String::new(), String::new());
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => pair.0 = text(&reader, wire)?,
            2 => pair.1 = text(&reader, wire)?,
            _ => {}
        }
    }
    Ok(pair)
}

/// `Gauge`, `Counter {1 value, 2 exemplar, 3 start}`, `Untyped`.
fn number(mut reader: Reader<'_>) -> Result<(f64, Option<OwnExemplar>, i64)> {
    let mut out = (0.0, None, 0);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => out.0 = double(&reader, wire)?,
            2 => out.1 = Some(exemplar(inner(&reader, wire)?)?),
            3 => out.2 = timestamp(inner(&reader, wire)?)?,
            _ => {}
        }
    }
    Ok(out)
}

/// `google.protobuf.Timestamp {1 seconds, 2 nanos}` as ms.
fn timestamp(mut reader: Reader<'_>) -> Result<i64> {
    let mut ms = 0_i64;
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => ms = ms.saturating_add(wire.varint(&reader)?.cast_signed().saturating_mul(1000)),
            2 => ms = ms.saturating_add(wire.varint(&reader)?.cast_signed() / 1_000_000),
            _ => {}
        }
    }
    Ok(ms)
}

/// `Exemplar {1 label, 2 value, 3 timestamp}`.
fn exemplar(mut reader: Reader<'_>) -> Result<OwnExemplar> {
    let mut out = OwnExemplar::default();
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => out.labels.push(label(inner(&reader, wire)?)?),
            2 => out.value = double(&reader, wire)?,
            3 => out.time = Some(timestamp(inner(&reader, wire)?)?),
            _ => {}
        }
    }
    Ok(out)
}

/// `Summary {1 sample_count, 2 sample_sum, 3 quantile {1 quantile, 2 value}, 4 start}`.
fn summary(mut reader: Reader<'_>) -> Result<(Summary, i64)> {
    let (mut out, mut start) = (Summary::default(), 0);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => out.count = wire.varint(&reader)?,
            2 => out.sum = double(&reader, wire)?,
            3 => {
                let mut pair = (0.0, 0.0);
                let mut reader = inner(&reader, wire)?;
                while let Some((field, wire)) = reader.field()? {
                    match field {
                        1 => pair.0 = double(&reader, wire)?,
                        2 => pair.1 = double(&reader, wire)?,
                        _ => {}
                    }
                }
                bounded(&mut out.quantiles, pair, &reader)?;
            }
            4 => start = timestamp(inner(&reader, wire)?)?,
            _ => {}
        }
    }
    Ok((out, start))
}

fn bounded<T>(list: &mut Vec<T>, value: T, reader: &Reader<'_>) -> Result<()> {
    if list.len() >= limits::BUCKETS {
        return Err(reader.error("a histogram or summary has too many parts"));
    }
    list.push(value);
    Ok(())
}

/// `Histogram {1 count, 2 sum, 3 bucket, 4 count_float, 5 schema, 6 zero_threshold, 7 zero_count, 8 zero_count_float,
/// 9 to 11 negative, 12 to 14 positive, 15 start, 16 exemplars}`. What has a schema, a zero bucket or spans is native.
fn histogram(mut reader: Reader<'_>) -> Result<Both> {
    let mut both = Both::default();
    let native = &mut both.native;
    while let Some((field, wire)) = reader.field()? {
        both.is_native |= matches!(field, 6 | 9 | 12);
        match field {
            1 => native.count = Number::Int(wire.varint(&reader)?),
            2 => native.sum = double(&reader, wire)?,
            3 => bounded(&mut both.buckets, bucket(inner(&reader, wire)?)?, &reader)?,
            4 => native.count = Number::Float(double(&reader, wire)?),
            5 => native.schema = zigzag(wire.varint(&reader)?) as i32,
            6 => native.zero_threshold = double(&reader, wire)?,
            7 => native.zero = Number::Int(wire.varint(&reader)?),
            8 => native.zero = Number::Float(double(&reader, wire)?),
            9 => span(inner(&reader, wire)?, &mut native.negative)?,
            10 => deltas(&reader, wire, &mut native.negative)?,
            11 => counts(&reader, wire, &mut native.negative)?,
            12 => span(inner(&reader, wire)?, &mut native.positive)?,
            13 => deltas(&reader, wire, &mut native.positive)?,
            14 => counts(&reader, wire, &mut native.positive)?,
            15 => native.start = timestamp(inner(&reader, wire)?)?,
            16 => both.exemplars.push(exemplar(inner(&reader, wire)?)?),
            _ => {}
        }
    }
    Ok(both)
}

/// `Bucket {1 cumulative_count, 2 upper_bound, 3 exemplar, 4 cumulative_count_float}`.
fn bucket(mut reader: Reader<'_>) -> Result<Bucket> {
    let mut bucket = Bucket::default();
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => bucket.count = wire.varint(&reader)? as f64,
            2 => bucket.bound = double(&reader, wire)?,
            3 => bucket.exemplar = Some(exemplar(inner(&reader, wire)?)?),
            4 => bucket.count = double(&reader, wire)?,
            _ => {}
        }
    }
    Ok(bucket)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// `BucketSpan {1 offset, 2 length}`.
fn span(mut reader: Reader<'_>, side: &mut Side) -> Result<()> {
    let mut span = (0, 0);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => span.0 = zigzag(wire.varint(&reader)?) as i32,
            2 => span.1 = wire.uint32(&reader)?,
            _ => {}
        }
    }
    bounded(&mut side.spans, span, &reader)
}

fn deltas(reader: &Reader<'_>, wire: Wire<'_>, side: &mut Side) -> Result<()> {
    let Wire::Bytes(packed) = wire else {
        return bounded(&mut side.deltas, zigzag(wire.varint(reader)?), reader);
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        let delta = zigzag(packed.varint()?);
        bounded(&mut side.deltas, delta, &packed)?;
    }
    Ok(())
}

fn counts(reader: &Reader<'_>, wire: Wire<'_>, side: &mut Side) -> Result<()> {
    let Wire::Bytes(packed) = wire else {
        return bounded(&mut side.counts, double(reader, wire)?, reader);
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        let count = f64::from_bits(packed.fixed64()?);
        bounded(&mut side.counts, count, &packed)?;
    }
    Ok(())
}
