//! The API on port 8000: what comes in is checked here, asked of the engine or the store, and answered. Handlers are
//! thin, one file a group; what they answer is described at `/docs`.

mod alerts;
mod ask;
mod docs;
mod explain;
mod graph;
mod guard;
mod health;
mod incidents;
mod ingest;
mod lists;
mod mcp;
mod metrics;
pub(crate) mod params;
mod patterns;
pub(crate) mod problem;
mod process;
mod prometheus;
mod queries;
mod search;
mod sql;
mod tables;
mod tail;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use devmesh_collector::Intake;
use devmesh_schema::TimestampNs;
use devmesh_store::Store;
use tokio_util::sync::CancellationToken;

use self::problem::Problem;
pub(crate) use self::{guard::Hosts, health::DoorInfo, queries::Queries, tail::Tails};
use crate::{
    access::Access, anomalies::Anomalies, console, graph::Graphed, meaning::Search, models::Models, rules::Rules,
    settings::Settings,
};

/// Bytes of a query's body: the text of a query and its JSON around it.
const BODY_BYTES: usize = 256 << 10;

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) intake: Arc<Intake>,
    /// Search by meaning, where the store knows patterns of logs.
    pub(crate) search: Option<Search>,
    /// Baselines and incidents.
    pub(crate) anomalies: Arc<Anomalies>,
    /// Rules, and the alerts that they found.
    pub(crate) rules: Arc<Rules>,
    /// Services and what they hang together with, where that is kept.
    pub(crate) graph: Option<Arc<Graphed>>,
    /// Language models by task.
    pub(crate) models: Models,
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    pub(crate) hosts: Hosts,
    pub(crate) doors: Vec<DoorInfo>,
    pub(crate) tails: Tails,
    /// Ends live tails and makes the server unready.
    pub(crate) stopping: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) started_at: TimestampNs,
}

/// All of the API, the OTLP paths, the direct path and the console.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let asked = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/info", get(health::info))
        .route("/metrics", get(metrics::metrics))
        .route("/docs", get(docs::page))
        .route("/docs.css", get(docs::style))
        .route("/openapi.json", get(docs::openapi))
        .route("/query/sql", post(sql::sql))
        .route("/query/tables", get(tables::tables))
        .route("/query/logs", get(lists::logs))
        .route("/query/traces", get(lists::traces))
        .route("/query/traces/{trace_id}", get(lists::trace))
        .route("/query/services", get(lists::services))
        .route("/query/service-map", get(lists::service_map))
        .route("/query/patterns", get(patterns::patterns))
        .route("/search/semantic", post(search::semantic))
        .route("/explain/incident", post(explain::incident))
        .route("/ask", post(ask::ask))
        .route("/incidents", get(incidents::incidents).post(incidents::open))
        .route("/incidents/{id}", get(incidents::incident))
        .route("/incidents/{id}/close", post(incidents::close))
        .route("/anomalies", get(incidents::anomalies))
        .route("/anomalies/state", get(incidents::state))
        .route("/graph/nodes", get(graph::nodes))
        .route("/graph/neighbors/{*id}", get(graph::neighbors))
        .route("/graph/path", get(graph::path))
        .route("/tail/logs", get(tail::tail))
        .route("/v1/alerts", get(alerts::alerts))
        .route("/v1/alert-rules", get(alerts::rules).post(alerts::make).delete(alerts::unmake_named))
        .route("/v1/alert-rules/{id}", get(alerts::rule).delete(alerts::unmake))
        .route("/api/v1/query", get(prometheus::query).post(prometheus::query))
        .route("/api/v1/query_range", get(prometheus::query_range).post(prometheus::query_range))
        .route("/api/v1/series", get(prometheus::series).post(prometheus::series))
        .route("/api/v1/labels", get(prometheus::labels).post(prometheus::labels))
        .route("/api/v1/label/{name}/values", get(prometheus::label_values))
        .route("/api/v1/metadata", get(prometheus::metadata))
        .route("/api/v1/query_exemplars", get(prometheus::query_exemplars).post(prometheus::query_exemplars))
        .route("/api/v1/format_query", get(prometheus::format_query).post(prometheus::format_query))
        .route("/api/v1/parse_query", get(prometheus::parse_query).post(prometheus::parse_query))
        .route("/api/v1/rules", get(prometheus::rules::rules))
        .route("/api/v1/alerts", get(prometheus::rules::alerts))
        .route("/api/v1/status/buildinfo", get(prometheus::buildinfo))
        .route("/api/v1/{*path}", any(prometheus::unknown))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .method_not_allowed_fallback(wrong_method)
        .fallback(elsewhere)
        .with_state(Arc::clone(&api));
    let mcp = mcp::route(asked.clone(), api.hosts.clone(), &api.stopping)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .method_not_allowed_fallback(wrong_method);
    asked
        .merge(mcp)
        .merge(devmesh_collector::otlp::http::routes(Arc::clone(&api.intake)))
        .merge(devmesh_collector::direct::routes(Arc::clone(&api.intake)))
        .merge(devmesh_collector::remote_write::routes(Arc::clone(&api.intake)))
        .layer(middleware::from_fn_with_state(api, guard::guard))
}

async fn wrong_method(request: Request) -> Problem {
    let text = format!("{} does not take {}; see /docs", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// The console's files; else nothing.
async fn elsewhere(request: Request) -> Response {
    let path = request.uri().path();
    let file = matches!(*request.method(), Method::GET | Method::HEAD)
        .then(|| console::file(path, request.headers()))
        .flatten();
    file.unwrap_or_else(|| Problem::not_found(format!("there is nothing at {path}; see /docs")).into_response())
}
