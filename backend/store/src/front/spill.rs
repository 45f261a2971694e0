//! Rows that found no room in memory: they are in the log and nowhere else, until the back has caught up.
//!
//! The log is then a part of the table. A query decodes what it needs of it, in bounded memory, and as long as it does
//! the log is not trimmed under it. The back is fed from the log a memory table at a time, oldest first; with the last one
//! new rows go to memory again. Writers are never stopped for it, and the log's own size is the bound.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::RecordBatch;
use bytes::Bytes;
use devmesh_schema::{Batch, Signal, TimestampNs, otlp};
use devmesh_wal::{Reader, Seq};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Back, Shared, quarantine};
use crate::{
    Error, Fragment, columns, ingest,
    memtable::{Chunk, Memtable},
    patterns::mining::Templates,
};

/// Rows that a query is given at once.
const ROWS: usize = 8192;
/// Pieces of so many rows that may wait for a query.
const AHEAD: usize = 2;

/// Records that are in the log alone.
#[derive(Clone, Debug)]
pub(crate) struct Spilled {
    /// The last record before them.
    pub(crate) after: Seq,
    /// The last of them.
    pub(crate) last: Seq,
    /// Bytes of their records.
    pub(crate) bytes: u64,
}

impl Spilled {
    /// None yet; those after `seq` will be.
    pub(super) fn behind(seq: Seq) -> Self {
        Self { after: seq, last: seq, bytes: 0 }
    }

    pub(super) fn add(&mut self, seq: Seq, bytes: u64) {
        self.last = seq;
        self.bytes += bytes;
    }

    /// Those up to `seq`, `bytes` in the log, are elsewhere too.
    pub(super) fn drain(&mut self, seq: Seq, bytes: u64) {
        self.after = seq;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.after >= self.last
    }
}

/// Records that queries read in the log: it is not trimmed beyond the lowest.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<Seq, usize>>);

impl Pins {
    /// The log keeps all records after `seq` as long as the answer lives.
    pub(crate) fn pin(self: &Arc<Self>, seq: Seq) -> Pin {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(seq).or_default() += 1;
        Pin { pins: Arc::clone(self), seq }
    }

    pub(super) fn lowest(&self) -> Option<Seq> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().next().copied()
    }
}

/// Keeps records in the log.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    seq: Seq,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pins.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.seq);
            }
        }
    }
}

/// A part of the log that a query reads.
#[derive(Clone, Debug)]
pub(crate) struct LogPart {
    pub(crate) after: Seq,
    pub(crate) last: Seq,
    pub(crate) _pin: Arc<Pin>,
}

/// A record of the log and the rows that it makes.
pub(super) fn decode(record: Bytes, templates: &Templates) -> Result<(Batch, Chunk, u64), String> {
    let batch = ingest::parse(record).map_err(str::to_owned)?;
    let context = otlp::Context { path: batch.path, received: batch.received };
    let decoded = otlp::decode(batch.signal, &batch.request, context).map_err(|error| error.to_string())?;
    let rows = templates.mark(decoded.rows).map_err(|error| error.to_string())?;
    let chunk = Chunk::new(Arc::new(rows)).map_err(|error| error.to_string())?;
    Ok((batch, chunk, decoded.rejected))
}

/// Feeds the back from the log.
#[derive(Debug, Default)]
pub(super) struct Drain(Option<Reader>);

impl Drain {
    /// Sets the next rows aside that are in the log alone; nothing where there are none.
    pub(super) fn next<B: Back>(&mut self, shared: &Shared<B>) -> Result<Option<Arc<Memtable>>, Error> {
        let Some(Spilled { after, last, .. }) = shared.tables.lock().spilled.clone() else { return Ok(None) };
        let mut reader = match self.0.take().filter(|reader| reader.next_seq() == after + 1) {
            Some(reader) => reader,
            None => shared.reader.fork(after + 1),
        };
        let mut table = Memtable::new(after);
        let mut bytes = 0;
        while table.last < last && !table.is_full(&shared.settings.flush) {
            let Some((seq, record)) = reader.read(last)? else {
                // What follows is not in the log any more.
                table.last = last;
                break;
            };
            bytes += record.len() as u64;
            match decode(record.clone(), &shared.templates) {
                Ok((batch, chunk, _rejected)) => table.insert(batch.signal, seq, chunk),
                Err(reason) => {
                    table.last = seq;
                    quarantine::keep_record(shared, seq, &record, &reason)?;
                }
            }
        }
        self.0 = Some(reader);
        Ok(shared.tables.lock().seal_spilled(table, bytes))
    }
}

/// The rows of a part of the log that can lie in the time, as they are decoded.
pub(crate) fn rows<B: Back>(
    shared: &Arc<Shared<B>>,
    part: LogPart,
    signal: Signal,
    time: Range<TimestampNs>,
) -> Fragment {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let reader = shared.reader.fork(part.after + 1);
    let templates = Arc::clone(&shared.templates);
    shared.runtime.spawn_blocking(move || {
        if let Err(error) = send_rows(reader, &templates, &part, signal, &time, &sender) {
            // Fails where nobody waits for it any more.
            drop(sender.blocking_send(Err(error)));
        }
    });
    let next = |mut receiver: mpsc::Receiver<_>| async move { receiver.recv().await.map(|rows| (rows, receiver)) };
    Fragment::Rows(stream::unfold(receiver, next).boxed())
}

type Sender = mpsc::Sender<Result<RecordBatch, Error>>;

fn send_rows(
    mut reader: Reader,
    templates: &Templates,
    part: &LogPart,
    signal: Signal,
    time: &Range<TimestampNs>,
    sender: &Sender,
) -> Result<(), Error> {
    let mut pieces: Vec<Arc<RecordBatch>> = Vec::new();
    let mut count = 0;
    while let Some((_seq, record)) = reader.read(part.last)? {
        if !ingest::parse(record.clone()).is_ok_and(|batch| batch.signal == signal) {
            continue;
        }
        // One that cannot be decoded is set aside when it is its turn to leave the log.
        let Ok((_batch, chunk, _rejected)) = decode(record, templates) else { continue };
        if chunk.rows.num_rows() == 0 || chunk.time.1 < time.start || chunk.time.0 >= time.end {
            continue;
        }
        count += chunk.rows.num_rows();
        pieces.push(chunk.rows);
        if count >= ROWS {
            if !send(&mut pieces, sender)? {
                return Ok(());
            }
            count = 0;
        }
    }
    send(&mut pieces, sender).map(|_wanted| ())
}

/// Sends what was gathered; answers whether anybody still waits.
fn send(pieces: &mut Vec<Arc<RecordBatch>>, sender: &Sender) -> Result<bool, Error> {
    let rows: Vec<&RecordBatch> = pieces.iter().map(|rows| &**rows).collect();
    let rows = match rows.as_slice() {
        [] => return Ok(true),
        [one] => (*one).clone(),
        many => columns::concat(many)?,
    };
    pieces.clear();
    Ok(sender.blocking_send(Ok(rows)).is_ok())
}
