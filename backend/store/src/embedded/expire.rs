//! Forgetting: at somebody's word, or because of age.
//!
//! [`expire`] forgets records older than a time at once: the time is written to the manifest first, and from then on no
//! query sees an older record, whatever file it still lies in. [`age_out`] is what retention does: it drops files whose
//! records are all older than it keeps them, counted from the record's own time or from its arrival, whichever is
//! later. So records that were old when they came (an import, a sender that was away) stay as long as fresh ones, and
//! nothing that was acknowledged disappears at once.

use std::time::SystemTime;

use devmesh_schema::{Signal, TimestampNs};

use super::{
    Shared,
    manifest::{Edit, Entry},
};
use crate::Error;

/// The time of day, ns since the epoch.
pub(crate) fn now() -> TimestampNs {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampNs::try_from(now.as_nanos()).unwrap_or(TimestampNs::MAX)
}

/// Drops files of the signal whose records were all made, and written, before `before`. Answers how many rows went.
pub(crate) fn age_out(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
    let aged = |entry: &Entry| entry.time.1.max(entry.meta.written) < before;
    forget(shared, signal, before, aged, None)
}

/// Forgets records of the signal whose time lies before `before`. Answers how many rows went, of memory and of files that
/// were wholly older.
pub(crate) fn expire(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
    forget(shared, signal, before, |entry| entry.time.1 < before, Some(before))
}

/// Drops the files that are `old`, and hides rows before `horizon` where there is one.
fn forget(
    shared: &Shared,
    signal: Signal,
    before: TimestampNs,
    old: impl Fn(&Entry) -> bool,
    hide: Option<TimestampNs>,
) -> Result<u64, Error> {
    let mut manifest = shared.manifest();
    let mut horizon = manifest.state.horizon;
    let old: Vec<_> = manifest.state.files.values().filter(|e| e.meta.signal == signal && old(e)).collect();
    let (files, mut rows) = (old.len(), old.iter().map(|entry| entry.rows).sum::<u64>());
    let remove: Vec<String> = old.iter().map(|entry| entry.path.clone()).collect();
    let later = hide.is_some_and(|hide| hide > horizon[signal as usize]);
    if !later && remove.is_empty() {
        return Ok(0);
    }
    horizon[signal as usize] = horizon[signal as usize].max(hide.unwrap_or(TimestampNs::MIN));
    manifest.commit(Edit { remove: remove.clone(), horizon: Some(horizon), ..Edit::default() })?;
    let mut tables = shared.tables.lock();
    tables.live.horizon = horizon;
    let obsolete: Vec<_> =
        tables.live.files[signal as usize].iter().filter(|f| remove.contains(&f.entry.path)).cloned().collect();
    tables.live.replace(signal, Vec::new(), &remove);
    if let Some(hide) = hide {
        rows += tables.active.expire(signal, hide)?;
    }
    drop(tables);
    drop(manifest);
    obsolete.iter().for_each(|file| file.obsolete());
    drop(obsolete);
    shared.runtime.block_on(shared.back.files.empty_trash());
    if rows > 0 {
        tracing::info!(table = signal.table(), rows, files, before = devmesh_schema::time::format(before), "expired");
    }
    Ok(rows)
}
