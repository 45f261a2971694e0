//! Merging small files: a quiet server flushes a few rows every few minutes, and a query should not open hundreds of
//! files for them.
//!
//! Only neighbours in the log's order are merged, so that the records a file covers are a range that contains those of
//! its parts (see [`super::rebuild`]). Files that are large enough are never written again, and small ones of like size
//! are merged in eights: a row is written a few times at most. Memory: the rows of one column.

use std::{fs::File, sync::Arc, time::Instant};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::concat::concat;
use bytes::Bytes;
use devmesh_schema::{Signal, stored, view};
use object_store::ObjectStoreExt;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
};

use super::{
    Shared,
    files::StoredFile,
    flush,
    manifest::{Edit, Entry, Meta, Place, VERSION},
    quarantine,
};
use crate::{Error, columns::Piece};

/// Files with fewer rows than this are small.
const SMALL_ROWS: u64 = 65_536;
/// Files with more bytes than this are not.
const SMALL_BYTES: u64 = 32 << 20;
/// How many small files become one.
const FAN_IN: usize = 8;
/// Rows of a merged file at most.
const MERGED_ROWS: u64 = 262_144;

/// Merges what there is to merge.
pub(crate) fn run(shared: &Shared) -> Result<(), Error> {
    for signal in Signal::ALL {
        while !shared.closed() {
            let files = shared.tables.snapshot(signal).files;
            let Some(group) = choose(&files) else { break };
            merge(shared, signal, &group)?;
        }
    }
    Ok(())
}

/// The next files to merge: neighbours of one day, all small, at least [`FAN_IN`] of like size.
fn choose(files: &[Arc<StoredFile>]) -> Option<Vec<Arc<StoredFile>>> {
    let mut files: Vec<&Arc<StoredFile>> = files.iter().collect();
    files.sort_by_key(|file| (file.entry.partition().to_owned(), file.entry.meta.after, file.entry.meta.last));
    let small = |entry: &Entry| entry.rows < SMALL_ROWS && entry.size < SMALL_BYTES;
    let level = |entry: &Entry| entry.rows.max(512).ilog2() / FAN_IN.ilog2();
    for limit in level_range() {
        let mut run: Vec<&Arc<StoredFile>> = Vec::new();
        let mut rows = 0;
        for file in &files {
            let same = run.last().is_none_or(|last| last.entry.partition() == file.entry.partition());
            let fits = small(&file.entry) && level(&file.entry) <= limit;
            if run.len() >= FAN_IN && (!same || !fits || rows + file.entry.rows > MERGED_ROWS) {
                break;
            }
            if !same || !fits {
                run.clear();
                rows = 0;
            }
            if fits {
                rows += file.entry.rows;
                run.push(file);
            }
        }
        if run.len() >= FAN_IN {
            return Some(run.into_iter().cloned().collect());
        }
    }
    None
}

fn level_range() -> std::ops::RangeInclusive<u32> {
    512_u64.ilog2() / FAN_IN.ilog2()..=SMALL_ROWS.ilog2() / FAN_IN.ilog2()
}

