//! Filters, limits and groups mean in ClickHouse what they mean for the engine.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types::Int64Type};
use arrow_cast::cast;
use arrow_schema::DataType;
use devmesh_schema::{IngestPath, Signal, tables, view};
use futures::StreamExt;

use super::{RECEIVED, block, collected, comparable, database, request, rows_of, scanned, seen, single};
use crate::{Filter, GroupBy, Groups, Key, Measure, Op, Scan, Value, database::Database, words};

/// A column of one row as users see it: its text, or NULL.
fn shown(signal: Signal, column: &str, row: &RecordBatch) -> Option<String> {
    text_of(&view::derive(signal, column, row).unwrap(), 0)
}

fn text_of(array: &ArrayRef, row: usize) -> Option<String> {
    let array = match array.data_type() {
        DataType::Timestamp(..) => cast(array, &DataType::Int64).unwrap(),
        _ => array.clone(),
    };
    let text = cast(&array, &DataType::Utf8).unwrap();
    let text = text.as_string::<i32>();
    text.is_valid(row).then(|| text.value(row).to_owned())
}

/// Whether a row matches a filter, as the engine has it.
fn holds(signal: Signal, filter: &Filter, row: &RecordBatch) -> bool {
    let ordered = |shown: &str, value: &Value| match value {
        Value::Text(text) => shown.cmp(text.as_str()),
        Value::Int(number) => shown.parse::<f64>().unwrap().total_cmp(&(*number as f64)),
        Value::Double(number) => shown.parse::<f64>().unwrap().total_cmp(number),
    };
    match filter {
        Filter::Compare { column, op, value } => shown(signal, column, row).is_some_and(|shown| {
            let ordering = ordered(&shown, value);
            match op {
                Op::Eq => ordering.is_eq(),
                Op::Lt => ordering.is_lt(),
                Op::LtEq => ordering.is_le(),
                Op::Gt => ordering.is_gt(),
                Op::GtEq => ordering.is_ge(),
            }
        }),
        Filter::OneOf { column, values } => {
            shown(signal, column, row).is_some_and(|shown| values.iter().any(|value| ordered(&shown, value).is_eq()))
        }
        Filter::Attribute { key, value } => {
            let text = view::attribute_text(key, row).unwrap();
            text_of(&text, 0).is_some_and(|text| text == *value)
        }
        Filter::Words { column, words: wanted } => shown(signal, column, row).is_some_and(|text| {
            let mut found = Vec::new();
            words(&text, |word| found.push(word.to_owned()));
            wanted.iter().all(|word| found.contains(word))
        }),
    }
}

