//! Opening: what is on disk, in whatever state, becomes a store.
//!
//! The manifest says which files are live. Files that it does not name are what a crash left: they go. Files that it
//! names and that are missing, or have another size, are set aside and counted. A manifest that is gone or damaged is
//! built again from the files ([`super::rebuild`]). Then the log's records beyond the manifest's are decoded again
//! ([`crate::front::open`]).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use devmesh_wal::{Log, Recovery};

use super::{
    Disk, Shared,
    files::{Files, Remote, StoredFile},
    format, maintain,
    manifest::{Edit, Found, Manifest, Place, State},
    quarantine, rebuild,
    snapshot::Live,
    upload,
};
use crate::{
    Error,
    front::{
        Front, disk,
        open::{Ground, prepare, replay, wal_options},
    },
    settings::Settings,
};

/// Opens the embedded store in `root`; its files go to `remote` where there is one.
pub(crate) async fn open(
    settings: Settings,
    root: PathBuf,
    remote: Option<Remote>,
    name: String,
) -> Result<Front<Disk>, Error> {
    let runtime = tokio::runtime::Handle::current();
    let opened = tokio::task::spawn_blocking(move || {
        let (shared, log, recovery) = load(settings, &root, remote, runtime)?;
        let store = Front::begin(shared, log, name)?;
        replay(&store.shared, recovery)?;
        store.start("maintain", maintain::run)?;
        if store.shared.back.files.remote.is_some() {
            store.start("upload", upload::run)?;
        }
        Ok(store)
    });
    opened.await.map_err(|_panic| Error::NotReady("opening the store failed".into()))?
}

/// Everything but the rows of the log.
fn load(
    settings: Settings,
    root: &Path,
    remote: Option<Remote>,
    runtime: tokio::runtime::Handle,
) -> Result<(Arc<Shared>, Log, Recovery), Error> {
    let lock = disk::lock(root)?;
    format::bring_forward(root, format::FORMATS)?;
    let files = Files::open(root, remote)?;
    let root = files.root.clone();
    remove_temporaries(&root)?;
    let (log, recovery) = devmesh_wal::open(&root.join("wal"), wal_options(&settings.wal))?;
    let (mut manifest, was) = manifest(&files, &log, &runtime)?;
    let sweep = (was == Was::Whole).then(|| manifest.state.files.keys().cloned().collect());
    let missing = quarantine::check_all(&files, &mut manifest)?;
    remove_orphans(&files, &manifest.state)?;
    let mut live: [Vec<Arc<StoredFile>>; 3] = Default::default();
    for entry in manifest.state.files.values() {
        live[entry.meta.signal as usize].push(files.stored(entry.clone()));
    }
    let State { wal, horizon, .. } = manifest.state;
    let (shared, log, recovery) = prepare(Ground {
        settings,
        root,
        lock,
        log,
        recovery,
        stored: wal,
        bound: None,
        back: Disk { files, manifest: Mutex::new(manifest), sweep: Mutex::new(sweep) },
        live: Live::new(live, horizon),
        runtime,
    })?;
    shared.count_quarantined(missing.files + u64::from(was == Was::Damaged), missing.bytes);
    Ok((shared, log, recovery))
}

/// How the manifest was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    Whole,
    /// Cut short, or not there.
    Incomplete,
    Damaged,
}

/// The manifest, built again where that is needed.
fn manifest(files: &Files, log: &Log, runtime: &tokio::runtime::Handle) -> Result<(Manifest, Was), Error> {
    let (mut manifest, found) = Manifest::open(&files.root)?;
    let was = match found {
        Found::Whole { torn: 0 } if log.trimmed() <= manifest.state.wal => return Ok((manifest, Was::Whole)),
        Found::Whole { torn } => {
            // A line that a crash tore names files that are whole all the same, and one that was whole before it was
            // damaged may name files whose records the log no longer has: the files themselves tell.
            tracing::warn!(bytes = torn, "the manifest lacks its end: completed from the files");
            Was::Incomplete
        }
        Found::Missing => Was::Incomplete,
        Found::Damaged { line } => {
            let copy = quarantine::keep_manifest(&files.root)?;
            tracing::error!(line, copy = %copy.display(), "the manifest is damaged: built again from the files");
            Was::Damaged
        }
    };
    let missing = manifest.state.files.is_empty() && was != Was::Damaged;
    if let Some(remote) = &files.remote
        && missing
        && let Some(state) = runtime.block_on(upload::read_manifest(remote))?
    {
        tracing::warn!(files = state.files.len(), "no manifest in the data directory: taken from the object store");
        manifest.state = state;
    } else {
        manifest.state = rebuild::state(files, &manifest.state, log.trimmed(), runtime)?;
        let files = manifest.state.files.len();
        if files > 0 {
            tracing::warn!(files, "the manifest was built again from the files");
        }
    }
    manifest.rewrite()?;
    Ok((manifest, was))
}

/// What a crash in the middle of writing leaves.
fn remove_temporaries(root: &Path) -> Result<(), Error> {
    let left = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
    for path in list(root, 0)?.into_iter().chain(list(&root.join("tables"), 2)?).filter(left) {
        tracing::info!(file = %path.display(), "removing what a crash left of a file");
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
    }
    Ok(())
}

/// Files of tables that the manifest does not name.
fn remove_orphans(files: &Files, state: &State) -> Result<(), Error> {
    for path in list(&files.root.join("tables"), 2)? {
        let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else { continue };
        let place = match extension {
            "parquet" => Place::Local,
            "index" => Place::Remote,
            _ => continue,
        };
        let parquet = path.with_extension("parquet");
        let Some(name) = parquet.strip_prefix(&files.root).ok().and_then(Path::to_str) else { continue };
        if state.files.get(name).is_none_or(|entry| entry.place != place) {
            tracing::info!(file = %path.display(), "removing a file that the manifest does not name");
            files.remove_local(name, place);
        }
    }
    Ok(())
}

/// The files below a directory, at most `depth` directories down. What cannot be read is left alone.
pub(crate) fn list(directory: &Path, depth: usize) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            tracing::warn!(directory = %directory.display(), %error, "left alone");
            return Ok(found);
        }
        Err(error) => return Err(Error::file("list", directory)(error)),
    };
    for entry in entries {
        let path = entry.map_err(Error::file("list", directory))?.path();
        if path.is_file() {
            found.push(path);
        } else if depth > 0 && path.is_dir() && !path.is_symlink() {
            found.extend(list(&path, depth - 1)?);
        }
    }
    Ok(found)
}

/// Writes down that files are gone.
pub(crate) fn forget(manifest: &mut Manifest, paths: Vec<String>) -> Result<(), Error> {
    if paths.is_empty() {
        return Ok(());
    }
    manifest.commit(Edit { remove: paths, ..Edit::default() })
}
