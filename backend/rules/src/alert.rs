//! The state of an alerting rule's alerts over time: pending, firing, resolved.
//!
//! It is Prometheus' state machine. Times are ms since the epoch and come with the evaluation; nothing here reads a clock.

use std::{collections::BTreeMap, time::Duration};

use devmesh_promql::NAME;
use serde::{Deserialize, Serialize};

use crate::{
    ALERT_NAME, LabelSet,
    file::{Action, Rule},
    template::{Ask, Data, Template},
};

/// How long a resolved alert is kept, so that receivers that were away are told.
pub const RESOLVED_RETENTION: i64 = 15 * 60_000;

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is over.
    Inactive,
    /// It is there, and not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl State {
    /// As Prometheus' API names it.
    pub fn name(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
        }
    }
}

/// A result of a rule's query.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its labels, `__name__` among them.
    pub labels: LabelSet,
    /// Its value.
    pub value: f64,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is known by.
    pub labels: LabelSet,
    /// What people are told.
    pub annotations: LabelSet,
    /// Where it is.
    pub state: State,
    /// The value at the last evaluation that found it.
    #[serde(with = "bits")]
    pub value: f64,
    /// When it was first found.
    pub active_at: i64,
    /// Since when it fires.
    pub fired_at: Option<i64>,
    /// When it was over.
    pub resolved_at: Option<i64>,
    /// Since when it is no longer found, and goes on by `keep_firing_for`.
    pub keep_since: Option<i64>,
    /// When receivers were last handed it.
    pub sent_at: Option<i64>,
}

/// Numbers that JSON has not, such as NaN, by their bits.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

impl Alert {
    /// Whether it is there, be it pending or firing.
    pub fn is_active(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// Whether receivers are to be told now: it fires and they were not told for a while, or it is over and they know not yet.
    fn needs_sending(&self, at: i64, resend: i64) -> bool {
        if self.state == State::Pending {
            return false;
        }
        match (self.resolved_at, self.sent_at) {
            (Some(resolved), Some(sent)) if resolved > sent => true,
            (_, Some(sent)) => sent + resend < at,
            (_, None) => true,
        }
    }
}

/// What an evaluation has at hand beside the rule.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// When, ms since the epoch.
    pub at: i64,
    /// Alerts at most; 0: any number.
    pub limit: usize,
    /// The labels of this server.
    pub external_labels: &'a LabelSet,
    /// Where this server is reached.
    pub external_url: &'a str,
    /// Answers the queries of templates.
    pub ask: Ask<'a>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("at", &self.at).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What changed in an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Alerts that are new, or whose state is another one.
    pub changed: bool,
    /// Alerts that were firing and are over now.
    pub resolved: Vec<Alert>,
}

/// The alerts of one rule, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Alert>", into = "Vec<Alert>")]
pub struct Alerts(BTreeMap<LabelSet, Alert>);

impl From<Vec<Alert>> for Alerts {
    fn from(all: Vec<Alert>) -> Self {
        Self(all.into_iter().map(|alert| (alert.labels.clone(), alert)).collect())
    }
}

