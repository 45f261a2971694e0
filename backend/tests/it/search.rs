//! Search by meaning through the doors: with the real weights (`tests/install.sh` brings them) and without.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::server::{Answer, Server, devmesh, logs, until};

/// The directory of models that the tests have.
fn models() -> String {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    models.to_str().unwrap().to_owned()
}

fn ask(server: &Server, body: &Value) -> Answer {
    server.post_json("http", "/search/semantic", body)
}

fn search(server: &Server, body: &Value) -> Value {
    let answer = ask(server, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

/// The messages of the examples of the best result.
fn best(server: &Server, question: &str) -> Vec<String> {
    let answer = search(server, &json!({"query": question}));
    let examples = answer["results"][0]["examples"].as_array().cloned().unwrap_or_default();
    examples.iter().map(|example| example["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A server with logs of two services, once all their patterns have a vector.
fn server(dir: &tempfile::TempDir) -> Server {
    let server = Server::start_with(dir.path(), &["--set", &format!("model.directory={}", models())]);
    send(&server);
    embedded(&server);
    server
}

fn send(server: &Server) {
    let cart = ["cache miss for basket_71", "cache miss for basket_72", "No space left on device sdb1"];
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("cart", &cart)).status, 200);
    let pay = [
        "Payment of order_4711 declined: insufficient funds",
        "Payment of order_4712 declined: insufficient funds",
        "Connection refused by 10.0.0.7:5432 while connecting to upstream",
        "No space left on device sda7",
    ];
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("pay", &pay)).status, 200);
}

/// Waits until every pattern of the logs has a vector.
fn embedded(server: &Server) {
    until("all patterns have vectors", || {
        let patterns = server.value("SELECT count(DISTINCT pattern_id) FROM logs").as_u64()?;
        let sql = "SELECT count(*) FROM log_embeddings JOIN (SELECT DISTINCT pattern_id FROM logs) USING (pattern_id)";
        (patterns > 0 && server.value(sql).as_u64()? == patterns).then_some(())
    });
}

#[test]
fn a_question_without_a_shared_word_finds_its_pattern_with_counts_and_live_examples() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let answer = search(&server, &json!({"query": "the customer did not have enough money"}));
    assert_eq!(answer["model"], "all-MiniLM-L6-v2");
    assert!(answer["elapsed_ms"].as_f64().unwrap() > 0.0);
    let result = &answer["results"][0];
    assert!(result["template"].as_str().unwrap().starts_with("Payment of "), "{answer}");
    assert_eq!(
        (&result["count"], &result["services"], &result["levels"]),
        (&json!(2), &json!(["pay"]), &json!(["ERROR"]))
    );
    assert!(result["first_seen"].as_str().unwrap() < result["last_seen"].as_str().unwrap());
    let examples = result["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 2);
    let example = examples[0].as_object().unwrap();
    for field in ["id", "timestamp", "service", "level", "message", "meta_json", "score"] {
        assert!(example.contains_key(field), "{field}: {example:?}");
    }
    // The pattern's id is that of its logs, and leads to them.
    let id = result["pattern_id"].as_str().unwrap();
    let found = server.get(&format!("/query/logs?pattern_id={id}")).json();
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
    let scores: Vec<f64> =
        answer["results"].as_array().unwrap().iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let all = search(&server, &json!({"query": "the disk is full", "top_k": 100}));
    assert_eq!(all["results"].as_array().unwrap().len(), 4);
    let few = search(&server, &json!({"query": "the disk is full", "top_k": 1}));
    assert_eq!(few["results"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_question_names_is_found_by_the_same_ranking() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    for (question, message) in [
        ("what happened to order_4712?", "Payment of order_4712 declined: insufficient funds"),
        ("basket_71", "cache miss for basket_71"),
        ("who refused at 10.0.0.7?", "Connection refused by 10.0.0.7:5432 while connecting to upstream"),
        ("which program had trouble with sda7", "No space left on device sda7"),
    ] {
        assert_eq!(best(&server, question).first().map(String::as_str), Some(message), "{question}");
    }
}

#[test]
fn a_search_counts_and_shows_only_what_passes_its_filter() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let services = |body: &Value| -> Vec<(u64, Value)> {
        let answer = search(&server, body);
        let results = answer["results"].as_array().unwrap().clone();
        for result in &results {
            let examples = result["examples"].as_array().unwrap();
            assert!(!examples.is_empty(), "{result}");
            let of = |example: &Value| result["services"].as_array().unwrap().contains(&example["service"]);
            assert!(examples.iter().all(of), "{result}");
        }
        results.iter().map(|result| (result["count"].as_u64().unwrap(), result["services"].clone())).collect()
    };
    let query = "the disk is full";
    assert_eq!(services(&json!({"query": query}))[0], (2, json!(["cart", "pay"])));
    let cart = services(&json!({"query": query, "service": "cart"}));
    assert_eq!(cart[0], (1, json!(["cart"])));
    assert!(cart.iter().all(|(_, services)| *services == json!(["cart"])), "{cart:?}");
    assert_eq!(services(&json!({"query": query, "level": "error"}))[0].0, 2);
    for nothing in [
        json!({"query": query, "service": "nobody"}),
        json!({"query": query, "level": "debug"}),
        json!({"query": query, "end_time": "now-1h"}),
        json!({"query": query, "start_time": "now+1h"}),
    ] {
        assert!(services(&nothing).is_empty(), "{nothing}");
    }
    assert!(!services(&json!({"query": query, "start_time": "now-1h", "end_time": "now+1h"})).is_empty());
}

#[test]
fn a_wrong_search_is_a_problem_that_names_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (body, part) in [
        (json!({"query": ""}), "query"),
        (json!({"query": "x".repeat(5000)}), "query"),
        (json!({"query": "x", "top_k": 1000}), "top_k"),
        (json!({"query": "x", "limit": 1}), "limit"),
    ] {
        let answer = ask(&server, &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.problem().contains(part), "{body}: {}", answer.text());
    }
    let answer = server.post("http", "/search/semantic", &[("content-type", "text/plain")], b"{}");
    assert_eq!(answer.status, 415);
    assert!(answer.problem().contains("application/json"));
    assert_eq!(server.get("/search/semantic").status, 405);
}

#[test]
fn an_empty_server_answers_without_results() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let answer = search(&server, &json!({"query": "anything at all"}));
    assert_eq!(answer["results"], json!([]));
    assert_eq!(server.value("SELECT count(*) FROM log_embeddings"), 0);
    assert_eq!(server.sql("SELECT * FROM semantic('anything at all')")["rows"], json!([]));
}

