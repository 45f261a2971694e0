//! What the database does itself gives what the engine would have given.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use arrow_cast::{cast, display::array_value_to_string};
use arrow_schema::DataType;
use devmesh_schema::{
    Signal,
    view::{attribute_text, derive, to_table},
};
use futures::TryStreamExt;

use super::{World, block, from_json, read_all, records, shop, world};
use crate::{
    Filter, Key, Measure, Op, Scan, Value,
    database::Seen,
    scan::{GroupBy, Groups},
};

const START: i64 = 1_700_000_000_000_000_000;
const MINUTE: i64 = 60_000_000_000;

fn is(column: &str, value: &str) -> Filter {
    Filter::Compare { column: column.into(), op: Op::Eq, value: Value::Text(value.into()) }
}

fn compare(column: &str, op: Op, value: Value) -> Filter {
    Filter::Compare { column: column.into(), op, value }
}

/// Telemetry of the shop, awkward records, and rows of other programs.
async fn full(signal: Signal) -> World {
    let world = world().await;
    let mut batches = shop(signal, 1, 1200);
    if signal == Signal::Logs {
        let service = |name: &str, body: &str| {
            let name = name.replace('\\', "\\\\");
            from_json(
                signal,
                &format!(
                    r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{name}"}}}}]}},
                    "scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{}","severityNumber":9{body}}}]}}]}}]}}"#,
                    START + 90 * MINUTE + 1
                ),
            )
        };
        for name in ["cart", "CART", "cart ", "c\u{e4}rt", "", "it's \\ 100%_", "💥"] {
            batches.push(service(name, ",\"body\":{\"stringValue\":\"Connection REFUSED by db-1\"}"));
        }
        for body in ["Gr\u{f6}\u{df}e GR\u{d6}\u{df}E", "3 \u{212a}ilo, \u{130}stanbul", "kilo"] {
            batches.push(service("cart", &format!(",\"body\":{{\"stringValue\":\"{body}\"}}")));
        }
        // Longer than the column: its last word is in the chunk alone.
        let long = "x ".repeat(40_000);
        batches.push(service("cart", &format!(",\"body\":{{\"stringValue\":\"{long} last\"}}")));
        batches.push(service("cart", ""));
        batches.push(service(&"x".repeat(300), ",\"body\":{\"stringValue\":\"\"}"));
        batches.push(service(&"x".repeat(301), ",\"body\":{\"intValue\":\"5\"}"));
    }
    world.insert(signal, 1, &batches).await;
    let statement = |table: &str, columns: &str, values: &str| {
        format!(
            "INSERT INTO {table} (timestamp, source, service, host, {columns}) SELECT '2023-11-14 22:20:00.5' + INTERVAL seq \
             SECOND, IF(seq % 2, 'app', ''), ELT(1 + seq % 4, 'cart', 'Cart', 'billing', ''), 'h', {values} FROM seq_1_to_300"
        )
    };
    match signal {
        Signal::Logs => {
            world.execute(&statement("log_events", "level, message", "ELT(1 + seq % 2, 'INFO', 'FATAL'), seq"));
            world.execute("INSERT INTO log_events (timestamp, source, service, host, level, message) VALUES ('9999-01-01', 's', 's', 's', 'INFO', '')");
        }
        Signal::Metrics => {
            let values = "ELT(1 + seq % 3, 'queue.length', 'x', ''), ELT(1 + seq % 5, 'gauge', 'counter', 'histogram', 'odd', \
                          'summary'), IF(seq % 7, seq / 3, NULL)";
            world.execute(&statement("metric_events", "metric_name, metric_type, value", values));
        }
        Signal::Traces => {}
    }
    // Of another server, and not whole: nobody sees it. And a block that this query has in memory.
    world.store.insert(&block("other", signal, 3, &shop(signal, 5, 200))).await.unwrap();
    world.store.insert(&block("broken", signal, 3, &shop(signal, 6, 200))).await.unwrap();
    world.execute("UPDATE devmesh_blocks SET done = FALSE WHERE writer = 'broken'");
    world.insert(signal, 9, &shop(signal, 7, 200)).await;
    world
}

