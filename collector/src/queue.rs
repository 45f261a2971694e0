//! The agent's disk queue: a [`Sink`] that acknowledges a batch once it stands, fsynced, in a log on this machine.
//!
//! A record of the log is a short head (what the batch said beside its request) and the request's own bytes, which nobody
//! decodes here: [`check()`] walks over them once, so that a sender learns of a message that no server would take. Each
//! batch has its id before it is written, and so keeps it through any number of restarts and repeats: the sender's own,
//! or `{agent}-{epoch}-{number}`, where the epoch counts the starts on this directory.
//!
//! When the log is full or the disk is, `write` says so in the retryable way; nothing queued is ever dropped for that.

mod check;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use devmesh_schema::{Batch, BatchId, IngestPath, Receipt, Signal, Sink, WriteError};
use devmesh_wal::{CommitError, GroupCommit, Log, Reader, Record, Recovery, Seq, Stats};
use tokio::sync::watch;

pub use check::check;

/// The version of a record's head.
const HEAD: u8 = 1;

/// The queue, to be shared behind an `Arc`.
#[derive(Debug)]
pub struct Queue {
    log: GroupCommit<()>,
    committed: watch::Receiver<Seq>,
    names: String,
    number: AtomicU64,
    trimmed: Seq,
}

/// Where what is queued is read, in order; one forwarder has it.
#[derive(Debug)]
pub struct Outlet {
    /// Reads committed records.
    pub reader: Reader,
    /// Up to which record the queue is committed.
    pub committed: watch::Receiver<Seq>,
}

/// One batch as it was queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its signal.
    pub signal: Signal,
    /// Its id: the same at each attempt to send it.
    pub id: BatchId,
    /// By which way it came in.
    pub path: IngestPath,
    /// When, ns since the epoch.
    pub received: i64,
    /// The export request.
    pub request: Bytes,
}

/// Why a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log below it.
    #[error(transparent)]
    Log(#[from] devmesh_wal::Error),
    /// The file with the agent's name.
    #[error("keep the agent's name in {path}: {source}")]
    Name {
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Queue {
    /// Opens the queue in `dir`. The [`Recovery`] may be read at any time, to learn of damage; the [`Outlet`] has the
    /// records.
    ///
    /// # Errors
    /// See [`devmesh_wal::open`]; or the directory cannot be written.
    pub fn open(dir: &Path, options: devmesh_wal::Options) -> Result<(Arc<Self>, Outlet, Recovery), OpenError> {
        let (log, recovery) = devmesh_wal::open(dir, options)?;
        let names = next_epoch(dir)
            .map_err(|source| OpenError::Name { path: dir.join("agent").display().to_string(), source })?;
        let (queue, outlet) = Self::start(log, names)?;
        Ok((queue, outlet, recovery))
    }

    fn start(log: Log, names: String) -> Result<(Arc<Self>, Outlet), OpenError> {
        let trimmed = log.trimmed();
        let reader = log.reader(trimmed + 1);
        let (commit, committed) = watch::channel(log.next() - 1);
        let log = GroupCommit::start(log, move |group: Vec<(Seq, ())>| {
            if let Some((last, ())) = group.last() {
                commit.send_replace(*last);
            }
        })?;
        let outlet = Outlet { reader, committed: committed.clone() };
        Ok((Arc::new(Self { log, committed, names, number: AtomicU64::new(0), trimmed }), outlet))
    }

    /// Is done with the records up to `seq`.
    pub fn trim(&self, seq: Seq) {
        self.log.trim(seq);
    }

    /// What the log is doing.
    pub fn stats(&self) -> Stats {
        self.log.stats()
    }

    /// Batches that wait to be forwarded.
    pub fn waiting(&self) -> u64 {
        let stats = self.log.stats();
        self.committed.borrow().saturating_sub(stats.trimmed.max(self.trimmed))
    }

    /// Commits what is being written and closes the log: further writes are refused.
    pub async fn close(&self) {
        self.log.close().await;
    }

    fn next_id(&self) -> Result<BatchId, WriteError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.names)
            .parse()
            .map_err(|error: devmesh_schema::batch::InvalidBatchId| WriteError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl Sink for Queue {
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError> {
        let accepted = check(batch.signal, &batch.request).map_err(|error| WriteError::Invalid(error.to_string()))?;
        let id = match batch.id {
            Some(id) => id,
            None => self.next_id()?,
        };
        let queued =
            Queued { signal: batch.signal, id, path: batch.path, received: batch.received, request: batch.request };
        self.log.commit(queued.into_record(), ()).await.map_err(write_error)?;
        Ok(Receipt { accepted, ..Receipt::default() })
    }
}

fn write_error(error: CommitError) -> WriteError {
    match error {
        CommitError::Unavailable(why) => WriteError::Unavailable(why),
        CommitError::Full => WriteError::Full,
        too_large @ CommitError::TooLarge { .. } => WriteError::Invalid(too_large.to_string()),
        CommitError::Closed => WriteError::Closed,
    }
}

impl Queued {
    /// The record of the log: a head and the request, without a copy of the request.
    fn into_record(self) -> Record {
        let id = self.id.as_str().as_bytes();
        let mut head = BytesMut::with_capacity(12 + id.len());
        head.put_u8(HEAD);
        head.put_u8(self.signal as u8);
        head.put_u8(matches!(self.path, IngestPath::Direct).into());
        head.put_i64_le(self.received);
        // At most 128 bytes.
        head.put_u8(id.len() as u8);
        head.put_slice(id);
        Record::from([head.freeze(), self.request])
    }

    /// Reads a record of the log. `None` where it is none that this version knows.
    pub fn from_record(mut record: Bytes) -> Option<Self> {
        if record.remaining() < 12 || record.get_u8() != HEAD {
            return None;
        }
        let signal = *Signal::ALL.get(usize::from(record.get_u8()))?;
        let path = if record.get_u8() == 1 { IngestPath::Direct } else { IngestPath::Collector };
        let received = record.get_i64_le();
        let length = usize::from(record.get_u8());
        if record.remaining() < length {
            return None;
        }
        let id = str::from_utf8(&record.split_to(length)).ok()?.parse().ok()?;
        Some(Self { signal, id, path, received, request: record })
    }
}

/// The prefix of this start's batch ids: reads the agent's name and the number of its last start, and writes the next
/// one durably before any id is given.
fn next_epoch(dir: &Path) -> io::Result<String> {
    let file = dir.join("agent");
    let known = match fs::read_to_string(&file) {
        Ok(text) => text.trim().split_once(' ').and_then(|(name, epoch)| {
            let name: uuid::Uuid = name.parse().ok()?;
            Some((name, epoch.parse::<u64>().ok()?))
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
        Err(error) => return Err(error),
    };
    // Where it is damaged, another name is as good.
    let (name, epoch) =
        known.map_or_else(|| (uuid::Uuid::new_v4(), 1), |(name, epoch)| (name, epoch.saturating_add(1)));
    write_atomically(&file, format!("{name} {epoch}\n").as_bytes())?;
    Ok(format!("{}-{epoch}", name.simple()))
}

/// Replaces a small file so that after any crash either the old or the new content is there.
pub(crate) fn write_atomically(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut out = fs::File::create(&temporary)?;
    out.write_all(content)?;
    out.sync_all()?;
    fs::rename(&temporary, file)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
