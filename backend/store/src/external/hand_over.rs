//! Rows that leave memory become blocks in the database.
//!
//! 1. The bounds of the block are written down: after a crash the same records make the same block again.
//! 2. The batch ids are made durable, and each signal's block is inserted. An answer that was lost means that the same
//!    block is inserted again: the database knows it by its number.
//! 3. That the database has all of it is written down, and queries read it there instead of in memory.
//! 4. The log is trimmed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use devmesh_schema::{Signal, TimestampNs, limits};

use super::{Shared, state::Begun, watch};
use crate::{Error, columns, database::Block, memtable::Memtable};

/// What was done of a block.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Signals whose rows the database has.
    inserted: [bool; 3],
    tries: u64,
}

pub(super) fn take_over(shared: &Shared, sealed: &Memtable, progress: &mut Progress) -> Result<(), Error> {
    let started = Instant::now();
    if progress.tries > 0 {
        shared.back.retries.fetch_add(1, Ordering::Relaxed);
    }
    progress.tries += 1;
    // First: what is known of batches grows while the database is away.
    shared.write_batch_ids()?;
    let begun = begin(shared, sealed)?;
    if !shared.back.health().prepared {
        watch::ask(shared)?;
    }
    shared.back.traffic.set_out();
    for signal in Signal::ALL {
        if progress.inserted[signal as usize] {
            continue;
        }
        let rows = rows(sealed, signal, begun.horizon[signal as usize])?;
        if !rows.is_empty() {
            // A block that was too much for the time gets more of it.
            let limit = shared.settings.database.insert_timeout * u32::try_from(progress.tries.min(10)).unwrap_or(1);
            insert(shared, limit, Block { writer: shared.back.writer(), last: sealed.last, signal, rows })?;
        }
        progress.inserted[signal as usize] = true;
    }
    let mut state = shared.back.state();
    state.change(|state| (state.stored, state.begun) = (sealed.last, None))?;
    let mut tables = shared.tables.lock();
    tables.live.stored = sealed.last;
    tables.sealed = None;
    shared.back.traffic.arrived();
    drop(tables);
    drop(state);
    let rows: u64 = sealed.rows.iter().sum();
    if rows > 0 {
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(rows, ms, tries = progress.tries, log = sealed.last, "rows were handed over to the database");
    }
    Ok(())
}

/// Writes the bounds down, or finds them written.
fn begin(shared: &Shared, sealed: &Memtable) -> Result<Begun, Error> {
    let mut state = shared.back.state();
    if let Some(begun) = state.state.begun.filter(|begun| begun.last == sealed.last) {
        return Ok(begun);
    }
    let begun = Begun { last: sealed.last, horizon: state.state.horizon };
    state.change(|state| state.begun = Some(begun))?;
    Ok(begun)
}

/// The rows of a signal, without those that are forgotten.
fn rows(sealed: &Memtable, signal: Signal, horizon: TimestampNs) -> Result<Vec<Arc<RecordBatch>>, Error> {
    let mut kept = Vec::with_capacity(sealed.chunks[signal as usize].len());
    for chunk in &sealed.chunks[signal as usize] {
        if chunk.time.0 >= horizon {
            kept.push(Arc::clone(&chunk.rows));
        } else if chunk.time.1 >= horizon {
            kept.push(Arc::new(columns::not_before(&chunk.rows, horizon)?));
        }
    }
    Ok(kept)
}

fn insert(shared: &Shared, limit: Duration, block: Block) -> Result<(), Error> {
    let back = &shared.back;
    let inserted = shared.runtime.block_on(async {
        tokio::select! {
            done = tokio::time::timeout(limit, back.database.insert(&block)) => done.unwrap_or_else(|_elapsed| {
                Err(Error::Away(format!("{} did not answer an insert in {limit:?}", back.database)))
            }),
            // Where it closes, the next start sends the block again.
            () = shared.wake.ended(limits::DRAIN_TIME) => Err(Error::Away("the store is closing".into())),
        }
    });
    inserted?;
    back.blocks.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
