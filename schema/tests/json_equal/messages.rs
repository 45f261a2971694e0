//! Any OTLP request.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
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
use proptest::{collection::vec, option, prelude::*};

use crate::writer::Style;

pub(crate) fn style() -> impl Strategy<Value = Style> {
    any::<(bool, bool, bool, bool, bool)>().prop_map(
        |(numbers_in_strings, doubles_in_strings, upper_case_ids, url_safe, noise)| Style {
            numbers_in_strings,
            doubles_in_strings,
            upper_case_ids,
            url_safe,
            noise,
        },
    )
}

/// Without the payloads of NaN, which JSON cannot say, and without -0, which prost takes for a default.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_map(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        prop::sample::select(vec![0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, f64::MIN_POSITIVE])
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.]{0,8}", ".{0,8}", Just("\0\u{1f}\"\\\u{ffff}😀".to_owned())]
}

fn long() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 1_700_000_000_000_000_000u64..1_700_000_001_000_000_000]
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), vec(any::<u8>(), length)]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|v| Some(Value::StringValue(v))),
        any::<bool>().prop_map(|v| Some(Value::BoolValue(v))),
        any::<i64>().prop_map(|v| Some(Value::IntValue(v))),
        double().prop_map(|v| Some(Value::DoubleValue(v))),
        vec(any::<u8>(), 0..5).prop_map(|v| Some(Value::BytesValue(v))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec((text(), option::of(inner)), 0..3).prop_map(|entries| {
                let values = entries.into_iter().map(|(key, value)| KeyValue { key, value, key_strindex: 0 }).collect();
                Value::KvlistValue(KeyValueList { values })
            })
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (text(), option::of(any_value())).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
    vec(attribute, 0..4)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of((attributes(), any::<u32>()).prop_map(|(attributes, dropped_attributes_count)| Resource {
        attributes,
        dropped_attributes_count,
        entity_refs: Vec::new(),
    }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of((text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    ))
}

pub(crate) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (
        (long(), long(), any::<i32>(), text(), option::of(any_value())),
        (attributes(), any::<u32>(), any::<u32>(), id(16), id(8), text()),
    )
        .prop_map(|(first, second)| LogRecord {
            time_unix_nano: first.0,
            observed_time_unix_nano: first.1,
            severity_number: first.2,
            severity_text: first.3,
            body: first.4,
            attributes: second.0,
            dropped_attributes_count: second.1,
            flags: second.2,
            trace_id: second.3,
            span_id: second.4,
            event_name: second.5,
        });
    let scopes = (scope(), vec(record, 0..3), text()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope,
        log_records,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    vec(resources, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn span() -> impl Strategy<Value = Span> {
    let event = (long(), text(), attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (id(16), id(8), text(), attributes(), any::<u32>(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    );
    let status = option::of((text(), 0..4i32).prop_map(|(message, code)| Status { message, code }));
    (
        (id(16), id(8), text(), id(8), text(), any::<i32>(), long(), long()),
        (
            attributes(),
            any::<u32>(),
            vec(event, 0..3),
            any::<u32>(),
            vec(link, 0..3),
            any::<u32>(),
            status,
            any::<u32>(),
        ),
    )
        .prop_map(|(first, second)| Span {
            trace_id: first.0,
            span_id: first.1,
            trace_state: first.2,
            parent_span_id: first.3,
            name: first.4,
            kind: first.5,
            start_time_unix_nano: first.6,
            end_time_unix_nano: first.7,
            attributes: second.0,
            dropped_attributes_count: second.1,
            events: second.2,
            dropped_events_count: second.3,
            links: second.4,
            dropped_links_count: second.5,
            status: second.6,
            flags: second.7,
        })
}

pub(crate) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scopes = (scope(), vec(span(), 0..3), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resources, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let value =
        prop_oneof![double().prop_map(exemplar::Value::AsDouble), any::<i64>().prop_map(exemplar::Value::AsInt)];
    let exemplar = (attributes(), long(), id(8), id(16), option::of(value)).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    vec(exemplar, 0..3)
}

fn numbers() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = prop_oneof![
        double().prop_map(number_data_point::Value::AsDouble),
        any::<i64>().prop_map(number_data_point::Value::AsInt)
    ];
    let point = (attributes(), long(), long(), exemplars(), any::<u32>(), option::of(value)).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            flags,
            value,
        },
    );
    vec(point, 0..3)
}

fn histograms() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let point = (
        (attributes(), long(), long(), long(), option::of(double()), vec(long(), 0..4)),
        (vec(double(), 0..4), exemplars(), any::<u32>(), option::of(double()), option::of(double())),
    )
        .prop_map(|(first, second)| HistogramDataPoint {
            attributes: first.0,
            start_time_unix_nano: first.1,
            time_unix_nano: first.2,
            count: first.3,
            sum: first.4,
            bucket_counts: first.5,
            explicit_bounds: second.0,
            exemplars: second.1,
            flags: second.2,
            min: second.3,
            max: second.4,
        });
    vec(point, 0..3)
}

fn exponential_histograms() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets = || {
        let buckets = (any::<i32>(), vec(long(), 0..4));
        option::of(buckets.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let point = (
        (attributes(), long(), long(), long(), option::of(double()), any::<i32>(), long()),
        (buckets(), buckets(), any::<u32>(), exemplars(), option::of(double()), option::of(double()), double()),
    )
        .prop_map(|(first, second)| ExponentialHistogramDataPoint {
            attributes: first.0,
            start_time_unix_nano: first.1,
            time_unix_nano: first.2,
            count: first.3,
            sum: first.4,
            scale: first.5,
            zero_count: first.6,
            positive: second.0,
            negative: second.1,
            flags: second.2,
            exemplars: second.3,
            min: second.4,
            max: second.5,
            zero_threshold: second.6,
        });
    vec(point, 0..3)
}

fn summaries() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let quantile = (double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let point = (attributes(), long(), long(), long(), double(), vec(quantile, 0..3), any::<u32>()).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, count, sum, quantile_values, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count,
            sum,
            quantile_values,
            flags,
        },
    );
    vec(point, 0..3)
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        numbers().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (numbers(), any::<i32>(), any::<bool>()).prop_map(|(data_points, aggregation_temporality, is_monotonic)| {
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        }),
        (histograms(), any::<i32>()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (exponential_histograms(), any::<i32>()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        summaries().prop_map(|data_points| Data::Summary(Summary { data_points })),
    ]
}

pub(crate) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric = (text(), text(), text(), attributes(), option::of(data()))
        .prop_map(|(name, description, unit, metadata, data)| Metric { name, description, unit, metadata, data });
    let scopes = (scope(), vec(metric, 0..3), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
        scope,
        metrics,
        schema_url,
    });
    let resources = (resource(), vec(scopes, 0..3), text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(resources, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
