//! Metrics of the shop: gauges, counters and histograms of every instance, round after round.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
};
use prost::Message;

use crate::{Plan, Request, Rng, shop, shop::text};

const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

pub(crate) struct Metrics {
    plan: Plan,
    rng: Rng,
    done: u64,
    round: u64,
    /// Which instance of which service is next.
    at: u64,
}

impl Metrics {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, rng: Rng::new(plan.seed ^ 0x3e7), done: 0, round: 0, at: 0 }
    }

    fn instance(&mut self, service: usize, instance: u64) -> ResourceMetrics {
        let time = self.plan.time(self.done);
        let start = self.plan.start_ns;
        let mut gauges = Vec::new();
        let mut counters = Vec::new();
        let mut histograms = Vec::new();
        for route in shop::ROUTES {
            let attributes = vec![text("http.route", route), text("http.request.method", "GET")];
            gauges.push(NumberDataPoint {
                attributes: attributes.clone(),
                time_unix_nano: time,
                value: Some(Value::AsDouble((self.rng.long_tail(5.0) * 100.0).round() / 100.0)),
                ..NumberDataPoint::default()
            });
            counters.push(NumberDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                value: Some(Value::AsInt((self.round * 100 + self.rng.below(100)) as i64)),
                ..NumberDataPoint::default()
            });
            let bucket_counts: Vec<u64> = (0..=BOUNDS.len() as u64).map(|n| self.round * (n + 1)).collect();
            histograms.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count: bucket_counts.iter().sum(),
                sum: Some(self.round as f64 * 3.5),
                bucket_counts,
                explicit_bounds: BOUNDS.to_vec(),
                ..HistogramDataPoint::default()
            });
        }
        self.done += 3 * shop::ROUTES.len() as u64;
        let cumulative = AggregationTemporality::Cumulative as i32;
        let metrics = vec![
            metric("http.server.active_requests", "{request}", Data::Gauge(Gauge { data_points: gauges })),
            metric(
                "http.server.requests",
                "{request}",
                Data::Sum(Sum { data_points: counters, aggregation_temporality: cumulative, is_monotonic: true }),
            ),
            metric(
                "http.server.request.duration",
                "s",
                Data::Histogram(Histogram { data_points: histograms, aggregation_temporality: cumulative }),
            ),
        ];
        ResourceMetrics {
            resource: Some(shop::resource(service, instance)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(shop::scope("io.opentelemetry.http")),
                metrics,
                ..ScopeMetrics::default()
            }],
            schema_url: shop::SCHEMA_URL.to_owned(),
        }
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

impl Iterator for Metrics {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let before = self.done;
        let mut resource_metrics = Vec::new();
        while self.done - before < self.plan.batch && self.done < self.plan.records {
            let service = (self.at % shop::SERVICES.len() as u64) as usize;
            let instance = self.at / shop::SERVICES.len() as u64 % shop::INSTANCES;
            resource_metrics.push(self.instance(service, instance));
            self.at += 1;
            self.round = self.at / (shop::SERVICES.len() as u64 * shop::INSTANCES);
        }
        if resource_metrics.is_empty() {
            return None;
        }
        let records = self.done - before;
        Some(Request { body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(), records })
    }
}
