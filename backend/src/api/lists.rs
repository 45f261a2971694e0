//! Lists by query parameters: logs, traces, services. What they mean is the engine's ([`devmesh_query::rest`]).

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, Uri},
    response::{IntoResponse, Response},
};
use devmesh_query::rest::{LogQuery, TimeRange, TraceQuery};
use devmesh_schema::TimestampNs;
use serde::Serialize;
use serde_json::Value;

use super::{
    Api,
    params::{LIMIT_MAX, Params},
    problem::{Problem, ProblemBody},
    sql,
};

/// Parameters of a time range.
const RANGE: [&str; 2] = ["start_time", "end_time"];
const ELAPSED: HeaderName = HeaderName::from_static("x-elapsed-ms");

fn range(params: &Params) -> Result<TimeRange, Problem> {
    let range = params.range()?;
    let start = (range.start != TimestampNs::MIN).then_some(range.start);
    let end = (range.end != TimestampNs::MAX).then_some(range.end);
    Ok(TimeRange { start, end })
}

/// A list with the time that it took and, where the limit was lowered, what it was lowered to.
pub(super) fn list(rows: impl Serialize, started: Instant, lowered: bool) -> Response {
    let mut response = Json(rows).into_response();
    let elapsed = format!("{:.3}", milliseconds(started));
    let headers = response.headers_mut();
    headers.insert(ELAPSED, HeaderValue::from_str(&elapsed).unwrap_or(HeaderValue::from_static("0")));
    if lowered {
        headers.insert(sql::LIMIT_APPLIED, HeaderValue::from(LIMIT_MAX));
    }
    response
}

fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1000.0
}

/// An object with the time that it took.
pub(super) fn object(value: impl Serialize, started: Instant) -> Result<Value, Problem> {
    let failed = |error: serde_json::Error| Problem::from(devmesh_query::Error::Internal(error.to_string()));
    let mut value = serde_json::to_value(value).map_err(failed)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("elapsed_ms".to_owned(), milliseconds(started).into());
    }
    Ok(value)
}

fn trace_id(text: &str) -> Result<String, Problem> {
    let valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid { Ok(text.to_ascii_lowercase()) } else { Err(Problem::bad_request("trace_id: it has 32 hex digits")) }
}

/// Log records, newest first, as an array of objects in the columns of `log_events`. `X-Elapsed-Ms` says how long it took.
#[utoipa::path(get, path = "/query/logs", tag = "query",
    params(
        ("service" = Option<String>, Query, description = "Only this service"),
        ("host" = Option<String>, Query, description = "Only this host"),
        ("level" = Option<String>, Query, description = "Only this level"),
        ("trace_id" = Option<String>, Query, description = "Only this trace: 32 hex digits"),
        ("pattern_id" = Option<String>, Query, description = "Only this template"),
        ("q" = Option<String>, Query, description = "Only messages in which every word stands"),
        ("start_time" = Option<String>, Query, description = "From: RFC 3339, Unix ns, now-15m"),
        ("end_time" = Option<String>, Query, description = "Until, exclusive"),
        ("limit" = Option<u64>, Query, description = "Rows: 100 unless said otherwise, at most 10,000"),
        ("offset" = Option<u64>, Query, description = "Rows to leave out"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn logs(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let names = ["service", "host", "level", "trace_id", "pattern_id", "q", "limit", "offset"];
    let params = Params::read(&uri, &[&names[..], &RANGE].concat(), &[])?;
    let (limit, lowered) = params.limit()?;
    let query = LogQuery {
        service: params.string("service"),
        host: params.string("host"),
        level: params.string("level"),
        trace_id: params.text("trace_id").map(trace_id).transpose()?,
        pattern_id: params.string("pattern_id"),
        q: params.string("q"),
        range: range(&params)?,
        limit,
        offset: params.offset()?,
    };
    let rows = api.queries.count(api.queries.engine().logs(&query)).await?;
    Ok(list(rows, started, lowered))
}

/// Traces, newest first: those with a span that fits all parameters. An array of objects.
#[utoipa::path(get, path = "/query/traces", tag = "query",
    params(
        ("service" = Option<String>, Query, description = "Of this service"),
        ("operation" = Option<String>, Query, description = "Of this name"),
        ("min_duration_ms" = Option<f64>, Query, description = "That lasts at least so long"),
        ("status" = Option<String>, Query, description = "UNSET, OK or ERROR"),
        ("attribute" = Option<String>, Query, description = "With this attribute: k=v; may be repeated"),
        ("start_time" = Option<String>, Query, description = "That begins at or after"),
        ("end_time" = Option<String>, Query, description = "That begins before"),
        ("limit" = Option<u64>, Query, description = "Traces: 100 unless said otherwise, at most 10,000"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn traces(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let names = ["service", "operation", "min_duration_ms", "status", "limit"];
    let params = Params::read(&uri, &[&names[..], &RANGE].concat(), &["attribute"])?;
    let (limit, lowered) = params.limit()?;
    let attribute = |text: &str| {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| Problem::bad_request(format!("attribute: `{text}` is no k=v")))?;
        Ok::<_, Problem>((key.to_owned(), value.to_owned()))
    };
    let status = params.text("status").map(str::to_ascii_uppercase);
    if let Some(status) = status.as_deref().filter(|status| !["UNSET", "OK", "ERROR"].contains(status)) {
        return Err(Problem::bad_request(format!("status: `{status}` is none of UNSET, OK, ERROR")));
    }
    let query = TraceQuery {
        service: params.string("service"),
        operation: params.string("operation"),
        min_duration_ms: params.milliseconds("min_duration_ms")?,
        status,
        attributes: params.all("attribute").map(attribute).collect::<Result<_, _>>()?,
        range: range(&params)?,
        limit,
    };
    let rows = api.queries.count(api.queries.engine().traces(&query)).await?;
    Ok(list(rows, started, lowered))
}

/// One trace: `spans` in order of their start, each with its depth, children and own time; `roots`; `critical_path`, each
/// part with `span_id`, `start_offset_ns` and `duration_ns`; `logs` of the trace.
#[utoipa::path(get, path = "/query/traces/{trace_id}", tag = "query",
    params(("trace_id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn trace(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    Params::read(&uri, &[], &[])?;
    let trace = api.queries.count(api.queries.engine().trace(&trace_id(&id)?)).await?;
    Ok(Json(object(trace, started)?))
}

/// Rate, errors and duration of each service, by name. An array of objects.
#[utoipa::path(get, path = "/query/services", tag = "query",
    params(
        ("start_time" = Option<String>, Query, description = "From"),
        ("end_time" = Option<String>, Query, description = "Until, exclusive"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn services(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &RANGE, &[])?;
    let rows = api.queries.count(api.queries.engine().services(range(&params)?)).await?;
    Ok(list(rows, started, false))
}

/// Who calls whom: `nodes` with their figures, `edges` with calls, errors and latencies.
#[utoipa::path(get, path = "/query/service-map", tag = "query",
    params(
        ("start_time" = Option<String>, Query, description = "From"),
        ("end_time" = Option<String>, Query, description = "Until, exclusive"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody)))]
pub(super) async fn service_map(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &RANGE, &[])?;
    let map = api.queries.count(api.queries.engine().service_map(range(&params)?)).await?;
    Ok(Json(object(map, started)?))
}