async fn everything(world: &World, signal: Signal) -> Vec<RecordBatch> {
    world.scan_up_to(&Scan::all(signal), 5).await
}

/// The rows that match, by the tables as users see them.
fn matching(signal: Signal, rows: &[RecordBatch], scan: &Scan) -> Vec<RecordBatch> {
    let mut kept = Vec::new();
    for batch in rows {
        let time = derive(signal, "time", batch).unwrap();
        let time = time.as_primitive::<TimestampNanosecondType>();
        let mut mask: Vec<bool> = time.values().iter().map(|time| scan.time.contains(time)).collect();
        for filter in &scan.filters {
            for (kept, holds) in mask.iter_mut().zip(holding(signal, filter, batch)) {
                *kept &= holds;
            }
        }
        kept.push(arrow_select::filter::filter_record_batch(batch, &mask.into()).unwrap());
    }
    kept
}

fn holding(signal: Signal, filter: &Filter, rows: &RecordBatch) -> Vec<bool> {
    let text = |array: &ArrayRef, row| (!array.is_null(row)).then(|| array_value_to_string(array, row).unwrap());
    let all = 0..rows.num_rows();
    match filter {
        Filter::Compare { column, op, value } => {
            let array = derive(signal, column, rows).unwrap();
            let order = |row| match value {
                Value::Text(value) => text(&array, row).map(|text| text.as_str().cmp(value)),
                Value::Int(value) => double(&array, row).and_then(|number| number.partial_cmp(&(*value as f64))),
                Value::Double(value) => double(&array, row).and_then(|number| number.partial_cmp(value)),
            };
            let holds = |order: std::cmp::Ordering| match op {
                Op::Eq => order.is_eq(),
                Op::Lt => order.is_lt(),
                Op::LtEq => order.is_le(),
                Op::Gt => order.is_gt(),
                Op::GtEq => order.is_ge(),
            };
            all.map(|row| order(row).is_some_and(holds)).collect()
        }
        Filter::OneOf { column, values } => {
            let array = derive(signal, column, rows).unwrap();
            let any = |text: String| values.contains(&Value::Text(text));
            all.map(|row| text(&array, row).is_some_and(any)).collect()
        }
        Filter::Attribute { key, value } => {
            let array = attribute_text(key, rows).unwrap();
            all.map(|row| text(&array, row).as_ref() == Some(value)).collect()
        }
        Filter::Words { column, words } => {
            let array = derive(signal, column, rows).unwrap();
            let found = |row| {
                let mut found = Vec::new();
                crate::words(&text(&array, row).unwrap_or_default(), |word| found.push(word.to_owned()));
                words.iter().all(|word| found.contains(word))
            };
            all.map(found).collect()
        }
    }
}

