//! The door of the Model Context Protocol: what it refuses, and how (reliability.md S30, S31, §6.M). That the official clients can use
//! it is tested in `tests/tests/mcp.rs`.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::server::{Answer, Server, devmesh, logs};

const SEND: &str = "send-0123456789abcdef";
const READ: &str = "read-0123456789abcdef";
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

fn ask(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    server.post("http", "/mcp", &[&[ACCEPT, JSON][..], headers].concat(), body)
}

fn request(id: &Value, method: &str, params: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().into_bytes()
}

fn call(tool: &str, arguments: &Value) -> Vec<u8> {
    request(&json!(1), "tools/call", &json!({"name": tool, "arguments": arguments}))
}

fn hello(version: &str) -> Vec<u8> {
    let client = json!({"name": "test", "version": "1"});
    request(&json!(1), "initialize", &json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client}))
}

#[test]
fn pages_of_other_sites_reach_nothing_by_a_name_of_their_own_or_across_origins() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let select = call("sql", &json!({"sql": "SELECT 1 AS one"}));
    for (headers, status) in [
        (&[][..], 200),
        (&[("origin", "http://localhost:6274")], 200),
        (&[("origin", "http://127.0.0.1:8000")], 200),
        (&[("host", "evil.example")], 403),
        (&[("host", "evil.example"), ("origin", "http://evil.example")], 403),
        (&[("host", "localhost.evil.example:8000")], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "http://localhost.evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("mcp-session-id", "5f2d7a31-5a3b-4c59-8f2c-0a4b8f0e4d11")], 404),
    ] {
        let answer = ask(&server, headers, &select);
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{headers:?}");
        assert!(!answer.headers.contains_key("mcp-session-id"), "{headers:?}");
        if status != 200 {
            answer.problem();
        }
    }
    for method in ["GET", "DELETE"] {
        let url = format!("http://{}/mcp", server.door("http"));
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder().method(method).uri(url).header("accept", "text/event-stream");
        let response = agent.run(request.body(()).unwrap()).unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST", "{method}");
    }
}

#[test]
fn who_may_read_may_ask_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (send, read) = (format!("auth.ingest_tokens={SEND}"), format!("auth.read_tokens={READ}"));
    let server = Server::start_with(dir.path(), &["--set", &send, "--set", &read]);
    let (right, other) = (format!("Bearer {READ}"), format!("Bearer {SEND}"));
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer wrong-0123456789abcdef")], 401),
        (&[("authorization", other.as_str())], 403),
        (&[("authorization", right.as_str())], 200),
    ] {
        for body in [hello("2025-11-25"), call("sql", &json!({"sql": "SELECT 1 AS one"}))] {
            let answer = ask(&server, headers, &body);
            assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
        }
    }
}

#[test]
fn what_is_no_message_is_refused_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let select = call("sql", &json!({"sql": "SELECT 1 AS one"}));
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let batch = format!("[{}]", vec![r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#; 10_000].join(","));
    let large = call("sql", &json!({"sql": "x".repeat(300 << 10)}));
    let cases: [(&[u8], u16); 8] = [
        (b"", 400),
        (b"{", 400),
        (b"SELECT 1", 400),
        (b"{}", 400),
        (b"\xff\xfe", 400),
        (deep.as_bytes(), 400),
        (b"[]", 400),
        (batch.get(..200 << 10).unwrap().as_bytes(), 400),
    ];
    for (body, status) in cases {
        let answer = ask(&server, &[], body);
        assert_eq!(answer.status, status, "{:.80?}: {}", String::from_utf8_lossy(body), answer.text());
    }
    assert_eq!(ask(&server, &[], &large).status, 413);
    assert_eq!(server.post("http", "/mcp", &[ACCEPT], &select).status, 415);
    assert_eq!(server.post("http", "/mcp", &[JSON, ("accept", "text/html")], &select).status, 406);
    assert_eq!(ask(&server, &[("mcp-protocol-version", "1999-01-01")], &select).status, 400);

    let nothing = json!({});
    for (body, code) in [
        (request(&json!(1), "tools/destroy", &nothing), -32601),
        (request(&json!("a"), "prompts/get", &json!({"name": "x"})), -32601),
        (call("nothing", &nothing), -32602),
    ] {
        let answer = ask(&server, &[], &body);
        assert_eq!(answer.json()["error"]["code"], code, "{}", answer.text());
    }
    let notification = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for _ in 0..100 {
        assert_eq!(ask(&server, &[], notification).status, 202);
    }
    assert_eq!(ask(&server, &[], &select).json()["result"]["structuredContent"]["answer"]["rows"], json!([[1]]));
}

#[test]
fn the_version_of_the_protocol_is_agreed_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (asked, agreed) in [("2025-03-26", "2025-03-26"), ("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25")] {
        let answer = ask(&server, &[], &hello(asked)).json();
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{answer}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "devmesh");
        assert!(answer["result"]["capabilities"]["tools"].is_object(), "{answer}");
    }
    let unknown = ask(&server, &[], &hello("1999-01-01")).json();
    assert!(
        unknown["result"]["protocolVersion"].is_string() && unknown["result"]["protocolVersion"] != "1999-01-01",
        "{unknown}"
    );
}

#[test]
fn queries_of_models_have_the_guards_of_all_queries() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("web", &["kept"])).status, 200);
    for sql in [
        "DROP TABLE logs",
        "INSERT INTO logs SELECT * FROM logs",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT 1; DELETE FROM logs",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SET datafusion.execution.target_partitions = 1",
    ] {
        let answer = ask(&server, &[], &call("sql", &json!({ "sql": sql }))).json();
        assert_eq!(answer["result"]["isError"], true, "{sql}: {answer}");
        assert!(answer["result"]["content"][0]["text"].as_str().unwrap().len() > 10, "{sql}: {answer}");
    }
    let answer = ask(&server, &[], &call("trace", &json!({"trace_id": "../../ingest/logs?x=0123456789abc"}))).json();
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(server.value("SELECT count(*) FROM logs"), 1);
}

fn standard_input(text: &str) -> Output {
    let mut command = devmesh();
    command.args(["mcp", "--url", "http://127.0.0.1:9"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have gone before it has read all of it.
    drop(child.stdin.take().unwrap().write_all(text.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn standard_output_has_messages_alone_and_the_end_of_input_is_the_end() {
    let output = standard_input("");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("docs/mcp.md"), "{said}");

    let lines = [
        String::from_utf8(hello("2025-11-25")).unwrap(),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        String::from_utf8(request(&json!(2), "tools/list", &json!({}))).unwrap(),
    ];
    let output = standard_input(&format!("{}\n", lines.join("\n")));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages.len(), 2, "{said}");
    assert_eq!(messages[0]["result"]["serverInfo"]["name"], "devmesh");
    assert_eq!(messages[1]["result"]["tools"].as_array().unwrap().len(), 6);
}