#[test]
fn without_weights_words_answer_until_they_are_pulled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    send(&server);
    let found = until("the patterns are found by their words", || {
        let answer = search(&server, &json!({"query": "which device has no space left"}));
        (!answer["results"].as_array()?.is_empty()).then_some(answer)
    });
    let model = found["model"].as_str().unwrap();
    assert!(model.starts_with("none: words only") && model.contains("devmesh model pull"), "{model}");
    assert!(found["results"][0]["template"].as_str().unwrap().starts_with("No space left"), "{found}");
    let data = dir.path().join("data");
    let run = |args: &[&str]| devmesh().args(args).arg("--data-dir").arg(&data).output().unwrap();
    let listed = String::from_utf8(run(&["model", "list"]).stdout).unwrap();
    assert!(listed.contains("not installed") && listed.contains("all-MiniLM-L6-v2"), "{listed}");
    let pulled = run(&["model", "pull", "--from", &models()]);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let listed: Value = serde_json::from_slice(&run(&["model", "list", "--format", "json"]).stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["missing"]), (&json!("all-MiniLM-L6-v2"), &json!([])));
    until("the server takes the model", || {
        let answer = search(&server, &json!({"query": "the customer did not have enough money"}));
        (answer["model"] == "all-MiniLM-L6-v2").then_some(())
    });
    embedded(&server);
    assert!(best(&server, "the customer did not have enough money")[0].starts_with("Payment of"));
    let doctor =
        run(&["doctor", "--http", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off", "--postgres", "off"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("all-MiniLM-L6-v2"), "{doctor:?}");
}

#[test]
fn a_model_that_is_not_the_pinned_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong");
    std::fs::create_dir(&wrong).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::write(wrong.join(name), "{}").unwrap();
    }
    let pull = |from: &str| {
        let output = devmesh().args(["model", "pull", "--from", from, "--data-dir"]).arg(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = pull(wrong.to_str().unwrap());
    assert!(code == Some(1) && message.contains("SHA-256"), "{code:?}: {message}");
    let (code, message) = pull("/nowhere/at/all");
    assert!(code == Some(2) && message.contains("/nowhere/at/all"), "{code:?}: {message}");
}

#[test]
fn vectors_survive_a_restart_and_sql_joins_the_patterns_on_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(&dir);
    let vectors = first.sql("SELECT pattern_id, embedding FROM log_embeddings ORDER BY pattern_id");
    assert!(first.stop().success());
    let server = Server::start_with(dir.path(), &["--set", &format!("model.directory={}", models())]);
    embedded(&server);
    assert_eq!(
        server.sql("SELECT pattern_id, embedding FROM log_embeddings ORDER BY pattern_id")["rows"],
        vectors["rows"]
    );
    let made = server.get("/metrics").text();
    assert!(made.contains("devmesh_search_embedded_patterns_total 0\n"), "vectors were made anew: {made}");
    let sql = "SELECT p.rank, l.service, l.body FROM semantic('the customer had no money', 1) p \
               JOIN logs l USING (pattern_id) ORDER BY l.body";
    let rows = server.sql(sql)["rows"].clone();
    let message = |n: u32| json!([1, "pay", format!("Payment of order_{n} declined: insufficient funds")]);
    assert_eq!(rows, json!([message(4711), message(4712)]));
    let data = dir.path().join("data");
    let set = format!("host=127.0.0.1 port={}", server.door("postgres").rsplit(':').next().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let over_postgres = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&set, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT l.body FROM semantic($1, 1) p JOIN logs l USING (pattern_id) ORDER BY l.body";
        let rows = client.query(sql, &[&"the customer had no money"]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    });
    assert_eq!(json!(over_postgres), json!([rows[0][2], rows[1][2]]));
    assert!(server.stop().success());
    // A directory that no server holds is asked in the same words.
    let output = devmesh()
        .args(["sql", sql, "--format", "csv", "--data-dir"])
        .arg(&data)
        .env("DEVMESH_MODEL_DIRECTORY", models())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("order_4711") && text.contains("order_4712"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_command_gives_the_answers_of_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let url = format!("http://{}", server.door("http"));
    let run =
        |args: &[&str]| devmesh().args(["search", "the disk is full", "--url", &url]).args(args).output().unwrap();
    let json: Value = serde_json::from_slice(&run(&["--format", "json", "--top", "3"]).stdout).unwrap();
    assert_eq!(json["results"], search(&server, &json!({"query": "the disk is full", "top_k": 3}))["results"]);
    let text = String::from_utf8(run(&["--service", "cart", "--level", "error", "--last", "1h"]).stdout).unwrap();
    assert!(text.starts_with(" 1. No space left on device") && text.contains("1 log "), "{text}");
    assert!(text.contains("model all-MiniLM-L6-v2") && !text.contains("pay"), "{text}");
    let output = run(&["--last", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--last"));
}
