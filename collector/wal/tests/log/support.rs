//! What the tests of the log share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use devmesh_wal::{Error, Log, Options, Record, Report, Seq, open};

/// Options of a small log.
pub(crate) fn small() -> Options {
    Options { segment_bytes: 4 << 10, max_bytes: 1 << 20, ..Options::default() }
}

/// A log, its records and what was found wrong.
pub(crate) type Reopened = (Log, Vec<(Seq, Bytes)>, Report);

/// Opens and reads all.
pub(crate) fn reopen(dir: &Path, options: Options) -> Result<Reopened, Error> {
    let (log, mut recovery) = open(dir, options)?;
    let records = recovery.by_ref().collect::<Result<Vec<_>, _>>()?;
    let report = recovery.report().clone();
    Ok((log, records, report))
}

/// A record that says which one it is, of a length that differs from its neighbours'.
pub(crate) fn content(number: u64) -> Bytes {
    format!("record {number} {}", "x".repeat((number as usize * 7) % 41)).into()
}

pub(crate) fn record(number: u64) -> Record {
    Record::from(content(number))
}

/// The segment files of a log, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("list the log")
        .map(|entry| entry.expect("list the log").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    files.sort();
    files
}

/// Copies a log's files, without what is in its directories.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("list the log") {
        let path = entry.expect("list the log").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copy");
        }
    }
}

/// A file system in memory of its own size, for tests of a full disk. Unmounted when dropped.
pub(crate) struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    pub(crate) fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output()
            .expect("run mount");
        assert!(
            mounted.status.success(),
            "tests of a full disk mount a tmpfs and need root for it (CAP_SYS_ADMIN): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount");
    }
}

/// Makes a directory read-only for new files; what is open stays writable. Undone when dropped.
pub(crate) struct ReadOnly(PathBuf);

impl ReadOnly {
    pub(crate) fn new(dir: &Path) -> Self {
        for options in ["bind", "remount,bind,ro"] {
            let done = Command::new("mount").args(["-o", options]).arg(dir).arg(dir).output().expect("run mount");
            let why = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "the test of a read-only disk bind-mounts and needs root for it: {why}");
        }
        Self(dir.into())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount");
    }
}
