//! The files of the tables: where they lie, how they come to lie there, and when they go.
//!
//! A file is always written to the data directory first: a temporary name, fsync, rename, fsync of the directory. With
//! `s3://` it is then put into the bucket in the background ([`super::upload`]); until that has succeeded it is read
//! from the disk, so that an object store that is away for hours costs neither memory nor acknowledged rows.
//!
//! A file that is replaced stays until the last query that reads it is done.

use std::{
    any::Any,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path as FsPath, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use devmesh_schema::{Signal, TimestampNs};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};

use super::{
    index::{Header, PREFIX, Question},
    manifest::{Entry, Place},
    summary::Summary,
};
use crate::{Error, Filter, ParquetFile, front::disk::sync_directory_of};

/// The object store and the prefix of `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
}

impl Remote {
    pub(crate) fn path(&self, path: &str) -> Path {
        if self.prefix.as_ref().is_empty() { Path::from(path) } else { Path::from(format!("{}/{path}", self.prefix)) }
    }
}

/// Where files lie.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    pub(crate) local: Arc<dyn ObjectStore>,
    pub(crate) remote: Option<Remote>,
    /// Replaced files that nobody reads any more.
    trash: Mutex<Vec<Entry>>,
}

/// An index's header and where its filters begin; `None` where there is none that is whole.
type ReadHeader = Option<Arc<(Header, usize)>>;

/// A live file, or one that queries still read.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) entry: Entry,
    files: Arc<Files>,
    obsolete: AtomicBool,
    /// Once read.
    header: Mutex<Option<ReadHeader>>,
}

impl StoredFile {
    /// To be deleted when nobody reads it any more.
    pub(crate) fn obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// How the engine reads it; `None` where none of its rows can match. Reads the index: blocking, some microseconds.
    pub(crate) fn select(&self, filters: &[Filter]) -> Option<ParquetFile> {
        let file = |selection| {
            Some(ParquetFile {
                path: self.files.object_path(&self.entry),
                size: self.entry.size,
                rows: self.entry.rows,
                time: self.entry.time,
                selection,
                by_template: false,
            })
        };
        if filters.is_empty() {
            return file(None);
        }
        let Some(header) = self.header() else { return file(None) };
        let (header, start) = &*header;
        let clauses = match header.question(filters) {
            Question::Never => return None,
            Question::Clauses(clauses) if clauses.is_empty() => return file(None),
            Question::Clauses(clauses) => clauses,
        };
        let reader = match self.index_reader() {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(file = self.entry.path, %error, "cannot read an index: all rows of the file are read");
                return file(None);
            }
        };
        let block = |at: u64| {
            let mut block = [0; 32];
            reader.file.read_exact_at(&mut block, reader.offset + *start as u64 + at).map(|()| block)
        };
        match header.select(&clauses, block) {
            Ok(rows) if rows.is_empty() => None,
            Ok(rows) if rows.len() == 1 && rows[0] == (0..usize::try_from(self.entry.rows).unwrap_or_default()) => {
                file(None)
            }
            Ok(rows) => file(Some(rows)),
            Err(error) => {
                tracing::warn!(file = self.entry.path, %error, "cannot read an index: all rows of the file are read");
                file(None)
            }
        }
    }

    /// How many rows it has of what; `None` where it does not say, or its index is damaged. Reads: blocking.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let header = self.header()?;
        let (header, start) = &*header;
        let (at, length) = header.summary()?;
        let reader = self.index_reader().ok()?;
        let mut bytes = vec![0; length];
        reader.file.read_exact_at(&mut bytes, reader.offset + *start as u64 + at).ok()?;
        let summary = Summary::decode(&bytes);
        if summary.is_none() {
            tracing::warn!(file = self.entry.path, "a summary is damaged: all rows of the file are read");
        }
        summary
    }

    fn header(&self) -> Option<Arc<(Header, usize)>> {
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        header.get_or_insert_with(|| self.read_header().map(Arc::new)).clone()
    }

    fn read_header(&self) -> Option<(Header, usize)> {
        let reader = self.index_reader().ok()?;
        let mut prefix = [0; PREFIX];
        reader.file.read_exact_at(&mut prefix, reader.offset).ok()?;
        let length = Header::length(&prefix)?;
        if length as u64 > reader.length {
            return None;
        }
        let mut bytes = vec![0; PREFIX + length];
        reader.file.read_exact_at(&mut bytes, reader.offset).ok()?;
        let header = Header::parse(&bytes);
        if header.is_none() {
            tracing::warn!(file = self.entry.path, "an index is damaged: all rows of the file are read");
        }
        header
    }

    /// The file that has the index: itself, or the copy that stays on the disk of a file in the object store.
    fn index_reader(&self) -> io::Result<IndexReader> {
        let place = self.entry.index.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let (path, offset) = match self.entry.place {
            Place::Local => (self.files.local_path(&self.entry.path), place.offset),
            Place::Remote => (self.files.index_path(&self.entry.path), 0),
        };
        Ok(IndexReader { file: File::open(path)?, offset, length: place.length })
    }
}

