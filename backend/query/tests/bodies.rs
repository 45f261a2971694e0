//! Whatever is asked of bodies, the answer over templates, parameters and summaries is the answer over whole bodies in memory.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::{path::Path, sync::Arc};

use common::{Place, TestStore, engine, flushed, rows, write};
use devmesh_query::Engine;
use devmesh_schema::{IngestPath, Signal, otlp};
use devmesh_store::Store;
use proptest::prelude::*;
use serde_json::{Value, json};

type Request = (Signal, IngestPath, Vec<u8>);

const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// Parameters that are words, parts of words, and letters that others are cases of.
const WORDS: [&str; 11] =
    ["cart", "failed", "FAILED", "fai", "led", "ed", "büro", "\u{212a}art", "\u{17f}", "e07f", ""];

/// What stands between parameters: separated from them or not.
fn constant() -> impl Strategy<Value = &'static str> {
    let texts =
        [" failed after ", "order ", "-", " of ", "took", "ms ", "", "Büro", ": Failed, ", " user=", "ok ", "s", "\n"];
    prop::sample::select(texts.to_vec())
}

/// What is another at each time.
fn parameter() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u32..2000).prop_map(|n| n.to_string()),
        2 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
        1 => Just(ID.to_owned()),
        1 => (0u64..9).prop_map(|n| format!("{n}f8fad5b-d9cb-469f-a165-70867728950{n}")),
        1 => "[a-f0-9]{1,9}".prop_map(String::from),
    ]
}

/// Constants with a place for a parameter between any two.
fn shape() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(constant(), 1..5)
}

fn body(shape: &[&'static str], parameters: &[String]) -> Value {
    let mut body = shape[0].to_owned();
    for (constant, parameter) in shape[1..].iter().zip(parameters) {
        body += parameter;
        body += constant;
    }
    json!({ "stringValue": body })
}

prop_compose! {
    fn record(shapes: Vec<Vec<&'static str>>)(
        second in 0u64..240,
        severity in prop::sample::select(vec![9, 17]),
        shape in prop::sample::select(shapes),
        parameters in prop::collection::vec(parameter(), 5),
        kind in 0..40,
    ) -> Value {
        let mut record = json!({
            "timeUnixNano": (1_767_225_600_000_000_000 + second * 1_000_000_000).to_string(),
            "severityNumber": severity,
        });
        match kind {
            0 => {}
            1 => record["body"] = json!({ "intValue": "7" }),
            2 => record["body"] = json!({ "arrayValue": { "values": [{ "stringValue": "failed" }] } }),
            _ => record["body"] = body(&shape, &parameters),
        }
        record
    }
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let records = prop::collection::vec(shape(), 1..4)
        .prop_flat_map(|shapes| prop::collection::vec(prop::collection::vec(record(shapes), 1..60), 4));
    records.prop_map(|batches| batches.into_iter().enumerate().map(|(n, records)| request(n, &records)).collect())
}

fn request(number: usize, records: &[Value]) -> Request {
    let name = ["shop", "cart"][number % 2];
    let service = json!([{ "key": "service.name", "value": { "stringValue": name } }]);
    let request = json!({ "resourceLogs": [{
        "resource": { "attributes": service }, "scopeLogs": [{ "logRecords": records }],
    }] });
    let transcoded = otlp::json::to_protobuf(Signal::Logs, request.to_string().as_bytes()).unwrap();
    (Signal::Logs, IngestPath::Collector, transcoded.request.to_vec())
}

fn looked_for() -> impl Strategy<Value = &'static str> {
    let texts = [
        "failed",
        "Failed",
        "fail",
        "ed",
        "order",
        "order 7",
        "took",
        "ms",
        "of",
        "cart",
        "büro",
        "BÜRO",
        "7",
        "12",
        "e07f",
        "k",
        "s",
        "of 1",
        "ed of",
        ID,
        "9e6679-74",
        " ",
        "d after",
        "user",
    ];
    prop::sample::select(texts.to_vec())
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (looked_for(), looked_for()).prop_map(|(a, b)| format!("matches(body, '{a} {b}')")),
        4 => looked_for().prop_map(|text| format!("matches(body, '{text}')")),
        4 => (prop::sample::select(vec!["", "NOT "]), prop::sample::select(vec!["LIKE", "ILIKE"]), looked_for())
            .prop_map(|(not, like, text)| format!("body {not}{like} '%{text}%'")),
        2 => (looked_for(), looked_for()).prop_map(|(a, b)| format!("body LIKE '%{a}%{b}_%'")),
        1 => looked_for().prop_map(|text| format!("body LIKE '{text}%'")),
        1 => looked_for().prop_map(|text| format!("body ILIKE '%{text}'")),
        1 => looked_for().prop_map(|text| format!("contains(body, '{text}')")),
        1 => looked_for().prop_map(|text| format!("starts_with(body, '{text}')")),
        1 => (0u32..40).prop_map(|n| format!("body = 'order {n}'")),
        1 => (0u32..40).prop_map(|n| format!("body <> '{n} failed after '")),
    ];
    let other =
        prop::sample::select(vec!["", " AND level = 'ERROR'", " AND service = 'cart'", " AND severity_number > 9"]);
    prop_oneof![
        6 => (leaf.clone(), other).prop_map(|(a, b)| format!("{a}{b}")),
        1 => (leaf.clone(), leaf.clone()).prop_map(|(a, b)| format!("{a} AND {b}")),
        1 => (leaf.clone(), leaf.clone()).prop_map(|(a, b)| format!("({a} OR NOT {b})")),
    ]
}

