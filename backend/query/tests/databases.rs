//! The queries of `tests/sql` over MariaDB and ClickHouse, real ones: the same answers as over files, with the rows in memory
//! and in the database.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

#[path = "../../store/src/clickhouse/tests/server.rs"]
#[allow(dead_code, reason = "the store's own tests use more of it")]
mod clickhouse;
#[path = "../../store/tests/mariadb/server.rs"]
mod mariadb;

use std::{sync::Arc, time::Duration};

use common::{rows, searching, shop, slt, small, sql_dir, write};
use devmesh_store::{Settings, Store};

/// How long a database may take to have what was written.
const PATIENCE: Duration = Duration::from_secs(120);

async fn opened(url: String, home: &std::path::Path) -> Arc<dyn Store> {
    let mut settings = Settings { url, data_dir: home.join("data"), ..Settings::default() };
    // The data of the tests are older than any record is kept.
    settings.retention.logs = Duration::ZERO;
    settings.retention.traces = Duration::ZERO;
    settings.retention.metrics = Duration::ZERO;
    // Rows leave memory when the test says so.
    settings.flush.age = Duration::from_secs(3600);
    let store = devmesh_store::open(&settings).await.unwrap();
    // It is ready when the database has its tables.
    let waited = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while store.ready().await.is_err() {
            tick.tick().await;
        }
    };
    if tokio::time::timeout(PATIENCE, waited).await.is_err() {
        panic!("the store is not ready: {:?}", store.ready().await);
    }
    store
}

/// Runs all statements with the rows in memory, half of them in the database, and all of them there.
async fn check(url: impl Fn(&str) -> String, place: &str) {
    let mut wrong = Vec::new();
    for (requests, directory) in [(small(), ""), (shop(3000), "shop")] {
        let dir = sql_dir().join(directory);
        let home = tempfile::tempdir().unwrap();
        let store = opened(url(if directory.is_empty() { "small" } else { "shop" }), home.path()).await;
        let (first, second) = requests.split_at(requests.len() / 2);
        write(store.as_ref(), first.to_vec()).await;
        tokio::time::timeout(PATIENCE, store.flush()).await.unwrap().unwrap();
        write(store.as_ref(), second.to_vec()).await;
        let engine = searching(&store, &home.path().join("insight"));
        wrong.extend(slt::run(&engine, &dir, &format!("partly in {place}")).await);
        tokio::time::timeout(PATIENCE, store.flush()).await.unwrap().unwrap();
        assert!(store.stats().tables.iter().all(|table| table.memory_rows == 0));
        wrong.extend(slt::run(&engine, &dir, &format!("in {place}")).await);
        if directory == "shop" {
            wrong.extend(slt::run(&engine, &sql_dir().join("patterns"), &format!("in {place}")).await);
            counted_in_the_store(&engine, place).await;
        }
        drop(engine);
        store.close().await.unwrap();
    }
    assert!(wrong.is_empty(), "{} answers differ\n\n{}", wrong.len(), wrong.join("\n"));
}

/// The plan of a count by service and minute has the groups of the store and none of its rows.
async fn counted_in_the_store(engine: &devmesh_query::Engine, place: &str) {
    let sql = "SELECT service, date_bin(INTERVAL '1 minute', time) AS minute, count(*) FROM logs GROUP BY 1, 2";
    let plan = format!("{:?}", rows(engine, &format!("EXPLAIN {sql}")).await.unwrap());
    assert!(plan.contains("StoreGroups"), "{place}: {plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_gives_the_same_answers() {
    let server = mariadb::shared();
    let databases = [("small", server.database()), ("shop", server.database())];
    let url = |name: &str| server.url(&databases.iter().find(|(known, _)| *known == name).unwrap().1);
    check(url, "MariaDB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_gives_the_same_answers() {
    let server = clickhouse::Server::new(None);
    check(|name| server.url(name), "ClickHouse").await;
}
