//! What holds for the store wherever its files lie.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use devmesh_schema::{Receipt, Signal, WriteError, otlp as codec};
use devmesh_store::{Filter, Fragment, Op, Scan, Settings, Store, Value};
use prost::Message;
use tempfile::TempDir;

use crate::{Place, otlp, read, server::Server};

/// A place for a store.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Settings,
}

impl World {
    pub(crate) async fn new(place: Place) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings { min_free_disk: 1 << 20, ..Settings::default() };
        settings.retention.logs = Duration::ZERO;
        settings.retention.traces = Duration::ZERO;
        settings.retention.metrics = Duration::ZERO;
        settings.wal.segment_bytes = 1 << 20;
        settings.data_dir = directory.path().join("data");
        let server = match place {
            Place::Local => {
                settings.url = format!("file://{}", settings.data_dir.display());
                None
            }
            Place::S3 => {
                let server = Server::start(&directory.path().join("s3")).await;
                settings.url = "s3://bucket/some/prefix".into();
                settings.s3.endpoint = server.endpoint.clone();
                settings.s3.region = "us-east-1".into();
                settings.s3.access_key_id = "key".into();
                settings.s3.secret_access_key = devmesh_store::settings::Secret("secret".into());
                settings.s3.allow_http = true;
                settings.s3.timeout = Duration::from_secs(2);
                Some(server)
            }
        };
        Self { directory, server, settings }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        devmesh_store::open(&self.settings).await.unwrap()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.settings.data_dir.clone()
    }

    /// Flushes, and with an object store waits until the files are there.
    pub(crate) async fn settle(&self, store: &dyn Store) {
        store.flush().await.unwrap();
        if self.server.is_some() {
            until("the files are in the object store", async || local_files(store).await == 0).await;
        }
    }
}

/// Waits for something, at most two minutes.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if holds().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Live files on the disk.
pub(crate) async fn local_files(store: &dyn Store) -> usize {
    let mut count = 0;
    for signal in Signal::ALL {
        for fragment in store.scan(&Scan::all(signal)).await.unwrap() {
            if let Fragment::Parquet { store, files, .. } = fragment
                && store.to_string().contains("LocalFileSystem")
            {
                count += files.len();
            }
        }
    }
    count
}

fn accepted(count: u64) -> Receipt {
    Receipt { accepted: count, ..Receipt::default() }
}

pub(crate) async fn every_field_of_every_signal_comes_back_from_files(world: World) {
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
    world.settle(&*store).await;
    store.close().await.unwrap();
    let store = world.open().await;
    assert_eq!(store.stats().replayed, 0, "the log was trimmed");
    for (signal, request) in &requests {
        let rows = read::all(&*store, *signal).await;
        let mut found = Vec::new();
        for rows in &rows.batches {
            found.extend(otlp::items(*signal, &codec::encode(*signal, rows).unwrap()));
        }
        found.sort();
        assert_eq!(found, otlp::items(*signal, request), "{signal}");
    }
}

pub(crate) async fn rows_are_there_before_and_after_they_move_to_files(world: World) {
    let store = world.open().await;
    for n in 0..200 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        if n % 50 == 25 {
            store.flush().await.unwrap();
        }
    }
    read::assert_holds(&*store, 0..2000).await;
    let stats = store.stats();
    assert!(stats.tables[0].memory_rows > 0 && stats.tables[0].file_rows > 0, "{stats:?}");
    world.settle(&*store).await;
    read::assert_holds(&*store, 0..2000).await;
    let stats = store.stats();
    assert_eq!((stats.tables[0].memory_rows, stats.tables[0].file_rows, stats.memory_bytes), (0, 2000, 0));
    assert_eq!((stats.tables[0].received, stats.tables[0].stored), (2000, 2000));
}

pub(crate) async fn a_scan_returns_what_overlaps_its_time(world: World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    world.settle(&*store).await;
    store.write(otlp::log_batch(1000..1100)).await.unwrap();
    let scan = |from: i64, to: i64| Scan { time: otlp::BASE + from..otlp::BASE + to, ..Scan::all(Signal::Logs) };
    for (from, to, expected) in [
        (0, 2000, 200),
        (0, 100, 100),
        (99, 1000, 100),
        (100, 1000, 0),
        (1000, 1001, 100),
        (1099, 5000, 100),
        (1100, 5000, 0),
        (-10, 0, 0),
    ] {
        let rows = read::scan(&*store, &scan(from, to)).await.unwrap();
        assert_eq!(rows.count(), expected, "{from}..{to}");
    }
}

