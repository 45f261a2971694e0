//! Moving records from one store to another, whichever they are, so that a copy that was ended half-way goes on where it
//! was, and nothing is lost or doubled.
//!
//! A signal's records are read in windows of time, oldest first, each small enough for memory. A window's rows are put
//! into one order, which depends on nothing but what they are, and cut into batches; a batch's id is made of the copy,
//! the window and its number. So a window that is written a second time makes the same batches, and the target stores
//! each once ([`devmesh_schema::Sink`]). The windows stand in a [`Progress`] file: begun before the first batch is
//! written, done after the last was acknowledged.
//!
//! At the end the target is read once: of each window it must have as many rows as were written, with the same checksum
//! (a sum over the rows, so that their order does not matter), beside what it had before.
//!
//! # How it fails
//! A source that changes while a window is written twice gives other batches under the same ids: the target refuses
//! them, and the copy says so. A target that is away for long ends the copy; it can be begun again at any time.

mod object;
mod progress;
mod rows;
mod window;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use devmesh_schema::{Batch, Signal, TimestampNs, WriteError};

use self::{
    progress::{Begun, Header, Progress},
    rows::Sum,
    window::{Cut, Loaded},
};
use crate::{Error, Scan, Snapshot, Store};

/// How long a target may refuse for the time being before the copy ends.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a store may take to answer at first.
const ANSWER: Duration = Duration::from_secs(60);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(100);
/// Parts that a window's rows are cut into at most, where one instant has more than memory holds.
const PARTS: u32 = 1 << 16;

/// The URL of a store without a password, to be shown.
pub fn redacted(url: &str) -> String {
    crate::external::address::redacted(url)
}

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which signals.
    pub signals: Vec<Signal>,
    /// Times from here on, and before `end`.
    pub start: TimestampNs,
    /// Exclusive.
    pub end: TimestampNs,
    /// Rows of a window, about.
    pub rows: usize,
    /// Bytes of a window's rows, as OTLP.
    pub bytes: usize,
    /// Where the progress is written down.
    pub progress: PathBuf,
    /// What the progress belongs to: source, target and what was asked, as people wrote it.
    pub title: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A signal begins, or goes on; with about how many rows, and how many of them are done.
    Signal(Signal, u64, u64),
    /// Rows were written: a signal's rows so far, and the time up to which it is done.
    Rows(Signal, u64, TimestampNs),
    /// The target refuses for the time being.
    Waiting(Signal),
    /// All is written; the target is read.
    Verifying(Signal),
}

/// What became of one signal.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Which.
    pub signal: Signal,
    /// Rows that were copied.
    pub rows: u64,
    /// Their checksum, 32 hex digits.
    pub checksum: String,
    /// Windows in which the target has something else.
    pub different: Vec<Different>,
}

/// A window in which the target has something else than the source.
#[derive(Clone, Debug)]
pub struct Different {
    /// The window's times, the end exclusive.
    pub time: (TimestampNs, TimestampNs),
    /// Rows that the target should have there.
    pub expected: u64,
    /// Rows that it has. Where these are equal, their content differs.
    pub found: u64,
}

/// Copies, or goes on with a copy, and verifies it. Answers whether it had been done before: then nothing was written.
///
/// # Errors
/// A store cannot be read or refuses; the progress belongs to another copy or cannot be written.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    options: &Options,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<(Vec<Copied>, bool), Error> {
    let mut progress = Progress::open(&options.progress, &options.title)?;
    for store in [from, to] {
        answers(store).await?;
    }
    let snapshot = from.snapshot();
    let again = progress.verified();
    for signal in &options.signals {
        if !again {
            Job { signal: *signal, snapshot: snapshot.as_ref(), to, options, tell }.run(&mut progress).await?;
        }
    }
    if !again {
        to.flush().await?;
    }
    let mut copied = Vec::new();
    let target = to.snapshot();
    for signal in &options.signals {
        tell(Event::Verifying(*signal));
        copied.push(verify(target.as_ref(), *signal, &progress).await?);
    }
    if copied.iter().all(|copied| copied.different.is_empty()) {
        progress.set_verified()?;
    }
    Ok((copied, again))
}

