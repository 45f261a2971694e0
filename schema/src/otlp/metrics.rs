//! Data points into rows.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Float64Array, ListArray, PrimitiveArray, StructArray,
    types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type},
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};

use super::{
    DecodeError,
    check::{EXEMPLAR, METRIC_ENVELOPE},
    children::Children,
    columns::{Dictionary, Numbers},
    points::{Buckets, Lists, Number, Point, inner},
    rows::{Items, Rows},
    wire::{Reader, Wire, put_bytes, put_field, put_message, put_uint},
};
use crate::{limits, stored, tables};

/// The kinds of metrics: the field of `Metric` and the value of the column `kind`.
pub(super) const KINDS: [(u32, &str); 5] =
    [(5, "gauge"), (7, "sum"), (9, "histogram"), (10, "exponential_histogram"), (11, "summary")];

/// A list of numbers a row, or NULL.
#[derive(Debug)]
struct ListColumn<T: ArrowPrimitiveType> {
    offsets: Vec<i32>,
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> ListColumn<T> {
    fn new() -> Self {
        Self { offsets: vec![0], values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn push(&mut self, row: usize, values: impl IntoIterator<Item = T::Native>) {
        self.pad(row);
        self.values.extend(values);
        self.offsets.push(self.values.len() as i32);
        self.nulls.append_non_null();
    }

    fn pad(&mut self, rows: usize) {
        let len = self.offsets.len() - 1;
        if len < rows {
            self.offsets.resize(rows + 1, self.values.len() as i32);
            self.nulls.append_n_nulls(rows - len);
        }
    }

    fn finish(mut self, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
        if self.offsets.len() == 1 {
            return Ok(None);
        }
        self.pad(rows);
        let item = Arc::new(Field::new("item", T::DATA_TYPE, true));
        let values = PrimitiveArray::<T>::try_new(ScalarBuffer::from(self.values), None)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Ok(Some(Arc::new(ListArray::try_new(item, offsets, Arc::new(values), self.nulls.build())?)))
    }
}

/// The columns of metrics alone.
#[derive(Debug)]
pub(super) struct Metrics<'a> {
    start: Numbers<TimestampNanosecondType>,
    name: Dictionary,
    kind: Dictionary,
    metric: Dictionary,
    value_double: Numbers<Float64Type>,
    value_int: Numbers<Int64Type>,
    count: Numbers<UInt64Type>,
    sum: Numbers<Float64Type>,
    min: Numbers<Float64Type>,
    max: Numbers<Float64Type>,
    buckets: ListColumn<UInt64Type>,
    bounds: ListColumn<Float64Type>,
    scale: Numbers<Int32Type>,
    zero_count: Numbers<UInt64Type>,
    zero_threshold: Numbers<Float64Type>,
    positive: BucketColumns,
    negative: BucketColumns,
    /// Quantile and value in turn.
    quantiles: ListColumn<Float64Type>,
    exemplars: Children<'a>,
    point: Point,
}

#[derive(Debug)]
struct BucketColumns {
    offset: Numbers<Int32Type>,
    counts: ListColumn<UInt64Type>,
}

/// A `Metric` message whose points have not been read yet.
#[derive(Debug, Default)]
struct Head<'a> {
    name: &'a [u8],
    description: &'a [u8],
    unit: &'a [u8],
    /// An index into [`KINDS`].
    kind: Option<usize>,
    /// The `Metric` message from the first part of the kind's message on.
    data: Option<Reader<'a>>,
    /// The fields `metadata`.
    metadata: Vec<u8>,
    temporality: u64,
    is_monotonic: u64,
}

impl<'a> Head<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let mut head = Head::default();
        let mut here = reader;
        while let Some((number, wire)) = reader.field()? {
            let start = std::mem::replace(&mut here, reader);
            match number {
                1 => head.name = wire.bytes(&reader)?,
                2 => head.description = wire.bytes(&reader)?,
                3 => head.unit = wire.bytes(&reader)?,
                12 => put_bytes(&mut head.metadata, 12, wire.bytes(&reader)?),
                _ => {
                    let Some(kind) = KINDS.iter().position(|(field, _)| *field == number) else { continue };
                    // The kinds are a oneof: another kind replaces what stood before, the same kind is merged.
                    if head.kind.replace(kind) != Some(kind) {
                        head.data = Some(start);
                    }
                    wire.bytes(&reader)?;
                }
            }
        }
        Ok(head)
    }

    fn envelope(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, text) in [(1, self.name), (2, self.description), (3, self.unit)] {
            if !text.is_empty() {
                put_bytes(&mut out, number, text);
            }
        }
        if let Some((field, _)) = self.kind.and_then(|kind| KINDS.get(kind)) {
            put_message(&mut out, *field, |out| {
                for (number, value) in [(2, self.temporality), (3, self.is_monotonic)] {
                    if value != 0 {
                        put_uint(out, number, value);
                    }
                }
            });
        }
        out.extend_from_slice(&self.metadata);
        out
    }
}

