//! A disk that is full or read-only: senders are told to come back, queries go on, and writing resumes by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use devmesh_demo::{Plan, Request};
use devmesh_tests::{Server, client, program, server::Start, until};

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u64) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={mib}m");
        program::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "devmesh-test"]).arg(at))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        client::ignore(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn requests(count: u64) -> Vec<Request> {
    let plan =
        Plan { seed: 9, records: count * 200, batch: 200, start_ns: 1_790_000_000_000_000_000, span_ns: 1_000_000_000 };
    devmesh_demo::logs(plan).collect()
}

fn start(dir: &Path) -> Server {
    Start::new(dir)
        .unwrap()
        .env("DEVMESH_STORE_MIN_FREE_DISK", "1B")
        .env("DEVMESH_WAL_SEGMENT", "1MiB")
        .ready()
        .unwrap()
}

fn logs(server: &Server) -> u64 {
    server.number("SELECT count(*) FROM logs").unwrap()
}

/// While a fault lasts: 503 with Retry-After, not ready, and queries answer.
fn refuses(server: &Server, request: &Request, acknowledged: u64) {
    let answer = client::export(&client::agent(), &server.url("otlp-http", "/v1/logs"), &request.body).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.retry_after.is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s > 0)), "no usable Retry-After");
    until(Duration::from_secs(60), "readiness to go red", || {
        Ok((client::get(&server.url("http", "/ready"))?.status == 503).then_some(()))
    })
    .unwrap();
    assert_eq!(client::get(&server.url("http", "/health")).unwrap().status, 200, "the process itself is well");
    assert_eq!(logs(server), acknowledged, "a query during the fault");
}

/// After it: writing resumes by itself, and nothing acknowledged is missing or doubled, now and after kill -9.
fn resumes(server: Server, dir: &Path, request: &Request, acknowledged: u64) {
    let url = server.url("otlp-http", "/v1/logs");
    until(Duration::from_secs(60), "writing to resume", || {
        let answer = client::export(&client::agent(), &url, &request.body)?;
        anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(Some(()))
    })
    .unwrap();
    let acknowledged = acknowledged + request.records;
    assert_eq!(logs(&server), acknowledged, "after the fault\n{}", server.log());
    server.kill().unwrap();
    let server = start(dir);
    assert_eq!(logs(&server), acknowledged, "after the fault and kill -9\n{}", server.log());
}

#[test]
fn a_full_disk_answers_503_and_writing_resumes_when_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&dir.path().join("disk"), 64).unwrap();
    let server = start(&disk.0);
    let requests = requests(200);
    let agent = client::agent();
    let mut acknowledged = 0;
    for request in &requests[..20] {
        assert_eq!(client::export(&agent, &server.url("otlp-http", "/v1/logs"), &request.body).unwrap().status, 200);
        acknowledged += request.records;
    }
    // Something else takes all space that is left.
    let hog = disk.0.join("hog");
    let mut file = File::create(&hog).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    // What the log has in reserve may still be acknowledged; then it ends.
    let refused = requests[20..].iter().find(|request| {
        let answer = client::export(&agent, &server.url("otlp-http", "/v1/logs"), &request.body).unwrap();
        if answer.status == 200 {
            acknowledged += request.records;
        }
        answer.status != 200
    });
    refuses(&server, refused.expect("the disk is full and still every request is acknowledged"), acknowledged);
    drop(file);
    std::fs::remove_file(hog).unwrap();
    resumes(server, &disk.0, &requests[0], acknowledged);
}

/// Directories in which no file can be made, renamed or removed, not even by root. Undone when dropped.
struct ReadOnly(Vec<PathBuf>);

impl ReadOnly {
    fn set(below: &Path) -> Result<Self> {
        let mut directories = vec![below.to_owned()];
        let mut at = 0;
        while let Some(directory) = directories.get(at).cloned() {
            for entry in std::fs::read_dir(directory)?.flatten().filter(|entry| entry.path().is_dir()) {
                directories.push(entry.path());
            }
            at += 1;
        }
        program::run(Command::new("chattr").arg("+i").args(&directories))?;
        Ok(Self(directories))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        client::ignore(Command::new("chattr").arg("-i").args(&self.0).status());
    }
}

#[test]
fn a_read_only_directory_answers_503_and_writing_resumes_when_it_can() {
    let dir = tempfile::tempdir_in(program::root().join("target")).unwrap();
    let server = start(dir.path());
    let requests = requests(200);
    let url = server.url("otlp-http", "/v1/logs");
    assert_eq!(client::export(&client::agent(), &url, &requests[0].body).unwrap().status, 200);
    let mut acknowledged = requests[0].records;
    let read_only = ReadOnly::set(&dir.path().join("data")).unwrap();
    // The open segment of the log still takes records; a new one cannot be made.
    let agent = client::agent();
    let refused = requests[1..].iter().find(|request| {
        let answer = client::export(&agent, &url, &request.body).unwrap();
        if answer.status == 200 {
            acknowledged += request.records;
        }
        answer.status != 200
    });
    refuses(&server, refused.expect("no segment can be made and still every request is acknowledged"), acknowledged);
    drop(read_only);
    resumes(server, dir.path(), &requests[2], acknowledged);
}
