//! Recording and alerting rules at work: those of files, which are read again at SIGHUP, and those made by the API. Their queries
//! are asked of the engine, what they record is written to the sink like anything else that comes in, and what fires is
//! delivered.
//!
//! A file that is wrong leaves what is in force. A rule that fails says so in its state and is evaluated again at its next turn.

mod ask;
mod client;
pub(crate) mod deliver;
pub(crate) mod files;
pub(crate) mod group;
pub(crate) mod kept;
pub(crate) mod made;
mod shown;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use devmesh_collector::recorded::{self, Recorded};
use devmesh_query::Engine;
use devmesh_rules::{LabelSet, alert::Alerts, file};
use devmesh_schema::{Sink, limits};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::shown::{Board, Row};
use self::{
    deliver::Delivery,
    files::RuleFile,
    group::Group,
    kept::{AllMade, Directory, Identity, Kept, OfRule, Past},
};
use crate::{api::params::now, settings::Settings};

/// What stands in the place of the file of rules that were made by the API.
pub(crate) const API: &str = "/v1/alert-rules";
/// Time between two writings of the state while alerts are there. It bounds what a crash forgets of the time that they are
/// pending.
const SAVE: Duration = Duration::from_secs(30);

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) evaluations: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Turns of groups that passed while the one before took too long.
    pub(crate) missed: AtomicU64,
    /// Evaluations of groups that took longer than their interval.
    pub(crate) slow: AtomicU64,
    pub(crate) micros: AtomicU64,
    /// Series that could not be stored.
    pub(crate) refused: AtomicU64,
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Rules {
    patterns: Vec<String>,
    receivers: PathBuf,
    interval: Duration,
    external_url: String,
    /// Series older than this are not stored.
    past_limit: Duration,
    engine: Arc<Engine>,
    sink: Arc<dyn Sink>,
    directory: Directory,
    /// What was read last and is right.
    files: Mutex<Vec<RuleFile>>,
    groups: Mutex<Vec<Arc<Group>>>,
    made: Mutex<AllMade>,
    past: Mutex<VecDeque<Past>>,
    delivery: Arc<Delivery>,
    pub(crate) figures: Figures,
    turns: Semaphore,
    saving: tokio::sync::Mutex<()>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, ms since the epoch.
pub(crate) fn now_ms() -> i64 {
    now() / 1_000_000
}

impl Rules {
    /// Reads the files and what was kept, and begins to evaluate.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub(crate) fn start(
        settings: &Settings,
        engine: Arc<Engine>,
        sink: Arc<dyn Sink>,
        external_url: String,
    ) -> Result<Arc<Self>, Vec<String>> {
        let directory = Directory(settings.local_dir().join("rules"));
        let kept: Kept = directory.read("state");
        let rules = Arc::new(Self {
            patterns: settings.rules.files.clone(),
            receivers: settings.rules.receivers_file.clone(),
            interval: settings.rules.interval.0,
            delivery: Delivery::new(external_url.clone(), kept.dispatcher),
            external_url,
            past_limit: settings.retention.metrics.0,
            engine,
            sink,
            made: Mutex::new(directory.read("made")),
            directory,
            files: Mutex::default(),
            groups: Mutex::default(),
            past: Mutex::new(kept.past),
            figures: Figures::default(),
            turns: Semaphore::new(limits::RULE_EVALUATIONS),
            saving: tokio::sync::Mutex::default(),
        });
        let down = if kept.at > 0 { (now_ms() - kept.at).max(0) } else { 0 };
        let alerts = kept.rules.into_iter().map(|OfRule { rule, mut alerts }| {
            alerts.resume(down);
            (rule, alerts)
        });
        rules.take(alerts.collect())?;
        Ok(rules)
    }

    /// Reads the files again. What is the same goes on; a rule that is changed elsewhere keeps its alerts.
    ///
    /// # Errors
    /// All that is wrong with them: everything stays as it was.
    pub(crate) fn reload(self: &Arc<Self>) -> Result<(), Vec<String>> {
        self.take(BTreeMap::new())
    }

    fn take(self: &Arc<Self>, kept: BTreeMap<Identity, Alerts>) -> Result<(), Vec<String>> {
        let files = files::rules(&self.patterns)?;
        let receivers = files::receivers(&self.receivers).map_err(|problem| vec![problem])?;
        self.delivery.tell(receivers).map_err(|problem| vec![problem])?;
        *lock(&self.files) = files;
        self.regroup(kept, None);
        Ok(())
    }

    /// Puts groups into force: those of files, then those made by the API. Of `fresh` nobody waits for the first turn.
    fn regroup(self: &Arc<Self>, mut kept: BTreeMap<Identity, Alerts>, fresh: Option<&str>) {
        let mut specs: Vec<(String, file::Group)> = Vec::new();
        for file in lock(&self.files).iter() {
            specs.extend(file.groups.iter().map(|group| (file.path.display().to_string(), group.clone())));
        }
        specs.extend(self.made_groups().into_iter().map(|group| (API.to_owned(), group)));
        let before = lock(&self.groups).clone();
        for group in &before {
            for running in &group.rules {
                kept.insert(group.identity(&running.rule), running.state().alerts);
            }
        }
        let mut now = Vec::with_capacity(specs.len());
        let mut begin = Vec::new();
        for (file, spec) in &specs {
            let mut known = |identity: &Identity| kept.get(identity).cloned().unwrap_or_default();
            let group = Group::new(file, spec, self.interval, &mut known);
            match before.iter().find(|old| old.is_same(&group)) {
                Some(old) => now.push(Arc::clone(old)),
                None => {
                    let group = Arc::new(group);
                    begin.push(Arc::clone(&group));
                    now.push(group);
                }
            }
        }
        let gone: Vec<&Arc<Group>> = before.iter().filter(|old| !now.iter().any(|new| Arc::ptr_eq(old, new))).collect();
        gone.iter().for_each(|group| group.stop.cancel());
        self.end(&gone, &now);
        *lock(&self.groups) = now;
        for group in begin {
            let at_once = fresh == Some(group.name.as_str());
            tokio::spawn(Arc::clone(&group).run(Arc::clone(self), at_once));
        }
    }

    /// Ends the series of rules that there are no more.
    fn end(self: &Arc<Self>, gone: &[&Arc<Group>], now: &[Arc<Group>]) {
        let stays = |identity: &Identity| {
            now.iter().any(|group| group.rules.iter().any(|running| group.identity(&running.rule) == *identity))
        };
        let mut ended: Vec<LabelSet> = Vec::new();
        for group in gone {
            for running in &group.rules {
                if !stays(&group.identity(&running.rule)) {
                    ended.extend(running.state().series);
                }
            }
        }
        if ended.is_empty() {
            return;
        }
        let time = now_ms();
        let end =
            |labels: LabelSet| Recorded { labels: labels.into_iter().collect(), time, value: recorded::Value::End };
        let ended: Vec<Recorded> = ended.into_iter().map(end).collect();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.write(&ended).await {
                tracing::warn!("series of rules that are gone could not be ended: {error}");
            }
        });
    }

    /// Writes series to the sink.
    async fn write(&self, recorded: &[Recorded]) -> Result<(), String> {
        let written = recorded::batches(recorded, self.past_limit);
        for batch in written.batches {
            self.sink.write(batch).await.map_err(|error| format!("failed to write its series: {error}"))?;
        }
        if written.refused > 0 {
            self.figures.refused.fetch_add(written.refused, Relaxed);
            let why = written.why.unwrap_or_default();
            return Err(format!("{} of its series cannot be stored: {why}", written.refused));
        }
        Ok(())
    }

    /// Delivers, and keeps the state, until told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let delivering = self.delivery.run(&stop);
        let keeping = async {
            while stop.run_until_cancelled(tokio::time::sleep(SAVE)).await.is_some() {
                let groups = lock(&self.groups).clone();
                let busy =
                    groups.iter().any(|group| group.rules.iter().any(|rule| rule.state().alerts.all().count() > 0));
                if busy || self.delivery.waiting() > 0 {
                    self.save().await;
                }
            }
        };
        tokio::join!(delivering, keeping);
        lock(&self.groups).iter().for_each(|group| group.stop.cancel());
        self.save().await;
    }

    /// Writes the state down.
    async fn save(&self) {
        let _one = self.saving.lock().await;
        let mut rules = Vec::new();
        for group in lock(&self.groups).iter() {
            for running in &group.rules {
                let alerts = running.state().alerts;
                if alerts.all().next().is_some() {
                    rules.push(OfRule { rule: group.identity(&running.rule), alerts });
                }
            }
        }
        let past = lock(&self.past).clone();
        let kept = Kept { at: now_ms(), rules, past, dispatcher: self.delivery.dispatcher() };
        if let Err(error) = self.directory.write("state", kept).await {
            tracing::warn!("rules: {error}");
        }
    }

    /// Notes alerts that are over; the oldest go.
    fn past(&self, over: impl Iterator<Item = Past>) {
        let mut past = lock(&self.past);
        past.extend(over);
        let surplus = past.len().saturating_sub(limits::ALERTS_KEPT);
        past.drain(..surplus);
    }

    /// The groups in force, by file and name.
    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups = lock(&self.groups).clone();
        groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        groups
    }

    /// What goes out.
    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Where a rule is seen.
    fn link(&self, rule: &str) -> String {
        let name: String = url::form_urlencoded::byte_serialize(rule.as_bytes()).collect();
        format!("{}/alerts?rule={name}", self.external_url)
    }
}
