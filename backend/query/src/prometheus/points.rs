//! Rows of `metrics` as series of samples.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, MapArray, RecordBatch,
    cast::AsArray,
    types::{Float64Type, Int32Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use arrow_cast::cast;
use arrow_schema::DataType;
use devmesh_promql::{Labels, NAME, STALE, Sample, Select, Series, histogram::Histogram};
use devmesh_schema::prometheus::{is_label, is_source};
use xxhash_rust::xxh3::Xxh3;

use super::{metric, names, native};
use crate::Error;

/// The columns that [`Collector::add`] reads.
pub(super) const COLUMNS: &str = "time, name, unit, kind, source, temporality, is_monotonic, flags, value, count, sum, buckets, \
    bounds, scale, zero_count, zero_threshold, positive_offset, positive_buckets, negative_offset, negative_buckets, \
    quantiles, attributes, resource_attributes";
/// Flag of a point: no recorded value.
const NO_VALUE: u32 = 1;
/// Resource attributes that name a job and an instance.
const SERVICE: &str = "service.name";
const NAMESPACE: &str = "service.namespace";
const INSTANCE: &str = "service.instance.id";
/// Which of a point's series a sample belongs to: a suffix of the name, and a label (`le`, `quantile`) with its value.
type Part = (&'static str, Option<(&'static str, u64)>);

/// A stream of points in the store: what makes it is equal in all of them.
struct Stream {
    base: Labels,
    family: String,
    delta: bool,
    /// Its names are Prometheus' own.
    own: bool,
    parts: HashMap<Part, usize>,
}

/// Puts rows together to series.
pub(super) struct Collector<'s> {
    select: &'s Select,
    streams: HashMap<u128, usize>,
    known: Vec<Stream>,
    /// `None` where the selection does not want it.
    series: Vec<Option<Series>>,
}

impl<'s> Collector<'s> {
    pub(super) fn new(select: &'s Select) -> Self {
        Self { select, streams: HashMap::new(), known: Vec::new(), series: Vec::new() }
    }

