//! What holds while the engine answers.

use std::{ops::Range, sync::Arc};

use devmesh_schema::{Receipt, Signal, WriteError, otlp as codec};
use devmesh_store::{Filter, Op, Scan, Store, Value};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;

use super::{World, otlp, read};

/// The records of the store's rows, each by itself, sorted.
async fn items(store: &dyn Store, signal: Signal) -> Vec<String> {
    let mut found = Vec::new();
    for rows in read::all(store, signal).await.batches {
        found.extend(otlp::items(signal, &codec::encode(signal, &rows).unwrap()));
    }
    found.sort();
    found
}

fn accepted(count: u64) -> Receipt {
    Receipt { accepted: count, ..Receipt::default() }
}

pub(crate) async fn every_field_of_every_signal_comes_back(world: &impl World) {
    let store = world.open().await;
    let requests = [
        (Signal::Logs, otlp::logs(0..50).encode_to_vec()),
        (Signal::Traces, otlp::spans(0..50).encode_to_vec()),
        (Signal::Metrics, otlp::metrics(0..50).encode_to_vec()),
    ];
    for (signal, request) in &requests {
        let mut batch = otlp::batch(*signal, &otlp::logs(0..0), None);
        batch.request = request.clone().into();
        assert_eq!(store.write(batch).await.unwrap(), accepted(50));
    }
    for (signal, request) in &requests {
        assert_eq!(items(&*store, *signal).await, otlp::items(*signal, request), "{signal} in memory");
    }
    store.flush().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = world.open().await;
    assert_eq!(store.stats().replayed, 0, "the log was trimmed");
    for (signal, request) in &requests {
        assert_eq!(items(&*store, *signal).await, otlp::items(*signal, request), "{signal}");
    }
    store.close().await.unwrap();
}

pub(crate) async fn rows_are_there_before_and_after_they_leave_memory(world: &impl World) {
    let store = world.open().await;
    for n in 0..100 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        if n % 40 == 25 {
            store.flush().await.unwrap();
        }
    }
    read::assert_holds(&*store, 0..1000).await;
    assert!(store.stats().tables[0].memory_rows > 0);
    store.flush().await.unwrap();
    read::assert_holds(&*store, 0..1000).await;
    let stats = store.stats();
    assert_eq!((stats.tables[0].memory_rows, stats.memory_bytes), (0, 0));
    assert_eq!((stats.tables[0].received, stats.tables[0].stored), (1000, 1000));
    store.close().await.unwrap();
}

/// Numbers of the log records that a scan returns and that lie in its time.
async fn numbers(store: &dyn Store, scan: &Scan) -> Vec<u64> {
    let times = read::scan(store, scan).await.unwrap().times();
    let inside = times.into_iter().filter(|time| scan.time.contains(time));
    inside.map(|time| u64::try_from(time - otlp::BASE).unwrap()).collect()
}

pub(crate) async fn a_scan_returns_what_lies_in_its_time(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(1000..1100)).await.unwrap();
    for settled in [false, true] {
        for (from, to) in
            [(0, 2000), (0, 100), (99, 1000), (99, 1001), (100, 1000), (1099, 5000), (1100, 5000), (50, 50)]
        {
            let time = otlp::BASE + from..otlp::BASE + to;
            let found = numbers(&*store, &Scan { time, ..Scan::all(Signal::Logs) }).await;
            let expected = (0..100).chain(1000..1100).filter(|n| (from..to).contains(n)).map(|n| n as u64);
            assert!(found.iter().copied().eq(expected), "{from}..{to}, settled: {settled}: {found:?}");
        }
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
}

fn words(text: &str) -> Filter {
    let mut found = Vec::new();
    devmesh_store::words(text, |word| found.push(word.to_owned()));
    Filter::Words { column: "body".into(), words: found }
}

fn attribute(key: &str, value: impl Into<String>) -> Filter {
    Filter::Attribute { key: key.into(), value: value.into() }
}

