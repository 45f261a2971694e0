//! Whether the database answers, how large it is, and what is old enough to go: one thread, every second.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use devmesh_schema::{Signal, TimestampNs};

use super::{LONGEST_PAUSE, PAUSE, Shared};
use crate::{Error, front::disk};

const TICK: Duration = Duration::from_secs(1);
/// How often a database that answers is asked again.
const ASK: Duration = Duration::from_secs(5);
/// How often it is asked how large it is.
const MEASURE: Duration = Duration::from_secs(30);

/// The thread's work: until the store closes.
pub(super) fn run(shared: &Shared) {
    let (mut asked, mut measured, mut expired) = (None, None, [None; 3]);
    let mut pause = PAUSE;
    loop {
        disk::watch(shared);
        if due(asked, pause) {
            let answer = ask(shared);
            asked = Some(Instant::now());
            pause = match answer {
                Ok(()) => ASK,
                Err(_) => (pause * 2).clamp(PAUSE, LONGEST_PAUSE).min(ASK),
            };
        }
        let up = shared.back.health().away.is_none();
        if up && due(measured, MEASURE) {
            measured = Some(Instant::now());
            measure(shared);
        }
        for signal in Signal::ALL {
            if up {
                retain(shared, signal, &mut expired[signal as usize]);
            }
        }
        if shared.wake.wait_stop(TICK.min(pause)) {
            return;
        }
    }
}

fn due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}

/// Asks the database whether it is ready, which also brings its schema up to date; tells everybody who waits for it.
pub(super) fn ask(shared: &Shared) -> Result<(), Error> {
    let back = &shared.back;
    let _asking = back.asking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let prepared = back.health().prepared;
    let answer = shared.runtime.block_on(async {
        let ready = async {
            // The first may have a schema to make, which takes as long as it takes.
            if !prepared {
                back.database.ready().await?;
                return name(shared).await;
            }
            let limit = shared.settings.database.timeout;
            tokio::time::timeout(limit, back.database.ready())
                .await
                .unwrap_or_else(|_elapsed| Err(Error::Away(format!("{} did not answer in {limit:?}", back.database))))
        };
        tokio::select! {
            answer = ready => answer,
            () = shared.wake.ended(Duration::ZERO) => Err(Error::Away("the store is closing".into())),
        }
    });
    let away = answer.as_ref().err().map(ToString::to_string);
    let mut health = back.health();
    match (&health.away, &away) {
        (Some(_), None) => tracing::info!(database = %back.database, "the database is ready"),
        (was, Some(reason)) if !prepared || was.is_none() => {
            tracing::warn!(reason, "the database is not ready; records stay in the log meanwhile");
        }
        _ => {}
    }
    let came = health.away.is_some() && away.is_none();
    health.prepared |= away.is_none();
    health.away = away;
    drop(health);
    back.answers.send_modify(|answers| *answers += 1);
    if came {
        shared.wake.set(|wake| wake.retry = true);
    }
    answer
}

/// Gives the log another name where the database has later blocks of this one: then the data directory is a copy of an
/// earlier state, its numbers were given to other records since, and the database would take new blocks for known ones.
async fn name(shared: &Shared) -> Result<(), Error> {
    let back = &shared.back;
    let writer = back.writer();
    let newest = match back.database.newest(&writer).await {
        Ok(Some(newest)) => newest,
        Ok(None) => return Ok(()),
        Err(error @ Error::Away(_)) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "whether the data directory is a copy of an earlier state is not known");
            return Ok(());
        }
    };
    let mut state = back.state();
    let known = state.state.begun.map_or(state.state.stored, |begun| begun.last);
    if newest <= known {
        return Ok(());
    }
    let other: Arc<str> = uuid::Uuid::new_v4().simple().to_string().into();
    state.change(|state| state.writer = other.to_string())?;
    *back.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = other;
    let directory = shared.root.display();
    tracing::error!(
        newest,
        known,
        "{directory} is older than what the database has of it: was it restored from a copy? It goes on under another \
         name; what of its log the database had already comes a second time"
    );
    Ok(())
}

fn measure(shared: &Shared) {
    let back = &shared.back;
    let limit = shared.settings.database.timeout;
    let size = shared.runtime.block_on(async {
        tokio::select! {
            size = tokio::time::timeout(limit, back.database.size()) => size.ok(),
            () = shared.wake.ended(Duration::ZERO) => None,
        }
    });
    match size {
        Some(Ok(size)) => back.health().size = size,
        Some(Err(error)) => tracing::debug!(%error, "the size of the database is not known"),
        None => tracing::debug!("the database did not say how large it is"),
    }
}

/// Applies the retention of a signal, if it is time for it.
fn retain(shared: &Shared, signal: Signal, last: &mut Option<Instant>) {
    let Some(keep) = shared.settings.retention.of(signal) else { return };
    let interval = (keep / 10).clamp(Duration::from_secs(1), Duration::from_secs(3600));
    if !due(*last, interval) {
        return;
    }
    *last = Some(Instant::now());
    let keep = TimestampNs::try_from(keep.as_nanos()).unwrap_or(TimestampNs::MAX);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = TimestampNs::try_from(now.as_nanos()).unwrap_or(TimestampNs::MAX);
    // What has not reached the database yet is deleted there next time.
    if let Err(error) = forget(shared, signal, now.saturating_sub(keep)) {
        tracing::error!(%error, table = signal.table(), "retention failed");
    }
}

/// Deletes records of the signal before `before` in the database.
fn forget(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
    let rows = shared.runtime.block_on(async {
        tokio::select! {
            rows = shared.back.database.expire(signal, before) => rows,
            () = shared.wake.ended(Duration::ZERO) => Err(Error::Away("the store is closing".into())),
        }
    })?;
    if rows > 0 {
        tracing::info!(table = signal.table(), rows, before = devmesh_schema::time::format(before), "expired");
    }
    Ok(rows)
}

/// Forgets records of the signal before `before` at once, wherever they are. Answers how many rows went, of memory and
/// of the database.
pub(super) fn expire(shared: &Shared, signal: Signal, before: TimestampNs) -> Result<u64, Error> {
    shared.back.usable()?;
    let mut state = shared.back.state();
    let mut horizon = state.state.horizon;
    let mut rows = 0;
    if before > horizon[signal as usize] {
        horizon[signal as usize] = before;
        state.change(|state| state.horizon = horizon)?;
        let mut tables = shared.tables.lock();
        tables.live.horizon = horizon;
        rows = tables.active.expire(signal, before)?;
    }
    drop(state);
    Ok(rows + forget(shared, signal, before)?)
}
