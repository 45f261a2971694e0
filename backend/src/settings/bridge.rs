//! From the settings to what each part of the program takes.

use std::{path::PathBuf, sync::Arc};

use devmesh_collector::{Origins, Rates};

use super::{
    tree::Settings,
    units::{Size, Span},
};
use crate::access::{Access, Senders};

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

impl Settings {
    /// The URL of the store: what was set, else files in the data directory.
    pub(crate) fn store_url(&self) -> String {
        match self.store.url.reveal() {
            "" => format!("file://{}", self.store.data_dir.display()),
            url => url.to_owned(),
        }
    }

    /// The directory with the log, the lock, and what queries spill.
    pub(crate) fn local_dir(&self) -> PathBuf {
        match self.store.url.reveal().strip_prefix("file://") {
            Some(dir) => PathBuf::from(dir),
            None => self.store.data_dir.clone(),
        }
    }

    /// For the store.
    pub(crate) fn for_store(&self) -> devmesh_store::Settings {
        let defaults = devmesh_store::Settings::default();
        let Span(logs) = self.retention.logs;
        let Span(traces) = self.retention.traces;
        let Span(metrics) = self.retention.metrics;
        devmesh_store::Settings {
            url: self.store_url(),
            data_dir: self.local_dir(),
            flush: devmesh_store::settings::Flush {
                age: self.store.flush.0,
                memory_bytes: bytes(self.store.memory),
                bytes: defaults.flush.bytes.min(bytes(self.store.memory) / 3),
                ..defaults.flush
            },
            retention: devmesh_store::settings::Retention { logs, traces, metrics },
            wal: devmesh_store::settings::Wal {
                segment_bytes: self.wal.segment.0,
                max_bytes: self.wal.max.0,
                durability: self.wal.durability,
                replay: self.wal.replay,
            },
            s3: devmesh_store::settings::S3 {
                endpoint: self.s3.endpoint.clone(),
                region: self.s3.region.clone(),
                access_key_id: self.s3.access_key_id.clone(),
                secret_access_key: devmesh_store::settings::Secret(self.s3.secret_access_key.reveal().to_owned()),
                allow_http: self.s3.allow_http,
                timeout: self.s3.timeout.0,
            },
            database: devmesh_store::settings::Database {
                flush_age: self.store.database_flush.0,
                pool_min: self.store.pool_min,
                pool_max: self.store.pool_max,
                timeout: self.store.timeout.0,
                insert_timeout: self.store.insert_timeout.0,
                migrate: self.store.migrate,
                cluster: self.store.cluster.clone(),
            },
            min_free_disk: self.store.min_free_disk.0,
            templates: self.logs.templates,
            ..defaults
        }
    }

    /// For the query engine.
    pub(crate) fn for_queries(&self) -> devmesh_query::Limits {
        devmesh_query::Limits {
            timeout: self.query.timeout.0,
            query_memory: bytes(self.query.memory),
            total_memory: bytes(self.query.total_memory),
            spill_dir: Some(self.local_dir().join("spill")),
            spill_bytes: self.query.spill.0,
            concurrency: self.query.concurrency,
            threads: self.query.threads,
            ..devmesh_query::Limits::default()
        }
    }

    /// The directory of models: what was set, else `models` in the data directory.
    pub(crate) fn models(&self) -> PathBuf {
        match self.model.directory.as_os_str().is_empty() {
            true => self.local_dir().join("models"),
            false => self.model.directory.clone(),
        }
    }

    /// For search by meaning. Half of the cores embed: what arrives meanwhile needs the others.
    pub(crate) fn for_search(&self) -> devmesh_insight::meaning::Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        devmesh_insight::meaning::Settings {
            models: self.models(),
            vectors: self.local_dir().join("insight").join("vectors"),
            threads: (cores / 2).max(1),
        }
    }

    /// The directory of baselines and incidents.
    pub(crate) fn for_anomalies(&self) -> PathBuf {
        self.local_dir().join("insight")
    }

    /// The file of the graph.
    pub(crate) fn graph_file(&self) -> PathBuf {
        self.local_dir().join("graph").join("graph")
    }

    /// For the graph in a Neo4j.
    #[cfg(feature = "neo4j")]
    pub(crate) fn for_neo4j(&self) -> devmesh_graph::neo4j::Settings {
        devmesh_graph::neo4j::Settings {
            uri: self.graph.neo4j.clone(),
            user: self.graph.neo4j_user.clone(),
            password: self.graph.neo4j_password.reveal().to_owned(),
            database: self.graph.neo4j_database.clone(),
        }
    }

    /// For how long the graph keeps what is seen no more: as long as any record that showed it.
    pub(crate) fn graph_retention(&self) -> std::time::Duration {
        self.retention.logs.0.max(self.retention.traces.0).max(self.retention.metrics.0)
    }

    /// For the doors.
    pub(crate) fn for_doors(&self) -> devmesh_collector::Settings {
        let origins = match self.cors.origins.as_slice() {
            [] => Origins::Loopback,
            listed => Origins::Listed(listed.to_vec()),
        };
        let access = Access::new(&self.auth);
        let guard = (!access.is_open(crate::access::Scope::Ingest)).then(|| Arc::new(Senders(access)) as _);
        devmesh_collector::Settings {
            body_bytes: bytes(self.limits.body),
            request_bytes: bytes(self.limits.request),
            direct_bytes: bytes(self.limits.direct),
            intake_bytes: bytes(self.limits.intake),
            past: self.retention.metrics.0,
            origins,
            guard,
            rates: Rates { requests: self.rate.requests, bytes: self.rate.bytes.0, items: self.rate.items },
            ..devmesh_collector::Settings::default()
        }
    }
}
