//! `/v1/alerts` and `/v1/alert-rules`: what rules found, and the rules themselves, made and taken away.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::Response,
};
use devmesh_rules::{
    ALERT_NAME, duration,
    file::{Action, Fields, Query, texts},
};
use devmesh_schema::{limits, time};
use serde_json::{Map, Value, json};

use super::{
    Api,
    lists::list,
    params::Params,
    problem::{Problem, ProblemBody},
};
use crate::rules::{
    API, Row,
    group::{Group, Health, Running},
    made::Unmade,
};

fn at(ms: i64) -> String {
    time::format(ms.saturating_mul(1_000_000))
}

fn number(value: f64) -> Value {
    // JSON has no NaN and no infinity.
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn shown(row: &Row) -> Value {
    let annotation = |name: &str| row.alert.annotations.get(name).cloned().unwrap_or_default();
    json!({
        "id": row.id,
        "name": row.label(&[ALERT_NAME]),
        "state": row.state(),
        "resolved": row.alert.resolved_at.is_some(),
        "severity": row.label(&["severity"]),
        "server_id": row.label(&["server_id"]),
        "summary": annotation("summary"),
        "value": number(row.alert.value),
        "active_at": at(row.alert.active_at),
        "fired_at": row.alert.fired_at.map(at),
        "resolved_at": row.alert.resolved_at.map(at),
        "rule": row.rule,
        "group": row.group,
        "source": row.file,
        "labels": row.alert.labels,
        "annotations": row.alert.annotations,
    })
}

/// Alerts, each once from its beginning to its end: those that are there first, then those that are over, the newest first. An array
/// of objects.
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts",
    params(
        ("server_id" = Option<String>, Query, description = "Only those with this label server_id"),
        ("resolved" = Option<bool>, Query, description = "true: only those that are over; false: only those that are not"),
        ("state" = Option<String>, Query, description = "pending, firing or resolved"),
        ("name" = Option<String>, Query, description = "Only those of this name"),
        ("limit" = Option<u64>, Query, description = "Alerts: 100 unless said otherwise"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn alerts(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["server_id", "resolved", "state", "name", "limit"], &[])?;
    let (limit, lowered) = params.limit()?;
    let resolved = match params.text("resolved") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return Err(Problem::bad_request(format!("resolved: `{other}` is neither true nor false"))),
    };
    let state = params.text("state");
    if let Some(state) = state.filter(|state| !["pending", "firing", "resolved"].contains(state)) {
        return Err(Problem::bad_request(format!("state: `{state}` is none of pending, firing, resolved")));
    }
    let (server, name) = (params.text("server_id"), params.text("name"));
    let wanted = |row: &&Row| {
        resolved.is_none_or(|resolved| resolved == row.alert.resolved_at.is_some())
            && state.is_none_or(|state| state == row.state())
            && server.is_none_or(|server| server == row.label(&["server_id"]))
            && name.is_none_or(|name| name == row.label(&[ALERT_NAME]))
    };
    let rows: Vec<Value> = api.rules.alerts().iter().filter(wanted).take(limit).map(shown).collect();
    Ok(list(rows, started, lowered))
}

fn shown_rule(group: &Group, running: &Running) -> Option<Value> {
    let Action::Alert { hold, keep, annotations } = &running.rule.action else { return None };
    let state = running.state();
    let made = group.file == API;
    let mut rule = json!({
        "id": if made { group.name.clone() } else { format!("{}/{}/{}", group.file, group.name, running.rule.name) },
        "name": running.rule.name,
        "source": if made { "api" } else { "file" },
        "for": duration::format(*hold),
        "keep_firing_for": duration::format(*keep),
        "interval": duration::format(group.interval),
        "labels": running.rule.label_texts(),
        "annotations": texts(annotations),
        "state": state.alerts.state().name(),
        "alerts": state.alerts.active().count(),
        "health": state.health.name(),
        "last_error": match state.health {
            Health::Failed(error) => error.into(),
            _ => Value::Null,
        },
        "last_evaluation": state.times.last.map(at),
    });
    let key = match &running.rule.query {
        Query::Promql(_) => "expr",
        Query::Sql(_) => "sql",
    };
    rule[key] = running.query.as_str().into();
    if !made {
        rule["file"] = group.file.as_str().into();
        rule["group"] = group.name.as_str().into();
    }
    Some(rule)
}

fn all(api: &Api) -> Vec<Value> {
    let groups = api.rules.groups();
    let of = |group: &Arc<Group>| -> Vec<Value> {
        group.rules.iter().filter_map(|running| shown_rule(group, running)).collect()
    };
    groups.iter().flat_map(of).collect()
}

/// All alerting rules, those made here (`source` is `api`) and those of files. An array of objects.
#[utoipa::path(get, path = "/v1/alert-rules", tag = "alerts",
    params(
        ("source" = Option<String>, Query, description = "api or file"),
        ("limit" = Option<u64>, Query, description = "Rules: 100 unless said otherwise"),
    ),
    responses((status = 200, body = Vec<Object>), (status = 400, body = ProblemBody)))]
