//! A real OpenTelemetry Collector writes with its own exporter into our tables, beside us.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use devmesh_schema::{
    IngestPath, Signal, tables,
    view::{self, to_table},
};

use super::{
    RECEIVED, block, database_on, fresh_name, rows_of, scanned, seen,
    server::{Server, post, tool},
    single,
};
use crate::Scan;

struct Collector {
    child: Child,
    port: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Collector {
    /// A Collector that answers a request when ClickHouse has its records.
    fn start(server: &Server, database: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters:
  clickhouse:
    endpoint: http://127.0.0.1:{}
    database: {database}
    create_schema: false
    compress: none
    async_insert: false
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [clickhouse]}}
    traces: {{receivers: [otlp], exporters: [clickhouse]}}
    metrics: {{receivers: [otlp], exporters: [clickhouse]}}
",
            server.port
        );
        let mut child = Command::new(tool("collector/build/otelcol-test"))
            .arg("--config")
            .arg(format!("yaml:{config}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut said = String::new();
        loop {
            match receiver.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains("Everything is ready") => break,
                Ok(line) => said = said + &line + "\n",
                Err(error) => panic!("the Collector did not start ({error}):\n{said}"),
            }
        }
        // What it says later is shown with the test's own output.
        std::thread::spawn(move || receiver.iter().for_each(|line| println!("collector: {line}")));
        Self { child, port }
    }

    fn send(&self, signal: Signal, request: &[u8]) {
        let path = match signal {
            Signal::Logs => "/v1/logs",
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        };
        let (status, answer) = post(self.port, path, "application/x-protobuf", request);
        assert_eq!(status, 200, "{signal}: {answer}");
    }
}

/// Columns that the exporter does not keep.
const LOST: &[&str] = &["observed_time"];

/// A request with everything that the exporter keeps.
fn request(signal: Signal) -> Vec<u8> {
    use opentelemetry_proto::tonic::{
        collector::{
            logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
            trace::v1::ExportTraceServiceRequest,
        },
        common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{
            Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
            Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
            exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
            summary_data_point::ValueAtQuantile,
        },
        resource::v1::Resource,
        trace::v1::{
            ResourceSpans, ScopeSpans, Span, Status,
            span::{Event, Link},
        },
    };
    use prost::Message;
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.into())) };
    let attribute =
        |key: &str, value: &str| KeyValue { key: key.into(), value: Some(text(value)), ..KeyValue::default() };
    let attributes = || vec![attribute("http.route", "/cart"), attribute("it's", "a \\ 'quote'")];
    let resource = || {
        Some(Resource {
            attributes: vec![attribute("service.name", "cart"), attribute("host.name", "h1")],
            ..Resource::default()
        })
    };
    let scope = || Some(InstrumentationScope { name: "lib".into(), version: "1.2".into(), ..Default::default() });
    // Seconds: the exporter's own points have no more.
    let at = RECEIVED as u64;
    let (trace_id, span_id) = (vec![7; 16], vec![8; 8]);
    match signal {
        Signal::Logs => {
            let record = |n: u64| LogRecord {
                time_unix_nano: at + n,
                observed_time_unix_nano: at + n,
                severity_number: 17,
                severity_text: "Error".into(),
                body: Some(text(&format!("refused {n}"))),
                attributes: attributes(),
                flags: 1,
                trace_id: trace_id.clone(),
                span_id: span_id.clone(),
                event_name: "sold".into(),
                ..LogRecord::default()
            };
            let logs = ScopeLogs { scope: scope(), log_records: (0..5).map(record).collect(), ..ScopeLogs::default() };
            let resource_logs =
                vec![ResourceLogs { resource: resource(), scope_logs: vec![logs], ..Default::default() }];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
        Signal::Traces => {
            let event = Event { time_unix_nano: at, name: "e".into(), attributes: attributes(), ..Event::default() };
            let link = Link {
                trace_id: trace_id.clone(),
                span_id: span_id.clone(),
                trace_state: "a=b".into(),
                attributes: attributes(),
                ..Link::default()
            };
            let span = |n: u8| Span {
                trace_id: trace_id.clone(),
                span_id: vec![n + 1; 8],
                parent_span_id: if n == 0 { Vec::new() } else { vec![1; 8] },
                trace_state: "x=y".into(),
                name: "GET /cart".into(),
                kind: i32::from(n),
                start_time_unix_nano: at,
                end_time_unix_nano: at + u64::from(n),
                attributes: attributes(),
                events: vec![event.clone()],
                links: vec![link.clone()],
                status: Some(Status {
                    code: i32::from(n % 3),
                    message: if n % 3 == 2 { "no".into() } else { String::new() },
                }),
                ..Span::default()
            };
            let spans = ScopeSpans { scope: scope(), spans: (0..6).map(span).collect(), ..ScopeSpans::default() };
            let resource_spans =
                vec![ResourceSpans { resource: resource(), scope_spans: vec![spans], ..ResourceSpans::default() }];
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Metrics => {
            let exemplar = Exemplar {
                filtered_attributes: attributes(),
                time_unix_nano: at,
                span_id: span_id.clone(),
                trace_id: trace_id.clone(),
                value: Some(exemplar::Value::AsDouble(1.5)),
            };
            let number = NumberDataPoint {
                attributes: attributes(),
                start_time_unix_nano: at - 1_000_000_000,
                time_unix_nano: at,
                exemplars: vec![exemplar.clone()],
                value: Some(number_data_point::Value::AsDouble(2.5)),
                ..NumberDataPoint::default()
            };
            let histogram = HistogramDataPoint {
                attributes: attributes(),
                time_unix_nano: at,
                count: 3,
                sum: Some(4.5),
                bucket_counts: vec![1, 2],
                explicit_bounds: vec![1.0],
                exemplars: vec![exemplar.clone()],
                min: Some(0.5),
                max: Some(3.0),
                ..HistogramDataPoint::default()
            };
            let buckets = |offset| Some(Buckets { offset, bucket_counts: vec![1, 2] });
            let exponential = ExponentialHistogramDataPoint {
                attributes: attributes(),
                time_unix_nano: at,
                count: 6,
                sum: Some(4.5),
                scale: 2,
                zero_count: 0,
                positive: buckets(1),
                negative: buckets(-1),
                exemplars: vec![exemplar],
                min: Some(0.5),
                max: Some(3.0),
                ..ExponentialHistogramDataPoint::default()
            };
            let summary = SummaryDataPoint {
                attributes: attributes(),
                time_unix_nano: at,
                count: 3,
                sum: 4.5,
                quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }],
                ..SummaryDataPoint::default()
            };
            let data = [
                Data::Gauge(Gauge { data_points: vec![number.clone()] }),
                Data::Sum(Sum { data_points: vec![number], aggregation_temporality: 2, is_monotonic: true }),
                Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
                Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![exponential],
                    aggregation_temporality: 2,
                }),
                Data::Summary(Summary { data_points: vec![summary] }),
            ];
            let metric = |(n, data)| Metric {
                name: format!("metric.{n}"),
                description: "what".into(),
                unit: "ms".into(),
                data: Some(data),
                ..Metric::default()
            };
            let metrics = data.into_iter().enumerate().map(metric).collect();
            let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
            let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..Default::default() }];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
    }
}

