//! Series as an OTLP request: brought together by job, instance and metric, so that each is said once.

use std::{collections::HashMap, sync::Arc};

use devmesh_schema::{
    TimestampNs, limits,
    otlp::write::{Attribute, Writer, write_resource},
    stored,
};
use foldhash::fast::RandomState;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    About, Bad, Counts, Exemplar, Families, Histogram, STALE, Sample, Series, Type, exemplar,
    histogram::Checked,
    is_stale,
    labels::{Identity, short},
};

/// Refused series and samples that are named in an answer.
const NAMED: usize = limits::REJECTIONS_NAMED;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i64 = 2;
/// Flag of a point: no recorded value.
const NO_VALUE: u64 = 1;
const NS: i64 = 1_000_000;

/// Ms since the epoch, which were checked, as OTLP's ns.
pub(super) fn nanos(ms: i64) -> u64 {
    u64::try_from(ms.saturating_mul(NS)).unwrap_or_default()
}

/// The times that points may have, ms, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    first: i64,
    last: i64,
}

impl Bounds {
    /// From `past` before now, which is ns since the epoch, to as far ahead as clocks of honest senders are.
    pub(crate) fn new(now: TimestampNs, past: std::time::Duration) -> Self {
        let ns = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let first = now.saturating_sub(ns(past)).max(NS) / NS;
        Self { first, last: now.saturating_add(ns(limits::FUTURE)) / NS }
    }

    fn check(self, ms: i64) -> Result<(), Bad> {
        if ms <= 0 {
            return Err(Bad::new("bad_time", format!("the time {ms} is none: ms since 1970")));
        }
        if ms < self.first {
            return Err(Bad::new("too_old", format!("the time {ms} (ms) is older than what is kept")));
        }
        if ms > self.last {
            let ahead = limits::FUTURE.as_secs();
            return Err(Bad::new("too_far_in_future", format!("the time {ms} (ms) is more than {ahead} s ahead")));
        }
        Ok(())
    }
}

/// What OTLP calls a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Gauge,
    Sum { monotonic: bool },
    Histogram { gauge: bool },
    Exponential { gauge: bool },
}

impl Kind {
    /// Of a metric of numbers, by its type, and where that is not known by the form of its name.
    fn of_numbers(name: &str, kind: Type) -> Self {
        let counts = |suffixes: &[&str]| {
            let counts = suffixes.iter().any(|suffix| name.ends_with(suffix));
            if counts { Kind::Sum { monotonic: true } } else { Kind::Gauge }
        };
        match kind {
            Type::Counter => Kind::Sum { monotonic: true },
            Type::Unknown => counts(&["_total", "_sum", "_count", "_bucket"]),
            Type::Histogram | Type::Summary => counts(&["_sum", "_count", "_bucket"]),
            Type::Gauge | Type::GaugeHistogram => Kind::Gauge,
            Type::Info | Type::StateSet => Kind::Sum { monotonic: false },
        }
    }

    fn of_histogram(histogram: &Histogram) -> Self {
        let gauge = histogram.is_gauge();
        if histogram.is_custom() { Kind::Histogram { gauge } } else { Kind::Exponential { gauge } }
    }

    /// The field of `Metric`, and those of a point of it with its exemplars, attributes and flags.
    fn fields(self) -> (u32, [u32; 3]) {
        match self {
            Kind::Gauge => (5, [5, 7, 8]),
            Kind::Sum { .. } => (7, [5, 7, 8]),
            Kind::Histogram { .. } => (9, [8, 9, 10]),
            Kind::Exponential { .. } => (10, [11, 1, 10]),
        }
    }

    /// Writes what the kind's message says beside its points.
    fn write(self, out: &mut Writer) {
        match self {
            Kind::Gauge => {}
            Kind::Sum { monotonic } => {
                out.int(2, CUMULATIVE);
                out.boolean(3, monotonic);
            }
            Kind::Histogram { gauge } | Kind::Exponential { gauge } => out.int(2, if gauge { 0 } else { CUMULATIVE }),
        }
    }
}

