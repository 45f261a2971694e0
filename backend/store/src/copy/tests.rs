//! Copies between real stores: directories, and the databases that the tests start (`tests/install.sh` brings them).

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use devmesh_schema::{Batch, IngestPath, Signal};
use prost::Message;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{Copied, Event, Options, copy, rows};
use crate::{Error, Settings, Store, conformance::otlp, migrate::tests::url_on};

fn settings(url: &str, data_dir: &Path) -> Settings {
    let mut settings = Settings { url: url.to_owned(), min_free_disk: 1 << 20, ..Settings::default() };
    settings.data_dir = data_dir.to_owned();
    settings.retention.logs = Duration::ZERO;
    settings.retention.traces = Duration::ZERO;
    settings.retention.metrics = Duration::ZERO;
    settings.wal.segment_bytes = 1 << 20;
    settings
}

/// A directory for stores and progress.
struct World(TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self, name: &str) -> Arc<dyn Store> {
        let path = self.0.path().join(name);
        crate::open(&settings(&format!("file://{}", path.display()), &path)).await.unwrap()
    }

    async fn open_at(&self, url: &str, name: &str) -> Arc<dyn Store> {
        crate::open(&settings(url, &self.0.path().join(name))).await.unwrap()
    }

    fn options(&self, name: &str) -> Options {
        Options {
            signals: Signal::ALL.to_vec(),
            start: i64::MIN,
            end: i64::MAX,
            rows: 100,
            bytes: 8 << 20,
            progress: self.0.path().join(name),
            title: name.to_owned(),
        }
    }
}

fn batch(signal: Signal, request: &impl Message, path: IngestPath, received: i64) -> Batch {
    Batch { signal, id: None, path, received, request: request.encode_to_vec().into() }
}

/// Records of all signals, some in files and some in memory, some with times that are none and some of the future.
async fn fill(store: &dyn Store) {
    let write = async |batch: Batch| assert_eq!(store.write(batch).await.unwrap().rejected, 0);
    let received = otlp::BASE + 3_600_000_000_000;
    for n in 0..5 {
        let numbers = n * 100..n * 100 + 100;
        write(batch(Signal::Logs, &otlp::logs(numbers.clone()), IngestPath::Collector, received)).await;
        write(batch(Signal::Traces, &otlp::spans(numbers.clone()), IngestPath::Direct, received)).await;
        write(batch(Signal::Metrics, &otlp::metrics(numbers), IngestPath::Collector, received)).await;
    }
    store.flush().await.unwrap();
    let mut odd = otlp::logs(500..540);
    let records = odd.resource_logs.iter_mut().flat_map(|of| &mut of.scope_logs).flat_map(|of| &mut of.log_records);
    for (n, record) in records.enumerate() {
        match n % 4 {
            // None at all, none but the observer's, far ahead: each is stored under another time.
            0 => (record.time_unix_nano, record.observed_time_unix_nano) = (0, 0),
            1 => (record.time_unix_nano, record.observed_time_unix_nano) = (0, otlp::BASE as u64 + 77),
            2 => record.time_unix_nano = u64::MAX - n as u64,
            _ => {}
        }
    }
    for received in [received + 1, received + 500] {
        write(batch(Signal::Logs, &odd, IngestPath::Collector, received)).await;
        write(batch(Signal::Logs, &odd, IngestPath::Direct, received)).await;
    }
}

/// What each table has, whatever its order: number and checksum of the rows.
async fn content(store: &dyn Store) -> Vec<rows::Sum> {
    let snapshot = store.snapshot();
    let mut sums = Vec::new();
    for signal in Signal::ALL {
        sums.push(rows::sum(snapshot.as_ref(), signal, i64::MIN..i64::MAX).await.unwrap());
    }
    sums
}

async fn run(from: &dyn Store, to: &dyn Store, options: &Options) -> Result<(Vec<Copied>, bool), Error> {
    copy(from, to, options, &|_| ()).await
}