pub(super) async fn rules(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["source", "limit"], &[])?;
    let (limit, lowered) = params.limit()?;
    let source = params.text("source");
    if let Some(source) = source.filter(|source| !["api", "file"].contains(source)) {
        return Err(Problem::bad_request(format!("source: `{source}` is neither api nor file")));
    }
    let wanted = |rule: &Value| source.is_none_or(|source| rule["source"] == source);
    let rules: Vec<Value> = all(&api).into_iter().filter(wanted).take(limit).collect();
    Ok(list(rules, started, lowered))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    Problem::not_found(format!("there is no rule {id} that was made here; GET /v1/alert-rules?source=api lists them"))
}

fn made(api: &Api, id: &str) -> Option<Value> {
    all(api).into_iter().find(|rule| rule["source"] == "api" && rule["id"] == id)
}

/// One rule that was made here.
#[utoipa::path(get, path = "/v1/alert-rules/{id}", tag = "alerts",
    params(("id" = String, Path, description = "Its id: rule-000001")),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn rule(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    made(&api, &id).map(Json).ok_or_else(|| unknown(&id))
}

/// Makes an alerting rule: `{"name", "expr" or "sql", "for"?, "keep_firing_for"?, "interval"?, "labels"?, "annotations"?}`. `expr` is
/// PromQL: its series are the alerts. `sql` is a query: its rows are the alerts, their columns the labels, the column `value`
/// the value. Labels and annotations may be templates as in Prometheus. It is evaluated at once, and kept in the data directory.
#[utoipa::path(post, path = "/v1/alert-rules", tag = "alerts", request_body = Object,
    responses((status = 201, body = Object), (status = 400, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn make(State(api): State<Arc<Api>>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let (fields, interval) = read(&body)?;
    let rule = api.rules.make(fields, interval).await.map_err(problem)?;
    let shown = made(&api, &rule.id).unwrap_or_else(|| json!({ "id": rule.id }));
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Takes a rule away that was made here. Its alerts are not told any more.
#[utoipa::path(delete, path = "/v1/alert-rules/{id}", tag = "alerts",
    params(("id" = String, Path, description = "Its id: rule-000001")),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn unmake(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    match api.rules.unmake(&id).await.map_err(problem)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&id)),
    }
}

/// The same, with the id as a parameter.
#[utoipa::path(delete, path = "/v1/alert-rules", tag = "alerts",
    params(("id" = String, Query, description = "Its id: rule-000001")),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn unmake_named(state: State<Arc<Api>>, uri: Uri) -> Result<StatusCode, Problem> {
    let params = Params::read(&uri, &["id"], &[])?;
    let id = params.string("id").ok_or_else(|| Problem::bad_request("id is missing: which rule?"))?;
    unmake(state, Path(id)).await
}

fn problem(error: Unmade) -> Problem {
    match error {
        Unmade::Wrong(reason) => Problem::bad_request(reason),
        Unmade::Full => {
            let text = format!("there are {} rules already; put further ones into a file", limits::ALERT_RULES);
            Problem::new(StatusCode::CONFLICT, text)
        }
        Unmade::Failed(reason) => Problem::from(devmesh_query::Error::Store(reason)),
    }
}

/// Reads a rule; what is wrong is named with its field.
fn read(body: &[u8]) -> Result<(Fields, String), Problem> {
    let wrong = |error: serde_json::Error| Problem::bad_request(format!("the body: {error}"));
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(wrong)?;
    fields.retain(|_, value| !value.is_null());
    let names = ["name", "expr", "sql", "for", "keep_firing_for", "interval", "labels", "annotations"];
    if let Some(unknown) = fields.keys().find(|name| !names.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        let text = format!("there is no field `{unknown}` here; there are: {}", names.join(", "));
        return Err(Problem::bad_request(text));
    }
    for name in ["name", "expr", "sql", "for", "keep_firing_for", "interval"] {
        if fields.get(name).is_some_and(|value| !value.is_string()) {
            return Err(Problem::bad_request(format!("{name}: a text is needed")));
        }
    }
    for name in ["labels", "annotations"] {
        if fields.get(name).is_some_and(|value| !value.is_object()) {
            return Err(Problem::bad_request(format!("{name}: an object of texts is needed")));
        }
    }
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (name, interval) = (take("name"), take("interval"));
    if name.trim().is_empty() {
        return Err(Problem::bad_request("name: a text is needed"));
    }
    let mut rule: Fields = serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
    rule.alert = name;
    Ok((rule, interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_and_what_is_wrong_is_named() {
        let body = json!({"name": "A", "expr": "up == 0", "for": "5m", "labels": {"severity": "page", "n": 1}});
        let (rule, interval) = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((rule.alert.as_str(), rule.hold.as_str(), interval.as_str()), ("A", "5m", ""));
        assert_eq!(rule.labels["n"], "1");
        for (body, part) in [
            (json!({"expr": "up"}), "name"),
            (json!({"name": " "}), "name"),
            (json!({"name": "A", "expr": 5}), "expr"),
            (json!({"name": "A", "for": 5}), "for"),
            (json!({"name": "A", "labels": []}), "labels"),
            (json!({"name": "A", "labels": {"a": []}}), "the body"),
            (json!({"name": "A", "record": "x"}), "record"),
            (json!([]), "the body"),
        ] {
            let problem = read(body.to_string().as_bytes()).unwrap_err();
            assert!(problem.detail().contains(part), "{body}: {}", problem.detail());
        }
    }
}