    /// Adds rows; answers how many samples they made.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<usize, Error> {
        let columns = Columns::of(batch)?;
        let mut added = 0;
        for row in 0..batch.num_rows() {
            let stream = self.stream(&columns, row);
            added += self.point(&columns, row, stream);
        }
        Ok(added)
    }

    fn stream(&mut self, columns: &Columns, row: usize) -> usize {
        let mut hash = Xxh3::new();
        let mut text = |value: &str| {
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(value.as_bytes());
        };
        for column in [&columns.name, &columns.unit, &columns.kind, &columns.source, &columns.temporality] {
            text(value(column, row));
        }
        for map in [&columns.attributes, &columns.resource] {
            entries(map, row, |key, value| {
                if is_label(key) {
                    text(key);
                    text(value);
                }
            });
            text("");
        }
        let key = hash.digest128();
        if let Some(known) = self.streams.get(&key) {
            return *known;
        }
        self.streams.insert(key, self.known.len());
        let (source, kind) = (value(&columns.source, row), value(&columns.kind, row));
        let monotonic = columns.monotonic.as_boolean_opt().is_some_and(|m| m.is_valid(row) && m.value(row));
        self.known.push(Stream {
            base: base_labels(columns, row, is_source(source)),
            own: is_source(source),
            family: metric::family(source, value(&columns.name, row), value(&columns.unit, row), kind, monotonic),
            delta: value(&columns.temporality, row) == "delta" && (monotonic || kind != "sum"),
            parts: HashMap::new(),
        });
        self.known.len() - 1
    }

    fn point(&mut self, columns: &Columns, row: usize, stream: usize) -> usize {
        let ms = columns.time.value(row).div_euclid(1_000_000);
        let stale = columns.flags.value(row) & NO_VALUE != 0;
        let or_stale = |value: f64| if stale { f64::from_bits(STALE) } else { value };
        let mut samples: Vec<(Part, Sample)> = Vec::new();
        let own = self.known[stream].own;
        let mut float = |part: Part, value: f64| samples.push((part, Sample::Float(or_stale(value))));
        match value(&columns.kind, row) {
            "histogram" | "exponential_histogram" if stale && own => float(("", None), 0.0),
            // Classic histograms of Prometheus are series of numbers: this one is native, with custom buckets.
            "histogram" if own => samples.push((("", None), Sample::Histogram(Arc::new(columns.custom(row))))),
            "histogram" => {
                let (counts, bounds) = (columns.u64s(&columns.buckets, row), columns.f64s(&columns.bounds, row));
                let mut total = 0.0;
                for (n, count) in counts.iter().enumerate() {
                    total += *count as f64;
                    let bound = bounds.get(n).copied().unwrap_or(f64::INFINITY);
                    float(("_bucket", Some(("le", bound.to_bits()))), total);
                }
                let count = if columns.count.is_valid(row) { columns.count.value(row) as f64 } else { total };
                if counts.is_empty() {
                    float(("_bucket", Some(("le", f64::INFINITY.to_bits()))), count);
                }
                float(("_count", None), count);
                if columns.sum.is_valid(row) {
                    float(("_sum", None), columns.sum.value(row));
                }
            }
            "summary" => {
                for (quantile, value) in columns.quantiles(row) {
                    float(("", Some(("quantile", quantile.to_bits()))), value);
                }
                if columns.count.is_valid(row) {
                    float(("_count", None), columns.count.value(row) as f64);
                }
                if columns.sum.is_valid(row) {
                    float(("_sum", None), columns.sum.value(row));
                }
            }
            "exponential_histogram" if stale => float(("", None), 0.0),
            "exponential_histogram" => {
                if let Some(histogram) = columns.histogram(row, own) {
                    samples.push((("", None), Sample::Histogram(Arc::new(histogram))));
                }
            }
            _ if stale || columns.value.is_valid(row) => float(("", None), columns.value.value(row)),
            _ => {}
        }
        let mut added = 0;
        for (part, sample) in samples {
            if let Some(series) = self.part(stream, part) {
                series.push(ms, sample);
                added += 1;
            }
        }
        added
    }

    /// The series of a part of a stream; `None` where it is not wanted.
    fn part(&mut self, stream: usize, part: Part) -> Option<&mut Series> {
        let Stream { base, family, parts, .. } = &mut self.known[stream];
        let (select, series) = (self.select, &mut self.series);
        let at = *parts.entry(part).or_insert_with(|| {
            let (suffix, label) = part;
            let mut pairs: Vec<(String, String)> =
                base.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            pairs.push((NAME.to_owned(), format!("{family}{suffix}")));
            if let Some((name, bits)) = label {
                pairs.push((name.to_owned(), float_text(f64::from_bits(bits))));
            }
            let labels = Labels::new(pairs);
            series.push(select.matches(&labels).then(|| Series::new(labels)));
            series.len() - 1
        });
        series[at].as_mut()
    }

    /// The series of single rows.
    pub(super) fn rows<'c>(&'c mut self, batch: &RecordBatch) -> Result<Rows<'c, 's>, Error> {
        Ok(Rows { columns: Columns::of(batch)?, collector: self })
    }

    /// The series in the order of their labels, each in the order of time.
    pub(super) fn finish(self) -> Vec<Series> {
        let mut delta = vec![false; self.series.len()];
        for stream in self.known.iter().filter(|stream| stream.delta) {
            stream.parts.values().for_each(|at| delta[*at] = true);
        }
        let wanted = self.series.into_iter().zip(delta).filter_map(|(series, delta)| Some((series?, delta)));
        let mut all: Vec<Series> = wanted.map(|(series, delta)| in_order(series, delta)).collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        // Streams that differ in what is no label are one series.
        all.dedup_by(|next, kept| {
            let same = next.labels == kept.labels;
            if same {
                kept.times.append(&mut next.times);
                kept.values.append(&mut next.values);
                kept.histograms.append(&mut next.histograms);
                *kept = in_order(std::mem::take(kept), false);
            }
            same
        });
        all
    }
}

