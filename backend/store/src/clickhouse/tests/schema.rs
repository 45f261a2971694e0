//! The tables are the exporter's, and its statements succeed.

use devmesh_schema::Signal;

use super::{database_on, fresh_name, scanned, seen, server::Server};
use crate::{
    Scan,
    clickhouse::{cluster, columns::Table},
};

const MAP: &str = "Map(LowCardinality(String), String)";
const LOW: &str = "LowCardinality(String)";

/// The exporter's columns (v0.161), in the order in which it inserts them.
fn exporter(table: Table) -> Vec<(&'static str, &'static str)> {
    let prefix = vec![
        ("ResourceAttributes", MAP),
        ("ResourceSchemaUrl", "String"),
        ("ScopeName", "String"),
        ("ScopeVersion", "String"),
        ("ScopeAttributes", MAP),
        ("ScopeDroppedAttrCount", "UInt32"),
        ("ScopeSchemaUrl", "String"),
        ("ServiceName", LOW),
        ("MetricName", LOW),
        ("MetricDescription", "String"),
        ("MetricUnit", "String"),
        ("Attributes", MAP),
        ("StartTimeUnix", "DateTime64(9)"),
        ("TimeUnix", "DateTime64(9)"),
    ];
    let exemplars = [
        ("Exemplars.FilteredAttributes", "Array(Map(LowCardinality(String), String))"),
        ("Exemplars.TimeUnix", "Array(DateTime64(9))"),
        ("Exemplars.Value", "Array(Float64)"),
        ("Exemplars.SpanId", "Array(String)"),
        ("Exemplars.TraceId", "Array(String)"),
    ];
    let totals = [("Count", "UInt64"), ("Sum", "Float64")];
    let tail = [("Flags", "UInt32"), ("Min", "Float64"), ("Max", "Float64"), ("AggregationTemporality", "Int32")];
    let number = [("Value", "Float64"), ("Flags", "UInt32")];
    match table {
        Table::Logs => vec![
            ("Timestamp", "DateTime64(9)"),
            ("TraceId", "String"),
            ("SpanId", "String"),
            ("TraceFlags", "UInt8"),
            ("SeverityText", LOW),
            ("SeverityNumber", "UInt8"),
            ("ServiceName", LOW),
            ("Body", "String"),
            ("ResourceSchemaUrl", LOW),
            ("ResourceAttributes", MAP),
            ("ScopeSchemaUrl", LOW),
            ("ScopeName", "String"),
            ("ScopeVersion", LOW),
            ("ScopeAttributes", MAP),
            ("LogAttributes", MAP),
            ("EventName", "String"),
        ],
        Table::Traces | Table::Direct => vec![
            ("Timestamp", "DateTime64(9)"),
            ("TraceId", "String"),
            ("SpanId", "String"),
            ("ParentSpanId", "String"),
            ("TraceState", "String"),
            ("SpanName", LOW),
            ("SpanKind", LOW),
            ("ServiceName", LOW),
            ("ResourceAttributes", MAP),
            ("ScopeName", "String"),
            ("ScopeVersion", "String"),
            ("SpanAttributes", MAP),
            ("Duration", "UInt64"),
            ("StatusCode", LOW),
            ("StatusMessage", "String"),
            ("Events.Timestamp", "Array(DateTime64(9))"),
            ("Events.Name", "Array(LowCardinality(String))"),
            ("Events.Attributes", "Array(Map(LowCardinality(String), String))"),
            ("Links.TraceId", "Array(String)"),
            ("Links.SpanId", "Array(String)"),
            ("Links.TraceState", "Array(String)"),
            ("Links.Attributes", "Array(Map(LowCardinality(String), String))"),
        ],
        Table::Gauge => [prefix, number.to_vec(), exemplars.to_vec()].concat(),
        Table::Sum => {
            let sum = vec![("AggregationTemporality", "Int32"), ("IsMonotonic", "Bool")];
            [prefix, number.to_vec(), exemplars.to_vec(), sum].concat()
        }
        Table::Histogram => {
            let buckets = vec![("BucketCounts", "Array(UInt64)"), ("ExplicitBounds", "Array(Float64)")];
            [prefix, totals.to_vec(), buckets, exemplars.to_vec(), tail.to_vec()].concat()
        }
        Table::Exponential => {
            let buckets = vec![
                ("Scale", "Int32"),
                ("ZeroCount", "UInt64"),
                ("PositiveOffset", "Int32"),
                ("PositiveBucketCounts", "Array(UInt64)"),
                ("NegativeOffset", "Int32"),
                ("NegativeBucketCounts", "Array(UInt64)"),
            ];
            [prefix, totals.to_vec(), buckets, exemplars.to_vec(), tail.to_vec()].concat()
        }
        Table::Summary => {
            let quantiles = vec![
                ("ValueAtQuantiles.Quantile", "Array(Float64)"),
                ("ValueAtQuantiles.Value", "Array(Float64)"),
                ("Flags", "UInt32"),
            ];
            [prefix, totals.to_vec(), quantiles].concat()
        }
    }
}