fn compare(column: &str, op: Op, value: Value) -> Filter {
    Filter::Compare { column: column.into(), op, value }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(crate) async fn no_filter_leaves_out_a_row_that_matches(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..700)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(700..1000)).await.unwrap();
    let trace = |n: u64| hex::encode(otlp::trace_id(n));
    type Matches = Box<dyn Fn(u64) -> bool>;
    let cases: Vec<(Filter, Matches)> = vec![
        (words("needle345"), Box::new(|n| n == 345)),
        (words("REQUEST failed Needle345"), Box::new(|n| n == 345)),
        (words("request"), Box::new(|_| true)),
        (words("nowhere"), Box::new(|_| false)),
        (attribute("request.id", otlp::uuid(345)), Box::new(|n| n == 345)),
        (attribute("session", "s-172"), Box::new(|n| n / 2 == 172)),
        (attribute("http.route", "/api/4"), Box::new(|n| n % 7 == 4)),
        (attribute("duration", "1035"), Box::new(|n| n == 345)),
        (attribute("ok", "true"), Box::new(|n| n % 2 == 0)),
        (attribute("unknown", "x"), Box::new(|_| false)),
        (compare("service", Op::Eq, text("cart")), Box::new(|n| n % 2 == 0)),
        (compare("service", Op::Eq, text("CART")), Box::new(|_| false)),
        (compare("service", Op::Eq, text("cart ")), Box::new(|_| false)),
        (compare("service", Op::Gt, text("cart")), Box::new(|n| n % 2 == 1)),
        (compare("severity_number", Op::GtEq, Value::Int(20)), Box::new(|n| n % 24 + 1 >= 20)),
        (compare("severity_number", Op::Lt, Value::Int(2)), Box::new(|n| n % 24 == 0)),
        (compare("trace_id", Op::Eq, text(trace(346))), Box::new(|n| n == 346)),
        (
            Filter::OneOf { column: "trace_id".into(), values: vec![text(trace(346)), text("x")] },
            Box::new(|n| n == 346),
        ),
        (
            Filter::OneOf { column: "service".into(), values: vec![text("shop"), text("none")] },
            Box::new(|n| n % 2 == 1),
        ),
    ];
    for settled in [false, true] {
        for (filter, matches) in &cases {
            let scan = Scan { filters: vec![filter.clone()], ..Scan::all(Signal::Logs) };
            let found = numbers(&*store, &scan).await;
            let missing: Vec<u64> = (0..1000).filter(|n| matches(*n) && !found.contains(n)).collect();
            assert!(missing.is_empty(), "{filter:?}, settled: {settled}: lacks {missing:?}");
            let mut once = found.clone();
            once.dedup();
            assert_eq!(once.len(), found.len(), "{filter:?}, settled: {settled}: a row comes twice");
        }
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
}

