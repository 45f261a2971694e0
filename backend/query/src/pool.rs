//! The memory of queries: a bound for each, and one for all together.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    common::{Result, resources_err},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

/// What all queries hold.
#[derive(Debug)]
pub(crate) struct Total {
    held: AtomicUsize,
    limit: usize,
}

impl Total {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit })
    }
}

/// The pool of one query.
#[derive(Debug)]
pub(crate) struct QueryPool<P> {
    own: P,
    total: Arc<Total>,
}

impl<P> QueryPool<P> {
    pub(crate) fn new(own: P, total: Arc<Total>) -> Self {
        Self { own, total }
    }
}

impl<P: fmt::Display> fmt::Display for QueryPool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({})", self.own)
    }
}

impl<P: MemoryPool> MemoryPool for QueryPool<P> {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.total.held.fetch_add(additional, Ordering::Relaxed);
        self.own.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.total.held.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let fits = |held: usize| held.checked_add(additional).filter(|held| *held <= self.total.limit);
        if self.total.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return resources_err!("all queries together hold as much memory as they may");
        }
        self.own.try_grow(reservation, additional).inspect_err(|_| {
            self.total.held.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}
