//! The store before a database, against one in memory that fails as it is told.

mod crash;
mod fake;
mod random;
mod spill;
mod view;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tempfile::TempDir;

use self::fake::Fake;
use super::{Outside, open};
use crate::{
    Error, Settings, Store,
    conformance::{self, World},
    front::Front,
};

/// A database and a data directory.
struct Place {
    directory: TempDir,
    database: Arc<Fake>,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        Self { directory, database: Fake::new(), settings }
    }

    /// Opens the store as soon as an earlier owner's threads have let go of the directory.
    async fn reopen(&self) -> Front<Outside> {
        let mut store = None;
        conformance::until("the directory is free", async || {
            match open(self.settings.clone(), self.database.clone()).await {
                Ok(opened) => store = Some(opened),
                Err(Error::Locked(_)) => {}
                Err(Error::Log(error)) if error.to_string().contains("another process") => {}
                Err(error) => panic!("{error}"),
            }
            store.is_some()
        })
        .await;
        store.unwrap()
    }
}

fn settings(directory: &Path) -> Settings {
    let mut settings = Settings { min_free_disk: 1 << 20, data_dir: directory.into(), ..Settings::default() };
    settings.retention.logs = Duration::ZERO;
    settings.retention.traces = Duration::ZERO;
    settings.retention.metrics = Duration::ZERO;
    settings.wal.segment_bytes = 1 << 20;
    settings.flush.bytes = 1 << 20;
    settings.flush.memory_bytes = 3 << 20;
    settings.database.flush_age = Duration::from_secs(600);
    settings
}

#[async_trait(?Send)]
impl World for Place {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.reopen().await)
    }

    async fn stop(&self) {
        self.database.away(true);
    }

    async fn start(&self) {
        self.database.away(false);
    }
}

conformance::suite!(async || Place::new());
conformance::outages!(async || Place::new());
