//! Alerts as `/v1/alerts` and the table `alerts` show them: each once from its beginning to its end, those that are over with
//! them.

use std::{
    collections::HashSet,
    sync::{OnceLock, Weak},
};

use devmesh_query::alerts;
use devmesh_rules::{
    ALERT_NAME, LabelSet,
    alert::{Alert, State},
    notify::fingerprint,
};

use super::{Rules, lock};

/// An alert with the rule that it is of. Times are ms since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The same from its beginning to its end, and another one when it comes again.
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) group: String,
    pub(crate) rule: String,
    pub(crate) alert: Alert,
}

impl Row {
    fn new(file: &str, group: &str, rule: &str, alert: &Alert) -> Self {
        // Of the rule as well: two rules may make alerts with the same labels.
        let mut known = alert.labels.clone();
        known.extend([("\u{0}file".to_owned(), file.to_owned()), ("\u{0}group".to_owned(), group.to_owned())]);
        let id = format!("{:016x}-{:x}", fingerprint(&known), alert.active_at);
        Self { id, file: file.to_owned(), group: group.to_owned(), rule: rule.to_owned(), alert: alert.clone() }
    }

    /// `pending`, `firing` or `resolved`.
    pub(crate) fn state(&self) -> &'static str {
        match (self.alert.resolved_at, self.alert.state) {
            (Some(_), _) => "resolved",
            (None, State::Pending) => "pending",
            (None, _) => "firing",
        }
    }

    /// The value of the first of these labels that it has.
    pub(crate) fn label(&self, names: &[&str]) -> &str {
        names.iter().find_map(|name| self.alert.labels.get(*name)).map_or("", String::as_str)
    }
}

impl Rules {
    /// All alerts: those that are there first, each with the newest first.
    pub(crate) fn alerts(&self) -> Vec<Row> {
        let mut all = Vec::new();
        for group in self.groups() {
            for running in &group.rules {
                let state = running.state();
                all.extend(state.alerts.active().map(|a| Row::new(&group.file, &group.name, &running.rule.name, a)));
            }
        }
        let newest = |row: &Row| std::cmp::Reverse(row.alert.active_at);
        all.sort_by_key(newest);
        let known: HashSet<String> = all.iter().map(|row| row.id.clone()).collect();
        let past = lock(&self.past);
        let past = past.iter().rev().map(|past| Row::new(&past.file, &past.group, &past.rule, &past.alert));
        all.extend(past.filter(|row| !known.contains(&row.id)));
        all
    }
}

/// The alerts for the engine, which is there before the rules are.
#[derive(Debug, Default)]
pub(crate) struct Board(OnceLock<Weak<Rules>>);

impl Board {
    /// Shows the alerts of these rules from now on.
    pub(crate) fn show(&self, rules: Weak<Rules>) {
        self.0.get_or_init(|| rules);
    }
}

fn text(labels: &LabelSet) -> String {
    serde_json::to_string(labels).unwrap_or_default()
}

impl alerts::Alerts for Board {
    fn all(&self) -> Vec<alerts::Alert> {
        let rows = self.0.get().and_then(Weak::upgrade).map(|rules| rules.alerts()).unwrap_or_default();
        let ns = |ms: i64| ms.saturating_mul(1_000_000);
        let row = |row: Row| alerts::Alert {
            state: row.state(),
            name: row.label(&[ALERT_NAME]).to_owned(),
            severity: row.label(&["severity"]).to_owned(),
            service: row.label(&["service", "service_name", "job"]).to_owned(),
            host: row.label(&["host", "host_name", "instance"]).to_owned(),
            server_id: row.label(&["server_id"]).to_owned(),
            summary: row.alert.annotations.get("summary").cloned().unwrap_or_default(),
            value: row.alert.value,
            active_at: ns(row.alert.active_at),
            fired_at: row.alert.fired_at.map(ns),
            resolved_at: row.alert.resolved_at.map(ns),
            labels_json: text(&row.alert.labels),
            annotations_json: text(&row.alert.annotations),
            id: row.id,
            rule: row.rule,
            group: row.group,
        };
        rows.into_iter().map(row).collect()
    }
}