/// Rows of a batch, whose series are asked for one by one.
pub(super) struct Rows<'c, 's> {
    columns: Columns,
    collector: &'c mut Collector<'s>,
}

impl Rows<'_, '_> {
    /// The labels of the series of a row that an observation belongs to; `None` where the selection does not want it.
    pub(super) fn of(&mut self, row: usize, observed: f64) -> Option<Labels> {
        let Self { columns, collector } = self;
        let stream = collector.stream(columns, row);
        let part = match value(&columns.kind, row) {
            "histogram" if !collector.known[stream].own => {
                let bounds = columns.f64s(&columns.bounds, row);
                let bound = bounds.into_iter().find(|bound| observed <= *bound).unwrap_or(f64::INFINITY);
                ("_bucket", Some(("le", bound.to_bits())))
            }
            _ => ("", None),
        };
        collector.part(stream, part).map(|series| series.labels.clone())
    }
}

/// Sorts samples by time and adds up deltas. Of several numbers at one time the greatest stays, which no order of rows
/// changes; a stale marker gives way to a number.
fn in_order(mut series: Series, delta: bool) -> Series {
    if !series.times.is_sorted_by(|a, b| a < b) {
        let mut both: Vec<(i64, f64)> = series.times.iter().copied().zip(series.values.iter().copied()).collect();
        let number = |value: f64| !devmesh_promql::is_stale(value);
        both.sort_by(|a, b| (b.0, number(b.1)).cmp(&(a.0, number(a.1))).then(b.1.total_cmp(&a.1)));
        both.dedup_by_key(|(time, _)| *time);
        both.reverse();
        (series.times, series.values) = both.into_iter().unzip();
    }
    if !series.histograms.is_sorted_by(|a, b| a.0 < b.0) {
        series.histograms.sort_by_key(|(time, _)| *time);
        series.histograms.reverse();
        series.histograms.dedup_by_key(|(time, _)| *time);
        series.histograms.reverse();
    }
    if delta {
        let mut total = 0.0;
        for value in series.values.iter_mut().filter(|value| !devmesh_promql::is_stale(**value)) {
            total += *value;
            *value = total;
        }
        let mut before: Option<Arc<Histogram>> = None;
        for (_, histogram) in &mut series.histograms {
            // Both are exponential: they can always be added.
            if let Some(before) = &before
                && Arc::make_mut(histogram).add(before).is_err()
            {
                continue;
            }
            Arc::make_mut(histogram).reset = devmesh_promql::histogram::ResetHint::Unknown;
            before = Some(Arc::clone(histogram));
        }
    }
    series
}

/// A number as a label's value: as Go writes it.
fn float_text(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { format!("{value}") }
}

/// The labels of a point, without its name.
fn base_labels(columns: &Columns, row: usize, prometheus: bool) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::new();
    entries(&columns.attributes, row, |key, value| {
        if prometheus && !is_label(key) {
            return;
        }
        let name = if prometheus { key.to_owned() } else { names::label(key).into_owned() };
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            // Keys that are one label: their values stand together.
            Some((_, known)) if !prometheus => *known = format!("{known};{value}"),
            _ => pairs.push((name, value.to_owned())),
        }
    });
    let (job, instance) = identity(&columns.resource, row);
    pairs.push(("job".to_owned(), job));
    pairs.push(("instance".to_owned(), instance));
    Labels::new(pairs)
}

/// `job` and `instance` of a resource.
fn identity(resource: &MapArray, row: usize) -> (String, String) {
    let (mut service, mut namespace, mut instance) = (String::new(), String::new(), String::new());
    entries(resource, row, |key, value| match key {
        SERVICE => value.clone_into(&mut service),
        NAMESPACE => value.clone_into(&mut namespace),
        INSTANCE => value.clone_into(&mut instance),
        _ => {}
    });
    let job = if namespace.is_empty() || service.is_empty() { service } else { format!("{namespace}/{service}") };
    (job, instance)
}

