//! A store over given batches, in memory or in files, and what the tests of queries have in common.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

pub mod database;
#[path = "../../../src/meaning.rs"]
pub mod meaning;
pub mod slt;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use arrow_cast::{
    cast,
    display::{ArrayFormatter, FormatOptions},
};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use devmesh_query::{Answer, Engine, Error, Limits, SqlOptions};
use devmesh_schema::{
    Batch, IngestPath, Receipt, Signal, Sink, TimestampNs, WriteError,
    otlp::{self, Context},
    stored,
};
use devmesh_store::{Capabilities, Committed, Drained, Fragment, ParquetFile, Scan, Snapshot, Stats, Store};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parquet::{
    arrow::ArrowWriter,
    file::properties::{EnabledStatistics, WriterProperties},
};
use tokio::sync::broadcast;

/// Where the rows of a [`TestStore`] stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Memory,
    Files,
    Both,
}

/// Serves what it was given.
#[derive(Clone)]
pub struct TestStore {
    tables: Arc<[Vec<RecordBatch>; 3]>,
    place: Place,
    objects: Arc<InMemory>,
    files: Arc<[Vec<ParquetFile>; 3]>,
    /// What was asked.
    pub scans: Arc<Mutex<Vec<Scan>>>,
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStore")
    }
}

impl fmt::Display for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("test")
    }
}

impl TestStore {
    pub async fn new(tables: [Vec<RecordBatch>; 3], place: Place) -> Arc<Self> {
        let objects = Arc::new(InMemory::new());
        let mut files: [Vec<ParquetFile>; 3] = Default::default();
        for signal in Signal::ALL {
            for (number, batch) in tables[signal as usize].iter().enumerate() {
                let in_file = match place {
                    Place::Memory => false,
                    Place::Files => true,
                    Place::Both => number % 2 == 0,
                };
                if in_file && batch.num_rows() > 0 {
                    let path = Path::from(format!("{}/{number}.parquet", signal.table()));
                    let bytes = to_parquet(batch);
                    let size = bytes.len() as u64;
                    objects.put(&path, bytes.into()).await.unwrap();
                    let rows = batch.num_rows() as u64;
                    let (time, selection) = (times(batch), None);
                    let file = ParquetFile { path, size, rows, time, selection, by_template: false };
                    files[signal as usize].push(file);
                }
            }
        }
        Arc::new(Self { tables: Arc::new(tables), place, objects, files: Arc::new(files), scans: Arc::default() })
    }

    /// Of OTLP requests.
    pub async fn of_requests(requests: &[(Signal, IngestPath, Vec<u8>)], place: Place) -> Arc<Self> {
        let mut tables: [Vec<RecordBatch>; 3] = Default::default();
        for (signal, path, request) in requests {
            let context = Context { path: *path, received: 1_767_230_000_000_000_000 };
            let decoded = otlp::decode(*signal, request, context).unwrap();
            assert_eq!(decoded.rejected, 0, "{:?}", decoded.rejections);
            tables[*signal as usize].push(decoded.rows);
        }
        Self::new(tables, place).await
    }
}

fn times(batch: &RecordBatch) -> (TimestampNs, TimestampNs) {
    let times = batch.column_by_name(stored::TIME).unwrap().as_primitive::<TimestampNanosecondType>();
    (*times.values().iter().min().unwrap(), *times.values().iter().max().unwrap())
}

/// Dictionaries unpacked, small row groups and pages, so that pruning has something to prune.
pub fn to_parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values).unwrap(),
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        columns.push(column);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(1000))
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(100)
        .set_statistics_enabled(EnabledStatistics::Page)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[async_trait]
impl Sink for TestStore {
    async fn write(&self, _: Batch) -> Result<Receipt, WriteError> {
        Err(WriteError::Closed)
    }
}

#[async_trait]
impl Snapshot for TestStore {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Fragment>, devmesh_store::Error> {
        self.scans.lock().unwrap().push(scan.clone());
        let signal = scan.signal as usize;
        let overlaps =
            |time: (TimestampNs, TimestampNs), range: &Range<TimestampNs>| time.1 >= range.start && time.0 < range.end;
        let in_memory = |number: usize| match self.place {
            Place::Memory => true,
            Place::Files => false,
            Place::Both => number % 2 == 1,
        };
        let rows = self.tables[signal]
            .iter()
            .enumerate()
            .filter(|(number, batch)| in_memory(*number) && batch.num_rows() > 0 && overlaps(times(batch), &scan.time))
            .map(|(_, batch)| Arc::new(batch.clone()))
            .collect();
        let files = self.files[signal].iter().filter(|file| overlaps(file.time, &scan.time)).cloned().collect();
        let store = Arc::clone(&self.objects) as Arc<dyn ObjectStore>;
        Ok(vec![Fragment::Memory(rows), Fragment::Parquet { store, files, pin: Arc::new(()) }])
    }
}