/// Waits until a store can be read: a database is connected to after it was opened.
async fn answers(store: &dyn Store) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        let least = Scan { time: 0..1, limit: Some(1), ..Scan::all(Signal::Logs) };
        match store.scan(&least).await {
            Err(Error::Away(_)) if began.elapsed() < ANSWER => tokio::time::sleep(LOOK).await,
            answer => return answer.map(drop),
        }
    }
}

/// The copy of one signal.
struct Job<'a> {
    signal: Signal,
    snapshot: &'a dyn Snapshot,
    to: &'a dyn Store,
    options: &'a Options,
    tell: &'a (dyn Fn(Event) + Sync),
}

impl Job<'_> {
    async fn run(&self, progress: &mut Progress) -> Result<(), Error> {
        let header = self.header(progress).await?;
        let mut done: u64 = progress.windows(self.signal).map(|window| window.copied.rows).sum();
        (self.tell)(Event::Signal(self.signal, header.rows, done));
        let mut at = progress.windows(self.signal).last().map_or(header.start, |window| window.end);
        let mut width = first_width(&header, self.options.rows);
        while at < header.end {
            let begun = match progress.begun(self.signal) {
                // Begun and not finished: exactly the same once more.
                Some(begun) => begun,
                None => {
                    let (begun, rows) = self.begin(at, &mut width, &header).await?;
                    if rows == 0 {
                        // Nothing here: no need to write that down.
                        at = begun.end;
                        continue;
                    }
                    progress.begin(&begun)?;
                    begun
                }
            };
            let copied = self.window(progress.id(), &begun).await?;
            progress.done(&begun, copied)?;
            at = begun.end;
            done += copied.rows;
            (self.tell)(Event::Rows(self.signal, done, at));
        }
        Ok(())
    }

    /// What there is to copy, found out once.
    async fn header(&self, progress: &mut Progress) -> Result<Header, Error> {
        if let Some(header) = progress.header(self.signal) {
            return Ok(header);
        }
        let range = self.options.start..self.options.end;
        let extent = rows::extent(self.snapshot, self.signal, range.clone()).await?;
        let there = rows::extent(self.to.snapshot().as_ref(), self.signal, range).await?;
        let (start, end) = extent.time.map_or((0, 0), |(first, last)| (first, last.saturating_add(1)));
        let header = Header { signal: self.signal, start, end, rows: extent.rows, fresh: there.time.is_none() };
        progress.set_header(&header)?;
        Ok(header)
    }

    /// Finds the next window that memory can hold. Answers with it how many rows it has.
    async fn begin(&self, start: TimestampNs, width: &mut i64, header: &Header) -> Result<(Begun, usize), Error> {
        let mut parts = 1;
        loop {
            let end = start.saturating_add(*width).min(header.end);
            let cut = Cut { time: start..end, part: 0, parts };
            match window::load(self.snapshot, self.signal, &cut, self.options.rows * 2, self.options.bytes).await? {
                Loaded::Rows(rows) => {
                    let share = rows.len().max(1) as f64;
                    let next = (end - start) as f64 * (self.options.rows as f64 / share).clamp(0.25, 8.0);
                    *width = (next as i64).max(1);
                    let rows = rows.len() * parts as usize;
                    let before = match header.fresh || rows == 0 {
                        true => Sum::default(),
                        false => rows::sum(self.to.snapshot().as_ref(), self.signal, start..end).await?,
                    };
                    return Ok((Begun { signal: self.signal, start, end, parts, before }, rows));
                }
                Loaded::TooMuch if end - start > 1 => *width = ((end - start) / 4).max(1),
                Loaded::TooMuch if parts < PARTS => parts *= 4,
                Loaded::TooMuch => {
                    return Err(Error::Database(format!(
                        "{} records of one instant ({start} ns) do not fit into memory; allow more with --rows",
                        self.signal
                    )));
                }
            }
        }
    }

    /// Writes a window's rows.
    async fn window(&self, copy: &str, begun: &Begun) -> Result<Sum, Error> {
        let mut copied = Sum::default();
        for part in 0..begun.parts {
            let cut = Cut { time: begun.start..begun.end, part, parts: begun.parts };
            let rows = match window::load(self.snapshot, self.signal, &cut, usize::MAX, usize::MAX).await? {
                Loaded::Rows(rows) => rows,
                Loaded::TooMuch => return Err(changed(self.signal, begun)),
            };
            for (number, batch) in window::batches(rows).into_iter().enumerate() {
                copied.add_all(batch.sum);
                let id = format!("copy:{copy}:{}:{}:{part}:{number}", self.signal, begun.start);
                let id = id.parse().map_err(|_id| Error::Database(format!("{id} is no batch id")))?;
                let (path, received, request) = (batch.path, batch.received, batch.request);
                let batch = Batch { signal: self.signal, id: Some(id), path, received, request };
                self.write(batch, begun).await?;
            }
        }
        Ok(copied)
    }

    async fn write(&self, batch: Batch, begun: &Begun) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let error = match self.to.write(batch.clone()).await {
                Ok(receipt) if receipt.rejected == 0 => return Ok(()),
                Ok(receipt) => {
                    let why = receipt.rejections.first().map_or("no reason given", |first| first.message.as_str());
                    return Err(Error::Database(format!(
                        "the target refuses {} {} records of the window that begins at {} ns: {why}",
                        receipt.rejected, self.signal, begun.start
                    )));
                }
                Err(WriteError::BatchIdConflict(_)) => return Err(changed(self.signal, begun)),
                Err(error) => error,
            };
            match error.retry_after() {
                Some(pause) if began.elapsed() < PATIENCE => {
                    (self.tell)(Event::Waiting(self.signal));
                    tokio::time::sleep(pause.min(PATIENCE)).await;
                }
                _ => {
                    return Err(Error::Away(format!(
                        "the target takes nothing: {error}; run the same command again when it does: it goes on here"
                    )));
                }
            }
        }
    }
}

