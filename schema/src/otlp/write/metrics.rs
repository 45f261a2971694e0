//! Export requests of metrics: the numbers a door makes up itself, gauges and sums.

use super::{Attribute, Writer, request::Envelope, write_attributes};

/// An `ExportMetricsServiceRequest` in the making.
#[derive(Debug, Default)]
pub struct MetricsRequest {
    out: Writer,
    points: u64,
}

/// What a metric of numbers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value at a time.
    Gauge,
    /// A cumulative sum; `monotonic` where it only grows.
    Sum {
        /// Whether it only grows.
        monotonic: bool,
    },
}

/// The number of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointValue {
    /// `as_int`.
    Int(i64),
    /// `as_double`.
    Double(f64),
}

/// A point of a gauge or a sum. Times are ns since the epoch, 0 for none.
#[derive(Clone, Debug)]
pub struct NumberPoint<'a> {
    /// When.
    pub time: u64,
    /// Since when it counts.
    pub start_time: u64,
    /// The number; none writes a point without a recorded value.
    pub value: Option<PointValue>,
    /// Attributes, in order.
    pub attributes: &'a [Attribute<'a>],
}

/// Takes the metrics of one resource.
#[derive(Debug)]
pub struct ScopeMetricsWriter<'w> {
    out: &'w mut Writer,
    points: u64,
}

/// Takes the points of one metric.
#[derive(Debug)]
pub struct MetricWriter<'w> {
    out: &'w mut Writer,
    points: u64,
}

impl MetricsRequest {
    /// A request without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource with one (unnamed) scope, whose metrics `write` gives.
    pub fn resource(&mut self, attributes: &[Attribute<'_>], write: impl FnOnce(&mut ScopeMetricsWriter<'_>)) {
        let envelope = Envelope::begin(&mut self.out, attributes, "", "");
        let mut writer = ScopeMetricsWriter { out: &mut self.out, points: 0 };
        write(&mut writer);
        self.points += writer.points;
        envelope.end(&mut self.out);
    }

    /// Data points so far.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// The request's protobuf bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out.into_vec()
    }
}

impl ScopeMetricsWriter<'_> {
    /// Adds a metric, whose points `write` gives.
    pub fn metric(
        &mut self,
        name: &str,
        description: &str,
        unit: &str,
        kind: MetricKind,
        write: impl FnOnce(&mut MetricWriter<'_>),
    ) {
        let mark = self.out.begin(2);
        self.out.text(1, name);
        self.out.text(2, description);
        self.out.text(3, unit);
        let data = self.out.begin(if kind == MetricKind::Gauge { 5 } else { 7 });
        let mut writer = MetricWriter { out: self.out, points: 0 };
        write(&mut writer);
        self.points += writer.points;
        if let MetricKind::Sum { monotonic } = kind {
            self.out.int(2, 2);
            self.out.boolean(3, monotonic);
        }
        self.out.end(data);
        self.out.end(mark);
    }
}

impl MetricWriter<'_> {
    /// Adds a point.
    pub fn point(&mut self, point: &NumberPoint<'_>) {
        self.points += 1;
        self.out.message(1, |out| {
            out.fixed64(2, point.start_time);
            out.fixed64(3, point.time);
            if let Some(PointValue::Double(value)) = point.value {
                out.put_double(4, value);
            }
            if let Some(PointValue::Int(value)) = point.value {
                out.put_sfixed64(6, value);
            }
            write_attributes(out, 7, point.attributes);
            // Flag 1: no recorded value.
            out.uint(8, u64::from(point.value.is_none()));
        });
    }
}
