//! A disk that is nearly full: writes are refused with the reason, queries go on, and writing resumes by itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use devmesh_schema::WriteError;
use tempfile::TempDir;

use crate::{
    Place, otlp, read,
    suite::{World, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_leave_memory_stop_writes_until_they_can() {
    let mut world = World::new(Place::Local).await;
    world.settings.flush.bytes = 64 << 10;
    world.settings.flush.memory_bytes = 256 << 10;
    world.settings.flush.age = Duration::from_millis(100);
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    store.flush().await.unwrap();
    // A file where a directory must be: no file of a table can be made.
    let tables = world.data_dir().join("tables");
    fs::rename(&tables, world.directory.path().join("aside")).unwrap();
    fs::write(&tables, b"in the way").unwrap();
    let mut stored = 100;
    let error = loop {
        match store.write(otlp::log_batch(stored..stored + 100)).await {
            Ok(_) => stored += 100,
            Err(error) => break error,
        }
        assert!(stored < 100_000, "memory is bounded");
    };
    assert!(matches!(error, WriteError::Unavailable(_)), "{error}");
    assert!(error.retry_after().is_some());
    assert!(store.ready().await.is_err());
    assert!(store.stats().memory_bytes < 2 << 20);
    fs::remove_file(&tables).unwrap();
    fs::rename(world.directory.path().join("aside"), &tables).unwrap();
    until("writing resumes", async || store.ready().await.is_ok()).await;
    store.write(otlp::log_batch(stored..stored + 100)).await.unwrap();
    read::assert_holds(&*store, 0..stored + 100).await;
}

/// A file system in memory of its own size. Unmounted when dropped.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn new(bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .output()
            .unwrap();
        let reason = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "tests of a full disk mount a tmpfs and need root for it: {reason}");
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all the space there is but for `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        let path = self.path().join("ballast");
        let bytes = (disk.f_bavail * disk.f_frsize).saturating_sub(left);
        fs::write(&path, vec![1; bytes as usize]).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount");
    }
}

async fn world_on(disk: &SmallDisk, min_free_disk: u64) -> World {
    let mut world = World::new(Place::Local).await;
    world.settings.data_dir = disk.path().join("data");
    world.settings.url = format!("file://{}", world.settings.data_dir.display());
    world.settings.min_free_disk = min_free_disk;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_refuses_writes_and_takes_them_again() {
    let disk = SmallDisk::new(64 << 20);
    let world = world_on(&disk, 2 << 20).await;
    let store = world.open().await;
    store.write(otlp::log_batch(0..100)).await.unwrap();
    let ballast = disk.fill(1 << 20);
    until("writes are refused", async || store.ready().await.is_err()).await;
    let error = store.write(otlp::log_batch(100..200)).await.unwrap_err();
    assert!(matches!(&error, WriteError::Unavailable(reason) if reason.contains("nearly full")), "{error}");
    read::assert_holds(&*store, 0..100).await;
    fs::remove_file(ballast).unwrap();
    until("writes are taken", async || store.ready().await.is_ok()).await;
    store.write(otlp::log_batch(100..200)).await.unwrap();
    read::assert_holds(&*store, 0..200).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let disk = SmallDisk::new(24 << 20);
    let world = world_on(&disk, 0).await;
    let store = world.open().await;
    let mut stored = 0;
    for _ in 0..3 {
        // Until the disk is full to the last byte, wherever that is noticed: in the log, in a file, in the manifest.
        let ballast = disk.fill(2 << 20);
        let error = loop {
            match store.write(otlp::log_batch(stored..stored + 100)).await {
                Ok(_) => stored += 100,
                Err(error) => break error,
            }
            if stored % 1000 == 0 {
                drop(store.flush().await);
            }
        };
        assert!(error.retry_after().is_some(), "{error}");
        read::assert_holds(&*store, 0..stored).await;
        fs::remove_file(ballast).unwrap();
        until("writing resumes", async || store.write(otlp::log_batch(stored..stored + 1)).await.is_ok()).await;
        stored += 1;
        until("rows move to files", async || store.flush().await.is_ok()).await;
    }
    read::assert_holds(&*store, 0..stored).await;
    store.close().await.unwrap();
    let store = world.open().await;
    read::assert_holds(&*store, 0..stored).await;
    store.close().await.unwrap();
}
