//! Writes OTLP requests as JSON, as the specification says, in the ways that senders differ in.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
        exemplar, exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::Span,
};
use serde_json::{Value, json};

/// How a sender writes what can be written in several ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) numbers_in_strings: bool,
    pub(crate) doubles_in_strings: bool,
    pub(crate) upper_case_ids: bool,
    pub(crate) url_safe: bool,
    /// Fields at their default are written, absent ones are `null`, and there are unknown keys.
    pub(crate) noise: bool,
}

pub(crate) trait ToJson {
    fn to_json(&self, style: Style) -> Value;
}

impl Style {
    fn long(self, value: u64) -> Value {
        if self.numbers_in_strings { json!(value.to_string()) } else { json!(value) }
    }

    fn int(self, value: i64) -> Value {
        if self.numbers_in_strings { json!(value.to_string()) } else { json!(value) }
    }

    fn double(self, value: f64) -> Value {
        match value {
            value if value.is_nan() => json!("NaN"),
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            value if self.doubles_in_strings => json!(format!("{value:e}")),
            value => json!(value),
        }
    }

    fn id(self, id: &[u8]) -> Value {
        if self.upper_case_ids { json!(hex::encode_upper(id)) } else { json!(hex::encode(id)) }
    }

    fn list<T: ToJson>(self, list: &[T]) -> Value {
        list.iter().map(|item| item.to_json(self)).collect()
    }

    fn optional<T: ToJson>(self, value: Option<&T>) -> Value {
        value.map_or(Value::Null, |value| value.to_json(self))
    }

    /// An object of these fields. Without noise those that are absent or empty are left out.
    fn object<const N: usize>(self, fields: [(&str, Value); N]) -> Value {
        let is_default = |value: &Value| match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        let fields = fields.into_iter().filter(|(_, value)| self.noise || !is_default(value));
        let mut object: serde_json::Map<String, Value> = fields.map(|(key, value)| (key.to_owned(), value)).collect();
        if self.noise {
            object.insert("xFuture".into(), json!({"a": [1, null, {"b": "\u{1}"}], "c": -1.5e-7}));
        }
        Value::Object(object)
    }
}

impl ToJson for AnyValue {
    fn to_json(&self, style: Style) -> Value {
        match &self.value {
            None => json!({}),
            Some(Any::StringValue(text)) => json!({"stringValue": text}),
            Some(Any::BoolValue(value)) => json!({"boolValue": value}),
            Some(Any::IntValue(value)) => json!({"intValue": style.int(*value)}),
            Some(Any::DoubleValue(value)) => json!({"doubleValue": style.double(*value)}),
            Some(Any::BytesValue(bytes)) if style.url_safe => {
                json!({"bytesValue": BASE64_URL_SAFE_NO_PAD.encode(bytes)})
            }
            Some(Any::BytesValue(bytes)) => json!({"bytesValue": BASE64_STANDARD.encode(bytes)}),
            Some(Any::ArrayValue(list)) => {
                json!({"arrayValue": style.object([("values", style.list(&list.values))])})
            }
            Some(Any::KvlistValue(map)) => json!({"kvlistValue": style.object([("values", style.list(&map.values))])}),
            Some(Any::StringValueStrindex(index)) => json!({"stringValueStrindex": index}),
        }
    }
}

impl ToJson for KeyValue {
    fn to_json(&self, style: Style) -> Value {
        style.object([("key", json!(self.key)), ("value", style.optional(self.value.as_ref()))])
    }
}

impl ToJson for Resource {
    fn to_json(&self, style: Style) -> Value {
        style.object([
            ("attributes", style.list(&self.attributes)),
            ("droppedAttributesCount", json!(self.dropped_attributes_count)),
        ])
    }
}

impl ToJson for InstrumentationScope {
    fn to_json(&self, style: Style) -> Value {
        style.object([
            ("name", json!(self.name)),
            ("version", json!(self.version)),
            ("attributes", style.list(&self.attributes)),
            ("droppedAttributesCount", json!(self.dropped_attributes_count)),
        ])
    }
}

impl ToJson for LogRecord {
    fn to_json(&self, style: Style) -> Value {
        style.object([
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("observedTimeUnixNano", style.long(self.observed_time_unix_nano)),
            ("severityNumber", json!(self.severity_number)),
            ("severityText", json!(self.severity_text)),
            ("body", style.optional(self.body.as_ref())),
            ("attributes", style.list(&self.attributes)),
            ("droppedAttributesCount", json!(self.dropped_attributes_count)),
            ("flags", json!(self.flags)),
            ("traceId", style.id(&self.trace_id)),
            ("spanId", style.id(&self.span_id)),
            ("eventName", json!(self.event_name)),
        ])
    }
}

