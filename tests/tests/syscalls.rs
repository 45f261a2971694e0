//! The answer follows the fdatasync: seen from the kernel's side.

use std::process::Command;

use devmesh_tests::{
    client, program,
    server::{self, Start},
};

/// One line of `strace -f -yy`: the call and what it was given.
fn position(lines: &[&str], from: usize, what: &str, found: impl Fn(&str) -> bool) -> usize {
    let at = lines[from..].iter().position(|line| found(line));
    at.map_or_else(|| panic!("no {what} after line {from} of the trace:\n{}", lines.join("\n")), |at| from + at)
}

#[test]
fn the_answer_leaves_after_the_record_is_synced() {
    program::run(Command::new("strace").arg("-V")).expect("strace is missing: run `tests/install.sh`");
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let trace_arg = trace.to_str().unwrap();
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,fdatasync,fsync,sendto,sendmsg";
    let server = Start::new(dir.path())
        .unwrap()
        .under("strace", &["-f", "-y", "-s", "120", "-o", trace_arg, "-e", calls])
        .ready()
        .unwrap();
    let body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"the-marked-record"}}]}]}]}"#;
    let answer =
        client::post(&client::agent(), &server.url("otlp-http", "/v1/logs"), "application/json", body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Ending the server ends strace, which then has written all of its trace. strace itself takes no signal.
    server::send(server.inner_pid().unwrap(), rustix::process::Signal::TERM).unwrap();
    server.wait().unwrap();
    let text = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_log_file = |line: &str| line.contains("/data/wal/");
    let written =
        position(&lines, 0, "write of the record to the log", |l| is_log_file(l) && l.contains("the-marked-record"));
    let synced = position(&lines, written, "fdatasync of the log", |l| {
        (l.contains("fdatasync(") || l.contains("fsync(")) && is_log_file(l)
    });
    // The call may be split in two lines; the answer must come after its end.
    let synced = if lines[synced].contains("unfinished") {
        position(&lines, synced + 1, "end of the fdatasync", |l| l.contains("sync resumed"))
    } else {
        synced
    };
    let answers: Vec<usize> =
        lines.iter().enumerate().filter(|(_, l)| l.contains("HTTP/1.1 200")).map(|(n, _)| n).collect();
    assert!(!answers.is_empty(), "no answer in the trace:\n{text}");
    assert!(answers.iter().all(|n| *n > synced), "an answer left before the sync at line {synced}:\n{text}");
}