fn assert_verified(copied: &[Copied], content: &[rows::Sum]) {
    assert_eq!(copied.len(), content.len());
    for (copied, content) in copied.iter().zip(content) {
        assert!(copied.different.is_empty(), "{copied:?}");
        assert_eq!((copied.rows, &copied.checksum), (content.rows, &content.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_copied_with_all_that_it_has() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    fill(from.as_ref()).await;
    let expected = content(from.as_ref()).await;
    assert_eq!(expected.iter().map(|sum| sum.rows).collect::<Vec<_>>(), [660, 500, 500]);
    let (copied, again) = run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    assert!(!again);
    assert_verified(&copied, &expected);
    assert_eq!(content(to.as_ref()).await, expected);
    // It knows that it is done, and looks all the same.
    let before = to.stats().tables.map(|table| table.received);
    let (copied, again) = run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    assert!(again);
    assert_verified(&copied, &expected);
    assert_eq!(to.stats().tables.map(|table| table.received), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_ended_anywhere_goes_on_and_doubles_nothing() {
    let world = World::new();
    let from = world.open("from").await;
    fill(from.as_ref()).await;
    let expected = content(from.as_ref()).await;
    let options = world.options("progress");
    let (mut interruptions, mut repeated) = (0, 0);
    loop {
        let to = world.open("to").await;
        let (events, enough) = (AtomicU64::new(0), Notify::new());
        let tell = |event: Event| {
            if matches!(event, Event::Rows(..)) && events.fetch_add(1, Ordering::Relaxed) == 1 {
                enough.notify_one();
            }
        };
        let ended = tokio::select! {
            biased;
            () = enough.notified() => None,
            outcome = copy(from.as_ref(), to.as_ref(), &options, &tell) => Some(outcome.unwrap()),
        };
        if let Some((copied, again)) = ended {
            assert!(!again);
            assert_verified(&copied, &expected);
            assert_eq!(content(to.as_ref()).await, expected);
            break;
        }
        to.close().await.unwrap();
        drop(to);
        // As if it had been killed after the window was written and before that was noted, or in the middle of the note.
        let text = fs::read_to_string(&options.progress).unwrap();
        let end = text.trim_end().rfind('\n').unwrap() + 1;
        if text[end..].starts_with("{\"done\"") {
            repeated += 1;
            fs::write(&options.progress, &text[..end + (repeated % 2) * 9]).unwrap();
        }
        interruptions += 1;
    }
    assert!(interruptions >= 5 && repeated >= 2, "{interruptions} {repeated}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_records_of_one_instant_than_memory_holds_are_copied() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    let mut request = otlp::logs(0..1000);
    let records = request.resource_logs.iter_mut().flat_map(|of| &mut of.scope_logs).flat_map(|of| &mut of.log_records);
    records.for_each(|record| record.time_unix_nano = otlp::BASE as u64);
    from.write(batch(Signal::Logs, &request, IngestPath::Collector, otlp::BASE)).await.unwrap();
    let expected = content(from.as_ref()).await;
    let (copied, _) = run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    assert_verified(&copied, &expected);
    let text = fs::read_to_string(world.0.path().join("progress")).unwrap();
    assert!(text.contains("\"parts\":16"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_had_before_is_left_alone_and_what_comes_beside_is_noticed() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    fill(from.as_ref()).await;
    let other = batch(Signal::Logs, &otlp::logs(100..200), IngestPath::Collector, otlp::BASE);
    to.write(other.clone()).await.unwrap();
    let expected = content(from.as_ref()).await;
    let (copied, _) = run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    assert_verified(&copied, &expected);
    assert_eq!(content(to.as_ref()).await[0].rows, expected[0].rows + 100);
    to.write(other).await.unwrap();
    let (copied, _) = run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    assert!(copied[1].different.is_empty() && copied[2].different.is_empty());
    let surplus: i64 = copied[0].different.iter().map(|window| window.found as i64 - window.expected as i64).sum();
    assert_eq!(surplus, 100, "{copied:?}");
    assert!(
        copied[0].different.iter().all(|window| window.time.0 < otlp::BASE + 200 && window.time.1 > otlp::BASE + 100)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_time_is_copied_and_nothing_else() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    fill(from.as_ref()).await;
    let (start, end) = (otlp::BASE + 120, otlp::BASE + 345);
    let options = Options { start, end, signals: vec![Signal::Traces], ..world.options("progress") };
    let (copied, _) = run(from.as_ref(), to.as_ref(), &options).await.unwrap();
    assert_eq!((copied.len(), copied[0].rows), (1, 225));
    let expected = rows::sum(from.snapshot().as_ref(), Signal::Traces, start..end).await.unwrap();
    assert_eq!(content(to.as_ref()).await, [rows::Sum::default(), expected, rows::Sum::default()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changed_meanwhile_is_told() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    fill(from.as_ref()).await;
    let options = Options { rows: 10_000, signals: vec![Signal::Traces], ..world.options("progress") };
    run(from.as_ref(), to.as_ref(), &options).await.unwrap();
    // Ended before the only window was noted as done.
    let text = fs::read_to_string(&options.progress).unwrap();
    fs::write(&options.progress, &text[..text.find("{\"done\"").unwrap()]).unwrap();
    from.write(batch(Signal::Traces, &otlp::spans(40..41), IngestPath::Direct, otlp::BASE)).await.unwrap();
    let error = run(from.as_ref(), to.as_ref(), &options).await.unwrap_err().to_string();
    assert!(error.contains("the source changed while the copy was interrupted"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_progress_of_another_copy_is_refused() {
    let world = World::new();
    let (from, to) = (world.open("from").await, world.open("to").await);
    run(from.as_ref(), to.as_ref(), &world.options("progress")).await.unwrap();
    let options = Options { title: "something else".into(), ..world.options("progress") };
    let error = run(from.as_ref(), to.as_ref(), &options).await.unwrap_err().to_string();
    assert!(error.contains("another copy: progress"), "{error}");
    fs::write(&options.progress, "nonsense\n").unwrap();
    let error = run(from.as_ref(), to.as_ref(), &options).await.unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("remove the file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_back_equal_from_a_way_through_both_databases() {
    let world = World::new();
    let from = world.open("from").await;
    fill(from.as_ref()).await;
    let expected = content(from.as_ref()).await;
    let (mariadb, clickhouse) = (url_on("mariadb", "devmesh_copy"), url_on("clickhouse", "devmesh_copy"));
    for url in [&mariadb, &clickhouse] {
        crate::migrate::of(&settings(url, world.0.path())).unwrap().create().await.unwrap();
    }
    let mut source = from;
    for (name, url) in [("mariadb", Some(&mariadb)), ("clickhouse", Some(&clickhouse)), ("back", None)] {
        let target = match url {
            Some(url) => world.open_at(url, name).await,
            None => world.open(name).await,
        };
        let (copied, _) = run(source.as_ref(), target.as_ref(), &world.options(&format!("to {name}"))).await.unwrap();
        assert_verified(&copied, &expected);
        source.close().await.unwrap();
        target.close().await.unwrap();
        // Read from elsewhere: what it has is in the database, and nothing of it in the log.
        let reader = format!("{name} read");
        source = match url {
            Some(url) => world.open_at(url, &reader).await,
            None => world.open(name).await,
        };
    }
    assert_eq!(content(source.as_ref()).await, expected);
}
