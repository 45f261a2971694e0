//! What SQL shows of stored rows: every column of the three tables, from memory and as Parquet gives rows back.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StringViewArray, TimestampNanosecondArray, UInt32Array, UInt64Array, cast::AsArray,
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{
        Context, decode,
        json::to_protobuf,
        write::{LogRecord, LogsRequest, Value},
    },
    stored, tables, view,
};

const RECEIVED: i64 = 1_800_000_000_000_000_000;

fn decoded(signal: Signal, request: &[u8]) -> RecordBatch {
    let decoded = decode(signal, request, Context { path: IngestPath::Collector, received: RECEIVED }).unwrap();
    assert_eq!(decoded.rejected, 0, "{:?}", decoded.rejections);
    decoded.rows
}

fn stored_rows(signal: Signal, json: &str) -> RecordBatch {
    let request = to_protobuf(signal, json.as_bytes()).unwrap();
    assert_eq!(request.rejected, 0, "{request:?}");
    decoded(signal, &request.request)
}

/// The rows as a reader of Parquet may give them: without dictionaries, text and bytes as `text` and `bytes`.
fn plain(rows: &RecordBatch, text: &DataType, bytes: &DataType) -> RecordBatch {
    let convert = |array: &ArrayRef| -> ArrayRef {
        let target = match array.data_type() {
            DataType::Dictionary(_, values) => (**values).clone(),
            other => other.clone(),
        };
        let target = match target {
            DataType::Utf8 => text.clone(),
            DataType::Binary => bytes.clone(),
            other => other,
        };
        cast(array, &target).unwrap()
    };
    let arrays: Vec<ArrayRef> = rows.columns().iter().map(convert).collect();
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(&arrays);
    let fields: Vec<Field> = fields.map(|(f, a)| Field::new(f.name(), a.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

/// The table, which must be the same however the rows come, whole and in slices.
fn table(signal: Signal, rows: &RecordBatch) -> RecordBatch {
    let table = view::to_table(signal, rows).unwrap();
    assert_eq!(table.schema(), tables::schema(signal));
    for (text, bytes) in [
        (DataType::Utf8, DataType::Binary),
        (DataType::Utf8View, DataType::BinaryView),
        (DataType::LargeUtf8, DataType::LargeBinary),
    ] {
        assert_eq!(view::to_table(signal, &plain(rows, &text, &bytes)).unwrap(), table, "{text} {bytes}");
    }
    for start in 0..rows.num_rows() {
        let slice = rows.slice(start, rows.num_rows() - start);
        assert_eq!(view::to_table(signal, &slice).unwrap(), table.slice(start, slice.num_rows()), "from row {start}");
    }
    table
}

fn column<'t, A: Array + 'static>(table: &'t RecordBatch, name: &str) -> &'t A {
    let array = table.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    array.as_any().downcast_ref().unwrap_or_else(|| panic!("{name} is {}", array.data_type()))
}

fn texts(table: &RecordBatch, name: &str) -> Vec<Option<String>> {
    column::<StringViewArray>(table, name).iter().map(|text| text.map(str::to_owned)).collect()
}

fn text(table: &RecordBatch, name: &str) -> String {
    texts(table, name)[0].clone().unwrap_or_else(|| "NULL".into())
}

fn entries(maps: &MapArray, row: usize) -> Vec<(String, Option<String>)> {
    let entries = maps.value(row);
    let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
    keys.iter().zip(values).map(|(k, v)| (k.unwrap().to_owned(), v.map(str::to_owned))).collect()
}

fn map(table: &RecordBatch, name: &str, row: usize) -> Vec<(String, Option<String>)> {
    entries(column(table, name), row)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    expected.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect()
}

#[test]
fn logs_show_every_column() {
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.name","value":{"stringValue":"n1"}},
        {"key":"n","value":{"intValue":7}}]},
      "scopeLogs":[{"scope":{"name":"lib","version":"1.2","attributes":[{"key":"s","value":{"boolValue":true}}]},
       "logRecords":[{"timeUnixNano":"1700000000000000001","observedTimeUnixNano":"1700000000000000002",
        "severityNumber":17,"severityText":"err","eventName":"e","body":{"stringValue":"boom"},"flags":1,
        "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",
        "attributes":[{"key":"http.route","value":{"stringValue":"/x"}}]},
        {"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":1},{},{"stringValue":"q\""}]}}}]}}}]}]},
      {"scopeLogs":[{"logRecords":[{"body":{"doubleValue":1}}]}]}]}"#;
    let table = table(Signal::Logs, &stored_rows(Signal::Logs, json));
    assert_eq!(column::<TimestampNanosecondArray>(&table, "time").values()[..2], [1_700_000_000_000_000_001, RECEIVED]);
    let observed: &TimestampNanosecondArray = column(&table, "observed_time");
    assert_eq!(observed.iter().collect::<Vec<_>>(), [Some(1_700_000_000_000_000_002), None, None]);
    for (name, expected) in [
        ("ingest_path", "collector"),
        ("source", "otlp"),
        ("service", "shop"),
        ("host", "n1"),
        ("level", "ERROR"),
        ("severity_text", "err"),
        ("event_name", "e"),
        ("body", "boom"),
        ("trace_id", "5b8efff798038103d269b633813fc60c"),
        ("span_id", "eee19b7ec3c1b174"),
        ("pattern_id", "NULL"),
        ("scope_name", "lib"),
        ("scope_version", "1.2"),
    ] {
        assert_eq!(text(&table, name), expected, "{name}");
    }
    assert_eq!(column::<Int32Array>(&table, "severity_number").values()[..], [17, 0, 0]);
    assert_eq!(column::<UInt32Array>(&table, "trace_flags").values()[..], [1, 0, 0]);
    assert_eq!(texts(&table, "body")[1..], [Some(r#"{"a":[1,null,"q\""]}"#.into()), Some("1".into())]);
    assert_eq!(texts(&table, "trace_id")[1], None);
    assert_eq!(map(&table, "attributes", 0), pairs(&[("http.route", "/x")]));
    assert_eq!(map(&table, "attributes", 1), []);
    for row in 0..2 {
        assert_eq!(
            map(&table, "resource_attributes", row),
            pairs(&[("service.name", "shop"), ("host.name", "n1"), ("n", "7")])
        );
        assert_eq!(map(&table, "scope_attributes", row), pairs(&[("s", "true")]));
    }
    assert_eq!(map(&table, "resource_attributes", 2), []);
    assert_eq!(texts(&table, "scope_name")[2], Some(String::new()));
    assert_eq!(texts(&table, "service")[2], Some(String::new()));
}

#[test]
fn spans_show_every_column() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173",
         "traceState":"a=b","name":"GET /","kind":2,"startTimeUnixNano":"1700000000000000000",
         "endTimeUnixNano":"1700000000000000500","status":{"code":2,"message":"boom"},
         "attributes":[{"key":"k","value":{"stringValue":"v"}}],
         "events":[{"timeUnixNano":"1700000000000000100","name":"exception","attributes":[{"key":"t","value":{"intValue":"1"}}]},{"name":"two"}],
         "links":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","traceState":"c=d",
                   "attributes":[{"key":"l","value":{"doubleValue":0.5}}]}]},
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b175","name":"back",
         "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1699999999000000000"}]}]}]}"#;
    let table = table(Signal::Traces, &stored_rows(Signal::Traces, json));
    for (name, expected) in [
        ("name", "GET /"),
        ("kind", "SERVER"),
        ("status_code", "ERROR"),
        ("status_message", "boom"),
        ("trace_id", "5b8efff798038103d269b633813fc60c"),
        ("span_id", "eee19b7ec3c1b174"),
        ("parent_span_id", "eee19b7ec3c1b173"),
        ("trace_state", "a=b"),
    ] {
        assert_eq!(text(&table, name), expected, "{name}");
    }
    assert_eq!(column::<Int64Array>(&table, "duration_ns").values()[..], [500, 0]);
    let ends = column::<TimestampNanosecondArray>(&table, "end_time");
    assert_eq!(ends.values()[..], [1_700_000_000_000_000_500, 1_699_999_999_000_000_000]);
    assert_eq!(texts(&table, "parent_span_id")[1], None);
    assert_eq!(texts(&table, "status_code")[1], Some("UNSET".into()));
    let events: &ListArray = column(&table, "events");
    assert_eq!((events.value(0).len(), events.value(1).len()), (2, 0));
    let event = events.value(0);
    let event = event.as_struct();
    assert_eq!(event.column(1).as_string_view().iter().collect::<Vec<_>>(), [Some("exception"), Some("two")]);
    assert_eq!(entries(event.column(2).as_map(), 0), pairs(&[("t", "1")]));
    let links: &ListArray = column(&table, "links");
    let link = links.value(0);
    let link = link.as_struct();
    assert_eq!(link.column(0).as_string_view().value(0), "00000000000000000000000000000001");
    assert_eq!(link.column(1).as_string_view().value(0), "0000000000000002");
    assert_eq!(link.column(2).as_string_view().value(0), "c=d");
    assert_eq!(entries(link.column(3).as_map(), 0), pairs(&[("l", "0.5")]));
}

