//! What is stored comes back as it was.

use arrow_array::RecordBatch;
use devmesh_schema::{IngestPath, Signal, tables, view};

use super::{block, comparable, database, request, rows_of, scanned, seen, single};
use crate::Scan;

const PATHS: [IngestPath; 2] = [IngestPath::Collector, IngestPath::Direct];

/// Rows of random requests, of both paths.
fn random_rows(signal: Signal, seeds: std::ops::Range<u32>) -> Vec<RecordBatch> {
    seeds.map(|seed| rows_of(signal, &request(signal, seed), PATHS[seed as usize % 2])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_random_records_comes_back() {
    let database = database().await;
    for signal in Signal::ALL {
        let rows = random_rows(signal, 0..24);
        let sent: Vec<RecordBatch> = rows.iter().flat_map(single).collect();
        assert!(sent.len() > 50, "{signal}: {} rows", sent.len());
        database.insert(&block(signal, 7, rows)).await.unwrap();
        let kept = scanned(&*database, &Scan::all(signal), &seen(7)).await.unwrap();
        let (sent, kept) = (comparable(signal, &sent), comparable(signal, &kept));
        assert_eq!(sent.len(), kept.len(), "{signal}");
        for (sent, kept) in sent.iter().zip(&kept) {
            assert!(sent.0 == kept.0, "{signal}: sent\n{}\nkept\n{}", sent.1, kept.1);
            assert_eq!(sent.1, kept.1, "{signal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_for_one_column_gives_what_a_scan_for_all_gives() {
    let database = database().await;
    for signal in Signal::ALL {
        database.insert(&block(signal, 1, random_rows(signal, 100..106))).await.unwrap();
        let all = scanned(&*database, &Scan::all(signal), &seen(1)).await.unwrap();
        assert!(!all.is_empty());
        for column in tables::columns(signal) {
            let scan = Scan { columns: Some(vec![column.name.to_owned()]), ..Scan::all(signal) };
            let one = scanned(&*database, &scan, &seen(1)).await.unwrap();
            let shown = |rows: &[RecordBatch]| {
                let mut shown: Vec<String> =
                    rows.iter().map(|row| format!("{:?}", view::derive(signal, column.name, row).unwrap())).collect();
                shown.sort();
                shown
            };
            assert_eq!(shown(&all), shown(&one), "{signal} {}", column.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_go_to_the_rest_and_come_back() {
    use devmesh_schema::otlp::write::{LogRecord, LogsRequest};
    let database = database().await;
    let mut request = LogsRequest::new();
    request.resource(&[("service.name".into(), "wide".into())], |scope| {
        for row in 0..10 {
            let attributes: Vec<_> =
                (0..60).map(|n| (format!("key.{}", row * 60 + n).into(), i64::from(n).into())).collect();
            let record = LogRecord { time: 1_795_262_400_000_000_000, attributes: &attributes, ..LogRecord::default() };
            scope.record(&record);
        }
    });
    let rows = rows_of(Signal::Logs, &request.finish(), IngestPath::Collector);
    let sent = single(&rows);
    database.insert(&block(Signal::Logs, 1, vec![rows])).await.unwrap();
    let kept = scanned(&*database, &Scan::all(Signal::Logs), &seen(1)).await.unwrap();
    assert!(kept[0].num_columns() < 300, "{} columns", kept[0].num_columns());
    assert_eq!(comparable(Signal::Logs, &sent), comparable(Signal::Logs, &kept));
}
