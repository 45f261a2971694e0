//! How many records a second of one core decodes, next to what prost does to build its tree of messages.
//!
//! `cargo bench -p devmesh-schema`. The requests are those that an OpenTelemetry Collector sends of a web shop: batches
//! of 1000 records, 13 resource attributes, 17 attributes a log record (about 700 bytes), the same in every run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark's output is what it prints")]

use std::{fs, hint::black_box, time::Instant};

use devmesh_schema::{
    IngestPath, Signal,
    concat::concat,
    otlp::{Context, decode, encode},
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message;

const START: u64 = 1_795_262_400_000_000_000;
/// Records of a request, in as many groups.
const RECORDS: usize = 1000;
const GROUPS: usize = 4;
/// Nanoseconds that each measurement runs at least.
const LONG_ENOUGH: u64 = 2_000_000_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.next() as usize % values.len()]
    }

    fn id<const N: usize>(&mut self) -> Vec<u8> {
        (0..N).map(|_| self.next() as u8 | 1).collect()
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFF,
            b >> 52,
            b & 0xFFFF_FFFF_FFFF
        )
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn resource(group: usize) -> Option<Resource> {
    let service = ["frontend", "cart", "checkout", "payment"][group % 4];
    let attributes = vec![
        text("service.name", service),
        text("service.namespace", "shop"),
        text("service.version", "2.3.1"),
        text("service.instance.id", format!("{service}-7d9f8b6c5-x2x{group}")),
        text("deployment.environment.name", "production"),
        text("host.name", format!("node-{group}")),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", format!("{service}-7d9f8b6c5-x2x{group}")),
        text("k8s.deployment.name", service),
        text("k8s.node.name", format!("node-{group}")),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.54.0"),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "shop.http".into(), version: "1.4.0".into(), ..Default::default() })
}

fn request_attributes(random: &mut Random) -> Vec<KeyValue> {
    let route = random.of(&["/api/cart", "/api/checkout", "/api/products/{id}", "/api/recommendations"]);
    let status = [200, 200, 200, 200, 201, 204, 404, 500][random.next() as usize % 8];
    vec![
        text("http.request.method", random.of(&["GET", "GET", "POST"])),
        text("http.route", route),
        text("url.path", format!("{route}?page={}", random.next() % 50)),
        int("http.response.status_code", status),
        text("client.address", format!("10.{}.{}.{}", random.next() % 256, random.next() % 256, random.next() % 256)),
        text("user_agent.original", random.of(&["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.9.1", "okhttp/4.12.0"])),
        text("session.id", random.uuid()),
        text("enduser.id", format!("u{}", random.next() % 100_000)),
        int("http.response.body.size", (random.next() % 20_000) as i64),
        attribute("duration_ms", Value::DoubleValue((random.next() % 1_000_000) as f64 / 1000.0)),
    ]
}

fn logs(random: &mut Random) -> Vec<u8> {
    let record = |random: &mut Random, i: usize| {
        let mut attributes = request_attributes(random);
        attributes.extend([
            text("thread.name", format!("worker-{}", random.next() % 16)),
            int("thread.id", (random.next() % 16) as i64),
            text("code.function.name", "com.shop.web.RequestLog.after"),
            int("code.line.number", 118),
            text("log.logger", "com.shop.web.RequestLog"),
            text("feature.flag", random.of(&["on", "off"])),
            attribute("cache.hit", Value::BoolValue(random.next().is_multiple_of(2))),
        ]);
        let body = format!("request {} finished with {} in {} ms", random.next() % 1_000_000, 200, random.next() % 900);
        LogRecord {
            time_unix_nano: START + i as u64 * 1_000_000,
            observed_time_unix_nano: START + i as u64 * 1_000_000 + 500,
            severity_number: 9,
            severity_text: "INFO".into(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes,
            flags: 1,
            trace_id: random.id::<16>(),
            span_id: random.id::<8>(),
            ..Default::default()
        }
    };
    let group = |group: usize| {
        let log_records = (0..RECORDS / GROUPS).map(|i| record(random, i)).collect();
        let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..Default::default() }];
        ResourceLogs { resource: resource(group), scope_logs, ..Default::default() }
    };
    ExportLogsServiceRequest { resource_logs: (0..GROUPS).map(group).collect() }.encode_to_vec()
}

fn spans(random: &mut Random) -> Vec<u8> {
    let span = |random: &mut Random, i: usize| {
        let start = START + i as u64 * 1_000_000;
        let failed = i.is_multiple_of(20);
        let event = Event {
            time_unix_nano: start + 5,
            name: "exception".into(),
            attributes: vec![text("exception.type", "java.io.IOException"), text("exception.message", "broken pipe")],
            ..Default::default()
        };
        let mut attributes = request_attributes(random);
        attributes.extend([
            text("server.address", "shop.example.com"),
            int("server.port", 443),
            text("network.protocol.version", "1.1"),
            text("url.scheme", "https"),
        ]);
        Span {
            trace_id: random.id::<16>(),
            span_id: random.id::<8>(),
            parent_span_id: if i.is_multiple_of(5) { Vec::new() } else { random.id::<8>() },
            name: random.of(&["GET /api/cart", "POST /api/checkout", "cart.add", "SELECT orders"]).into(),
            kind: 1 + (random.next() % 3) as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: start + random.next() % 1_000_000_000,
            attributes,
            flags: 0x101,
            events: if failed { vec![event] } else { Vec::new() },
            status: Some(Status { code: if failed { 2 } else { 0 }, ..Default::default() }),
            ..Default::default()
        }
    };
    let group = |group: usize| {
        let spans = (0..RECORDS / GROUPS).map(|i| span(random, i)).collect();
        let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..Default::default() }];
        ResourceSpans { resource: resource(group), scope_spans, ..Default::default() }
    };
    ExportTraceServiceRequest { resource_spans: (0..GROUPS).map(group).collect() }.encode_to_vec()
}

