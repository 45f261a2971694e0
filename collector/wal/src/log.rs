//! The log: opening a directory, appending groups of records, trimming.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    CommitError, Error, Options, Reader, Record, Recovery, Replay, Seq,
    directory::Directory,
    frame::{HEADER, LogId, SegmentHeader, VERSION, extent},
    recovery,
    segment::{Active, Sealed, parse_name},
};

/// The length of a payload is a u32 and a record is read into memory whole.
const RECORD_BYTES: u64 = 1 << 30;

/// A log that this process alone uses. Belongs to one thread; see [`crate::GroupCommit`].
#[derive(Debug)]
pub struct Log {
    directory: Directory,
    options: Options,
    sealed: VecDeque<Sealed>,
    active: Option<Active>,
    generation: u64,
    next: Seq,
    trimmed: Seq,
    /// Where a failed commit's bytes could not be cut off yet. The segments after it make them void; so none of those
    /// is removed before.
    uncut: Option<Sealed>,
    /// Counts segments begun, from 1, for readers.
    begun: Arc<AtomicU64>,
}

/// Opens the log in `dir`, which is made where it is missing.
///
/// The [`Recovery`] gives all records that were not trimmed, and may be read before, while or after new ones are
/// appended; trimming may overtake it.
///
/// # Errors
/// The directory is in use, cannot be read or written, holds a segment of another log or of a later version of the
/// format, or is damaged and `options.replay` is [`Replay::Strict`].
pub fn open(dir: &Path, options: Options) -> Result<(Log, Recovery), Error> {
    let directory = Directory::open(dir, |dir| {
        let headers = list(dir).ok()?.into_iter().filter_map(|path| read_header(&path).ok().flatten());
        headers.map(|header| header.log).next()
    })?;
    let mut segments = Vec::new();
    for path in list(dir)? {
        if let Some(segment) = identify(&path, directory.id)? {
            segments.push(segment);
        }
    }
    segments.sort_by_key(|segment| (segment.generation, !segment.proper_name));
    let duplicates = remove_duplicates(&directory, &mut segments);
    // Where that is not known any more, the segments that are left say it.
    let oldest = segments.first().map_or(0, |segment| segment.first.saturating_sub(1));
    let trimmed = directory.trimmed().unwrap_or(oldest);
    let opened = recovery::open_segments(&directory, segments, trimmed, options.replay)?;
    let recovery = opened.recovery(trimmed, duplicates);
    if options.replay == Replay::Strict {
        recovery.verify()?;
    }
    let options = Options { segment_bytes: options.segment_bytes.min(options.max_bytes / 2), ..options };
    let mut log = Log {
        directory,
        options,
        next: opened.next,
        sealed: opened.segments,
        active: None,
        generation: opened.generation.saturating_add(1),
        trimmed,
        uncut: None,
        begun: Arc::new(AtomicU64::new(1)),
    };
    log.remove_trimmed();
    Ok((log, recovery))
}

impl Log {
    /// The number that the next record gets.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// The record up to which the log is done with.
    pub fn trimmed(&self) -> Seq {
        self.trimmed
    }

