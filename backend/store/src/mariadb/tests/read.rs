//! What was written comes back.

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use devmesh_schema::{IngestPath, Signal, concat::concat, stored, view::to_table};
use prost::Message;

use super::{decoded, from_json, records, shop, world};
use crate::{
    Scan,
    mariadb::{chunk::ROWS, rows::table, statement::Statement},
    testing::generate::Source,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_of_the_shop_comes_back_as_it_was() {
    let world = world().await;
    for signal in Signal::ALL {
        let batches = shop(signal, 1, 5000);
        world.insert(signal, 7, &batches).await;
        let back = world.scan(&Scan::all(signal)).await;
        assert_eq!(records(signal, &back), records(signal, &batches), "{signal}");
    }
    let rows: usize = shop(Signal::Logs, 1, 5000).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(world.count("log_events"), rows as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_comes_back_whatever_is_in_it() {
    let world = world().await;
    let mut random = devmesh_demo::Rng::new(42);
    for signal in Signal::ALL {
        let mut batches = Vec::new();
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..100 + random.below(300)).flat_map(|_| random.bits().to_le_bytes()).collect();
            let mut source = Source(&bytes);
            batches.push(match signal {
                Signal::Logs => decoded(signal, &source.logs().encode_to_vec()),
                Signal::Traces => decoded(signal, &source.traces().encode_to_vec()),
                Signal::Metrics => decoded(signal, &source.metrics().encode_to_vec()),
            });
        }
        world.insert(signal, 1, &batches).await;
        let back = world.scan(&Scan::all(signal)).await;
        let (back, sent) = (records(signal, &back), records(signal, &batches));
        assert!(sent.len() > 300, "{signal}: {} records", sent.len());
        assert!(back == sent, "{signal}: {} of {} records came back as they were", back.len(), sent.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_columns_of_others_is_what_they_expect() {
    let world = world().await;
    let rows = from_json(
        Signal::Logs,
        r#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.name","value":{"stringValue":"h1"}}]},
            "scopeLogs":[{"logRecords":[{"timeUnixNano":"1795262400123456789","severityNumber":17,
            "body":{"stringValue":"it's \\ 💥"},"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
            "eventName":"payment.failed","attributes":[{"key":"error_code","value":{"stringValue":"E42"}},
            {"key":"n","value":{"intValue":"7"}},{"key":"ok","value":{"boolValue":true}},
            {"key":"list","value":{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a\"b"}]}}},
            {"key":"nan","value":{"doubleValue":"NaN"}}]}]}]}]}"#,
    );
    world.insert(Signal::Logs, 1, &[rows]).await;
    let row = world.execute(
        "SELECT timestamp, source, service, host, level, trace_id, span_id, event_type, error_code, HEX(message), \
         meta_json FROM log_events",
    );
    let expected = [
        "2026-11-21 12:00:00.123456",
        "otlp",
        "shop",
        "h1",
        "ERROR",
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
        "payment.failed",
        "E42",
        "69742773205C20F09F92A5",
        r#"{"error_code":"E42","n":7,"ok":true,"list":[1,"a\\"b"],"nan":"NaN"}"#,
    ];
    // The client shows a backslash as two.
    assert_eq!(row.split('\t').collect::<Vec<_>>(), expected);
    let rows = from_json(
        Signal::Metrics,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"q","unit":"1","gauge":{"dataPoints":[
            {"timeUnixNano":"1795262400000000000","asInt":"5","attributes":[{"key":"k","value":{"doubleValue":0.5}}]}]}},
            {"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1795262400000000000",
            "count":"2","sum":3.5,"bucketCounts":["1","1"],"explicitBounds":[1]}]}}]}]}]}"#,
    );
    world.insert(Signal::Metrics, 1, &[rows]).await;
    let rows =
        world.execute("SELECT metric_name, metric_type, value, unit, labels_json FROM metric_events ORDER BY id");
    assert_eq!(rows, "q\tgauge\t5\t1\t{\"k\":0.5}\nh\thistogram\t3.5\t\t{}");
}