/// The labels of a resource's `target_info`; `None` where nothing names it, or nothing is to be said of it.
pub(super) fn target(resource: &MapArray, row: usize) -> Option<Labels> {
    let (job, instance) = identity(resource, row);
    let mut pairs: Vec<(String, String)> = Vec::new();
    entries(resource, row, |key, value| {
        if !matches!(key, SERVICE | NAMESPACE | INSTANCE) && !value.is_empty() {
            pairs.push((names::label(key).into_owned(), value.to_owned()));
        }
    });
    if pairs.is_empty() || (job.is_empty() && instance.is_empty()) {
        return None;
    }
    let own = [(NAME, super::target::TARGET_INFO.to_owned()), ("job", job), ("instance", instance)];
    pairs.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Some(Labels::new(pairs))
}

/// Attributes as labels.
pub(super) fn labels(attributes: &MapArray, row: usize) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    entries(attributes, row, |key, value| pairs.push((names::label(key).into_owned(), value.to_owned())));
    pairs
}

/// Equal for equal attributes.
pub(super) fn hash(map: &MapArray, row: usize) -> u128 {
    let mut hash = Xxh3::new();
    entries(map, row, |key, value| {
        for text in [key, value] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    });
    hash.digest128()
}

/// The columns `time` and `resource_attributes` of a batch.
pub(super) fn resources(batch: &RecordBatch) -> Result<(arrow_array::TimestampNanosecondArray, MapArray), Error> {
    let column = |name: &str| batch.column_by_name(name);
    let times = column("time").and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let maps = column("resource_attributes").and_then(|column| column.as_map_opt());
    let both = times.zip(maps).ok_or_else(|| Error::Internal("metrics lacks its resources".into()))?;
    Ok((both.0.clone(), both.1.clone()))
}