async fn store(dir: &Path, templates: bool) -> Arc<dyn Store> {
    let mut settings =
        devmesh_store::Settings { url: format!("file://{}", dir.display()), templates, ..Default::default() };
    settings.retention.logs = std::time::Duration::ZERO;
    devmesh_store::open(&settings).await.unwrap()
}

async fn sorted(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let mut rows = rows(engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.sort();
    rows
}

/// Two files with templates, one of before there were templates, and rows in memory.
async fn mixed(dir: &Path, requests: &[Request]) -> Arc<dyn Store> {
    let earlier = store(dir, false).await;
    write(&*earlier, requests[..1].to_vec()).await;
    earlier.flush().await.unwrap();
    earlier.close().await.unwrap();
    drop(earlier);
    let store = store(dir, true).await;
    for request in &requests[1..3] {
        write(&*store, vec![request.clone()]).await;
        store.flush().await.unwrap();
    }
    flushed(&*store).await;
    write(&*store, requests[3..].to_vec()).await;
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn answers_over_templates_are_answers_over_whole_bodies(
        requests in requests(),
        conditions in prop::collection::vec(condition(), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = mixed(dir.path(), &requests).await;
            let cut = engine(Arc::clone(&store));
            let whole = engine(TestStore::of_requests(&requests, Place::Memory).await);
            for condition in &conditions {
                for shown in [
                    "time, service, body",
                    "date_bin(INTERVAL '1 minute', time) AS at, service, level, count(*) AS n",
                    "count(*)",
                    "min(time), max(time), count(time)",
                ] {
                    let group = if shown.contains(" AS at") { "GROUP BY at, service, level" } else { "" };
                    let sql = format!("SELECT {shown} FROM logs WHERE {condition} {group}");
                    prop_assert_eq!(sorted(&cut, &sql).await, sorted(&whole, &sql).await, "{}", sql);
                }
                // Of one moment, as patterns may become others; what has a second condition is not asked of summaries.
                let patterns = |from: &str, also: &str| {
                    format!("SELECT '{from}', pattern_id, count(*) FROM logs WHERE {condition}{also} GROUP BY pattern_id")
                };
                let by_rows = patterns("rows", " AND (body IS NULL OR length(body) >= 0)");
                let both = sorted(&cut, &format!("{} UNION ALL {by_rows}", patterns("any", ""))).await;
                let of = |from: &str| {
                    let own = both.iter().filter(|row| row[0] == from).map(|row| row[1..].to_vec());
                    own.collect::<Vec<_>>()
                };
                prop_assert_eq!(of("any"), of("rows"), "{}", by_rows);
            }
            store.close().await.unwrap();
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_word_is_counted_without_reading_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), true).await;
    let logs = common::shop(4000).into_iter().filter(|(signal, ..)| *signal == Signal::Logs);
    write(&*store, logs.collect()).await;
    store.flush().await.unwrap();
    flushed(&*store).await;
    let engine = engine(Arc::clone(&store));
    let by_minute = |and: &str| {
        format!(
            "SELECT date_bin(INTERVAL '1 minute', time) AS at, count(*) FROM logs WHERE matches(body, 'FAILED'){and} GROUP BY at"
        )
    };
    let plan = rows(&engine, &format!("EXPLAIN {}", by_minute(""))).await.unwrap();
    let plan: String = plan.into_iter().flatten().collect();
    assert!(plan.contains("StoreGroups") && !plan.contains(".parquet"), "{plan}");
    let counted = sorted(&engine, &by_minute("")).await;
    assert!(counted.len() > 30, "{counted:?}");
    assert_eq!(counted, sorted(&engine, &by_minute(" AND length(body) > 0")).await);
    store.close().await.unwrap();
}
