//! Random requests, made from random bytes: fewer bytes make a smaller request, so that proptest can shrink them.

use std::collections::HashSet;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};

use super::RECEIVED;

/// Random bytes that are used up; then zeros.
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl Source<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number below `limit`, at most 256.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) * limit / 256
    }

    fn chance(&mut self) -> bool {
        self.byte() >= 128
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance() { Some(make(self)) } else { None }
    }

    fn many<T>(&mut self, limit: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(limit)).map(|_| make(self)).collect()
    }

    fn bits(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Numbers that are small, at a border, or anything.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 | 1 => 0,
            2 => u64::from(self.byte()),
            3 => [u64::MAX, i64::MAX as u64, i64::MAX as u64 + 1, u64::from(u32::MAX), 127, 128][self.below(6)],
            _ => self.bits(),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(5) {
            0 => 0.0,
            1 => f64::from(self.byte()),
            2 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE, 5e-324][self.below(6)],
            _ => f64::from_bits(self.bits()),
        }
    }

    fn text(&mut self) -> String {
        match self.below(8) {
            0 => String::new(),
            1 => "0b1d7a2c-3f4e-4a5b-8c6d-7e8f90a1b2c3".into(),
            2 => "0B1D7A2C-3F4E-4A5B-8C6D-7E8F90A1B2C3".into(),
            3 => "0b1d7a2c-3f4e-4a5b-8c6d-7e8f90a1b2cg".into(),
            4 => "\0\u{feff}\u{202e}日本語🦀\u{ffff}\"\\\n".into(),
            5 => "x".repeat(100 + self.below(256)),
            _ => self.many(12, |s| ['a', 'b', 'ü', '€', ' ', '"', '7'][s.below(7)]).into_iter().collect(),
        }
    }

    fn key(&mut self) -> String {
        match self.below(3) {
            0 => ["a", "b", "c", "http.route", "é"][self.below(5)].into(),
            1 => format!("k{}", self.below(40)),
            _ => format!("{}!", self.text()).chars().take(60).collect(),
        }
    }

    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        self.many(limit, Self::byte)
    }

    fn value(&mut self, depth: usize) -> AnyValue {
        let value = match self.below(if depth > 4 { 6 } else { 10 }) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::IntValue(self.number() as i64)),
            3 => Some(Value::DoubleValue(self.double())),
            4 => Some(Value::BoolValue(self.chance())),
            5 => Some(Value::BytesValue(self.bytes(20))),
            6 => Some(Value::ArrayValue(ArrayValue { values: self.many(4, |s| s.value(depth + 1)) })),
            7 => {
                let entry = |s: &mut Self| KeyValue {
                    key: s.text(),
                    value: s.some(|s| s.value(depth + 1)),
                    ..Default::default()
                };
                Some(Value::KvlistValue(KeyValueList { values: self.many(4, entry) }))
            }
            8 => Some(Value::StringValueStrindex(self.number() as i32)),
            _ => Some(Value::StringValue(self.text())),
        };
        AnyValue { value }
    }

    /// Attributes whose keys differ, as OpenTelemetry demands.
    fn attributes(&mut self) -> Vec<KeyValue> {
        let mut keys = HashSet::new();
        let mut list = self.many(9, |s| KeyValue {
            key: s.key(),
            value: if s.below(10) == 9 { None } else { Some(s.value(0)) },
            ..Default::default()
        });
        list.retain(|attribute| keys.insert(attribute.key.clone()));
        list
    }

    fn resource(&mut self) -> Resource {
        let mut attributes = self.attributes();
        if self.chance() {
            let value = Some(AnyValue { value: Some(Value::StringValue(["cart", "checkout"][self.below(2)].into())) });
            attributes.push(KeyValue { key: "service.name".into(), value, ..Default::default() });
        }
        Resource {
            attributes,
            dropped_attributes_count: self.number() as u32,
            entity_refs: self.many(2, |s| EntityRef {
                schema_url: s.text(),
                r#type: s.text(),
                id_keys: s.many(3, Self::text),
                description_keys: s.many(2, Self::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    fn id(&mut self, length: usize) -> Vec<u8> {
        let mut id: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        id[length - 1] |= 1;
        id
    }

    fn maybe_id(&mut self, length: usize) -> Vec<u8> {
        self.some(|s| s.id(length)).unwrap_or_default()
    }

    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        let scope = |s: &mut Self| ScopeLogs {
            scope: s.some(Self::scope),
            log_records: s.many(6, Self::log),
            schema_url: s.text(),
        };
        let group = |s: &mut Self| ResourceLogs {
            resource: s.some(Self::resource),
            scope_logs: s.many(3, scope),
            schema_url: s.text(),
        };
        ExportLogsServiceRequest { resource_logs: self.many(4, group) }
    }

    fn log(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.number() as i32,
            severity_text: self.text(),
            body: self.some(|s| s.value(0)),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            flags: self.number() as u32,
            trace_id: self.maybe_id(16),
            span_id: self.maybe_id(8),
            event_name: self.text(),
        }
    }

    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        let scope = |s: &mut Self| ScopeSpans {
            scope: s.some(Self::scope),
            spans: s.many(6, Self::span),
            schema_url: s.text(),
        };
        let group = |s: &mut Self| ResourceSpans {
            resource: s.some(Self::resource),
            scope_spans: s.many(3, scope),
            schema_url: s.text(),
        };
        ExportTraceServiceRequest { resource_spans: self.many(4, group) }
    }

    fn span(&mut self) -> Span {
        let event = |s: &mut Self| Event {
            time_unix_nano: s.number(),
            name: s.text(),
            attributes: s.attributes(),
            dropped_attributes_count: s.number() as u32,
        };
        let link = |s: &mut Self| Link {
            trace_id: s.bytes(20),
            span_id: s.bytes(10),
            trace_state: s.text(),
            attributes: s.attributes(),
            dropped_attributes_count: s.number() as u32,
            flags: s.number() as u32,
        };
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.maybe_id(8),
            flags: self.number() as u32,
            name: self.text(),
            kind: if self.chance() { self.below(6) as i32 } else { self.number() as i32 },
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            events: self.many(3, event),
            dropped_events_count: self.number() as u32,
            links: self.many(3, link),
            dropped_links_count: self.number() as u32,
            status: self.some(|s| Status { message: s.text(), code: s.number() as i32 }),
        }
    }

    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let scope = |s: &mut Self| ScopeMetrics {
            scope: s.some(Self::scope),
            metrics: s.many(5, Self::metric),
            schema_url: s.text(),
        };
        let group = |s: &mut Self| ResourceMetrics {
            resource: s.some(Self::resource),
            scope_metrics: s.many(3, scope),
            schema_url: s.text(),
        };
        ExportMetricsServiceRequest { resource_metrics: self.many(4, group) }
    }

    fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.below(4) as i32;
        let data = match self.below(7) {
            0 => None,
            1 => Some(Data::Gauge(Gauge { data_points: self.many(4, Self::number_point) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.many(4, Self::number_point),
                aggregation_temporality,
                is_monotonic: self.chance(),
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.many(4, Self::histogram_point),
                aggregation_temporality,
            })),
            4 | 5 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.many(4, Self::exponential_point),
                aggregation_temporality,
            })),
            _ => Some(Data::Summary(Summary { data_points: self.many(4, Self::summary_point) })),
        };
        Metric {
            name: format!("m{}", self.text()),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(),
            data,
        }
    }

    /// Start and time of a point: not in the future, and in order.
    fn times(&mut self) -> (u64, u64) {
        let time = self.number().min(RECEIVED as u64);
        let start = self.number();
        (if time == 0 { start } else { start.min(time) }, time)
    }

    fn exemplars(&mut self) -> Vec<Exemplar> {
        self.many(3, |s| Exemplar {
            filtered_attributes: s.attributes(),
            time_unix_nano: s.number(),
            span_id: s.maybe_id(8),
            trace_id: s.maybe_id(16),
            value: s.some(|s| match s.chance() {
                true => exemplar::Value::AsInt(s.number() as i64),
                false => exemplar::Value::AsDouble(s.double()),
            }),
        })
    }

    fn number_point(&mut self) -> NumberDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            exemplars: self.exemplars(),
            flags: self.number() as u32,
            value: self.some(|s| match s.chance() {
                true => number_data_point::Value::AsInt(s.number() as i64),
                false => number_data_point::Value::AsDouble(s.double()),
            }),
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let buckets = self.below(6);
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            count: self.number(),
            sum: self.some(Self::double),
            bucket_counts: (0..buckets).map(|_| self.number()).collect(),
            explicit_bounds: (1..buckets).map(|i| i as f64 * 0.5 - 1.0).collect(),
            exemplars: self.exemplars(),
            flags: self.number() as u32,
            min: self.some(Self::double),
            max: self.some(Self::double),
        }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let buckets =
            |s: &mut Self| Buckets { offset: s.below(100) as i32 - 50, bucket_counts: s.many(6, Self::number) };
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            count: self.number(),
            sum: self.some(Self::double),
            scale: self.below(31) as i32 - 10,
            zero_count: self.number(),
            positive: self.some(buckets),
            negative: self.some(buckets),
            flags: self.number() as u32,
            exemplars: self.exemplars(),
            min: self.some(Self::double),
            max: self.some(Self::double),
            zero_threshold: f64::from(self.byte()) / 7.0,
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let quantile = |s: &mut Self| ValueAtQuantile { quantile: f64::from(s.byte()) / 255.0, value: s.double() };
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            count: self.number(),
            sum: self.double(),
            quantile_values: self.many(4, quantile),
            flags: self.number() as u32,
        }
    }
}