/// The columns of a batch.
struct Columns {
    time: arrow_array::TimestampNanosecondArray,
    flags: arrow_array::UInt32Array,
    name: ArrayRef,
    unit: ArrayRef,
    kind: ArrayRef,
    source: ArrayRef,
    temporality: ArrayRef,
    monotonic: ArrayRef,
    attributes: MapArray,
    resource: MapArray,
    value: arrow_array::Float64Array,
    count: arrow_array::UInt64Array,
    sum: arrow_array::Float64Array,
    buckets: ArrayRef,
    bounds: ArrayRef,
    scale: arrow_array::Int32Array,
    zero_count: arrow_array::UInt64Array,
    zero_threshold: arrow_array::Float64Array,
    positive: (arrow_array::Int32Array, ArrayRef),
    negative: (arrow_array::Int32Array, ArrayRef),
    quantiles: ArrayRef,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).cloned();
            column.ok_or_else(|| Error::Internal(format!("metrics lacks the column {name}")))
        };
        let text = |name: &str| {
            cast(&column(name)?, &DataType::Utf8).map_err(|error| Error::Internal(format!("metrics.{name}: {error}")))
        };
        let typed = |name: &str| Error::Internal(format!("metrics.{name} has another type"));
        let map = |name: &str| column(name)?.as_map_opt().cloned().ok_or_else(|| typed(name));
        macro_rules! number {
            ($kind:ty, $name:literal) => {
                column($name)?.as_primitive_opt::<$kind>().cloned().ok_or_else(|| typed($name))?
            };
        }
        Ok(Self {
            time: number!(TimestampNanosecondType, "time"),
            flags: number!(UInt32Type, "flags"),
            name: text("name")?,
            unit: text("unit")?,
            kind: text("kind")?,
            source: text("source")?,
            temporality: text("temporality")?,
            monotonic: column("is_monotonic")?,
            attributes: map("attributes")?,
            resource: map("resource_attributes")?,
            value: number!(Float64Type, "value"),
            count: number!(UInt64Type, "count"),
            sum: number!(Float64Type, "sum"),
            buckets: column("buckets")?,
            bounds: column("bounds")?,
            scale: number!(Int32Type, "scale"),
            zero_count: number!(UInt64Type, "zero_count"),
            zero_threshold: number!(Float64Type, "zero_threshold"),
            positive: (number!(Int32Type, "positive_offset"), column("positive_buckets")?),
            negative: (number!(Int32Type, "negative_offset"), column("negative_buckets")?),
            quantiles: column("quantiles")?,
        })
    }

    fn u64s(&self, list: &ArrayRef, row: usize) -> Vec<u64> {
        let Some(list) = list.as_list_opt::<i32>().filter(|list| list.is_valid(row)) else { return Vec::new() };
        let items = list.value(row);
        items.as_primitive_opt::<UInt64Type>().map(|items| items.values().to_vec()).unwrap_or_default()
    }

    fn f64s(&self, list: &ArrayRef, row: usize) -> Vec<f64> {
        let Some(list) = list.as_list_opt::<i32>().filter(|list| list.is_valid(row)) else { return Vec::new() };
        let items = list.value(row);
        items.as_primitive_opt::<Float64Type>().map(|items| items.values().to_vec()).unwrap_or_default()
    }

    fn quantiles(&self, row: usize) -> Vec<(f64, f64)> {
        let Some(list) = self.quantiles.as_list_opt::<i32>().filter(|list| list.is_valid(row)) else {
            return Vec::new();
        };
        let items = list.value(row);
        let Some(items) = items.as_struct_opt() else { return Vec::new() };
        let field = |name: &str| items.column_by_name(name).and_then(|column| column.as_primitive_opt::<Float64Type>());
        let (Some(quantiles), Some(values)) = (field("quantile"), field("value")) else { return Vec::new() };
        quantiles.values().iter().copied().zip(values.values().iter().copied()).collect()
    }

    /// A point of an exponential histogram as a native one; `None` where it is too coarse to be one.
    fn histogram(&self, row: usize, own: bool) -> Option<Histogram> {
        let number = |column: &arrow_array::Float64Array| if column.is_valid(row) { column.value(row) } else { 0.0 };
        let side = |(offset, counts): &(arrow_array::Int32Array, ArrayRef)| native::Row {
            offset: if offset.is_valid(row) { offset.value(row) } else { 0 },
            counts: self.u64s(counts, row),
        };
        let point = native::Exponential {
            scale: if self.scale.is_valid(row) { self.scale.value(row) } else { 0 },
            zero_threshold: number(&self.zero_threshold),
            zero_count: if self.zero_count.is_valid(row) { self.zero_count.value(row) } else { 0 },
            count: if self.count.is_valid(row) { self.count.value(row) } else { 0 },
            sum: number(&self.sum),
            positive: side(&self.positive),
            negative: side(&self.negative),
        };
        let mut extra = native::Extra::default();
        if own {
            entries(&self.attributes, row, |key, value| extra.read(key, value));
        }
        native::exponential(&point, own, extra)
    }

    /// A point of an explicit histogram as a native one with custom buckets.
    fn custom(&self, row: usize) -> Histogram {
        let mut extra = native::Extra::default();
        entries(&self.attributes, row, |key, value| extra.read(key, value));
        let count = if self.count.is_valid(row) { self.count.value(row) } else { 0 };
        let sum = if self.sum.is_valid(row) { self.sum.value(row) } else { 0.0 };
        native::custom(count, sum, &self.u64s(&self.buckets, row), self.f64s(&self.bounds, row), extra)
    }
}

/// A text; empty for NULL.
fn value(column: &ArrayRef, row: usize) -> &str {
    column.as_string_opt::<i32>().filter(|column| column.is_valid(row)).map_or("", |column| column.value(row))
}

/// The entries of a map that have a value.
fn entries(map: &MapArray, row: usize, mut take: impl FnMut(&str, &str)) {
    let offsets = map.value_offsets();
    let (Some(keys), Some(values)) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>()) else {
        return;
    };
    for at in offsets[row] as usize..offsets[row + 1] as usize {
        if values.is_valid(at) {
            take(keys.value(at), values.value(at));
        }
    }
}
