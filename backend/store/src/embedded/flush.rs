//! Rows that leave memory become files: one a signal and day, written and synced; then the batch ids and the manifest are
//! made durable, and files take the place of rows under the queries' eyes. Until the manifest has the files, the log has
//! the rows. What fails is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    time::Instant,
};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use devmesh_schema::{Signal, TimestampNs, stored};

use super::{
    Shared, expire,
    files::{DAY_NS, day_name, new_path},
    manifest::{Edit, Entry, Meta, Place, VERSION},
    parquet,
};
use crate::{Error, columns::Piece, memtable::Memtable};

/// Days of one flush that get files of their own; records of further ones share a file.
const DAYS: usize = 32;

/// Writes the files, then the manifest's line; queries see the files in place of the rows.
pub(crate) fn take_over(
    shared: &Shared,
    sealed: &Arc<Memtable>,
    progress: &mut Option<Vec<Entry>>,
) -> Result<(), Error> {
    let started = Instant::now();
    let entries = match progress {
        Some(entries) => entries,
        None => {
            let horizon = shared.tables.lock().live.horizon;
            progress.insert(write_files(shared, sealed, horizon)?)
        }
    };
    commit(shared, sealed, entries)?;
    let rows: u64 = sealed.rows.iter().sum();
    if rows > 0 {
        let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(rows, files = entries.len(), bytes, ms, log = sealed.last, "rows moved from memory to files");
    }
    Ok(())
}

fn commit(shared: &Shared, sealed: &Memtable, entries: &[Entry]) -> Result<(), Error> {
    shared.write_batch_ids()?;
    let mut manifest = shared.manifest();
    manifest.commit(Edit { wal: Some(sealed.last), add: entries.to_vec(), ..Edit::default() })?;
    let mut tables = shared.tables.lock();
    for signal in Signal::ALL {
        let own = entries.iter().filter(|entry| entry.meta.signal == signal);
        let add: Vec<_> = own.map(|entry| shared.back.files.stored(entry.clone())).collect();
        if !add.is_empty() {
            tables.live.replace(signal, add, &[]);
        }
    }
    tables.sealed = None;
    Ok(())
}

fn write_files(shared: &Shared, sealed: &Arc<Memtable>, horizon: [TimestampNs; 3]) -> Result<Vec<Entry>, Error> {
    let mut jobs = Vec::new();
    for signal in Signal::ALL {
        for days in partitions(sealed, signal, horizon[signal as usize]) {
            jobs.push((signal, days));
        }
    }
    let of = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    let mut entries: Vec<Entry> = Vec::with_capacity(jobs.len());
    for (signal, days) in jobs {
        let meta =
            Meta { version: VERSION, signal, after: sealed.after, last: sealed.last, of, written: expire::now() };
        let pieces: Vec<&dyn Piece> =
            sealed.chunks[signal as usize].iter().map(|chunk| &*chunk.rows as &dyn Piece).collect();
        let before = horizon[signal as usize];
        let wanted = |time: TimestampNs| time >= before && days.contains(&time.div_euclid(DAY_NS));
        match write_file(shared, &pieces, wanted, meta) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                // The next try writes all of them again.
                entries.iter().for_each(|entry| shared.back.files.remove_local(&entry.path, Place::Local));
                return Err(error);
            }
        }
    }
    Ok(entries)
}

/// Writes the wanted rows of the pieces as a file under its final name, synced.
pub(crate) fn write_file(
    shared: &Shared,
    pieces: &[&dyn Piece],
    wanted: impl Fn(TimestampNs) -> bool,
    meta: Meta,
) -> Result<Entry, Error> {
    let sorted = parquet::sort(pieces, wanted)?;
    let path = new_path(meta.signal.table(), &day_name(sorted.time.0.div_euclid(DAY_NS)));
    let temporary = shared.back.files.temporary(&path)?;
    let written = parquet::write(&temporary, pieces, &sorted, &meta)
        .and_then(|written| shared.back.files.publish(&temporary, &path).map(|()| written));
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            // What is left of it is removed at the next start as well.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
    };
    Ok(Entry {
        path,
        place: Place::Local,
        size: written.size,
        rows: sorted.order.len() as u64,
        time: sorted.time,
        checksum: written.checksum,
        index: written.index,
        meta,
    })
}

/// The days of a signal's rows, in sets that share a file.
fn partitions(sealed: &Memtable, signal: Signal, before: TimestampNs) -> Vec<BTreeSet<i64>> {
    let mut days: BTreeMap<i64, u64> = BTreeMap::new();
    for chunk in &sealed.chunks[signal as usize] {
        let (first, last) = (chunk.time.0.div_euclid(DAY_NS), chunk.time.1.div_euclid(DAY_NS));
        if first == last && chunk.time.0 >= before {
            *days.entry(first).or_default() += chunk.rows.num_rows() as u64;
            continue;
        }
        let times = chunk.rows.column_by_name(stored::TIME);
        let Some(times) = times.and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>()) else { continue };
        for time in times.values().iter().filter(|time| **time >= before) {
            *days.entry(time.div_euclid(DAY_NS)).or_default() += 1;
        }
    }
    let mut by_rows: Vec<(u64, i64)> = days.into_iter().map(|(day, rows)| (rows, day)).collect();
    by_rows.sort_unstable_by(|a, b| b.cmp(a));
    let shared = by_rows.split_off(by_rows.len().min(DAYS - 1));
    let mut sets: Vec<BTreeSet<i64>> = by_rows.into_iter().map(|(_, day)| BTreeSet::from([day])).collect();
    if !shared.is_empty() {
        sets.push(shared.into_iter().map(|(_, day)| day).collect());
    }
    sets
}
