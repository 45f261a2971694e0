//! One table for each rule about metrics.

use arrow_array::RecordBatch;
use devmesh_schema::{
    Signal, limits,
    otlp::{Decoded, decode, encode, wire::put_bytes},
    stored,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point::Value,
        summary_data_point::ValueAtQuantile,
    },
};
use prost::Message;

use crate::{
    RECEIVED, context,
    rules::{cell, time, wire_time},
};

fn metric(name: &str, data: Option<Data>) -> Decoded {
    let metrics = vec![Metric { name: name.into(), data, ..Default::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    decode(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(), context()).unwrap()
}

fn back(rows: &RecordBatch) -> Data {
    let mut request = ExportMetricsServiceRequest::decode(&*encode(Signal::Metrics, rows).unwrap()).unwrap();
    request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0).data.unwrap()
}

fn gauge(point: NumberDataPoint) -> Option<Data> {
    Some(Data::Gauge(Gauge { data_points: vec![point] }))
}

fn histogram(point: HistogramDataPoint) -> Option<Data> {
    Some(Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 }))
}

fn exponential(point: ExponentialHistogramDataPoint) -> Option<Data> {
    Some(Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 }))
}

fn summary(quantile: f64) -> Option<Data> {
    let quantile_values = vec![ValueAtQuantile { quantile, value: 1.0 }];
    Some(Data::Summary(Summary { data_points: vec![SummaryDataPoint { quantile_values, ..Default::default() }] }))
}

fn buckets(bucket_counts: Vec<u64>, explicit_bounds: Vec<f64>) -> Option<Data> {
    histogram(HistogramDataPoint { bucket_counts, explicit_bounds, count: 3, ..Default::default() })
}

fn number(start: u64, time: u64) -> Option<Data> {
    gauge(NumberDataPoint { start_time_unix_nano: start, time_unix_nano: time, ..Default::default() })
}

#[test]
fn points_that_cannot_be_stored_are_rejected_with_a_reason() {
    let future = RECEIVED as u64 + 600_000_000_000;
    let scale = |scale| exponential(ExponentialHistogramDataPoint { scale, ..Default::default() });
    let offset = |offset, n| {
        let positive = Some(Buckets { offset, bucket_counts: vec![1; n] });
        exponential(ExponentialHistogramDataPoint { positive, ..Default::default() })
    };
    let table = [
        ("", number(1, 2), Some("name")),
        (&"m".repeat(limits::METRIC_NAME_BYTES), number(1, 2), None),
        (&"m".repeat(limits::METRIC_NAME_BYTES + 1), number(1, 2), Some("name")),
        ("m", number(1, future), None),
        ("m", number(1, future + 1), Some("too_far_in_future")),
        ("m", number(1, u64::MAX), Some("too_far_in_future")),
        ("m", number(3, 2), Some("bad_interval")),
        ("m", number(3, 0), None),
        ("m", buckets(vec![], vec![]), None),
        ("m", buckets(vec![3], vec![]), None),
        ("m", buckets(vec![1, 2], vec![0.5]), None),
        ("m", buckets(vec![1, 9], vec![0.5]), None),
        ("m", buckets(vec![u64::MAX, u64::MAX], vec![0.5]), None),
        ("m", buckets(vec![1, 2, 3], vec![0.5, 0.25]), Some("bad_histogram")),
        ("m", buckets(vec![1, 2, 3], vec![0.5, 0.5]), Some("bad_histogram")),
        ("m", buckets(vec![1, 2], vec![f64::NAN]), Some("bad_histogram")),
        ("m", buckets(vec![1, 2], vec![f64::INFINITY]), None),
        ("m", buckets(vec![1], vec![0.5]), Some("bad_histogram")),
        ("m", buckets(vec![], vec![0.5]), Some("bad_histogram")),
        ("m", scale(-10), None),
        ("m", scale(20), None),
        ("m", scale(-11), Some("bad_histogram")),
        ("m", scale(21), Some("bad_histogram")),
        ("m", scale(i32::MIN), Some("bad_histogram")),
        ("m", scale(i32::MAX), Some("bad_histogram")),
        ("m", offset(i32::MIN, 3), None),
        ("m", offset(i32::MAX, 3), Some("bad_histogram")),
        ("m", buckets(vec![0; limits::BUCKETS], (1..limits::BUCKETS).map(|i| i as f64).collect()), None),
        (
            "m",
            buckets(vec![0; limits::BUCKETS + 1], (0..limits::BUCKETS).map(|i| i as f64).collect()),
            Some("bad_histogram"),
        ),
        ("m", offset(0, limits::BUCKETS), None),
        ("m", offset(0, limits::BUCKETS * 2), Some("bad_histogram")),
        ("m", summary(0.0), None),
        ("m", summary(1.0), None),
        ("m", summary(1.5), Some("bad_summary")),
        ("m", summary(f64::NAN), Some("bad_summary")),
        ("m", None, None),
    ];
    for (name, data, reason) in table {
        let text: String = format!("{data:?}").chars().take(300).collect();
        let points = usize::from(data.is_some());
        let decoded = metric(name, data);
        assert_eq!(decoded.rejections.first().map(|r| r.reason), reason, "{name} {text}");
        assert_eq!(decoded.rows.num_rows(), points - decoded.rejected as usize);
    }
}

