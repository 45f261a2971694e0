//! Any records, any filter: the answer over memory is the answer over files.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{Place, TestStore, engine, rows};
use devmesh_schema::{IngestPath, Signal, otlp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A value of an attribute, of any type: few values, so that they meet.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["a", "b", "7", "true", "1.5", "", "0d4f2a67-8a1b-4c3d-9e5f-6a7b8c9d0e1f"])
            .prop_map(|text| json!({ "stringValue": text })),
        (-3i64..8).prop_map(|n| json!({ "intValue": n.to_string() })),
        prop::sample::select(vec![0.0, 1.5, -2.25, 7.0, 1e300]).prop_map(|n| json!({ "doubleValue": n })),
        any::<bool>().prop_map(|b| json!({ "boolValue": b })),
        Just(json!({})),
        Just(json!({ "bytesValue": "AAEC" })),
        Just(json!({ "arrayValue": { "values": [{ "intValue": "1" }] } })),
    ]
}

fn attributes() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(vec!["k", "l", "http.route"]), value(), 0..3).prop_map(|map| {
        map.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Vec<_>>().into()
    })
}

prop_compose! {
    fn record()(
        second in 0u64..50,
        severity in 0..25,
        body in prop::option::of("(GET|refused|Büro)? ?[a-c]{0,2}( 7)?"),
        trace in prop::option::of(prop::sample::select(vec!["0af7651916cd43dd8448eb211c80319c", "11111111111111111111111111111111"])),
        attributes in attributes(),
    ) -> Value {
        let mut record = json!({
            "timeUnixNano": (1_767_225_600_000_000_000 + second * 1_000_000_000).to_string(),
            "severityNumber": severity,
            "attributes": attributes,
        });
        if let Some(body) = body {
            record["body"] = json!({ "stringValue": body });
        }
        if let Some(trace) = trace {
            record["traceId"] = trace.into();
            record["spanId"] = "b7ad6b7169203331".into();
        }
        record
    }
}

fn request() -> impl Strategy<Value = (Signal, IngestPath, Vec<u8>)> {
    let service = prop::sample::select(vec!["a", "b", ""]);
    (service, attributes(), prop::collection::vec(record(), 1..30)).prop_map(|(service, mut attributes, records)| {
        attributes.as_array_mut().unwrap().push(json!({ "key": "service.name", "value": { "stringValue": service } }));
        let request = json!({ "resourceLogs": [{
            "resource": { "attributes": attributes }, "scopeLogs": [{ "logRecords": records }],
        }] });
        let transcoded = otlp::json::to_protobuf(Signal::Logs, request.to_string().as_bytes()).unwrap();
        (Signal::Logs, IngestPath::Collector, transcoded.request.to_vec())
    })
}

fn condition() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["k", "l", "http.route", "none"]);
    let text = prop::sample::select(vec!["a", "7", "true", "1.5", "", "AAEC", "0d4f2a67-8a1b-4c3d-9e5f-6a7b8c9d0e1f"]);
    let leaf = prop_oneof![
        (key(), prop::sample::select(vec!["=", "<>", "<", ">="]), text)
            .prop_map(|(key, op, text)| format!("attributes['{key}'] {op} '{text}'")),
        (key(), -3..8).prop_map(|(key, n)| format!("attributes['{key}'] > {n}")),
        key().prop_map(|key| format!("attributes['{key}'] IS NULL")),
        key().prop_map(|key| format!("attributes['{key}'] IN ('a', 'b', '7', 'true', 'x')")),
        key().prop_map(|key| format!("resource_attributes['{key}'] = 'a'")),
        (0..50).prop_map(|s| format!("time >= '2026-01-01T00:00:{s:02}Z'")),
        (0..25).prop_map(|n| format!("severity_number < {n}")),
        Just("trace_id = '0af7651916cd43dd8448eb211c80319c'".to_owned()),
        Just("trace_id IS NULL".to_owned()),
        Just("matches(body, 'refused a')".to_owned()),
        Just("matches(body, 'BÜRO')".to_owned()),
        Just("service = 'a'".to_owned()),
        Just("body LIKE '%7'".to_owned()),
        Just("level IN ('ERROR', 'FATAL', 'WARN', 'INFO')".to_owned()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("(NOT {a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_over_memory_are_answers_over_files(
        requests in prop::collection::vec(request(), 1..4),
        conditions in prop::collection::vec(condition(), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = engine(TestStore::of_requests(&requests, Place::Memory).await);
            let files = engine(TestStore::of_requests(&requests, Place::Files).await);
            let everything = "SELECT * FROM logs";
            let all = sorted(&memory, everything).await;
            prop_assert_eq!(&all, &sorted(&files, everything).await);
            for condition in &conditions {
                let sql = format!(
                    "SELECT time, service, body, attributes['k'] AS k, CAST(attributes['l'] AS DOUBLE) AS l, \
                     CAST(attributes['k'] AS BIGINT) AS i FROM logs WHERE {condition}"
                );
                let answer = sorted(&memory, &sql).await;
                prop_assert_eq!(&answer, &sorted(&files, &sql).await, "{}", condition);
                // The same rows where the scan is not asked to filter.
                let above = format!(
                    "SELECT sum(CASE WHEN {condition} THEN 1 ELSE 0 END), count(*) FROM logs"
                );
                let counts = sorted(&memory, &above).await.unwrap().remove(0);
                let expected = answer.unwrap().len().to_string();
                prop_assert_eq!(&counts[0], &expected, "{}", condition);
                prop_assert_eq!(counts, sorted(&files, &above).await.unwrap().remove(0), "{}", condition);
            }
            Ok(())
        })?;
    }
}

async fn sorted(engine: &devmesh_query::Engine, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = rows(engine, sql).await.map_err(|error| error.to_string())?;
    rows.sort();
    Ok(rows)
}