/// A value as text; the entries of a map in the order of their keys, which is the exporter's.
fn in_order(value: &ArrayRef) -> String {
    let Some(map) = value.as_map_opt() else { return format!("{value:?}") };
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
    let mut entries: Vec<_> = keys.iter().zip(values).collect();
    entries.sort_unstable();
    format!("{entries:?}")
}

/// The columns that the exporter keeps, as users see them, in an order of their own.
fn shown(signal: Signal, rows: &[RecordBatch], lost: &[&str]) -> Vec<Vec<(String, String)>> {
    let one = |row: &RecordBatch| {
        let table = to_table(signal, row).unwrap();
        let columns = tables::columns(signal).iter().filter(|column| !lost.contains(&column.name));
        columns
            .map(|column| (column.name.to_owned(), in_order(table.column_by_name(column.name).unwrap())))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<_> = rows.iter().map(one).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collectors_exporter_writes_is_read_like_what_we_write() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    let collector = Collector::start(&server, &name);
    for signal in Signal::ALL {
        let request = request(signal);
        collector.send(signal, &request);
        let theirs = scanned(&*database, &Scan::all(signal), &seen(0)).await.unwrap();
        let ours = single(&rows_of(signal, &request, IngestPath::Collector));
        assert_eq!(theirs.len(), ours.len(), "{signal}");
        for (ours, theirs) in shown(signal, &ours, LOST).iter().zip(shown(signal, &theirs, LOST)) {
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_eq!(*ours, theirs, "{signal}");
            }
        }
        // Beside us: our own rows of the same tables come to them, in the exporter's form.
        database.insert(&block(signal, 1, vec![rows_of(signal, &request, IngestPath::Collector)])).await.unwrap();
        let both = scanned(&*database, &Scan::all(signal), &seen(1)).await.unwrap();
        assert_eq!(both.len(), 2 * ours.len(), "{signal}");
    }
    for table in super::super::columns::Table::of(Signal::Metrics)
        .iter()
        .chain([&super::super::columns::Table::Logs, &super::super::columns::Table::Traces])
    {
        let described = server.ask(&name, &format!("DESCRIBE TABLE {} FORMAT TabSeparatedRaw", table.name()));
        let theirs: Vec<(&str, &str)> = described
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>())
            .filter(|column| column[2].is_empty())
            .map(|column| (column[0], column[1]))
            .collect();
        assert!(theirs.len() > 15, "{}", table.name());
        for (column, kind) in theirs {
            let value = match kind {
                "Map(LowCardinality(String), String)" => format!("mapSort(`{column}`)"),
                "Array(Map(LowCardinality(String), String))" => format!("arrayMap(map -> mapSort(map), `{column}`)"),
                _ => format!("`{column}`"),
            };
            // Each row is there twice, once from the exporter and once from us.
            let sql = format!(
                "SELECT count() FROM (SELECT count() AS n FROM {} GROUP BY toString({value}) HAVING n % 2 = 1)",
                table.name()
            );
            assert_eq!(
                server.ask(&name, &sql).trim(),
                "0",
                "{}.{column} is not as the exporter writes it",
                table.name()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_of_the_exporter_are_filtered_like_ours() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    Collector::start(&server, &name).send(Signal::Logs, &request(Signal::Logs));
    let filter = crate::Filter::Attribute { key: "it's".into(), value: "a \\ 'quote'".into() };
    let scan = Scan { filters: vec![filter], newest_first: true, limit: Some(2), ..Scan::all(Signal::Logs) };
    let rows = scanned(&*database, &scan, &seen(0)).await.unwrap();
    let bodies: Vec<String> = rows
        .iter()
        .map(|row| {
            let body = arrow_cast::cast(&view::derive(Signal::Logs, "body", row).unwrap(), &DataType::Utf8).unwrap();
            assert!(body.is_valid(0));
            body.as_string::<i32>().value(0).to_owned()
        })
        .collect();
    assert_eq!(bodies, ["refused 4", "refused 3"]);
}