pub(crate) async fn a_batch_id_is_stored_once(world: World) {
    let store = world.open().await;
    let batch = otlp::batch(Signal::Logs, &otlp::logs(0..10), Some("agent:1"));
    assert_eq!(store.write(batch.clone()).await.unwrap(), accepted(10));
    let again = store.write(batch.clone()).await.unwrap();
    assert_eq!(again, Receipt { deduplicated: true, ..accepted(10) });
    let other = otlp::batch(Signal::Logs, &otlp::logs(0..11), Some("agent:1"));
    assert!(matches!(store.write(other).await, Err(WriteError::BatchIdConflict(_))));
    world.settle(&*store).await;
    assert!(store.write(batch).await.unwrap().deduplicated);
    read::assert_holds(&*store, 0..10).await;
    let table = store.stats().tables[0];
    assert_eq!((table.received, table.stored, table.deduplicated), (30, 10, 20));
}

pub(crate) async fn a_batch_id_is_known_after_a_restart(world: World) {
    let batch = |n: u64| otlp::batch(Signal::Logs, &otlp::logs(n * 10..n * 10 + 10), Some(&format!("b{n}")));
    let store = world.open().await;
    store.write(batch(0)).await.unwrap();
    store.flush().await.unwrap();
    store.write(batch(1)).await.unwrap();
    // As a kill would leave it: the first in a file, the second in the log.
    drop(store);
    let store = crate::conformance::opened(&world.settings).await;
    store.write(batch(2)).await.unwrap();
    for n in 0..3 {
        assert!(store.write(batch(n)).await.unwrap().deduplicated, "batch {n}");
    }
    store.close().await.unwrap();
    let store = world.open().await;
    for n in 0..3 {
        assert!(store.write(batch(n)).await.unwrap().deduplicated, "batch {n}");
    }
    read::assert_holds(&*store, 0..30).await;
}

pub(crate) async fn concurrent_senders_of_one_batch_id_store_it_once(world: World) {
    let store = world.open().await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, batch) = (Arc::clone(&store), otlp::batch(Signal::Logs, &otlp::logs(0..10), Some("same")));
        senders.spawn(async move { store.write(batch).await.unwrap() });
    }
    let receipts = senders.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.deduplicated).count(), 1);
    read::assert_holds(&*store, 0..10).await;
}

pub(crate) async fn rejected_items_are_counted_and_the_others_kept(world: World) {
    let store = world.open().await;
    let mut request = otlp::spans(0..10);
    request.resource_spans[0].scope_spans[0].spans[3].trace_id = vec![1, 2, 3];
    request.resource_spans[0].scope_spans[0].spans[7].span_id = vec![1];
    let receipt = store.write(otlp::batch(Signal::Traces, &request, None)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.rejected, receipt.rejections.len()), (8, 2, 2));
    let mut batch = otlp::log_batch(0..1);
    batch.request = vec![0xff; 20].into();
    assert!(matches!(store.write(batch).await, Err(WriteError::Invalid(_))));
    let stats = store.stats();
    let table = stats.tables[1];
    assert_eq!((table.received, table.stored, table.rejected), (10, 8, 2));
    assert_eq!(stats.rejections.iter().map(|(_, _, count)| count).sum::<u64>(), 2);
    assert_eq!(stats.tables[0].received, 0);
}

pub(crate) async fn restarts_neither_lose_nor_double(world: World) {
    for round in 0..6_u64 {
        let store = if round == 0 { world.open().await } else { crate::conformance::opened(&world.settings).await };
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

pub(crate) async fn small_files_are_merged_without_loss(world: World) {
    let store = world.open().await;
    for n in 0..20 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.flush().await.unwrap();
    }
    until("files are merged", async || store.stats().tables[0].files < 10).await;
    read::assert_holds(&*store, 0..200).await;
    let rows = read::all(&*store, Signal::Logs).await;
    let mut found = Vec::new();
    for rows in &rows.batches {
        found.extend(otlp::items(Signal::Logs, &codec::encode(Signal::Logs, rows).unwrap()));
    }
    found.sort();
    let whole = otlp::items(Signal::Logs, &otlp::logs(0..200).encode_to_vec());
    assert_eq!(found, whole);
    world.settle(&*store).await;
    store.close().await.unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..200).await;
}

