//! Requirements on security that hold for the program as a whole (S9, S11, S19, S37), and row C16 of the list of bad input.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::server::{Server, logs, until};

#[test]
fn s9_every_answer_says_what_it_is_and_that_it_is_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let description = server.get("/openapi.json").json();
    let described = description["paths"].as_object().unwrap().keys().cloned();
    let odd =
        ["/", "/nothing", "/logs", "/query/logs?limit=%3Cscript%3E", "/query/traces/%3Cb%3E", "/../x", "/v1/logs"];
    for path in described.filter(|path| path != "/tail/logs").chain(odd.map(str::to_owned)) {
        for answer in [server.get(&path), server.post("http", &path, &[("content-type", "text/html")], b"<script>")] {
            let kind = answer.header("content-type");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
            assert!(!kind.is_empty() || answer.body.is_empty(), "{path}");
            assert!(!kind.starts_with("text/html") || !answer.text().contains("%3C"), "{path}");
            assert!(!answer.text().contains("<script>") || kind.contains("json"), "{path}: {kind}");
            assert_eq!((answer.header("server"), answer.header("access-control-allow-origin")), ("", ""), "{path}");
        }
    }
}

#[test]
fn s11_functions_are_those_that_were_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let answer = server.sql("SELECT routine_name, function_type FROM information_schema.routines ORDER BY 1, 2");
    let rows = answer["rows"].as_array().unwrap();
    let found: String =
        rows.iter().map(|row| format!("{} {}\n", row[0].as_str().unwrap(), row[1].as_str().unwrap())).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/sql/functions.txt");
    let known = fs::read_to_string(path).unwrap_or_default();
    let (known, now): (BTreeSet<&str>, BTreeSet<&str>) = (known.lines().collect(), found.lines().collect());
    let (new, gone): (Vec<_>, Vec<_>) = (now.difference(&known).collect(), known.difference(&now).collect());
    assert!(
        new.is_empty() && gone.is_empty(),
        "new: {new:?}, gone: {gone:?}. A new function may read files, make texts of any size or run without end: look at \
         it, and write it into tests/sql/functions.txt"
    );
    for name in
        ["generate_series", "range", "repeat", "read_csv", "read_parquet", "query_to_xml", "pg_sleep", "set_config"]
    {
        let sql = format!("SELECT {name}('1', 2)");
        assert_eq!(server.post_json("http", "/query/sql", &json!({ "sql": sql })).status, 400, "{name}");
    }
}

/// All files below a directory, relative to it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![dir.to_owned()];
    while let Some(at) = look.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                look.push(path);
            }
        }
    }
    found
}

#[test]
fn s19_nothing_that_was_sent_becomes_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "store.flush=100ms"]);
    let long = "x".repeat(4096);
    let names =
        ["../../x", "..", ".", "a/../../b", "%2e%2e%2fx", "a\u{0}b", "/etc/passwd", "CON", "\u{202e}", "ü💥", &long];
    for name in names {
        assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs(name, &[name])).status, 200);
        let plain = json!({"logs": [{"message": name, "service": name, "host": name, "source": name, name: name}]});
        assert_eq!(server.post_json("http", "/ingest/logs", &plain).status, 200);
        let headers = [("content-type", "application/json"), ("x-devmesh-batch-id", "..")];
        assert_eq!(server.post("otlp-http", "/v1/logs", &headers, b"{}").status, 200);
    }
    assert_eq!(server.value("SELECT count(DISTINCT body) FROM logs"), names.len());
    until("rows lie in files", || {
        (server.value("SELECT count(*) FROM logs").as_u64()? == 22 && stored_files(&server) > 0).then_some(())
    });
    assert!(server.stop().success());
    for file in files(&dir.path().join("data")) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=".contains(&byte);
        assert!(file.bytes().all(plain) && !file.contains("..") && file.len() < 200, "{file}");
    }
    let beside: BTreeSet<String> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(beside, ["data", "server.log"].map(str::to_owned).into());
}

/// A figure of `/metrics`, by the beginning of its line.
pub(crate) fn figure(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

fn stored_files(server: &Server) -> u64 {
    figure(server, "devmesh_files{")
}

#[test]
fn c16_and_s37_any_number_of_names_costs_bounded_memory_and_loses_nothing() {
    const REQUESTS: usize = 12;
    const RECORDS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "store.flush=500ms", "--set", "store.memory=64MiB"]);
    let resident = || figure(&server, "process_resident_memory_bytes") >> 20;
    let before = resident();
    let mut most = before;
    for request in 0..REQUESTS {
        // Each record has a service, a host, an attribute and a value that no other has.
        let records: Vec<Value> = (0..RECORDS)
            .map(|record| {
                let name = request * RECORDS + record;
                json!({"message": format!("m{name}"), "service": format!("s{name}"), "host": format!("h{name}"),
                    "level": format!("L{name}"), format!("key.{name}"): format!("v{name}")})
            })
            .collect();
        // Where rows come faster than a file of so many columns is written, a sender is told to come back.
        let body = json!({ "logs": records });
        let answer = until("the request is taken", || {
            let answer = server.post_json("http", "/ingest/logs", &body);
            (answer.status != 503).then_some(answer)
        });
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(RECORDS)), "{}", answer.text());
        most = most.max(resident());
    }
    // 2,400 names in 4 places, each a column of its own in some batch, in a build for debugging.
    assert!(most < before + 300, "{before} MiB before, {most} MiB at most");
    let all = REQUESTS * RECORDS;
    let counted = "SELECT count(*), count(DISTINCT service), count(DISTINCT host), count(DISTINCT body) FROM logs";
    assert_eq!(server.sql(counted)["rows"][0], json!([all, all, all, all]));
    for name in [0, 777, 2_399] {
        let sql = format!("SELECT service FROM logs WHERE attributes['key.{name}'] = 'v{name}'");
        assert_eq!(server.sql(&sql)["rows"], json!([[format!("s{name}")]]), "{sql}");
    }
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(server.sql(counted)["rows"][0], json!([all, all, all, all]), "after a restart");
    let sql = "SELECT service FROM logs WHERE attributes['key.1414'] = 'v1414'";
    assert_eq!(server.sql(sql)["rows"], json!([["s1414"]]), "after a restart");
}