impl<'a> Metrics<'a> {
    pub(super) fn new() -> Self {
        Self {
            start: Numbers::new(),
            name: Dictionary::new(),
            kind: Dictionary::new(),
            metric: Dictionary::new(),
            value_double: Numbers::new(),
            value_int: Numbers::new(),
            count: Numbers::new(),
            sum: Numbers::new(),
            min: Numbers::new(),
            max: Numbers::new(),
            buckets: ListColumn::new(),
            bounds: ListColumn::new(),
            scale: Numbers::new(),
            zero_count: Numbers::new(),
            zero_threshold: Numbers::new(),
            positive: BucketColumns { offset: Numbers::new(), counts: ListColumn::new() },
            negative: BucketColumns { offset: Numbers::new(), counts: ListColumn::new() },
            quantiles: ListColumn::new(),
            exemplars: Children::new(&EXEMPLAR),
            point: Point::default(),
        }
    }

    fn point(&mut self, rows: &mut Rows<'a>, kind: usize, name: &[u8], reader: Reader<'a>) -> Result<(), DecodeError> {
        if !rows.count_item() {
            return Ok(());
        }
        self.point.clear();
        self.exemplars.clear();
        rows.begin_item(&reader);
        let mut lists = Lists { rows, exemplars: &mut self.exemplars };
        match kind {
            0 | 1 => self.point.number(reader, &mut lists)?,
            2 => self.point.histogram(reader, &mut lists)?,
            3 => self.point.exponential(reader, &mut lists)?,
            _ => self.point.summary(reader, &mut lists)?,
        }
        if let Some((reason, message)) = self.fault(rows, name) {
            rows.reject(reason, || message);
            return Ok(());
        }
        self.push_values(rows.count, kind);
        self.exemplars.push_with(rows.count, &mut rows.repaired, without_bad_ids)?;
        if self.point.start != 0 {
            // Beyond the year 2262 the number does not fit; its bits are kept so that it can be sent on as it came.
            self.start.push(rows.count, self.point.start as i64);
        }
        rows.push_time(self.point.time, rows.context.received);
        rows.end_row(self.point.flags, 0)
    }

    fn fault(&self, rows: &Rows<'_>, name: &[u8]) -> Option<(&'static str, String)> {
        if name.is_empty() || name.len() > limits::METRIC_NAME_BYTES {
            return Some(("name", format!("a metric's name has to have 1 to {} bytes", limits::METRIC_NAME_BYTES)));
        }
        let (start, time) = (self.point.start, self.point.time);
        if rows.is_future(time) {
            let ahead = limits::FUTURE.as_secs();
            return Some(("too_far_in_future", format!("the point's time is more than {ahead} s ahead")));
        }
        if time != 0 && start > time {
            return Some(("bad_interval", "start_time_unix_nano lies after time_unix_nano".into()));
        }
        self.point.fault().map(|(reason, message)| (reason, message.into()))
    }

    fn push_values(&mut self, row: usize, kind: usize) {
        let point = &mut self.point;
        match point.value {
            Some(Number::Double(value)) => self.value_double.push(row, value),
            Some(Number::Int(value)) => self.value_int.push(row, value),
            None => {}
        }
        if kind < 2 {
            return;
        }
        self.count.push(row, point.count);
        let numbers = [(&mut self.sum, point.sum), (&mut self.min, point.min), (&mut self.max, point.max)];
        for (column, value) in numbers {
            if let Some(value) = value {
                column.push(row, value);
            }
        }
        match kind {
            2 => {
                self.buckets.push(row, point.buckets.iter().copied());
                self.bounds.push(row, point.bounds.iter().copied());
            }
            3 => {
                self.scale.push(row, point.scale);
                self.zero_count.push(row, point.zero_count);
                self.zero_threshold.push(row, point.zero_threshold);
                self.positive.push(row, point.positive.take());
                self.negative.push(row, point.negative.take());
            }
            _ => self.quantiles.push(row, point.quantiles.iter().flat_map(|(quantile, value)| [*quantile, *value])),
        }
    }
}

/// The exemplar without ids of another length than OTLP's.
fn without_bad_ids(exemplar: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, DecodeError> {
    let bad = |number: u32, wire: Wire<'_>| match (number, wire) {
        (4, Wire::Bytes(id)) => id.len() != 8,
        (5, Wire::Bytes(id)) => id.len() != 16,
        _ => false,
    };
    let mut any = false;
    let mut kept = Vec::new();
    let mut reader = Reader::new(&exemplar);
    while let Some((number, wire)) = reader.field()? {
        any |= bad(number, wire);
    }
    if !any {
        return Ok(exemplar);
    }
    let mut reader = Reader::new(&exemplar);
    while let Some((number, wire)) = reader.field()? {
        if !bad(number, wire) {
            put_field(&mut kept, number, wire);
        }
    }
    Ok(Cow::Owned(kept))
}

