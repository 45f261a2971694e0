//! The queries of `tests/sql` over the real store: rows in memory, in files, after a restart. The answers are the same.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::{fs, sync::Arc};

use common::{Place, TestStore, engine, flushed, open, rows, searching, shop, slt, small, sql_dir, write};
use devmesh_query::Engine;
use devmesh_schema::{IngestPath, Signal};
use devmesh_store::Store;

type Requests = Vec<(Signal, IngestPath, Vec<u8>)>;

async fn check(requests: Requests, directory: &str) {
    let dir = sql_dir().join(directory);
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path(), u64::MAX).await;
    write(store.as_ref(), requests.clone()).await;
    let mut wrong = slt::run(&searching(&store, &home.path().join("insight")), &dir, "in memory").await;
    store.close().await.unwrap();
    drop(store);

    let store = open(home.path(), u64::MAX).await;
    wrong.extend(slt::run(&searching(&store, &home.path().join("insight")), &dir, "after a restart").await);
    store.close().await.unwrap();
    drop(store);

    let other = tempfile::tempdir().unwrap();
    let store = open(other.path(), 1).await;
    write(store.as_ref(), requests).await;
    flushed(store.as_ref()).await;
    wrong.extend(slt::run(&searching(&store, &other.path().join("insight")), &dir, "in files").await);
    store.close().await.unwrap();
    assert!(wrong.is_empty(), "{} answers differ\n\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_is_answered_the_same_from_memory_files_and_after_a_restart() {
    check(small(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_records_are_answered_the_same_from_memory_files_and_after_a_restart() {
    check(shop(3000), "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_are_answered_the_same_from_files_and_after_a_restart() {
    let (home, dir) = (tempfile::tempdir().unwrap(), sql_dir().join("patterns"));
    let store = open(home.path(), u64::MAX).await;
    write(store.as_ref(), shop(3000)).await;
    // Templates are compared with each other as well.
    store.flush().await.unwrap();
    let mut wrong = slt::run(&engine(Arc::clone(&store)), &dir, "in files").await;
    store.close().await.unwrap();
    drop(store);
    let store = open(home.path(), u64::MAX).await;
    store.flush().await.unwrap();
    wrong.extend(slt::run(&engine(Arc::clone(&store)), &dir, "after a restart").await);
    store.close().await.unwrap();
    assert!(wrong.is_empty(), "{} answers differ\n\n{}", wrong.len(), wrong.join("\n"));
}

async fn one(engine: &Engine, sql: &str) -> String {
    rows(engine, sql).await.unwrap()[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_measured_queries_are_answered_the_same_from_memory_and_files() {
    let mut answers: Vec<Vec<(String, Vec<Vec<String>>)>> = Vec::new();
    for place in [Place::Memory, Place::Files, Place::Both] {
        let store = TestStore::of_requests(&shop(3000), place).await;
        let engine = engine(store as Arc<dyn Store>);
        let first = |what: &str, table: &str| {
            format!("SELECT {what} FROM {table} WHERE {what} IS NOT NULL ORDER BY time, {what} LIMIT 1")
        };
        let uuid = "regexp_match(body, '[0-9a-f]{8}-[0-9a-f-]{27}')[1]";
        let names = [
            (":request_id", one(&engine, &first("attributes['request.id']", "logs")).await),
            (":session_id", one(&engine, &first("attributes['session.id']", "logs")).await),
            (":uuid", one(&engine, &first(uuid, "logs")).await),
            (":trace_id", one(&engine, &first("trace_id", "spans")).await),
            (":user_id", one(&engine, &first("attributes['user.id']", "spans")).await),
            (":service", "storefront".into()),
            (":word", "failed".into()),
        ];
        let mut files: Vec<_> =
            fs::read_dir(sql_dir().join("performance")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 19);
        let mut all = Vec::new();
        for file in files {
            let mut sql = fs::read_to_string(&file).unwrap();
            for (name, value) in &names {
                sql = sql.replace(name, value);
            }
            let answer = rows(&engine, &sql).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(!answer.is_empty(), "{} finds nothing", file.display());
            all.push((file.file_stem().unwrap().to_string_lossy().into_owned(), answer));
        }
        answers.push(all);
    }
    for other in &answers[1..] {
        for ((name, expected), (_, got)) in answers[0].iter().zip(other) {
            assert_eq!(got, expected, "{name}");
        }
    }
}