/// What is known of a series' metric.
#[derive(Clone, Debug)]
enum Known<'a> {
    Nothing,
    /// The sender said it with the series.
    Said(About<'a>),
    /// It was said before.
    Learnt(Arc<About<'static>>),
}

impl Known<'_> {
    fn kind(&self) -> Type {
        match self {
            Known::Nothing => Type::Unknown,
            Known::Said(about) => about.kind,
            Known::Learnt(about) => about.kind,
        }
    }

    fn texts(&self) -> [&str; 2] {
        match self {
            Known::Nothing => ["", ""],
            Known::Said(about) => [&about.help, &about.unit],
            Known::Learnt(about) => [&about.help, &about.unit],
        }
    }
}

type Map<K, V> = HashMap<K, V, RandomState>;

#[derive(Debug)]
struct Metric<'a> {
    name: &'a str,
    kind: Kind,
    about: Known<'a>,
    /// Points as fields 1.
    points: Writer,
}

/// An export request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    source: &'static str,
    bounds: Bounds,
    families: &'a Families,
    /// Job and instance.
    resources: Vec<((&'a str, &'a str), Vec<usize>)>,
    by_resource: Map<(&'a str, &'a str), usize>,
    by_metric: Map<(usize, &'a str, Kind), usize>,
    metrics: Vec<Metric<'a>>,
    /// Samples of this request by series and time, with their bits.
    seen: Map<(u64, i64), u64>,
    points: u64,
    written: Counts,
    refused: Refused,
}

/// What of a request was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    pub(crate) items: u64,
    /// The first reasons.
    pub(crate) named: Vec<Bad>,
}

impl Refused {
    fn add(&mut self, items: u64, bad: Bad) {
        self.items += items;
        if self.named.len() < NAMED {
            self.named.push(bad);
        }
    }
}

/// A request that is ready for the sink.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) request: Vec<u8>,
    pub(crate) points: u64,
    pub(crate) written: Counts,
    pub(crate) refused: Refused,
}

impl<'a> Request<'a> {
    pub(crate) fn new(source: &'static str, bounds: Bounds, families: &'a Families) -> Self {
        Self {
            source,
            bounds,
            families,
            resources: Vec::new(),
            by_resource: Map::default(),
            by_metric: Map::default(),
            metrics: Vec::new(),
            seen: Map::default(),
            points: 0,
            written: Counts::default(),
            refused: Refused::default(),
        }
    }

    /// Refuses something that could not even be read as a series; `items` samples, histograms and exemplars with it.
    pub(crate) fn refuse(&mut self, items: u64, bad: Bad) {
        self.refused.add(items.max(1), bad);
    }

