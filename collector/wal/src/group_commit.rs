//! One thread owns the log; whatever arrives while one commit is being synced is joined into the next.
//!
//! The commit thread takes all that waits, appends it with one write and one `fdatasync`, hands it to `apply` in the
//! order of the numbers, and then answers. So `apply` sees each durable record exactly once and before its sender does,
//! also when the sender's future was dropped. When the disk is slow the groups grow; what waits is bounded in bytes and
//! in number, and a sender that finds no room in time is told so.
//!
//! If `apply` panics the thread ends, and all commits are answered [`CommitError::Closed`]: the process should end too.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::{CommitError, Error, Log, Record, Seq};

/// Bytes after which a group takes no further record, so that one write does not hold all the others up.
const GROUP_BYTES: usize = 16 << 20;

/// Commits records in groups. Cheap to share behind an `Arc`; dropped, the thread ends after what it holds.
pub struct GroupCommit<T> {
    sender: mpsc::Sender<Command<T>>,
    room: Arc<Semaphore>,
    wait: Duration,
    queue_bytes: usize,
    max_record: u64,
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
}

impl<T> fmt::Debug for GroupCommit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").field("stats", &self.shared.stats()).finish_non_exhaustive()
    }
}

/// What a log is doing, for `/metrics` and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number that the next record gets.
    pub next: Seq,
    /// The record up to which the log is done with.
    pub trimmed: Seq,
    /// Bytes on disk, with reserved space.
    pub bytes: u64,
    /// [`crate::Options::max_bytes`].
    pub max_bytes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Groups committed since the start.
    pub commits: u64,
    /// Records committed since the start.
    pub records: u64,
    /// Records refused since the start because the log could not be written.
    pub refused: u64,
    /// How long the last group took to be written and synced.
    pub last_commit: Duration,
    /// Why the last group was refused; `None` while the log can be written.
    pub unavailable: Option<String>,
    /// Bytes of records waiting for the commit thread or in it.
    pub waiting_bytes: usize,
}

enum Command<T> {
    Commit(Waiting<T>),
    Trim,
    Close,
}

struct Waiting<T> {
    record: Record,
    value: T,
    answer: oneshot::Sender<Result<Seq, CommitError>>,
    _room: OwnedSemaphorePermit,
}

struct Shared {
    trim: AtomicU64,
    stats: Mutex<Stats>,
}

impl Shared {
    fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T: Send + 'static> GroupCommit<T> {
    /// Starts the commit thread. `apply` runs on it, after the sync and before the answers.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(log: Log, apply: impl FnMut(Vec<(Seq, T)>) + Send + 'static) -> Result<Self, Error> {
        let options = *log.options();
        let (sender, receiver) = mpsc::channel(options.queue_records.max(1));
        let (end, ended) = watch::channel(false);
        let shared = Arc::new(Shared { trim: AtomicU64::new(log.trimmed()), stats: Mutex::default() });
        let queue_bytes = options.queue_bytes.clamp(1, u32::MAX as usize);
        let max_record = log.max_record();
        let worker = Worker { log, apply, receiver, shared: Arc::clone(&shared), _end: end };
        worker.publish(|_stats| {});
        thread::Builder::new()
            .name("wal-commit".into())
            .spawn(move || worker.run())
            .map_err(Error::io("start the commit thread of", "the log"))?;
        let room = Arc::new(Semaphore::new(queue_bytes));
        Ok(Self { sender, room, wait: options.wait, queue_bytes, max_record, shared, ended })
    }

    /// Commits a record: `Ok` with its number once it is durable and `apply` has seen its `value`.
    ///
    /// # Errors
    /// See [`CommitError`]; the record is then absent, and `value` was dropped.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, nothing was committed; dropped later, the record is committed and applied.
    pub async fn commit(&self, record: Record, value: T) -> Result<Seq, CommitError> {
        let bytes = record.len();
        if bytes as u64 > self.max_record {
            return Err(CommitError::TooLarge { bytes: bytes as u64, max: self.max_record });
        }
        // A record larger than the whole queue goes alone.
        let permits = u32::try_from(bytes.clamp(1, self.queue_bytes)).unwrap_or(u32::MAX);
        let enter = async {
            let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
            let room = room.map_err(|_closed| CommitError::Closed)?;
            let place = self.sender.reserve().await.map_err(|_closed| CommitError::Closed)?;
            Ok::<_, CommitError>((room, place))
        };
        let (room, place) = tokio::time::timeout(self.wait, enter).await.map_err(|_elapsed| CommitError::Full)??;
        let (answer, answered) = oneshot::channel();
        place.send(Command::Commit(Waiting { record, value, answer, _room: room }));
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Is done with the records up to `seq`: they don't come again. Takes effect soon, on the commit thread.
    pub fn trim(&self, seq: Seq) {
        self.shared.trim.fetch_max(seq, Ordering::AcqRel);
        // With a full queue the thread comes by anyway; with a closed one there is nothing left to do.
        match self.sender.try_send(Command::Trim) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_) | mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// What the log is doing.
    pub fn stats(&self) -> Stats {
        let waiting_bytes = self.queue_bytes - self.room.available_permits().min(self.queue_bytes);
        Stats { waiting_bytes, ..self.shared.stats() }
    }

    /// Refuses further records, commits those that wait, trims, and ends the thread: when this returns the log's lock
    /// is free. A second call waits for the same end.
    pub async fn close(&self) {
        // Fails only where the thread has ended.
        if self.sender.send(Command::Close).await.is_err() {
            tracing::debug!("the log is closed already");
        }
        let mut ended = self.ended.clone();
        // The thread drops its end of the channel with the log.
        while ended.changed().await.is_ok() {}
    }
}

