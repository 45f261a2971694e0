//! `devmesh migrate` and `devmesh copy`, as people and init containers use them.

#[path = "../../store/tests/mariadb/server.rs"]
mod maria;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use crate::server::{Server, devmesh, logs, trace, until};

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = devmesh().args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Runs it; the exit code is the expected one, and what is printed has these parts in it.
fn expect(args: &[&str], code: i32, parts: &[&str]) -> String {
    let (found, stdout, stderr) = run(args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    for part in parts {
        assert!(stdout.contains(part) || stderr.contains(part), "{args:?} lacks {part:?}: {stdout}{stderr}");
    }
    stdout
}

/// A directory in which a server has stored logs and a trace.
fn filled(directory: &Path, requests: usize) {
    let server = Server::start(directory);
    let bodies: Vec<String> = (0..40).map(|n| format!("body {n}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    for _ in 0..requests {
        assert_eq!(server.post_json("http", "/v1/logs", &logs("shop", &bodies)).status, 200);
    }
    assert_eq!(server.post_json("http", "/v1/traces", &trace("0af7651916cd43dd8448eb211c80319c")).status, 200);
    server.stop();
}

fn counted(directory: &Path) -> String {
    let sql = "SELECT count(*), count(DISTINCT body), max(spans) FROM logs, (SELECT count(*) AS spans FROM spans)";
    let directory = directory.to_str().unwrap();
    let out = expect(&["sql", sql, "--data-dir", directory, "--format", "csv"], 0, &[]);
    out.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_data_directory_is_made_checked_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let path = data.to_str().unwrap();
    let at = ["--data-dir", path];
    let migrate = |action: &str, more: &[&str], code: i32, parts: &[&str]| {
        expect(&[&["migrate", action], &at[..], more].concat(), code, parts)
    };
    migrate("status", &[], 0, &["does not exist", "devmesh migrate init", "pending"]);
    migrate("wait", &["--timeout", "10ms"], 1, &["not up to date", "does not exist yet"]);
    migrate("validate", &[], 1, &["does not exist"]);
    migrate("init", &[], 0, &["made", "applied", "up to date"]);
    migrate("init", &[], 0, &["up to date"]);
    migrate("wait", &["--timeout", "10ms"], 0, &["up to date"]);
    filled(directory.path(), 1);
    migrate("validate", &[], 0, &["as this version expects"]);
    let file = until("a file", || find(&data.join("tables")));
    fs::write(&file, "no Parquet").unwrap();
    migrate("validate", &[], 1, &["changed  file tables/", "difference from the schema"]);
    migrate("reset", &[], 2, &["say --yes", "for good"]);
    assert!(data.join("tables").exists());
    migrate("reset", &["--yes"], 0, &["deleted"]);
    assert!(!data.join("tables").exists() && !data.join("MANIFEST").exists());
    migrate("apply", &["--yes"], 2, &["--yes goes with"]);
    migrate("apply", &["--timeout", "1s"], 2, &["--timeout goes with"]);
    expect(&["migrate", "undo"], 2, &["undo", "apply"]);
}

fn find(directory: &Path) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(directory).ok()? {
        let path = entry.ok()?.path();
        let found = if path.is_dir() { find(&path) } else { Some(path) };
        if let Some(found) = found.filter(|path| path.extension().is_some_and(|end| end == "parquet")) {
            return Some(found);
        }
    }
    None
}

#[test]
fn a_schema_in_mariadb_is_made_checked_and_deleted() {
    let server = maria::shared();
    let url = server.url("devmesh_moving");
    let migrate = |action: &str, more: &[&str], code: i32, parts: &[&str]| {
        let out = expect(&[&["migrate", action, "--store", &url], more].concat(), code, parts);
        assert!(!out.contains("p@ss") && !out.contains("p%40ss"), "{out}");
        out
    };
    migrate("status", &[], 0, &["does not exist", "pending"]);
    migrate("apply", &[], 1, &["devmesh migrate init"]);
    migrate("wait", &["--timeout", "10ms"], 1, &["not up to date"]);
    migrate("init", &["--timeout", "30s"], 0, &["made", "applied      1  tables", "up to date"]);
    migrate("apply", &[], 0, &["up to date"]);
    let status = migrate("status", &[], 0, &["applied", "devmesh 0."]);
    assert_eq!(status.lines().count(), 3, "{status}");
    migrate("validate", &[], 0, &["as this version expects"]);
    server.execute("ALTER TABLE devmesh_moving.log_events DROP INDEX idx_host, ADD COLUMN tenant INT");
    let found = migrate("validate", &[], 1, &["2 differences"]);
    assert_eq!(found, "extra    column log_events.tenant: int(11) null\nmissing  index log_events.idx_host: (host)\n");
    server.execute(
        "INSERT INTO devmesh_moving.log_events (timestamp, source, service, host, level, message) VALUES (NOW(), 'x', 'y', \
         'z', 'INFO', 'm')",
    );
    migrate("reset", &[], 2, &["WARNING: other programs wrote", "1 in log_events", "--yes"]);
    migrate("reset", &["--yes"], 0, &["deleted"]);
    assert_eq!(
        server.execute("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'devmesh_moving'"),
        "0\n"
    );
    let away = "mariadb://root:hunter2@127.0.0.1:1/x";
    let (code, stdout, stderr) = run(&["migrate", "init", "--store", away, "--timeout", "10ms"]);
    assert!(code == 1 && stderr.contains("127.0.0.1:1") && !stderr.contains("hunter2"), "{stdout}{stderr}");
}

#[test]
fn a_copy_that_is_killed_goes_on_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 60);
    let from = directory.path().join("data");
    let to = directory.path().join("copy");
    let (source, target) = (format!("file://{}", from.display()), format!("file://{}", to.display()));
    let work = directory.path().join("work");
    let args = ["copy", "--from", &source, "--to", &target, "--rows", "50", "--work-dir", work.to_str().unwrap()];
    for windows in [2, 5, 9] {
        let mut child = devmesh().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("some windows are copied", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            (done(&work) >= windows).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    expect(&args, 0, &["2400 records", "3 records", "verified", "copied already"]);
    assert_eq!(counted(&to), counted(&from));
    assert_eq!(counted(&to), "2400,40,3");
    expect(&args, 0, &["was copied before", "nothing was written", "verified"]);
    assert_eq!(counted(&to), "2400,40,3");
}

/// Windows that the progress below a directory says are done.
fn done(work: &Path) -> usize {
    let Ok(mut copies) = fs::read_dir(work) else { return 0 };
    let Some(Ok(copy)) = copies.next() else { return 0 };
    fs::read_to_string(copy.path().join("progress.json")).map_or(0, |text| text.matches("{\"done\"").count())
}

#[test]
fn a_target_that_has_something_else_fails_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1);
    let from = directory.path().join("data");
    let to = directory.path().join("copy");
    let (source, target) = (format!("file://{}", from.display()), format!("file://{}", to.display()));
    let work = directory.path().join("work");
    let args = ["copy", "--from", &source, "--to", &target, "--work-dir", work.to_str().unwrap()];
    expect(&args, 0, &["40 records", "verified"]);
    expect(&["migrate", "reset", "--yes", "--store", &target], 0, &["deleted"]);
    expect(&args, 1, &["DIFFERENT", "0 records, expected 40", "windows the target has something else"]);
}