    /// Adds the samples of a series that keep the rules, and notes why others do not. The series' labels are sorted.
    pub(crate) fn add(&mut self, series: &mut Series<'a>) {
        let counts = series.counts();
        let Series { labels, samples, histograms, exemplars, about } = series;
        let identity = match Identity::of(labels) {
            Ok(identity) => identity,
            Err(bad) => return self.refuse(counts.total(), bad),
        };
        let about = match about.take() {
            Some(about) => Known::Said(about),
            None => self.families.of(identity.name).map_or(Known::Nothing, Known::Learnt),
        };
        let key = if samples.is_empty() && histograms.is_empty() { 0 } else { hash(&identity) };
        exemplars.retain(|exemplar| {
            let checked = check_exemplar(exemplar);
            checked.map_err(|bad| self.refused.add(1, named(&identity, bad))).is_ok()
        });
        // They go with the last sample of their series; a sender may send them without one.
        let mut left: &[Exemplar<'a>] = exemplars;
        for (at, histogram) in histograms.iter().enumerate() {
            let last = samples.is_empty() && at + 1 == histograms.len();
            let with = if last { left } else { &[] };
            if self.histogram(&identity, &about, key, histogram, with) && last {
                left = &[];
            }
        }
        let kind = Kind::of_numbers(identity.name, about.kind());
        for (at, sample) in samples.iter().enumerate() {
            let last = at + 1 == samples.len();
            let with = if last { left } else { &[] };
            if self.sample(&identity, (kind, &about), key, sample, with) && last {
                left = &[];
            }
        }
        for exemplar in left {
            self.exemplar(&identity, (kind, &about), exemplar);
        }
    }

    /// Whether the item may be written: its time, its place among the items, and no other sample at this time.
    fn admit(&mut self, key: u64, time: i64, bits: u64) -> Result<bool, Bad> {
        self.bounds.check(time)?;
        if self.points as usize >= limits::ITEMS {
            return Err(Bad::new("too_many_items", format!("a request may hold {} items", limits::ITEMS)));
        }
        match self.seen.insert((key, time), bits) {
            Some(before) if before == bits => Ok(false),
            Some(before) => {
                self.seen.insert((key, time), before);
                Err(Bad::new("duplicate_sample", format!("there is another sample at the time {time} (ms)")))
            }
            None => Ok(true),
        }
    }

    /// Adds a number; whether its exemplars were taken with it.
    fn sample(
        &mut self,
        identity: &Identity<'_, 'a>,
        (kind, about): (Kind, &Known<'a>),
        key: u64,
        sample: &Sample,
        exemplars: &[Exemplar<'a>],
    ) -> bool {
        match self.admit(key, sample.time, sample.value.to_bits()) {
            Err(bad) => {
                self.refused.add(1, named(identity, bad));
                return false;
            }
            Ok(false) => {
                self.written.samples += 1;
                return false;
            }
            Ok(true) => {}
        }
        let stale = is_stale(sample.value);
        self.point(identity, kind, about, |out, [of_exemplars, of_attributes, of_flags]| {
            times(out, sample.time, sample.start);
            if stale {
                out.uint(of_flags, NO_VALUE);
            } else {
                out.put_double(4, sample.value);
            }
            exemplars.iter().for_each(|exemplar| exemplar::write(out, of_exemplars, exemplar));
            identity.attributes().for_each(|label| attribute(out, of_attributes, label));
        });
        self.written.samples += 1;
        self.written.exemplars += exemplars.len() as u64;
        true
    }

    fn histogram(
        &mut self,
        identity: &Identity<'_, 'a>,
        about: &Known<'a>,
        key: u64,
        histogram: &Histogram,
        exemplars: &[Exemplar<'a>],
    ) -> bool {
        let checked = match if histogram.is_stale() { Ok(None) } else { histogram.check().map(Some) } {
            Ok(checked) => checked,
            Err(bad) => {
                self.refused.add(1, named(identity, bad));
                return false;
            }
        };
        match self.admit(key, histogram.time, checked.as_ref().map_or(STALE, content)) {
            Err(bad) => {
                self.refused.add(1, named(identity, bad));
                return false;
            }
            Ok(false) => {
                self.written.histograms += 1;
                return false;
            }
            Ok(true) => {}
        }
        self.point(identity, Kind::of_histogram(histogram), about, |out, [of_exemplars, of_attributes, of_flags]| {
            times(out, histogram.time, histogram.start);
            identity.attributes().for_each(|label| attribute(out, of_attributes, label));
            match &checked {
                None => out.uint(of_flags, NO_VALUE),
                Some(checked) => {
                    checked.attributes().for_each(|hint| attribute(out, of_attributes, hint));
                    checked.write(out);
                }
            }
            exemplars.iter().for_each(|exemplar| exemplar::write(out, of_exemplars, exemplar));
        });
        self.written.histograms += 1;
        self.written.exemplars += exemplars.len() as u64;
        true
    }

    /// An exemplar whose sample came elsewhere: a point that has no value and says nothing of an end.
    fn exemplar(&mut self, identity: &Identity<'_, 'a>, (kind, about): (Kind, &Known<'a>), exemplar: &Exemplar<'a>) {
        if let Err(bad) = self.bounds.check(exemplar.time) {
            return self.refused.add(1, named(identity, bad));
        }
        self.point(identity, kind, about, |out, [of_exemplars, of_attributes, _]| {
            times(out, exemplar.time, 0);
            exemplar::write(out, of_exemplars, exemplar);
            identity.attributes().for_each(|label| attribute(out, of_attributes, label));
        });
        self.written.exemplars += 1;
    }

    /// Adds a point to its metric.
    fn point(
        &mut self,
        identity: &Identity<'_, 'a>,
        kind: Kind,
        about: &Known<'a>,
        write: impl FnOnce(&mut Writer, [u32; 3]),
    ) {
        let origin = (identity.job, identity.instance);
        let resource = match self.resources.last() {
            Some((last, _)) if *last == origin => self.resources.len() - 1,
            _ => *self.by_resource.entry(origin).or_insert_with(|| {
                self.resources.push((origin, Vec::new()));
                self.resources.len() - 1
            }),
        };
        let metric = *self.by_metric.entry((resource, identity.name, kind)).or_insert_with(|| {
            self.metrics.push(Metric { name: identity.name, kind, about: about.clone(), points: Writer::new() });
            self.resources[resource].1.push(self.metrics.len() - 1);
            self.metrics.len() - 1
        });
        let (_, fields) = kind.fields();
        self.metrics[metric].points.message(1, |out| write(out, fields));
        self.points += 1;
    }

    /// The request's bytes.
    pub(crate) fn finish(self) -> Ready {
        let size: usize = self.metrics.iter().map(|metric| metric.points.len() + metric.name.len() + 64).sum();
        let mut out = Writer::with_capacity(size + 256 * self.resources.len());
        for ((job, instance), metrics) in &self.resources {
            out.message(1, |out| {
                write_resource(out, &resource(self.source, job, instance));
                out.message(2, |out| {
                    for metric in metrics.iter().filter_map(|at| self.metrics.get(*at)) {
                        out.message(2, |out| metric.write(out));
                    }
                });
            });
        }
        Ready { request: out.into_vec(), points: self.points, written: self.written, refused: self.refused }
    }
}

impl Metric<'_> {
    fn write(&self, out: &mut Writer) {
        out.text(1, self.name);
        let [help, unit] = self.about.texts();
        out.text(2, help);
        out.text(3, unit);
        let (field, _) = self.kind.fields();
        out.message(field, |out| {
            out.append(self.points.as_slice());
            self.kind.write(out);
        });
        if self.about.kind() != Type::Unknown {
            attribute(out, 12, ("prometheus.type", self.about.kind().name()));
        }
    }
}

/// The resource of a job's instance. A job `namespace/name` is a service of a namespace.
fn resource<'r>(source: &'static str, job: &'r str, instance: &'r str) -> Vec<Attribute<'r>> {
    let (namespace, name) = match job.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
        _ => ("", job),
    };
    let all = [
        (stored::SOURCE_ATTRIBUTE, source),
        ("service.namespace", namespace),
        ("service.name", name),
        ("service.instance.id", instance),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.into(), value.into())).collect()
}

