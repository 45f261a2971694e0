//! A segment being written, and the names of segments.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::FallocateFlags;

use crate::{
    Durability, Record, Seq,
    directory::Directory,
    frame::{ALIGN, FrameHeader, HEADER, Seed, SegmentHeader, VERSION},
};

/// Slices of one `pwritev`; Linux takes 1024.
const SLICES: usize = 1024;
const PADDING: [u8; ALIGN as usize] = [0; ALIGN as usize];

/// The name of a segment's file.
pub(crate) fn name(generation: u64, first: Seq) -> String {
    format!("{generation:010}-{first:020}.wal")
}

/// What a file name says: generation and first sequence number.
pub(crate) fn parse_name(path: &Path) -> Option<(u64, Seq)> {
    let (generation, first) = path.file_name()?.to_str()?.strip_suffix(".wal")?.split_once('-')?;
    Some((generation.parse().ok()?, first.parse().ok()?))
}

/// A segment that is no longer written.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    pub(crate) generation: u64,
    pub(crate) first: Seq,
    /// The sequence number after its last record.
    pub(crate) end: Seq,
    pub(crate) bytes: u64,
}

impl Sealed {
    /// Cuts off whatever a failed commit left after the last record, durably, through a descriptor of its own.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(self.bytes)?;
        file.sync_all()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end == self.first
    }
}

/// The segment that takes records.
#[derive(Debug)]
pub(crate) struct Active {
    file: File,
    path: PathBuf,
    seed: Seed,
    generation: u64,
    first: Seq,
    next: Seq,
    position: u64,
    capacity: u64,
}

impl Active {
    /// Creates the segment with all its space, and makes its directory entry durable.
    pub(crate) fn create(directory: &Directory, generation: u64, first: Seq, capacity: u64) -> io::Result<Self> {
        let path = directory.path().join(name(generation, first));
        let temporary = path.with_extension("tmp");
        let header = SegmentHeader { version: VERSION, log: directory.id, generation, first };
        let file = match write_new(&temporary, &header, capacity) {
            Ok(file) => file,
            Err(error) => {
                remove_unfinished(&temporary);
                return Err(error);
            }
        };
        if let Err(error) = fs::rename(&temporary, &path).and_then(|()| directory.sync()) {
            remove_unfinished(&temporary);
            remove_unfinished(&path);
            return Err(error);
        }
        let seed = Seed::new(directory.id, generation);
        Ok(Self { file, path, seed, generation, first, next: first, position: HEADER, capacity })
    }

    /// Whether `bytes` of frames fit.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.position + bytes <= self.capacity
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Writes one commit and makes it durable. After an error the segment must be given to [`Self::abandon`].
    pub(crate) fn append(&mut self, records: &[Record], durability: Durability) -> io::Result<()> {
        let headers: Vec<_> = records.iter().zip(0u32..).map(|(record, member)| self.header(record, member)).collect();
        let mut slices = Vec::with_capacity(3 * records.len());
        let mut bytes = 0;
        for (record, header) in records.iter().zip(&headers) {
            slices.push(IoSlice::new(header));
            slices.extend(record.pieces().iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)));
            let length = (header.len() + record.len()) as u64;
            let padding = (length.next_multiple_of(ALIGN) - length) as usize;
            if padding > 0 {
                slices.push(IoSlice::new(&PADDING[..padding]));
            }
            bytes += length + padding as u64;
        }
        if self.file.metadata()?.nlink() == 0 {
            // Writing would go on for ever into a file that nobody finds again.
            return Err(io::Error::new(io::ErrorKind::NotFound, "the segment was removed from its directory"));
        }
        write_all_at(&self.file, &mut slices, self.position)?;
        if durability == Durability::Fsync {
            self.file.sync_data()?;
        }
        self.position += bytes;
        self.next += records.len() as u64;
        Ok(())
    }

    fn header(&self, record: &Record, member: u32) -> [u8; crate::frame::FRAME as usize] {
        let mut crc = crc32fast::Hasher::new();
        record.pieces().iter().for_each(|piece| crc.update(piece));
        let length = record.len() as u32;
        FrameHeader { length, crc: crc.finalize(), seq: self.next + u64::from(member), member }.encode(self.seed)
    }

    /// Ends the segment in good order: gives back the space it doesn't use.
    pub(crate) fn seal(self) -> Sealed {
        if let Err(error) = self.file.set_len(self.position).and_then(|()| self.file.sync_all()) {
            // All its records are durable already; zeros after them are as good an end.
            tracing::warn!(segment = %self.path.display(), %error, "cannot give back the unused space of a segment");
        }
        self.sealed()
    }

    /// Ends the segment after a failed write or sync: its descriptor must never be synced again, since it may report a
    /// success that is none. What the failed commit wrote is still there; see [`Sealed::cut`].
    pub(crate) fn abandon(self) -> Sealed {
        self.sealed()
    }

    fn sealed(self) -> Sealed {
        Sealed { path: self.path, generation: self.generation, first: self.first, end: self.next, bytes: self.position }
    }
}

/// It may hold the last free bytes of the disk.
fn remove_unfinished(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "cannot remove an unfinished segment");
    }
}

fn write_new(path: &Path, header: &SegmentHeader, capacity: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, capacity) {
        Ok(()) => {}
        // A file system without it: a full disk is then noticed when a commit is written.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(capacity)?,
        Err(errno) => return Err(errno.into()),
    }
    file.write_all_at(&header.encode(), 0)?;
    file.sync_all()?;
    Ok(file)
}

fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    while !slices.is_empty() {
        let count = slices.len().min(SLICES);
        let written = match rustix::io::pwritev(file, &slices[..count], position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        position += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