#[test]
fn metrics_show_every_column() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"g","description":"d","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"1700000000000000000","asDouble":1.5},{"asInt":"-3","flags":0}]}},
        {"name":"c","unit":"1","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"asInt":5,"startTimeUnixNano":"1","timeUnixNano":"2"}]}},
        {"name":"u","sum":{"dataPoints":[{"asInt":6}]}},
        {"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":3,"sum":1.5,"bucketCounts":[1,2],"explicitBounds":[1],
          "exemplars":[{"timeUnixNano":"2","asDouble":0.5,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
            "filteredAttributes":[{"key":"f","value":{"stringValue":"x"}}]},{"asInt":2}]}]}},
        {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"count":3,"scale":1,"zeroCount":"1","zeroThreshold":0.25,
          "positive":{"offset":-1,"bucketCounts":["0","2"]}}]}},
        {"name":"s","summary":{"dataPoints":[{"count":1,"sum":1,"quantileValues":[{"quantile":0.5,"value":2}]}]}}]}]}]}"#;
    let table = table(Signal::Metrics, &stored_rows(Signal::Metrics, json));
    let some = |values: &[&str]| values.iter().map(|v| Some((*v).to_owned())).collect::<Vec<_>>();
    assert_eq!(texts(&table, "name"), some(&["g", "g", "c", "u", "h", "e", "s"]));
    assert_eq!(texts(&table, "description"), some(&["d", "d", "", "", "", "", ""]));
    assert_eq!(texts(&table, "unit"), some(&["By", "By", "1", "", "", "", ""]));
    assert_eq!(
        texts(&table, "kind"),
        some(&["gauge", "gauge", "sum", "sum", "histogram", "exponential_histogram", "summary"])
    );
    let temporalities = texts(&table, "temporality");
    let temporalities: Vec<&str> = temporalities.iter().map(|t| t.as_deref().unwrap_or("NULL")).collect();
    assert_eq!(temporalities, ["NULL", "NULL", "delta", "unspecified", "cumulative", "cumulative", "NULL"]);
    let monotonic: Vec<_> = column::<BooleanArray>(&table, "is_monotonic").iter().collect();
    assert_eq!(monotonic, [None, None, Some(true), Some(false), None, None, None]);
    let values: Vec<_> = column::<Float64Array>(&table, "value").iter().collect();
    assert_eq!(values[..5], [Some(1.5), Some(-3.0), Some(5.0), Some(6.0), None]);
    let counts: Vec<_> = column::<UInt64Array>(&table, "count").iter().collect();
    assert_eq!(counts[3..], [None, Some(3), Some(3), Some(1)]);
    let buckets: &ListArray = column(&table, "buckets");
    assert_eq!(buckets.value(4).as_primitive::<arrow_array::types::UInt64Type>().values()[..], [1, 2]);
    assert!(buckets.is_null(0));
    assert_eq!(column::<Float64Array>(&table, "zero_threshold").value(5), 0.25);
    let quantiles = column::<ListArray>(&table, "quantiles").value(6);
    assert_eq!(quantiles.as_struct().column(1).as_primitive::<arrow_array::types::Float64Type>().value(0), 2.0);
    let exemplars = column::<ListArray>(&table, "exemplars");
    assert_eq!((exemplars.value(0).len(), exemplars.null_count()), (0, 0));
    let exemplars = exemplars.value(4);
    let exemplars = exemplars.as_struct();
    assert_eq!(exemplars.column(1).as_primitive::<arrow_array::types::Float64Type>().values()[..], [0.5, 2.0]);
    let ids: Vec<_> = exemplars.column(2).as_string_view().iter().collect();
    assert_eq!(ids, [Some("5b8efff798038103d269b633813fc60c"), None]);
    assert_eq!(entries(exemplars.column(4).as_map(), 0), pairs(&[("f", "x")]));
}