/// Start, where it is not after the time, and time, of a point of any kind.
fn times(out: &mut Writer, time: i64, start: i64) {
    if (1..=time).contains(&start) {
        out.put_fixed64(2, nanos(start));
    }
    out.put_fixed64(3, nanos(time));
}

fn attribute(out: &mut Writer, field: u32, (key, value): (&str, &str)) {
    out.message(field, |out| {
        out.text(1, key);
        out.message(2, |out| out.put_text(1, value));
    });
}

fn check_exemplar(exemplar: &Exemplar<'_>) -> Result<(), Bad> {
    if exemplar.labels.len() > limits::LABELS {
        return Err(Bad::new("bad_exemplar", format!("an exemplar has at most {} labels", limits::LABELS)));
    }
    if exemplar.time < 0 || exemplar.time > i64::MAX / NS {
        return Err(Bad::new("bad_time", format!("the time {} of an exemplar is none: ms since 1970", exemplar.time)));
    }
    let long = |(name, value): &(&str, &str)| {
        name.is_empty() || name.len() > limits::LABEL_NAME_BYTES || value.len() > limits::LABEL_VALUE_BYTES
    };
    if exemplar.labels.iter().any(long) {
        return Err(Bad::new("bad_exemplar", "a label of an exemplar is empty or too long"));
    }
    Ok(())
}

/// A fault with the metric that has it.
fn named(identity: &Identity<'_, '_>, bad: Bad) -> Bad {
    Bad { message: format!("{}: {}", short(identity.name), bad.message), ..bad }
}

/// A series' labels as a number.
fn hash(identity: &Identity<'_, '_>) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    let own = [("", identity.name), ("job", identity.job), ("instance", identity.instance)];
    for (name, value) in own.into_iter().chain(identity.attributes()) {
        for text in [name, value] {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxh3_64(&bytes)
}

/// What a histogram says, as a number: whether two are equal.
fn content(checked: &Checked<'_>) -> u64 {
    let mut out = Writer::new();
    checked.write(&mut out);
    checked.attributes().for_each(|hint| attribute(&mut out, 1, hint));
    xxh3_64(out.as_slice())
}