struct IndexReader {
    file: File,
    offset: u64,
    length: u64,
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            let mut trash = self.files.trash.lock().unwrap_or_else(PoisonError::into_inner);
            trash.push(self.entry.clone());
        }
    }
}

/// What keeps files from being deleted.
pub(crate) fn pin(files: Vec<Arc<StoredFile>>) -> Arc<dyn Any + Send + Sync> {
    Arc::new(files)
}

impl Files {
    /// # Errors
    /// The directory cannot be used.
    pub(crate) fn open(root: &FsPath, remote: Option<Remote>) -> Result<Arc<Self>, Error> {
        fs::create_dir_all(root.join("tables")).map_err(Error::file("create", root.join("tables")))?;
        let root = root.canonicalize().map_err(Error::file("open", root))?;
        let local = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Arc::new(Self { root, local: Arc::new(local), remote, trash: Mutex::default() }))
    }

    pub(crate) fn stored(self: &Arc<Self>, entry: Entry) -> Arc<StoredFile> {
        Arc::new(StoredFile {
            entry,
            files: Arc::clone(self),
            obsolete: AtomicBool::new(false),
            header: Mutex::default(),
        })
    }

    pub(crate) fn local_path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Where the index of a file in the object store is kept.
    pub(crate) fn index_path(&self, path: &str) -> PathBuf {
        self.root.join(path).with_extension("index")
    }

    /// The object store that has files of a place.
    pub(crate) fn object_store(&self, place: Place) -> Arc<dyn ObjectStore> {
        match (place, &self.remote) {
            (Place::Remote, Some(remote)) => Arc::clone(&remote.store),
            _ => Arc::clone(&self.local),
        }
    }

    pub(crate) fn object_path(&self, entry: &Entry) -> Path {
        match (entry.place, &self.remote) {
            (Place::Remote, Some(remote)) => remote.path(&entry.path),
            _ => Path::from(entry.path.as_str()),
        }
    }

    /// Makes the directory of `path` and gives a name beside it to write to.
    pub(crate) fn temporary(&self, path: &str) -> Result<PathBuf, Error> {
        let target = self.local_path(path);
        let directory = target.parent().unwrap_or(&self.root);
        if !directory.is_dir() {
            fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
            // The entries of the new directories: of the day in its table, of the table in `tables`.
            sync_directory_of(directory)?;
            if let Some(parent) = directory.parent() {
                sync_directory_of(parent)?;
            }
        }
        let temporary = target.with_extension("tmp");
        match fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("remove", &temporary)(error)),
        }
        Ok(temporary)
    }

    /// Gives a file that was written and synced its name.
    pub(crate) fn publish(&self, temporary: &FsPath, path: &str) -> Result<(), Error> {
        let target = self.local_path(path);
        fs::rename(temporary, &target).map_err(Error::file("rename", temporary))?;
        sync_directory_of(&target)
    }

    /// Deletes what was replaced and is read no longer. What cannot be deleted now is tried again at the next start.
    pub(crate) async fn empty_trash(&self) {
        let trash = std::mem::take(&mut *self.trash.lock().unwrap_or_else(PoisonError::into_inner));
        for entry in trash {
            if entry.place == Place::Remote
                && let Some(remote) = &self.remote
                && let Err(error) = remote.store.delete(&remote.path(&entry.path)).await
            {
                tracing::warn!(file = entry.path, %error, "cannot delete a replaced file in the object store");
            }
            // A file that has gone to the object store leaves its index here; it goes with the object.
            self.remove_local(&entry.path, entry.place);
        }
    }

    /// Removes what lies on the disk of a file.
    pub(crate) fn remove_local(&self, path: &str, place: Place) {
        let target = match place {
            Place::Local => self.local_path(path),
            Place::Remote => self.index_path(path),
        };
        match fs::remove_file(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %target.display(), %error, "cannot delete a replaced file"),
        }
        if let Some(directory) = target.parent() {
            // Succeeds only for an empty one.
            drop(fs::remove_dir(directory));
        }
    }
}

/// The path of a new file for rows of a day.
pub(crate) fn new_path(table: &str, day: &str) -> String {
    format!("tables/{table}/{day}/{}.parquet", uuid::Uuid::new_v4().simple())
}

/// Whether it is a path that [`new_path`] gives.
pub(crate) fn is_name(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let ["tables", table, _day, file] = parts.as_slice() else { return false };
    let id = file.strip_suffix(".parquet").unwrap_or_default();
    Signal::ALL.iter().any(|signal| signal.table() == *table)
        && id.len() == 32
        && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The UTC day of a time, as `2026-11-21`.
pub(crate) fn day_name(day: i64) -> String {
    let time = day.saturating_mul(DAY_NS);
    devmesh_schema::time::format(time).get(..10).unwrap_or("unknown").to_owned()
}

/// Nanoseconds of a day.
pub(crate) const DAY_NS: TimestampNs = 86_400_000_000_000;
