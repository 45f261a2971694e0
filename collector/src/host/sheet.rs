//! A reading in the making: points gathered by metric, then written as one OTLP request.

use std::collections::BTreeMap;

use devmesh_schema::otlp::write::{Attribute, MetricKind, MetricsRequest, NumberPoint, PointValue};

/// A metric of the semantic conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) is: Is,
}

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Is {
    /// OpenTelemetry's counter.
    Counter,
    /// Its up-down counter: parts of a whole, which may be added up.
    Part,
    /// Its gauge.
    Gauge,
}

/// A sum that only grows.
pub(super) const fn counter(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit, is: Is::Counter }
}

/// A part of a whole.
pub(super) const fn part(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit, is: Is::Part }
}

/// A value that is not added up.
pub(super) const fn gauge(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit, is: Is::Gauge }
}

#[derive(Debug)]
struct Point {
    start: u64,
    value: PointValue,
    attributes: Vec<Attribute<'static>>,
}

#[derive(Debug)]
pub(super) struct Sheet {
    time: u64,
    start: u64,
    points: BTreeMap<Metric, Vec<Point>>,
}

impl Sheet {
    /// A reading of `time`, ns since the epoch.
    pub(super) fn new(time: u64) -> Self {
        Self { time, start: 0, points: BTreeMap::new() }
    }

    /// Since when the sums that follow count, ns since the epoch.
    pub(super) fn counts_since(&mut self, start: u64) {
        self.start = start;
    }

    /// A whole number.
    pub(super) fn int<const N: usize>(&mut self, metric: Metric, value: u64, attributes: [(&'static str, &str); N]) {
        self.add(metric, PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX)), attributes);
    }

    /// Any number.
    pub(super) fn float<const N: usize>(&mut self, metric: Metric, value: f64, attributes: [(&'static str, &str); N]) {
        self.add(metric, PointValue::Double(value), attributes);
    }

    fn add<const N: usize>(&mut self, metric: Metric, value: PointValue, attributes: [(&'static str, &str); N]) {
        let attributes = attributes.map(|(key, text)| (key.into(), text.to_owned().into())).into();
        let start = if metric.is == Is::Gauge { 0 } else { self.start };
        self.points.entry(metric).or_default().push(Point { start, value, attributes });
    }

    /// The request, with all metrics in `resource`.
    pub(super) fn finish(self, resource: &[Attribute<'_>]) -> Vec<u8> {
        let mut request = MetricsRequest::new();
        request.resource(resource, |scope| {
            for (metric, points) in self.points {
                let kind = match metric.is {
                    Is::Counter => MetricKind::Sum { monotonic: true },
                    Is::Part => MetricKind::Sum { monotonic: false },
                    Is::Gauge => MetricKind::Gauge,
                };
                scope.metric(metric.name, "", metric.unit, kind, |metric| {
                    for Point { start, value, attributes } in &points {
                        let (start_time, value) = (*start, Some(*value));
                        metric.point(&NumberPoint { time: self.time, start_time, value, attributes });
                    }
                });
            }
        });
        request.finish()
    }
}
