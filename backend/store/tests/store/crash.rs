//! Deaths at any moment: of a copy that was taken while the store ran, and of a process that is killed.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use devmesh_store::Settings;

use crate::{
    Place, otlp, read,
    suite::{World, until},
};

/// Copies what a directory holds; what vanishes meanwhile is left out.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // Fails for a file that has gone.
            drop(fs::copy(entry.path(), target));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_while_the_store_runs_holds_every_acknowledged_record() {
    let mut world = World::new(Place::Local).await;
    // Nothing is deleted while the copy goes on.
    world.settings.compact = false;
    let store = world.open().await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for n in 0..400_u64 {
                store.write(otlp::log_batch(n * 5..n * 5 + 5)).await.unwrap();
                acknowledged.store(n * 5 + 5, Ordering::Release);
                if n % 25 == 24 {
                    store.flush().await.unwrap();
                }
            }
        })
    };
    let mut round = 0;
    while !writer.is_finished() {
        let before = acknowledged.load(Ordering::Acquire) as usize;
        let target = world.directory.path().join(format!("copy-{round}"));
        // In the order in which a crash would find them: the log is trimmed after the manifest has the files.
        copy(&world.data_dir().join("wal"), &target.join("wal"));
        for file in ["BATCHES", "MANIFEST"] {
            drop(fs::copy(world.data_dir().join(file), target.join(file)));
        }
        copy(&world.data_dir().join("tables"), &target.join("tables"));
        let settings = Settings { url: format!("file://{}", target.display()), ..world.settings.clone() };
        let copied = devmesh_store::open(&settings).await.unwrap();
        let found = read::numbers(&*copied).await;
        assert!(found.len() >= before, "{} of {before}", found.len());
        assert!(found.iter().copied().eq(0..found.len() as u64), "{found:?}");
        copied.close().await.unwrap();
        round += 1;
    }
    writer.await.unwrap();
    assert!(round > 1);
    read::assert_holds(&*store, 0..2000).await;
}

const CHILD: &str = "DEVMESH_TEST_KILLED_DIR";

/// Started by itself with the variable, it is the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_and_doubles_nothing() {
    if let Ok(url) = env::var(CHILD) {
        write_until_killed(&url).await;
        return;
    }
    let world = World::new(Place::Local).await;
    let mut held = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_process_loses_and_doubles_nothing", "--nocapture"])
            .env(CHILD, &world.settings.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = held;
        // Each round dies at another place: after its first acknowledgement, or in flushes and merges.
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acknowledged ") {
                acknowledged = n.parse().unwrap();
                if acknowledged >= held + 5 + round * 37 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(acknowledged > held, "round {round}");
        let store = world.open().await;
        let found = read::numbers(&*store).await;
        assert!(found.len() as u64 >= acknowledged, "round {round}: {} of {acknowledged}", found.len());
        assert!(found.iter().copied().eq(0..found.len() as u64), "round {round}: {found:?}");
        held = found.len() as u64;
        store.close().await.unwrap();
    }
}

async fn write_until_killed(url: &str) {
    let settings = Settings { url: url.into(), min_free_disk: 1 << 20, ..Settings::default() };
    let settings = Settings { retention: no_retention(), ..settings };
    let store = devmesh_store::open(&settings).await.unwrap();
    let mut next = read::numbers(&*store).await.len() as u64;
    let flusher = Arc::clone(&store);
    tokio::spawn(async move {
        loop {
            flusher.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    loop {
        store.write(otlp::log_batch(next..next + 5)).await.unwrap();
        next += 5;
        println!("acknowledged {next}");
    }
}

fn no_retention() -> devmesh_store::settings::Retention {
    let none = std::time::Duration::ZERO;
    devmesh_store::settings::Retention { logs: none, traces: none, metrics: none }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_a_directory_is_refused() {
    let world = World::new(Place::Local).await;
    let store = world.open().await;
    let error = devmesh_store::open(&world.settings).await.unwrap_err();
    assert!(matches!(error, devmesh_store::Error::Locked(_)), "{error}");
    store.close().await.unwrap();
    world.open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_replayed_in_bounded_memory() {
    let mut world = World::new(Place::Local).await;
    world.settings.flush.age = std::time::Duration::from_secs(3600);
    let store = world.open().await;
    for n in 0..40 {
        store.write(otlp::log_batch(n * 500..n * 500 + 500)).await.unwrap();
    }
    assert_eq!(store.stats().tables[0].files, 0);
    drop(store);
    // Room for a fraction of it.
    world.settings.flush.bytes = 1 << 20;
    world.settings.flush.memory_bytes = 3 << 20;
    let store = crate::conformance::opened(&world.settings).await;
    let stats = store.stats();
    assert_eq!(stats.replayed, 40);
    assert!(stats.memory_bytes < 4 << 20 && stats.tables[0].files > 0, "{stats:?}");
    read::assert_holds(&*store, 0..20_000).await;
    until("memory is below its limit", async || store.stats().memory_bytes < 3 << 20).await;
}