#[test]
fn a_point_without_time_has_that_of_receipt() {
    let rows = metric("m", number(0, 0)).rows;
    assert_eq!((time(&rows), wire_time(&rows)), (RECEIVED, Some(0)));
}

#[test]
fn numbers_keep_their_type_and_their_bits() {
    let stale = f64::from_bits(0x7FF0_0000_0000_0002);
    for value in [f64::NAN, stale, f64::INFINITY, -0.0, 5e-324, 1.5] {
        let point = NumberDataPoint { time_unix_nano: 1, value: Some(Value::AsDouble(value)), ..Default::default() };
        let rows = metric("m", gauge(point.clone())).rows;
        assert_eq!(back(&rows).encode_data(), gauge(point).unwrap().encode_data());
    }
    for value in [i64::MIN, 0, i64::MAX] {
        let point = NumberDataPoint { time_unix_nano: 1, value: Some(Value::AsInt(value)), ..Default::default() };
        let rows = metric("m", gauge(point)).rows;
        assert_eq!(cell(&rows, stored::VALUE_INT).unwrap(), value.to_string());
    }
    let rows = metric("m", gauge(NumberDataPoint { time_unix_nano: 1, flags: 1, ..Default::default() })).rows;
    assert_eq!((cell(&rows, stored::VALUE_INT), cell(&rows, stored::VALUE_DOUBLE)), (None, None));
    assert_eq!(cell(&rows, stored::FLAGS).as_deref(), Some("1"));
}

trait EncodeData {
    fn encode_data(&self) -> Vec<u8>;
}

impl EncodeData for Data {
    fn encode_data(&self) -> Vec<u8> {
        Metric { data: Some(self.clone()), ..Default::default() }.encode_to_vec()
    }
}

#[test]
fn each_kind_has_its_name_and_its_columns() {
    let sum = Some(Data::Sum(Sum { data_points: vec![NumberDataPoint::default()], ..Default::default() }));
    let table = [
        (number(0, 1), "gauge", false),
        (sum, "sum", false),
        (buckets(vec![], vec![]), "histogram", true),
        (exponential(ExponentialHistogramDataPoint::default()), "exponential_histogram", true),
        (summary(0.5), "summary", true),
    ];
    for (data, kind, counts) in table {
        let rows = metric("m", data.clone()).rows;
        assert_eq!(cell(&rows, stored::KIND).as_deref(), Some(kind));
        assert_eq!(cell(&rows, stored::NAME).as_deref(), Some("m"));
        assert_eq!(cell(&rows, "count").is_some(), counts, "{kind}");
        assert_eq!(cell(&rows, "min"), None);
        assert_eq!(back(&rows), data.unwrap());
    }
}

#[test]
fn an_exemplar_loses_ids_that_are_none_and_nothing_else() {
    let with = |trace_id: Vec<u8>, span_id: Vec<u8>| NumberDataPoint {
        time_unix_nano: 1,
        exemplars: vec![Exemplar { trace_id, span_id, value: Some(exemplar::Value::AsInt(7)), ..Default::default() }],
        ..Default::default()
    };
    for (sent, kept) in [
        (with(vec![1; 16], vec![2; 8]), with(vec![1; 16], vec![2; 8])),
        (with(vec![1; 15], vec![2; 8]), with(vec![], vec![2; 8])),
        (with(vec![1; 16], vec![2; 9]), with(vec![1; 16], vec![])),
        (with(vec![], vec![]), with(vec![], vec![])),
    ] {
        assert_eq!(back(&metric("m", gauge(sent)).rows), gauge(kept).unwrap());
    }
}

#[test]
fn the_points_of_a_rejected_metric_are_counted_one_by_one() {
    let data = Some(Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); 3] }));
    let decoded = metric("", data);
    assert_eq!((decoded.rejected, decoded.rejections.iter().map(|r| r.index).collect::<Vec<_>>()), (3, vec![0, 1, 2]));
}

#[test]
fn of_two_kinds_the_last_wins_and_parts_of_one_kind_are_merged() {
    let one = |point: i64| {
        let value = Some(Value::AsInt(point));
        Metric { data: gauge(NumberDataPoint { time_unix_nano: 1, value, ..Default::default() }), ..Default::default() }
    };
    let mut bytes = one(1).encode_to_vec();
    bytes.extend(Metric { name: "m".into(), data: buckets(vec![3], vec![]), ..Default::default() }.encode_to_vec());
    bytes.extend(one(2).encode_to_vec());
    bytes.extend(one(3).encode_to_vec());
    let expected = Metric::decode(&*bytes).unwrap();
    for _ in 0..2 {
        let inner = std::mem::take(&mut bytes);
        put_bytes(&mut bytes, 2, &inner);
    }
    let inner = std::mem::take(&mut bytes);
    put_bytes(&mut bytes, 1, &inner);
    let decoded = decode(Signal::Metrics, &bytes, context()).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.rejected), (2, 0));
    assert_eq!(Some(back(&decoded.rows)), expected.data);
}

#[test]
fn exemplars_beyond_the_limit_are_dropped() {
    let exemplars = vec![Exemplar::default(); limits::SPAN_CHILDREN + 3];
    let decoded = metric("m", gauge(NumberDataPoint { time_unix_nano: 1, exemplars, ..Default::default() }));
    let Data::Gauge(gauge) = back(&decoded.rows) else { panic!("no gauge") };
    assert_eq!(gauge.data_points[0].exemplars.len(), limits::SPAN_CHILDREN);
}
