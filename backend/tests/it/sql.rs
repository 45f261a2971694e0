//! `POST /query/sql`.

use serde_json::json;

use crate::server::{Answer, Server, logs};

fn server(dir: &tempfile::TempDir) -> Server {
    let server = Server::start(dir.path());
    let answer = server.post_json("otlp-http", "/v1/logs", &logs("cart", &["=1+1", "two words", "<b>three</b>"]));
    assert_eq!(answer.status, 200);
    server
}

fn ask(server: &Server, body: &serde_json::Value) -> Answer {
    server.post_json("http", "/query/sql", body)
}

#[test]
fn the_answer_has_columns_rows_and_figures() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let answer =
        ask(&server, &json!({"sql": "SELECT service, body, severity_number FROM logs ORDER BY body", "limit": 2}));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let answer = answer.json();
    assert_eq!(
        answer["columns"],
        json!([{"name": "service", "type": "text"}, {"name": "body", "type": "text"},
            {"name": "severity_number", "type": "integer"}])
    );
    assert_eq!(answer["rows"], json!([["cart", "<b>three</b>", 17], ["cart", "=1+1", 17]]));
    assert_eq!((answer["truncated"].as_bool(), answer["rows_scanned"].as_u64()), (Some(true), Some(3)));
    assert!(answer["elapsed_ms"].as_f64().unwrap() > 0.0);
    let all = ask(&server, &json!({"sql": "SELECT body FROM logs"})).json();
    assert_eq!((all["truncated"].as_bool(), all["rows"].as_array().unwrap().len()), (Some(false), 3));
}

#[test]
fn csv_and_arrow_by_format_and_by_accept() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let query = json!({"sql": "SELECT body FROM logs ORDER BY body"}).to_string();
    let by_accept = |accept: &str| {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        server.post("http", "/query/sql", &headers, query.as_bytes())
    };
    let csv = by_accept("text/csv");
    assert_eq!(csv.text(), "body\r\n<b>three</b>\r\n'=1+1\r\ntwo words\r\n");
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert_eq!(csv.header("x-truncated"), "false");
    let mut asked: serde_json::Value = serde_json::from_str(&query).unwrap();
    asked["format"] = "csv".into();
    assert_eq!(ask(&server, &asked).body, csv.body);
    let arrow = by_accept("application/vnd.apache.arrow.stream");
    let reader = arrow_ipc::reader::StreamReader::try_new(arrow.body.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    assert_eq!(by_accept("application/xml").status, 406);
    assert_eq!(by_accept("text/html,*/*;q=0.8").status, 200);
}

#[test]
fn a_large_answer_is_streamed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let digits = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";
    let from: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|name| format!("{digits} AS {name}(x)")).collect();
    let sql = format!("SELECT a.x, b.x, 'a text of some length to make it large' AS t FROM {}", from.join(", "));
    let answer = ask(&server, &json!({"sql": sql, "limit": 100_000})).json();
    assert_eq!(answer["rows"].as_array().unwrap().len(), 100_000);
    assert_eq!(answer["truncated"], false);
    let csv = ask(&server, &json!({"sql": sql, "limit": 100_000, "format": "csv"}));
    assert_eq!(csv.text().lines().count(), 100_001);
}

#[test]
fn numbers_that_json_cannot_hold_are_strings() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let answer =
        server.sql("SELECT 9007199254740993, 9007199254740992, CAST('NaN' AS DOUBLE), CAST('-inf' AS DOUBLE), 1.5e0");
    assert_eq!(answer["rows"][0], json!(["9007199254740993", 9_007_199_254_740_992u64, "NaN", "-Infinity", 1.5]));
}

#[test]
fn anything_but_a_query_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    for sql in [
        "DROP TABLE logs",
        "DELETE FROM logs",
        "INSERT INTO logs VALUES (1)",
        "UPDATE logs SET body = 'x'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW v AS SELECT 1",
        "COPY logs TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET a = 1",
        "PREPARE p AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE logs",
        "BEGIN",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "",
        "-- nothing",
        "SELECT",
        "SELEC 1",
    ] {
        let answer = ask(&server, &json!({ "sql": sql }));
        assert_eq!(answer.status, 400, "{sql}: {}", answer.text());
        assert!(!answer.problem().is_empty(), "{sql}");
    }
    assert_eq!(server.value("SELECT count(*) FROM logs"), 3);
    assert_eq!(ask(&server, &json!({"sql": "SELECT 1;"})).status, 200, "a semicolon at the end is no second statement");
}

#[test]
fn a_wrong_request_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    for (body, part) in [
        (json!({}), "sql"),
        (json!({"sql": 1}), "string"),
        (json!({"sql": "SELECT 1", "formt": "csv"}), "formt"),
        (json!({"sql": "SELECT 1", "format": "xml"}), "xml"),
        (json!({"sql": "SELECT 1", "limit": 0}), "limit"),
        (json!({"sql": "SELECT 1", "limit": -1}), "-1"),
        (json!({"sql": "SELECT * FROM lgs"}), "logs"),
        (json!({"sql": "SELECT bdy FROM logs"}), "body"),
        (json!([]), "body"),
    ] {
        let answer = ask(&server, &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.problem().contains(part), "{body}: {}", answer.problem());
    }
    let answer = server.post("http", "/query/sql", &[("content-type", "text/plain")], b"SELECT 1");
    assert_eq!(answer.status, 415);
    answer.problem();
    let long = json!({"sql": format!("SELECT '{}'", "x".repeat(70_000))});
    assert_eq!(ask(&server, &long).status, 400);
    let longer = json!({"sql": "x".repeat(300_000)});
    assert_eq!(ask(&server, &longer).status, 413);
    let lowered = ask(&server, &json!({"sql": "SELECT 1", "limit": 1_000_000_000}));
    assert_eq!((lowered.status, lowered.header("x-limit-applied")), (200, "100000"));
}
