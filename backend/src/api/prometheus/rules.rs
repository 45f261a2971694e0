//! `/api/v1/rules` and `/api/v1/alerts`, in Prometheus' exact shapes.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use devmesh_query::prometheus::promql::{Annotations, NAME, Query};
use devmesh_rules::{LabelSet, alert::Alert, file::Action, notify::fingerprint, number};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Failure, LOOKBACK, Parameters, success};
use crate::{
    api::Api,
    rules::group::{Group, Health, Running, State as RuleState, Times},
};

/// Go's time that is none: of what was never evaluated.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The rules in force, by group.
#[utoipa::path(get, path = "/api/v1/rules", tag = "prometheus",
    params(
        ("type" = Option<String>, Query, description = "alert or record"),
        ("rule_name[]" = Option<String>, Query, description = "Only rules of this name; may come more than once"),
        ("rule_group[]" = Option<String>, Query, description = "Only this group"),
        ("file[]" = Option<String>, Query, description = "Only this file; /v1/alert-rules for rules made by the API"),
        ("match[]" = Option<String>, Query, description = "Only rules whose own labels a selector wants"),
        ("exclude_alerts" = Option<bool>, Query, description = "Leave their alerts out"),
        ("group_limit" = Option<u64>, Query, description = "Groups at most; the answer then has a groupNextToken"),
        ("group_next_token" = Option<String>, Query, description = "The token of the answer before"),
    ),
    responses((status = 200, body = Object), (status = 400, body = Object)))]
pub(in crate::api) async fn rules(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Failure> {
    let wanted = Wanted::read(&Parameters::read(request).await?)?;
    let (mut groups, mut next) = (Vec::new(), None);
    let mut found = wanted.token.is_none();
    for group in api.rules.groups() {
        found |= wanted.token.as_deref() == Some(token(&group).as_str());
        if !found || !wanted.group(&group) {
            continue;
        }
        let rules: Vec<Value> = group.rules.iter().filter_map(|running| wanted.rule(running)).collect();
        if rules.is_empty() {
            continue;
        }
        if groups.len() == wanted.limit {
            next = Some(token(&group));
            break;
        }
        groups.push(shown_group(&group, rules));
    }
    if let Some(token) = wanted.token.filter(|_| !found) {
        let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(Failure::parameter("group_next_token", reason));
    }
    let mut data = json!({ "groups": groups });
    if let Some(next) = next {
        data["groupNextToken"] = next.into();
    }
    Ok(success(&data.to_string(), &Annotations::default()))
}

/// The alerts that are pending or firing.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "prometheus", responses((status = 200, body = Object)))]
pub(in crate::api) async fn alerts(State(api): State<Arc<Api>>) -> Response {
    let mut all: Vec<Value> = Vec::new();
    for group in api.rules.groups() {
        for running in group.rules.iter().filter(|running| running.rule.is_alert()) {
            all.extend(running.state().alerts.active().map(shown_alert));
        }
    }
    success(&json!({ "alerts": all }).to_string(), &Annotations::default())
}

/// What a request wants to see.
struct Wanted {
    alerts: bool,
    records: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Query>,
    with_alerts: bool,
    limit: usize,
    token: Option<String>,
}

impl Wanted {
    fn read(parameters: &Parameters) -> Result<Self, Failure> {
        let kind = parameters.one("type").unwrap_or_default().to_lowercase();
        if !["", "alert", "record"].contains(&kind.as_str()) {
            return Err(Failure::parameter("type", format!("not supported value {kind:?}")));
        }
        let excluded = parameters.one("exclude_alerts").unwrap_or_default().to_lowercase();
        let excluded = match excluded.as_str() {
            "" | "false" | "f" | "0" => false,
            "true" | "t" | "1" => true,
            _ => {
                let reason =
                    format!("error converting exclude_alerts: strconv.ParseBool: parsing {excluded:?}: invalid syntax");
                return Err(Failure::parameter("exclude_alerts", reason));
            }
        };
        let token = parameters.one("group_next_token").map(str::to_owned);
        let limit = match parameters.one("group_limit") {
            None if token.is_some() => {
                let reason = "group_limit needs to be present in order to paginate over the groups";
                return Err(Failure::parameter("group_next_token", reason));
            }
            None => usize::MAX,
            Some(text) => text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                Failure::parameter("group_limit", "group_limit needs to be a valid number greater than 0")
            })?,
        };
        let mut selectors = Vec::new();
        for text in parameters.all("match[]") {
            let query = Query::instant(&text, 0, LOOKBACK);
            selectors.push(query.map_err(|error| Failure::parameter("match[]", error))?);
        }
        Ok(Self {
            alerts: kind != "record",
            records: kind != "alert",
            names: parameters.all("rule_name[]"),
            groups: parameters.all("rule_group[]"),
            files: parameters.all("file[]"),
            selectors,
            with_alerts: !excluded,
            limit,
            token,
        })
    }

    fn group(&self, group: &Group) -> bool {
        let among = |all: &[String], one: &String| all.is_empty() || all.contains(one);
        among(&self.groups, &group.name) && among(&self.files, &group.file)
    }

    fn rule(&self, running: &Running) -> Option<Value> {
        let rule = &running.rule;
        let kind = if rule.is_alert() { self.alerts } else { self.records };
        let named = self.names.is_empty() || self.names.contains(&rule.name);
        let labels = rule.label_texts();
        let selected = self.selectors.is_empty() || self.selectors.iter().any(|query| matches(query, &labels));
        (kind && named && selected).then(|| shown_rule(running, &labels, self.with_alerts))
    }
}

