//! The format of a data directory: which version it has, and the way from an older one to this one.
//!
//! The manifest's lines carry the version. A directory of an older one is converted when it is opened for writing, under
//! its lock, one step a version; each step can be repeated, and the manifest takes the new version when all are done. A
//! later version is refused.

use std::{fs, io, path::Path};

use object_store::ObjectStoreExt;
use xxhash_rust::xxh3::Xxh3;

use super::{
    files::{Files, Remote},
    manifest::{self, Entry, Found, Manifest, Place},
    quarantine,
};
use crate::Error;

/// A version of the format, and how a directory of the version before it becomes one.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) name: &'static str,
    /// Converts the directory. It may have been interrupted before.
    pub(crate) convert: fn(&Path) -> Result<(), Error>,
}

/// All of them.
pub(crate) const FORMATS: &[Format] = &[
    Format { version: 1, name: "log_parquet_manifest", convert: |_first| Ok(()) },
    // Files of the version before have their bodies whole, and are read as they are.
    Format { version: manifest::VERSION, name: "bodies_as_templates", convert: |_nothing| Ok(()) },
];

/// The version of a directory; `None` where there is no manifest, or none that can be read: then it is built from the
/// files, in this version.
pub(crate) fn version(root: &Path) -> Result<Option<u32>, Error> {
    let path = root.join("MANIFEST");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    // A later version may have lines that this one cannot read; the number is what stays.
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.get(17..));
    let number = |json| {
        let line: serde_json::Value = serde_json::from_slice(json).ok()?;
        u32::try_from(line.get("version")?.as_u64()?).ok()
    };
    Ok(lines.filter_map(number).max())
}

/// Brings a directory to the last of `formats`. The caller holds its lock. Answers the versions that were made.
pub(crate) fn bring_forward(root: &Path, formats: &[Format]) -> Result<Vec<u32>, Error> {
    let latest = formats.last().map_or(0, |format| format.version);
    let Some(found) = version(root)?.filter(|found| *found < latest) else { return Ok(Vec::new()) };
    let mut made = Vec::new();
    for format in formats.iter().filter(|format| format.version > found) {
        tracing::info!(directory = %root.display(), version = format.version, "bringing the data directory forward");
        (format.convert)(root)?;
        made.push(format.version);
    }
    // Its lines are of the older version; written anew, they are of this one.
    Manifest::open(root)?.0.rewrite()?;
    Ok(made)
}

/// What is wrong with the files of a directory, each with what was expected and what was found (`None`: nothing). The
/// caller holds its lock. Reads all of them.
pub(crate) async fn damage(
    root: &Path,
    remote: Option<Remote>,
) -> Result<Vec<(String, String, Option<String>)>, Error> {
    let mut damage = Vec::new();
    let (manifest, found) = Manifest::open(root)?;
    match found {
        Found::Whole { torn: 0 } => {}
        Found::Whole { torn } => {
            let found = format!("ends in {torn} bytes of a torn line, which the next start completes");
            damage.push(("MANIFEST".to_owned(), "whole lines".to_owned(), Some(found)));
        }
        Found::Damaged { line } => {
            let found = format!("line {line} is damaged; the next start builds it again");
            damage.push(("MANIFEST".to_owned(), "whole lines".to_owned(), Some(found)));
        }
        Found::Missing => damage.push(("MANIFEST".to_owned(), "whole lines".to_owned(), None)),
    }
    let files = Files::open(root, remote)?;
    for entry in manifest.state.files.values() {
        let whole = match entry.place {
            Place::Local => {
                let (files, entry) = (std::sync::Arc::clone(&files), entry.clone());
                let look = tokio::task::spawn_blocking(move || local(&files, &entry));
                look.await.map_err(|_panic| Error::NotReady("reading a file failed".into()))??
            }
            Place::Remote => remotely(&files, entry).await?,
        };
        let expected = format!("{} bytes with checksum {:016x}", entry.size, entry.checksum);
        match whole {
            Whole::Yes => {}
            Whole::Gone => damage.push((entry.path.clone(), expected, None)),
            Whole::Other(found) => damage.push((entry.path.clone(), expected, Some(found))),
        }
    }
    Ok(damage)
}

enum Whole {
    Yes,
    Gone,
    Other(String),
}

fn local(files: &Files, entry: &Entry) -> Result<Whole, Error> {
    let path = files.local_path(&entry.path);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Whole::Gone),
        Err(error) => Err(Error::file("read", path)(error)),
        Ok(found) if found.len() != entry.size => Ok(Whole::Other(format!("{} bytes", found.len()))),
        Ok(_) if quarantine::is_whole(files, entry)? => Ok(Whole::Yes),
        Ok(_) => Ok(Whole::Other(format!("{} bytes with another checksum", entry.size))),
    }
}

async fn remotely(files: &Files, entry: &Entry) -> Result<Whole, Error> {
    use futures::TryStreamExt;
    let store = files.object_store(Place::Remote);
    let object = match store.get(&files.object_path(entry)).await {
        Ok(object) => object,
        Err(object_store::Error::NotFound { .. }) => return Ok(Whole::Gone),
        Err(error) => return Err(error.into()),
    };
    if object.meta.size != entry.size {
        return Ok(Whole::Other(format!("{} bytes", object.meta.size)));
    }
    let (mut sum, mut stream) = (Xxh3::new(), object.into_stream());
    while let Some(bytes) = stream.try_next().await? {
        sum.update(&bytes);
    }
    Ok(match sum.digest() == entry.checksum {
        true => Whole::Yes,
        false => Whole::Other(format!("{} bytes with another checksum", entry.size)),
    })
}

/// What of a directory is ours: files and directories below it that a reset deletes, with their bytes.
pub(crate) fn ours(root: &Path) -> Result<Vec<(&'static str, u64)>, Error> {
    let mut found = Vec::new();
    let templates = ["TEMPLATES", "TEMPLATES.tmp", "TEMPLATES.damaged"];
    let others = ["MANIFEST", "MANIFEST.tmp", "BATCHES", "BATCHES.tmp", "tables", "wal", "quarantine", "spill"];
    for name in others.into_iter().chain(templates) {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(file) if file.is_dir() => found.push((name, bytes_below(&path)?)),
            Ok(file) => found.push((name, file.len())),
            Err(_absent) => {}
        }
    }
    Ok(found)
}

fn bytes_below(directory: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for path in super::recover::list(directory, 3)? {
        bytes += fs::metadata(&path).map_or(0, |file| file.len());
    }
    Ok(bytes)
}

/// Takes the lock of a directory, runs `work` and lets go of it.
pub(crate) fn lock(root: &Path) -> Result<fs::File, Error> {
    crate::front::disk::lock(root)
}
