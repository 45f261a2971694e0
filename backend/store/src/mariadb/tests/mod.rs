//! Against a real server.

mod locks;
mod once;
mod pushdown;
mod read;
#[path = "../../../tests/mariadb/server.rs"]
pub(crate) mod server;
mod tls;

use std::sync::Arc;

use arrow_array::RecordBatch;
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{Context, decode, encode, json::to_protobuf},
};
use futures::TryStreamExt;

use self::server::{Server, shared};
use crate::{
    Fragment, Scan, Settings,
    database::{Block, Database, Seen},
    testing::RECEIVED,
};

const TABLES: &str = include_str!("../../../../../schema/sql/mariadb/V0001__tables.sql");

/// A database of a server.
struct World {
    server: &'static Server,
    name: String,
    store: Arc<dyn Database>,
}

async fn world() -> World {
    world_on(shared()).await
}

async fn world_on(server: &'static Server) -> World {
    let name = server.database();
    server.execute(&format!("USE {name}; {TABLES}"));
    let store = store(&server.url(&name)).await;
    World { server, name, store }
}

async fn store(url: &str) -> Arc<dyn Database> {
    super::connect(&url.parse().unwrap(), &Settings { url: url.to_owned(), ..Settings::default() }).await.unwrap()
}

impl World {
    /// Statements in this database.
    fn execute(&self, sql: &str) -> String {
        self.server.execute(&format!("USE {}; {sql}", self.name)).trim_end().to_owned()
    }

    /// How many rows a table has.
    fn count(&self, table: &str) -> u64 {
        self.execute(&format!("SELECT COUNT(*) FROM {table}")).parse().unwrap()
    }

    async fn insert(&self, signal: Signal, last: u64, rows: &[RecordBatch]) {
        self.store.insert(&block("w", signal, last, rows)).await.unwrap();
    }

    /// All that a scan gives, of all blocks.
    async fn scan(&self, scan: &Scan) -> Vec<RecordBatch> {
        self.scan_up_to(scan, u64::MAX).await
    }

    async fn scan_up_to(&self, scan: &Scan, last: u64) -> Vec<RecordBatch> {
        let fragments = self.store.scan(scan, &Seen { writer: "w".into(), last, idle: None }).await.unwrap();
        read_all(fragments).await
    }
}

async fn read_all(fragments: Vec<Fragment>) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for fragment in fragments {
        match fragment {
            Fragment::Rows(rows) => batches.extend(rows.try_collect::<Vec<_>>().await.unwrap()),
            other => panic!("{other:?}"),
        }
    }
    batches
}

fn block(writer: &str, signal: Signal, last: u64, rows: &[RecordBatch]) -> Block {
    Block { writer: writer.into(), last, signal, rows: rows.iter().cloned().map(Arc::new).collect() }
}

fn decoded(signal: Signal, request: &[u8]) -> RecordBatch {
    decode(signal, request, Context { path: IngestPath::Collector, received: RECEIVED }).unwrap().rows
}

fn from_json(signal: Signal, json: &str) -> RecordBatch {
    let request = to_protobuf(signal, json.as_bytes()).unwrap();
    assert_eq!(request.rejected, 0, "{request:?}");
    decoded(signal, &request.request)
}

/// Each record with all that it shares, sorted.
fn records<'b>(signal: Signal, batches: impl IntoIterator<Item = &'b RecordBatch>) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for batch in batches {
        records.extend((0..batch.num_rows()).map(|row| encode(signal, &batch.slice(row, 1)).unwrap()));
    }
    records.sort_unstable();
    records
}

/// Telemetry of the imaginary shop, a batch a request.
fn shop(signal: Signal, seed: u64, count: u64) -> Vec<RecordBatch> {
    let plan = devmesh_demo::Plan {
        seed,
        records: count,
        batch: 200,
        start_ns: 1_700_000_000_000_000_000,
        span_ns: 3_600_000_000_000,
    };
    let requests: Vec<_> = match signal {
        Signal::Logs => devmesh_demo::logs(plan).collect(),
        Signal::Traces => devmesh_demo::traces(plan).collect(),
        Signal::Metrics => devmesh_demo::metrics(plan).collect(),
    };
    requests.iter().map(|request| decoded(signal, &request.body)).collect()
}
