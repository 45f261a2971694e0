//! Reads a log back: every record that is whole and not trimmed, in order, one at a time.
//!
//! Which bytes of a segment count follows from three rules:
//! 1. A frame counts when both its checksums are right.
//! 2. A frame whose number a later segment begins with, or is past that, is void: it is what a failed commit left.
//! 3. In the last segment, what follows the last whole frame is the torn end of a commit that nobody was told of. It is
//!    cut off. Anywhere else it is damage.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
};

use bytes::Bytes;

use crate::{
    Error, Replay, Seq,
    directory::{Directory, Quarantine},
    frame::{FRAME, HEADER, LogId, Seed},
    log::Found,
    scan::{Item, Scanner},
    segment::Sealed,
};

/// What a replay found. Complete once the [`Recovery`] has given its last record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records given.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records known to be missing: damaged, or in a file that is gone.
    pub lost_records: u64,
    /// Bytes of damaged places.
    pub lost_bytes: u64,
    /// Bytes cut off the end of the last segment: a commit that was being written and that nobody was told of.
    pub torn_bytes: u64,
    /// Second copies of a segment that were moved away.
    pub duplicates: u64,
    /// Copies of damaged segments.
    pub quarantined: Vec<PathBuf>,
}

/// The records of a log as it was when it was opened, oldest first.
///
/// An error says that a segment cannot be read at all at present (the disk's answer); the iterator ends with it.
#[derive(Debug)]
pub struct Recovery {
    id: LogId,
    quarantine: Quarantine,
    segments: VecDeque<Found>,
    current: Option<Current>,
    trimmed: Seq,
    /// The next number if nothing is missing.
    expected: Seq,
    /// The first number after the log.
    end: Seq,
    report: Report,
    /// The first damage that no torn commit explains, for [`crate::Replay::Strict`].
    damaged: Option<(PathBuf, u64)>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    scanner: Scanner,
    /// The first number that is void in this segment.
    limit: Seq,
    /// A damaged place that no whole record has followed yet.
    damage: Option<std::ops::Range<u64>>,
    last_segment: bool,
}

/// The segments of a directory, ready to be read and appended to.
#[derive(Debug)]
pub(crate) struct Opened {
    id: LogId,
    quarantine: Quarantine,
    pub(crate) segments: VecDeque<Sealed>,
    headers: Vec<bool>,
    pub(crate) next: Seq,
    pub(crate) generation: u64,
    torn_bytes: u64,
    lost_bytes: u64,
    quarantined: Vec<PathBuf>,
}

/// Finds the end of the log, cuts off what is torn there, and removes segments without records.
pub(crate) fn open_segments(
    directory: &Directory,
    mut found: Vec<Found>,
    trimmed: Seq,
    replay: Replay,
) -> Result<Opened, Error> {
    let generation = found.last().map_or(0, |segment| segment.generation);
    let mut opened = Opened {
        id: directory.id,
        quarantine: directory.quarantine(),
        segments: VecDeque::new(),
        headers: Vec::new(),
        next: trimmed.saturating_add(1),
        generation,
        torn_bytes: 0,
        lost_bytes: 0,
        quarantined: Vec::new(),
    };
    let mut limit = Seq::MAX;
    let mut empty = Vec::new();
    let mut last = None;
    while let Some(segment) = found.pop() {
        let tail = find_tail(directory.id, &segment, limit)?;
        // A later segment that had begun says that there were records here, and that they were durable.
        let damaged = tail.torn > 0 && (!segment.header || (limit != Seq::MAX && tail.end < limit));
        if damaged {
            if replay == Replay::Strict {
                return Err(Error::Damaged { path: segment.path, offset: tail.position });
            }
            opened.quarantined.extend(opened.quarantine.keep(&segment.path));
            opened.lost_bytes += tail.torn;
        } else {
            opened.torn_bytes += tail.torn;
        }
        limit = limit.min(segment.first);
        opened.next = opened.next.max(segment.first);
        if tail.end > segment.first {
            opened.next = opened.next.max(tail.end);
            cut(&segment, tail.position)?;
            last = Some((segment, tail));
            break;
        }
        empty.push(segment);
    }
    // Only now: until the segment before was cut, these made its void frames void.
    for segment in empty {
        fs::remove_file(&segment.path).map_err(Error::io("remove", segment.path))?;
    }
    let next = opened.next;
    if let Some((segment, tail)) = last {
        opened.push_front(segment, next, tail.position);
    }
    while let Some(segment) = found.pop() {
        let end = opened.segments.front().map_or(next, |after| after.first).max(segment.first);
        let bytes = fs::metadata(&segment.path).map_err(Error::io("stat", &segment.path))?.len();
        opened.push_front(segment, end, bytes);
    }
    Ok(opened)
}

