//! Requests, small and valid, to be changed by a test.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;

/// 2026-01-01T00:00:00Z.
pub(crate) const TIME: u64 = 1_767_225_600_000_000_000;

pub(crate) fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(value.into())) }
}

pub(crate) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

pub(crate) fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![attribute("service.name", text(service))];
    Some(Resource { attributes, ..Resource::default() })
}

pub(crate) fn log(body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: TIME,
        observed_time_unix_nano: TIME + 1,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(text(body)),
        ..LogRecord::default()
    }
}

pub(crate) fn logs(records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource("shop"), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

pub(crate) fn span(name: &str) -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        name: name.into(),
        kind: 2,
        start_time_unix_nano: TIME,
        end_time_unix_nano: TIME + 5,
        ..Span::default()
    }
}

pub(crate) fn spans(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource("shop"), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

pub(crate) fn point(value: f64) -> NumberDataPoint {
    let value = Some(number_data_point::Value::AsDouble(value));
    NumberDataPoint { time_unix_nano: TIME, value, ..NumberDataPoint::default() }
}

pub(crate) fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: "1".into(), data: Some(data), ..Metric::default() }
}

pub(crate) fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points: points }))
}

pub(crate) fn sum(name: &str, temporality: AggregationTemporality, value: f64) -> Metric {
    let sum = Sum { data_points: vec![point(value)], aggregation_temporality: temporality.into(), is_monotonic: true };
    metric(name, Data::Sum(sum))
}

pub(crate) fn histogram(name: &str, points: Vec<HistogramDataPoint>) -> Metric {
    metric(name, Data::Histogram(Histogram { data_points: points, aggregation_temporality: 2 }))
}

pub(crate) fn exponential(name: &str, points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let histogram = ExponentialHistogram { data_points: points, aggregation_temporality: 2 };
    metric(name, Data::ExponentialHistogram(histogram))
}

pub(crate) fn metrics(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource = resource("shop");
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A JSON request with these records, as JSON.
pub(crate) fn json_logs(records: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
}

pub(crate) fn json_spans(spans: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

pub(crate) fn json_metrics(metrics: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#)
}

/// A protobuf field with a length.
pub(crate) fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(contents.len() as u64, &mut out);
    out.extend_from_slice(contents);
    out
}
