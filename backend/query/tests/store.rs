//! Queries over the real store while it writes, forgets and meets damage.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{engine, flushed, open, rows, shop, write};
use devmesh_query::{Engine, Error};
use devmesh_schema::{IngestPath, Signal, otlp};

async fn number(engine: &Engine, sql: &str) -> i64 {
    rows(engine, sql).await.unwrap()[0][0].parse().unwrap()
}

fn logs(records: u64) -> Vec<(Signal, IngestPath, Vec<u8>)> {
    shop(records).into_iter().filter(|(signal, ..)| *signal == Signal::Logs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_forgotten_are_in_no_answer_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1_000_000).await;
    let engine = engine(store.clone());
    write(&*store, logs(2000)).await;
    let half = 1_767_225_600_000_000_000 + 1_800_000_000_000;
    let young = number(&engine, &format!("SELECT count(*) FROM logs WHERE time >= to_timestamp_nanos({half})")).await;
    assert!(young > 100 && young < 1900, "{young}");
    let check = async |what: &str, expected: i64| {
        let oldest = format!("SELECT min(time) >= to_timestamp_nanos({half}) FROM logs");
        assert_eq!(number(&engine, "SELECT count(*) FROM logs").await, expected, "{what}");
        assert_eq!(rows(&engine, &oldest).await.unwrap(), [["true"]], "{what}");
        let services = "SELECT sum(n) FROM (SELECT service, count(*) AS n FROM logs GROUP BY service)";
        assert_eq!(number(&engine, services).await, expected, "{what}");
        let some = rows(&engine, "SELECT time FROM logs ORDER BY time LIMIT 5000").await.unwrap();
        assert_eq!(some.len() as i64, expected, "{what}");
        let level = "SELECT count(*) FILTER (WHERE level = 'INFO') + count(*) FILTER (WHERE level <> 'INFO') FROM logs";
        assert_eq!(number(&engine, level).await, expected, "{what}");
    };
    // The files are of one day: those that hold both old and young rows stay whole.
    store.flush().await.unwrap();
    flushed(&*store).await;
    store.expire(Signal::Logs, half).await.unwrap();
    assert!(store.stats().tables[0].file_rows > young as u64, "the file still holds old rows");
    check("in files", young).await;
    write(&*store, logs(2000)).await;
    check("and in memory", young * 2).await;
    store.flush().await.unwrap();
    check("and in files again", young * 2).await;
    assert_eq!(number(&engine, "SELECT count(*) FROM spans").await, 0);
}

fn parquet_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.join("tables")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.extension().is_some_and(|extension| extension == "parquet") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 4] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("cut", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("pages overwritten", |path| {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len() / 2;
        bytes[4..end].fill(0xff);
        fs::write(path, bytes).unwrap();
    }),
    ("zeros", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, vec![0; bytes.len()]).unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_meets_a_damaged_file_names_it_and_the_next_answers_without_it() {
    for (name, damage) in DAMAGES {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1_000_000).await;
        let engine = engine(store.clone());
        for _ in 0..3 {
            write(&*store, logs(500)).await;
            store.flush().await.unwrap();
        }
        let files = parquet_files(dir.path());
        assert_eq!(files.len(), 3);
        damage(&files[1]);
        let sql = "SELECT body, service, attributes FROM logs";
        let error = match rows(&engine, sql).await {
            Ok(rows) => panic!("{name}: {} rows", rows.len()),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Store(_)) && error.retry_after().is_some(), "{name}: {error:?}");
        let file = files[1].file_name().unwrap().to_str().unwrap();
        let text = error.to_string();
        assert!(text.contains(file) && text.contains("set it aside"), "{name}: {text}");
        assert_eq!(rows(&engine, sql).await.unwrap().len(), 1000, "{name}");
        assert_eq!(store.stats().quarantined.0, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_scans_of_a_query_see_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1_000).await;
    let engine = engine(store.clone());
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (store.clone(), Arc::clone(&done));
        async move {
            let requests = logs(500);
            while !done.load(Ordering::Acquire) {
                write(&*store, requests.clone()).await;
            }
        }
    });
    let twice = "SELECT (SELECT count(*) FROM logs) AS a, (SELECT count(*) FROM logs WHERE service <> '') AS b, \
                 (SELECT count(body) FROM otel_logs_again) AS c";
    let twice = format!("WITH otel_logs_again AS (SELECT \"Body\" AS body FROM otel_logs) {twice}");
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let row = rows(&engine, &twice).await.unwrap().remove(0);
        assert_eq!((&row[0], &row[0]), (&row[1], &row[2]));
        seen.push(row[0].parse::<u64>().unwrap());
    }
    done.store(true, Ordering::Release);
    writer.await.unwrap();
    assert!(seen[39] > seen[0], "rows came meanwhile: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_with_a_column_is_read_alone_even_where_others_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1_000_000).await;
    let engine = engine(store.clone());
    let list: Vec<String> = (0..50).map(|n| format!("{{\"stringValue\":\"{n}\"}}")).collect();
    let record = |n: usize| {
        format!(
            "{{\"timeUnixNano\":\"{}\",\"body\":{{\"stringValue\":\"b\"}},\"attributes\":[\
             {{\"key\":\"list\",\"value\":{{\"arrayValue\":{{\"values\":[{}]}}}}}},\
             {{\"key\":\"colour\",\"value\":{{\"stringValue\":\"c{}\"}}}}]}}",
            1_767_225_600_000_000_000 + n as u64,
            list.iter().skip(n % 40).cloned().collect::<Vec<_>>().join(","),
            n % 7
        )
    };
    let records: Vec<String> = (0..2000).map(record).collect();
    let json = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}", records.join(","));
    let request = otlp::json::to_protobuf(Signal::Logs, json.as_bytes()).unwrap().request.to_vec();
    write(&*store, vec![(Signal::Logs, IngestPath::Collector, request)]).await;
    store.flush().await.unwrap();
    let plan = |key: &str| format!("EXPLAIN ANALYZE SELECT count(*) FROM logs WHERE attributes['{key}'] IS NOT NULL");
    let figures = async |key: &str| {
        let plan = rows(&engine, &plan(key)).await.unwrap();
        let plan = plan.into_iter().map(|row| row.join("\n")).collect::<Vec<_>>().join("\n");
        let text = plan.split_once("bytes_scanned=").unwrap().1;
        let number = text.split([',', ']']).next().unwrap().trim().to_owned();
        (number, plan)
    };
    for (key, expected) in [("colour", 2000), ("list", 2000), ("none", 0)] {
        let sql = format!("SELECT count(*) FROM logs WHERE attributes['{key}'] IS NOT NULL");
        assert_eq!(number(&engine, &sql).await, expected, "{key}");
    }
    let (list, _) = figures("list").await;
    let (colour, plan) = figures("colour").await;
    let bytes = |text: &str| -> f64 {
        let (number, unit) = text.split_once(' ').unwrap_or((text, "B"));
        number.parse::<f64>().unwrap() * if unit.starts_with('K') { 1024.0 } else { 1.0 }
    };
    assert!(bytes(&colour) * 2.0 < bytes(&list), "{colour} of a column, {list} of the rest\n{plan}");
}
