//! `/incidents`: what was abnormal, and what people opened; `/anomalies`: one metric judged, and the state of the baselines.

use std::{sync::Arc, time::Instant};

use arrow_array::{
    cast::AsArray,
    types::{Float64Type, TimestampNanosecondType},
};
use arrow_schema::{DataType, TimeUnit};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::Response,
};
use devmesh_insight::anomaly::{Finding, Incident, Point, Severity, Stretch, incident::TEXT_BYTES, judge};
use devmesh_schema::{TimestampNs, time};
use serde_json::{Map, Value, json};

use super::{
    Api,
    lists::{list, object},
    params::{Params, now},
    problem::{Problem, ProblemBody},
};

/// Points of one series that are judged at most.
const POINTS: usize = 100_000;
/// Services that a person may name.
const SERVICES: usize = 50;

fn shown(incident: &Incident) -> Value {
    let finding = |f: &Finding| {
        json!({
            "service": f.service, "signal": f.signal, "source": f.source, "measure": f.measure, "score": f.score,
            "value": f.value, "expected": f.expected, "first": time::format(f.first), "last": time::format(f.last),
            "sql": f.sql,
        })
    };
    json!({
        "id": incident.id,
        "opened": time::format(incident.opened),
        "closed": incident.closed.map(time::format),
        "state": incident.state(),
        "severity": incident.severity,
        "services": incident.services,
        "title": incident.title,
        "what": incident.what.iter().map(finding).collect::<Vec<_>>(),
        "by_person": incident.by_person,
    })
}

/// Incidents, newest first. An array of objects; `what` lists the signals, each with the SQL that shows it.
#[utoipa::path(get, path = "/incidents", tag = "query",
    params(
        ("state" = Option<String>, Query, description = "open or closed"),
        ("service" = Option<String>, Query, description = "That concern this service"),
        ("limit" = Option<u64>, Query, description = "Incidents: 100 unless said otherwise"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn incidents(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["state", "service", "limit"], &[])?;
    let (limit, lowered) = params.limit()?;
    let state = params.text("state");
    if let Some(state) = state.filter(|state| !["open", "closed"].contains(state)) {
        return Err(Problem::bad_request(format!("state: `{state}` is neither open nor closed")));
    }
    let service = params.string("service");
    let wanted = |incident: &&Incident| {
        state.is_none_or(|state| state == incident.state())
            && service.as_ref().is_none_or(|service| incident.services.contains(service))
    };
    let rows: Vec<Value> = api.anomalies.newest().iter().filter(wanted).take(limit).map(shown).collect();
    Ok(list(rows, started, lowered))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    Problem::not_found(format!("there is no incident {id}"))
}

/// One incident.
#[utoipa::path(get, path = "/incidents/{id}", tag = "query",
    params(("id" = String, Path, description = "Its id: inc-000001")),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn incident(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    api.anomalies.get(&id).map(|incident| Json(shown(&incident))).ok_or_else(|| unknown(&id))
}

/// Opens an incident that a person has seen: `{"title", "services"?, "severity"?, "opened"?}`. It stays open until it is closed.
#[utoipa::path(post, path = "/incidents", tag = "query", request_body = Object,
    responses((status = 201, body = Object), (status = 400, body = ProblemBody)))]
pub(super) async fn open(State(api): State<Arc<Api>>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let incident = reported(&body, now())?;
    Ok((StatusCode::CREATED, Json(shown(&api.anomalies.report(incident).await))))
}

/// Closes an incident now. One that is closed stays as it is.
#[utoipa::path(post, path = "/incidents/{id}/close", tag = "query",
    params(("id" = String, Path, description = "Its id: inc-000001")),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn close(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    api.anomalies.close(&id).await.map(|incident| Json(shown(&incident))).ok_or_else(|| unknown(&id))
}

/// Reads what a person reports; what is wrong is named with its field.
fn reported(body: &[u8], now: TimestampNs) -> Result<Incident, Problem> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    let names = ["title", "services", "severity", "opened"];
    if let Some(unknown) = fields.keys().find(|name| !names.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(Problem::bad_request(format!(
            "there is no field `{unknown}` here; there are: {}",
            names.join(", ")
        )));
    }
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let text = |name: &str, value: &Value| match value.as_str() {
        Some(text) if !text.trim().is_empty() && text.len() <= TEXT_BYTES => Ok(text.to_owned()),
        _ => Err(Problem::bad_request(format!("{name}: a text of 1 to {TEXT_BYTES} bytes is needed"))),
    };
    let services = match given("services") {
        None => Vec::new(),
        Some(Value::Array(services)) if services.len() <= SERVICES => {
            services.iter().map(|service| text("services", service)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Problem::bad_request(format!("services: a list of at most {SERVICES} names is needed"))),
    };
    let severity = match given("severity") {
        None => Severity::Major,
        Some(name) => name
            .as_str()
            .and_then(Severity::of)
            .ok_or_else(|| Problem::bad_request("severity: it is minor, major or critical"))?,
    };
    let opened = match given("opened") {
        None => now,
        Some(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let time = time::parse(&text, now).map_err(|error| Problem::bad_request(format!("opened: {error}")))?;
            time.min(now)
        }
    };
    Ok(Incident {
        id: String::new(),
        opened,
        closed: None,
        severity,
        services,
        title: text("title", given("title").unwrap_or(&Value::Null))?,
        what: Vec::new(),
        by_person: true,
    })
}

