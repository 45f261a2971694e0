//! Reads the frames of one segment, and finds the next whole one after damage.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use bytes::Bytes;

use crate::{
    Seq,
    frame::{ALIGN, FRAME, FrameHeader, HEADER, Seed},
};

/// Bytes read ahead.
const WINDOW: u64 = 256 << 10;

/// Bytes of zeros skipped at once.
const ZEROS: u64 = 4 << 10;

/// What stands next in a segment.
#[derive(Debug)]
pub(crate) enum Item {
    /// A whole record.
    Record {
        /// Its header; the sequence number is greater than that of the record before.
        header: FrameHeader,
        /// Its content.
        payload: Bytes,
    },
    /// Bytes that are no record, and are not the zeros after the last one.
    Damage(Range<u64>),
}

/// The frames of one segment, in order.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: File,
    length: u64,
    position: u64,
    seed: Seed,
    last: Seq,
    window: Vec<u8>,
    window_at: u64,
}

impl Scanner {
    /// Reads `file` from its first frame; all sequence numbers are to be greater than `before`.
    pub(crate) fn new(file: File, seed: Seed, before: Seq) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, position: HEADER, seed, last: before, window: Vec::new(), window_at: 0 })
    }

    /// Where the last item ended.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Forgets what was read ahead where it holds no record: a segment being written may hold one there by now.
    pub(crate) fn refresh(&mut self) {
        let held = self.window_at..self.window_at + self.window.len() as u64;
        let whole = held.contains(&self.position)
            && self.header_at(self.position).is_ok_and(|header| {
                header.is_some_and(|header| self.position + FRAME + u64::from(header.length) <= held.end)
            });
        if !whole {
            self.window.clear();
        }
    }

    /// The next item; `None` at the end: of the file, or nothing but zeros follow.
    pub(crate) fn next(&mut self) -> io::Result<Option<Item>> {
        let start = self.position;
        let Some(header) = self.header_at(start)? else { return self.resume(start) };
        if start + FRAME + u64::from(header.length) > self.length {
            return self.resume(start);
        }
        let end = (start + header.extent()).min(self.length);
        let payload = self.payload(start + FRAME, header.length)?;
        self.position = end;
        if header.seq <= self.last || crc32fast::hash(&payload) != header.crc {
            return Ok(Some(Item::Damage(start..end)));
        }
        self.last = header.seq;
        Ok(Some(Item::Record { header, payload }))
    }

    /// Looks for the next header that is whole; `start` holds none.
    fn resume(&mut self, start: u64) -> io::Result<Option<Item>> {
        let mut at = start;
        let mut damage_end = None;
        while at < self.length {
            if self.peek(at, ZEROS)?.iter().all(|byte| *byte == 0) {
                // No header that begins with its whole length in here can be one.
                at += ZEROS - FRAME + ALIGN;
                continue;
            }
            let rest = self.peek(at, ALIGN)?;
            if rest.iter().any(|byte| *byte != 0) {
                damage_end = Some((at + ALIGN).min(self.length));
            }
            if at > start
                && let Some(header) = self.header_at(at)?
                && header.seq > self.last
                && header.seq - self.last <= self.length / FRAME
                && at + FRAME + u64::from(header.length) <= self.length
            {
                self.position = at;
                return Ok(Some(Item::Damage(start..at)));
            }
            at += ALIGN;
        }
        self.position = self.length;
        Ok(damage_end.map(|end| Item::Damage(start..end)))
    }

    fn header_at(&mut self, at: u64) -> io::Result<Option<FrameHeader>> {
        let seed = self.seed;
        Ok(FrameHeader::decode(self.peek(at, FRAME)?, seed))
    }

    /// The bytes at a place, fewer at the end of the file.
    fn peek(&mut self, at: u64, length: u64) -> io::Result<&[u8]> {
        if at >= self.length {
            return Ok(&[]);
        }
        let end = (at + length).min(self.length);
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if at < held.start || end > held.end {
            self.fill(at, WINDOW.max(length).min(self.length - at) as usize)?;
        }
        let end = end.min(self.window_at + self.window.len() as u64).max(at);
        let from = (at - self.window_at) as usize;
        Ok(&self.window[from..from + (end - at) as usize])
    }

    /// Reads ahead. A segment that is sealed meanwhile ends earlier: what is cut off held no record.
    fn fill(&mut self, at: u64, bytes: usize) -> io::Result<()> {
        self.window.resize(bytes, 0);
        self.window_at = at;
        let mut filled = 0;
        while filled < bytes {
            match self.file.read_at(&mut self.window[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled < bytes {
            self.window.truncate(filled);
            self.length = at + filled as u64;
        }
        Ok(())
    }

    fn payload(&mut self, at: u64, length: u32) -> io::Result<Bytes> {
        if u64::from(length) <= WINDOW {
            return Ok(Bytes::copy_from_slice(self.peek(at, u64::from(length))?));
        }
        let mut payload = vec![0; length as usize];
        self.file.read_exact_at(&mut payload, at)?;
        Ok(payload.into())
    }
}