fn merge(shared: &Shared, signal: Signal, group: &[Arc<StoredFile>]) -> Result<(), Error> {
    let started = Instant::now();
    let mut pieces = Vec::with_capacity(group.len());
    for file in group {
        match FileRows::open(shared, &file.entry)? {
            Some(rows) => pieces.push(rows),
            // Set aside; the others are merged another time.
            None => return Ok(()),
        }
    }
    let pieces: Vec<&dyn Piece> = pieces.iter().map(|piece| piece as &dyn Piece).collect();
    let (first, last) = match (group.first(), group.last()) {
        (Some(first), Some(last)) => (&first.entry.meta, &last.entry.meta),
        _ => return Ok(()),
    };
    let last = group.iter().map(|file| file.entry.meta.last).max().unwrap_or(last.last);
    let written = group.iter().map(|file| file.entry.meta.written).max().unwrap_or_default();
    let meta = Meta { version: VERSION, signal, after: first.after, last, of: 0, written };
    let horizon = shared.tables.lock().live.horizon[signal as usize];
    let remove: Vec<String> = group.iter().map(|file| file.entry.path.clone()).collect();
    let all_old = group.iter().all(|file| file.entry.time.1 < horizon);
    let add =
        if all_old { Vec::new() } else { vec![flush::write_file(shared, &pieces, |time| time >= horizon, meta)?] };
    let (rows, files) = (add.iter().map(|entry| entry.rows).sum::<u64>(), group.len());
    let made = add.clone();
    // Retention or quarantine may have taken one of them meanwhile.
    let live = {
        let manifest = shared.manifest();
        remove.iter().all(|path| manifest.state.files.contains_key(path))
    };
    let replaced = if live { shared.replace_files(signal, Edit { add, remove, ..Edit::default() }) } else { Ok(()) };
    if !live || replaced.is_err() {
        // After a failed commit the line may be on disk all the same: then the next start finds it without its file
        // and with the old ones gone. They stay until a later line has been written.
        if !live {
            made.iter().for_each(|entry| shared.back.files.remove_local(&entry.path, Place::Local));
        }
        return replaced;
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(table = signal.table(), files, rows, ms, "small files were merged");
    Ok(())
}

/// A file, read a column at a time.
pub(crate) struct FileRows {
    source: Source,
    metadata: ArrowReaderMetadata,
    /// The columns as rows in memory have them: bodies are whole.
    schema: Schema,
}

enum Source {
    Disk(File),
    Memory(Bytes),
}

impl FileRows {
    /// Opens a file whose checksum is right; one that is damaged is set aside, and `None`.
    fn open(shared: &Shared, entry: &Entry) -> Result<Option<Self>, Error> {
        let source = match (entry.place, &shared.back.files.remote) {
            (Place::Remote, Some(remote)) => {
                let path = remote.path(&entry.path);
                let bytes = shared.runtime.block_on(async { remote.store.get(&path).await?.bytes().await })?;
                if xxhash_rust::xxh3::xxh3_64(&bytes) != entry.checksum {
                    quarantine::set_aside(shared, entry)?;
                    return Ok(None);
                }
                Source::Memory(bytes)
            }
            _ => {
                if quarantine::check(shared, entry)? {
                    return Ok(None);
                }
                let path = shared.back.files.local_path(&entry.path);
                Source::Disk(File::open(&path).map_err(Error::file("open", &path))?)
            }
        };
        let options = ArrowReaderOptions::new();
        let metadata = match &source {
            Source::Disk(file) => ArrowReaderMetadata::load(file, options)?,
            Source::Memory(bytes) => ArrowReaderMetadata::load(bytes, options)?,
        };
        let schema = whole(metadata.schema());
        Ok(Some(Self { source, metadata, schema }))
    }

    /// A column of the file.
    fn stored(&self, name: &str) -> Result<Option<ArrayRef>, Error> {
        let Ok(at) = self.metadata.schema().index_of(name) else { return Ok(None) };
        let metadata = self.metadata.clone();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), [at]);
        let rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default().max(1);
        let reader: Box<dyn RecordBatchReader> = match &self.source {
            Source::Disk(file) => {
                let file = file.try_clone().map_err(Error::file("open", name))?;
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
                Box::new(builder.with_projection(mask).with_batch_size(rows).build()?)
            }
            Source::Memory(bytes) => {
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata);
                Box::new(builder.with_projection(mask).with_batch_size(rows).build()?)
            }
        };
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        let columns: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(0).as_ref()).collect();
        match columns.as_slice() {
            [] => Ok(None),
            _ => Ok(Some(concat(&columns)?)),
        }
    }

    /// The bodies, which the file has as templates and parameters.
    fn bodies(&self) -> Result<Option<ArrayRef>, Error> {
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for name in [stored::BODY, stored::TEMPLATE, stored::PARAMS, stored::UUIDS] {
            columns.extend(self.stored(name)?.map(|column| (name, column)));
        }
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
        Ok(view::with_whole_bodies(&rows)?.column_by_name(stored::BODY).cloned())
    }
}

/// The columns with bodies that are whole.
fn whole(schema: &Schema) -> Schema {
    if !view::is_cut(schema) {
        return schema.clone();
    }
    let gone = [stored::BODY, stored::PARAMS, stored::UUIDS];
    let kept = schema.fields().iter().filter(|field| !gone.contains(&field.name().as_str())).cloned();
    let body = Arc::new(Field::new(stored::BODY, DataType::Utf8, true));
    Schema::new(kept.chain([body]).collect::<Vec<_>>())
}

impl Piece for FileRows {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn column(&self, name: &str) -> Result<Option<ArrayRef>, Error> {
        if name == stored::BODY && view::is_cut(self.metadata.schema()) {
            return self.bodies();
        }
        self.stored(name)
    }

    fn has_nulls(&self, name: &str) -> bool {
        self.schema.field_with_name(name).is_ok_and(Field::is_nullable)
    }

    fn dictionary_pays(&self, name: &str) -> Option<bool> {
        let schema = self.metadata.parquet_schema();
        let column = (0..schema.num_columns())
            .find(|at| schema.column(*at).path().parts().first().is_some_and(|p| p == name))?;
        let group = self.metadata.metadata().row_groups().first()?;
        Some(group.column(column).dictionary_page_offset().is_some())
    }
}
