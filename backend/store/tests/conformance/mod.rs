//! What holds for every store, whatever its engine: one suite, to be run on each.
//!
//! A test target brings a [`World`] and names it in `suite!`; each case is a test of its own with a world of its own.

#![allow(dead_code, unused_imports, unused_macros, reason = "a target may use a part of it")]

pub(crate) mod cases;
pub(crate) mod otlp;
pub(crate) mod outage;
pub(crate) mod patterns;
pub(crate) mod read;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use devmesh_store::{Settings, Store};

/// An engine with nothing in it, and a data directory.
#[async_trait(?Send)]
pub(crate) trait World {
    /// Opens the store, again on the same data. Records are kept for ever, rows leave memory at 1 MiB, and 3 MiB are all
    /// the memory for them.
    async fn open(&self) -> Arc<dyn Store>;
    /// Makes the engine unreachable, as if its machine were off.
    async fn stop(&self);
    /// Brings it back with all that it had.
    async fn start(&self);
}

/// One test for each case that holds for all stores: `suite!(async || MyWorld::new().await)`.
macro_rules! suite {
    ($world:expr) => {
        conformance::tests_of! { $world, cases:
            every_field_of_every_signal_comes_back,
            rows_are_there_before_and_after_they_leave_memory,
            a_scan_returns_what_lies_in_its_time,
            no_filter_leaves_out_a_row_that_matches,
            the_newest_rows_come_with_a_limit,
            a_batch_id_is_stored_once,
            a_batch_id_is_known_after_a_restart,
            concurrent_senders_are_all_stored_once,
            restarts_neither_lose_nor_double,
            a_snapshot_never_loses_or_doubles_a_row,
            a_snapshot_stays_as_it_was,
            expired_records_are_gone,
            rejected_items_are_counted_and_the_others_kept,
            awkward_texts_and_numbers_come_back,
        }
        conformance::tests_of! { $world, patterns:
            bodies_have_one_pattern_wherever_they_lie,
            a_crash_keeps_the_ids_of_patterns,
            a_filter_by_pattern_leaves_out_no_row,
        }
    };
}

/// One test for each case about an engine that goes away.
macro_rules! outages {
    ($world:expr) => {
        conformance::tests_of! { $world, outage:
            a_store_starts_and_takes_data_while_its_engine_is_away,
            what_came_while_the_engine_was_away_is_there_once_afterwards,
            queries_fail_and_say_why_while_the_engine_is_away,
            a_crash_while_the_engine_is_away_loses_nothing,
        }
    };
}

macro_rules! tests_of {
    ($world:expr, $module:ident: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let world = $world;
                conformance::$module::$case(&world().await).await;
            }
        )*
    };
}

pub(crate) use {outages, suite, tests_of};

/// What a [`World`] sets, for a store of this URL.
pub(crate) fn settings(url: String, directory: &Path) -> Settings {
    let data_dir = directory.join("data");
    let mut settings = Settings { url, data_dir, min_free_disk: 1 << 20, ..Settings::default() };
    settings.retention.logs = Duration::ZERO;
    settings.retention.traces = Duration::ZERO;
    settings.retention.metrics = Duration::ZERO;
    settings.wal.segment_bytes = 1 << 20;
    settings.flush.bytes = 1 << 20;
    settings.flush.memory_bytes = 3 << 20;
    settings
}

/// Opens a store, also one whose last owner was dropped without `close`, as soon as its threads have let go of the directory.
pub(crate) async fn opened(settings: &Settings) -> Arc<dyn Store> {
    let mut store = None;
    until("the directory is free", async || {
        match devmesh_store::open(settings).await {
            Ok(opened) => store = Some(opened),
            Err(devmesh_store::Error::Locked(_)) => {}
            Err(devmesh_store::Error::Log(error)) if error.to_string().contains("another process") => {}
            Err(error) => panic!("{error}"),
        }
        store.is_some()
    })
    .await;
    store.unwrap()
}

/// Waits for something, at most a minute.
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
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}
