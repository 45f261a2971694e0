//! What outlives a restart: the state of the alerts, those that are over, and what receivers were told. It lies in the data
//! directory, whatever the store, and is written whenever an alert changes.

use std::{collections::VecDeque, path::PathBuf};

use devmesh_insight::anomaly::state;
use devmesh_rules::{
    LabelSet,
    alert::{Alert, Alerts},
    file::{Fields, Query},
    notify::dispatch::Dispatcher,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a rule's state is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) file: String,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) query: String,
    pub(super) labels: LabelSet,
}

impl Identity {
    pub(super) fn new(file: &str, group: &str, name: &str, query: &Query, labels: LabelSet) -> Self {
        let query = query.text().to_owned();
        Self { file: file.to_owned(), group: group.to_owned(), name: name.to_owned(), query, labels }
    }
}

/// The alerts of one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OfRule {
    pub(super) rule: Identity,
    pub(super) alerts: Alerts,
}

/// An alert that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) file: String,
    pub(super) group: String,
    pub(super) rule: String,
    pub(super) alert: Alert,
}

/// The state of everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// When it was written, ms since the epoch.
    pub(super) at: i64,
    pub(super) rules: Vec<OfRule>,
    /// The oldest first.
    pub(super) past: VecDeque<Past>,
    pub(super) dispatcher: Dispatcher,
}

/// A rule that was made by the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Its id, which is the name of its group.
    pub(crate) id: String,
    /// When it was made, ns since the epoch.
    pub(crate) created: i64,
    /// Time between two evaluations, as it was written; empty: that of the settings.
    pub(crate) interval: String,
    /// The rule.
    pub(crate) rule: Fields,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct AllMade {
    /// The number of the last one; no id comes twice.
    pub(super) last: u64,
    pub(super) rules: Vec<Made>,
}

/// The directory of both.
#[derive(Clone, Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    /// What was kept; damaged, it is said and begun anew: rules are evaluated again in a minute.
    pub(super) fn read<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        let path = self.0.join(name);
        let read = state::load(&path).unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; begun anew", path.display());
            None
        });
        read.unwrap_or_default()
    }

    /// Writes it; an error leaves what was there.
    pub(super) async fn write<T: Serialize + Send + 'static>(&self, name: &str, kept: T) -> Result<(), String> {
        let path = self.0.join(name);
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || state::save(&path, &kept)).await;
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(format!("failed to write {shown}: {error}"))
    }
}