fn filters(signal: Signal) -> Vec<Vec<Filter>> {
    let mut all = vec![
        vec![],
        vec![is("service", "cart")],
        vec![is("service", "CART")],
        vec![is("service", "cart ")],
        vec![is("service", "it's \\ 100%_")],
        vec![is("service", "")],
        vec![is("service", &"x".repeat(300)), is("host", "")],
        vec![is("service", &"x".repeat(255))],
        vec![Filter::OneOf {
            column: "service".into(),
            values: vec![Value::Text("cart".into()), Value::Text("💥".into())],
        }],
        vec![Filter::OneOf { column: "service".into(), values: vec![] }],
        vec![compare("service", Op::Gt, Value::Text("cart".into()))],
        vec![compare("host", Op::LtEq, Value::Text("h".into())), compare("service", Op::Lt, Value::Text("d".into()))],
    ];
    match signal {
        Signal::Logs => all.extend([
            vec![is("level", "INFO")],
            vec![is("level", "ERROR"), is("source", "otlp")],
            vec![is("source", "app"), is("level", "FATAL")],
            vec![is("level", "info")],
            vec![is("body", "Connection REFUSED by db-1")],
            vec![Filter::Words { column: "body".into(), words: vec!["connection".into(), "refused".into()] }],
            vec![
                is("service", "cart"),
                Filter::Words { column: "body".into(), words: vec!["connection".into(), "db".into(), "1".into()] },
            ],
            vec![is("service", "billing"), Filter::Words { column: "body".into(), words: vec!["7".into()] }],
            vec![is("service", "cart"), Filter::Words { column: "body".into(), words: vec!["größe".into()] }],
            vec![is("service", "cart"), Filter::Words { column: "body".into(), words: vec!["kilo".into()] }],
            vec![is("service", "cart"), Filter::Words { column: "body".into(), words: vec!["last".into()] }],
            vec![Filter::Attribute { key: "tenant.id".into(), value: "tenant-007".into() }],
            vec![Filter::Attribute { key: "http.response.status_code".into(), value: "200".into() }],
            vec![compare("severity_number", Op::GtEq, Value::Int(17))],
            vec![compare("trace_flags", Op::Eq, Value::Int(1)), is("service", "cart")],
        ]),
        Signal::Traces => all.extend([
            vec![compare("duration_ns", Op::Gt, Value::Int(5_000_000))],
            vec![is("status_code", "ERROR")],
            vec![is("kind", "SERVER"), compare("duration_ns", Op::LtEq, Value::Int(20_000_000))],
            vec![Filter::Attribute { key: "http.request.method".into(), value: "GET".into() }],
        ]),
        Signal::Metrics => all.extend([
            vec![is("kind", "gauge")],
            vec![is("kind", "sum"), is("name", "unnamed")],
            vec![compare("value", Op::Gt, Value::Double(10.5))],
            vec![compare("sum", Op::Lt, Value::Int(1000))],
            vec![is("unit", "")],
        ]),
    }
    all
}