fn metrics(random: &mut Random) -> Vec<u8> {
    let labels = |random: &mut Random| {
        vec![
            text("http.request.method", random.of(&["GET", "POST"])),
            text("http.route", random.of(&["/api/cart", "/api/checkout", "/api/products/{id}"])),
            int("http.response.status_code", 200),
        ]
    };
    let sum = |random: &mut Random, i: usize| NumberDataPoint {
        attributes: labels(random),
        start_time_unix_nano: START - 60_000_000_000,
        time_unix_nano: START + i as u64,
        value: Some(number_data_point::Value::AsInt((random.next() % 1_000_000) as i64)),
        ..Default::default()
    };
    let histogram = |random: &mut Random, i: usize| HistogramDataPoint {
        attributes: labels(random),
        start_time_unix_nano: START - 60_000_000_000,
        time_unix_nano: START + i as u64,
        count: 160,
        sum: Some(12.5),
        bucket_counts: (0..16).map(|_| random.next() % 20).collect(),
        explicit_bounds: (1..16).map(f64::from).collect(),
        min: Some(0.1),
        max: Some(99.0),
        ..Default::default()
    };
    let group = |group: usize| {
        let metric =
            |name: &str, data| Metric { name: name.into(), unit: "1".into(), data: Some(data), ..Default::default() };
        let mut metrics = Vec::new();
        for i in 0..RECORDS / GROUPS / 10 {
            let data_points = (0..5).map(|i| sum(random, i)).collect();
            let data = Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true });
            metrics.push(metric(&format!("http.server.requests.{i}"), data));
            let data_points = (0..5).map(|i| histogram(random, i)).collect();
            let data = Data::Histogram(Histogram { data_points, aggregation_temporality: 2 });
            metrics.push(metric(&format!("http.server.duration.{i}"), data));
        }
        let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..Default::default() }];
        ResourceMetrics { resource: resource(group), scope_metrics, ..Default::default() }
    };
    ExportMetricsServiceRequest { resource_metrics: (0..GROUPS).map(group).collect() }.encode_to_vec()
}

/// Nanoseconds that this thread has had a core; where the system does not tell, those that have passed.
fn cpu_time(since: Instant) -> u64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.unwrap_or_else(|| since.elapsed().as_nanos() as u64)
}

/// Runs `work`, which does `records` records, for long enough; prints how many it does in a CPU second.
fn measure(name: &str, records: usize, bytes: usize, mut work: impl FnMut()) {
    work();
    let clock = Instant::now();
    let start = cpu_time(clock);
    let mut rounds = 0u64;
    let spent = loop {
        for _ in 0..20 {
            work();
        }
        rounds += 20;
        let spent = cpu_time(clock) - start;
        if spent >= LONG_ENOUGH {
            break spent;
        }
    };
    let rate = rounds as f64 * records as f64 * 1e9 / spent as f64;
    let megabytes = rounds as f64 * bytes as f64 * 1e3 / spent as f64;
    println!("{name:32} {rate:>12.0} records/s {megabytes:>8.0} MB/s");
}

fn main() {
    let context = Context { path: IngestPath::Collector, received: START as i64 };
    let mut random = Random(7);
    for signal in Signal::ALL {
        let make = match signal {
            Signal::Logs => logs,
            Signal::Traces => spans,
            Signal::Metrics => metrics,
        };
        let requests: Vec<Vec<u8>> = (0..8).map(|_| make(&mut random)).collect();
        let bytes: usize = requests.iter().map(Vec::len).sum();
        let batches: Vec<_> = requests.iter().map(|r| decode(signal, r, context).unwrap().rows).collect();
        let records: usize = batches.iter().map(|rows| rows.num_rows()).sum();
        println!("{signal}: {} bytes a record", bytes / records);
        measure(&format!("{signal} decode"), records, bytes, || {
            for request in &requests {
                black_box(decode(signal, request, context).unwrap());
            }
        });
        measure(&format!("{signal} prost decode"), records, bytes, || {
            for request in &requests {
                match signal {
                    Signal::Logs => drop(black_box(ExportLogsServiceRequest::decode(&**request).unwrap())),
                    Signal::Traces => drop(black_box(ExportTraceServiceRequest::decode(&**request).unwrap())),
                    Signal::Metrics => drop(black_box(ExportMetricsServiceRequest::decode(&**request).unwrap())),
                }
            }
        });
        measure(&format!("{signal} encode"), records, bytes, || {
            for rows in &batches {
                black_box(encode(signal, rows).unwrap());
            }
        });
        measure(&format!("{signal} concat"), records, bytes, || {
            black_box(concat(signal, &batches.iter().collect::<Vec<_>>()).unwrap());
        });
    }
}
