//! Reads committed records of a log that is being written, for whoever passes them on.
//!
//! A reader holds one open segment and a read-ahead. It is told up to which record the log is committed, and reads no
//! byte beyond: what stands there may be half a commit. Records that were trimmed or damaged are passed over.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    Error, Seq,
    frame::{LogId, Seed},
    scan::{Item, Scanner},
    segment::parse_name,
};

/// Reads records in order; see [`crate::Log::reader`].
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    id: LogId,
    next: Seq,
    current: Option<Current>,
    /// Counts the segments begun; see [`Current::limit`].
    begun: Arc<AtomicU64>,
    seen: u64,
}

#[derive(Debug)]
struct Current {
    scanner: Scanner,
    generation: u64,
    path: PathBuf,
    /// Where the next segment begins: frames from there on are what a failed commit left.
    limit: Seq,
}

impl Reader {
    pub(crate) fn new(directory: PathBuf, id: LogId, from: Seq, begun: Arc<AtomicU64>) -> Self {
        Self { directory, id, next: from, current: None, begun, seen: 0 }
    }

    /// Another reader of the same log, from number `from` on.
    pub fn fork(&self, from: Seq) -> Self {
        Self::new(self.directory.clone(), self.id, from, Arc::clone(&self.begun))
    }

    /// The number of the next record, if it is still there.
    pub fn next_seq(&self) -> Seq {
        self.next
    }

    /// The next record, where there is one up to `committed`.
    ///
    /// Reads files: call it where that may block.
    ///
    /// # Errors
    /// A segment cannot be read at present; a later call tries again.
    pub fn read(&mut self, committed: Seq) -> Result<Option<(Seq, Bytes)>, Error> {
        while self.next <= committed {
            if self.current.is_none() && !self.find()? {
                // Nothing of it is left: trimmed, or the files are gone.
                self.next = committed + 1;
                break;
            }
            self.update_limit()?;
            let Some(current) = &mut self.current else { continue };
            current.scanner.refresh();
            match current.scanner.next().map_err(Error::io("read segment", &current.path))? {
                Some(Item::Record { header, .. }) if header.seq < self.next.min(current.limit) => {}
                Some(Item::Record { header, payload }) if header.seq <= committed && header.seq < current.limit => {
                    if header.seq > self.next {
                        tracing::error!(from = self.next, to = header.seq - 1, "records of the log cannot be read");
                    }
                    self.next = header.seq + 1;
                    return Ok(Some((header.seq, payload)));
                }
                Some(Item::Damage(_)) => {}
                // The end of this segment; a committed record stands in a later one.
                Some(Item::Record { .. }) | None => {
                    if !self.advance()? {
                        self.next = committed + 1;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens the segment that holds the next record, or else the first after it.
    fn find(&mut self) -> Result<bool, Error> {
        let segments = self.list()?;
        let holds = segments.iter().rposition(|(_, first, _)| *first <= self.next).unwrap_or(0);
        self.open_first(segments, holds)
    }

    /// A segment begun since makes frames of this one void. It is counted before its first commit is.
    fn update_limit(&mut self) -> Result<(), Error> {
        let begun = self.begun.load(Ordering::Acquire);
        if begun == self.seen {
            return Ok(());
        }
        let segments = self.list()?;
        self.seen = begun;
        if let Some(current) = &mut self.current {
            let later = segments.iter().filter(|(generation, ..)| *generation > current.generation);
            current.limit = later.map(|(_, first, _)| *first).min().unwrap_or(Seq::MAX);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<bool, Error> {
        let Some(current) = self.current.take() else { return Ok(false) };
        let segments = self.list()?;
        let Some(after) = segments.iter().position(|(generation, ..)| *generation > current.generation) else {
            return Ok(false);
        };
        self.open_first(segments, after)
    }

    fn open_first(&mut self, segments: Vec<(u64, Seq, PathBuf)>, from: usize) -> Result<bool, Error> {
        for (generation, first, path) in segments.into_iter().skip(from) {
            match fs::File::open(&path) {
                Ok(file) => {
                    let scanner = Scanner::new(file, Seed::new(self.id, generation), first.saturating_sub(1));
                    let scanner = scanner.map_err(Error::io("read segment", &path))?;
                    self.current = Some(Current { scanner, generation, path, limit: Seq::MAX });
                    self.seen = 0;
                    return Ok(true);
                }
                // Trimmed since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open segment", path)(error)),
            }
        }
        Ok(false)
    }

    fn list(&self) -> Result<Vec<(u64, Seq, PathBuf)>, Error> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(Error::io("list", &self.directory))? {
            let path = entry.map_err(Error::io("list", &self.directory))?.path();
            if let Some((generation, first)) = parse_name(&path) {
                segments.push((generation, first, path));
            }
        }
        segments.sort();
        Ok(segments)
    }
}
