//! Deaths at every step of handing a block over, and answers that were lost: each row is there once.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use devmesh_schema::{Signal, Sink};

use super::{Place, fake::Fate};
use crate::{
    Store,
    conformance::{otlp, read, until},
    external::open,
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            drop(fs::copy(entry.path(), target));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_whose_answer_is_lost_is_stored_once() {
    let place = Place::new();
    let mut lost = 0;
    place.database.decide(move |_block| {
        lost += 1;
        if lost % 3 == 0 { Fate::Stored } else { Fate::AnswerLost }
    });
    let store = place.reopen().await;
    for n in 0..5 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.write(otlp::batch(Signal::Traces, &otlp::spans(n * 10..n * 10 + 10), None)).await.unwrap();
        // Fails while answers are lost.
        until("the rows are handed over", async || store.flush().await.is_ok()).await;
        read::assert_holds(&store, 0..n * 10 + 10).await;
    }
    assert_eq!(place.database.blocks().len(), 10);
    assert!(place.database.inserts().len() >= 30);
    assert!(store.stats().database.unwrap().retries >= 20);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_and_tried_again() {
    let place = Place::new();
    place.database.decide(|_block| Fate::Refused);
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    assert!(store.flush().await.unwrap_err().to_string().contains("refuses"));
    assert!(store.ready().await.unwrap_err().to_string().contains("refuses"));
    read::assert_holds(&store, 0..10).await;
    place.database.decide(|_block| Fate::Stored);
    until("it is tried again", async || store.ready().await.is_ok()).await;
    assert_eq!(place.database.blocks(), [(1, 10)]);
    store.close().await.unwrap();
}

/// Dies while the database works on the second of three signals' blocks, and on the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_during_an_insert_makes_the_same_block_again() {
    for fate in [Fate::Hangs, Fate::StoredAndHangs] {
        for victim in [Signal::Logs, Signal::Traces, Signal::Metrics] {
            let place = Place::new();
            let store = place.reopen().await;
            for n in 0..20 {
                store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
                store.write(otlp::batch(Signal::Traces, &otlp::spans(n * 10..n * 10 + 10), None)).await.unwrap();
                store.write(otlp::batch(Signal::Metrics, &otlp::metrics(n * 10..n * 10 + 10), None)).await.unwrap();
            }
            place.database.decide(move |block| if block.signal == victim { fate } else { Fate::Stored });
            store.shared.wake.set(|wake| wake.flush = true);
            until("the block hangs", async || place.database.refused() > 0).await;
            // More, which must not come into the same block.
            store.write(otlp::log_batch(200..250)).await.unwrap();
            read::assert_holds(&store, 0..250).await;
            drop(store);
            place.database.decide(|_block| Fate::Stored);
            let store = place.reopen().await;
            read::assert_holds(&store, 0..250).await;
            store.flush().await.unwrap();
            read::assert_holds(&store, 0..250).await;
            for signal in [Signal::Traces, Signal::Metrics] {
                assert_eq!(read::all(&store, signal).await.count(), 200, "{fate:?} {victim} {signal}");
            }
            // The block of 60 records, a signal each; then the one record that came later.
            assert_eq!(place.database.blocks(), [(60, 200), (60, 200), (60, 200), (61, 50)], "{fate:?} {victim}");
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_not_trimmed_yet_doubles_nothing() {
    let place = Place::new();
    let store = place.reopen().await;
    for n in 0..20 {
        let batch = otlp::batch(Signal::Logs, &otlp::logs(n * 10..n * 10 + 10), Some(&format!("b{n}")));
        store.write(batch).await.unwrap();
    }
    let (from, to) = (place.directory.path().join("database"), place.directory.path().join("copy/database"));
    copy(&from.join("wal"), &to.join("wal"));
    store.flush().await.unwrap();
    // What was written down before the log is trimmed.
    for file in ["STATE", "BATCHES"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    store.close().await.unwrap();
    let settings = super::settings(&place.directory.path().join("copy"));
    let store = open(settings, place.database.clone()).await.unwrap();
    read::assert_holds(&store, 0..200).await;
    assert_eq!(store.stats().replayed, 0);
    store.write(otlp::log_batch(200..210)).await.unwrap();
    let again = otlp::batch(Signal::Logs, &otlp::logs(0..10), Some("b0"));
    assert!(store.write(again).await.unwrap().deduplicated);
    store.flush().await.unwrap();
    read::assert_holds(&store, 0..210).await;
    store.close().await.unwrap();
}

/// At every insert of a running store, a copy of its directory is a store that died before the database had the block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_insert_holds_all_that_was_acknowledged_once() {
    for victim in 0..8_u64 {
        let place = Place::new();
        let (from, mut inserts) = (place.directory.path().to_owned(), 0);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        place.database.decide(move |_block| {
            inserts += 1;
            if inserts <= victim {
                return Fate::Stored;
            }
            // After the bounds were written down.
            copy(&from.join("database"), &from.join("copy/database"));
            done.store(true, Ordering::Release);
            if victim % 2 == 0 { Fate::StoredAndHangs } else { Fate::Hangs }
        });
        let store = place.reopen().await;
        let mut acknowledged = 0;
        while !copied.load(Ordering::Acquire) {
            store.write(otlp::log_batch(acknowledged..acknowledged + 5)).await.unwrap();
            acknowledged += 5;
            if acknowledged.is_multiple_of(25) {
                // The last of them never comes back.
                tokio::select! {
                    flushed = store.flush() => flushed.unwrap(),
                    () = until("a copy is taken", async || copied.load(Ordering::Acquire)) => {}
                }
            }
        }
        drop(store);
        place.database.decide(|_block| Fate::Stored);
        let settings = super::settings(&place.directory.path().join("copy"));
        let store = open(settings, place.database.clone()).await.unwrap();
        assert_eq!(acknowledged, victim * 25 + 25);
        read::assert_holds(&store, 0..acknowledged).await;
        store.flush().await.unwrap();
        read::assert_holds(&store, 0..acknowledged).await;
        assert_eq!(place.database.blocks().len() as u64, victim + 1);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_restored_from_a_copy_loses_no_new_record() {
    let place = Place::new();
    let store = place.reopen().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    store.flush().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (from, to) = (place.directory.path().join("database"), place.directory.path().join("copy/database"));
    copy(&from, &to);
    let store = place.reopen().await;
    for n in 1..5 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    // The copy would give the same numbers to these.
    let settings = super::settings(&place.directory.path().join("copy"));
    let store = open(settings, place.database.clone()).await.unwrap();
    read::assert_holds(&store, 0..50).await;
    for n in 5..9 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.flush().await.unwrap();
        read::assert_holds(&store, 0..n * 10 + 10).await;
    }
    store.close().await.unwrap();
}