fn tables() -> impl Iterator<Item = Table> {
    Signal::ALL.into_iter().flat_map(Table::of).copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_begin_with_the_exporters_columns_and_ours_have_defaults() {
    let (server, name) = (Server::shared(), fresh_name());
    database_on(&server, &name).await;
    for table in tables() {
        let described = server.ask(&name, &format!("DESCRIBE TABLE {} FORMAT TabSeparatedRaw", table.name()));
        let columns: Vec<Vec<&str>> = described.lines().map(|line| line.split('\t').collect()).collect();
        let expected = exporter(table);
        let first: Vec<(&str, &str)> = columns.iter().take(expected.len()).map(|c| (c[0], c[1])).collect();
        assert_eq!(first, expected, "{}", table.name());
        for column in columns.iter().skip(expected.len()) {
            assert!(["DEFAULT", "MATERIALIZED", "ALIAS"].contains(&column[2]), "{}: {column:?}", table.name());
        }
    }
    let views = server.ask(
        &name,
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%View' ORDER BY 1",
    );
    let expected = ["otel_metrics_exp_histogram", "otel_traces_trace_id_ts_mv", "traces_unified_view"];
    assert_eq!(views.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_with_the_exporters_columns_succeeds_and_is_read() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    let value = |column: &str, kind: &str| match (column, kind) {
        ("Timestamp" | "TimeUnix", _) => "toDateTime64('2026-11-21 12:00:00.123456789', 9)".to_owned(),
        ("TraceId", _) => "'0123456789abcdef0123456789abcdef'".to_owned(),
        ("SpanId", _) => "'0123456789abcdef'".to_owned(),
        ("ServiceName", _) => "'other'".to_owned(),
        ("ResourceAttributes", _) => "map('service.name', 'other', 'host.name', 'h1')".to_owned(),
        (_, "DateTime64(9)") => "toDateTime64('2026-11-21 11:00:00', 9)".to_owned(),
        (_, "Array(DateTime64(9))") => "[toDateTime64('2026-11-21 11:00:00', 9)]".to_owned(),
        (_, "Array(Float64)" | "Array(UInt64)") => "[2]".to_owned(),
        (_, "Array(String)" | "Array(LowCardinality(String))") => "['aa']".to_owned(),
        (_, MAP) => "map('k', 'v', 'n', '1')".to_owned(),
        (_, "Array(Map(LowCardinality(String), String))") => "[map('k', 'v')]".to_owned(),
        (_, "String" | "LowCardinality(String)") => "'Text'".to_owned(),
        (_, "Bool") => "true".to_owned(),
        _ => "1".to_owned(),
    };
    for table in tables() {
        let columns = exporter(table);
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> = columns.iter().map(|(name, kind)| value(name, kind)).collect();
        let insert = format!("INSERT INTO {} (`{}`) SELECT {}", table.name(), names.join("`, `"), values.join(", "));
        server.ask(&name, &insert);
    }
    for (signal, rows) in [(Signal::Logs, 1), (Signal::Traces, 2), (Signal::Metrics, 5)] {
        let read = scanned(&*database, &Scan::all(signal), &seen(0)).await.unwrap();
        assert_eq!(read.len(), rows, "{signal}");
        for row in read {
            let table = devmesh_schema::view::to_table(signal, &row).unwrap();
            let time = table.column_by_name("time").unwrap();
            let time: &arrow_array::TimestampNanosecondArray = arrow_array::cast::AsArray::as_primitive(time);
            assert_eq!(time.value(0), 1_795_262_400_123_456_789, "{signal}");
            let text = |column: &str| {
                let array = arrow_cast::cast(table.column_by_name(column).unwrap(), &arrow_schema::DataType::Utf8);
                arrow_array::cast::AsArray::as_string::<i32>(&array.unwrap()).value(0).to_owned()
            };
            assert_eq!((text("service").as_str(), text("host").as_str()), ("other", "h1"), "{signal}");
            assert!(devmesh_schema::otlp::encode(signal, &row).unwrap().len() > 100, "{signal}");
            let attribute = devmesh_schema::view::attribute_text("k", &row).unwrap();
            assert_eq!(arrow_array::cast::AsArray::as_string_view(&attribute).value(0), "v", "{signal}");
        }
    }
    // What the exporter's readers ask.
    let asked =
        server.ask(&name, "SELECT count() FROM otel_logs WHERE TimestampTime = toDateTime('2026-11-21 12:00:00')");
    assert_eq!(asked.trim(), "1");
    let asked =
        server.ask(&name, "SELECT min(Start) <= max(End) FROM otel_traces_trace_id_ts WHERE TraceId LIKE '0123%'");
    assert_eq!(asked.trim(), "1");
    let asked = server.ask(&name, "SELECT ingest_path, operation, is_root FROM traces_unified_view ORDER BY 1");
    assert_eq!(asked, "collector\tText\tfalse\ndirect\tText\tfalse\n");
    let asked = server.ask(&name, "SELECT operation, duration_ns, http_method, attributes_json FROM ai_traces_direct");
    assert_eq!(asked, "Text\t1\t\t{\"k\":\"v\",\"n\":\"1\"}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_for_a_cluster_are_statements() {
    let (server, name) = (Server::shared(), fresh_name());
    database_on(&server, &name).await;
    let files = [
        include_str!("../../../../../schema/sql/clickhouse/V0001__tables.sql"),
        include_str!("../../../../../schema/sql/clickhouse/V0002__templates.sql"),
    ];
    let sql: String = files
        .iter()
        .flat_map(|file| file.lines())
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut distributed = 0;
    for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        for made in cluster::statements(statement, "my cluster").unwrap() {
            assert!(made.contains("ON CLUSTER `my cluster`"), "{made}");
            assert!(!made.contains("non_replicated"), "{made}");
            distributed += usize::from(made.contains("ENGINE = Distributed('my cluster', currentDatabase(), "));
            server.ask(&name, &format!("EXPLAIN AST {made}"));
        }
    }
    assert_eq!(distributed, 9);
    assert!(cluster::statements("DROP TABLE x", "c").is_err());
}
