//! Bodies in files: smaller than whole ones, readable with and without templates, and found again when all else is lost.

use std::{fs, sync::Arc};

use devmesh_schema::{Batch, IngestPath, Signal};
use devmesh_store::{Filter, GroupBy, Key, Measure, Scan, Snapshot};
use futures::TryStreamExt;

use crate::{
    Place,
    conformance::patterns::{batch, expected, patterns},
    read,
    suite::{World, until},
};

/// Bytes of a file of the demo's logs.
async fn file_bytes(templates: bool) -> u64 {
    let mut world = World::new(Place::Local).await;
    world.settings.templates = templates;
    let store = world.open().await;
    let plan = devmesh_demo::Plan {
        seed: 3,
        records: 40_000,
        batch: 1000,
        start_ns: 1_795_132_800_000_000_000,
        span_ns: 600_000_000_000,
    };
    for request in devmesh_demo::logs(plan) {
        let (signal, path) = (Signal::Logs, IngestPath::Collector);
        let received = 1_795_132_900_000_000_000;
        store.write(Batch { signal, id: None, path, received, request: request.body.into() }).await.unwrap();
    }
    store.flush().await.unwrap();
    let table = store.stats().tables[0];
    assert_eq!((table.file_rows, table.memory_rows), (40_000, 0));
    store.close().await.unwrap();
    table.file_bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_templates_are_smaller() {
    let (with, without) = (file_bytes(true).await, file_bytes(false).await);
    println!("{:.1} bytes a log with templates, {:.1} without", with as f64 / 4e4, without as f64 / 4e4);
    assert!(with < without, "{with} bytes with templates, {without} without");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_without_templates_stays_readable() {
    let mut world = World::new(Place::Local).await;
    world.settings.templates = false;
    world.settings.compact = false;
    let store = world.open().await;
    assert!(store.patterns().is_none());
    for n in 0..4 {
        store.write(batch(n * 50..n * 50 + 50)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    world.settings.templates = true;
    world.settings.compact = true;
    let store = world.open().await;
    for n in 4..12 {
        store.write(batch(n * 50..n * 50 + 50)).await.unwrap();
        store.flush().await.unwrap();
    }
    // Files of both kinds become one.
    until("small files are merged", async || store.stats().tables[0].files < 8).await;
    let found = crate::conformance::patterns::rows(&*store, &Scan::all(Signal::Logs)).await;
    assert_eq!(found.len(), 600);
    for (n, (body, template)) in found {
        assert_eq!(body, crate::conformance::patterns::expected(n), "{n}");
        assert_eq!(template.is_some(), n >= 200 && n % 11 != 0 && n % 13 != 0, "{n}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_that_were_lost_are_found_again_from_files() {
    for damage in [false, true] {
        let world = World::new(Place::Local).await;
        let store = world.open().await;
        store.write(batch(0..800)).await.unwrap();
        store.flush().await.unwrap();
        let before = patterns(&*store, 0..800, "before").await;
        store.close().await.unwrap();
        drop(store);
        let known = world.data_dir().join("TEMPLATES");
        match damage {
            true => fs::write(&known, b"dmtp").unwrap(),
            false => fs::remove_file(&known).unwrap(),
        }
        let store = world.open().await;
        assert_eq!(store.stats().quarantined.0, u64::from(damage));
        let all_listed = async || {
            let map = store.snapshot().patterns();
            before.values().all(|id| map.pattern_of(*id).is_some())
        };
        until("the files' templates are known", all_listed).await;
        store.flush().await.unwrap();
        let after = patterns(&*store, 0..800, "after").await;
        for (one, other) in [(5, 10), (1, 6), (2, 7), (3, 8), (4, 9)] {
            assert_eq!(after[&one], after[&other], "what was one pattern is one again");
        }
        store.close().await.unwrap();
    }
}

/// Groups of the store, and how many rows it leaves to the engine.
async fn counted(snapshot: &Arc<dyn Snapshot>, scan: &Scan, keys: Vec<Key>) -> Option<(i64, usize)> {
    let group = GroupBy { keys, measures: vec![Measure::CountAll] };
    let groups = snapshot.group(scan, &group).await.unwrap()?;
    let mut counted = 0;
    for batch in groups.groups.try_collect::<Vec<_>>().await.unwrap() {
        let column = batch.column_by_name("m0").unwrap();
        let column = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(column);
        counted += column.values().iter().sum::<i64>();
    }
    Some((counted, read::fragments(groups.rest).await.unwrap().count()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_patterns_read_no_rows_of_files() {
    let world = World::new(Place::Local).await;
    let store = world.open().await;
    store.write(batch(0..300)).await.unwrap();
    store.flush().await.unwrap();
    store.write(batch(300..350)).await.unwrap();
    let snapshot = store.snapshot();
    let keys = || vec![Key::Column("pattern_id".into()), Key::Column("level".into())];
    assert_eq!(counted(&snapshot, &Scan::all(Signal::Logs), keys()).await, Some((300, 50)));
    // A file across the border of the window is read.
    let time = crate::otlp::BASE + 10..crate::otlp::BASE + 20;
    assert_eq!(counted(&snapshot, &Scan { time, ..Scan::all(Signal::Logs) }, keys()).await, None);
    let bodies = vec![Key::Column("body".into())];
    assert_eq!(counted(&snapshot, &Scan::all(Signal::Logs), bodies).await, None);
    // Of words as well, where templates decide.
    let words = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Scan { filters: vec![Filter::Words { column: "body".into(), words }], ..Scan::all(Signal::Logs) }
    };
    let has = |word: &str| (0..300).filter(|n| expected(*n).is_some_and(|body| body.contains(word))).count() as i64;
    for word in ["session", "stands"] {
        assert!(has(word) > 40, "{word}");
        assert_eq!(counted(&snapshot, &words(&[word]), keys()).await, Some((has(word), 50)), "{word}");
    }
    assert_eq!(counted(&snapshot, &words(&["session", "disk"]), keys()).await, Some((0, 50)));
    for read in [&["7"][..], &["session", "7"]] {
        assert_eq!(counted(&snapshot, &words(read), keys()).await, None, "{read:?}: numbers stand in parameters");
    }
    // Counts follow the rows.
    store.expire(Signal::Logs, crate::otlp::BASE + 100).await.unwrap();
    let snapshot = store.snapshot();
    let scan = Scan { time: snapshot.horizon(Signal::Logs)..i64::MAX, ..Scan::all(Signal::Logs) };
    let left = counted(&snapshot, &scan, keys()).await;
    assert!(left.is_none_or(|(counted, _)| counted <= 200), "{left:?}");
    store.close().await.unwrap();
}
