//! A checksummed, fsynced, size-bounded log of opaque records with group commit. No tables, no protocols.
//!
//! Whatever answers a sender "stored" stands on this crate: the small agent's disk queue and the server's write-ahead
//! log are the same files. What it promises:
//!
//! - **Acknowledged means durable.** [`GroupCommit::commit`] answers after one `fdatasync` that covers the record, and
//!   the segment's directory entry was synced before the first record of the segment.
//! - **Refused means absent.** A group that could not be written does not come back on replay: its bytes are cut off,
//!   and the segment that follows takes its sequence numbers, which makes anything left of it void.
//! - **Damage costs what was damaged.** Each frame has its own checksums; [`Recovery`] finds the next whole frame after
//!   a damaged place, keeps a copy of the segment in `quarantine/`, and counts what is lost. Opening never panics.
//! - **Bounded.** Bytes on disk ([`Options::max_bytes`]), bytes and records waiting ([`Options::queue_bytes`],
//!   [`Options::queue_records`]) and the memory of a replay (one record and a read-ahead).
//!
//! # Files
//! A directory holds `LOCK` (flocked by the one process that owns it), `ID` (the log's identity), `TRIM` (up to where
//! records are done with) and segments `{generation}-{first sequence number}.wal`. `frame` has the layout of a segment.
//!
//! # How it fails
//! `open` refuses a directory in use, of another log, or of a later version of the format, and says which file. A write
//! or a sync that fails poisons its segment: it is never written or synced again (a second fsync would report success
//! for pages the kernel has dropped), the group is tried once in a new segment, then refused with the system's words.
//! The next group tries again, so that writing resumes by itself.

mod directory;
mod error;
mod frame;
mod group_commit;
mod log;
mod reader;
mod recovery;
mod scan;
mod segment;

use std::time::Duration;

use bytes::Bytes;

pub use error::{CommitError, Error};
pub use group_commit::{GroupCommit, Stats};
pub use log::{Log, open};
pub use reader::Reader;
pub use recovery::{Recovery, Report};

/// The number of a record: from 1, one more for each record, without gaps except where records were lost.
pub type Seq = u64;

/// What a success answer survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// `fdatasync` before every answer: a power cut.
    #[default]
    Fsync,
    /// Written to the operating system: the death of the process. A power cut may cost what the kernel had not written
    /// back yet, 30 s with its defaults.
    Os,
}

/// What to do about damage before the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Replay {
    /// Keep a copy of the file, count what is lost, go on with the next whole record.
    #[default]
    Recover,
    /// Refuse to open.
    Strict,
}

/// How a log behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of a segment file; at most half of `max_bytes`. A larger group gets a larger segment of its own.
    pub segment_bytes: u64,
    /// Bytes of all segments together; when they are reached, commits are refused until [`GroupCommit::trim`].
    pub max_bytes: u64,
    /// What a success answer survives.
    pub durability: Durability,
    /// What to do about damage.
    pub replay: Replay,
    /// Bytes of records that may wait for the commit thread.
    pub queue_bytes: usize,
    /// Records that may wait for the commit thread.
    pub queue_records: usize,
    /// How long [`GroupCommit::commit`] waits for room in that queue.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_bytes: 4 << 30,
            durability: Durability::Fsync,
            replay: Replay::Recover,
            queue_bytes: 64 << 20,
            queue_records: 4096,
            wait: Duration::from_secs(5),
        }
    }
}

/// One record, in as many pieces as it is at hand in: they are written one after the other, without a copy.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<Bytes>);

impl Record {
    /// A record of these pieces.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self(pieces.into_iter().collect())
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether it has no bytes. An empty record is a record like any other.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.0
    }
}

impl From<Bytes> for Record {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl<const N: usize> From<[Bytes; N]> for Record {
    fn from(pieces: [Bytes; N]) -> Self {
        Self(pieces.into())
    }
}
