//! The files beside the segments: `LOCK`, `ID` and `TRIM`, and what makes a directory's entries durable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{Error, Seq, frame::LogId};

const TRIM_BYTES: usize = 32;

/// A directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
    trim: File,
    pub(crate) id: LogId,
    lock: File,
}

impl Directory {
    /// Makes the directory where it is missing, locks it, reads its identity or gives it one.
    ///
    /// `known` is asked for the identity by the segments' own headers where the file `ID` is missing or damaged.
    pub(crate) fn open(path: &Path, known: impl FnOnce(&Path) -> Option<LogId>) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::io("create directory", path))?;
        let lock_path = path.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(Error::io("open lock", &lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: lock_path }),
            Err(errno) => return Err(Error::io("lock", lock_path)(errno.into())),
        }
        remove_temporaries(path)?;
        let handle = File::open(path).map_err(Error::io("open directory", path))?;
        let id = identity(path, &handle, known)?;
        let trim_path = path.join("TRIM");
        let trim = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&trim_path)
            .map_err(Error::io("open", &trim_path))?;
        handle.sync_all().map_err(Error::io("sync directory", path))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The directory's own entry. Not every parent can be opened; then it's the administrator's directory.
            if let Ok(parent) = File::open(parent) {
                parent.sync_all().map_err(Error::io("sync directory", path))?;
            }
        }
        Ok(Self { path: path.into(), handle, trim, id, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes created, renamed and removed entries durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Up to which record the log is done with; `None` where that is no longer known.
    pub(crate) fn trimmed(&self) -> Option<Seq> {
        if self.trim.metadata().is_ok_and(|file| file.len() == 0) {
            return Some(0);
        }
        let mut bytes = [0; TRIM_BYTES];
        let read = self.trim.read_exact_at(&mut bytes, 0);
        let (content, crc) = bytes.split_at(TRIM_BYTES - 4);
        if read.is_err() || crc != crc32fast::hash(content).to_le_bytes() || content[..16] != self.id.0 {
            tracing::warn!(directory = %self.path.display(), "the file TRIM is damaged: trimmed records come again");
            return None;
        }
        let mut seq = [0; 8];
        seq.copy_from_slice(&content[16..24]);
        Some(Seq::from_le_bytes(seq))
    }

    /// Notes the record up to which the log is done with. Not synced: what is lost of it only means that records come
    /// again. See [`Self::sync_trimmed`].
    pub(crate) fn note_trimmed(&self, seq: Seq) -> io::Result<()> {
        let mut bytes = [0; TRIM_BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&seq.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..TRIM_BYTES - 4]);
        bytes[TRIM_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        self.trim.write_all_at(&bytes, 0)
    }

    /// Must come before a segment is removed: from then on only this file keeps its numbers from being given again.
    pub(crate) fn sync_trimmed(&self) -> io::Result<()> {
        self.trim.sync_data()
    }

    /// Where copies of damaged files go.
    pub(crate) fn quarantine(&self) -> Quarantine {
        Quarantine(Some(self.path.join("quarantine")))
    }
}

/// Keeps copies of damaged files.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine(Option<PathBuf>);

impl Quarantine {
    /// Keeps nothing, for a trial.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Copies a damaged file, once. `None` where that is impossible (said in the log).
    pub(crate) fn keep(&self, file: &Path) -> Option<PathBuf> {
        let directory = self.0.as_deref()?;
        match copy_once(file, directory) {
            Ok(copy) => Some(copy),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "cannot keep a copy of a damaged segment");
                None
            }
        }
    }
}

/// Copies under the file's own name, or that with a number where another file has it.
fn copy_once(file: &Path, directory: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    for number in 0.. {
        let target = directory.join(if number == 0 { name.to_string() } else { format!("{name}.{number}") });
        match fs::symlink_metadata(&target) {
            Ok(_) if same_content(file, &target)? => return Ok(target),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if fs::copy(file, &target).is_err() {
            // No space for a copy; another name for the file outlives the segment as well.
            match fs::remove_file(&target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::hard_link(file, &target)?,
            }
        }
        File::open(&target)?.sync_all()?;
        File::open(directory)?.sync_all()?;
        return Ok(target);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < length {
        let count = (length - at).min(a.len() as u64) as usize;
        one.read_exact_at(&mut a[..count], at)?;
        other.read_exact_at(&mut b[..count], at)?;
        if a[..count] != b[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// What a crash in the middle of creating a segment leaves behind.
fn remove_temporaries(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let file = entry.map_err(Error::io("list", path))?.path();
        if file.extension().is_some_and(|extension| extension == "tmp") && file.is_file() {
            fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        }
    }
    Ok(())
}

fn identity(path: &Path, handle: &File, known: impl FnOnce(&Path) -> Option<LogId>) -> Result<LogId, Error> {
    let file = path.join("ID");
    match fs::read_to_string(&file) {
        Ok(text) => {
            if let Ok(id) = text.trim().parse() {
                return Ok(id);
            }
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
        Err(error) => return Err(Error::io("read", file)(error)),
    }
    let id = match known(path) {
        Some(id) => id,
        None => random_id()?,
    };
    let temporary = path.join("ID.tmp");
    let mut out = File::create(&temporary).map_err(Error::io("create", &temporary))?;
    out.write_all(format!("{id}\n").as_bytes()).map_err(Error::io("write", &temporary))?;
    out.sync_all().map_err(Error::io("sync", &temporary))?;
    fs::rename(&temporary, &file).map_err(Error::io("rename", &temporary))?;
    handle.sync_all().map_err(Error::io("sync directory", path))?;
    Ok(id)
}

fn random_id() -> Result<LogId, Error> {
    let source = Path::new("/dev/urandom");
    let mut id = [0; 16];
    let mut file = File::open(source).map_err(Error::io("open", source))?;
    file.read_exact(&mut id).map_err(Error::io("read", source))?;
    Ok(LogId(id))
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A process that is being started may still have a copy of the handle: closing it does not unlock.
        if let Err(errno) = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock) {
            tracing::warn!(%errno, "the log's directory stays locked until the process ends");
        }
    }
}