pub(crate) async fn a_snapshot_never_loses_or_doubles_a_row(world: World) {
    let store = world.open().await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..300_u64 {
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
    assert_eq!(last, 1500);
}

pub(crate) async fn expired_records_are_gone_from_memory_and_files(world: World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(100..200)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(200..300)).await.unwrap();
    world.settle(&*store).await;
    store.write(otlp::log_batch(300..400)).await.unwrap();
    assert_eq!(store.expire(Signal::Logs, otlp::BASE + 150).await.unwrap(), 100);
    read::assert_holds(&*store, 150..400).await;
    assert_eq!(store.stats().tables[0].files, 2);
    assert_eq!(store.expire(Signal::Logs, otlp::BASE + 350).await.unwrap(), 250);
    read::assert_holds(&*store, 350..400).await;
    assert_eq!(store.expire(Signal::Logs, otlp::BASE + 100).await.unwrap(), 0, "it never goes back");
    store.close().await.unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 350..400).await;
    assert_eq!(store.expire(Signal::Traces, i64::MAX).await.unwrap(), 0);
}

pub(crate) async fn the_index_finds_a_needle_and_reads_few_rows(world: World) {
    let store = world.open().await;
    for n in 0..20 {
        store.write(otlp::log_batch(n * 1000..n * 1000 + 1000)).await.unwrap();
    }
    world.settle(&*store).await;
    let needle = 12_345;
    let trace = hex::encode(otlp::trace_id(needle + 1));
    let words = |text: &str| {
        let mut found = Vec::new();
        devmesh_store::words(text, |word| found.push(word.to_owned()));
        Filter::Words { column: "body".into(), words: found }
    };
    let attribute = |key: &str, value: String| Filter::Attribute { key: key.into(), value };
    let compare =
        |value: &str| Filter::Compare { column: "trace_id".into(), op: Op::Eq, value: Value::Text(value.into()) };
    // What a filter lets through at most, and a number that must be among it.
    let cases = [
        (words("needle12345"), 8192, Some(needle)),
        (words("REQUEST failed needle12345"), 8192, Some(needle)),
        (words("request"), 20_000, Some(needle)),
        (words("nowhere"), 0, None),
        (attribute("request.id", otlp::uuid(needle)), 8192, Some(needle)),
        (attribute("request.id", otlp::uuid(99_999_999)), 0, None),
        (attribute("request.id", "no uuid".into()), 0, None),
        (attribute("session", format!("s-{}", needle / 2)), 16_384, Some(needle)),
        (attribute("http.route", "/api/4".into()), 20_000, Some(needle)),
        (attribute("duration", (needle * 3).to_string()), 20_000, Some(needle)),
        (attribute("duration", "abc".into()), 0, None),
        (attribute("list", format!("[{needle}]")), 20_000, Some(needle)),
        (attribute("unknown", "x".into()), 0, None),
        (compare(&trace), 8192, Some(needle + 1)),
        (compare("00000000000000000000000000000001"), 0, None),
        (
            Filter::OneOf {
                column: "trace_id".into(),
                values: vec![Value::Text(trace.clone()), Value::Text("x".into())],
            },
            8192,
            Some(needle + 1),
        ),
    ];
    for (filter, most, number) in cases {
        let scan = Scan { filters: vec![filter.clone()], ..Scan::all(Signal::Logs) };
        let times = read::scan(&*store, &scan).await.unwrap().times();
        // One range in a hundred may seem to have a word.
        assert!(times.len() <= most + if most == 0 { 0 } else { 8192 }, "{filter:?}: {} rows", times.len());
        if let Some(number) = number {
            assert!(times.contains(&(otlp::BASE + number as i64)), "{filter:?}");
        }
    }
}

pub(crate) async fn a_tail_sees_what_is_committed(world: World) {
    let store = world.open().await;
    let mut tail = store.subscribe();
    for n in 0..5 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
    }
    let mut rows = 0;
    while rows < 50 {
        let seen = tail.recv().await.unwrap();
        assert_eq!(seen.signal, Signal::Logs);
        rows += seen.rows.num_rows();
    }
}

pub(crate) async fn a_closed_store_refuses_writes(world: World) {
    let store = world.open().await;
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..50_u64 {
        let store = Arc::clone(&store);
        senders.spawn(async move { store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.is_ok().then_some(n) });
    }
    let drained = store.close().await.unwrap();
    let stored: BTreeSet<u64> = senders.join_all().await.into_iter().flatten().collect();
    assert!(matches!(store.write(otlp::log_batch(0..1)).await, Err(WriteError::Closed)));
    assert!(store.ready().await.is_err());
    assert_eq!(drained.rows_flushed, stored.len() as u64 * 10);
    drop(store);
    let store = world.open().await;
    let found: BTreeSet<u64> = read::numbers(&*store).await.into_iter().map(|n| n / 10).collect();
    assert_eq!(found, stored);
    assert_eq!(store.stats().replayed, 0);
}