/// Judges the points of one metric, each by those before it: the abnormal `stretches`, each with when it `opened` and
/// `closed` (null while it goes on), its `score` from 0.5 to 1, from which `side` it is abnormal (spike, shift, season,
/// flat), and the `value` of its worst point with what was `expected`. Points of one time are averaged.
#[utoipa::path(get, path = "/anomalies", tag = "query",
    params(
        ("metric" = String, Query, description = "Its name"),
        ("service" = Option<String>, Query, description = "Only this service"),
        ("start_time" = Option<String>, Query, description = "From: RFC 3339, Unix ns, now-15m"),
        ("end_time" = Option<String>, Query, description = "Until, exclusive"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody)))]
pub(super) async fn anomalies(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["metric", "service", "start_time", "end_time"], &[])?;
    let metric = params.string("metric").ok_or_else(|| Problem::bad_request("metric is missing"))?;
    let quoted = |text: &str| text.replace('\'', "''");
    let mut condition = format!("name = '{}' AND value IS NOT NULL", quoted(&metric));
    if let Some(service) = params.string("service") {
        condition += &format!(" AND service = '{}'", quoted(&service));
    }
    let range = params.range()?;
    for (operator, time, open) in [(">=", range.start, TimestampNs::MIN), ("<", range.end, TimestampNs::MAX)] {
        if time != open {
            condition += &format!(" AND time {operator} '{}'", time::format(time));
        }
    }
    let sql = format!(
        "SELECT time, avg(value) AS value FROM metrics WHERE {condition} GROUP BY time ORDER BY time DESC LIMIT {POINTS}"
    );
    let answer = api.queries.sql(&sql, Some(POINTS)).await?;
    let batches = answer.collect().await?;
    let mut points = Vec::new();
    for batch in &batches {
        let time = arrow_cast::cast(batch.column(0), &DataType::Timestamp(TimeUnit::Nanosecond, None));
        let value = arrow_cast::cast(batch.column(1), &DataType::Float64);
        let (time, value) = time.and_then(|time| Ok((time, value?))).map_err(internal)?;
        let (time, value) = (time.as_primitive::<TimestampNanosecondType>(), value.as_primitive::<Float64Type>());
        points.extend(time.values().iter().zip(value.values()).map(|(time, value)| Point {
            time: *time,
            value: *value,
            noise: 0.0,
        }));
    }
    points.reverse();
    let count = points.len();
    let judged = tokio::task::spawn_blocking(move || judge(&points)).await.map_err(internal)?;
    let stretch = |stretch: &Stretch| {
        json!({
            "opened": time::format(stretch.opened), "closed": stretch.closed.map(time::format), "score": stretch.score,
            "side": stretch.side, "above": stretch.above, "value": stretch.value, "expected": stretch.expected,
        })
    };
    let stretches: Vec<Value> = judged.stretches.iter().map(stretch).collect();
    Ok(Json(object(json!({ "metric": metric, "points": count, "sql": sql, "stretches": stretches }), started)?))
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::from(devmesh_query::Error::Internal(error.to_string()))
}

/// The state of the baselines: how many series are watched, until when, and the network over each service's signals: on how many
/// vectors it was trained, how well it tells altered vectors from others that it has not seen, against the largest deviation alone
/// (areas under the ROC curve), and whether it `adds` to scores for that.
#[utoipa::path(get, path = "/anomalies/state", tag = "query", responses((status = 200, body = Object)))]
pub(super) async fn state(State(api): State<Arc<Api>>) -> Json<Value> {
    let status = api.anomalies.status();
    Json(json!({
        "enabled": api.settings.anomalies.enabled,
        "interval": api.settings.anomalies.interval,
        "series": status.watched,
        "series_without_room": status.unwatched,
        "judged_until": status.taken.map(time::format),
        "failed_rounds": status.failed,
        "network": status.network,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampNs = 1_800_000_000_000_000_000;

    #[test]
    fn what_a_person_reports_is_read() {
        let body = json!({"title": "cart is slow", "services": ["cart"], "severity": "minor", "opened": "now-1h"});
        let incident = reported(body.to_string().as_bytes(), NOW).unwrap();
        assert_eq!((incident.title.as_str(), incident.severity), ("cart is slow", Severity::Minor));
        assert_eq!((incident.opened, incident.services), (NOW - 3_600_000_000_000, vec!["cart".to_owned()]));
        assert!(incident.by_person);
    }

    #[test]
    fn what_is_wrong_in_a_report_is_named() {
        for (body, part) in [
            (json!({}), "title"),
            (json!({"title": " "}), "title"),
            (json!({"title": "x".repeat(TEXT_BYTES + 1)}), "title"),
            (json!({"title": "x", "severity": "bad"}), "severity"),
            (json!({"title": "x", "services": "cart"}), "services"),
            (json!({"title": "x", "services": [7]}), "services"),
            (json!({"title": "x", "opened": "soon"}), "opened"),
            (json!({"title": "x", "what": []}), "what"),
            (json!([]), "the body"),
        ] {
            let problem = reported(body.to_string().as_bytes(), NOW).unwrap_err();
            assert!(problem.detail().contains(part), "{body}: {}", problem.detail());
        }
    }
}
