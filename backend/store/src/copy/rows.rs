//! Reading a snapshot's rows, and their checksum.

use std::{fmt, ops::Range, sync::Arc};

use arrow_array::{
    Array, BooleanArray, RecordBatch,
    cast::AsArray,
    types::{Int32Type, TimestampNanosecondType, UInt64Type},
};
use arrow_schema::{ArrowError, DataType};
use arrow_select::filter::filter_record_batch;
use devmesh_schema::{IngestPath, Signal, TimestampNs, otlp, stored, view};
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use object_store::ObjectStore;
use parquet::{
    arrow::async_reader::ParquetRecordBatchStreamBuilder,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::object::ObjectReader;
use crate::{
    Error, Fragment, ParquetFile, Scan, Snapshot,
    scan::{GroupBy, Measure},
};

/// Rows that are read at once from a file.
const READ_ROWS: usize = 4096;

type Rows = BoxStream<'static, Result<RecordBatch, Error>>;

/// A number of rows, and the sum of their hashes: the same in whatever order they are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    #[serde(with = "hex")]
    pub(crate) hash: u128,
}

impl Sum {
    pub(crate) fn add(&mut self, row: u128) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(row);
    }

    pub(crate) fn add_all(&mut self, other: Sum) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.hash)
    }
}

/// 128 bits as hex digits: JSON's numbers are shorter.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{hash:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

/// One row, written out.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) time: TimestampNs,
    /// Of all that it is.
    pub(crate) hash: u128,
    pub(crate) path: IngestPath,
    /// Whether its time is not the one on the wire: then it depends on when it was received.
    pub(crate) own_time: bool,
    /// An export request of this row alone.
    pub(crate) request: Vec<u8>,
}

/// Writes each row of a batch out.
pub(crate) fn write_out(signal: Signal, batch: &RecordBatch) -> Result<Vec<Row>, Error> {
    // Once for all rows, not for each.
    let batch = &view::with_whole_bodies(batch)?;
    let paths = batch.column_by_name(stored::INGEST_PATH);
    let wire = batch.column_by_name(stored::WIRE_TIME);
    let wire = wire.and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let mut rows = Vec::with_capacity(batch.num_rows());
    for (row, time) in times(batch)?.into_iter().enumerate() {
        let path = match paths.and_then(|column| text(column.as_ref(), row)) {
            Some("direct") => IngestPath::Direct,
            _ => IngestPath::Collector,
        };
        let request = otlp::encode(signal, &batch.slice(row, 1))?;
        let mut hash = Xxh3::new();
        hash.update(&time.to_le_bytes());
        hash.update(path.name().as_bytes());
        hash.update(&request);
        let own_time = wire.is_some_and(|wire| wire.is_valid(row));
        rows.push(Row { time, hash: hash.digest128(), path, own_time, request });
    }
    Ok(rows)
}

/// The times of a batch.
fn times(batch: &RecordBatch) -> Result<Vec<TimestampNs>, Error> {
    let times = batch
        .column_by_name(stored::TIME)
        .and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>())
        .filter(|times| times.null_count() == 0)
        .ok_or_else(|| ArrowError::SchemaError("stored rows lack their time".into()))?;
    Ok(times.values().to_vec())
}

/// The text of a row, in a dictionary or plain.
fn text(column: &dyn Array, row: usize) -> Option<&str> {
    if !column.is_valid(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_dictionary_opt::<Int32Type>()?;
            let key = usize::try_from(dictionary.keys().value(row)).ok()?;
            text(dictionary.values().as_ref(), key)
        }
        _ => None,
    }
}

/// The sum of the rows of a range of time.
pub(crate) async fn sum(snapshot: &dyn Snapshot, signal: Signal, time: Range<TimestampNs>) -> Result<Sum, Error> {
    let sums = sums(snapshot, signal, std::slice::from_ref(&time)).await?;
    Ok(sums.first().copied().unwrap_or_default())
}

/// The sums of the rows of some ranges of time, which are disjoint and ascending.
pub(crate) async fn sums(
    snapshot: &dyn Snapshot,
    signal: Signal,
    ranges: &[Range<TimestampNs>],
) -> Result<Vec<Sum>, Error> {
    let mut sums = vec![Sum::default(); ranges.len()];
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(sums) };
    let mut rows = read(snapshot, signal, first.start..last.end).await?;
    while let Some(batch) = rows.try_next().await? {
        for row in write_out(signal, &batch)? {
            let at = ranges.partition_point(|range| range.end <= row.time);
            if ranges.get(at).is_some_and(|range| range.contains(&row.time)) {
                sums[at].add(row.hash);
            }
        }
    }
    Ok(sums)
}

/// Where a signal's rows lie in time, and about how many they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First and last, both inclusive; `None` without rows.
    pub(crate) time: Option<(TimestampNs, TimestampNs)>,
    pub(crate) rows: u64,
}

