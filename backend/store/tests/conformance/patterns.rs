//! Bodies have templates, and templates patterns, wherever the rows lie.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use devmesh_schema::{Batch, Signal, stored, view};
use devmesh_store::{Filter, Op, PatternMap, Scan, Store, Value, pattern_id_text};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

use super::{World, otlp, read};

const USERS: [&str; 8] = ["ann", "bob", "eve", "joe", "kim", "lea", "max", "zoe"];

/// The body of record `n`.
fn body(n: u64) -> String {
    match n % 5 {
        0 => format!("session opened for user {} by (uid={})", USERS[(n / 5 % 8) as usize], n % 3),
        1 => format!("request {} accepted after {n} ms", otlp::uuid(n)),
        2 => format!("disk {}: {n}% full, \u{e4}\u{f6}\u{fc} {}", n % 4, otlp::uuid(n)),
        3 => "nothing to do".to_owned(),
        _ => format!("<*> stands in line {n}\nand {} in the next", otlp::uuid(n)),
    }
}

/// Records whose bodies are texts, but for every eleventh, which has a number, and every thirteenth, which has none.
pub(crate) fn batch(numbers: std::ops::Range<u64>) -> Batch {
    let mut request = otlp::logs(numbers);
    for record in request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs[0].log_records) {
        let n = record.time_unix_nano - otlp::BASE as u64;
        record.body = match n {
            n if n % 11 == 0 => Some(otlp::value(Any::IntValue(n as i64))),
            n if n % 13 == 0 => None,
            n => Some(otlp::value(Any::StringValue(body(n)))),
        };
    }
    otlp::batch(Signal::Logs, &request, None)
}

/// The body and the template of each record, by its number.
pub(crate) async fn rows(store: &dyn Store, scan: &Scan) -> BTreeMap<u64, (Option<String>, Option<String>)> {
    let mut found = BTreeMap::new();
    for rows in read::scan(store, scan).await.unwrap().batches {
        let times = rows.column_by_name("time").unwrap();
        let times = times.as_primitive::<arrow_array::types::TimestampNanosecondType>().values().to_vec();
        let bodies = view::derive(Signal::Logs, "body", &rows).unwrap();
        let bodies = bodies.as_string_view().iter().map(|body| body.map(str::to_owned));
        let (texts, keys) = view::distinct(&rows, stored::TEMPLATE).unwrap();
        for ((time, body), key) in times.iter().zip(bodies).zip(keys.values()) {
            found.insert((time - otlp::BASE) as u64, (body, texts[*key as usize].clone()));
        }
    }
    found
}

pub(crate) fn expected(n: u64) -> Option<String> {
    match n {
        n if n % 11 == 0 => Some(n.to_string()),
        n if n % 13 == 0 => None,
        n => Some(body(n)),
    }
}

/// Checks that all rows are there with their bodies, and answers their patterns.
pub(crate) async fn patterns(store: &dyn Store, numbers: std::ops::Range<u64>, place: &str) -> BTreeMap<u64, u64> {
    let rows = rows(store, &Scan::all(Signal::Logs)).await;
    assert!(rows.keys().copied().eq(numbers), "{place}");
    let map = store.snapshot().patterns();
    let mut patterns = BTreeMap::new();
    for (n, (body, template)) in rows {
        assert_eq!(body, expected(n), "{place}: the body of {n}");
        let is_text = n % 11 != 0 && n % 13 != 0;
        assert_eq!(template.is_some(), is_text, "{place}: the template of {n} is {template:?}");
        patterns.extend(template.map(|text| (n, map.pattern_of_text(&text))));
    }
    patterns
}

fn listed(map: &PatternMap) -> BTreeSet<u64> {
    map.list().iter().map(|pattern| pattern.id).collect()
}

pub(crate) async fn bodies_have_one_pattern_wherever_they_lie(world: &impl World) {
    let store = world.open().await;
    for n in 0..10 {
        store.write(batch(n * 100..n * 100 + 100)).await.unwrap();
        if n % 4 == 1 {
            store.flush().await.unwrap();
        }
    }
    let first = patterns(&*store, 0..1000, "partly in memory").await;
    store.flush().await.unwrap();
    let second = patterns(&*store, 0..1000, "settled").await;
    let map = store.snapshot().patterns();
    let distinct: BTreeSet<u64> = second.values().copied().collect();
    assert_eq!(distinct.len(), 5, "{:?}", map.list());
    assert!(distinct.is_subset(&listed(&map)), "{:?}", map.list());
    for (n, id) in first {
        assert_eq!(map.pattern_of(id), Some(second[&n]), "what {n} had leads to what it has");
    }
    for (n, id) in &second {
        assert_eq!(*id, second[&(n % 5 + if n % 5 == 0 { 5 } else { 0 })], "records of one kind have one pattern: {n}");
    }
    store.close().await.unwrap();
    drop(store);
    let store = world.open().await;
    assert_eq!(patterns(&*store, 0..1000, "after a restart").await, second);
    assert_eq!(listed(&store.snapshot().patterns()), listed(&map));
    store.close().await.unwrap();
}

pub(crate) async fn a_crash_keeps_the_ids_of_patterns(world: &impl World) {
    let store = world.open().await;
    store.write(batch(0..500)).await.unwrap();
    store.flush().await.unwrap();
    let before = patterns(&*store, 0..500, "before").await;
    // What comes now is in the log alone.
    store.write(batch(500..700)).await.unwrap();
    drop(store);
    let store = world.open().await;
    let after = patterns(&*store, 0..700, "after").await;
    for (n, id) in &before {
        assert_eq!(after[n], *id, "{n}");
    }
    for n in 500..700 {
        assert_eq!(after.get(&n), after.get(&(n % 5 + 15)).filter(|_| n % 11 != 0 && n % 13 != 0), "{n}");
    }
    store.close().await.unwrap();
}

pub(crate) async fn a_filter_by_pattern_leaves_out_no_row(world: &impl World) {
    let store = world.open().await;
    store.write(batch(0..400)).await.unwrap();
    store.flush().await.unwrap();
    store.write(batch(400..600)).await.unwrap();
    for settled in [false, true] {
        let all = patterns(&*store, 0..600, "all").await;
        for wanted in all.values().copied().collect::<BTreeSet<u64>>() {
            let value = Value::Text(pattern_id_text(wanted));
            let filter = Filter::Compare { column: "pattern_id".into(), op: Op::Eq, value };
            let scan = Scan { filters: vec![filter], ..Scan::all(Signal::Logs) };
            let found = rows(&*store, &scan).await;
            let missing: Vec<_> = all.iter().filter(|(n, id)| **id == wanted && !found.contains_key(n)).collect();
            assert!(missing.is_empty(), "settled: {settled}: lacks {missing:?}");
        }
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
}