struct Worker<T, F> {
    log: Log,
    apply: F,
    receiver: mpsc::Receiver<Command<T>>,
    shared: Arc<Shared>,
    _end: watch::Sender<bool>,
}

impl<T, F: FnMut(Vec<(Seq, T)>)> Worker<T, F> {
    fn run(mut self) {
        // Ends when all senders are dropped, or after `Close` once the queue is empty.
        while let Some(command) = self.receiver.blocking_recv() {
            let group = self.gather(command);
            if !group.is_empty() {
                self.commit(group);
            }
            self.trim();
        }
        self.trim();
        self.log.seal();
        self.publish(|_stats| {});
    }

    fn gather(&mut self, first: Command<T>) -> Vec<Waiting<T>> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut command = Some(first);
        while let Some(next) = command.take() {
            match next {
                Command::Commit(waiting) => {
                    bytes += waiting.record.len();
                    group.push(waiting);
                }
                Command::Trim => {}
                Command::Close => self.receiver.close(),
            }
            if bytes < GROUP_BYTES {
                command = self.receiver.try_recv().ok();
            }
        }
        group
    }

    fn commit(&mut self, group: Vec<Waiting<T>>) {
        let started = Instant::now();
        let mut records = Vec::with_capacity(group.len());
        let mut rest = Vec::with_capacity(group.len());
        for Waiting { record, value, answer, _room } in group {
            records.push(record);
            rest.push((value, answer, _room));
        }
        let count = records.len() as u64;
        match self.log.append(&records) {
            Ok(numbers) => {
                drop(records);
                let mut values = Vec::with_capacity(rest.len());
                let mut answers = Vec::with_capacity(rest.len());
                for (seq, (value, answer, room)) in numbers.zip(rest) {
                    values.push((seq, value));
                    answers.push((seq, answer, room));
                }
                self.publish(|stats| {
                    stats.commits += 1;
                    stats.records += count;
                    stats.last_commit = started.elapsed();
                    stats.unavailable = None;
                });
                (self.apply)(values);
                for (seq, answer, room) in answers {
                    drop(room);
                    tell(answer, Ok(seq));
                }
            }
            Err(error) => {
                tracing::error!(%error, records = count, "the log cannot be written");
                self.publish(|stats| {
                    stats.refused += count;
                    stats.unavailable = Some(error.to_string());
                });
                for (_value, answer, room) in rest {
                    drop(room);
                    tell(answer, Err(error.clone()));
                }
            }
        }
    }

    fn trim(&mut self) {
        let seq = self.shared.trim.load(Ordering::Acquire);
        if seq <= self.log.trimmed() {
            return;
        }
        if let Err(error) = self.log.trim(seq) {
            tracing::warn!(%error, "cannot trim the log; the next trim tries again");
        }
        self.publish(|_stats| {});
    }

    fn publish(&self, change: impl FnOnce(&mut Stats)) {
        self.shared.update(|stats| {
            stats.next = self.log.next();
            stats.trimmed = self.log.trimmed();
            stats.bytes = self.log.bytes();
            stats.max_bytes = self.log.options().max_bytes;
            stats.segments = self.log.segments();
            change(stats);
        });
    }
}

/// A waiter that has gone needs no answer: its record is applied all the same.
fn tell(answer: oneshot::Sender<Result<Seq, CommitError>>, result: Result<Seq, CommitError>) {
    match answer.send(result) {
        Ok(()) | Err(_) => {}
    }
}