impl ToJson for ExportLogsServiceRequest {
    fn to_json(&self, style: Style) -> Value {
        let resources = self.resource_logs.iter().map(|group| {
            let scopes = group.scope_logs.iter().map(|scope| {
                style.object([
                    ("logRecords", style.list(&scope.log_records)),
                    ("scope", style.optional(scope.scope.as_ref())),
                    ("schemaUrl", json!(scope.schema_url)),
                ])
            });
            style.object([
                ("resource", style.optional(group.resource.as_ref())),
                ("scopeLogs", scopes.collect()),
                ("schemaUrl", json!(group.schema_url)),
            ])
        });
        style.object([("resourceLogs", resources.collect())])
    }
}

impl ToJson for Span {
    fn to_json(&self, style: Style) -> Value {
        let events = self.events.iter().map(|event| {
            style.object([
                ("timeUnixNano", style.long(event.time_unix_nano)),
                ("name", json!(event.name)),
                ("attributes", style.list(&event.attributes)),
                ("droppedAttributesCount", json!(event.dropped_attributes_count)),
            ])
        });
        let links = self.links.iter().map(|link| {
            style.object([
                ("traceId", style.id(&link.trace_id)),
                ("spanId", style.id(&link.span_id)),
                ("traceState", json!(link.trace_state)),
                ("attributes", style.list(&link.attributes)),
                ("droppedAttributesCount", json!(link.dropped_attributes_count)),
                ("flags", json!(link.flags)),
            ])
        });
        let status = self.status.as_ref().map_or(Value::Null, |status| {
            style.object([("code", json!(status.code)), ("message", json!(status.message))])
        });
        style.object([
            ("traceId", style.id(&self.trace_id)),
            ("spanId", style.id(&self.span_id)),
            ("traceState", json!(self.trace_state)),
            ("parentSpanId", style.id(&self.parent_span_id)),
            ("name", json!(self.name)),
            ("kind", json!(self.kind)),
            ("startTimeUnixNano", style.long(self.start_time_unix_nano)),
            ("endTimeUnixNano", style.long(self.end_time_unix_nano)),
            ("attributes", style.list(&self.attributes)),
            ("droppedAttributesCount", json!(self.dropped_attributes_count)),
            ("events", events.collect()),
            ("droppedEventsCount", json!(self.dropped_events_count)),
            ("links", links.collect()),
            ("droppedLinksCount", json!(self.dropped_links_count)),
            ("status", status),
            ("flags", json!(self.flags)),
        ])
    }
}

impl ToJson for ExportTraceServiceRequest {
    fn to_json(&self, style: Style) -> Value {
        let resources = self.resource_spans.iter().map(|group| {
            let scopes = group.scope_spans.iter().map(|scope| {
                style.object([
                    ("scope", style.optional(scope.scope.as_ref())),
                    ("spans", style.list(&scope.spans)),
                    ("schemaUrl", json!(scope.schema_url)),
                ])
            });
            style.object([
                ("resource", style.optional(group.resource.as_ref())),
                ("scopeSpans", scopes.collect()),
                ("schemaUrl", json!(group.schema_url)),
            ])
        });
        style.object([("resourceSpans", resources.collect())])
    }
}

impl ToJson for Exemplar {
    fn to_json(&self, style: Style) -> Value {
        let (double, int) = match self.value {
            Some(exemplar::Value::AsDouble(value)) => (style.double(value), Value::Null),
            Some(exemplar::Value::AsInt(value)) => (Value::Null, style.int(value)),
            None => (Value::Null, Value::Null),
        };
        style.object([
            ("filteredAttributes", style.list(&self.filtered_attributes)),
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("asDouble", double),
            ("asInt", int),
            ("spanId", style.id(&self.span_id)),
            ("traceId", style.id(&self.trace_id)),
        ])
    }
}

impl ToJson for NumberDataPoint {
    fn to_json(&self, style: Style) -> Value {
        let (double, int) = match self.value {
            Some(number_data_point::Value::AsDouble(value)) => (style.double(value), Value::Null),
            Some(number_data_point::Value::AsInt(value)) => (Value::Null, style.int(value)),
            None => (Value::Null, Value::Null),
        };
        style.object([
            ("attributes", style.list(&self.attributes)),
            ("startTimeUnixNano", style.long(self.start_time_unix_nano)),
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("asDouble", double),
            ("asInt", int),
            ("exemplars", style.list(&self.exemplars)),
            ("flags", json!(self.flags)),
        ])
    }
}

