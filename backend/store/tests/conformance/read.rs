//! Reading a store as an engine does.

use std::{ops::Range, sync::Arc};

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use devmesh_schema::{Signal, TimestampNs};
use devmesh_store::{Error, Fragment, ParquetFile, Scan, Store};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

/// The rows that a scan returns, with what it let through.
pub(crate) struct Rows {
    pub(crate) batches: Vec<RecordBatch>,
}

pub(crate) async fn scan(store: &dyn Store, scan: &Scan) -> Result<Rows, Error> {
    fragments(store.scan(scan).await?).await
}

/// The rows of a scan's answer.
pub(crate) async fn fragments(fragments: Vec<Fragment>) -> Result<Rows, Error> {
    let mut batches = Vec::new();
    for fragment in fragments {
        match fragment {
            Fragment::Memory(rows) => batches.extend(rows.iter().map(|rows| (**rows).clone())),
            Fragment::Parquet { store, files, pin } => {
                for file in &files {
                    batches.extend(read_file(&store, file).await?);
                }
                drop(pin);
            }
            Fragment::Rows(rows) => batches.extend(rows.try_collect::<Vec<_>>().await?),
        }
    }
    Ok(Rows { batches })
}

async fn read_file(store: &Arc<dyn ObjectStore>, file: &ParquetFile) -> Result<Vec<RecordBatch>, Error> {
    let bytes = store.get(&file.path).await?.bytes().await?;
    assert_eq!(bytes.len() as u64, file.size);
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    assert_eq!(builder.metadata().file_metadata().num_rows() as u64, file.rows);
    if let Some(selection) = &file.selection {
        let rows = file.rows as usize;
        builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(selection.iter().cloned(), rows));
    }
    Ok(builder.build()?.collect::<Result<_, _>>()?)
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The times, sorted.
    pub(crate) fn times(&self) -> Vec<TimestampNs> {
        let mut times: Vec<TimestampNs> = self
            .batches
            .iter()
            .flat_map(|rows| {
                rows.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
            })
            .collect();
        times.sort_unstable();
        times
    }
}

pub(crate) async fn all(store: &dyn Store, signal: Signal) -> Rows {
    scan(store, &Scan::all(signal)).await.unwrap()
}

/// Numbers of the log records in the store, sorted.
pub(crate) async fn numbers(store: &dyn Store) -> Vec<u64> {
    let horizon = store.snapshot().horizon(Signal::Logs);
    let times = all(store, Signal::Logs).await.times();
    times.into_iter().filter(|time| *time >= horizon).map(|time| (time - super::otlp::BASE) as u64).collect()
}

pub(crate) async fn assert_holds(store: &dyn Store, expected: Range<u64>) {
    let found = numbers(store).await;
    assert_eq!(found.len() as u64, expected.end - expected.start);
    assert!(found.iter().copied().eq(expected), "{found:?}");
}
