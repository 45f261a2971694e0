//! What queries see: groups, rows of others, retention.

use std::time::Duration;

use arrow_array::{cast::AsArray, types::Int64Type};
use devmesh_schema::{Signal, Sink};
use futures::TryStreamExt;

use super::Place;
use crate::{
    Fragment, GroupBy, Measure, Scan, Store,
    conformance::{otlp, read, until},
    testing,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_made_in_the_database_and_the_rest_is_what_it_does_not_have() {
    let place = Place::new();
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(1000..1010)).await.unwrap();
    let count = GroupBy { keys: Vec::new(), measures: vec![Measure::CountAll] };
    for (from, to, in_database, rest) in [(0, 5000, 100, 10), (0, 1000, 100, 0), (500, 5000, 0, 10), (500, 900, 0, 0)] {
        let scan = Scan { time: otlp::BASE + from..otlp::BASE + to, ..Scan::all(Signal::Logs) };
        let groups = store.snapshot().group(&scan, &count).await.unwrap().unwrap();
        let found: Vec<_> = groups.groups.try_collect().await.unwrap();
        assert_eq!(found[0].column(0).as_primitive::<Int64Type>().value(0), in_database, "{from}..{to}");
        let left = read::fragments(groups.rest).await.unwrap().count();
        assert_eq!(left, rest, "{from}..{to}");
    }
    let by_service = GroupBy { keys: vec![crate::Key::Column("service".into())], measures: Vec::new() };
    assert!(store.snapshot().group(&Scan::all(Signal::Logs), &by_service).await.unwrap().is_none());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_others_are_seen() {
    let place = Place::new();
    let store = place.reopen().await;
    place.database.insert_foreign(Signal::Logs, testing::logs(0..10));
    store.write(otlp::log_batch(0..5)).await.unwrap();
    assert_eq!(read::all(&store, Signal::Logs).await.count(), 15);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_deletes_in_the_database() {
    let mut place = Place::new();
    place.settings.retention.logs = Duration::from_secs(3600);
    let store = place.reopen().await;
    // Years old.
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.write(otlp::batch(Signal::Traces, &otlp::spans(0..10), None)).await.unwrap();
    let count = async || store.scan(&Scan::all(Signal::Logs)).await.unwrap().len();
    assert!(count().await > 0);
    store.flush().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = place.reopen().await;
    until("the old rows go", async || read::all(&store, Signal::Logs).await.count() == 0).await;
    assert_eq!(read::all(&store, Signal::Traces).await.count(), 10);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_before_it_leaves_memory_does_not_reach_the_database() {
    let place = Place::new();
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    assert_eq!(store.expire(Signal::Logs, otlp::BASE + 40).await.unwrap(), 40);
    store.flush().await.unwrap();
    assert_eq!(place.database.blocks(), [(1, 60)]);
    read::assert_holds(&store, 40..100).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_tell_what_is_where() {
    let place = Place::new();
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(100..110)).await.unwrap();
    let stats = store.stats();
    let database = stats.database.unwrap();
    assert_eq!((database.up, database.blocks, database.retries), (true, 1, 0));
    assert_eq!((stats.tables[0].memory_rows, stats.tables[0].stored), (10, 110));
    store.close().await.unwrap();
    drop(store);
    let store = place.reopen().await;
    until("the size is known", async || store.stats().tables[0].database_rows >= 100).await;
    assert!(store.to_string().starts_with("fake://"));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_fragments_are_left_out_where_their_time_rules_them_out() {
    let place = Place::new();
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    let scan = Scan { time: otlp::BASE + 10..otlp::BASE + 20, ..Scan::all(Signal::Logs) };
    let fragments = store.scan(&scan).await.unwrap();
    assert!(!fragments.iter().any(|fragment| matches!(fragment, Fragment::Memory(_))));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_reach_the_database_by_themselves_soon() {
    let mut place = Place::new();
    place.settings.database.flush_age = Duration::from_millis(50);
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    until("the rows are in the database", async || place.database.blocks() == [(1, 10)]).await;
    store.close().await.unwrap();
}
