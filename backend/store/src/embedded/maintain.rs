//! What has to be done now and then, by one thread of low priority: watching the disk, deleting what was replaced,
//! retention, merging small files, and checking the files that were there at the start.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use devmesh_schema::{Signal, TimestampNs};

use super::{Shared, compact, expire, manifest::Entry, quarantine};
use crate::{Error, front::disk};

const TICK: Duration = Duration::from_secs(1);
/// Bytes of files that are checked in one tick.
const CHECK_BYTES: u64 = 64 << 20;

/// The thread's work: until the store closes.
pub(crate) fn run(shared: &Shared) {
    // Of this thread alone. Refused in some containers, and no matter.
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%error, "the maintenance thread keeps its priority");
    }
    let mut unchecked: Vec<Entry> = shared.manifest().state.files.values().cloned().collect();
    let mut expired = [None::<Instant>; 3];
    learn_earlier(shared);
    loop {
        disk::watch(shared);
        shared.runtime.block_on(shared.back.files.empty_trash());
        for signal in Signal::ALL {
            retain(shared, signal, &mut expired[signal as usize]);
        }
        check_some(shared, &mut unchecked);
        if shared.settings.compact {
            guarded("merging small files", || compact::run(shared));
        }
        if shared.wake.wait_stop(TICK) {
            shared.runtime.block_on(shared.back.files.empty_trash());
            return;
        }
    }
}

/// Templates that only files know of, where what was known is gone: their rows' patterns are found again.
fn learn_earlier(shared: &Shared) {
    if !shared.templates.began_empty() {
        return;
    }
    for file in shared.tables.snapshot(Signal::Logs).files.iter() {
        if shared.closed() {
            return;
        }
        for (text, example) in file.summary().map(|summary| summary.templates).unwrap_or_default() {
            shared.templates.learn_earlier(&text, &example);
        }
    }
}

/// A failure of background work is said and costs nothing else; the next tick tries again.
fn guarded(what: &str, work: impl FnOnce() -> Result<(), Error>) {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "{what} failed"),
        Err(_panic) => tracing::error!("{what} failed: a panic"),
    }
}

/// Applies the retention of a signal, if it is time for it.
fn retain(shared: &Shared, signal: Signal, last: &mut Option<Instant>) {
    let Some(keep) = shared.settings.retention.of(signal) else { return };
    let interval = (keep / 10).clamp(Duration::from_secs(1), Duration::from_secs(3600));
    if last.is_some_and(|last| last.elapsed() < interval) {
        return;
    }
    *last = Some(Instant::now());
    let keep = TimestampNs::try_from(keep.as_nanos()).unwrap_or(TimestampNs::MAX);
    let before = expire::now().saturating_sub(keep);
    guarded("retention", || expire::age_out(shared, signal, before).map(|_rows| ()));
}

/// Checks some of the files that were there at the start.
fn check_some(shared: &Shared, unchecked: &mut Vec<Entry>) {
    let mut bytes = 0;
    while bytes < CHECK_BYTES {
        let Some(entry) = unchecked.pop() else { return };
        if entry.place == super::manifest::Place::Remote || !shared.manifest().state.files.contains_key(&entry.path) {
            continue;
        }
        bytes += entry.size;
        guarded("checking a file", || quarantine::check(shared, &entry).map(|_damaged| ()));
    }
}
