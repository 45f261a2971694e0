//! What is not answered, and that nothing asked can stop the process (reliability.md §4.13 S10–S13, §6.I).

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::{fs, sync::Arc, time::Duration};

use common::{Place, TestStore, ask, engine, rows, shop, small, sql_dir};
use devmesh_query::{Engine, Error, Limits, SqlOptions};
use futures::StreamExt;

async fn small_engine() -> Engine {
    engine(TestStore::of_requests(&small(), Place::Both).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_statement_that_reads_is_answered() {
    let engine = small_engine().await;
    let text = fs::read_to_string(sql_dir().join("refused.txt")).unwrap();
    let cases: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(cases.len() >= 80, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (sql, message) = case.rsplit_once("--").unwrap();
        match rows(&engine, sql).await {
            Ok(_) => wrong.push(format!("{sql}: answered")),
            Err(error) if !error.is_bad_query() => wrong.push(format!("{sql}: no fault of the query: {error:?}")),
            Err(error) if !error.to_string().contains(message.trim()) => wrong.push(format!("{sql}: {error}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_is_answered() {
    let engine = small_engine().await;
    for sql in [
        "SELECT 1",
        "SELECT 1;",
        "  -- a comment\nSELECT 1 /* another */;",
        "VALUES (1), (2)",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "EXPLAIN SELECT * FROM logs",
        "EXPLAIN ANALYZE SELECT count(*) FROM logs",
        "EXPLAIN VERBOSE SELECT * FROM logs",
        "SHOW TABLES",
        "SHOW COLUMNS FROM logs",
        "DESCRIBE logs",
        "SELECT * FROM devmesh.public.logs",
        "SELECT * FROM public.logs",
        "SELECT * FROM LOGS WHERE SERVICE = 'payments'",
        "SELECT 'it''s', 'DROP TABLE logs; --'",
        "SELECT version()",
    ] {
        if let Err(error) = rows(&engine, sql).await {
            panic!("{sql}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_the_engine_lives_on() {
    let engine = small_engine().await;
    let many = |n: usize, item: &str, separator: &str| vec![item; n].join(separator);
    let tables = |n: usize| (0..n).map(|i| format!("t{i} AS (SELECT {i} AS a)")).collect::<Vec<_>>().join(", ");
    for (what, sql) in [
        ("2,001 ones", format!("SELECT {}", many(2_001, "1", "+"))),
        ("a million ones", format!("SELECT {}", many(1_000_000, "1", "+"))),
        ("10,000 ORs", format!("SELECT * FROM logs WHERE {}", many(10_000, "level = 'a'", " OR "))),
        ("1,500 ORs", format!("SELECT * FROM logs WHERE {}", many(1_500, "level = 'a'", " OR "))),
        ("5,000 parentheses", format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000))),
        ("60 parentheses", format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60))),
        ("2,000 open parentheses", format!("SELECT {}", "(".repeat(2_000))),
        ("2,000 NOTs", format!("SELECT {} true", many(2_000, "NOT", " "))),
        ("2,000 minus signs", format!("SELECT {} 1", many(2_000, "-", " "))),
        ("1,000 CASEs", format!("SELECT {} 1 {}", many(1_000, "CASE WHEN true THEN", " "), many(1_000, "END", " "))),
        ("1,000 casts", format!("SELECT 1{}", "::int".repeat(1_000))),
        ("100 common tables", format!("WITH {} SELECT * FROM t99", tables(100))),
        ("500 UNIONs", many(500, "SELECT 1", " UNION ALL ")),
        ("a million values", format!("SELECT * FROM logs WHERE trace_flags IN ({})", many(1_000_000, "1", ","))),
        ("1,200 values", format!("SELECT * FROM logs WHERE service IN ({})", many(1_200, "'a'", ","))),
        ("20 joins", format!("SELECT 1 FROM logs {}", many(20, "CROSS JOIN logs", " "))),
        ("20 tables", format!("SELECT 1 FROM {}", (0..20).map(|i| format!("logs l{i}")).collect::<Vec<_>>().join(","))),
        ("nested sub-queries", format!("SELECT * FROM {}logs{}", "(SELECT * FROM ".repeat(60), ")".repeat(60))),
        ("a name of 100 KiB", format!("SELECT \"{}\" FROM logs", "a".repeat(100 << 10))),
        ("a text of 64 KiB", format!("SELECT '{}'", "a".repeat(64 << 10))),
        ("nothing", String::new()),
        ("a comment", "-- nothing".into()),
        ("NUL", "SELECT \0".into()),
    ] {
        match rows(&engine, &sql).await {
            Ok(_) => panic!("{what}: answered"),
            Err(error) => assert!(error.is_bad_query(), "{what}: {error:?}"),
        }
    }
    assert_eq!(rows(&engine, "SELECT count(*) FROM logs").await.unwrap(), [["8"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_lists_that_double_are_stopped() {
    let engine = small_engine().await;
    for join in ["x || x", "concat(x, x)", "concat_ws('', x, x)", "concat(x, x, x, x)"] {
        let steps: Vec<String> = (1..30).map(|n| format!("t{n} AS (SELECT {join} AS x FROM t{})", n - 1)).collect();
        for first in ["SELECT body AS x FROM logs", "SELECT 'abcdefgh' AS x"] {
            let sql = format!("WITH t0 AS ({first}), {} SELECT max(length(x)) FROM t29", steps.join(", "));
            let error = rows(&engine, &sql).await.unwrap_err();
            assert!(matches!(error, Error::Limit { .. }), "{join} of {first}: {error:?}");
        }
    }
    for join in ["array_concat(x, x)", "x || x"] {
        let steps: Vec<String> = (1..30).map(|n| format!("t{n} AS (SELECT {join} AS x FROM t{})", n - 1)).collect();
        let first = "SELECT make_array(body) AS x FROM logs";
        let sql = format!("WITH t0 AS ({first}), {} SELECT max(cardinality(x)) FROM t29", steps.join(", "));
        let error = rows(&engine, &sql).await.unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{join}: {error:?}");
    }
    for (sql, expected) in [
        ("SELECT 'a' || 'b'", "ab"),
        ("SELECT 'a' || 1 || 'c'", "a1c"),
        ("SELECT 'a' || NULL", "NULL"),
        ("SELECT concat('a', NULL, 'b')", "ab"),
        ("SELECT min(service || '/' || coalesce(level, '')) FROM logs WHERE service <> ''", "basket/"),
        ("SELECT [1, 2] || [3]", "[1, 2, 3]"),
        ("SELECT array_append([1], 2)", "[1, 2]"),
    ] {
        let got = rows(&engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(got[0][0].starts_with(expected), "{sql}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arithmetic_that_goes_wrong_is_an_error_or_null_and_never_a_panic() {
    let engine = small_engine().await;
    for (sql, expected) in [
        ("SELECT 1 / 0", None),
        ("SELECT 1.0 / 0", Some("inf")),
        ("SELECT 9223372036854775807 + 1", Some("-9223372036854775808")),
        ("SELECT CAST('abc' AS INT)", None),
        ("SELECT TRY_CAST('abc' AS INT)", Some("NULL")),
        ("SELECT CAST('99999-01-01' AS TIMESTAMP)", None),
        ("SELECT CAST('NaN' AS DOUBLE) = CAST('NaN' AS DOUBLE)", Some("true")),
        ("SELECT sqrt(-1)", None),
        ("SELECT CAST(1 AS DECIMAL(38, 10)) / 3", Some("0.33333333333333")),
        ("SELECT substr('abc', -1)", Some("abc")),
        ("SELECT date_bin(INTERVAL '0 seconds', now())", None),
        ("SELECT regexp_replace('a', '(', 'b')", None),
        ("SELECT count(*) FROM logs WHERE body ~ 'a{1000000}'", None),
        ("SELECT factorial(100)", None),
    ] {
        match (rows(&engine, sql).await, expected) {
            (Ok(got), Some(expected)) => assert_eq!(got[0][0], expected, "{sql}"),
            (Ok(got), None) => panic!("{sql}: {got:?}"),
            (Err(error), None) => assert!(!matches!(error, Error::Internal(_)), "{sql}: {error:?}"),
            (Err(error), Some(_)) => panic!("{sql}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_stopped() {
    let store = TestStore::of_requests(&shop(3000), Place::Memory).await;
    let limits = Limits { timeout: Duration::from_millis(300), threads: 2, ..Limits::default() };
    let engine = Engine::new(store, limits).unwrap();
    let heavy = "SELECT count(*) FROM logs a, logs b, logs c WHERE a.body < b.body AND b.body < c.body";
    let error = rows(&engine, heavy).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    let error = rows(&engine, &format!("EXPLAIN ANALYZE {heavy}")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_fails_and_says_so() {
    let store = TestStore::of_requests(&shop(3000), Place::Memory).await;
    let limits = Limits { query_memory: 200 << 10, threads: 2, ..Limits::default() };
    let engine = Engine::new(store, limits).unwrap();
    for sql in ["SELECT * FROM logs ORDER BY body", "SELECT body, count(*) FROM logs GROUP BY body"] {
        let error = rows(&engine, sql).await.unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{sql}: {error:?}");
    }
    assert_eq!(rows(&engine, "SELECT count(*) FROM logs").await.unwrap(), [["3000"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queries_together_hold_bounded_memory_and_spill_where_they_may() {
    let store = TestStore::of_requests(&shop(3000), Place::Memory).await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        query_memory: 24 << 20,
        total_memory: 24 << 20,
        spill_dir: Some(dir.path().into()),
        threads: 2,
        ..Limits::default()
    };
    let engine = Arc::new(Engine::new(store, limits).unwrap());
    let sorted = rows(&engine, "SELECT body FROM logs ORDER BY body, time").await.unwrap();
    assert_eq!(sorted.len(), 3000);
    assert!(sorted.is_sorted());
    // Files to spill to go with the query.
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while fs::read_dir(dir.path()).unwrap().next().is_some() {
        assert!(std::time::Instant::now() < limit, "spilled files stay");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_cut_at_its_limit_and_says_so() {
    let engine = engine(TestStore::of_requests(&shop(3000), Place::Both).await);
    for (sql, limit, rows, truncated) in [
        ("SELECT time FROM logs", Some(10), 10, true),
        ("SELECT time FROM logs", Some(3000), 3000, false),
        ("SELECT time FROM logs ORDER BY time", Some(2999), 2999, true),
        ("SELECT time FROM logs LIMIT 5", Some(10), 5, false),
        ("SELECT time FROM logs", Some(0), 0, true),
        ("SELECT time FROM logs", None, 3000, false),
    ] {
        let options = SqlOptions { limit, timeout: None };
        let answer = engine.sql(sql, options).await.unwrap();
        let stats = Arc::clone(&answer.stats);
        let got: usize = answer.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
        assert_eq!((got, stats.truncated()), (rows, truncated), "{sql} {limit:?}");
    }
    let answer = ask(&engine, "SELECT sum(severity_number) FROM logs").await.unwrap();
    let stats = Arc::clone(&answer.stats);
    answer.collect().await.unwrap();
    assert_eq!(stats.rows_scanned(), 3000);
    assert!(stats.elapsed() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_gives_its_turn_back_and_too_many_queries_are_told_to_wait() {
    let store = TestStore::of_requests(&shop(3000), Place::Memory).await;
    let limits = Limits { concurrency: 1, queue_wait: Duration::from_millis(100), threads: 2, ..Limits::default() };
    let engine = Engine::new(store, limits).unwrap();
    let wide = "SELECT a.body FROM logs a, logs b LIMIT 5000000";
    let options = SqlOptions { limit: Some(5_000_000), timeout: None };
    let mut answer = engine.sql(wide, options).await.unwrap();
    assert!(answer.rows.next().await.unwrap().is_ok());
    let error = rows(&engine, "SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(error.retry_after().is_some());
    drop(answer);
    // The turn comes back as soon as the query notices: within the second that S13 allows, where nothing else runs.
    let limit = std::time::Instant::now() + Duration::from_secs(120);
    while let Err(error) = rows(&engine, "SELECT 1").await {
        assert!(std::time::Instant::now() < limit, "{error}");
    }
}
