//! The embedded store from outside: one suite, run on a disk and on a real S3-compatible server; then what only one of
//! them can suffer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod crash;
mod damage;
mod disk;
mod object_store;
mod retention;
mod server;
mod suite;
mod templates;

use conformance::{otlp, read};

/// What the suite runs on.
enum Place {
    Local,
    S3,
}

/// One test a case and store.
macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod on_disk {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::suite::$case(super::suite::World::new(super::Place::Local).await).await;
                }
            )*
        }
        mod on_s3 {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::suite::$case(super::suite::World::new(super::Place::S3).await).await;
                }
            )*
        }
    };
}

suite!(
    every_field_of_every_signal_comes_back_from_files,
    rows_are_there_before_and_after_they_move_to_files,
    a_scan_returns_what_overlaps_its_time,
    a_batch_id_is_stored_once,
    a_batch_id_is_known_after_a_restart,
    concurrent_senders_of_one_batch_id_store_it_once,
    rejected_items_are_counted_and_the_others_kept,
    restarts_neither_lose_nor_double,
    small_files_are_merged_without_loss,
    a_snapshot_never_loses_or_doubles_a_row,
    expired_records_are_gone_from_memory_and_files,
    the_index_finds_a_needle_and_reads_few_rows,
    a_tail_sees_what_is_committed,
    a_closed_store_refuses_writes,
);

/// The embedded store as one of all stores.
mod conforming {
    use std::sync::Arc;

    use async_trait::async_trait;
    use devmesh_store::Store;

    use crate::{Place, conformance, suite::World};

    #[async_trait(?Send)]
    impl conformance::World for World {
        async fn open(&self) -> Arc<dyn Store> {
            conformance::opened(&self.settings).await
        }

        async fn stop(&self) {
            unreachable!("there is no engine that could stop");
        }

        async fn start(&self) {}
    }

    conformance::suite!(async || World::new(Place::Local).await);
}
