//! Waking the background threads.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// What background threads are asked to do.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    state: Mutex<WakeState>,
    changed: Condvar,
    rung: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WakeState {
    /// Rows are to leave memory now.
    pub(crate) flush: bool,
    /// What failed is to be tried again now.
    pub(crate) retry: bool,
    /// The store is closing.
    pub(crate) stop: bool,
    /// It was dropped without being closed: nothing is written any more.
    pub(crate) abandoned: bool,
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, WakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut WakeState)) {
        change(&mut self.lock());
        self.changed.notify_all();
        self.rung.notify_waiters();
    }

    /// Waits for a flush to be asked for, the stop, or the time; a request for a flush is taken.
    pub(crate) fn wait_flush(&self, time: Duration) -> WakeState {
        let idle = |state: &mut WakeState| !state.flush && !state.stop;
        let (mut guard, _) =
            self.changed.wait_timeout_while(self.lock(), time, idle).unwrap_or_else(PoisonError::into_inner);
        let state = *guard;
        (guard.flush, guard.retry) = (false, false);
        state
    }

    /// Waits after a failure: for somebody who wants it to be tried again, the stop, or the time; answers whether to stop.
    pub(crate) fn wait_retry(&self, time: Duration) -> bool {
        let idle = |state: &mut WakeState| !state.retry && !state.stop;
        let (mut guard, _) =
            self.changed.wait_timeout_while(self.lock(), time, idle).unwrap_or_else(PoisonError::into_inner);
        guard.retry = false;
        guard.stop
    }

    /// Waits for the stop, or the time; answers whether to stop.
    pub(crate) fn wait_stop(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let left = until.saturating_duration_since(Instant::now());
        let (guard, _) = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        guard.stop
    }

    /// Whether the store was dropped without being closed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Returns when the store was dropped, or `grace` after it began to close.
    pub(crate) async fn ended(&self, grace: Duration) {
        let mut until = None;
        loop {
            let rung = self.rung.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let state = *self.lock();
            if state.abandoned {
                return;
            }
            if !state.stop {
                rung.await;
                continue;
            }
            let until = *until.get_or_insert_with(|| tokio::time::Instant::now() + grace);
            if tokio::time::timeout_at(until, rung).await.is_err() {
                return;
            }
        }
    }
}
