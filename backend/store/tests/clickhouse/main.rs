//! The suite that holds for every store, on the real ClickHouse engine (`tests/install.sh` brings it).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../conformance/mod.rs"]
mod conformance;
#[path = "../../src/clickhouse/tests/server.rs"]
#[allow(dead_code, reason = "the tests of the module use more of it")]
mod server;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use devmesh_store::{Settings, Store};

use conformance::until;
use server::Server;

/// A database on a server, and a data directory.
struct World {
    server: Arc<Mutex<Server>>,
    settings: Settings,
    up: AtomicBool,
    _directory: tempfile::TempDir,
}

impl World {
    /// A database on the server that all tests share.
    fn shared() -> Self {
        static SHARED: Mutex<Option<Arc<Mutex<Server>>>> = Mutex::new(None);
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let server = Arc::clone(SHARED.lock().unwrap().get_or_insert_with(|| Arc::new(Mutex::new(Server::new(None)))));
        Self::new(server, &format!("world_{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// A server that can be stopped.
    fn own() -> Self {
        Self::new(Arc::new(Mutex::new(Server::new(None))), "otel")
    }

    fn new(server: Arc<Mutex<Server>>, database: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = conformance::settings(server.lock().unwrap().url(database), directory.path());
        Self { server, settings, up: AtomicBool::new(true), _directory: directory }
    }
}

#[async_trait(?Send)]
impl conformance::World for World {
    async fn open(&self) -> Arc<dyn Store> {
        let store = conformance::opened(&self.settings).await;
        if self.up.load(Ordering::Relaxed) {
            until("the tables are made", async || store.ready().await.is_ok()).await;
        }
        store
    }

    async fn stop(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.server.lock().unwrap().kill();
    }

    async fn start(&self) {
        self.server.lock().unwrap().restart();
        self.up.store(true, Ordering::Relaxed);
    }
}

conformance::suite!(async || World::shared());
conformance::outages!(async || World::own());