fn attribute_rows() -> RecordBatch {
    let values: [Value<'_>; 13] = [
        "text".into(),
        "1.5".into(),
        "".into(),
        "0190a5d0-1234-7abc-8def-0123456789ab".into(),
        i64::MIN.into(),
        42i64.into(),
        1.0.into(),
        f64::NAN.into(),
        true.into(),
        Value::Empty,
        Value::Bytes(vec![1, 2].into()),
        Value::List(vec![1i64.into(), "x".into(), false.into()]),
        Value::Map(vec![("d".into(), 0.5.into())]),
    ];
    let mut request = LogsRequest::new();
    request.resource(&[], |scope| {
        for value in values {
            let attributes = [("other".into(), 1i64.into()), ("k".into(), value)];
            scope.record(&LogRecord { attributes: &attributes, ..LogRecord::default() });
        }
        scope.record(&LogRecord::default());
    });
    decoded(Signal::Logs, &request.finish())
}

const ATTRIBUTE_TEXTS: [Option<&str>; 14] = [
    Some("text"),
    Some("1.5"),
    Some(""),
    Some("0190a5d0-1234-7abc-8def-0123456789ab"),
    Some("-9223372036854775808"),
    Some("42"),
    Some("1"),
    Some("NaN"),
    Some("true"),
    None,
    Some("AQI="),
    Some(r#"[1,"x",false]"#),
    Some(r#"{"d":0.5}"#),
    None,
];

#[test]
fn an_attribute_of_any_type_is_text() {
    let rows = attribute_rows();
    let expected = ATTRIBUTE_TEXTS.map(|text| text.map(str::to_owned));
    for rows in [rows.clone(), plain(&rows, &DataType::Utf8View, &DataType::BinaryView)] {
        let text = view::attribute_text("k", &rows).unwrap();
        assert_eq!(text.as_string_view().iter().map(|t| t.map(str::to_owned)).collect::<Vec<_>>(), expected);
        let none = view::attribute_text("missing", &rows).unwrap();
        assert_eq!((none.len(), none.null_count()), (14, 14));
    }
    let table = table(Signal::Logs, &rows);
    for (row, expected) in expected.iter().enumerate().take(13) {
        assert_eq!(
            map(&table, "attributes", row),
            [("other".into(), Some("1".into())), ("k".into(), expected.clone())]
        );
    }
    assert_eq!(map(&table, "attributes", 13), []);
}

#[test]
fn an_attribute_that_is_a_number_is_one_without_a_way_through_text() {
    let numbers: Vec<Option<f64>> = view::attribute_f64("k", &attribute_rows()).unwrap().iter().collect();
    assert!(numbers[7].is_some_and(f64::is_nan));
    let expected = [None, Some(1.5), None, None, Some(i64::MIN as f64), Some(42.0), Some(1.0)];
    assert_eq!(numbers[..7], expected);
    assert_eq!(numbers[8..], [None; 6]);
}

#[test]
fn an_attribute_reads_the_same_from_its_sources_alone() {
    let rows = attribute_rows();
    let sources = view::attribute_sources("k");
    let schema = rows.schema();
    let indices: Vec<usize> = sources.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    let projected = rows.project(&indices).unwrap();
    assert_eq!(&view::attribute_text("k", &projected).unwrap(), &view::attribute_text("k", &rows).unwrap());
}

#[test]
fn keys_beyond_the_columns_are_found_in_the_rest() {
    let mut request = LogsRequest::new();
    request.resource(&[], |scope| {
        for i in 0..1000i64 {
            let attributes = [(format!("k{i}").into(), i.into())];
            scope.record(&LogRecord { attributes: &attributes, ..LogRecord::default() });
        }
    });
    let rows = decoded(Signal::Logs, &request.finish());
    for i in [0, 255, 256, 999] {
        let text = view::attribute_text(&format!("k{i}"), &rows).unwrap();
        assert_eq!((text.as_string_view().value(i), text.null_count()), (i.to_string().as_str(), 999));
        let number = view::attribute_f64(&format!("k{i}"), &rows).unwrap();
        assert_eq!((number.value(i), number.null_count()), (i as f64, 999));
    }
    let attributes = view::derive(Signal::Logs, "attributes", &rows).unwrap();
    for i in [0, 255, 256, 999] {
        assert_eq!(entries(attributes.as_map(), i), pairs(&[(&format!("k{i}"), &i.to_string())]));
    }
}

#[test]
fn an_attribute_of_the_resource_or_scope_is_read_alone() {
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"intValue":7}},{"key":"e","value":{}}]},
        "scopeLogs":[{"scope":{"attributes":[{"key":"a","value":{"stringValue":"scope"}}]},"logRecords":[{},{}]}]},
        {"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    let rows = stored_rows(Signal::Logs, json);
    for (envelope, key, expected) in [
        (stored::RESOURCE, "a", [Some("7"), Some("7"), None]),
        (stored::RESOURCE, "e", [None, None, None]),
        (stored::SCOPE, "a", [Some("scope"), Some("scope"), None]),
        (stored::SCOPE, "b", [None, None, None]),
    ] {
        let text = view::envelope_attribute_text(&rows, envelope, key).unwrap();
        assert_eq!(text.as_string_view().iter().collect::<Vec<_>>(), expected, "{envelope} {key}");
    }
}

