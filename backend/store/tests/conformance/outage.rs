//! What holds when the engine goes away and comes back: what was acknowledged is there once.

use std::sync::Arc;

use devmesh_schema::Signal;
use devmesh_store::{Error, Scan, Store};

use super::{World, otlp, read, until};

/// Asks until the store answers, and says what it holds.
async fn answers(store: &dyn Store) {
    until("queries are answered", async || store.scan(&Scan::all(Signal::Logs)).await.is_ok()).await;
    until("the store is ready", async || store.ready().await.is_ok()).await;
}

pub(crate) async fn a_store_starts_and_takes_data_while_its_engine_is_away(world: &impl World) {
    world.stop().await;
    let store = world.open().await;
    let reason = store.ready().await.unwrap_err().to_string();
    assert!(!reason.is_empty());
    store.write(otlp::log_batch(0..100)).await.unwrap();
    assert!(matches!(store.scan(&Scan::all(Signal::Logs)).await, Err(Error::Away(_))));
    world.start().await;
    answers(&*store).await;
    read::assert_holds(&*store, 0..100).await;
    store.flush().await.unwrap();
    read::assert_holds(&*store, 0..100).await;
    store.close().await.unwrap();
}

pub(crate) async fn what_came_while_the_engine_was_away_is_there_once_afterwards(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..500)).await.unwrap();
    store.flush().await.unwrap();
    world.stop().await;
    // More than memory holds.
    let mut count = 500;
    while store.stats().spilled_bytes < 1 << 20 {
        store.write(otlp::log_batch(count..count + 500)).await.unwrap();
        count += 500;
        let stats = store.stats();
        assert!(stats.memory_bytes < 6 << 20, "{stats:?}");
    }
    until("it is noticed that the engine is away", async || store.ready().await.is_err()).await;
    world.start().await;
    answers(&*store).await;
    // While it is fed from the log, and writers go on.
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..40 {
                store.write(otlp::log_batch(count + n * 10..count + n * 10 + 10)).await.unwrap();
            }
            count + 400
        })
    };
    while !writer.is_finished() {
        let found = read::numbers(&*store).await;
        assert!(found.len() as u64 >= count && found.iter().copied().eq(0..found.len() as u64), "{}", found.len());
    }
    let count = writer.await.unwrap();
    store.flush().await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.spilled_bytes, stats.memory_bytes), (0, 0));
    read::assert_holds(&*store, 0..count).await;
    store.close().await.unwrap();
}

pub(crate) async fn queries_fail_and_say_why_while_the_engine_is_away(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    store.write(otlp::log_batch(100..200)).await.unwrap();
    world.stop().await;
    let asked = async {
        let fragments = store.scan(&Scan::all(Signal::Logs)).await?;
        read::fragments(fragments).await
    };
    match asked.await {
        Err(Error::Away(reason)) => assert!(!reason.is_empty()),
        other => panic!("{:?}", other.map(|rows| rows.count())),
    }
    until("the store says that it is not ready", async || store.ready().await.is_err()).await;
    world.start().await;
    answers(&*store).await;
    read::assert_holds(&*store, 0..200).await;
    store.close().await.unwrap();
}

pub(crate) async fn a_crash_while_the_engine_is_away_loses_nothing(world: &impl World) {
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    world.stop().await;
    let mut count = 100;
    while store.stats().spilled_bytes < 1 << 19 {
        let batch = otlp::batch(Signal::Logs, &otlp::logs(count..count + 500), Some(&format!("b{count}")));
        store.write(batch).await.unwrap();
        count += 500;
    }
    drop(store);
    let store = world.open().await;
    assert!(store.stats().memory_bytes < 6 << 20, "{:?}", store.stats());
    let batch = otlp::batch(Signal::Logs, &otlp::logs(count - 500..count), Some(&format!("b{}", count - 500)));
    assert!(store.write(batch).await.unwrap().deduplicated);
    store.write(otlp::log_batch(count..count + 10)).await.unwrap();
    world.start().await;
    answers(&*store).await;
    read::assert_holds(&*store, 0..count + 10).await;
    store.flush().await.unwrap();
    read::assert_holds(&*store, 0..count + 10).await;
    store.close().await.unwrap();
}