impl From<Alerts> for Vec<Alert> {
    fn from(Alerts(all): Alerts) -> Self {
        all.into_values().collect()
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Alerts {
    /// Takes the answer to the rule's query in.
    ///
    /// # Errors
    /// Two results have the same labels, or there are more than the limit: then nothing fires any more, as in Prometheus.
    pub fn evaluate(&mut self, rule: &Rule, found: &[Found], context: Context<'_>) -> Result<Changes, String> {
        let Action::Alert { hold, keep, annotations } = &rule.action else { return Ok(Changes::default()) };
        let at = context.at;
        let results = results(rule, annotations, found, context)?;
        let mut changes = Changes::default();
        for (labels, (annotations, value)) in &results {
            match self.0.get_mut(labels).filter(|alert| alert.state != State::Inactive) {
                Some(alert) => {
                    alert.value = *value;
                    alert.annotations.clone_from(annotations);
                }
                None => {
                    changes.changed = true;
                    self.0.insert(labels.clone(), Alert::new(labels, annotations, *value, at));
                }
            }
        }
        let mut active = 0;
        self.0.retain(|labels, alert| {
            let before = alert.state;
            let (kept, counted) = advance(alert, results.contains_key(labels), at, (ms(*hold), ms(*keep)));
            active += usize::from(counted);
            changes.changed |= !kept || alert.state != before;
            if before == State::Firing && alert.state == State::Inactive {
                changes.resolved.push(alert.clone());
            }
            kept
        });
        if context.limit > 0 && active > context.limit {
            self.0.clear();
            return Err(format!("exceeded limit of {} with {active} alerts", context.limit));
        }
        Ok(changes)
    }

    /// The series `ALERTS` and `ALERTS_FOR_STATE` at the evaluation's time.
    pub fn series(&self) -> Vec<(LabelSet, f64)> {
        let mut all = Vec::with_capacity(2 * self.0.len());
        for alert in self.active() {
            let named = |name: &str| {
                let mut labels = alert.labels.clone();
                labels.insert(NAME.to_owned(), name.to_owned());
                labels
            };
            let mut labels = named("ALERTS");
            labels.insert("alertstate".to_owned(), alert.state.name().to_owned());
            all.push((labels, 1.0));
            all.push((named("ALERTS_FOR_STATE"), alert.active_at.div_euclid(1000) as f64));
        }
        all
    }

    /// What receivers are to be handed now; it counts as handed over.
    pub fn to_send(&mut self, at: i64, resend: i64) -> Vec<Alert> {
        let due = self.0.values_mut().filter(|alert| alert.needs_sending(at, resend));
        due.map(|alert| {
            alert.sent_at = Some(at);
            alert.clone()
        })
        .collect()
    }

    /// Those that are pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.0.values().filter(|alert| alert.is_active())
    }

    /// Where the rule is: where the alert is that is furthest.
    pub fn state(&self) -> State {
        self.active().map(|alert| alert.state).max().unwrap_or(State::Inactive)
    }

    /// All of them as they stand, resolved ones among them.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    /// Nobody evaluated the rule for `down` ms: a pending alert has not been pending in that time.
    pub fn resume(&mut self, down: i64) {
        for alert in self.0.values_mut() {
            if alert.state == State::Pending {
                alert.active_at += down.max(0);
            }
            if let Some(since) = &mut alert.keep_since {
                *since += down.max(0);
            }
        }
    }
}

impl Alert {
    fn new(labels: &LabelSet, annotations: &LabelSet, value: f64, at: i64) -> Self {
        Self {
            labels: labels.clone(),
            annotations: annotations.clone(),
            state: State::Pending,
            value,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_since: None,
            sent_at: None,
        }
    }
}

/// Takes one alert to its next state. Whether it stays, and whether it counts as one that is there.
fn advance(alert: &mut Alert, found: bool, at: i64, (hold, keep): (i64, i64)) -> (bool, bool) {
    if found {
        alert.keep_since = None;
    } else {
        let mut goes_on = false;
        if alert.state == State::Firing && keep > 0 {
            let since = *alert.keep_since.get_or_insert(at);
            goes_on = at - since < keep;
        }
        if alert.state == State::Pending || alert.resolved_at.is_some_and(|over| at - over > RESOLVED_RETENTION) {
            return (false, false);
        }
        if alert.state != State::Inactive && !goes_on {
            alert.state = State::Inactive;
            alert.resolved_at = Some(at);
        }
        if !goes_on {
            return (true, false);
        }
    }
    if alert.state == State::Pending && at - alert.active_at >= hold {
        alert.state = State::Firing;
        alert.fired_at = Some(at);
    }
    (true, true)
}

type Results = BTreeMap<LabelSet, (LabelSet, f64)>;

/// The alerts that the results are, with their annotations and values.
fn results(
    rule: &Rule,
    annotations: &BTreeMap<String, Template>,
    found: &[Found],
    context: Context<'_>,
) -> Result<Results, String> {
    let mut all = Results::new();
    for result in found {
        let data = Data {
            labels: &result.labels,
            external_labels: context.external_labels,
            external_url: context.external_url,
            value: result.value,
            now: context.at,
            ask: context.ask,
        };
        // An alert without its text is better than none.
        let expand = |template: &Template| {
            template.expand(data).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
        };
        let mut labels = result.labels.clone();
        labels.remove(NAME);
        labels.extend(rule.labels.iter().map(|(name, template)| (name.clone(), expand(template))));
        labels.insert(ALERT_NAME.to_owned(), rule.name.clone());
        labels.retain(|_, value| !value.is_empty());
        let annotations = annotations.iter().map(|(name, template)| (name.clone(), expand(template))).collect();
        if all.insert(labels, (annotations, result.value)).is_some() {
            return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "alert_tests.rs"]
mod tests;
