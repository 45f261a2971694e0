//! The suite that holds for every store, on a real MariaDB server (`tests/install.sh` brings it).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../conformance/mod.rs"]
mod conformance;
mod server;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use devmesh_store::{Settings, Store};

use conformance::until;
use server::Server;

/// A database on a server, and a data directory.
struct World {
    server: Place,
    settings: Settings,
    up: AtomicBool,
    _directory: tempfile::TempDir,
}

enum Place {
    /// The server that all tests share.
    Shared(&'static Server),
    /// One that can be stopped.
    Own(Server),
}

impl Place {
    fn server(&self) -> &Server {
        match self {
            Place::Shared(server) => server,
            Place::Own(server) => server,
        }
    }
}

impl World {
    fn new(server: Place) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = server.server().database();
        let settings = conformance::settings(server.server().url(&database), directory.path());
        Self { server, settings, up: AtomicBool::new(true), _directory: directory }
    }
}

#[async_trait(?Send)]
impl conformance::World for World {
    async fn open(&self) -> Arc<dyn Store> {
        let store = conformance::opened(&self.settings).await;
        if self.up.load(Ordering::Relaxed) {
            until("the database has answered", async || store.ready().await.is_ok()).await;
        }
        store
    }

    async fn stop(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.server.server().kill();
    }

    async fn start(&self) {
        self.server.server().start();
        self.up.store(true, Ordering::Relaxed);
    }
}

conformance::suite!(async || World::new(Place::Shared(server::shared())));
conformance::outages!(async || World::new(Place::Own(Server::new(&[]))));