/// A width that has about so many rows, if they are spread evenly.
fn first_width(header: &Header, rows: usize) -> i64 {
    let span = header.end.saturating_sub(header.start) as f64;
    let windows = (header.rows as f64 / rows as f64).max(1.0);
    ((span / windows) as i64).max(1)
}

fn changed(signal: Signal, begun: &Begun) -> Error {
    Error::Database(format!(
        "the source changed while the copy was interrupted: its {signal} between {} and {} ns are not those that were \
         being copied. Stop what writes to the source, reset the target or choose an empty one, remove the progress file \
         and begin anew",
        begun.start, begun.end
    ))
}

/// Holds what the target has against what was written.
async fn verify(target: &dyn Snapshot, signal: Signal, progress: &Progress) -> Result<Copied, Error> {
    let windows: Vec<_> = progress.windows(signal).collect();
    let ranges: Vec<_> = windows.iter().map(|window| window.start..window.end).collect();
    let found = rows::sums(target, signal, &ranges).await?;
    let (mut all, mut different) = (Sum::default(), Vec::new());
    for (window, found) in windows.iter().zip(found) {
        all.add_all(window.copied);
        let mut expected = window.before;
        expected.add_all(window.copied);
        if expected != found {
            let time = (window.start, window.end);
            different.push(Different { time, expected: expected.rows, found: found.rows });
        }
    }
    Ok(Copied { signal, rows: all.rows, checksum: all.to_string(), different })
}

#[cfg(test)]
mod tests;
