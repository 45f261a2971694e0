//! The state that a query sees: rows in memory, rows on their way out of it, rows in the log alone, and what the back has.
//! Changed under one short lock, so that a row is always in exactly one of them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use devmesh_schema::Signal;
use devmesh_wal::Seq;

use super::spill::Spilled;
use crate::memtable::{Chunk, Memtable};

/// The tables.
#[derive(Debug)]
pub(crate) struct Tables<L>(Mutex<State<L>>);

/// What they are made of, in the order of the log, the newest first.
#[derive(Debug)]
pub(crate) struct State<L> {
    /// Records that are in the log and nowhere else; new ones become such.
    pub(crate) spilled: Option<Spilled>,
    /// Takes new rows.
    pub(crate) active: Memtable,
    /// Is on its way to the back.
    pub(crate) sealed: Option<Arc<Memtable>>,
    /// Where the rows of an earlier start were set aside: they are again, with the same record at their end.
    pub(crate) bound: Option<Seq>,
    /// What queries see of the back.
    pub(crate) live: L,
}

impl<L> Tables<L> {
    /// Empty memory behind record `after`; `bound`: up to where the first rows are to be set aside.
    pub(crate) fn new(after: Seq, bound: Option<Seq>, live: L) -> Self {
        Self(Mutex::new(State { spilled: None, active: Memtable::new(after), sealed: None, bound, live }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of rows in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lock().memory_bytes()
    }
}

impl<L> State<L> {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.active.bytes + self.sealed.as_ref().map_or(0, |sealed| sealed.bytes)
    }

    /// Whether the back has all rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_none() && self.active.is_empty() && self.spilled.is_none()
    }

    /// The rows of a signal in memory, in the order of the log.
    pub(crate) fn chunks(&self, signal: Signal) -> Vec<Chunk> {
        let sealed = self.sealed.as_deref().map_or(&[][..], |sealed| &sealed.chunks[signal as usize]);
        sealed.iter().chain(&self.active.chunks[signal as usize]).cloned().collect()
    }

    /// Adds the rows of record `seq`, of so many bytes in the log; they stay there alone where earlier ones do.
    pub(crate) fn insert(&mut self, signal: Signal, seq: Seq, chunk: Chunk, bytes: u64) {
        self.pass_bound(seq.saturating_sub(1));
        match &mut self.spilled {
            Some(spilled) => spilled.add(seq, bytes),
            None => self.active.insert(signal, seq, chunk),
        }
    }

    /// All records up to `seq` were inserted: what the bound encloses is set aside once it is complete.
    pub(crate) fn pass_bound(&mut self, seq: Seq) {
        if let Some(bound) = self.bound.take_if(|bound| *bound <= seq) {
            self.active.last = self.active.last.max(bound);
            self.seal();
        }
    }

    /// From here on records stay in the log alone, until the back has caught up. Not before the bound is passed.
    pub(crate) fn spill(&mut self) -> bool {
        if self.bound.is_some() || self.spilled.is_some() {
            return false;
        }
        self.spilled = Some(Spilled::behind(self.active.last));
        true
    }

    /// Sets the rows in memory aside; nothing where some are set aside already, or none are there.
    pub(crate) fn seal(&mut self) -> Option<Arc<Memtable>> {
        if self.bound.is_none() && self.sealed.is_none() && !self.active.covers_nothing() {
            let next = Memtable::new(self.active.last);
            self.sealed = Some(Arc::new(std::mem::replace(&mut self.active, next)));
        }
        self.sealed.clone()
    }

    /// Sets rows aside that were in the log alone, `bytes` there. With the last of them new rows go to memory again.
    pub(crate) fn seal_spilled(&mut self, rows: Memtable, bytes: u64) -> Option<Arc<Memtable>> {
        let spilled = self.spilled.as_mut()?;
        spilled.drain(rows.last, bytes);
        if spilled.is_empty() {
            self.spilled = None;
            self.active = Memtable::new(rows.last);
        }
        if !rows.covers_nothing() {
            self.sealed = Some(Arc::new(rows));
        }
        self.sealed.clone()
    }

    /// Since when the oldest row waits in memory.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.active.since
    }
}
