//! Which stored columns a query reads, and what it asks of the store.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Place, TestStore, engine, rows, shop};
use devmesh_store::{Filter, Op, Value};

async fn explain(sql: &str) -> String {
    let engine = engine(TestStore::of_requests(&shop(3000), Place::Files).await);
    rows(&engine, &format!("EXPLAIN {sql}"))
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.join("\n"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Bytes that the Parquet reader fetched.
async fn bytes(sql: &str) -> u64 {
    let engine = engine(TestStore::of_requests(&shop(3000), Place::Files).await);
    let plan = rows(&engine, &format!("EXPLAIN ANALYZE VERBOSE {sql}")).await.unwrap();
    let plan = plan.into_iter().map(|row| row.join("\n")).collect::<Vec<_>>().join("\n");
    let after = plan.split("bytes_scanned{").skip(1).chain(plan.split("bytes_scanned=").skip(1));
    let figure = |text: &str| {
        let text = text.rsplit_once("}=").map_or(text, |(_, t)| t);
        text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u64>().ok())
    };
    after.filter_map(|text| figure(text.split([',', ']']).next().unwrap_or_default())).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_is_read_by_the_scan_itself() {
    let plan = explain("SELECT attributes['tenant.id'] AS t, count(*) FROM logs GROUP BY t").await;
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(scan.contains("attribute(attributes@15, tenant.id)"), "{plan}");
    let filter = explain("SELECT body FROM logs WHERE attributes['user.id'] = 'user1' AND service = 'payments'").await;
    assert!(!filter.contains("FilterExec"), "{filter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_columns_of_the_question_are_fetched() {
    let all = bytes("SELECT * FROM logs").await;
    let one = bytes("SELECT attributes['tenant.id'] AS t, count(*) FROM logs GROUP BY t").await;
    let text = bytes("SELECT body FROM logs").await;
    assert!(one > 0 && one * 20 < all, "one attribute: {one} of {all} bytes");
    assert!(text > 0 && text * 2 < all, "the body: {text} of {all} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_without_conditions_reads_no_file() {
    let plan = explain("SELECT count(*) FROM logs").await;
    assert!(!plan.contains("DataSourceExec: file_groups"), "{plan}");
    let plan = explain("SELECT min(time), max(time) FROM spans").await;
    assert!(!plan.contains("DataSourceExec: file_groups"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_reach_the_store_in_its_own_words() {
    let store = TestStore::of_requests(&shop(3000), Place::Both).await;
    let engine = engine(store.clone());
    let at = 1_767_225_600_000_000_000;
    let text = |t: &str| Value::Text(t.into());
    let compare = |column: &str, op, value| Filter::Compare { column: column.into(), op, value };
    for (condition, time, filters) in [
        ("time >= '2026-01-01T00:00:00Z' AND time < '2026-01-01T00:01:00Z'", at..at + 60_000_000_000, vec![]),
        (
            "time > TIMESTAMP '2026-01-01 00:00:00' AND time <= '2026-01-01T00:01:00'",
            at + 1..at + 60_000_000_001,
            vec![],
        ),
        ("time BETWEEN '2026-01-01' AND '2026-01-01T00:00:01Z'", at..at + 1_000_000_001, vec![]),
        ("'2026-01-01T00:00:00Z' <= time", at..i64::MAX, vec![]),
        ("service = 'payments'", i64::MIN..i64::MAX, vec![compare("service", Op::Eq, text("payments"))]),
        ("severity_number >= 17", i64::MIN..i64::MAX, vec![compare("severity_number", Op::GtEq, Value::Int(17))]),
        ("trace_id = 'ab'", i64::MIN..i64::MAX, vec![compare("trace_id", Op::Eq, text("ab"))]),
        (
            "attributes['request.id'] = 'x'",
            i64::MIN..i64::MAX,
            vec![Filter::Attribute { key: "request.id".into(), value: "x".into() }],
        ),
        (
            "matches(body, 'Connection REFUSED')",
            i64::MIN..i64::MAX,
            vec![Filter::Words { column: "body".into(), words: vec!["connection".into(), "refused".into()] }],
        ),
        (
            "level IN ('A', 'B', 'C', 'D')",
            i64::MIN..i64::MAX,
            vec![Filter::OneOf { column: "level".into(), values: ["A", "B", "C", "D"].map(text).to_vec() }],
        ),
        ("service = 'a' OR service = 'b' OR body LIKE '%x%'", i64::MIN..i64::MAX, vec![]),
        ("NOT matches(body, 'x')", i64::MIN..i64::MAX, vec![]),
        ("NOT (attributes['k'] = 'x')", i64::MIN..i64::MAX, vec![]),
    ] {
        store.scans.lock().unwrap().clear();
        rows(&engine, &format!("SELECT body FROM logs WHERE {condition}")).await.unwrap();
        let scans = store.scans.lock().unwrap();
        assert_eq!((&scans[0].time, &scans[0].filters), (&time, &filters), "{condition}");
    }
    store.scans.lock().unwrap().clear();
    rows(
        &engine,
        "SELECT \"Body\" FROM otel_logs WHERE \"ServiceName\" = 'x' AND \"Timestamp\" > now() - INTERVAL '15 minutes'",
    )
    .await
    .unwrap();
    let scans = store.scans.lock().unwrap();
    assert_eq!(scans[0].filters, [compare("service", Op::Eq, text("x"))]);
    assert!(scans[0].time.start > at);
}
