//! Joins and groups by ids compare the stored bytes, and answer as those of texts do.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{Place, TestStore, database::DatabaseStore, engine, rows, shop, small};

/// Joins, each with an id compared as `=` that the rule sees; `{}` makes a text of it that the rule does not see.
const JOINS: [&str; 9] = [
    "SELECT count(*), min(a.name), max(b.trace_id) FROM spans AS a JOIN spans AS b \
     ON a.trace_id{} = b.trace_id{} AND a.parent_span_id{} = b.span_id{}",
    "SELECT count(*), count(b.span_id), max(a.trace_id) FROM logs AS a LEFT JOIN spans AS b \
     ON a.trace_id{} = b.trace_id{} AND a.span_id{} = b.span_id{}",
    "SELECT count(*), count(a.span_id) FROM logs AS a FULL JOIN spans AS b ON a.span_id{} = b.span_id{}",
    "SELECT service, count(*) FROM spans WHERE trace_id{} IN (SELECT trace_id{} FROM spans WHERE status_code = 'ERROR') \
     GROUP BY service ORDER BY service",
    "SELECT count(*) FROM spans WHERE span_id{} NOT IN (SELECT parent_span_id{} FROM spans WHERE parent_span_id IS NOT NULL)",
    "SELECT count(*) FROM spans WHERE span_id{} NOT IN (SELECT parent_span_id{} FROM spans)",
    "SELECT count(*) FROM spans AS a WHERE EXISTS (SELECT 1 FROM spans AS b WHERE b.parent_span_id{} = a.span_id{})",
    "SELECT x.id, y.n FROM (SELECT trace_id AS id FROM otel_spans_short) AS x JOIN (SELECT trace_id AS other, count(*) AS n \
     FROM spans GROUP BY trace_id) AS y ON x.id{} = y.other{} ORDER BY 1, 2",
    "SELECT count(*) FROM spans AS a JOIN spans AS b ON a.parent_span_id{} = b.span_id{} \
     JOIN spans AS c ON b.parent_span_id{} = c.span_id{} AND a.trace_id{} = c.trace_id{}",
];

#[tokio::test(flavor = "multi_thread")]
async fn joins_by_ids_answer_as_joins_of_texts_do() {
    for (requests, is_large) in [(small(), false), (shop(1000), true)] {
        for place in [Place::Memory, Place::Files, Place::Both] {
            let engine = engine(TestStore::of_requests(&requests, place).await);
            for join in JOINS {
                let join = join.replace("otel_spans_short", "(SELECT DISTINCT trace_id FROM spans)");
                let got = rows(&engine, &join.replace("{}", "")).await.unwrap();
                let expected = rows(&engine, &join.replace("{}", " || ''")).await.unwrap();
                assert_eq!(got, expected, "{place:?}: {join}");
                assert!(!is_large || !got.is_empty(), "{join}");
            }
        }
    }
}

/// Groups, as [`JOINS`].
const GROUPS: [&str; 7] = [
    "SELECT trace_id{}, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT count(DISTINCT trace_id{}), count(DISTINCT span_id{}), count(DISTINCT parent_span_id{}), count(*) FROM spans",
    "SELECT service, count(DISTINCT trace_id{}) FROM spans GROUP BY service ORDER BY service",
    "SELECT parent_span_id{} AS p, service, min(span_id), count(*) FROM spans GROUP BY p, service ORDER BY p, service",
    "SELECT trace_id{} AS t, count(*) AS n FROM logs GROUP BY t HAVING count(*) > 0 ORDER BY n DESC, t LIMIT 7",
    "SELECT DISTINCT span_id{} FROM logs ORDER BY 1",
    "SELECT count(*) FROM (SELECT trace_id{} AS t, max(time) FROM spans GROUP BY t) AS a JOIN logs AS b ON a.t = b.trace_id",
];

#[tokio::test(flavor = "multi_thread")]
async fn groups_by_ids_answer_as_groups_of_texts_do() {
    for (requests, is_large) in [(small(), false), (shop(1000), true)] {
        let mut stores: Vec<(String, Arc<dyn devmesh_store::Store>)> = Vec::new();
        for place in [Place::Memory, Place::Files, Place::Both] {
            stores.push((format!("{place:?}"), TestStore::of_requests(&requests, place).await));
        }
        for groups in [true, false] {
            let store = DatabaseStore::of_requests(&requests, groups);
            stores.push((format!("a database that groups: {groups}"), Arc::new(store)));
        }
        for (place, store) in stores {
            let engine = engine(store);
            for group in GROUPS {
                let got = rows(&engine, &group.replace("{}", "")).await.unwrap();
                let expected = rows(&engine, &group.replace("{}", " || ''")).await.unwrap();
                assert_eq!(got, expected, "{place}: {group}");
                assert!(!is_large || !got.is_empty(), "{group}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_by_ids_makes_no_digits_but_those_of_its_groups() {
    for place in [Place::Memory, Place::Files] {
        let engine = engine(TestStore::of_requests(&shop(1000), place).await);
        let sql = "EXPLAIN SELECT trace_id, count(*) FROM spans GROUP BY trace_id";
        let plan: Vec<String> = rows(&engine, sql).await.unwrap().into_iter().map(|row| row.join("\n")).collect();
        let plan = plan.join("\n");
        let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
        assert!(scan.contains("trace_id_bytes(trace_id@") && plan.contains("trace_id_text("), "{plan}");
    }
    // A store that groups is asked for the id as it shows it.
    let engine = engine(Arc::new(DatabaseStore::of_requests(&shop(1000), true)));
    let sql = "EXPLAIN SELECT trace_id, count(*) FROM spans GROUP BY trace_id";
    let plan = format!("{:?}", rows(&engine, sql).await.unwrap());
    assert!(plan.contains("StoreGroups: spans, keys=[trace_id]"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_by_ids_makes_no_digits() {
    for place in [Place::Memory, Place::Files] {
        let engine = engine(TestStore::of_requests(&shop(1000), place).await);
        let sql = "EXPLAIN SELECT a.service, count(*) FROM spans AS a JOIN spans AS b \
                   ON a.trace_id = b.trace_id AND a.parent_span_id = b.span_id GROUP BY a.service";
        let plan: Vec<String> = rows(&engine, sql).await.unwrap().into_iter().map(|row| row.join("\n")).collect();
        let plan = plan.join("\n");
        let scans: Vec<&str> = plan.lines().filter(|line| line.contains("DataSourceExec")).collect();
        assert_eq!(scans.len(), 2, "{plan}");
        for scan in scans {
            let projection = scan.split_once("projection=[").unwrap().1;
            assert!(projection.contains("trace_id_bytes(trace_id@") && projection.contains("span_id_bytes("), "{plan}");
            assert!(!projection.contains("trace_id@10 as trace_id"), "{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_filters_its_right_side_unless_its_left_is_all_of_a_large_table() {
    // Rows that arrive from a database count as many.
    let engine = engine(Arc::new(DatabaseStore::of_requests(&shop(1000), false)));
    for (left, filters) in [("spans", false), ("(SELECT * FROM spans WHERE status_code = 'ERROR')", true)] {
        let sql = format!(
            "EXPLAIN SELECT count(*) FROM {left} AS a JOIN spans AS b \
             ON a.trace_id = b.trace_id AND a.parent_span_id = b.span_id"
        );
        let plan: Vec<String> = rows(&engine, &sql).await.unwrap().into_iter().map(|row| row.join("\n")).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("HashJoinExec"), "{plan}");
        assert_eq!(plan.contains("DynamicFilter"), filters, "{plan}");
    }
}
