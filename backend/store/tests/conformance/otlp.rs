//! Requests to write, and what they hold.

use bytes::Bytes;
use devmesh_schema::{Batch, IngestPath, Signal};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message;

/// A time on 2026-11-20, 00:00 UTC.
pub(crate) const BASE: i64 = 1_795_132_800_000_000_000;

pub(crate) fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(crate) fn attribute(key: &str, of: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value(of)), ..Default::default() }
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(crate) fn uuid(n: u64) -> String {
    let n = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Uuid::from_u128(n).hyphenated().to_string()
}

pub(crate) fn trace_id(n: u64) -> Vec<u8> {
    let n = u128::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    n.to_be_bytes().to_vec()
}

/// Log record number `n`: its time is `BASE + n`, and its body names it.
pub(crate) fn record(n: u64) -> LogRecord {
    LogRecord {
        time_unix_nano: BASE as u64 + n,
        observed_time_unix_nano: BASE as u64 + n + 5,
        severity_number: (n % 24 + 1) as i32,
        severity_text: "Info".into(),
        body: Some(AnyValue { value: Some(Value::StringValue(format!("Request number {n} failed: needle{n}"))) }),
        attributes: vec![
            text("request.id", uuid(n)),
            text("http.route", format!("/api/{}", n % 7)),
            text("session", format!("s-{}", n / 2)),
            attribute("duration", Value::IntValue(n as i64 * 3)),
            attribute("ratio", Value::DoubleValue(n as f64 / 7.0)),
            attribute("ok", Value::BoolValue(n.is_multiple_of(2))),
            attribute(
                "list",
                Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(n as i64)) }] }),
            ),
        ],
        trace_id: if n.is_multiple_of(3) { Vec::new() } else { trace_id(n) },
        span_id: if n.is_multiple_of(3) { Vec::new() } else { trace_id(n)[..8].to_vec() },
        flags: 1,
        ..Default::default()
    }
}

pub(crate) fn resource(service: &str) -> Resource {
    Resource { attributes: vec![text("service.name", service), text("host.name", "node-1")], ..Default::default() }
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "lib".into(), version: "1".into(), ..Default::default() }
}

/// Log records `numbers`, of two services.
pub(crate) fn logs(numbers: std::ops::Range<u64>) -> ExportLogsServiceRequest {
    let of = |service: u64, name: &str| ResourceLogs {
        resource: Some(resource(name)),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope()),
            log_records: numbers.clone().filter(|n| n % 2 == service).map(record).collect(),
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    let resource_logs = [of(0, "cart"), of(1, "shop")];
    ExportLogsServiceRequest {
        resource_logs: resource_logs.into_iter().filter(|r| !r.scope_logs[0].log_records.is_empty()).collect(),
    }
}

pub(crate) fn spans(numbers: std::ops::Range<u64>) -> ExportTraceServiceRequest {
    let span = |n: u64| Span {
        trace_id: trace_id(n / 4),
        span_id: trace_id(n)[..8].to_vec(),
        parent_span_id: if n.is_multiple_of(4) { Vec::new() } else { trace_id(n - n % 4)[..8].to_vec() },
        name: format!("GET /{}", n % 5),
        kind: (n % 6) as i32,
        start_time_unix_nano: BASE as u64 + n,
        end_time_unix_nano: BASE as u64 + n + 1_000,
        attributes: vec![text("user.id", uuid(n)), attribute("bytes", Value::IntValue(n as i64))],
        events: vec![Event {
            time_unix_nano: BASE as u64 + n + 1,
            name: "exception".into(),
            attributes: vec![text("exception.type", "Timeout")],
            dropped_attributes_count: 0,
        }],
        status: Some(Status { code: (n % 3) as i32, message: String::new() }),
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource("shop")),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: numbers.map(span).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

pub(crate) fn metrics(numbers: std::ops::Range<u64>) -> ExportMetricsServiceRequest {
    let gauge = |n: u64| Metric {
        name: format!("temperature.{}", n % 3),
        unit: "Cel".into(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: BASE as u64 + n,
                attributes: vec![text("room", format!("r{}", n % 4))],
                value: Some(number_data_point::Value::AsDouble(n as f64)),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let histogram = |n: u64| Metric {
        name: "latency".into(),
        data: Some(Data::Histogram(Histogram {
            aggregation_temporality: 2,
            data_points: vec![HistogramDataPoint {
                time_unix_nano: BASE as u64 + n,
                count: 3,
                sum: Some(4.5),
                bucket_counts: vec![1, 2, 0],
                explicit_bounds: vec![1.0, 2.0],
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource("shop")),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: numbers.map(|n| if n.is_multiple_of(2) { gauge(n) } else { histogram(n) }).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

pub(crate) fn batch(signal: Signal, request: &impl Message, id: Option<&str>) -> Batch {
    Batch {
        signal,
        id: id.map(|id| id.parse().unwrap()),
        path: IngestPath::Collector,
        received: BASE + 1_000_000_000,
        request: Bytes::from(request.encode_to_vec()),
    }
}

pub(crate) fn log_batch(numbers: std::ops::Range<u64>) -> Batch {
    batch(Signal::Logs, &logs(numbers), None)
}

/// The records of a request, each by itself with its resource and scope, in an order of its own.
pub(crate) fn items(signal: Signal, request: &[u8]) -> Vec<String> {
    let mut items = Vec::new();
    match signal {
        Signal::Logs => {
            for resource in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
                for scope in &resource.scope_logs {
                    let of = format!("{:?} {:?}", resource.resource, scope.scope);
                    items.extend(scope.log_records.iter().map(|record| format!("{of} {record:?}")));
                }
            }
        }
        Signal::Traces => {
            for resource in ExportTraceServiceRequest::decode(request).unwrap().resource_spans {
                for scope in &resource.scope_spans {
                    let of = format!("{:?} {:?}", resource.resource, scope.scope);
                    items.extend(scope.spans.iter().map(|span| format!("{of} {span:?}")));
                }
            }
        }
        Signal::Metrics => {
            for resource in ExportMetricsServiceRequest::decode(request).unwrap().resource_metrics {
                for scope in &resource.scope_metrics {
                    let of = format!("{:?} {:?}", resource.resource, scope.scope);
                    for metric in &scope.metrics {
                        let head = Metric { data: None, ..metric.clone() };
                        match metric.data.as_ref().unwrap() {
                            Data::Gauge(gauge) => {
                                items.extend(gauge.data_points.iter().map(|p| format!("{of} {head:?} {p:?}")));
                            }
                            Data::Histogram(histogram) => {
                                items.extend(histogram.data_points.iter().map(|p| format!("{of} {head:?} {p:?}")));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
            }
        }
    }
    items.sort();
    items
}