#[test]
fn a_copy_says_what_is_wrong_with_what_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let data = format!("file://{}", directory.path().join("data").display());
    let other = format!("file://{}", directory.path().join("other").display());
    let missing = format!("file://{}", directory.path().join("missing").display());
    let work = directory.path().join("work");
    let copy = |args: &[&str], code: i32, parts: &[&str]| {
        expect(&[&["copy", "--work-dir", work.to_str().unwrap()], args].concat(), code, parts);
    };
    copy(&["--from", &data, "--to", &other], 1, &["--from", "in use by another devmesh", "Stop it first"]);
    fs::create_dir(directory.path().join("other")).unwrap();
    copy(&["--from", &other, "--to", &data], 1, &["--to", "in use by another devmesh"]);
    copy(&["--from", &data, "--to", &data], 2, &["the same store"]);
    copy(&["--from", &missing, "--to", &other], 2, &["no such data directory"]);
    assert!(!directory.path().join("missing").exists());
    copy(
        &["--from", &data, "--to", &other, "--signals", "logs,profiles"],
        2,
        &["profiles", "logs, traces and metrics"],
    );
    copy(&["--from", &data, "--to", "mongodb://u:hunter2@h/x"], 2, &["mongodb", "clickhouse://"]);
    copy(&["--from", &data, "--to", &other, "--start", "yesterday-ish"], 2, &["--start"]);
    copy(&["--from", &data, "--to", &other, "--start", "now", "--end", "now-1h"], 2, &["--start lies behind --end"]);
    copy(&["--from", &data], 2, &["--to"]);
    server.stop();
}