#[test]
fn each_column_reads_the_same_from_its_sources_alone() {
    let rows = attribute_rows();
    let table = view::to_table(Signal::Logs, &rows).unwrap();
    for column in tables::columns(Signal::Logs) {
        let sources = view::sources(Signal::Logs, column.name);
        let wanted = |name: &str| {
            sources.contains(&name)
                || view::needs_attribute_columns(column.name) && stored::parse_attribute_column(name).is_some()
        };
        let schema = rows.schema();
        let indices: Vec<usize> = (0..schema.fields().len()).filter(|i| wanted(schema.field(*i).name())).collect();
        let derived = view::derive(Signal::Logs, column.name, &rows.project(&indices).unwrap()).unwrap();
        assert_eq!(&derived, table.column_by_name(column.name).unwrap(), "{}", column.name);
    }
}

#[test]
fn rows_without_any_columns_show_defaults_and_nulls() {
    for signal in Signal::ALL {
        for count in [0, 3] {
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
            let table = view::to_table(signal, &rows).unwrap();
            assert_eq!((table.num_rows(), table.schema()), (count, tables::schema(signal)));
            for (column, array) in tables::columns(signal).iter().zip(table.columns()) {
                assert!(column.nullable || array.null_count() == 0, "{}", column.name);
            }
        }
    }
    assert!(view::derive(Signal::Logs, "no_such_column", &attribute_rows()).is_err());
    assert_eq!(view::sources(Signal::Logs, "no_such_column"), &[] as &[&str]);
}

#[test]
fn many_rows_share_the_text_of_one_envelope() {
    let name = "a resource attribute that is too long to stand in a view itself".repeat(10);
    let mut request = LogsRequest::new();
    for _ in 0..10 {
        request.resource(&[("long".into(), name.as_str().into())], |scope| {
            for _ in 0..1000 {
                scope.record(&LogRecord::default());
            }
        });
    }
    let rows = decoded(Signal::Logs, &request.finish());
    let text = view::envelope_attribute_text(&rows, stored::RESOURCE, "long").unwrap();
    let buffers: usize = text.as_string_view().data_buffers().iter().map(|buffer| buffer.len()).sum();
    assert_eq!((text.len(), buffers), (10_000, name.len()));
}
