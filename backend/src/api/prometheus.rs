//! Prometheus' HTTP API over the table `metrics`, so that Grafana and Prometheus' own tools can ask.
//!
//! Answers, errors and formats are Prometheus' (HTTP API, stable v1), not `application/problem+json`.

mod parameters;
mod render;
pub(super) mod rules;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use devmesh_query::prometheus::{
    LOOKBACK, POINTS, PromError,
    promql::{self, Annotations, Times},
};

use self::parameters::Parameters;
use super::Api;

/// What metadata, series and labels look back to where no start was given, ms.
const RECENT: i64 = 24 * 3_600_000;

/// A failure in Prometheus' words.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Failure {
    fn bad_data(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", text: text.into() }
    }

    /// A parameter's value is none.
    fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<PromError> for Failure {
    fn from(error: PromError) -> Self {
        let (status, kind) = match &error {
            PromError::Promql(promql::Error::Parse(_)) => (StatusCode::BAD_REQUEST, "bad_data"),
            PromError::Promql(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            PromError::Read(error) => return Self::from_read(error),
        };
        let text = match &error {
            PromError::Promql(promql::Error::Parse(text)) => format!("invalid parameter \"query\": {text}"),
            other => other.to_string(),
        };
        Self { status, kind, text }
    }
}

impl From<devmesh_query::Error> for Failure {
    fn from(error: devmesh_query::Error) -> Self {
        Self::from_read(&error)
    }
}

impl Failure {
    fn from_read(error: &devmesh_query::Error) -> Self {
        use devmesh_query::Error;
        let (status, kind) = match error {
            Error::Timeout(_) | Error::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Error::Internal(_) | Error::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        Self { status, kind, text: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, kind, text } = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(detail = text, "a fault of the server");
        }
        let body = serde_json::json!({"status": "error", "errorType": kind, "error": text});
        json(status, body.to_string())
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn success(data: &str, annotations: &Annotations) -> Response {
    json(StatusCode::OK, render::envelope(data, annotations))
}

/// A PromQL query at one time.
#[utoipa::path(get, path = "/api/v1/query", tag = "prometheus",
    params(
        ("query" = String, Query, description = "PromQL"),
        ("time" = Option<String>, Query, description = "RFC 3339 or Unix seconds; now unless said otherwise"),
        ("timeout" = Option<String>, Query, description = "Seconds or a duration"),
        ("lookback_delta" = Option<String>, Query, description = "How old a sample a plain selector sees: 5m"),
        ("limit" = Option<u64>, Query, description = "Series at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object), (status = 422, body = Object)))]
pub(super) async fn query(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let text = parameters.query()?;
    let at = parameters.time("time")?.unwrap_or_else(parameters::now);
    let lookback = parameters.duration("lookback_delta")?.unwrap_or(LOOKBACK);
    let timeout = parameters.duration("timeout")?;
    let limit = parameters.limit()?;
    let (answer, annotations) = api.queries.engine().promql_instant(text, at, lookback, timeout).await?;
    Ok(success(&render::instant(&answer, at, limit), &annotations))
}

/// A PromQL query at several times.
#[utoipa::path(get, path = "/api/v1/query_range", tag = "prometheus",
    params(
        ("query" = String, Query, description = "PromQL"),
        ("start" = String, Query, description = "The first time: RFC 3339 or Unix seconds"),
        ("end" = String, Query, description = "The last, inclusive"),
        ("step" = String, Query, description = "Seconds or a duration"),
        ("timeout" = Option<String>, Query, description = "Seconds or a duration"),
        ("limit" = Option<u64>, Query, description = "Series at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object), (status = 422, body = Object)))]
pub(super) async fn query_range(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let start = parameters.needed_time("start")?;
    let end = parameters.needed_time("end")?;
    if end < start {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parameters.duration("step")?.ok_or_else(|| Failure::parameter("step", "it is missing"))?;
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if step == 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Failure::parameter("step", reason));
    }
    if (end - start) / step > POINTS as i64 {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let text = parameters.query()?;
    let lookback = parameters.duration("lookback_delta")?.unwrap_or(LOOKBACK);
    let (timeout, limit) = (parameters.duration("timeout")?, parameters.limit()?);
    let times = Times { start, end, step };
    let (answer, annotations) = api.queries.engine().promql_range(text, times, lookback, timeout).await?;
    Ok(success(&render::range(&answer, times, limit), &annotations))
}

/// The labels of the series that selectors want.
#[utoipa::path(get, path = "/api/v1/series", tag = "prometheus",
    params(
        ("match[]" = String, Query, description = "A selector; may come more than once"),
        ("start" = Option<String>, Query, description = "From: RFC 3339 or Unix seconds; a day ago unless said otherwise"),
        ("end" = Option<String>, Query, description = "Until, inclusive"),
        ("limit" = Option<u64>, Query, description = "Series at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn series(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let selectors = parameters.all("match[]");
    if selectors.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let (start, end) = parameters.range(RECENT)?;
    let limit = parameters.limit()?;
    let series = api.queries.engine().prom_series(&selectors, start, end).await?;
    let shown: Vec<String> = series.iter().take(limit).map(render::labels).collect();
    Ok(success(&format!("[{}]", shown.join(",")), &truncated(series.len(), limit)))
}

/// The names of labels.
#[utoipa::path(get, path = "/api/v1/labels", tag = "prometheus",
    params(
        ("match[]" = Option<String>, Query, description = "Only of the series that a selector wants"),
        ("start" = Option<String>, Query, description = "From: RFC 3339 or Unix seconds; a day ago unless said otherwise"),
        ("end" = Option<String>, Query, description = "Until, inclusive"),
        ("limit" = Option<u64>, Query, description = "Names at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn labels(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let (start, end) = parameters.range(RECENT)?;
    let series = api.queries.engine().prom_series(&parameters.all("match[]"), start, end).await?;
    let names: BTreeSet<&str> = series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    list(&names, parameters.limit()?)
}

/// The values of a label.
#[utoipa::path(get, path = "/api/v1/label/{name}/values", tag = "prometheus",
    params(
        ("name" = String, Path, description = "The label; one that is no plain name as U__…"),
        ("match[]" = Option<String>, Query, description = "Only of the series that a selector wants"),
        ("start" = Option<String>, Query, description = "From: RFC 3339 or Unix seconds; a day ago unless said otherwise"),
        ("end" = Option<String>, Query, description = "Until, inclusive"),
        ("limit" = Option<u64>, Query, description = "Values at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn label_values(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let name = parameters::unescaped(&name)?;
    let (start, end) = parameters.range(RECENT)?;
    let series = api.queries.engine().prom_series(&parameters.all("match[]"), start, end).await?;
    let values: BTreeSet<&str> =
        series.iter().map(|labels| labels.get(&name)).filter(|value| !value.is_empty()).collect();
    list(&values, parameters.limit()?)
}

/// What is known of the metrics of the last day: type, help, unit.
#[utoipa::path(get, path = "/api/v1/metadata", tag = "prometheus",
    params(
        ("metric" = Option<String>, Query, description = "Only this one"),
        ("limit" = Option<u64>, Query, description = "Metrics at most"),
        ("limit_per_metric" = Option<u64>, Query, description = "Entries of one at most"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn metadata(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let (limit, each) = (parameters.limit()?, parameters.count("limit_per_metric")?);
    let only = parameters.one("metric");
    let (start, end) = parameters.range(RECENT)?;
    let all = api.queries.engine().prom_metadata(start, end).await?;
    let shown = all.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)).take(limit);
    let shown: serde_json::Map<String, serde_json::Value> = shown
        .map(|(name, entries)| {
            let entries = entries.into_iter().take(each);
            let entries = entries.map(|m| serde_json::json!({"type": m.kind, "help": m.help, "unit": m.unit}));
            (name, entries.collect())
        })
        .collect();
    Ok(success(&serde_json::Value::Object(shown).to_string(), &Annotations::default()))
}

/// Exemplars of the series that a query reads: single observations, with the trace that made them.
#[utoipa::path(get, path = "/api/v1/query_exemplars", tag = "prometheus",
    params(
        ("query" = String, Query, description = "PromQL"),
        ("start" = Option<String>, Query, description = "From: RFC 3339 or Unix seconds; a day ago unless said otherwise"),
        ("end" = Option<String>, Query, description = "Until, inclusive"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn query_exemplars(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let (start, end) = parameters.range(RECENT)?;
    let all = api.queries.engine().prom_exemplars(parameters.query()?, start, end).await?;
    Ok(success(&render::exemplars(&all), &Annotations::default()))
}

/// A query, formatted.
#[utoipa::path(get, path = "/api/v1/format_query", tag = "prometheus",
    params(("query" = String, Query, description = "PromQL")),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn format_query(request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let text = promql::format(parameters.query()?).map_err(PromError::from)?;
    Ok(success(&serde_json::Value::from(text).to_string(), &Annotations::default()))
}

/// A query, as a tree.
#[utoipa::path(get, path = "/api/v1/parse_query", tag = "prometheus",
    params(("query" = String, Query, description = "PromQL")),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(super) async fn parse_query(request: Request) -> Result<Response, Failure> {
    let parameters = Parameters::read(request).await?;
    let tree = promql::tree(parameters.query()?).map_err(PromError::from)?;
    Ok(success(&tree, &Annotations::default()))
}

/// The version, as Grafana asks for it to know what it may ask.
#[utoipa::path(get, path = "/api/v1/status/buildinfo", tag = "prometheus", responses((status = 200, body = Object)))]
pub(super) async fn buildinfo() -> Response {
    let data = serde_json::json!({
        // Of the API, not of devmesh: Grafana tells by it what it may use.
        "version": "3.0.0",
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": concat!("devmesh ", env!("CARGO_PKG_VERSION")),
    });
    success(&data.to_string(), &Annotations::default())
}

fn list(names: &BTreeSet<&str>, limit: usize) -> Result<Response, Failure> {
    let shown: Vec<&&str> = names.iter().take(limit).collect();
    let data = serde_json::json!(shown);
    Ok(success(&data.to_string(), &truncated(names.len(), limit)))
}

fn truncated(found: usize, limit: usize) -> Annotations {
    let mut annotations = Annotations::default();
    if found > limit {
        annotations.warnings.insert("results truncated due to limit".to_owned());
    }
    annotations
}

/// A path of Prometheus' API that is none here.
pub(super) async fn unknown() -> Failure {
    let text = "devmesh has no such call of Prometheus' API; see /docs".to_owned();
    Failure { status: StatusCode::NOT_FOUND, kind: "not_found", text }
}

/// How long a selector looks back at most.
pub(super) const LOOKBACK_MAX: Duration = Duration::from_secs(365 * 86_400);
