//! `GET /query/patterns`: what log bodies say, and what is different from another time.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State, http::Uri};
use devmesh_query::rest::{PatternQuery, TimeRange};
use devmesh_schema::TimestampNs;
use serde_json::{Value, json};

use super::{
    Api,
    lists::object,
    params::{Params, now},
    problem::{Problem, ProblemBody},
};

/// The patterns of log bodies with their counts, the most frequent first, in `patterns`. With `compare_start` and
/// `compare_end` instead what is different from that time: `new`, `gone`, `more`, `fewer`, and how many are the `same`.
#[utoipa::path(get, path = "/query/patterns", tag = "query",
    params(
        ("start_time" = Option<String>, Query, description = "From: RFC 3339, Unix ns, now-15m"),
        ("end_time" = Option<String>, Query, description = "Until, exclusive"),
        ("service" = Option<String>, Query, description = "Only this service"),
        ("compare_start" = Option<String>, Query, description = "Begin of the time to compare with; `start_time` is needed then"),
        ("compare_end" = Option<String>, Query, description = "Its end; `start_time` unless said otherwise"),
        ("limit" = Option<u64>, Query, description = "Patterns of each list: 100 unless said otherwise, at most 10,000"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody)))]
pub(super) async fn patterns(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let names = ["start_time", "end_time", "service", "compare_start", "compare_end", "limit"];
    let params = Params::read(&uri, &names, &[])?;
    let (limit, _lowered) = params.limit()?;
    let range = open(params.range_of("start_time", "end_time")?);
    let compared = open(params.range_of("compare_start", "compare_end")?);
    let engine = api.queries.engine();
    let service = params.string("service");
    if compared == TimeRange::default() {
        let query = PatternQuery { service, range, limit };
        let patterns = api.queries.count(engine.patterns(&query)).await?;
        return Ok(Json(object(json!({ "patterns": patterns }), started)?));
    }
    let needed = |name: &str| Problem::bad_request(format!("{name} is needed for a comparison"));
    let window = TimeRange {
        start: Some(range.start.ok_or_else(|| needed("start_time"))?),
        end: Some(range.end.unwrap_or_else(now)),
    };
    let compared = TimeRange {
        start: Some(compared.start.ok_or_else(|| needed("compare_start"))?),
        end: compared.end.or(window.start),
    };
    for (name, window) in [("start_time", window), ("compare_start", compared)] {
        if window.start >= window.end {
            return Err(Problem::bad_request(format!("{name} does not lie before its end")));
        }
    }
    let asked = engine.compare_patterns(window, compared, service.as_deref(), limit);
    Ok(Json(object(api.queries.count(asked).await?, started)?))
}

/// A range whose ends may be open.
fn open(range: std::ops::Range<TimestampNs>) -> TimeRange {
    TimeRange {
        start: (range.start != TimestampNs::MIN).then_some(range.start),
        end: (range.end != TimestampNs::MAX).then_some(range.end),
    }
}