impl ToJson for HistogramDataPoint {
    fn to_json(&self, style: Style) -> Value {
        let double = |value: Option<f64>| value.map_or(Value::Null, |value| style.double(value));
        style.object([
            ("attributes", style.list(&self.attributes)),
            ("startTimeUnixNano", style.long(self.start_time_unix_nano)),
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("count", style.long(self.count)),
            ("sum", double(self.sum)),
            ("bucketCounts", self.bucket_counts.iter().map(|value| style.long(*value)).collect()),
            ("explicitBounds", self.explicit_bounds.iter().map(|value| style.double(*value)).collect()),
            ("exemplars", style.list(&self.exemplars)),
            ("flags", json!(self.flags)),
            ("min", double(self.min)),
            ("max", double(self.max)),
        ])
    }
}

impl ToJson for Buckets {
    fn to_json(&self, style: Style) -> Value {
        style.object([
            ("offset", json!(self.offset)),
            ("bucketCounts", self.bucket_counts.iter().map(|value| style.long(*value)).collect()),
        ])
    }
}

impl ToJson for ExponentialHistogramDataPoint {
    fn to_json(&self, style: Style) -> Value {
        let double = |value: Option<f64>| value.map_or(Value::Null, |value| style.double(value));
        style.object([
            ("attributes", style.list(&self.attributes)),
            ("startTimeUnixNano", style.long(self.start_time_unix_nano)),
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("count", style.long(self.count)),
            ("sum", double(self.sum)),
            ("scale", json!(self.scale)),
            ("zeroCount", style.long(self.zero_count)),
            ("positive", style.optional(self.positive.as_ref())),
            ("negative", style.optional(self.negative.as_ref())),
            ("flags", json!(self.flags)),
            ("exemplars", style.list(&self.exemplars)),
            ("min", double(self.min)),
            ("max", double(self.max)),
            ("zeroThreshold", style.double(self.zero_threshold)),
        ])
    }
}

impl ToJson for SummaryDataPoint {
    fn to_json(&self, style: Style) -> Value {
        let quantiles = self
            .quantile_values
            .iter()
            .map(|pair| style.object([("quantile", style.double(pair.quantile)), ("value", style.double(pair.value))]));
        style.object([
            ("attributes", style.list(&self.attributes)),
            ("startTimeUnixNano", style.long(self.start_time_unix_nano)),
            ("timeUnixNano", style.long(self.time_unix_nano)),
            ("count", style.long(self.count)),
            ("sum", style.double(self.sum)),
            ("quantileValues", quantiles.collect()),
            ("flags", json!(self.flags)),
        ])
    }
}

impl ToJson for Metric {
    fn to_json(&self, style: Style) -> Value {
        let data = match &self.data {
            None => ("gauge", Value::Null),
            Some(Data::Gauge(gauge)) => ("gauge", style.object([("dataPoints", style.list(&gauge.data_points))])),
            Some(Data::Sum(sum)) => {
                let fields = [
                    ("dataPoints", style.list(&sum.data_points)),
                    ("aggregationTemporality", json!(sum.aggregation_temporality)),
                    ("isMonotonic", json!(sum.is_monotonic)),
                ];
                ("sum", style.object(fields))
            }
            Some(Data::Histogram(histogram)) => {
                let fields = [
                    ("aggregationTemporality", json!(histogram.aggregation_temporality)),
                    ("dataPoints", style.list(&histogram.data_points)),
                ];
                ("histogram", style.object(fields))
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let fields = [
                    ("dataPoints", style.list(&histogram.data_points)),
                    ("aggregationTemporality", json!(histogram.aggregation_temporality)),
                ];
                ("exponentialHistogram", style.object(fields))
            }
            Some(Data::Summary(summary)) => {
                ("summary", style.object([("dataPoints", style.list(&summary.data_points))]))
            }
        };
        style.object([
            ("name", json!(self.name)),
            ("description", json!(self.description)),
            ("unit", json!(self.unit)),
            data,
            ("metadata", style.list(&self.metadata)),
        ])
    }
}

impl ToJson for ExportMetricsServiceRequest {
    fn to_json(&self, style: Style) -> Value {
        let resources = self.resource_metrics.iter().map(|group| {
            let scopes = group.scope_metrics.iter().map(|scope| {
                style.object([
                    ("scope", style.optional(scope.scope.as_ref())),
                    ("metrics", style.list(&scope.metrics)),
                    ("schemaUrl", json!(scope.schema_url)),
                ])
            });
            style.object([
                ("resource", style.optional(group.resource.as_ref())),
                ("scopeMetrics", scopes.collect()),
                ("schemaUrl", json!(group.schema_url)),
            ])
        });
        style.object([("resourceMetrics", resources.collect())])
    }
}