pub(crate) async fn the_newest_rows_come_with_a_limit(world: &impl World) {
    let store = world.open().await;
    // The newest come first of all, so that neither blocks nor files lie in the order of time.
    store.write(otlp::log_batch(500..1000)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(0..500)).await.unwrap();
    for settled in [false, true] {
        for (limit, filter, expected) in [
            (10, None, (990..1000).collect::<Vec<u64>>()),
            (3, Some(attribute("http.route", "/api/4")), vec![984, 991, 998]),
            (700, None, (300..1000).collect()),
        ] {
            let scan = Scan {
                newest_first: true,
                limit: Some(limit),
                filters: filter.clone().into_iter().collect(),
                ..Scan::all(Signal::Logs)
            };
            let found = numbers(&*store, &scan).await;
            let missing: Vec<_> = expected.iter().filter(|n| !found.contains(n)).collect();
            assert!(missing.is_empty(), "{limit} {filter:?}, settled: {settled}: lacks {missing:?}");
        }
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
}

pub(crate) async fn a_batch_id_is_stored_once(world: &impl World) {
    let store = world.open().await;
    let batch = otlp::batch(Signal::Logs, &otlp::logs(0..10), Some("agent:1"));
    assert_eq!(store.write(batch.clone()).await.unwrap(), accepted(10));
    let again = store.write(batch.clone()).await.unwrap();
    assert_eq!(again, Receipt { deduplicated: true, ..accepted(10) });
    let other = otlp::batch(Signal::Logs, &otlp::logs(0..11), Some("agent:1"));
    assert!(matches!(store.write(other).await, Err(WriteError::BatchIdConflict(_))));
    store.flush().await.unwrap();
    assert!(store.write(batch).await.unwrap().deduplicated);
    read::assert_holds(&*store, 0..10).await;
    store.close().await.unwrap();
}

pub(crate) async fn a_batch_id_is_known_after_a_restart(world: &impl World) {
    let batch = |n: u64| otlp::batch(Signal::Logs, &otlp::logs(n * 10..n * 10 + 10), Some(&format!("b{n}")));
    let store = world.open().await;
    store.write(batch(0)).await.unwrap();
    store.flush().await.unwrap();
    store.write(batch(1)).await.unwrap();
    // As a kill would leave it: the first where rows stay, the second in the log.
    drop(store);
    let store = world.open().await;
    store.write(batch(2)).await.unwrap();
    for n in 0..3 {
        assert!(store.write(batch(n)).await.unwrap().deduplicated, "batch {n}");
    }
    store.close().await.unwrap();
    drop(store);
    let store = world.open().await;
    for n in 0..3 {
        assert!(store.write(batch(n)).await.unwrap().deduplicated, "batch {n}");
    }
    read::assert_holds(&*store, 0..30).await;
    store.close().await.unwrap();
}

pub(crate) async fn concurrent_senders_are_all_stored_once(world: &impl World) {
    let store = world.open().await;
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..8_u64 {
        let store = Arc::clone(&store);
        senders.spawn(async move {
            for n in 0..25 {
                let start = (n * 8 + sender) * 10;
                let id = format!("{sender}:{n}");
                let batch = otlp::batch(Signal::Logs, &otlp::logs(start..start + 10), Some(&id));
                store.write(batch.clone()).await.unwrap();
                assert!(store.write(batch).await.unwrap().deduplicated);
            }
        });
    }
    let flusher = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..5 {
                store.flush().await.unwrap();
            }
        })
    };
    senders.join_all().await;
    flusher.await.unwrap();
    read::assert_holds(&*store, 0..2000).await;
    store.flush().await.unwrap();
    read::assert_holds(&*store, 0..2000).await;
    store.close().await.unwrap();
}

pub(crate) async fn restarts_neither_lose_nor_double(world: &impl World) {
    for round in 0..6_u64 {
        let store = world.open().await;
        read::assert_holds(&*store, 0..round * 30).await;
        for n in 0..3 {
            let start = round * 30 + n * 10;
            store.write(otlp::log_batch(start..start + 10)).await.unwrap();
            if n == round % 3 {
                store.flush().await.unwrap();
            }
        }
        // Every other time in good order.
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
}

pub(crate) async fn a_snapshot_never_loses_or_doubles_a_row(world: &impl World) {
    let store = world.open().await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..120_u64 {
                store.write(otlp::log_batch(n * 5..n * 5 + 5)).await.unwrap();
                if n % 10 == 9 {
                    store.flush().await.unwrap();
                }
            }
        })
    };
    let (mut last, mut done) = (0, false);
    while !done {
        done = writer.is_finished();
        let found = read::numbers(&*store).await;
        assert!(found.len() >= last, "{} rows after {last}", found.len());
        // The batches of the log's order, each whole, each once.
        assert!(found.iter().copied().eq(0..found.len() as u64), "{found:?}");
        assert_eq!(found.len() % 5, 0);
        last = found.len();
    }
    writer.await.unwrap();
    assert_eq!(last, 600);
    store.close().await.unwrap();
}

