//! An object store that fails: acknowledged rows stay readable, and go there once it is back.

use std::{fs, sync::Arc};

use devmesh_schema::Signal;
use devmesh_store::{Fragment, Scan};

use crate::{
    Place, otlp, read,
    server::Fault,
    suite::{World, local_files, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_reads_go_on_while_the_object_store_is_away() {
    for fault in [Fault::SlowDown, Fault::Reset, Fault::CutAfterWrite] {
        let world = World::new(Place::S3).await;
        let server = world.server.as_ref().unwrap();
        let store = world.open().await;
        store.write(otlp::log_batch(0..10)).await.unwrap();
        world.settle(&*store).await;
        server.fail(fault);
        for n in 1..5 {
            store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
            store.flush().await.unwrap();
        }
        until("the fault is met", async || server.refused() > 3).await;
        store.ready().await.unwrap();
        let stats = store.stats();
        assert_eq!((stats.tables[0].file_rows, stats.tables[0].memory_rows), (50, 0), "{fault:?}");
        let scan = Scan { time: otlp::BASE + 10..i64::MAX, ..Scan::all(Signal::Logs) };
        if fault != Fault::CutAfterWrite {
            assert_eq!(read::scan(&*store, &scan).await.unwrap().count(), 40, "{fault:?}");
        }
        server.fail(Fault::None);
        until("files are in the object store", async || local_files(&*store).await == 0).await;
        read::assert_holds(&*store, 0..50).await;
        store.close().await.unwrap();
        let store = world.open().await;
        read::assert_holds(&*store, 0..50).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_is_rebuilt_from_the_object_store() {
    let world = World::new(Place::S3).await;
    let store = world.open().await;
    for n in 0..3 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        world.settle(&*store).await;
    }
    let manifest = world.directory.path().join("s3/bucket/some/prefix/MANIFEST");
    let names_all = || fs::read_to_string(&manifest).is_ok_and(|text| text.matches("\"remote\"").count() == 3);
    until("the manifest is in the object store", async || names_all()).await;
    store.close().await.unwrap();
    drop(store);
    fs::remove_dir_all(world.data_dir()).unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..30).await;
    store.write(otlp::log_batch(30..40)).await.unwrap();
    world.settle(&*store).await;
    store.close().await.unwrap();
    // The copy of the manifest is lost as well: the files say what they are.
    fs::remove_dir_all(world.data_dir()).unwrap();
    fs::remove_file(&manifest).unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_stay_as_long_as_a_query_reads_them() {
    for place in [Place::Local, Place::S3] {
        let world = World::new(place).await;
        let store = world.open().await;
        store.write(otlp::log_batch(0..10)).await.unwrap();
        world.settle(&*store).await;
        let fragments = store.scan(&Scan::all(Signal::Logs)).await.unwrap();
        assert_eq!(store.expire(Signal::Logs, i64::MAX).await.unwrap(), 10);
        let Some(Fragment::Parquet { store: objects, files, .. }) = fragments.first() else { panic!("files") };
        let (objects, path) = (Arc::clone(objects), files[0].path.clone());
        object_store::ObjectStoreExt::head(&*objects, &path).await.unwrap();
        drop(fragments);
        until("the file is deleted", async || object_store::ObjectStoreExt::head(&*objects, &path).await.is_err())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_no_manifest_names_is_removed_at_the_next_start_and_strangers_stay() {
    let world = World::new(Place::S3).await;
    let store = world.open().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    world.settle(&*store).await;
    store.close().await.unwrap();
    let day = world.directory.path().join("s3/bucket/some/prefix/tables/logs/2026-01-01");
    fs::create_dir_all(&day).unwrap();
    let orphan = day.join(format!("{}.parquet", "0123456789abcdef".repeat(2)));
    let stranger = day.join("mine.parquet");
    for path in [&orphan, &stranger] {
        fs::write(path, b"PAR1").unwrap();
    }
    let store = world.open().await;
    until("the orphan is removed", async || !orphan.exists()).await;
    read::assert_holds(&*store, 0..10).await;
    assert!(stranger.exists());
    store.close().await.unwrap();
    // With the manifest lost, what it lacks may be rows: nothing is removed.
    fs::write(&orphan, b"PAR1").unwrap();
    fs::remove_file(world.data_dir().join("MANIFEST")).unwrap();
    let store = world.open().await;
    store.write(otlp::log_batch(10..20)).await.unwrap();
    world.settle(&*store).await;
    read::assert_holds(&*store, 0..20).await;
    assert!(orphan.exists());
    store.close().await.unwrap();
}