struct Tail {
    /// The number after the last whole record; the segment's first where there is none.
    end: Seq,
    /// Where that record ends.
    position: u64,
    /// Bytes after it that are not zeros at the end.
    torn: u64,
}

fn find_tail(id: LogId, segment: &Found, limit: Seq) -> Result<Tail, Error> {
    let read = Error::io("read segment", &segment.path);
    let mut scanner = match scanner(id, segment) {
        Ok(scanner) => scanner,
        Err(error) => return Err(read(error)),
    };
    let mut tail = Tail { end: segment.first, position: HEADER, torn: 0 };
    // The header's own bytes, until a whole record shows that only they are damaged.
    if !segment.header {
        tail.torn = HEADER.min(fs::metadata(&segment.path).map_or(0, |file| file.len()));
    }
    loop {
        match scanner.next() {
            Ok(Some(Item::Record { header, .. })) if header.seq < limit => {
                tail = Tail { end: header.seq + 1, position: scanner.position(), torn: 0 };
            }
            Ok(Some(Item::Damage(range))) => tail.torn += range.end - range.start,
            Ok(_) => return Ok(tail),
            Err(error) => return Err(read(error)),
        }
    }
}

fn scanner(id: LogId, segment: &Found) -> io::Result<Scanner> {
    Scanner::new(File::open(&segment.path)?, Seed::new(id, segment.generation), segment.first.saturating_sub(1))
}

fn cut(segment: &Found, position: u64) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(&segment.path).map_err(Error::io("open", &segment.path))?;
    file.set_len(position).and_then(|()| file.sync_all()).map_err(Error::io("cut the torn end off", &segment.path))
}

impl Opened {
    fn push_front(&mut self, segment: Found, end: Seq, bytes: u64) {
        let Found { path, generation, first, header, .. } = segment;
        self.segments.push_front(Sealed { path, generation, first, end, bytes });
        self.headers.insert(0, header);
    }

    pub(crate) fn recovery(&self, trimmed: Seq, duplicates: u64) -> Recovery {
        if self.torn_bytes > 0 {
            tracing::warn!(bytes = self.torn_bytes, "cut the torn end off the log: a commit nobody was told of");
        }
        let segments = self.segments.iter().zip(&self.headers).map(|(segment, header)| Found {
            path: segment.path.clone(),
            generation: segment.generation,
            first: segment.first,
            proper_name: true,
            header: *header,
        });
        Recovery {
            id: self.id,
            quarantine: self.quarantine.clone(),
            segments: segments.collect(),
            current: None,
            trimmed,
            expected: trimmed.saturating_add(1),
            end: self.next,
            report: Report {
                torn_bytes: self.torn_bytes,
                lost_bytes: self.lost_bytes,
                duplicates,
                quarantined: self.quarantined.clone(),
                ..Report::default()
            },
            damaged: None,
        }
    }
}

impl Recovery {
    /// What was found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first number after the log: the one that the first new record got.
    pub fn end(&self) -> Seq {
        self.end
    }

