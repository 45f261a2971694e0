//! The manifest built again from the files: each says in its own metadata which records of the log it holds.
//!
//! A file that was made of others covers a range of records that contains theirs; the others are what is left of an
//! earlier state and don't count. The files of a flush that a crash cut short don't count either, as long as the log
//! still has their records.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use devmesh_wal::Seq;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{
    files::{Files, Remote},
    manifest::{Entry, Meta, Place, State},
    quarantine, recover,
};
use crate::Error;

/// What the files say. `known`: what is left of the manifest; `trimmed`: the last record that the log no longer has.
pub(crate) fn state(
    files: &Files,
    known: &State,
    trimmed: Seq,
    runtime: &tokio::runtime::Handle,
) -> Result<State, Error> {
    let mut found = Vec::new();
    for path in recover::list(&files.root.join("tables"), 2)? {
        let Some(name) = path.strip_prefix(&files.root).ok().and_then(Path::to_str) else { continue };
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        if let Some(entry) = known.files.get(name).filter(|entry| is_as_known(entry, Place::Local, &path)) {
            found.push(entry.clone());
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => match describe(name, Place::Local, &bytes.into()) {
                Some(entry) => found.push(entry),
                None => drop(quarantine::move_away(files, name)?),
            },
            Err(error) => tracing::error!(file = name, %error, "cannot read a file"),
        }
    }
    if let Some(remote) = &files.remote {
        found.extend(runtime.block_on(remote_entries(remote, known))?);
    }
    Ok(State { horizon: known.horizon, ..choose(found, trimmed) })
}

fn is_as_known(entry: &Entry, place: Place, path: &Path) -> bool {
    entry.place == place && fs::metadata(path).is_ok_and(|found| found.len() == entry.size)
}

async fn remote_entries(remote: &Remote, known: &State) -> Result<Vec<Entry>, Error> {
    let objects: Vec<_> = remote.store.list(Some(&remote.path("tables"))).try_collect().await?;
    let mut found = Vec::new();
    for object in objects {
        let name = object.location.as_ref();
        let name = name.strip_prefix(remote.prefix.as_ref()).unwrap_or(name).trim_start_matches('/');
        let as_known = |entry: &&Entry| entry.place == Place::Remote && entry.size == object.size;
        if let Some(entry) = known.files.get(name).filter(as_known) {
            found.push(entry.clone());
            continue;
        }
        let bytes = remote.store.get(&object.location).await?.bytes().await?;
        match describe(name, Place::Remote, &bytes) {
            Some(entry) => found.push(entry),
            None => tracing::error!(object = %object.location, "an object is no file of a table: left alone"),
        }
    }
    Ok(found)
}

/// What a file says of itself; `None` where it is damaged.
fn describe(name: &str, place: Place, bytes: &Bytes) -> Option<Entry> {
    let metadata = quarantine::metadata(bytes)?;
    let rows = u64::try_from(metadata.file_metadata().num_rows()).ok()?;
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == Meta::KEY)?.value.as_ref()?;
    let (meta, index, time) = Meta::from_text(text)?;
    let checksum = xxhash_rust::xxh3::xxh3_64(bytes);
    Some(Entry { path: name.into(), place, size: bytes.len() as u64, rows, time, checksum, index: Some(index), meta })
}

/// The files that make up the newest state.
fn choose(mut found: Vec<Entry>, trimmed: Seq) -> State {
    let mut flushes: BTreeMap<(Seq, Seq), u32> = BTreeMap::new();
    // A file that was being moved to the object store lies in both places.
    found.sort_by(|a, b| (&a.path, a.place == Place::Local).cmp(&(&b.path, b.place == Place::Local)));
    found.dedup_by(|second, first| second.path == first.path);
    for entry in &found {
        if entry.meta.of > 0 {
            *flushes.entry((entry.meta.after, entry.meta.last)).or_default() += 1;
        }
    }
    let covers = |outer: &Entry, inner: &Entry| {
        outer.path != inner.path
            && outer.meta.of == 0
            && outer.partition() == inner.partition()
            && outer.meta.after <= inner.meta.after
            && outer.meta.last >= inner.meta.last
            && (inner.meta.of > 0 || (outer.meta.after, outer.meta.last) != (inner.meta.after, inner.meta.last))
    };
    let cut_short = |entry: &Entry| {
        entry.meta.of > flushes.get(&(entry.meta.after, entry.meta.last)).copied().unwrap_or_default()
            && entry.meta.last > trimmed
    };
    let kept = found.iter().filter(|entry| !cut_short(entry) && !found.iter().any(|outer| covers(outer, entry)));
    let files: BTreeMap<String, Entry> = kept.map(|entry| (entry.path.clone(), entry.clone())).collect();
    let last = files.values().map(|entry| entry.meta.last).max().unwrap_or_default();
    State { wal: last.max(trimmed), files, ..State::default() }
}