/// Logs with bodies that are hard to search, and attributes of all kinds.
fn logs() -> RecordBatch {
    use devmesh_schema::otlp::write::{LogRecord, LogsRequest, Value as Any};
    let bodies = [
        "Connection refused: db-1",
        "connection REFUSED",
        "disconnection refused",
        "Größe refused",
        "refused€connection",
        "\u{212A}elvin refused",
        "kelvin refused",
        "",
        "İstanbul",
        "a_b refused",
        "日本語 refused connection",
        "x'y\\z",
    ];
    let mut request = LogsRequest::new();
    for service in ["cart", "shop"] {
        request.resource(&[("service.name".into(), service.into())], |scope| {
            for (i, body) in bodies.iter().enumerate() {
                let i64_at = i as i64;
                let attributes = [
                    ("http.route".into(), ["/cart", "/", ""][i % 3].into()),
                    ("n".into(), Any::Int(i64_at % 4)),
                    ("d".into(), Any::Double(i as f64 / 4.0)),
                    ("it's".into(), Any::Bool(i % 2 == 0)),
                    ("empty".into(), if i % 4 == 0 { Any::Empty } else { Any::Text("".into()) }),
                ];
                let taken = attributes.len() - i % 2;
                scope.record(&LogRecord {
                    time: (RECEIVED + i64_at * 7_000_000_000 + i64::from(service == "cart")) as u64,
                    observed_time: if i % 3 == 0 { 0 } else { 5 },
                    severity_number: (i as i32 * 5) % 26,
                    severity_text: ["", "warn", "Error"][i % 3],
                    body: if body.is_empty() { None } else { Some((*body).into()) },
                    attributes: &attributes[..taken],
                    flags: i as u32 * 100,
                    trace_id: (i % 2 == 0).then_some([i as u8; 16]).filter(|id| *id != [0; 16]),
                    event_name: if i % 5 == 0 { "" } else { "sold" },
                    ..LogRecord::default()
                });
            }
        });
    }
    rows_of(Signal::Logs, &request.finish(), IngestPath::Collector)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn compare(column: &str, op: Op, value: Value) -> Filter {
    Filter::Compare { column: column.into(), op, value }
}

fn words_of(words: &[&str]) -> Filter {
    Filter::Words { column: "body".into(), words: words.iter().map(|word| (*word).to_owned()).collect() }
}

fn attribute(key: &str, value: &str) -> Filter {
    Filter::Attribute { key: key.into(), value: value.into() }
}

/// Filters, and how many of the 24 logs they keep at least, so that no test is about nothing.
fn filters() -> Vec<(Signal, Filter, usize)> {
    let logs = [
        (compare("service", Op::Eq, text("cart")), 12),
        (compare("service", Op::Gt, text("cart")), 12),
        (compare("body", Op::Eq, text("x'y\\z")), 2),
        (compare("body", Op::Lt, text("b")), 2),
        (compare("trace_id", Op::GtEq, text("")), 8),
        (compare("trace_id", Op::Eq, text("02020202020202020202020202020202")), 2),
        (compare("severity_number", Op::GtEq, Value::Int(17)), 2),
        (compare("severity_number", Op::Lt, Value::Int(1)), 2),
        (compare("severity_text", Op::LtEq, text("warn")), 2),
        (compare("trace_flags", Op::Gt, Value::Int(300)), 2),
        (compare("observed_time", Op::LtEq, Value::Int(5)), 2),
        (compare("level", Op::Eq, text("ERROR")), 2),
        (compare("event_name", Op::Gt, text("")), 2),
        (Filter::OneOf { column: "service".into(), values: vec![text("cart"), text("x'")] }, 12),
        (Filter::OneOf { column: "severity_text".into(), values: vec![text(""), text("warn")] }, 2),
        (Filter::OneOf { column: "severity_number".into(), values: vec![Value::Int(0), Value::Int(5)] }, 2),
        (attribute("http.route", "/cart"), 2),
        (attribute("http.route", ""), 2),
        (attribute("n", "3"), 2),
        (attribute("d", "0.25"), 2),
        (attribute("it's", "true"), 2),
        (attribute("empty", ""), 2),
        (words_of(&["refused"]), 14),
        (words_of(&["connection", "refused"]), 6),
        (words_of(&["größe"]), 2),
        (words_of(&["kelvin"]), 4),
        (words_of(&["i\u{307}stanbul"]), 2),
    ];
    logs.into_iter().map(|(filter, least)| (Signal::Logs, filter, least)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filtered_scan_leaves_out_no_row_that_matches_and_a_bounded_one_gives_the_newest() {
    let database = database().await;
    let rows = logs();
    let all = single(&rows);
    database.insert(&block(Signal::Logs, 1, vec![rows])).await.unwrap();
    for (signal, filter, least) in filters() {
        let expected: Vec<RecordBatch> = all.iter().filter(|row| holds(signal, &filter, row)).cloned().collect();
        assert!(expected.len() >= least && expected.len() < all.len(), "{filter:?}: {}", expected.len());
        let scan = Scan { filters: vec![filter.clone()], ..Scan::all(signal) };
        let given = scanned(&*database, &scan, &seen(1)).await.unwrap();
        assert!(given.len() < all.len(), "{filter:?} is not pushed down");
        let kept: Vec<RecordBatch> = given.into_iter().filter(|row| holds(signal, &filter, row)).collect();
        assert_eq!(comparable(signal, &expected), comparable(signal, &kept), "{filter:?}");

        let scan = Scan { newest_first: true, limit: Some(3), ..scan };
        let given = scanned(&*database, &scan, &seen(1)).await.unwrap();
        let times = |rows: &[RecordBatch]| {
            let mut times: Vec<i64> =
                rows.iter().map(|row| shown(signal, "time", row).unwrap().parse().unwrap()).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.truncate(3);
            times
        };
        let matching: Vec<RecordBatch> = given.into_iter().filter(|row| holds(signal, &filter, row)).collect();
        assert_eq!(times(&expected), times(&matching), "{filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_range_is_half_open() {
    let database = database().await;
    let rows = logs();
    let all = single(&rows);
    database.insert(&block(Signal::Logs, 1, vec![rows])).await.unwrap();
    let (start, end) = (RECEIVED + 7_000_000_000, RECEIVED + 14_000_000_001);
    let scan = Scan { time: start..end, ..Scan::all(Signal::Logs) };
    let given = scanned(&*database, &scan, &seen(1)).await.unwrap();
    let within = |row: &RecordBatch| {
        let time: i64 = shown(Signal::Logs, "time", row).unwrap().parse().unwrap();
        (start..end).contains(&time)
    };
    let expected: Vec<RecordBatch> = all.into_iter().filter(within).collect();
    assert_eq!(expected.len(), 3);
    assert_eq!(comparable(Signal::Logs, &expected), comparable(Signal::Logs, &given));
}

/// Groups computed here: the key's texts and the measures' texts.
type Table = BTreeMap<Vec<Option<String>>, Vec<Option<String>>>;

fn computed(signal: Signal, group: &GroupBy, rows: &[RecordBatch]) -> Table {
    let mut members: BTreeMap<Vec<Option<String>>, Vec<&RecordBatch>> = BTreeMap::new();
    for row in rows {
        let key = group.keys.iter().map(|key| match key {
            Key::Column(name) => shown(signal, name, row),
            Key::Attribute(name) => text_of(&view::attribute_text(name, row).unwrap(), 0),
            Key::Time { width, origin } => {
                let time: i64 = shown(signal, "time", row).unwrap().parse().unwrap();
                Some((origin + (time - origin).div_euclid(*width) * width).to_string())
            }
        });
        members.entry(key.collect()).or_default().push(row);
    }
    let number = |text: Option<String>| text.map(|text| text.parse::<i64>().unwrap());
    let measure = |measure: &Measure, rows: &[&RecordBatch]| match measure {
        Measure::CountAll => Some(rows.len().to_string()),
        Measure::Count(name) => Some(rows.iter().filter_map(|row| shown(signal, name, row)).count().to_string()),
        Measure::Sum(name) => {
            let values: Vec<i64> = rows.iter().filter_map(|row| number(shown(signal, name, row))).collect();
            (!values.is_empty()).then(|| values.iter().sum::<i64>().to_string())
        }
        Measure::Min(name) | Measure::Max(name) => {
            let mut values: Vec<String> = rows.iter().filter_map(|row| shown(signal, name, row)).collect();
            let column = tables::columns(signal).iter().find(|column| column.name == name.as_str()).unwrap();
            if column.data_type == DataType::Utf8View {
                values.sort();
            } else {
                values.sort_by_key(|value| value.parse::<i64>().unwrap());
            }
            if matches!(measure, Measure::Min(_)) { values.first().cloned() } else { values.last().cloned() }
        }
    };
    members.into_iter().map(|(key, rows)| (key, group.measures.iter().map(|m| measure(m, &rows)).collect())).collect()
}

/// The groups of the database merged with those of the rows that it left to the engine.
async fn given(database: &dyn Database, scan: &Scan, group: &GroupBy) -> Option<Table> {
    let Groups { mut groups, rest } = database.group(scan, group, &seen(1)).await.unwrap()?;
    let signal = scan.signal;
    let rest = collected(rest).await.unwrap();
    let rest: Vec<RecordBatch> =
        rest.into_iter().filter(|row| scan.filters.iter().all(|filter| holds(signal, filter, row))).collect();
    let mut table = computed(signal, group, &rest);
    while let Some(batch) = groups.next().await {
        let batch = batch.unwrap();
        assert_types(signal, group, &batch);
        let column = |name: String, row| text_of(batch.column_by_name(&name).unwrap(), row);
        for row in 0..batch.num_rows() {
            let key: Vec<_> = (0..group.keys.len()).map(|i| column(format!("k{i}"), row)).collect();
            let values: Vec<_> = (0..group.measures.len()).map(|i| column(format!("m{i}"), row)).collect();
            match table.get_mut(&key) {
                None => drop(table.insert(key, values)),
                Some(known) => {
                    for ((measure, known), value) in group.measures.iter().zip(known).zip(values) {
                        assert!(
                            matches!(measure, Measure::CountAll | Measure::Count(_)),
                            "only counts are merged here"
                        );
                        let sum = |text: &Option<String>| text.as_ref().unwrap().parse::<i64>().unwrap();
                        *known = Some((sum(known) + sum(&value)).to_string());
                    }
                }
            }
        }
    }
    Some(table)
}

fn assert_types(signal: Signal, group: &GroupBy, batch: &RecordBatch) {
    let of = |name: &String| {
        tables::columns(signal).iter().find(|column| column.name == name.as_str()).unwrap().data_type.clone()
    };
    for (i, key) in group.keys.iter().enumerate() {
        let expected = match key {
            Key::Column(name) => of(name),
            Key::Attribute(_) => DataType::Utf8,
            Key::Time { .. } => tables::timestamp(),
        };
        assert_eq!(*batch.column_by_name(&format!("k{i}")).unwrap().data_type(), expected, "{key:?}");
    }
    for (i, measure) in group.measures.iter().enumerate() {
        let expected = match measure {
            Measure::CountAll | Measure::Count(_) => DataType::Int64,
            Measure::Min(name) | Measure::Max(name) => of(name),
            Measure::Sum(_) => continue,
        };
        assert_eq!(*batch.column_by_name(&format!("m{i}")).unwrap().data_type(), expected, "{measure:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_those_that_the_engine_would_make() {
    let database = database().await;
    let rows = logs();
    let all = single(&rows);
    database.insert(&block(Signal::Logs, 1, vec![rows])).await.unwrap();
    let column = |name: &str| Key::Column(name.into());
    let minute = Key::Time { width: 60_000_000_000, origin: 0 };
    let odd = Key::Time { width: 7_000_000_001, origin: RECEIVED + 20_000_000_000 };
    let of = |make: fn(String) -> Measure, name: &str| make(name.to_owned());
    type Case = (Vec<Key>, Vec<Measure>, Vec<Filter>, usize);
    let table: Vec<Case> = vec![
        (vec![column("service"), minute.clone()], vec![Measure::CountAll], vec![], 4),
        (vec![odd], vec![Measure::CountAll, of(Measure::Sum, "severity_number")], vec![], 5),
        (vec![column("trace_id")], vec![of(Measure::Count, "trace_id"), of(Measure::Count, "body")], vec![], 5),
        (vec![Key::Attribute("empty".into())], vec![Measure::CountAll], vec![], 2),
        (vec![Key::Attribute("it's".into()), column("level")], vec![Measure::CountAll], vec![], 4),
        (
            vec![],
            vec![
                of(Measure::Min, "body"),
                of(Measure::Max, "body"),
                of(Measure::Min, "time"),
                of(Measure::Max, "trace_flags"),
            ],
            vec![],
            1,
        ),
        (vec![column("severity_text")], vec![of(Measure::Max, "severity_text")], vec![], 3),
        (vec![column("service")], vec![Measure::CountAll], vec![words_of(&["refused"])], 2),
        (vec![column("service")], vec![Measure::CountAll], vec![words_of(&["kelvin"])], 2),
        (vec![column("service")], vec![Measure::CountAll], vec![attribute("empty", "")], 2),
        (vec![column("severity_number")], vec![Measure::CountAll], vec![compare("service", Op::Eq, text("shop"))], 3),
    ];
    for (keys, measures, filters, least) in table {
        let group = GroupBy { keys, measures };
        let scan = Scan { filters: filters.clone(), ..Scan::all(Signal::Logs) };
        let matching: Vec<RecordBatch> =
            all.iter().filter(|row| filters.iter().all(|filter| holds(Signal::Logs, filter, row))).cloned().collect();
        let expected = computed(Signal::Logs, &group, &matching);
        assert!(expected.len() >= least, "{group:?}: {expected:?}");
        let given = given(&*database, &scan, &group).await;
        assert_eq!(given, Some(expected), "{group:?} {filters:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_random_spans_and_points_come_from_all_their_tables() {
    let database = database().await;
    for signal in [Signal::Traces, Signal::Metrics] {
        let paths = [IngestPath::Collector, IngestPath::Direct];
        let rows: Vec<RecordBatch> =
            (0..12).map(|seed| rows_of(signal, &request(signal, seed), paths[seed as usize % 2])).collect();
        let all: Vec<RecordBatch> = rows.iter().flat_map(single).collect();
        database.insert(&block(signal, 1, rows)).await.unwrap();
        let kind = Key::Column("kind".into());
        let group = GroupBy {
            keys: vec![Key::Column("ingest_path".into()), kind, Key::Column("name".into())],
            measures: vec![Measure::CountAll, Measure::Min("time".into()), Measure::Max("host".into())],
        };
        let expected = computed(signal, &group, &all);
        assert!(expected.len() > 5, "{signal}: {expected:?}");
        assert_eq!(given(&*database, &Scan::all(signal), &group).await, Some(expected), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clickhouse_means_otherwise_is_left_to_the_engine() {
    let database = database().await;
    let by = |key: Key, measure: Measure| GroupBy { keys: vec![key], measures: vec![measure] };
    let scan = Scan::all(Signal::Metrics);
    for group in [
        by(Key::Column("value".into()), Measure::CountAll),
        by(Key::Column("attributes".into()), Measure::CountAll),
        by(Key::Column("name".into()), Measure::Sum("count".into())),
    ] {
        assert!(database.group(&scan, &group, &seen(1)).await.unwrap().is_none(), "{group:?}");
    }
    let unknown = Scan { filters: vec![compare("pattern_id", Op::Eq, text("1"))], ..Scan::all(Signal::Logs) };
    let group = by(Key::Column("service".into()), Measure::CountAll);
    assert!(database.group(&unknown, &group, &seen(1)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_of_the_type_that_the_engine_counts_with() {
    let database = database().await;
    database.insert(&block(Signal::Logs, 1, vec![logs()])).await.unwrap();
    let group = GroupBy { keys: vec![], measures: vec![Measure::CountAll] };
    let groups = database.group(&Scan::all(Signal::Logs), &group, &seen(1)).await.unwrap().unwrap();
    let batches: Vec<_> = groups.groups.collect().await;
    let batch = batches[0].as_ref().unwrap();
    assert_eq!(batch.column_by_name("m0").unwrap().as_primitive::<Int64Type>().value(0), 24);
}