    /// Bytes on disk, with the space reserved for the segment being written.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.as_ref().map_or(0, Active::capacity)
    }

    /// Segments on disk.
    pub fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.active.is_some())
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Makes sure that the next record's number is greater than `seq`, and counts everything up to `seq` as trimmed.
    /// For an owner who knows of numbers that the directory has lost.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn advance_past(&mut self, seq: Seq) -> Result<(), Error> {
        if seq < self.next {
            return Ok(());
        }
        self.seal();
        self.next = seq.saturating_add(1);
        self.trim(seq).map_err(Error::io("trim", self.directory.path()))?;
        self.directory.sync_trimmed().map_err(Error::io("sync", self.directory.path().join("TRIM")))
    }

    /// A reader of committed records, from number `from` on.
    pub fn reader(&self, from: Seq) -> Reader {
        Reader::new(self.directory.path().into(), self.directory.id, from, Arc::clone(&self.begun))
    }

    /// The longest record that can ever fit.
    pub fn max_record(&self) -> u64 {
        RECORD_BYTES.min((self.options.max_bytes / 2).saturating_sub(HEADER + extent(0)))
    }

    /// Appends a group and makes it durable. All of it, or nothing: after an error none of it comes back.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`]: the disk's answer, or that the log is full. The next call tries again.
    pub fn append(&mut self, records: &[Record]) -> Result<Range<Seq>, CommitError> {
        let first = self.next;
        let end = first.checked_add(records.len() as u64).ok_or_else(|| {
            CommitError::Unavailable("write the log: the sequence numbers are used up; begin a new directory".into())
        })?;
        match self.try_append(records) {
            Ok(()) => {}
            Err(AppendError::Disk(error)) => {
                tracing::warn!(directory = %self.directory.path().display(), %error, "commit failed, trying a new segment");
                self.try_append(records).map_err(CommitError::from)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.next = end;
        Ok(first..self.next)
    }

    fn try_append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        let bytes = records.iter().map(|record| extent(record.len() as u64)).sum();
        if self.active.as_ref().is_some_and(|active| !active.fits(bytes)) {
            self.seal();
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin(bytes)?,
        };
        match active.append(records, self.options.durability) {
            Ok(()) => {
                self.active = Some(active);
                Ok(())
            }
            Err(error) => {
                self.abandon(active.abandon());
                Err(AppendError::Disk(error))
            }
        }
    }

    fn begin(&mut self, bytes: u64) -> Result<Active, AppendError> {
        self.retry_cut();
        let capacity = self.options.segment_bytes.max(HEADER + bytes);
        if self.bytes() + capacity > self.options.max_bytes {
            return Err(AppendError::Limit { used: self.bytes(), max: self.options.max_bytes });
        }
        let generation = self.generation;
        self.generation += 1;
        let active = Active::create(&self.directory, generation, self.next, capacity).map_err(AppendError::Create)?;
        self.begun.fetch_add(1, Ordering::Release);
        Ok(active)
    }

    /// Ends the segment being written; the next record begins another.
    pub(crate) fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            self.retire(active.seal());
        }
    }

    fn retire(&mut self, segment: Sealed) {
        if segment.is_empty() && self.uncut.is_none() {
            remove(&segment);
        } else {
            self.sealed.push_back(segment);
            self.remove_trimmed();
        }
    }

    /// Ends a segment whose last commit failed.
    fn abandon(&mut self, segment: Sealed) {
        if let Err(error) = segment.cut() {
            tracing::error!(segment = %segment.path.display(), %error, "cannot cut a failed commit off; trying again");
            self.uncut.get_or_insert_with(|| segment.clone());
        }
        self.retire(segment);
    }

    fn retry_cut(&mut self) {
        let Some(segment) = self.uncut.take_if(|segment| segment.cut().is_ok() || !segment.path.exists()) else {
            return;
        };
        tracing::info!(segment = %segment.path.display(), "cut a failed commit off");
        self.sealed.retain(|sealed| {
            let keep = !sealed.is_empty();
            if !keep {
                remove(sealed);
            }
            keep
        });
    }

    fn remove_trimmed(&mut self) {
        let trimmed = self.trimmed;
        while self.uncut.is_none()
            && let Some(segment) = self.sealed.pop_front_if(|segment| segment.end <= trimmed.saturating_add(1))
        {
            remove(&segment);
        }
    }

    /// Is done with the records up to `seq`: they don't come again, and segments that hold no others are removed.
    ///
    /// # Errors
    /// The mark cannot be written: nothing was removed, a later call may do it.
    pub fn trim(&mut self, seq: Seq) -> io::Result<()> {
        let seq = seq.min(self.next.saturating_sub(1));
        if seq <= self.trimmed {
            return Ok(());
        }
        self.directory.note_trimmed(seq)?;
        self.trimmed = seq;
        if self.sealed.front().is_none_or(|segment| segment.end > seq + 1) {
            return Ok(());
        }
        self.directory.sync_trimmed()?;
        self.remove_trimmed();
        Ok(())
    }
}

fn remove(segment: &Sealed) {
    if let Err(error) = fs::remove_file(&segment.path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(segment = %segment.path.display(), %error, "cannot remove a segment");
    }
}

/// Why one attempt failed.
enum AppendError {
    /// Writing or syncing: the segment is poisoned, another may do.
    Disk(io::Error),
    /// No segment could be made.
    Create(io::Error),
    /// [`Options::max_bytes`].
    Limit { used: u64, max: u64 },
}

impl From<AppendError> for CommitError {
    fn from(error: AppendError) -> Self {
        Self::Unavailable(match error {
            AppendError::Disk(error) => format!("write the log: {error}"),
            AppendError::Create(error) => format!("begin a log segment: {error}"),
            AppendError::Limit { used, max } => {
                format!("the log is full: {used} of {max} bytes are waiting to be taken over")
            }
        })
    }
}

/// A segment file as found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) generation: u64,
    pub(crate) first: Seq,
    /// Whether its name is the one its header asks for.
    pub(crate) proper_name: bool,
    /// Whether the header is whole.
    pub(crate) header: bool,
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "wal") && path.is_file() {
            segments.push(path);
        }
    }
    segments.sort();
    Ok(segments)
}

fn read_header(path: &Path) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = Vec::with_capacity(HEADER as usize);
    File::open(path)?.take(HEADER).read_to_end(&mut bytes)?;
    Ok(SegmentHeader::decode(&bytes))
}

/// Which segment a file is; `None` for a file that is none by its name nor by its content.
fn identify(path: &Path, log: LogId) -> Result<Option<Found>, Error> {
    let name = parse_name(path);
    let Some(header) = read_header(path).map_err(Error::io("read segment", path))? else {
        if name.is_none() {
            tracing::warn!(file = %path.display(), "not a segment of the log: left alone");
        }
        return Ok(name.map(|(generation, first)| Found {
            path: path.into(),
            generation,
            first,
            proper_name: true,
            header: false,
        }));
    };
    if header.version > VERSION {
        return Err(Error::Version { path: path.into(), found: header.version });
    }
    if header.log != log {
        return Err(Error::Foreign { path: path.into(), found: header.log.to_string(), expected: log.to_string() });
    }
    let proper_name = name == Some((header.generation, header.first));
    Ok(Some(Found { path: path.into(), generation: header.generation, first: header.first, proper_name, header: true }))
}

/// Moves second copies of a segment out of the way; answers how many.
fn remove_duplicates(directory: &Directory, segments: &mut Vec<Found>) -> u64 {
    let mut duplicates = 0;
    segments.dedup_by(|second, first| {
        let same = second.generation == first.generation;
        if same {
            duplicates += 1;
            tracing::warn!(file = %second.path.display(), of = %first.path.display(), "second copy of a segment");
            if directory.quarantine().keep(&second.path).is_some()
                && let Err(error) = fs::remove_file(&second.path)
            {
                tracing::warn!(file = %second.path.display(), %error, "cannot remove the second copy of a segment");
            }
        }
        same
    });
    duplicates
}
