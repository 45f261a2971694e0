//! Retention: what has been kept long enough goes by itself, and nothing that has just come.

use std::time::Duration;

use crate::{
    Place, otlp, read,
    suite::{World, until},
};

async fn world(keep: Duration) -> World {
    let mut world = World::new(Place::Local).await;
    world.settings.flush.age = Duration::from_millis(100);
    world.settings.retention.logs = keep;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_when_they_have_been_kept_long_enough() {
    let mut world = world(Duration::from_secs(3600)).await;
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    // The records of the fixture are years old; they stay as long as fresh ones do.
    read::assert_holds(&*store, 0..100).await;
    store.close().await.unwrap();
    world.settings.retention.logs = Duration::from_secs(2);
    let store = world.open().await;
    until("the records go", async || read::all(&*store, devmesh_schema::Signal::Logs).await.count() == 0).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_old_when_they_came_stay_as_long_as_fresh_ones() {
    let world = world(Duration::from_secs(90 * 86_400)).await;
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    world.settle(&*store).await;
    read::assert_holds(&*store, 0..100).await;
    store.close().await.unwrap();
    // A start applies the retention at once.
    let store = world.open().await;
    read::assert_holds(&*store, 0..100).await;
    store.close().await.unwrap();
}
