//! Setting damaged things aside: they are kept for whoever wants to look, counted, and read no more.

use std::{
    fs::{self, File},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use devmesh_schema::Signal;
use object_store::ObjectStoreExt;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use xxhash_rust::xxh3::Xxh3;

use super::{
    Shared,
    files::Files,
    manifest::{Edit, Entry, Manifest, Place},
    recover::forget,
};
use crate::Error;

/// How much was set aside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Looks at the sizes of all files that the manifest names; those that are missing or have another go out of it.
pub(crate) fn check_all(files: &Files, manifest: &mut Manifest) -> Result<Count, Error> {
    let mut count = Count::default();
    let mut gone = Vec::new();
    for entry in manifest.state.files.values().filter(|entry| entry.place == Place::Local) {
        let path = files.local_path(&entry.path);
        match fs::metadata(&path) {
            Ok(found) if found.len() == entry.size => continue,
            Ok(found) => {
                tracing::error!(file = entry.path, found = found.len(), expected = entry.size, "a file is damaged");
                move_away(files, &entry.path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(file = entry.path, rows = entry.rows, "a file is missing");
            }
            Err(error) => return Err(Error::file("read", path)(error)),
        }
        count.files += 1;
        count.bytes += entry.size;
        gone.push(entry.path.clone());
    }
    forget(manifest, gone)?;
    Ok(count)
}

/// Moves a file of a table to `quarantine/`.
pub(crate) fn move_away(files: &Files, path: &str) -> Result<PathBuf, Error> {
    let directory = files.root.join("quarantine");
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let target = directory.join(path.replace('/', "_"));
    let source = files.local_path(path);
    fs::rename(&source, &target).map_err(Error::file("move to quarantine", &source))?;
    tracing::error!(file = path, copy = %target.display(), "a damaged file was set aside");
    Ok(target)
}

/// Keeps a copy of a damaged manifest.
pub(crate) fn keep_manifest(root: &Path) -> Result<PathBuf, Error> {
    let directory = root.join("quarantine");
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let target = directory.join(format!("MANIFEST-{}", uuid::Uuid::new_v4().simple()));
    fs::copy(root.join("MANIFEST"), &target).map_err(Error::file("copy", root.join("MANIFEST")))?;
    Ok(target)
}

/// The footer of a Parquet file; `None` where it is damaged in whatever way.
pub(crate) fn metadata(bytes: &Bytes) -> Option<ParquetMetaData> {
    // The reader is known to panic on some damage.
    let read =
        || ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip).parse_and_finish(bytes).ok();
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// Whether a file on the disk has the bytes that were written.
pub(crate) fn is_whole(files: &Files, entry: &Entry) -> Result<bool, Error> {
    let path = files.local_path(&entry.path);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    let (mut sum, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum.digest() == entry.checksum),
            Ok(read) => sum.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
    }
}

/// Checks a live file, sets it aside if it is damaged; answers whether it was.
pub(crate) fn check(shared: &Shared, entry: &Entry) -> Result<bool, Error> {
    let whole = match (entry.place, &shared.back.files.remote) {
        (Place::Remote, Some(remote)) => {
            let path = remote.path(&entry.path);
            match shared.runtime.block_on(async { remote.store.get(&path).await?.bytes().await }) {
                Ok(bytes) => xxhash_rust::xxh3::xxh3_64(&bytes) == entry.checksum,
                Err(object_store::Error::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            }
        }
        _ => is_whole(&shared.back.files, entry)?,
    };
    if !whole {
        set_aside(shared, entry)?;
    }
    Ok(!whole)
}

/// Takes a damaged file out of its table. The file is kept: on the disk in `quarantine/`, in the object store where it is.
pub(crate) fn set_aside(shared: &Shared, entry: &Entry) -> Result<(), Error> {
    let mut manifest = shared.manifest();
    if !manifest.state.files.contains_key(&entry.path) {
        return Ok(());
    }
    tracing::error!(file = entry.path, rows = entry.rows, "a file is damaged: its rows are lost to queries");
    let signal = entry.meta.signal;
    let remove = vec![entry.path.clone()];
    manifest.commit(Edit { remove: remove.clone(), ..Edit::default() })?;
    let local = entry.place == Place::Local && shared.back.files.local_path(&entry.path).exists();
    let moved = if local { move_away(&shared.back.files, &entry.path).map(drop) } else { Ok(()) };
    // Who sees the table without the file sees that it was set aside, and the other way round.
    let mut tables = shared.tables.lock();
    tables.live.replace(signal, Vec::new(), &remove);
    shared.count_quarantined(1, entry.size);
    drop(tables);
    moved
}

/// Checks the live file of a name that a query failed to read; answers whether it is no longer live.
pub(crate) fn check_named(shared: &Shared, path: &object_store::path::Path) -> bool {
    let named = |name: &str| path.as_ref() == name || path.as_ref().ends_with(&format!("/{name}"));
    let mut files = Signal::ALL.into_iter().flat_map(|signal| shared.tables.snapshot(signal).files.to_vec());
    let Some(file) = files.find(|file| named(&file.entry.path)) else { return true };
    check(shared, &file.entry).unwrap_or_else(|error| {
        tracing::error!(file = file.entry.path, %error, "cannot check a file");
        false
    })
}