/// A full chunk goes by a prepared statement, a smaller one as text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_columns_does_not_depend_on_how_many_rows_came_at_once() {
    for signal in Signal::ALL {
        let world = world().await;
        let batches = shop(signal, 3, 1400);
        let rows = concat(signal, &batches.iter().collect::<Vec<_>>()).unwrap();
        world.insert(signal, 1, &[rows.slice(0, ROWS)]).await;
        let half = ROWS / 2;
        for (last, first) in [(2, 0), (3, half)] {
            world.insert(signal, last, &[rows.slice(first, half)]).await;
        }
        let [full, less] = [ROWS, half].map(|rows| Statement::new(signal, &["id"], rows, 1 << 20));
        assert!(matches!((full, less), (Statement::Prepared { .. }, Statement::Text { .. })));
        let table = table(signal);
        let columns = world.execute(&format!(
            "SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND \
             TABLE_NAME = '{table}' AND COLUMN_NAME <> 'id'"
        ));
        let (at_once, later) = (format!("id <= {ROWS}"), format!("id > {ROWS}"));
        for (some, others) in [(&at_once, &later), (&later, &at_once)] {
            let select = |condition| format!("(SELECT {columns} FROM {table} WHERE {condition})");
            let differ = format!("SELECT COUNT(*) FROM ({} EXCEPT ALL {}) d", select(some), select(others));
            assert_eq!(world.execute(&differ), "0", "{signal}");
            assert_eq!(world.execute(&format!("SELECT COUNT(*) FROM {table} WHERE {some}")), ROWS.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_columns_of_others_is_cut_there_and_nowhere_else() {
    let world = world().await;
    let long = "ü💥".repeat(400);
    let body = "é".repeat(100_000);
    let mut deep = "{\"intValue\":\"1\"}".to_owned();
    for _ in 0..50 {
        deep = format!("{{\"arrayValue\":{{\"values\":[{deep}]}}}}");
    }
    let many: Vec<String> =
        (0..200).map(|n| format!(r#"{{"key":"k{n}","value":{{"stringValue":"{}"}}}}"#, "v".repeat(2000))).collect();
    let json = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{long}"}}}},
        {{"key":"host.name","value":{{"stringValue":"{long}"}}}}]}},"scopeLogs":[{{"logRecords":[
        {{"timeUnixNano":"9223372036854775807","body":{{"stringValue":"{body}"}},"eventName":"{long}","severityText":"{long}"}},
        {{"timeUnixNano":"1","attributes":[{{"key":"deep","value":{deep}}}]}},
        {{"timeUnixNano":"1","body":{{"stringValue":"a b\t\r\n\b\f"}},"attributes":[{}]}},
        {{"timeUnixNano":"1","attributes":[]}}]}}]}}]}}"#,
        many.join(",")
    );
    let rows = from_json(Signal::Logs, &json.replace("a b", "a\\u0000b\\u001a"));
    world.insert(Signal::Logs, 1, std::slice::from_ref(&rows)).await;
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert_eq!(records(Signal::Logs, &back), records(Signal::Logs, [&rows]));
    let sizes = world
        .execute("SELECT CHAR_LENGTH(service), LENGTH(message), JSON_VALID(meta_json) FROM log_events ORDER BY id");
    assert_eq!(sizes, "255\t65534\t1\n255\t0\t1\n255\t9\t1\n255\t0\t1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_sees_its_own_log_up_to_where_it_says_and_all_of_others() {
    let world = world().await;
    for signal in Signal::ALL {
        let [first, second, other] = [1, 2, 3].map(|seed| shop(signal, seed, 50));
        world.insert(signal, 10, &first).await;
        world.insert(signal, 20, &second).await;
        world.store.insert(&super::block("another's", signal, 99, &other)).await.unwrap();
        for (last, expected) in [
            (9, records(signal, &other)),
            (10, records(signal, first.iter().chain(&other))),
            (20, records(signal, first.iter().chain(&second).chain(&other))),
        ] {
            let back = world.scan_up_to(&Scan::all(signal), last).await;
            assert_eq!(records(signal, &back), expected, "{signal} up to {last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_other_programs_are_read_like_those_of_the_direct_path() {
    let world = world().await;
    world.insert(Signal::Logs, 1, &shop(Signal::Logs, 1, 20)).await;
    world.execute(
        r#"INSERT INTO log_events (timestamp, source, service, host, level, trace_id, span_id, event_type, error_code, message,
           meta_json) VALUES ('2026-11-21 12:00:00.123456', 'app', 'billing', 'h9', 'WARNING',
           '5B8EFFF798038103D269B633813FC60C', 'no id', 'paid', 'E1', 'it''s 💥', '{"amount": 12.5, "tags": ["a", 1]}'),
           ('1969-12-31 23:59:59.999999', '', '', '', 'DEBUG', NULL, NULL, NULL, NULL, '', NULL),
           ('9999-12-31 23:59:59.999999', 'x', 'x', 'x', 'FATAL', '', '', '', '', 'late', '[1]')"#,
    );
    world.insert(Signal::Logs, 2, &shop(Signal::Logs, 2, 20)).await;
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    let foreign: Vec<RecordBatch> = back.into_iter().filter(is_direct).collect();
    assert_eq!(foreign.len(), 1);
    let table = to_table(Signal::Logs, &foreign[0]).unwrap();
    let shown = |row: usize| -> Vec<String> {
        let columns = [
            "time",
            "source",
            "service",
            "host",
            "level",
            "severity_number",
            "event_name",
            "body",
            "trace_id",
            "span_id",
            "attributes",
        ];
        let show = |name| match name {
            "time" => {
                let time = table.column_by_name(name).unwrap().as_primitive::<TimestampNanosecondType>().value(row);
                devmesh_schema::time::format(time)
            }
            _ => arrow_cast::display::array_value_to_string(table.column_by_name(name).unwrap(), row).unwrap(),
        };
        columns.into_iter().map(show).collect()
    };
    assert_eq!(
        shown(0)[..8],
        ["1969-12-31T23:59:59.999999000Z", "otlp", "", "", "DEBUG", "5", "", ""].map(str::to_owned)
    );
    assert_eq!(
        shown(1),
        [
            "2026-11-21T12:00:00.123456000Z",
            "app",
            "billing",
            "h9",
            "WARNING",
            "13",
            "paid",
            "it's 💥",
            "5b8efff798038103d269b633813fc60c",
            "",
            "{amount: 12.5, tags: [\"a\",1], span_id: no id, error_code: E1}"
        ]
    );
    assert_eq!(shown(2)[..5], ["2262-04-11T23:47:16.854775000Z", "x", "x", "x", "FATAL"].map(str::to_owned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_other_programs_are_read_by_their_type() {
    let world = world().await;
    world.execute(
        r#"INSERT INTO metric_events (timestamp, source, service, host, metric_name, metric_type, value, unit, labels_json)
           VALUES ('2026-11-21 12:00:00', 'app', 's', 'h', 'a', 'gauge', 1.5, 'ms', '{"k":"v"}'),
           ('2026-11-21 12:00:01', 'app', 's', 'h', 'b', 'counter', 2, NULL, NULL),
           ('2026-11-21 12:00:02', 'app', 's', 'h', 'c', 'histogram', 3, '', '{}'),
           ('2026-11-21 12:00:03', 'app', 's', 'h', 'd', 'whatever', NULL, '', '{}'),
           ('2026-11-21 12:00:04', 'app', 's', 'h', '', 'summary', 5, '', '{}')"#,
    );
    let back = world.scan(&Scan::all(Signal::Metrics)).await;
    assert_eq!(back.len(), 1);
    let table = to_table(Signal::Metrics, &back[0]).unwrap();
    let shown = |row: usize| -> String {
        let show = |name| arrow_cast::display::array_value_to_string(table.column_by_name(name).unwrap(), row).unwrap();
        ["name", "kind", "value", "sum", "unit", "is_monotonic", "attributes"].map(show).join("|")
    };
    let all: Vec<String> = (0..5).map(shown).collect();
    assert_eq!(
        all,
        [
            "a|gauge|1.5||ms||{k: v}",
            "b|sum|2.0|||true|{}",
            "c|histogram||3.0|||{}",
            "d|gauge|||||{}",
            "unnamed|summary||5.0|||{}"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_of_other_programs_come_each_once_in_both_orders() {
    let world = world().await;
    world.insert(Signal::Logs, 1, &shop(Signal::Logs, 1, 50)).await;
    world.execute(
        "INSERT INTO log_events (timestamp, source, service, host, level, message) SELECT '2026-11-21' + INTERVAL (seq DIV 7) \
         SECOND, 'app', 's', 'h', 'INFO', seq FROM seq_1_to_2500",
    );
    for newest_first in [false, true] {
        let back = world.scan(&Scan { newest_first, ..Scan::all(Signal::Logs) }).await;
        let foreign: Vec<RecordBatch> = back.into_iter().filter(is_direct).collect();
        let records = records(Signal::Logs, &foreign);
        assert_eq!(records.len(), 2500);
        let distinct: std::collections::HashSet<_> = records.into_iter().collect();
        assert_eq!(distinct.len(), 2500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_another_program_deletes_are_gone() {
    let world = world().await;
    for signal in [Signal::Logs, Signal::Metrics] {
        world.insert(signal, 1, &shop(signal, 1, 3000)).await;
        let before = records(signal, &world.scan(&Scan::all(signal)).await);
        let table = if signal == Signal::Logs { "log_events" } else { "metric_events" };
        let deleted = world.execute(&format!("DELETE FROM {table} WHERE id % 3 = 0 AND id < 2000; SELECT ROW_COUNT()"));
        let after = records(signal, &world.scan(&Scan::all(signal)).await);
        assert_eq!(after.len(), before.len() - deleted.parse::<usize>().unwrap());
        assert!(after.iter().all(|record| before.contains(record)));
        let newest = Scan { newest_first: true, limit: Some(100_000), ..Scan::all(signal) };
        assert_eq!(records(signal, &world.scan(&newest).await), after);
        world.execute(&format!("DELETE FROM {table}"));
        assert!(world.scan(&Scan::all(signal)).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_another_program_emptied_the_table_new_rows_are_not_taken_for_old_ones() {
    let world = world().await;
    world.insert(Signal::Logs, 1, &shop(Signal::Logs, 1, 3000)).await;
    world.execute("TRUNCATE log_events");
    let new = shop(Signal::Logs, 2, 2500);
    world.insert(Signal::Logs, 2, &new).await;
    let back = world.scan(&Scan::all(Signal::Logs)).await;
    assert!(records(Signal::Logs, &back) == records(Signal::Logs, &new));
}

fn is_direct(rows: &RecordBatch) -> bool {
    let path =
        arrow_cast::cast(rows.column_by_name(stored::INGEST_PATH).unwrap(), &arrow_schema::DataType::Utf8).unwrap();
    let path = arrow_array::cast::AsArray::as_string::<i32>(&path);
    path.iter().all(|path| path == Some(IngestPath::Direct.name()))
}
