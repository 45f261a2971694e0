//! Against the real engine, which the tests start themselves (`tests/install.sh` brings it).

mod collector;
mod faults;
mod fields;
mod queries;
mod schema;
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::RecordBatch;
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{Context, decode, encode},
    view,
};
use futures::StreamExt;
use prost::Message;

use crate::{
    Error, Fragment, Scan, Settings,
    database::{Block, Database, Seen},
    settings::Retention,
    testing::{RECEIVED, generate},
};

use server::Server;

/// A database of its own on the server that all tests share.
async fn database() -> Arc<dyn Database> {
    database_on(&Server::shared(), &fresh_name()).await
}

fn fresh_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn database_on(server: &Server, name: &str) -> Arc<dyn Database> {
    let database = connect(&server.url(name)).await;
    database.ready().await.unwrap();
    database
}

async fn connect(url: &str) -> Arc<dyn Database> {
    super::connect(&url::Url::parse(url).unwrap(), &settings(url)).await.unwrap()
}

fn settings(url: &str) -> Settings {
    // The random records are of all times.
    let ever = Retention { logs: Duration::ZERO, traces: Duration::ZERO, metrics: Duration::ZERO };
    Settings { url: url.to_owned(), retention: ever, ..Settings::default() }
}

fn rows_of(signal: Signal, request: &[u8], path: IngestPath) -> RecordBatch {
    let decoded = decode(signal, request, Context { path, received: RECEIVED }).unwrap();
    assert_eq!(decoded.rejected, 0, "{:?}", decoded.rejections);
    decoded.rows
}

fn block(signal: Signal, last: u64, rows: Vec<RecordBatch>) -> Block {
    Block { writer: "w1".into(), last, signal, rows: rows.into_iter().map(Arc::new).collect() }
}

fn seen(last: u64) -> Seen {
    Seen { writer: "w1".into(), last, idle: None }
}

/// All rows of a scan, each a batch.
async fn scanned(database: &dyn Database, scan: &Scan, seen: &Seen) -> Result<Vec<RecordBatch>, Error> {
    collected(database.scan(scan, seen).await?).await
}

async fn collected(fragments: Vec<Fragment>) -> Result<Vec<RecordBatch>, Error> {
    let mut rows = Vec::new();
    for fragment in fragments {
        let Fragment::Rows(mut batches) = fragment else { panic!("no rows that arrive: {fragment:?}") };
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            rows.extend((0..batch.num_rows()).map(|row| batch.slice(row, 1)));
        }
    }
    Ok(rows)
}

fn single(rows: &RecordBatch) -> Vec<RecordBatch> {
    (0..rows.num_rows()).map(|row| rows.slice(row, 1)).collect()
}

/// Rows as they were sent, and as users see them; in an order of their own.
fn comparable(signal: Signal, rows: &[RecordBatch]) -> Vec<(Vec<u8>, String)> {
    let one = |row: &RecordBatch| {
        let table = view::to_table(signal, row).unwrap();
        let shown: Vec<String> = table.columns().iter().map(|column| format!("{column:?}")).collect();
        (encode(signal, row).unwrap(), shown.join("\n"))
    };
    let mut all: Vec<_> = rows.iter().map(one).collect();
    all.sort();
    all
}

/// A random request.
fn request(signal: Signal, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let entropy: Vec<u8> = (0..6000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .collect();
    let mut source = generate::Source(&entropy);
    match signal {
        Signal::Logs => source.logs().encode_to_vec(),
        Signal::Traces => source.traces().encode_to_vec(),
        Signal::Metrics => source.metrics().encode_to_vec(),
    }
}