#[async_trait]
impl Store for TestStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.clone())
    }

    async fn expire(&self, _: Signal, _: TimestampNs) -> Result<u64, devmesh_store::Error> {
        Ok(0)
    }

    async fn ready(&self) -> Result<(), devmesh_store::Error> {
        Ok(())
    }

    fn subscribe(&self) -> broadcast::Receiver<Committed> {
        broadcast::channel(1).1
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    async fn close(&self) -> Result<Drained, devmesh_store::Error> {
        Ok(Drained::default())
    }
}

/// The requests of `tests/sql/data`: small, with every kind of value. Traces on both paths.
pub fn small() -> Vec<(Signal, IngestPath, Vec<u8>)> {
    let request = |signal, json: &str| otlp::json::to_protobuf(signal, json.as_bytes()).unwrap().request.to_vec();
    vec![
        (
            Signal::Logs,
            IngestPath::Collector,
            request(Signal::Logs, include_str!("../../../../tests/sql/data/logs.json")),
        ),
        (
            Signal::Traces,
            IngestPath::Collector,
            request(Signal::Traces, include_str!("../../../../tests/sql/data/traces.json")),
        ),
        (
            Signal::Metrics,
            IngestPath::Collector,
            request(Signal::Metrics, include_str!("../../../../tests/sql/data/metrics.json")),
        ),
        (
            Signal::Traces,
            IngestPath::Direct,
            request(Signal::Traces, include_str!("../../../../tests/sql/data/direct.json")),
        ),
    ]
}

/// Requests of the demo's generator: some thousand records of each signal.
pub fn shop(records: u64) -> Vec<(Signal, IngestPath, Vec<u8>)> {
    let plan = devmesh_demo::Plan {
        seed: 7,
        records,
        batch: 500,
        start_ns: 1_767_225_600_000_000_000,
        span_ns: 3_600_000_000_000,
    };
    let of = |signal| move |r: devmesh_demo::Request| (signal, IngestPath::Collector, r.body);
    devmesh_demo::logs(plan)
        .map(of(Signal::Logs))
        .chain(devmesh_demo::traces(plan).map(of(Signal::Traces)))
        .chain(devmesh_demo::metrics(plan).map(of(Signal::Metrics)))
        .collect()
}

pub fn engine(store: Arc<dyn Store>) -> Engine {
    Engine::new(store, Limits { threads: 2, ..Limits::default() }).unwrap()
}

/// An engine with search by meaning, where the store has patterns; its vectors lie in a directory. All that can be found is.
pub fn searching(store: &Arc<dyn Store>, home: &std::path::Path) -> Engine {
    let engine = engine(Arc::clone(store));
    let Some(patterns) = store.patterns() else { return engine };
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/models");
    assert!(models.is_dir(), "{} is missing: run tests/install.sh", models.display());
    let settings = devmesh_insight::meaning::Settings { models, vectors: home.join("vectors"), threads: 2 };
    let search = meaning::Search::start(patterns, settings).unwrap();
    let settled = tokio::task::block_in_place(|| search.wait_settled(std::time::Duration::from_secs(120)));
    assert!(settled, "{:?}", search.status());
    engine.with_meaning(Arc::new(search))
}

pub async fn ask(engine: &Engine, sql: &str) -> Result<Answer, Error> {
    engine.sql(sql, SqlOptions::default()).await
}

/// The rows as text, a line each.
pub async fn rows(engine: &Engine, sql: &str) -> Result<Vec<Vec<String>>, Error> {
    Ok(text(&ask(engine, sql).await?.collect().await?))
}

pub fn text(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL").with_display_error(true);
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect());
        }
    }
    lines
}

/// The directory with queries and answers.
pub fn sql_dir() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql")
}

/// The real store in a directory.
pub async fn open(dir: &std::path::Path, flush_rows: u64) -> Arc<dyn Store> {
    let mut settings = devmesh_store::Settings { url: format!("file://{}", dir.display()), ..Default::default() };
    settings.flush.rows = flush_rows;
    // The data of the tests are older than any record is kept.
    settings.retention.logs = std::time::Duration::ZERO;
    settings.retention.traces = std::time::Duration::ZERO;
    settings.retention.metrics = std::time::Duration::ZERO;
    devmesh_store::open(&settings).await.unwrap()
}

pub async fn write(store: &dyn Store, requests: Vec<(Signal, IngestPath, Vec<u8>)>) {
    for (signal, path, request) in requests {
        let batch = Batch { signal, id: None, path, received: 1_767_230_000_000_000_000, request: request.into() };
        let receipt = store.write(batch).await.unwrap();
        assert_eq!(receipt.rejected, 0, "{:?}", receipt.rejections);
    }
}

/// Waits until no row is left in memory.
pub async fn flushed(store: &dyn Store) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while store.stats().tables.iter().any(|table| table.memory_rows > 0) {
        assert!(std::time::Instant::now() < until, "rows stayed in memory: {:?}", store.stats());
        tokio::task::yield_now().await;
    }
}