pub(crate) async fn a_snapshot_stays_as_it_was(world: &impl World) {
    let store = world.open().await;
    let write = async |numbers: Range<u64>| drop(store.write(otlp::log_batch(numbers)).await.unwrap());
    write(0..100).await;
    store.flush().await.unwrap();
    write(100..200).await;
    let snapshot = store.snapshot();
    store.flush().await.unwrap();
    write(200..300).await;
    store.flush().await.unwrap();
    let rows = read::fragments(snapshot.scan(&Scan::all(Signal::Logs)).await.unwrap()).await.unwrap();
    let found: Vec<i64> = rows.times().into_iter().map(|time| time - otlp::BASE).collect();
    assert!(found.iter().copied().eq(0..200), "{found:?}");
    read::assert_holds(&*store, 0..300).await;
    store.close().await.unwrap();
}

pub(crate) async fn expired_records_are_gone(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..200)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(200..400)).await.unwrap();
    store.write(otlp::batch(Signal::Traces, &otlp::spans(0..40), None)).await.unwrap();
    store.expire(Signal::Logs, otlp::BASE + 150).await.unwrap();
    read::assert_holds(&*store, 150..400).await;
    store.expire(Signal::Logs, otlp::BASE + 350).await.unwrap();
    read::assert_holds(&*store, 350..400).await;
    store.expire(Signal::Logs, otlp::BASE + 100).await.unwrap();
    store.flush().await.unwrap();
    read::assert_holds(&*store, 350..400).await;
    store.close().await.unwrap();
    drop(store);
    let store = world.open().await;
    read::assert_holds(&*store, 350..400).await;
    assert_eq!(read::all(&*store, Signal::Traces).await.count(), 40);
    store.close().await.unwrap();
}

pub(crate) async fn rejected_items_are_counted_and_the_others_kept(world: &impl World) {
    let store = world.open().await;
    let mut request = otlp::spans(0..10);
    request.resource_spans[0].scope_spans[0].spans[3].trace_id = vec![1, 2, 3];
    request.resource_spans[0].scope_spans[0].spans[7].span_id = vec![1];
    let receipt = store.write(otlp::batch(Signal::Traces, &request, None)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.rejected, receipt.rejections.len()), (8, 2, 2));
    store.flush().await.unwrap();
    assert_eq!(read::all(&*store, Signal::Traces).await.count(), 8);
    let table = store.stats().tables[1];
    assert_eq!((table.received, table.stored, table.rejected), (10, 8, 2));
    store.close().await.unwrap();
}

pub(crate) async fn awkward_texts_and_numbers_come_back(world: &impl World) {
    let store = world.open().await;
    let mut request = otlp::logs(0..12);
    let texts = ["", " ", "a\0b", "\\ % _ '\"`;--", "\u{1F980} ä\u{0301} \u{202e}", "\u{feff}x", "tab\tnew\nline\r"];
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    for (record, text) in records.iter_mut().zip(texts) {
        record.attributes.push(otlp::text("awkward", text));
        record.attributes.push(otlp::text(&format!("key {text}"), text));
        record.body = Some(otlp::value(Any::StringValue(text.into())));
    }
    let numbers = [f64::MIN, f64::MAX, f64::MIN_POSITIVE, -0.0, f64::INFINITY, f64::NEG_INFINITY];
    let records = &mut request.resource_logs[1].scope_logs[0].log_records;
    for (record, number) in records.iter_mut().zip(numbers) {
        record.attributes.push(otlp::attribute("double", Any::DoubleValue(number)));
        record.attributes.push(otlp::attribute("int", Any::IntValue(i64::MIN)));
        record.attributes.push(otlp::attribute("bytes", Any::BytesValue(vec![0, 255, 39])));
        record.body = None;
    }
    let batch = otlp::batch(Signal::Logs, &request, None);
    let expected = otlp::items(Signal::Logs, &batch.request);
    store.write(batch).await.unwrap();
    assert_eq!(items(&*store, Signal::Logs).await, expected, "in memory");
    store.flush().await.unwrap();
    assert_eq!(items(&*store, Signal::Logs).await, expected);
    store.close().await.unwrap();
}
