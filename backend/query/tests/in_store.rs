//! What runs in the store: groups, the newest rows, filters and columns. The answers stay the same.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{Place, TestStore, database::DatabaseStore, engine, rows, shop, slt, small, sql_dir};
use devmesh_query::{Engine, Error};
use devmesh_store::{GroupBy, Key, Measure};

/// A database of the shop's records, what it is asked, and the answers of a store that only gives rows.
struct Both {
    store: DatabaseStore,
    database: Engine,
    rows: Engine,
}

async fn both(records: u64) -> Both {
    let store = DatabaseStore::of_requests(&shop(records), true);
    let database = engine(Arc::new(store.clone()));
    Both { store, database, rows: engine(TestStore::of_requests(&shop(records), Place::Memory).await) }
}

impl Both {
    /// Asks both; what the database was asked.
    async fn ask(&self, sql: &str) -> (Vec<GroupBy>, usize) {
        self.store.grouped.lock().unwrap().clear();
        self.store.scans.lock().unwrap().clear();
        *self.store.pulled.lock().unwrap() = 0;
        let mut got = rows(&self.database, sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let mut expected = rows(&self.rows, sql).await.unwrap();
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{sql}");
        assert!(!got.is_empty(), "{sql}");
        (self.store.grouped.lock().unwrap().clone(), *self.store.pulled.lock().unwrap())
    }
}

async fn explain(engine: &Engine, sql: &str) -> String {
    let plan = rows(engine, &format!("EXPLAIN {sql}")).await.unwrap();
    plan.into_iter().map(|row| row.join("\n")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_over_a_table_or_view_are_made_of_the_stores_groups_and_no_row_is_pulled() {
    let both = both(3000).await;
    for sql in [
        "SELECT count(*) FROM logs",
        "SELECT count(*), min(time), max(time), sum(severity_number), avg(severity_number) FROM logs WHERE service = 'none'",
        "SELECT service, count(*) FROM logs GROUP BY service",
        "SELECT date_bin(INTERVAL '1 minute', time) AS at, service, count(*) AS n FROM logs GROUP BY at, service",
        "SELECT date_bin(INTERVAL '7 minutes', time, TIMESTAMP '2026-01-01T00:03:00') AS at, count(*) FROM logs GROUP BY at",
        "SELECT date_trunc('minute', time) AS at, max(body), min(service) FROM logs GROUP BY at",
        "SELECT date_trunc('week', time) AS at, count(trace_id) FROM logs GROUP BY at",
        "SELECT date_trunc('month', time) AS at, count(*) FROM logs GROUP BY at",
        "SELECT attributes['tenant.id'] AS t, count(*) AS n FROM logs GROUP BY t ORDER BY n DESC, t LIMIT 10",
        "SELECT service, sum(duration_ns), avg(duration_ns), min(duration_ns), max(end_time) FROM spans GROUP BY service",
        "SELECT name, kind, round(avg(value), 6), count(value) FROM metrics GROUP BY name, kind",
        "SELECT service, round(sum(value), 3), max(value) FROM metrics WHERE kind = 'gauge' GROUP BY service",
        "SELECT DISTINCT service, level FROM logs",
        "SELECT service, count(DISTINCT attributes['user.id']) FROM logs GROUP BY service",
        "SELECT count(DISTINCT service), count(*) FROM logs",
        "SELECT service, count(*) FILTER (WHERE level = 'ERROR') AS errors, count(*) AS n FROM logs GROUP BY service",
        "SELECT service, sum(CASE WHEN severity_number >= 17 THEN 1 ELSE 0 END) AS errors FROM logs GROUP BY service",
        "SELECT service, sum(CASE WHEN status_code = 'ERROR' THEN duration_ns END), \
         avg(CASE WHEN kind = 'SERVER' THEN duration_ns END), count(CASE WHEN kind = 'SERVER' THEN 1 END) \
         FROM spans GROUP BY service",
        "SELECT upper(service) AS s, level IN ('ERROR', 'FATAL') AS bad, count(*) FROM logs GROUP BY s, bad",
        "SELECT service, count(*) AS n FROM logs GROUP BY service HAVING count(*) > 100",
        "SELECT service, count(*) FROM logs WHERE severity_number >= 13 AND matches(body, 'failed') \
         AND time >= '2026-01-01T00:10:00Z' AND time < '2026-01-01T00:50:00Z' GROUP BY service",
        "SELECT count(*) FROM logs WHERE service IN ('payments', 'storefront') AND severity_number BETWEEN 9 AND 17",
        "SELECT count(*) FROM logs WHERE level IN ('WARN', 'ERROR', 'INFO', 'DEBUG')",
        "SELECT level, count(*) AS n, min(timestamp) FROM log_events GROUP BY level",
        "SELECT error_code, count(message) FROM log_events WHERE service = 'payments' OR service = 'storefront' GROUP BY error_code",
        "SELECT \"ServiceName\", toStartOfMinute, count(*) FROM (SELECT *, date_trunc('minute', \"Timestamp\") AS \
         toStartOfMinute FROM otel_logs) GROUP BY \"ServiceName\", toStartOfMinute",
        "SELECT a.service, a.n, b.n FROM (SELECT service, count(*) AS n FROM logs GROUP BY service) AS a \
         JOIN (SELECT service, count(*) AS n FROM spans GROUP BY service) AS b ON a.service = b.service",
        "SELECT service, count(*) * 100 / (SELECT count(*) FROM logs) AS share FROM logs GROUP BY service",
        "WITH x AS (SELECT service AS s, level AS l FROM logs) SELECT s, count(*) FROM x GROUP BY s UNION ALL \
         SELECT l, count(*) FROM x GROUP BY l",
    ] {
        let sql = sql.replace("toStartOfMinute", "\"toStartOfMinute\"");
        let (groups, pulled) = both.ask(&sql).await;
        let plan = explain(&both.database, &sql).await;
        assert!(!groups.is_empty() && pulled == 0, "{pulled} rows pulled: {sql}\n{plan}");
        assert!(plan.contains("StoreGroups:") && !plan.contains("StoreScan:"), "{sql}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_cannot_group_by_stays_in_the_engine() {
    let both = both(2000).await;
    for sql in [
        "SELECT service, quantile(duration_ns, 0.5) FROM spans GROUP BY service",
        "SELECT service, count(attributes['user.id']) FILTER (WHERE body LIKE '%7%') FROM logs GROUP BY service",
        "SELECT length(body) AS l, count(*) FROM logs GROUP BY l",
        "SELECT service, count(*) FROM logs WHERE body LIKE '%failed%' GROUP BY service",
        "SELECT service, sum(DISTINCT severity_number), sum(DISTINCT trace_flags) FROM logs GROUP BY service",
        "SELECT service, array_agg(level ORDER BY level) FROM logs WHERE severity_number >= 17 GROUP BY service",
        "SELECT value, count(*) FROM metrics GROUP BY value",
        "SELECT service, count(*) FROM (SELECT * FROM logs LIMIT 100000) GROUP BY service",
        "SELECT service, level, count(*) FROM logs GROUP BY ROLLUP (service, level)",
    ] {
        let (groups, _) = both.ask(sql).await;
        assert!(groups.is_empty(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_asked_for_what_the_query_groups_by() {
    let both = both(1000).await;
    let sql = "SELECT date_bin(INTERVAL '5 minutes', time) AS at, attributes['http.route'] AS r, count(*), \
               avg(duration_ns), max(name) FROM spans GROUP BY at, r";
    let (groups, _) = both.ask(sql).await;
    let column = |name: &str| name.to_owned();
    let expected = GroupBy {
        keys: vec![Key::Time { width: 300_000_000_000, origin: 0 }, Key::Attribute("http.route".into())],
        measures: vec![Measure::CountAll, Measure::Sum(column("duration_ns")), Measure::Max(column("name"))],
    };
    assert_eq!(groups, [expected]);
    let plan =
        explain(&both.database, "SELECT service, count(*) FROM logs WHERE level = 'WARN' GROUP BY service").await;
    let line = "StoreGroups: logs, filters=[level = 'WARN'], keys=[service], measures=[count(*)]";
    assert!(plan.contains(line), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_forgotten_are_in_no_group() {
    let mut store = DatabaseStore::of_requests(&shop(2000), true);
    store.horizon = 1_767_225_600_000_000_000 + 1_800_000_000_000;
    let database = engine(Arc::new(store.clone()));
    let plain = engine(TestStore::of_requests(&shop(2000), Place::Memory).await);
    let sql =
        |since: &str| format!("SELECT service, count(*) AS n FROM logs {since} GROUP BY service ORDER BY service");
    let got = rows(&database, &sql("")).await.unwrap();
    assert_eq!(got, rows(&plain, &sql("WHERE time >= '2026-01-01T00:30:00Z'")).await.unwrap());
    assert!(got.len() > 2 && store.scans.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rows_are_cut_in_the_store() {
    let both = both(3000).await;
    for (sql, limit) in [
        ("SELECT time FROM logs ORDER BY time DESC LIMIT 20", 20),
        ("SELECT timestamp FROM log_events WHERE service = 'payments' ORDER BY timestamp DESC LIMIT 5 OFFSET 10", 15),
        ("SELECT count(*) FROM (SELECT * FROM spans WHERE kind = 'SERVER' LIMIT 30)", 30),
        (
            "SELECT \"Timestamp\" FROM otel_traces WHERE \"ServiceName\" IN ('payments', 'storefront') ORDER BY \"Timestamp\" DESC LIMIT 7",
            7,
        ),
    ] {
        let (_, pulled) = both.ask(sql).await;
        assert!(pulled > 0 && pulled <= limit, "{pulled} rows pulled: {sql}");
        let plan = explain(&both.database, sql).await;
        let cut = [format!("newest={limit}"), format!("limit={limit}")];
        assert!(plan.contains("StoreScan:") && cut.iter().any(|cut| plan.contains(cut)), "{sql}\n{plan}");
    }
    // What the store does not filter by, or orders otherwise, it must not cut.
    for sql in [
        "SELECT time FROM logs WHERE body LIKE '%failed%' ORDER BY time DESC LIMIT 20",
        "SELECT time, body FROM logs ORDER BY time DESC, body LIMIT 20",
        "SELECT time FROM logs ORDER BY time LIMIT 20",
        "SELECT time FROM logs WHERE matches(body, '') AND service <> 'payments' ORDER BY time DESC LIMIT 20",
    ] {
        let (_, pulled) = both.ask(sql).await;
        assert!(pulled > 100, "{pulled} rows pulled: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_asked_for_just_the_columns_of_the_query() {
    let both = both(1000).await;
    both.ask("SELECT body FROM logs WHERE service = 'payments' AND attributes['tenant.id'] IS NOT NULL").await;
    let columns = both.store.scans.lock().unwrap()[0].columns.clone().unwrap();
    assert_eq!(columns, ["time", "service", "body", "attributes"]);
    both.ask("SELECT span_id FROM spans").await;
    assert_eq!(both.store.scans.lock().unwrap()[0].columns.clone().unwrap(), ["time", "span_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_answers_are_the_same_over_a_database_that_groups_and_one_that_does_not() {
    for groups in [true, false] {
        for (requests, directory) in [(small(), ""), (shop(3000), "shop")] {
            let store = DatabaseStore::of_requests(&requests, groups);
            let mut wrong = slt::run(&engine(Arc::new(store)), &sql_dir().join(directory), "in a database").await;
            // This one looks for no templates: what needs them is asked of the real stores.
            wrong.retain(|answer| !answer.starts_with("semantic.slt") && !answer.contains("pattern_id"));
            assert!(wrong.is_empty(), "{} answers differ\n\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_worth_asking_again_and_one_that_refuses_is_not() {
    for sql in ["SELECT body FROM logs", "SELECT service, count(*) FROM logs GROUP BY service"] {
        let mut store = DatabaseStore::of_requests(&small(), true);
        store.error = Some(|| devmesh_store::Error::Away("the database does not answer; is it running?".into()));
        let error = rows(&engine(Arc::new(store.clone())), sql).await.unwrap_err();
        assert!(matches!(error, Error::Store(_)) && error.retry_after().is_some(), "{error:?}");
        assert!(error.to_string().contains("is it running?"), "{error}");
        store.error = Some(|| devmesh_store::Error::Database("the database refuses: no such table".into()));
        let error = rows(&engine(Arc::new(store)), sql).await.unwrap_err();
        assert!(matches!(error, Error::Internal(_)) && error.retry_after().is_none(), "{error:?}");
        assert!(error.to_string().contains("no such table"), "{error}");
    }
}
