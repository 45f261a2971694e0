//! The command line: exit codes, messages, formats.

use std::{
    io::{Read, Write},
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::server::{Server, devmesh, logs, trace};

fn run(args: &[&str]) -> Output {
    devmesh().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_usage_and_configuration_end_with_2_and_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devmesh.toml");
    std::fs::write(&file, "[http]\nlistn = \"off\"\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 12] = [
        (&["serv"], &["serve"]),
        (&["serve", "--htp", "x"], &["--http"]),
        (&["serve", "--http"], &["--http"]),
        (&["serve", "--http", "127.0.0.1:65536"], &["http.listen", "65536"]),
        (&["serve", "--http", "0.0.0.0:0"], &["auth.read_tokens", "--insecure"]),
        (&["serve", "--store", "mongodb://x"], &["mongodb", "file://DIR"]),
        (&["serve", "--config", file], &["devmesh.toml:2", "http.listn", "http.listen"]),
        (&["serve", "--config", "/nowhere/x.toml"], &["/nowhere/x.toml"]),
        (&["serve", "--set", "retention.logs=5"], &["retention.logs", "90d"]),
        (&["serve", "--set", "retention"], &["SECTION.KEY=VALUE"]),
        (&["sql", "SELECT 1", "--data-dir", "/nowhere"], &["/nowhere"]),
        (&["trace", "abc"], &["32 hex digits"]),
    ];
    for (args, parts) in cases {
        let output = run(args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{args:?}: {message} lacks {part}");
        }
    }
}

#[test]
fn the_environment_is_read_and_wrong_names_in_it_are_told() {
    let output = devmesh().arg("config").env("DEVMESH_RETENTION_LOGS", "7d").env("API_PORT", "9001").output().unwrap();
    let settings = text(&output.stdout);
    assert!(settings.contains("logs = \"7d\"") && settings.contains("127.0.0.1:9001"), "{settings}");
    let output = devmesh().arg("serve").env("DEVMESH_RETENTION_LOG", "7d").output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(message.contains("DEVMESH_RETENTION_LOG") && message.contains("retention.logs"), "{message}");
    let output = devmesh().arg("serve").env("DB_HOST", "db").env("DB_PORT", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("DB_PORT"), "{}", text(&output.stderr));
}

#[test]
fn secrets_are_never_printed() {
    let secret = "canary-0123456789abcdef";
    let output = devmesh()
        .arg("config")
        .env("DEVMESH_AUTH_READ_TOKENS", secret)
        .env("DEVMESH_S3_SECRET_ACCESS_KEY", secret)
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(printed.contains("<redacted>") && !printed.contains("canary"), "{printed}");
}

#[test]
fn version_help_and_completions_are_printed() {
    assert!(text(&run(&["version"]).stdout).starts_with("devmesh 0."));
    assert_eq!(run(&["--version"]).stdout, run(&["version"]).stdout);
    let help = text(&run(&["--help"]).stdout);
    for command in ["serve", "sql", "search", "tail", "trace", "model", "doctor", "completions"] {
        assert!(help.contains(command), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&run(&["completions", shell]).stdout).contains("devmesh"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        devmesh().args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!((child.wait().unwrap().code(), message.as_str()), (Some(0), ""));
}

#[test]
fn without_a_server_the_message_says_how_to_start_one() {
    let output = run(&["sql", "SELECT 1", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("devmesh serve") && message.contains("--url"), "{message}");
}

#[test]
fn sql_gives_the_same_rows_from_a_server_and_from_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("cart", &["one", "two, three"])).status, 200);
    let url = format!("http://{}", server.door("http"));
    let data = dir.path().join("data");
    let query = "SELECT service, body, 2 AS n FROM logs ORDER BY body";
    let formats = ["table", "json", "csv", "arrow", "parquet"];
    let ask = |source: [&str; 2], format: &str| {
        let output = run(&["sql", query, source[0], source[1], "--format", format]);
        assert!(output.status.success(), "{format}: {}", text(&output.stderr));
        output.stdout
    };
    let remote = formats.map(|format| ask(["--url", &url], format));
    assert!(server.stop().success());
    let local = formats.map(|format| ask(["--data-dir", data.to_str().unwrap()], format));
    for answers in [&remote, &local] {
        let table = text(&answers[0]);
        assert!(table.contains("cart") && table.contains("two, three") && table.contains("(2 rows"), "{table}");
        let json: Value = serde_json::from_slice(&answers[1]).unwrap();
        assert_eq!(json["rows"], json!([["cart", "one", 2], ["cart", "two, three", 2]]));
        assert_eq!(text(&answers[2]), "service,body,n\r\ncart,one,2\r\ncart,\"two, three\",2\r\n");
        assert!(answers[3].starts_with(&[0xff; 4]), "an Arrow stream");
        assert!(answers[4].starts_with(b"PAR1") && answers[4].ends_with(b"PAR1"), "a Parquet file");
    }
}

#[test]
fn a_query_is_read_from_stdin_and_an_error_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let url = format!("http://{}", server.door("http"));
    let mut child = devmesh()
        .args(["sql", "-", "--url", &url, "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 1 AS one").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "one\r\n1\r\n");
    let output = run(&["sql", "SELECT * FROM lgs", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean logs?"), "{}", text(&output.stderr));
}

#[test]
fn a_trace_is_drawn_as_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(server.post_json("otlp-http", "/v1/traces", &trace(id)).status, 200);
    let url = format!("http://{}", server.door("http"));
    let output = run(&["trace", id, "--url", &url]);
    let drawn = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        drawn.contains("* 9.000 ms  web GET /\n* 7.000 ms    web query\n* 5.000 ms      db SELECT  ERROR"),
        "{drawn}"
    );
    let output = run(&["trace", &id.replace('0', "1"), "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_tail_shows_records_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let url = format!("http://{}", server.door("http"));
    let mut child =
        devmesh().args(["tail", "--url", &url, "--service", "cart"]).stdout(Stdio::piped()).spawn().unwrap();
    let open = || server.get("/metrics").text().contains("devmesh_tails 1").then_some(());
    crate::server::until("the tail is open", open);
    server.post_json("otlp-http", "/v1/logs", &logs("other", &["not this"]));
    server.post_json("otlp-http", "/v1/logs", &logs("cart", &["this \u{1b}[2J one"]));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("ERROR") && line.contains("cart") && line.ends_with("this \\u{1b}[2J one\n"), "{line}");
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let free: Vec<String> = ["--http", "--otlp-grpc", "--otlp-http", "--postgres"]
        .iter()
        .flat_map(|door| [(*door).to_owned(), "127.0.0.1:0".to_owned()])
        .collect();
    let output = devmesh().args(["doctor", "--data-dir"]).arg(&data).args(&free).output().unwrap();
    let good = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{good}");
    for what in ["ports", "data directory", "disk", "clock", "store", "model"] {
        assert!(good.contains(what), "{good}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(&data, "no directory").unwrap();
    let output = devmesh()
        .args(["doctor", "--data-dir"])
        .arg(&data)
        .args(&free)
        .args(["--set", "cors.origins="])
        .args(["--set", "log.level=info"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("is no directory"), "{}", text(&output.stdout));
    let output =
        devmesh().args(["doctor", "--http", &address, "--data-dir"]).arg(dir.path().join("new")).output().unwrap();
    let bad = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{bad}");
    assert!(bad.contains(&address) && bad.contains("ss -ltnp"), "{bad}");
}
