//! Files on their way to the object store.
//!
//! A file is read by queries from the disk until the object is known to be there: put under its own name, which nobody
//! else uses, and looked at afterwards, whatever the answer to the put was. Then the manifest says so, and the file goes;
//! its index stays on the disk. A copy of the manifest lies in the object store, so that a lost disk can be replaced.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    sync::PoisonError,
    time::Duration,
};

use devmesh_schema::Signal;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{
    Shared,
    files::{self, Remote},
    manifest::{self, Edit, Entry, Place, State},
};
use crate::{Error, front::disk::replace};

const TICK: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const MANIFEST: &str = "MANIFEST";

/// The thread's work: until the store closes.
pub(crate) fn run(shared: &Shared) {
    let Some(remote) = &shared.back.files.remote else { return };
    let mut pause = PAUSE;
    let mut written = Vec::new();
    // What cannot be done now is done at the next start.
    if let Err(error) = sweep(shared, remote) {
        tracing::debug!(%error, "no orphans were removed from the object store");
    }
    loop {
        let done = upload_all(shared, remote).and_then(|()| write_manifest(shared, remote, &mut written));
        let wait = match done {
            Ok(()) => {
                pause = PAUSE;
                TICK
            }
            Err(error) => {
                tracing::warn!(%error, "the object store cannot be written; files stay on the disk meanwhile");
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        if shared.wake.wait_stop(wait) {
            return;
        }
    }
}

/// Removes objects that a crash left between their being put and the manifest's line.
///
/// Only what has the name of a file of a table, and stood neither in the manifest at the start nor in its copy beside the
/// objects. Nothing is removed where the manifest had to be built again: then what it lacks may be rows.
fn sweep(shared: &Shared, remote: &Remote) -> Result<(), Error> {
    let Some(known) = shared.back.sweep.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
    let copy = shared.runtime.block_on(read_manifest(remote))?.map(|state| state.files).unwrap_or_default();
    let listed = remote.store.list(Some(&remote.path("tables"))).try_collect::<Vec<_>>();
    for object in shared.runtime.block_on(listed)? {
        let path = object.location.as_ref();
        let name = path.strip_prefix(remote.prefix.as_ref()).unwrap_or(path).trim_start_matches('/');
        if !files::is_name(name) || known.contains(name) || copy.contains_key(name) {
            continue;
        }
        if shared.closed() {
            return Ok(());
        }
        tracing::info!(object = path, bytes = object.size, "removing an object that the manifest does not name");
        shared.runtime.block_on(remote.store.delete(&object.location))?;
    }
    Ok(())
}

fn upload_all(shared: &Shared, remote: &Remote) -> Result<(), Error> {
    for signal in Signal::ALL {
        let files = shared.tables.snapshot(signal).files;
        for file in files.iter().filter(|file| file.entry.place == Place::Local) {
            if shared.closed() {
                return Ok(());
            }
            upload(shared, remote, &file.entry)?;
        }
    }
    Ok(())
}

fn upload(shared: &Shared, remote: &Remote, entry: &Entry) -> Result<(), Error> {
    let path = shared.back.files.local_path(&entry.path);
    let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
    let object = remote.path(&entry.path);
    let put = shared.runtime.block_on(remote.store.put(&object, PutPayload::from(bytes)));
    // An answer that was lost does not mean that the object is not there, nor an answer that it is.
    let there = shared.runtime.block_on(remote.store.head(&object));
    match (put, there) {
        (_, Ok(found)) if found.size == entry.size => {}
        (Err(error), _) | (Ok(_), Err(error)) => return Err(error.into()),
        (Ok(_), Ok(found)) => {
            let reason = format!("the object has {} bytes of {}", found.size, entry.size);
            return Err(Error::Format { path: object.as_ref().into(), reason });
        }
    }
    if let Some(place) = entry.index {
        let mut index = vec![0; usize::try_from(place.length).unwrap_or_default()];
        let mut file = fs::File::open(&path).map_err(Error::file("open", &path))?;
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.read_exact(&mut index))
            .map_err(Error::file("read", &path))?;
        replace(&shared.back.files.index_path(&entry.path), &index)?;
    }
    if !shared.manifest().state.files.contains_key(&entry.path) {
        // Merged or expired meanwhile.
        shared.runtime.block_on(remote.store.delete(&object))?;
        shared.back.files.remove_local(&entry.path, Place::Remote);
        return Ok(());
    }
    let moved = Entry { place: Place::Remote, ..entry.clone() };
    let edit = Edit { add: vec![moved], remove: vec![entry.path.clone()], ..Edit::default() };
    shared.replace_files(entry.meta.signal, edit)?;
    tracing::debug!(file = entry.path, bytes = entry.size, "a file is in the object store");
    Ok(())
}

/// Puts a copy of the manifest into the object store, if it has changed since.
fn write_manifest(shared: &Shared, remote: &Remote, written: &mut Vec<u8>) -> Result<(), Error> {
    let line = shared.manifest().state.to_line();
    if *written == line {
        return Ok(());
    }
    let payload = PutPayload::from(line.clone());
    shared.runtime.block_on(remote.store.put(&remote.path(MANIFEST), payload))?;
    *written = line;
    Ok(())
}

/// The copy of the manifest in the object store.
pub(crate) async fn read_manifest(remote: &Remote) -> Result<Option<State>, Error> {
    let path = remote.path(MANIFEST);
    let bytes = match remote.store.get(&path).await {
        Ok(object) => object.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(edit) = manifest::parse_line(bytes.strip_suffix(b"\n").unwrap_or(&bytes)) else {
        tracing::error!(object = %path, "the manifest in the object store is damaged");
        return Ok(None);
    };
    let mut state = State::default();
    state.apply(&edit);
    Ok(Some(state))
}