impl BucketColumns {
    fn push(&mut self, row: usize, buckets: Option<Buckets>) {
        if let Some(buckets) = buckets {
            self.offset.push(row, buckets.offset);
            self.counts.push(row, buckets.counts);
        }
    }
}

impl<'a> Items<'a> for Metrics<'a> {
    fn item(&mut self, rows: &mut Rows<'a>, message: Reader<'a>) -> Result<(), DecodeError> {
        let mut head = Head::read(message)?;
        let (Some(kind), Some(mut parts)) = (head.kind, head.data) else { return Ok(()) };
        let (field, kind_name) = KINDS.get(kind).copied().unwrap_or_default();
        let first = rows.count;
        while let Some((number, wire)) = parts.field()? {
            if number != field {
                continue;
            }
            let mut data = inner(&parts, wire)?;
            while let Some((number, wire)) = data.field()? {
                match number {
                    1 => self.point(rows, kind, head.name, inner(&data, wire)?)?,
                    2 if (1..4).contains(&kind) => head.temporality = wire.varint(&data)?,
                    3 if kind == 1 => head.is_monotonic = wire.varint(&data)?,
                    _ => {}
                }
            }
        }
        let envelope = head.envelope();
        let envelope = METRIC_ENVELOPE.checked(Reader::at(&envelope, message.offset()), &mut rows.repaired)?;
        let run = rows.count - first;
        if run > 0 {
            let name = self.name.intern(head.name);
            self.name.push_run(name, run);
            let kind = self.kind.intern(kind_name.as_bytes());
            self.kind.push_run(kind, run);
            let metric = self.metric.intern(&envelope);
            self.metric.push_run(metric, run);
        }
        Ok(())
    }

    fn columns(self, rows: usize, repaired: &mut u64) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let start = self.start.finish(rows, false)?.map(|array| -> ArrayRef { Arc::new(array.with_timezone("UTC")) });
        let columns = [
            (stored::START_TIME, start),
            (stored::VALUE_DOUBLE, array(self.value_double, rows)?),
            (stored::VALUE_INT, array(self.value_int, rows)?),
            ("count", array(self.count, rows)?),
            ("sum", array(self.sum, rows)?),
            ("min", array(self.min, rows)?),
            ("max", array(self.max, rows)?),
            ("buckets", self.buckets.finish(rows)?),
            ("bounds", self.bounds.finish(rows)?),
            ("scale", array(self.scale, rows)?),
            ("zero_count", array(self.zero_count, rows)?),
            ("zero_threshold", array(self.zero_threshold, rows)?),
            ("positive_offset", array(self.positive.offset, rows)?),
            ("positive_buckets", self.positive.counts.finish(rows)?),
            ("negative_offset", array(self.negative.offset, rows)?),
            ("negative_buckets", self.negative.counts.finish(rows)?),
            ("quantiles", quantiles(self.quantiles, rows)?),
        ];
        let mut out: Vec<(Field, ArrayRef)> = vec![
            (stored::dictionary(stored::NAME, DataType::Utf8, false), self.name.text(rows, repaired)?),
            (stored::dictionary(stored::KIND, DataType::Utf8, false), self.kind.text(rows, repaired)?),
            (stored::dictionary(stored::METRIC, DataType::Binary, false), self.metric.binary(rows)?),
        ];
        for (name, column) in columns {
            if let Some(array) = column {
                out.push((Field::new(name, array.data_type().clone(), true), array));
            }
        }
        if self.exemplars.column.len() > 0 {
            out.push((Field::new(stored::EXEMPLARS, DataType::Binary, true), self.exemplars.column.binary(rows)?));
        }
        Ok(out)
    }
}

fn array<T: ArrowPrimitiveType>(column: Numbers<T>, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
    Ok(column.finish(rows, false)?.map(|array| -> ArrayRef { Arc::new(array) }))
}

/// Pairs of numbers as a list of structs.
fn quantiles(mut lists: ListColumn<Float64Type>, rows: usize) -> Result<Option<ArrayRef>, ArrowError> {
    if lists.offsets.len() == 1 {
        return Ok(None);
    }
    lists.pad(rows);
    let (quantiles, values): (Vec<f64>, Vec<f64>) = lists.values.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    let pairs: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(quantiles)), Arc::new(Float64Array::from(values))];
    let structs = StructArray::try_new(tables::quantile(), pairs, None)?;
    let offsets = lists.offsets.iter().map(|offset| offset / 2).collect();
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let array = ListArray::try_new(item, OffsetBuffer::new(offsets), Arc::new(structs), lists.nulls.build())?;
    Ok(Some(Arc::new(array)))
}