impl Extent {
    fn add(&mut self, first: TimestampNs, last: TimestampNs, rows: u64) {
        self.rows += rows;
        self.time = Some(self.time.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
    }
}

/// Finds the extent of the rows of a range; of files it is what they say of themselves.
pub(crate) async fn extent(snapshot: &dyn Snapshot, signal: Signal, time: Range<TimestampNs>) -> Result<Extent, Error> {
    let mut extent = Extent::default();
    let scan = Scan { time: time.clone(), columns: Some(vec![stored::TIME.to_owned()]), ..Scan::all(signal) };
    let column = stored::TIME.to_owned();
    let group = GroupBy {
        keys: Vec::new(),
        measures: vec![Measure::CountAll, Measure::Min(column.clone()), Measure::Max(column)],
    };
    let fragments = match snapshot.group(&scan, &group).await? {
        Some(groups) => {
            let mut batches = groups.groups;
            while let Some(batch) = batches.try_next().await? {
                add_groups(&batch, &mut extent);
            }
            groups.rest
        }
        None => snapshot.scan(&scan).await?,
    };
    for fragment in fragments {
        match fragment {
            Fragment::Parquet { files, .. } => {
                for file in files {
                    let (first, last) = (file.time.0.max(time.start), file.time.1.min(time.end.saturating_sub(1)));
                    extent.add(first, last, file.rows);
                }
            }
            rows => {
                let mut rows = pieces(rows, time.clone());
                while let Some(batch) = rows.try_next().await? {
                    let times = times(&batch)?;
                    if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
                        extent.add(*first, *last, times.len() as u64);
                    }
                }
            }
        }
    }
    Ok(extent)
}

/// Adds the one group of all rows: count, least and greatest time.
fn add_groups(batch: &RecordBatch, extent: &mut Extent) {
    let count =
        batch.column_by_name("m0").and_then(|column| column.as_primitive_opt::<arrow_array::types::Int64Type>());
    let time =
        |name| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let (Some(count), Some(first), Some(last)) = (count, time("m1"), time("m2")) else { return };
    for row in 0..batch.num_rows() {
        if count.value(row) > 0 && first.is_valid(row) && last.is_valid(row) {
            extent.add(first.value(row), last.value(row), count.value(row).unsigned_abs());
        }
    }
}

/// The rows of a range of time, and no others.
pub(crate) async fn read(snapshot: &dyn Snapshot, signal: Signal, time: Range<TimestampNs>) -> Result<Rows, Error> {
    let time = time.start.max(snapshot.horizon(signal))..time.end;
    let scan = Scan { time: time.clone(), ..Scan::all(signal) };
    let fragments = snapshot.scan(&scan).await?;
    let parts = fragments.into_iter().map(move |fragment| pieces(fragment, time.clone()));
    Ok(stream::iter(parts).flatten().boxed())
}

/// The rows of a fragment within a range of time.
fn pieces(fragment: Fragment, time: Range<TimestampNs>) -> Rows {
    let within = {
        let time = time.clone();
        move |batch: RecordBatch| future::ready(filtered(batch, &time))
    };
    match fragment {
        Fragment::Memory(batches) => {
            let batches = batches.into_iter().map(|batch| Ok(RecordBatch::clone(&batch)));
            stream::iter(batches).and_then(within).boxed()
        }
        Fragment::Rows(rows) => rows.and_then(within).boxed(),
        Fragment::Parquet { store, files, pin } => {
            let opened = stream::iter(files).then(move |file| {
                let (store, time, pin) = (Arc::clone(&store), time.clone(), Arc::clone(&pin));
                async move {
                    let rows = file_rows(store, file, time).await?;
                    // The file stays while its rows are read.
                    Ok::<_, Error>(rows.inspect(move |_| drop(Arc::clone(&pin))))
                }
            });
            opened.try_flatten().and_then(within).boxed()
        }
    }
}

fn filtered(batch: RecordBatch, time: &Range<TimestampNs>) -> Result<RecordBatch, Error> {
    let times = times(&batch)?;
    if times.iter().all(|at| time.contains(at)) {
        return Ok(batch);
    }
    let wanted = BooleanArray::from(times.iter().map(|at| time.contains(at)).collect::<Vec<_>>());
    Ok(filter_record_batch(&batch, &wanted)?)
}

/// The rows of a file whose row groups overlap a range of time.
async fn file_rows(store: Arc<dyn ObjectStore>, file: ParquetFile, time: Range<TimestampNs>) -> Result<Rows, Error> {
    let reader = ObjectReader { store, path: file.path, size: file.size };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let schema = builder.parquet_schema();
    let at = (0..schema.num_columns()).find(|at| schema.column(*at).path().string() == stored::TIME);
    let groups = builder.metadata().row_groups().iter().enumerate();
    let wanted = groups.filter(|(_, group)| at.is_none_or(|at| overlaps(group, at, &time))).map(|(at, _)| at).collect();
    let builder = builder.with_row_groups(wanted).with_batch_size(READ_ROWS);
    Ok(builder.build()?.map_err(Error::from).boxed())
}

fn overlaps(group: &RowGroupMetaData, column: usize, time: &Range<TimestampNs>) -> bool {
    match group.column(column).statistics() {
        Some(Statistics::Int64(times)) => {
            let (first, last) = (times.min_opt(), times.max_opt());
            first.is_none_or(|first| *first < time.end) && last.is_none_or(|last| *last >= time.start)
        }
        _ => true,
    }
}
