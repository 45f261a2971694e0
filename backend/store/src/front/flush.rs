//! Moving rows out of memory, off the path of any answer.
//!
//! One thread sets the in-memory table aside at a number of the log, has the back store it durably and swap it under the
//! queries' eyes, and then trims the log. Until the back has the rows, the log has them. What fails is tried again; the
//! rows stay in memory meanwhile, and after them those that found no room there, in the log.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Back, Shared, spill::Drain};
use crate::{Error, memtable::Memtable};

/// The thread's work: until the store closes.
pub(crate) fn run<B: Back>(shared: &Shared<B>) {
    let mut mover = Mover::<B>::default();
    let mut failures = 0;
    loop {
        let wake = shared.wake.wait_flush(left(shared));
        if wake.abandoned {
            return;
        }
        if !(wake.flush || wake.stop || left(shared).is_zero()) {
            continue;
        }
        match mover.flush(shared, wake.stop) {
            // The rows that came while the first were written.
            Ok(()) if wake.stop && !shared.tables.lock().active.covers_nothing() => failures = 0,
            Ok(()) if wake.stop => return,
            Ok(()) => failures = 0,
            Err(error) => {
                tracing::error!(%error, "{}", B::STUCK);
                shared.condition().flush = Some(error.to_string());
                shared.failures.fetch_add(1, Ordering::AcqRel);
                if B::SPILLS {
                    shared.room.notify_waiters();
                }
                failures += 1;
                // On the way out the log has the rows.
                if wake.stop || shared.wake.wait_retry(B::pause(failures)) {
                    return;
                }
            }
        }
    }
}

/// For how long rows may still stay in memory.
fn left<B: Back>(shared: &Shared<B>) -> Duration {
    let age = shared.settings.flush.age;
    let tables = shared.tables.lock();
    if tables.sealed.is_some() || tables.spilled.is_some() {
        return Duration::ZERO;
    }
    match tables.waiting_since() {
        // Those of an earlier start are read back still.
        Some(since) if tables.bound.is_none() => age.saturating_sub(since.elapsed()),
        _ => age,
    }
}

/// Moves rows.
struct Mover<B: Back> {
    progress: B::Progress,
    drain: Drain,
}

impl<B: Back> Default for Mover<B> {
    fn default() -> Self {
        Self { progress: B::Progress::default(), drain: Drain::default() }
    }
}

impl<B: Back> Mover<B> {
    /// Stores what is set aside, or sets aside what there is and stores that.
    fn flush(&mut self, shared: &Shared<B>, closing: bool) -> Result<(), Error> {
        let Some(sealed) = self.next(shared, closing)? else { return Ok(()) };
        // Whatever the rows say of templates is known after a crash as well. Where that fails, they say the texts themselves.
        if let Err(error) = shared.templates.save() {
            tracing::warn!(%error, "what is known of templates cannot be written down");
        }
        B::take_over(shared, &sealed, &mut self.progress)?;
        self.progress = B::Progress::default();
        shared.rows_flushed.fetch_add(sealed.rows.iter().sum(), Ordering::Relaxed);
        shared.condition().flush = None;
        shared.trim(sealed.last);
        shared.room.notify_waiters();
        Ok(())
    }

    fn next(&mut self, shared: &Shared<B>, closing: bool) -> Result<Option<Arc<Memtable>>, Error> {
        let sealed = shared.tables.lock().seal();
        if sealed.is_some() || closing {
            // What is in the log alone may be much: the next start goes on with it.
            return Ok(sealed);
        }
        self.drain.next(shared)
    }
}
