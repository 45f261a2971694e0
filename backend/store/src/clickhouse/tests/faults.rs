//! What goes wrong: repeated inserts, a server that is killed, wrong passwords.

use std::time::Duration;

use arrow_array::{RecordBatch, cast::AsArray, types::Int64Type};
use devmesh_schema::{IngestPath, Signal};
use futures::StreamExt;

use super::{
    RECEIVED, block, comparable, connect, database_on, fresh_name, request, rows_of, scanned, seen, server::Server,
    settings, single,
};
use crate::{
    Error, GroupBy, Measure, Scan,
    database::{Seen, Traffic},
    settings::{Retention, Settings},
};

fn rows(signal: Signal, seeds: std::ops::Range<u32>) -> Vec<RecordBatch> {
    let paths = [IngestPath::Collector, IngestPath::Direct];
    seeds.map(|seed| rows_of(signal, &request(signal, seed), paths[seed as usize % 2])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_comes_again_is_stored_once() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    for signal in Signal::ALL {
        let batches = rows(signal, 0..6);
        let sent: Vec<RecordBatch> = batches.iter().flat_map(single).collect();
        database.insert(&block(signal, 3, batches.clone())).await.unwrap();
        database.insert(&block(signal, 3, batches)).await.unwrap();
        let kept = scanned(&*database, &Scan::all(signal), &seen(3)).await.unwrap();
        assert_eq!(comparable(signal, &sent), comparable(signal, &kept), "{signal}");
        // The same rows in another block are other records.
        database.insert(&block(signal, 4, rows(signal, 0..6))).await.unwrap();
        let kept = scanned(&*database, &Scan::all(signal), &seen(4)).await.unwrap();
        assert_eq!(kept.len(), 2 * sent.len(), "{signal}");
    }
    let times = server.ask(&name, "SELECT count() FROM otel_traces_trace_id_ts");
    let traces = server.ask(&name, "SELECT uniqExact(TraceId, DevmeshBlock, toDate(Timestamp)) FROM otel_traces");
    assert_eq!(times, traces, "rows of the view were repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_does_not_see_blocks_beyond_its_bound_but_all_of_other_writers() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    let count = |last: u64| {
        let database = std::sync::Arc::clone(&database);
        async move { scanned(&*database, &Scan::all(Signal::Logs), &seen(last)).await.unwrap().len() }
    };
    let rows = rows(Signal::Logs, 0..2);
    let each: usize = rows.iter().map(RecordBatch::num_rows).sum();
    database.insert(&block(Signal::Logs, 5, rows.clone())).await.unwrap();
    database.insert(&block(Signal::Logs, 9, rows.clone())).await.unwrap();
    assert_eq!((count(4).await, count(5).await, count(8).await, count(9).await), (0, each, each, 2 * each));
    let mut other = block(Signal::Logs, 100, rows);
    other.writer = "w2".into();
    database.insert(&other).await.unwrap();
    server.ask(&name, "INSERT INTO otel_logs (Timestamp, Body) SELECT now64(9), 'a program'");
    assert_eq!(count(5).await, 2 * each + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_leaves_no_block_out_while_none_is_on_its_way_and_asks_again_where_one_set_out() {
    let database = database_on(&Server::shared(), &fresh_name()).await;
    let rows = rows(Signal::Logs, 0..2);
    let each: usize = rows.iter().map(RecordBatch::num_rows).sum();
    for last in [5, 9] {
        database.insert(&block(Signal::Logs, last, rows.clone())).await.unwrap();
    }
    let traffic = Traffic::default();
    let count = GroupBy { keys: vec![], measures: vec![Measure::CountAll] };
    for (sets_out, blocks) in [(false, 2), (true, 1)] {
        let seen = Seen { idle: traffic.idle(), ..seen(5) };
        if sets_out {
            traffic.set_out();
        }
        let found = scanned(&*database, &Scan::all(Signal::Logs), &seen).await.unwrap();
        assert_eq!(found.len(), blocks * each, "{sets_out}");
        let mut groups = database.group(&Scan::all(Signal::Logs), &count, &seen).await.unwrap().unwrap().groups;
        let counted = groups.next().await.unwrap().unwrap();
        assert_eq!(counted.column(0).as_primitive::<Int64Type>().value(0), (blocks * each) as i64, "{sets_out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_block_of_a_writer_is_known() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    server.ask(&name, "INSERT INTO otel_logs (Timestamp, Body) SELECT now64(9), 'a program'");
    assert_eq!(database.newest("w1").await.unwrap(), None);
    for (signal, last) in [(Signal::Logs, 7), (Signal::Traces, 9), (Signal::Metrics, 8)] {
        database.insert(&block(signal, last, rows(signal, 0..2))).await.unwrap();
    }
    let mut other = block(Signal::Logs, 100, rows(Signal::Logs, 0..2));
    other.writer = "w2".into();
    database.insert(&other).await.unwrap();
    let newest = [database.newest("w1").await.unwrap(), database.newest("w2").await.unwrap()];
    assert_eq!(newest, [Some(9), Some(100)]);
    assert_eq!(database.newest("it's none").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_larger_than_a_part_are_cut_the_same_way_each_time() {
    use devmesh_schema::otlp::write::{LogRecord, LogsRequest};
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    let mut request = LogsRequest::new();
    request.resource(&[("service.name".into(), "many".into())], |scope| {
        for row in 0..40_000 {
            scope.record(&LogRecord { time: RECEIVED as u64 + row, body: Some("x".into()), ..LogRecord::default() });
        }
    });
    let batch = rows_of(Signal::Logs, &request.finish(), IngestPath::Collector);
    let cut = |sizes: &[usize]| {
        let mut from = 0;
        let batches = sizes.iter().map(|size| {
            from += size;
            batch.slice(from - size, *size)
        });
        block(Signal::Logs, 1, batches.collect())
    };
    database.insert(&cut(&[40_000])).await.unwrap();
    database.insert(&cut(&[1, 9_999, 30_000])).await.unwrap();
    let counted = server.ask(&name, "SELECT count(), uniqExact(Timestamp) FROM otel_logs");
    assert_eq!(counted, "40000\t40000\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_away_and_has_what_it_had_when_it_is_back() {
    let mut server = Server::new(None);
    let database = database_on(&server, "otel").await;
    let batches = rows(Signal::Logs, 0..6);
    let sent: Vec<RecordBatch> = batches.iter().flat_map(single).collect();
    database.insert(&block(Signal::Logs, 1, batches.clone())).await.unwrap();
    server.kill();
    let error = database.insert(&block(Signal::Logs, 2, batches.clone())).await.unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    assert!(matches!(database.ready().await, Err(Error::Away(_))));
    let asked = scanned(&*database, &Scan::all(Signal::Logs), &seen(1)).await;
    assert!(matches!(asked, Err(Error::Away(_))), "{asked:?}");
    server.restart();
    database.ready().await.unwrap();
    // The answer to block 1 could have been lost: it comes again.
    database.insert(&block(Signal::Logs, 1, batches)).await.unwrap();
    let kept = scanned(&*database, &Scan::all(Signal::Logs), &seen(1)).await.unwrap();
    assert_eq!(comparable(Signal::Logs, &sent), comparable(Signal::Logs, &kept));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_says_what_to_do_and_no_error_shows_it() {
    let server = Server::new(Some("reader:right secret"));
    let url = format!("clickhouse://reader:wrong%20secret@127.0.0.1:{}/otel", server.port);
    let database = connect(&url).await;
    let error = database.ready().await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error}");
    assert!(error.to_string().contains("password"), "{error}");
    assert!(!format!("{error} {error:?} {database}").contains("secret"), "{error:?}");
    let url = format!("clickhouse://reader:right%20secret@127.0.0.1:{}/otel", server.port);
    connect(&url).await.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_a_server_has_to_show_a_certificate_that_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::with(&["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    let url = format!("{}?secure", server.url("otel"));
    // The address has no certificate that this machine trusts.
    let error = connect(&url).await.ready().await.unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    let database = connect(&format!("{url}&ca={}", cert.display())).await;
    database.ready().await.unwrap();
    let batches = rows(Signal::Logs, 0..2);
    let sent: Vec<RecordBatch> = batches.iter().flat_map(single).collect();
    database.insert(&block(Signal::Logs, 1, batches)).await.unwrap();
    let kept = scanned(&*database, &Scan::all(Signal::Logs), &seen(1)).await.unwrap();
    assert_eq!(comparable(Signal::Logs, &sent), comparable(Signal::Logs, &kept));
    // In the clear it is not served.
    assert!(connect(&server.url("otel")).await.ready().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_nothing_that_heals() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    server.ask(&name, "DROP TABLE otel_logs SYNC");
    let error = database.insert(&block(Signal::Logs, 1, rows(Signal::Logs, 0..2))).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error}");
    assert!(error.to_string().contains("devmesh migrate apply"), "{error}");
    let group = GroupBy { keys: vec![], measures: vec![Measure::CountAll] };
    let groups = database.group(&Scan::all(Signal::Logs), &group, &seen(1)).await;
    let failed = match groups {
        Err(error) => error,
        Ok(Some(mut groups)) => groups.groups.next().await.unwrap().unwrap_err(),
        Ok(None) => panic!("not pushed down"),
    };
    assert!(matches!(failed, Error::Database(_)), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_are_forgotten_by_days_and_within_a_day() {
    let (server, name) = (Server::shared(), fresh_name());
    let database = database_on(&server, &name).await;
    const DAY: i64 = 86_400_000_000_000;
    let insert = |at: i64| {
        let sql = format!("INSERT INTO otel_logs (Timestamp, Body) SELECT fromUnixTimestamp64Nano(toInt64({at})), 'x'");
        server.ask(&name, &sql);
    };
    for at in [RECEIVED - 9 * DAY, RECEIVED - 8 * DAY, RECEIVED - 1, RECEIVED, RECEIVED + 1] {
        insert(at);
    }
    assert_eq!(database.expire(Signal::Logs, RECEIVED).await.unwrap(), 3);
    let left = server.ask(&name, "SELECT toUnixTimestamp64Nano(Timestamp) FROM otel_logs ORDER BY 1");
    assert_eq!(left, format!("{RECEIVED}\n{}\n", RECEIVED + 1));
    assert_eq!(database.expire(Signal::Logs, RECEIVED).await.unwrap(), 0);
    let [(rows, bytes), (0, 0), (0, 0)] = database.size().await.unwrap() else { panic!("other tables have rows") };
    assert!(rows >= 2 && bytes > 0, "{rows} {bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clickhouse_is_told_how_long_rows_are_kept() {
    let (server, name) = (Server::shared(), fresh_name());
    let ttl = |table: &str| {
        let sql = format!(
            "SELECT extract(create_table_query, ' TTL (.*) SETTINGS') FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
        );
        server.ask(&name, &sql).trim().to_owned()
    };
    let url = server.url(&name);
    let kept = |days: u64| {
        let time = Duration::from_secs(days * 86_400);
        let retention = Retention { logs: time, traces: time, metrics: Duration::ZERO };
        Settings { retention, ..settings(&url) }
    };
    for (days, expected) in [(30, 2_592_000), (30, 2_592_000), (7, 604_800)] {
        let database = crate::clickhouse::connect(&url::Url::parse(&url).unwrap(), &kept(days)).await.unwrap();
        database.ready().await.unwrap();
        assert_eq!(ttl("otel_logs"), format!("toDateTime(Timestamp) + toIntervalSecond({expected})"));
        assert_eq!(ttl("ai_traces_direct"), format!("toDateTime(Timestamp) + toIntervalSecond({expected})"));
        assert_eq!(ttl("otel_metrics_sum"), "");
    }
    connect(&url).await.ready().await.unwrap();
    assert_eq!(ttl("otel_logs"), "");
}