    /// Reads everything once, and refuses damage.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        let mut trial = Self {
            id: self.id,
            quarantine: Quarantine::none(),
            segments: self.segments.clone(),
            current: None,
            trimmed: self.trimmed,
            expected: self.expected,
            end: self.end,
            report: Report::default(),
            damaged: None,
        };
        trial.by_ref().try_for_each(|record| record.map(drop))?;
        match trial.damaged {
            Some((path, offset)) => Err(Error::Damaged { path, offset }),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<bool, Error> {
        let Some(segment) = self.segments.pop_front() else {
            let end = self.end;
            self.missing_up_to(end);
            return Ok(false);
        };
        if self.missing_up_to(segment.first) {
            self.damaged = self.damaged.take().or_else(|| Some((segment.path.clone(), 0)));
        }
        let limit = self.segments.iter().map(|later| later.first).min().unwrap_or(Seq::MAX);
        let scanner = match scanner(self.id, &segment) {
            Ok(scanner) => scanner,
            // Trimmed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.expected = self.expected.max(limit.min(self.end));
                return Ok(true);
            }
            Err(error) => return Err(Error::io("read segment", segment.path)(error)),
        };
        let last_segment = self.segments.is_empty();
        let damage = (!segment.header).then_some(0..HEADER.min(scanner.length()));
        self.current = Some(Current { path: segment.path, scanner, limit, damage, last_segment });
        Ok(true)
    }

    /// Counts what is missing before `seq`; `true` where anything is that was not trimmed.
    fn missing_up_to(&mut self, seq: Seq) -> bool {
        let from = self.expected.max(self.trimmed.saturating_add(1));
        self.expected = self.expected.max(seq);
        let lost = seq.saturating_sub(from);
        if lost > 0 {
            tracing::error!(from, to = seq - 1, "records of the log are lost");
        }
        self.report.lost_records += lost;
        lost > 0
    }

    /// The end of a segment: what it lacks up to the next one.
    fn finish(&mut self, current: Current) {
        let limit = current.limit.min(self.end);
        let at = current.scanner.position();
        let missing = limit > self.expected.max(self.trimmed.saturating_add(1));
        self.missing_up_to(limit);
        match current.damage {
            // Bytes after the last record, where the next segment begins with the number that follows: void.
            Some(range) if missing || range.start == 0 => self.note_damage(&current.path, range),
            _ if missing => self.damaged = self.damaged.take().or(Some((current.path, at))),
            _ => {}
        }
    }

    fn note_damage(&mut self, path: &std::path::Path, range: std::ops::Range<u64>) {
        self.report.lost_bytes += range.end - range.start;
        let copy = self.quarantine.keep(path);
        tracing::error!(segment = %path.display(), at = range.start, bytes = range.end - range.start, "the log is damaged");
        if let Some(copy) = copy
            && !self.report.quarantined.contains(&copy)
        {
            self.report.quarantined.push(copy);
        }
        if self.damaged.is_none() {
            self.damaged = Some((path.into(), range.start));
        }
    }

    fn advance(&mut self) -> Result<Option<(Seq, Bytes)>, Error> {
        loop {
            let Some(mut current) = self.current.take() else {
                if self.begin()? {
                    continue;
                }
                return Ok(None);
            };
            match current.scanner.next().map_err(Error::io("read segment", &current.path))? {
                Some(Item::Record { header, .. }) if header.seq >= current.limit => self.finish(current),
                Some(Item::Record { header, payload }) => {
                    let before = self.damaged.clone();
                    // A commit that was torn before it was whole: nobody was told of any of it.
                    let torn = current.last_segment && header.group() <= self.expected;
                    let was_expected = self.expected;
                    let missing = self.missing_up_to(header.seq);
                    if let Some(range) = current.damage.take()
                        && (missing || range.start == 0)
                    {
                        self.note_damage(&current.path, range);
                    } else if missing {
                        let at = current.scanner.position() - FRAME;
                        self.damaged = self.damaged.take().or(Some((current.path.clone(), at)));
                    }
                    if torn && header.seq > was_expected {
                        self.damaged = before;
                    }
                    self.expected = self.expected.max(header.seq.saturating_add(1));
                    self.current = Some(current);
                    if header.seq <= self.trimmed {
                        continue;
                    }
                    self.report.records += 1;
                    self.report.bytes += payload.len() as u64;
                    return Ok(Some((header.seq, payload)));
                }
                Some(Item::Damage(range)) => {
                    // One place after another: the first is where it began.
                    let start = current.damage.as_ref().map_or(range.start, |earlier| earlier.start);
                    current.damage = Some(start..range.end);
                    self.current = Some(current);
                }
                None => self.finish(current),
            }
        }
    }
}

impl Iterator for Recovery {
    type Item = Result<(Seq, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(record) => record.map(Ok),
            Err(error) => {
                self.current = None;
                self.segments.clear();
                self.expected = self.end;
                Some(Err(error))
            }
        }
    }
}