fn times() -> [std::ops::Range<i64>; 5] {
    let middle = START + 30 * MINUTE;
    [
        i64::MIN..i64::MAX,
        START..middle,
        middle + 123_456_789..START + 50 * MINUTE + 1,
        START + 90 * MINUTE + 1..START + 90 * MINUTE + 2,
        i64::MIN..START + 10 * MINUTE,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_gives_exactly_the_rows_that_match() {
    for signal in Signal::ALL {
        let world = full(signal).await;
        let rows = everything(&world, signal).await;
        for filters in filters(signal) {
            for time in times() {
                let scan = Scan { time, filters: filters.clone(), ..Scan::all(signal) };
                let back = world.scan_up_to(&scan, 5).await;
                let expected = matching(signal, &rows, &scan);
                assert!(records(signal, &back) == records(signal, &expected), "{scan:?}: {}", expected.len());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_rows_are_among_those_that_come_with_a_limit_and_few_others() {
    for signal in Signal::ALL {
        let world = full(signal).await;
        let rows = everything(&world, signal).await;
        let times_of = |rows: &[RecordBatch]| {
            let mut times: Vec<i64> = rows
                .iter()
                .flat_map(|rows| {
                    derive(signal, "time", rows).unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
                })
                .collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times
        };
        for filters in filters(signal) {
            for limit in [0, 1, 7, 100, 100_000] {
                let scan =
                    Scan { filters: filters.clone(), newest_first: true, limit: Some(limit), ..Scan::all(signal) };
                let back = world.scan_up_to(&scan, 5).await;
                let all = matching(signal, &rows, &scan);
                let (back, all) = (times_of(&back), times_of(&all));
                let wanted = limit.min(all.len());
                assert_eq!(back.get(..wanted), all.get(..wanted), "{scan:?}");
                assert!(back.len() <= all.len());
                let scan = Scan { newest_first: false, ..scan };
                let back = world.scan_up_to(&scan, 5).await;
                assert!(times_of(&back).len() >= wanted, "{scan:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_a_trace_are_found_by_its_id_in_any_case() {
    let world = full(Signal::Logs).await;
    world.execute(
        "INSERT INTO log_events (timestamp, source, service, host, level, message, trace_id) VALUES ('2023-11-14', 's', 's', 's', \
         'INFO', '', 'ABCDEF00000000000000000000000001'), ('2023-11-14', 's', 's', 's', 'INFO', '', \
         'abcdef00000000000000000000000001')",
    );
    for signal in [Signal::Logs, Signal::Traces] {
        let world = if signal == Signal::Logs { &world } else { &full(signal).await };
        let rows = everything(world, signal).await;
        let ids = derive(signal, "trace_id", &rows[0]).unwrap();
        let id = ids.as_string_view().iter().flatten().next().unwrap().to_owned();
        for id in [id.as_str(), "abcdef00000000000000000000000001", "none"] {
            let scan = Scan { filters: vec![is("trace_id", id)], ..Scan::all(signal) };
            let back = world.scan_up_to(&scan, 5).await;
            let expected = matching(signal, &rows, &scan);
            assert_eq!(records(signal, &back), records(signal, &expected), "{id}");
            assert!(!expected.is_empty() || id == "none" || signal == Signal::Traces);
        }
    }
}

/// What is computed of a group.
#[derive(Clone, Debug, PartialEq)]
enum Figure {
    Count(i64),
    Sum(Option<f64>),
    Least(Option<String>),
    Greatest(Option<String>),
}

type Table = BTreeMap<Vec<Option<String>>, Vec<Figure>>;

fn show(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Timestamp(..) => format!("{:020}", array.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Int64 => format!("{:020}", array.as_primitive::<arrow_array::types::Int64Type>().value(row)),
        DataType::Float64 => {
            // Sorts as the numbers do.
            let bits = array.as_primitive::<arrow_array::types::Float64Type>().value(row).to_bits();
            format!("{:020}", if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
        }
        _ => array_value_to_string(array, row).unwrap(),
    })
}

fn double(array: &ArrayRef, row: usize) -> Option<f64> {
    let array = cast(&array.slice(row, 1), &DataType::Float64).unwrap();
    let array = array.as_primitive::<arrow_array::types::Float64Type>();
    array.is_valid(0).then(|| array.value(0))
}

fn merge(table: &mut Table, key: Vec<Option<String>>, figures: Vec<Figure>) {
    let Some(known) = table.get_mut(&key) else {
        table.insert(key, figures);
        return;
    };
    for (known, new) in known.iter_mut().zip(figures) {
        match (known, new) {
            (Figure::Count(known), Figure::Count(new)) => *known += new,
            (Figure::Sum(known), Figure::Sum(new)) => *known = known.map_or(new, |sum| Some(sum + new.unwrap_or(0.0))),
            (Figure::Least(known), Figure::Least(new)) => {
                *known = [known.take(), new].into_iter().flatten().min();
            }
            (Figure::Greatest(known), Figure::Greatest(new)) => *known = known.take().max(new),
            (known, new) => panic!("{known:?} {new:?}"),
        }
    }
}

fn computed(table: &mut Table, signal: Signal, rows: &[RecordBatch], group: &GroupBy) {
    for batch in rows {
        let shown = to_table(signal, batch).unwrap();
        let column = |name: &str| shown.column_by_name(name).unwrap();
        for row in 0..batch.num_rows() {
            let key = group.keys.iter().map(|key| match key {
                Key::Column(name) => show(column(name), row),
                Key::Attribute(key) => show(&attribute_text(key, batch).unwrap(), row),
                Key::Time { width, origin } => {
                    let time = column("time").as_primitive::<TimestampNanosecondType>().value(row);
                    let [time, width, origin] = [time, *width, *origin].map(i128::from);
                    Some(format!("{:020}", (time - origin).div_euclid(width) * width + origin))
                }
            });
            let figures = group.measures.iter().map(|measure| match measure {
                Measure::CountAll => Figure::Count(1),
                Measure::Count(name) => Figure::Count(i64::from(column(name).is_valid(row))),
                Measure::Sum(name) => Figure::Sum(double(column(name), row)),
                Measure::Min(name) => Figure::Least(show(column(name), row)),
                Measure::Max(name) => Figure::Greatest(show(column(name), row)),
            });
            merge(table, key.collect(), figures.collect());
        }
    }
}

async fn answered(signal: Signal, groups: Groups, group: &GroupBy, scan: &Scan) -> (Table, usize) {
    let mut table = Table::new();
    let rest = read_all(groups.rest).await;
    let rest_rows = rest.iter().map(RecordBatch::num_rows).sum();
    computed(&mut table, signal, &matching(signal, &rest, scan), group);
    for batch in groups.groups.try_collect::<Vec<_>>().await.unwrap() {
        for row in 0..batch.num_rows() {
            let column = |name: String| batch.column_by_name(&name).unwrap();
            let key = (0..group.keys.len()).map(|at| show(column(format!("k{at}")), row)).collect();
            let figures = group.measures.iter().enumerate().map(|(at, measure)| {
                let array = column(format!("m{at}"));
                match measure {
                    Measure::CountAll | Measure::Count(_) => Figure::Count(double(array, row).unwrap() as i64),
                    Measure::Sum(_) => Figure::Sum(double(array, row)),
                    Measure::Min(_) => Figure::Least(show(array, row)),
                    Measure::Max(_) => Figure::Greatest(show(array, row)),
                }
            });
            merge(&mut table, key, figures.collect());
        }
    }
    (table, rest_rows)
}

fn same(answered: &Table, expected: &Table) -> bool {
    let close = |a: &Figure, b: &Figure| match (a, b) {
        (Figure::Sum(Some(a)), Figure::Sum(Some(b))) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => a == b,
    };
    answered.len() == expected.len()
        && answered.iter().zip(expected).all(|((key, a), (other, b))| {
            key == other && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
        })
}

fn groupings(signal: Signal) -> Vec<GroupBy> {
    let column = |name: &str| Key::Column(name.into());
    let count = Measure::CountAll;
    let mut all = vec![
        GroupBy { keys: vec![column("service")], measures: vec![count.clone()] },
        GroupBy {
            keys: vec![column("service"), Key::Time { width: MINUTE, origin: 0 }],
            measures: vec![count.clone(), Measure::Min("host".into()), Measure::Max("service".into())],
        },
        GroupBy { keys: vec![Key::Time { width: 7 * MINUTE, origin: -3_000_000 }], measures: vec![count.clone()] },
    ];
    match signal {
        Signal::Logs => all.extend([
            GroupBy {
                keys: vec![column("level"), column("source"), column("host")],
                measures: vec![Measure::Count("body".into()), count],
            },
            GroupBy { keys: vec![column("level")], measures: vec![Measure::Count("time".into())] },
        ]),
        Signal::Traces => all.extend([
            GroupBy {
                keys: vec![column("name"), column("kind"), column("status_code")],
                measures: vec![
                    Measure::Sum("duration_ns".into()),
                    Measure::Min("duration_ns".into()),
                    Measure::Max("duration_ns".into()),
                    Measure::Min("time".into()),
                    Measure::Max("time".into()),
                    Measure::Count("parent_span_id".into()),
                ],
            },
            GroupBy { keys: vec![column("trace_id"), column("parent_span_id")], measures: vec![count] },
            GroupBy { keys: vec![Key::Time { width: 12_345_678_901, origin: 7 }], measures: vec![Measure::CountAll] },
        ]),
        Signal::Metrics => all.extend([GroupBy {
            keys: vec![column("name"), column("kind"), column("unit")],
            measures: vec![
                count,
                Measure::Count("value".into()),
                Measure::Sum("value".into()),
                Measure::Min("value".into()),
                Measure::Max("sum".into()),
            ],
        }]),
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_the_database_are_those_of_its_rows() {
    for signal in Signal::ALL {
        let world = full(signal).await;
        let rows = everything(&world, signal).await;
        let (mut answers, mut all_rest) = (0, true);
        for filters in filters(signal) {
            for time in times().into_iter().take(3) {
                let scan = Scan { time, filters: filters.clone(), ..Scan::all(signal) };
                let matching = matching(signal, &rows, &scan);
                for group in groupings(signal) {
                    let seen = Seen { writer: "w".into(), last: 5, idle: None };
                    let Some(groups) = world.store.group(&scan, &group, &seen).await.unwrap() else { continue };
                    let (answered, rest) = answered(signal, groups, &group, &scan).await;
                    let mut expected = Table::new();
                    computed(&mut expected, signal, &matching, &group);
                    if group.keys.is_empty() && expected.is_empty() {
                        continue;
                    }
                    assert!(
                        same(&answered, &expected),
                        "{group:?} of {scan:?}\nanswered {answered:#?}\nexpected {expected:#?}"
                    );
                    answers += 1;
                    all_rest &= rest > 0;
                }
            }
        }
        assert!(answers > 100 && !all_rest, "{signal}: {answers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_would_answer_otherwise_is_left_to_the_engine() {
    let world = full(Signal::Logs).await;
    let seen = Seen { writer: "w".into(), last: 5, idle: None };
    let group = |keys: Vec<Key>, measures: Vec<Measure>| GroupBy { keys, measures };
    let words = Filter::Words { column: "body".into(), words: vec!["a".into()] };
    for (filters, group) in [
        (vec![words], group(vec![], vec![Measure::CountAll])),
        (vec![], group(vec![Key::Attribute("k".into())], vec![Measure::CountAll])),
        (vec![], group(vec![Key::Column("body".into())], vec![Measure::CountAll])),
        (vec![], group(vec![Key::Time { width: 1_500, origin: 0 }], vec![Measure::CountAll])),
        (vec![], group(vec![], vec![Measure::Min("time".into())])),
        (vec![], group(vec![], vec![Measure::Sum("severity_number".into())])),
    ] {
        let scan = Scan { filters, ..Scan::all(Signal::Logs) };
        assert!(world.store.group(&scan, &group, &seen).await.unwrap().is_none(), "{group:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_ends_on_the_server() {
    let world = world().await;
    world.execute(
        "INSERT INTO log_events (timestamp, source, service, host, level, message) SELECT '2023-11-14', seq, seq, seq, 'INFO', '' \
         FROM seq_1_to_60000",
    );
    let group = GroupBy { keys: vec![Key::Column("service".into())], measures: vec![Measure::CountAll] };
    let seen = Seen { writer: "w".into(), last: 5, idle: None };
    for _ in 0..12 {
        drop(world.store.group(&Scan::all(Signal::Logs), &group, &seen).await.unwrap().unwrap());
    }
    let select = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = '{}' AND user = 'devmesh' AND info LIKE '%GROUP BY%'",
        world.name
    );
    world.server.until("no aggregate runs", || world.server.execute(&select).trim() == "0");
    let groups = world.store.group(&Scan::all(Signal::Logs), &group, &seen).await.unwrap().unwrap();
    let answer: Vec<RecordBatch> = groups.groups.try_collect().await.unwrap();
    assert_eq!(answer.iter().map(RecordBatch::num_rows).sum::<usize>(), 60_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_expired_is_gone_and_nothing_else() {
    for signal in Signal::ALL {
        let world = full(signal).await;
        let rows = everything(&world, signal).await;
        let before = START + 20 * MINUTE;
        let old = matching(signal, &rows, &Scan { time: i64::MIN..before, ..Scan::all(signal) });
        let deleted = world.store.expire(signal, before).await.unwrap();
        assert!(deleted >= old.len() as u64 && !old.is_empty(), "{signal}: {deleted} of {}", old.len());
        let scan = Scan { time: before..i64::MAX, ..Scan::all(signal) };
        let back = world.scan_up_to(&scan, 5).await;
        assert!(records(signal, &back) == records(signal, &matching(signal, &rows, &scan)));
        let group = GroupBy { keys: vec![], measures: vec![Measure::CountAll] };
        let seen = Seen { writer: "w".into(), last: 5, idle: None };
        let groups = world.store.group(&Scan::all(signal), &group, &seen).await.unwrap().unwrap();
        let (answer, _) = answered(signal, groups, &group, &Scan::all(signal)).await;
        assert_eq!(answer.values().next().unwrap()[0], Figure::Count(records(signal, &back).len() as i64));
        world.store.expire(signal, 2 * START).await.unwrap();
        let scan = Scan { time: i64::MIN..2 * START, ..Scan::all(signal) };
        assert!(world.scan_up_to(&scan, 5).await.iter().all(|batch| batch.num_rows() == 0));
        assert_eq!(world.count("devmesh_chunks") + world.count("devmesh_pieces"), 0);
        let size = world.store.size().await.unwrap();
        assert!(size[signal as usize].1 > 0, "{size:?}");
    }
}