/// Whether a selector wants these labels.
fn matches(query: &Query, labels: &LabelSet) -> bool {
    let value = |name: &str| labels.get(name).map_or("", String::as_str);
    query.selects().iter().any(|select| {
        // A rule's own labels have no name of a metric.
        let all = |all: &Vec<_>| {
            all.iter()
                .filter(|m: &&devmesh_query::prometheus::promql::Matcher| m.name != NAME)
                .all(|m| m.matches(value(&m.name)))
        };
        select.any.iter().any(all)
    })
}

fn token(group: &Group) -> String {
    let known = LabelSet::from([("file".to_owned(), group.file.clone()), ("group".to_owned(), group.name.clone())]);
    format!("{:016x}", fingerprint(&known))
}

fn time(ms: Option<i64>) -> String {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// A number as Go writes it in JSON: 60, not 60.0.
fn seconds_of(seconds: f64) -> Value {
    if seconds.fract() == 0.0 { Value::from(seconds as i64) } else { Value::from(seconds) }
}

fn shown_group(group: &Group, rules: Vec<Value>) -> Value {
    let Times { last, seconds } = group.times();
    json!({
        "name": group.name, "file": group.file, "rules": rules, "interval": seconds_of(group.interval.as_secs_f64()),
        "limit": group.limit, "evaluationTime": seconds, "lastEvaluation": time(last),
    })
}

fn shown_rule(running: &Running, labels: &LabelSet, with_alerts: bool) -> Value {
    let rule = &running.rule;
    let RuleState { alerts, health, times, .. } = running.state();
    let mut shown = json!({
        "name": rule.name, "query": running.query, "health": health.name(), "evaluationTime": times.seconds,
        "lastEvaluation": time(times.last),
    });
    if let Health::Failed(error) = &health {
        shown["lastError"] = error.as_str().into();
    }
    match &rule.action {
        Action::Record => {
            shown["type"] = "recording".into();
            shown["labels"] = json!(labels);
        }
        Action::Alert { hold, keep, annotations } => {
            shown["type"] = "alerting".into();
            shown["state"] = alerts.state().name().into();
            shown["duration"] = seconds_of(hold.as_secs_f64());
            shown["keepFiringFor"] = seconds_of(keep.as_secs_f64());
            shown["labels"] = json!(labels);
            shown["annotations"] = json!(devmesh_rules::file::texts(annotations));
            shown["alerts"] = match with_alerts {
                true => alerts.active().map(shown_alert).collect(),
                false => Value::Null,
            };
        }
    }
    shown
}

fn shown_alert(alert: &Alert) -> Value {
    let mut shown = json!({
        "labels": alert.labels, "annotations": alert.annotations, "state": alert.state.name(),
        "activeAt": time(Some(alert.active_at)), "value": number::scientific(alert.value),
    });
    if alert.keep_since.is_some() {
        shown["keepFiringSince"] = time(alert.keep_since).into();
    }
    shown
}
