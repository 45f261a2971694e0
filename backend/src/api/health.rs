//! Is it alive, does it take data, what is it: `/health`, `/ready`, `/info`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use devmesh_schema::{Signal, time};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, params::now};

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
    /// The server's clock, RFC 3339.
    timestamp: String,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok", timestamp: time::format(now()) })
}

/// Whether a write would be accepted now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Why not.
    reasons: Vec<String>,
}

/// Whether the server takes data now.
#[utoipa::path(get, path = "/ready", tag = "server",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> (StatusCode, Json<Readiness>) {
    if api.stopping.is_cancelled() {
        let reasons = vec!["the server is shutting down".to_owned()];
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { status: "not ready", reasons }));
    }
    match api.store.ready().await {
        Ok(()) => (StatusCode::OK, Json(Readiness { status: "ready", reasons: Vec::new() })),
        Err(error) => {
            let readiness = Readiness { status: "not ready", reasons: vec![error.to_string()] };
            (StatusCode::SERVICE_UNAVAILABLE, Json(readiness))
        }
    }
}

/// What is running here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    /// `devmesh`.
    name: &'static str,
    /// The version.
    version: &'static str,
    /// When it started, RFC 3339.
    started: String,
    /// For how long it has run.
    uptime_seconds: f64,
    /// Where the records are kept.
    store: String,
    /// The open doors.
    doors: Vec<DoorInfo>,
    /// The three tables.
    tables: Vec<TableInfo>,
    /// Bytes of the write-ahead log.
    wal_bytes: u64,
    /// Bytes of rows in memory.
    memory_bytes: u64,
    /// Damaged files and log records set aside.
    quarantined: u64,
    /// Whether reading needs a token.
    authentication: bool,
}

/// A door and where it listens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DoorInfo {
    /// `http`, `otlp-grpc`, `otlp-http` or `postgres`.
    pub(crate) name: &'static str,
    /// Address and port.
    pub(crate) address: String,
}

/// Figures of a table since the server's start, and of what it holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableInfo {
    /// `logs`, `traces` or `metrics`.
    signal: &'static str,
    /// `logs`, `spans` or `metrics`.
    table: &'static str,
    /// Items received: stored + rejected + deduplicated.
    received: u64,
    /// Of them, stored.
    stored: u64,
    /// Of them, refused for good.
    rejected: u64,
    /// Of them, known already.
    deduplicated: u64,
    /// Rows held, in memory and in files or in the database (there an estimate).
    rows: u64,
    /// Rows in memory.
    memory_rows: u64,
    /// Bytes of files.
    file_bytes: u64,
    /// Files.
    files: u64,
    /// Rows are deleted after this time.
    retention: String,
}

/// What is running here: version, store, doors, figures.
#[utoipa::path(get, path = "/info", tag = "server", responses((status = 200, body = Info)))]
pub(super) async fn info(State(api): State<Arc<Api>>) -> Json<Info> {
    let stats = api.store.stats();
    let retention = &api.settings.retention;
    let retentions = [retention.logs, retention.traces, retention.metrics];
    let tables = Signal::ALL.iter().zip(stats.tables).zip(retentions).map(|((signal, table), retention)| TableInfo {
        signal: signal.name(),
        table: signal.table(),
        received: table.received,
        stored: table.stored,
        rejected: table.rejected,
        deduplicated: table.deduplicated,
        rows: table.memory_rows + table.file_rows + table.database_rows,
        memory_rows: table.memory_rows,
        file_bytes: table.file_bytes,
        files: table.files,
        retention: retention.to_string(),
    });
    Json(Info {
        name: "devmesh",
        version: env!("CARGO_PKG_VERSION"),
        started: time::format(api.started_at),
        uptime_seconds: api.started.elapsed().as_secs_f64(),
        store: api.store.to_string(),
        doors: api.doors.clone(),
        tables: tables.collect(),
        wal_bytes: stats.wal_bytes,
        memory_bytes: stats.memory_bytes,
        quarantined: stats.quarantined.0,
        authentication: !api.access.is_open(crate::access::Scope::Read),
    })
}
