//! Damaged files of every kind (reliability §6.L): set aside and counted; what is whole is kept; nothing panics.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use devmesh_schema::Signal;
use devmesh_store::{Fragment, Scan, Store};

use crate::{
    Place, otlp, read,
    suite::{World, until},
};

/// The Parquet files of a data directory.
fn parquet_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.join("tables")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "parquet") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A closed store with three files of ten records each, in a world that merges nothing.
async fn three_files() -> World {
    let mut world = World::new(Place::Local).await;
    world.settings.compact = false;
    let store = world.open().await;
    for n in 0..3 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(parquet_files(&world.data_dir()).len(), 3);
    world
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 8] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| fs::write(path, []).unwrap()),
    ("seven bytes", |path| fs::write(path, b"PAR1PAR").unwrap()),
    ("magic only", |path| fs::write(path, b"PAR1PAR1").unwrap()),
    ("huge footer", |path| fs::write(path, b"PAR1\xff\xff\xff\x7fPAR1").unwrap()),
    ("cut", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("a flipped bit", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[40] ^= 4;
        fs::write(path, bytes).unwrap();
    }),
    ("zeros", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, vec![0; bytes.len()]).unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_set_aside_and_the_others_are_read() {
    for (name, damage) in DAMAGES {
        let world = three_files().await;
        damage(&parquet_files(&world.data_dir())[1]);
        let store = world.open().await;
        until(name, async || store.stats().quarantined.0 == 1).await;
        assert_eq!(read::numbers(&*store).await.len(), 20, "{name}");
        let kept = fs::read_dir(world.data_dir().join("quarantine")).map_or(0, Iterator::count);
        assert_eq!(kept, usize::from(name != "missing"), "{name}");
        store.write(otlp::log_batch(100..110)).await.unwrap();
        store.flush().await.unwrap();
        store.close().await.unwrap();
        let store = world.open().await;
        assert_eq!(read::numbers(&*store).await.len(), 30, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_query_cannot_read_is_set_aside() {
    let world = three_files().await;
    let store = world.open().await;
    let fragments = store.scan(&Scan::all(Signal::Logs)).await.unwrap();
    let Some(Fragment::Parquet { files, .. }) = fragments.first() else { panic!("files") };
    assert!(!store.suspect(&files[0].path).await);
    assert_eq!(store.stats().quarantined.0, 0, "it is whole");
    let path = world.data_dir().join(files[0].path.as_ref());
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert!(store.suspect(&files[0].path).await);
    assert!(store.suspect(&files[0].path).await, "it is gone");
    assert_eq!(store.stats().quarantined.0, 1);
    assert_eq!(read::numbers(&*store).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_gone_or_damaged_is_built_again() {
    let manifest_damages: [Damage; 6] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, []).unwrap()),
        ("garbage", |path| fs::write(path, b"\0garbage\n\nmore\n").unwrap()),
        ("garbage in the middle", |path| {
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("garbage at the end", |path| {
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"0123456789abcdef {").unwrap();
        }),
        ("zeros", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, vec![0; bytes.len()]).unwrap();
        }),
    ];
    for (name, damage) in manifest_damages {
        let world = three_files().await;
        damage(&world.data_dir().join("MANIFEST"));
        let store = world.open().await;
        assert_eq!(read::numbers(&*store).await.len(), 30, "{name}");
        store.write(otlp::log_batch(30..40)).await.unwrap();
        store.close().await.unwrap();
        let store = world.open().await;
        read::assert_holds(&*store, 0..40).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_cut_at_any_byte_loses_and_doubles_nothing() {
    let world = three_files().await;
    let manifest = world.data_dir().join("MANIFEST");
    let whole = fs::read(&manifest).unwrap();
    for cut in (0..whole.len()).step_by(61) {
        fs::write(&manifest, &whole[..cut]).unwrap();
        let store = world.open().await;
        let found = read::numbers(&*store).await;
        assert!(found.iter().copied().eq(0..30), "cut at {cut}: {found:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_files_and_their_parts_are_told_apart_without_a_manifest() {
    let world = World::new(Place::Local).await;
    let store = world.open().await;
    for n in 0..8 {
        store.write(otlp::log_batch(n * 10..n * 10 + 10)).await.unwrap();
        store.flush().await.unwrap();
    }
    // The parts outlive the merge for as long as somebody reads them.
    let pinned = store.scan(&Scan::all(Signal::Logs)).await.unwrap();
    until("files are merged", async || store.stats().tables[0].files == 1).await;
    store.close().await.unwrap();
    let files = parquet_files(&world.data_dir());
    assert_eq!(files.len(), 9, "{files:?}");
    drop(pinned);
    drop(store);
    fs::remove_file(world.data_dir().join("MANIFEST")).unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..80).await;
    assert_eq!(parquet_files(&world.data_dir()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_and_strangers_do_no_harm() {
    let world = three_files().await;
    let root = world.data_dir();
    let day = parquet_files(&root)[0].parent().unwrap().to_owned();
    fs::write(day.join("half.tmp"), b"half").unwrap();
    fs::write(root.join("MANIFEST.tmp"), b"half").unwrap();
    fs::write(day.join("orphan.parquet"), b"PAR1").unwrap();
    fs::create_dir_all(root.join("lost+found")).unwrap();
    fs::write(root.join("notes.txt"), b"mine").unwrap();
    fs::write(root.join("BATCHES"), vec![7; 1000]).unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..30).await;
    assert!(!day.join("half.tmp").exists() && !day.join("orphan.parquet").exists());
    assert!(root.join("notes.txt").exists() && root.join("lost+found").exists());
    store.write(otlp::batch(Signal::Logs, &otlp::logs(30..40), Some("a"))).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_a_later_version_is_refused() {
    let world = three_files().await;
    let json = br#"{"version":99}"#;
    let line = format!("{:016x} {}\n", xxhash_rust::xxh3::xxh3_64(json), String::from_utf8_lossy(json));
    fs::write(world.data_dir().join("MANIFEST"), line).unwrap();
    let error = devmesh_store::open(&world.settings).await.unwrap_err().to_string();
    assert!(error.contains("later"), "{error}");
    assert_eq!(parquet_files(&world.data_dir()).len(), 3, "nothing is touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_replaced_by_an_older_copy_takes_new_records() {
    let world = World::new(Place::Local).await;
    let store = world.open().await;
    store.write(otlp::log_batch(0..10)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(world.data_dir().join("wal")).unwrap();
    for round in 1..4_u64 {
        let store: Arc<dyn Store> = crate::conformance::opened(&world.settings).await;
        read::assert_holds(&*store, 0..round * 10).await;
        store.write(otlp::log_batch(round * 10..round * 10 + 10)).await.unwrap();
        drop(store);
    }
    let store = crate::conformance::opened(&world.settings).await;
    read::assert_holds(&*store, 0..40).await;
}
