//! The commit of a batch: what the log's thread does once a group of records is durable, before their senders hear of it.

use std::{sync::Arc, time::SystemTime};

use devmesh_schema::{Receipt, Signal};
use devmesh_wal::Seq;

use super::{Back, Shared};
use crate::{dedup::Reservation, memtable::Chunk};

/// A batch on its way through the log.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) signal: Signal,
    pub(crate) chunk: Chunk,
    /// Of its record in the log.
    pub(crate) bytes: u64,
    pub(crate) receipt: Receipt,
    pub(crate) reservation: Option<Reservation>,
}

/// Makes the rows of a durable group visible, in the order of the log, all at once.
pub(crate) fn apply<B: Back>(shared: &Shared<B>, group: Vec<(Seq, Pending)>) {
    let second = now_seconds();
    let watched = shared.tail.watched();
    let mut seen = Vec::with_capacity(if watched { group.len() } else { 0 });
    let mut done = Vec::with_capacity(group.len());
    let full = {
        let mut tables = shared.tables.lock();
        for (seq, Pending { signal, chunk, bytes, receipt, reservation }) in group {
            if watched && chunk.rows.num_rows() > 0 {
                seen.push((signal, Arc::clone(&chunk.rows)));
            }
            tables.insert(signal, seq, chunk, bytes);
            done.push((signal, receipt, reservation));
        }
        tables.active.is_full(&shared.settings.flush)
    };
    for (signal, receipt, reservation) in done {
        shared.counters.stored(signal, &receipt);
        if let Some(reservation) = reservation {
            reservation.commit(second, receipt.accepted, receipt.rejected);
        }
    }
    for (signal, rows) in seen {
        shared.tail.send(signal, rows);
    }
    if full {
        shared.wake.set(|wake| wake.flush = true);
    }
}

/// Seconds since the epoch.
pub(crate) fn now_seconds() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}
