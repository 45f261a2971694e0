//! Rows that find no room in memory: in the log alone, read there, and drained in order.

use std::sync::Arc;

use devmesh_schema::{Signal, Sink, WriteError};

use super::Place;
use crate::{
    Scan, Store,
    conformance::{otlp, read, until},
};

/// Writes until so many bytes are in the log alone; answers the number of the next record.
async fn fill(store: &dyn Store, mut next: u64, bytes: u64) -> u64 {
    while store.stats().spilled_bytes < bytes {
        store.write(otlp::log_batch(next..next + 500)).await.unwrap();
        next += 500;
    }
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_the_log_alone_are_read_there_and_drained_in_order() {
    let mut place = Place::new();
    place.settings.database.insert_timeout = std::time::Duration::from_millis(300);
    place.settings.flush.rows = 2000;
    let store = place.reopen().await;
    // It answers queries, and inserts never come back.
    place.database.stuck(true);
    let count = fill(&store, 0, 2 << 20).await;
    let stats = store.stats();
    assert!(stats.memory_bytes < 6 << 20 && stats.spilled_bytes >= 2 << 20, "{stats:?}");
    read::assert_holds(&store, 0..count).await;
    let half = otlp::BASE + count as i64 / 2;
    let newer = read::scan(&store, &Scan { time: half..i64::MAX, ..Scan::all(Signal::Logs) }).await.unwrap();
    assert!(newer.times().iter().filter(|time| **time >= half).count() as u64 == count - count / 2);
    assert_eq!(read::all(&store, Signal::Traces).await.count(), 0);
    place.database.stuck(false);
    // The insert that hangs is given up first.
    until("all is handed over", async || store.flush().await.is_ok()).await;
    read::assert_holds(&store, 0..count).await;
    let blocks = place.database.blocks();
    let largest = blocks.iter().map(|(_, rows)| rows).max().unwrap();
    assert!(blocks.len() > 3 && *largest <= 2000, "{blocks:?}");
    assert_eq!(blocks.iter().map(|(_, rows)| rows).sum::<usize>() as u64, count);
    let stats = store.stats();
    assert_eq!((stats.spilled_bytes, stats.memory_bytes), (0, 0));
    // New rows go to memory again.
    store.write(otlp::log_batch(count..count + 10)).await.unwrap();
    assert_eq!(store.stats().tables[0].memory_rows, 10);
    read::assert_holds(&store, 0..count + 10).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_the_log_is_read_after_the_log_was_drained() {
    let place = Place::new();
    let store = place.reopen().await;
    place.database.away(true);
    let count = fill(&store, 0, 2 << 20).await;
    let snapshot = store.snapshot();
    let segments = store.stats().wal_bytes;
    place.database.away(false);
    until("the database is fed", async || store.flush().await.is_ok()).await;
    store.write(otlp::log_batch(count..count + 10)).await.unwrap();
    store.flush().await.unwrap();
    assert!(store.stats().wal_bytes + (1 << 20) >= segments / 2, "the log is kept for the snapshot");
    let rows = read::fragments(snapshot.scan(&Scan::all(Signal::Logs)).await.unwrap()).await.unwrap();
    assert!(rows.times().into_iter().map(|time| time - otlp::BASE).eq(0..count as i64));
    drop(snapshot);
    store.write(otlp::log_batch(count + 10..count + 20)).await.unwrap();
    store.flush().await.unwrap();
    until("the log is trimmed", async || store.stats().wal_bytes <= 2 << 20).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_and_takes_again_when_it_is_drained() {
    let mut place = Place::new();
    place.settings.wal.max_bytes = 6 << 20;
    let store = place.reopen().await;
    place.database.away(true);
    let mut count = 0;
    let reason = loop {
        match store.write(otlp::log_batch(count..count + 500)).await {
            Ok(_) => count += 500,
            Err(WriteError::Unavailable(reason)) => break reason,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(reason.contains("the log is full"), "{reason}");
    assert!(store.ready().await.unwrap_err().to_string().contains("the log is full"));
    place.database.away(false);
    until("writes are taken again", async || store.write(otlp::log_batch(count..count + 10)).await.is_ok()).await;
    store.flush().await.unwrap();
    read::assert_holds(&store, 0..count + 10).await;
    store.ready().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_go_on_while_the_log_is_drained() {
    let place = Place::new();
    let store = Arc::new(place.reopen().await);
    place.database.away(true);
    let count = fill(&*store, 0, 3 << 20).await;
    place.database.away(false);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..25 {
                let start = count + (n * 4 + writer) * 20;
                store.write(otlp::log_batch(start..start + 20)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    until("all is handed over", async || store.flush().await.is_ok()).await;
    read::assert_holds(&*store, 0..count + 2000).await;
    let blocks = place.database.blocks();
    assert_eq!(blocks.iter().map(|(_, rows)| rows).sum::<usize>() as u64, count + 2000);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_log_alone_when_the_store_closes_is_drained_by_the_next_start() {
    let place = Place::new();
    let store = place.reopen().await;
    place.database.away(true);
    let count = fill(&store, 0, 2 << 20).await;
    store.close().await.unwrap();
    drop(store);
    place.database.away(false);
    let store = place.reopen().await;
    read::assert_holds(&store, 0..count).await;
    assert!(store.stats().memory_bytes < 6 << 20);
    store.flush().await.unwrap();
    read::assert_holds(&store, 0..count).await;
    store.close().await.unwrap();
}

/// Writers wait as long as a write may wait, once; then the log does without memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_its_time_slows_writers_and_stops_none() {
    let place = Place::new();
    let store = place.reopen().await;
    place.database.stuck(true);
    let count = fill(&store, 0, 1 << 20).await;
    let stats = store.stats();
    assert!(stats.memory_bytes < 6 << 20 && stats.database.unwrap().retries == 0, "{stats:?}");
    read::assert_holds(&store, 0..count).await;
    drop(store);
    place.database.stuck(false);
    let store = place.reopen().await;
    store.flush().await.unwrap();
    read::assert_holds(&store, 0..count).await;
    store.close().await.unwrap();
}
