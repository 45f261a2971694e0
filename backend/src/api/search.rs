//! `POST /search/semantic`: the patterns of logs that a question means.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use devmesh_query::rest::{SearchQuery, TimeRange, search::TOP_K_MAX};
use devmesh_schema::{TimestampNs, time};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Api,
    params::now,
    problem::{Problem, ProblemBody},
};

/// Patterns where the caller names no number.
const TOP_K: usize = 10;
/// Bytes of a service's or level's name.
const NAME_BYTES: usize = 4 << 10;
/// The fields of a search.
const FIELDS: [&str; 6] = ["query", "top_k", "start_time", "end_time", "service", "level"];

/// A search.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct SearchQuestion {
    /// The question, in plain words; ids and names in it are looked up. At most 4 KiB.
    query: String,
    /// Patterns at most: 10 unless said otherwise, up to 100.
    top_k: Option<u64>,
    /// Only logs from then on: RFC 3339, Unix ns, now-15m.
    start_time: Option<String>,
    /// Only logs before.
    end_time: Option<String>,
    /// Only logs of this service.
    service: Option<String>,
    /// Only logs of this level.
    level: Option<String>,
}

/// The answer to a search.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct SearchAnswer {
    /// The patterns, best first.
    results: Vec<SearchResult>,
    /// The model that took part. Where none did: `none: words only`, and what to do.
    model: String,
    /// How long it took.
    elapsed_ms: f64,
}

/// A pattern that was found. Counts, services, levels and times are those of the logs that were asked for.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub(crate) struct SearchResult {
    /// The pattern, as in `logs.pattern_id`.
    pattern_id: String,
    /// Its text, with `<*>` for what varies.
    template: String,
    /// What results are ordered by; it compares results of one answer only.
    score: f64,
    /// Its logs.
    count: u64,
    /// Who wrote them.
    services: Vec<String>,
    /// How bad they are.
    levels: Vec<String>,
    /// The time of the first, RFC 3339.
    first_seen: String,
    /// The time of the last.
    last_seen: String,
    /// Up to five logs of it in the columns of `log_events`, each with its `score`: what fits the question best first.
    #[schema(value_type = Vec<Object>)]
    examples: Vec<Value>,
}

/// Finds patterns of logs by what a question means, and by the ids and names in it.
#[utoipa::path(post, path = "/search/semantic", tag = "query", request_body = SearchQuestion,
    responses((status = 200, body = SearchAnswer), (status = 400, body = ProblemBody),
        (status = 501, body = ProblemBody)))]
pub(super) async fn semantic(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let query = read(&headers, &body, now())?;
    let answer = api.queries.count(api.queries.engine().search(&query)).await?;
    let mut answer = serde_json::to_value(answer)
        .map_err(|error| Problem::from(devmesh_query::Error::Internal(error.to_string())))?;
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("elapsed_ms".to_owned(), (started.elapsed().as_secs_f64() * 1000.0).into());
    }
    Ok(Json(answer))
}

/// Reads a search; what is wrong is named with its field.
fn read(headers: &HeaderMap, body: &[u8], now: TimestampNs) -> Result<SearchQuery, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let text = "the content type of a search is application/json: {\"query\":\"…\"}";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        let text = format!("there is no field `{unknown}` here; there are: {}", FIELDS.join(", "));
        return Err(Problem::bad_request(text));
    }
    let fields = Fields { fields, now };
    let range = TimeRange { start: fields.time("start_time")?, end: fields.time("end_time")? };
    if let (Some(start), Some(end)) = (range.start, range.end)
        && start > end
    {
        return Err(Problem::bad_request("start_time lies after end_time"));
    }
    Ok(SearchQuery {
        query: fields.text("query", usize::MAX)?.ok_or_else(|| Problem::bad_request("query is missing"))?,
        top_k: fields.top_k()?,
        service: fields.text("service", NAME_BYTES)?.filter(|name| !name.is_empty()),
        level: fields.text("level", NAME_BYTES)?.filter(|name| !name.is_empty()),
        range,
    })
}

/// The fields of a search, as they came. NULL is as good as nothing.
struct Fields {
    fields: Map<String, Value>,
    now: TimestampNs,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str, most: usize) -> Result<Option<String>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| Problem::bad_request(format!("{name} is no string")))?;
        if text.len() > most {
            return Err(Problem::bad_request(format!("{name} has {} bytes; it has at most {most}", text.len())));
        }
        if text.contains('\0') {
            return Err(Problem::bad_request(format!("{name} holds a NUL")));
        }
        Ok(Some(text.to_owned()))
    }

    fn time(&self, name: &str) -> Result<Option<TimestampNs>, Problem> {
        let text = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(Problem::bad_request(format!("{name} is no time: write it as a string"))),
        };
        time::parse(&text, self.now).map(Some).map_err(|error| Problem::bad_request(format!("{name}: {error}")))
    }

    fn top_k(&self) -> Result<usize, Problem> {
        let Some(value) = self.get("top_k") else { return Ok(TOP_K) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        let wrong = || Problem::bad_request(format!("top_k: `{value}` is no whole number from 1 to {TOP_K_MAX}"));
        number.filter(|number| (1..=TOP_K_MAX).contains(number)).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    const NOW: TimestampNs = 1_800_000_000_000_000_000;

    fn asked(body: &Value) -> Result<SearchQuery, Problem> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        read(&headers, body.to_string().as_bytes(), NOW)
    }

    #[test]
    fn what_is_right_is_read() {
        let query = asked(&json!({"query": "who paid", "top_k": 3, "start_time": "now-1h", "end_time": NOW,
            "service": "cart", "level": null}))
        .unwrap();
        assert_eq!((query.query.as_str(), query.top_k, query.level), ("who paid", 3, None));
        assert_eq!(query.service.as_deref(), Some("cart"));
        assert_eq!(query.range, TimeRange { start: Some(NOW - 3_600_000_000_000), end: Some(NOW) });
        assert_eq!(asked(&json!({"query": "x"})).unwrap().top_k, TOP_K);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, part) in [
            (json!({}), "query"),
            (json!({"query": 7}), "query"),
            (json!({"query": "a\u{0}b"}), "query"),
            (json!({"query": "x", "top_k": 0}), "top_k"),
            (json!({"query": "x", "top_k": 101}), "top_k"),
            (json!({"query": "x", "top_k": -1}), "top_k"),
            (json!({"query": "x", "top_k": 2.5}), "top_k"),
            (json!({"query": "x", "top_k": "ten"}), "top_k"),
            (json!({"query": "x", "start_time": "yesterday"}), "start_time"),
            (json!({"query": "x", "end_time": [1]}), "end_time"),
            (json!({"query": "x", "start_time": "now", "end_time": "now-1h"}), "start_time"),
            (json!({"query": "x", "service": {}}), "service"),
            (json!({"query": "x", "level": "x".repeat(NAME_BYTES + 1)}), "level"),
            (json!({"query": "x", "topk": 1}), "topk"),
            (json!(["query"]), "the body"),
        ] {
            let problem = asked(&body).unwrap_err();
            assert!(problem.detail().contains(part), "{body}: {}", problem.detail());
        }
        assert!(read(&HeaderMap::new(), b"{\"query\":\"x\"}", NOW).is_err());
    }
}
