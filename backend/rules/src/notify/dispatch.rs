//! Which alerts are told to whom, and when: groups that wait, leave out what was said, and say it again after a while.
//!
//! It goes as in Alertmanager: a group waits `group_wait` for its first message, then `group_interval` between two; it is told
//! again where there is something new, or after `repeat_interval`. What could not be delivered is tried again at the group's
//! next turn. Alerts that fire are over once nothing more was heard of them. Times are ms since the epoch.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use devmesh_schema::limits;
use serde::{Deserialize, Serialize};

use super::{
    Notice,
    config::{Config, End, GroupBy, Route},
};
use crate::LabelSet;

/// What a group is known by: its route, the end that is told, and the labels that its alerts share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The route's key.
    pub route: String,
    /// The receiver.
    pub receiver: String,
    /// Which of its ends.
    pub end: usize,
    /// The labels.
    pub labels: LabelSet,
}

/// What was said last about a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    firing: BTreeSet<u64>,
    resolved: BTreeSet<u64>,
    at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    key: Key,
    /// By their fingerprints.
    alerts: BTreeMap<u64, Notice>,
    /// When it is its turn.
    next: i64,
    said: Option<Said>,
    #[serde(skip)]
    in_flight: bool,
    times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    interval: i64,
    repeat: i64,
    send_resolved: bool,
}

/// A message to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// To whom, about what.
    pub key: Key,
    /// The alerts, those that are over among them.
    pub alerts: Vec<Notice>,
    /// When it was made.
    pub at: i64,
    /// When it makes no sense any more: the group has its next turn.
    pub until: i64,
    said: Said,
}

/// All groups.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Group>", into = "Vec<Group>")]
pub struct Dispatcher {
    groups: BTreeMap<Key, Group>,
    dropped: u64,
}

impl From<Vec<Group>> for Dispatcher {
    fn from(groups: Vec<Group>) -> Self {
        Self { groups: groups.into_iter().map(|group| (group.key.clone(), group)).collect(), dropped: 0 }
    }
}

impl From<Dispatcher> for Vec<Group> {
    fn from(dispatcher: Dispatcher) -> Self {
        dispatcher.groups.into_values().collect()
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Route {
    /// The labels by which an alert is grouped.
    fn labels_of(&self, notice: &Notice) -> LabelSet {
        let wanted = |name: &String| match &self.group_by {
            GroupBy::All => true,
            GroupBy::Labels(names) => names.contains(name),
        };
        notice.labels.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }
}

impl Dispatcher {
    /// Takes an alert in, for all whom it concerns.
    pub fn insert(&mut self, config: &Config, notice: &Notice, now: i64) {
        let Some(root) = &config.route else { return };
        for route in root.of(&notice.labels) {
            for end in config.ends_of(&route.receiver) {
                self.add(route, end, notice, now);
            }
        }
    }

    fn add(&mut self, route: &Route, end: &End, notice: &Notice, now: i64) {
        let labels = route.labels_of(notice);
        let key = Key { route: route.key.clone(), receiver: end.receiver.clone(), end: end.index, labels };
        let held = self.alerts();
        let times = Times {
            interval: ms(route.group_interval),
            repeat: ms(route.repeat_interval),
            send_resolved: end.send_resolved,
        };
        let known = self.groups.contains_key(&key);
        if !known && notice.is_resolved(now) {
            // Nobody was told that it fired.
            return;
        }
        // The first alert does not wait for others where it has fired for long enough already.
        let wait = ms(route.group_wait);
        let next = if notice.starts_at + wait < now { now } else { now + wait };
        let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
            key,
            alerts: BTreeMap::new(),
            next,
            said: None,
            in_flight: false,
            times,
        });
        group.times = times;
        match group.alerts.entry(notice.fingerprint()) {
            Entry::Occupied(mut known) => drop(known.insert(notice.clone())),
            Entry::Vacant(_) if notice.is_resolved(now) => {}
            Entry::Vacant(_) if held >= limits::NOTIFICATIONS => self.dropped += 1,
            Entry::Vacant(place) => drop(place.insert(notice.clone())),
        }
    }

    /// Alerts that stand in groups.
    pub fn alerts(&self) -> usize {
        self.groups.values().map(|group| group.alerts.len()).sum()
    }

    /// Alerts that found no room, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When something is due next.
    pub fn next(&self) -> Option<i64> {
        self.groups.values().filter(|group| !group.in_flight).map(|group| group.next).min()
    }

    /// What is to be delivered now.
    pub fn due(&mut self, now: i64) -> Vec<Job> {
        let mut jobs = Vec::new();
        self.groups.retain(|_, group| {
            if group.in_flight || group.next > now {
                return true;
            }
            group.next = now + group.times.interval;
            match group.job(now) {
                Some(job) => {
                    group.in_flight = true;
                    jobs.push(job);
                    true
                }
                None => group.forget(now),
            }
        });
        jobs
    }

    /// What became of a message. What was not delivered is tried again at the group's next turn.
    pub fn done(&mut self, job: &Job, delivered: bool) {
        let Some(group) = self.groups.get_mut(&job.key) else { return };
        group.in_flight = false;
        if delivered {
            group.said = Some(job.said.clone());
            if !group.forget(job.at) {
                self.groups.remove(&job.key);
            }
        }
    }

    /// Leaves out the groups of receivers and routes that there are no more.
    pub fn keep(&mut self, config: &Config) {
        let mut routes = BTreeSet::new();
        let mut rest: Vec<&Route> = config.route.iter().collect();
        while let Some(route) = rest.pop() {
            routes.insert((route.key.as_str(), route.receiver.as_str()));
            rest.extend(&route.routes);
        }
        let known = |key: &Key| {
            routes.contains(&(key.route.as_str(), key.receiver.as_str()))
                && config.ends_of(&key.receiver).any(|end| end.index == key.end)
        };
        self.groups.retain(|key, _| known(key));
    }
}

impl Group {
    /// The message about the group, where there is something to say.
    fn job(&self, now: i64) -> Option<Job> {
        let of = |resolved: bool| -> BTreeSet<u64> {
            let those = self.alerts.iter().filter(|(_, alert)| alert.is_resolved(now) == resolved);
            those.map(|(fingerprint, _)| *fingerprint).collect()
        };
        let said = Said { firing: of(false), resolved: of(true), at: now };
        if !self.is_news(&said) {
            return None;
        }
        let told = |alert: &&Notice| self.times.send_resolved || !alert.is_resolved(now);
        let mut alerts: Vec<Notice> = self.alerts.values().filter(told).cloned().collect();
        alerts.sort_by(|a, b| (a.starts_at, &a.labels).cmp(&(b.starts_at, &b.labels)));
        let until = now + self.times.interval;
        (!alerts.is_empty()).then(|| Job { key: self.key.clone(), alerts, at: now, until, said })
    }

    fn is_news(&self, now: &Said) -> bool {
        let Some(before) = &self.said else { return !now.firing.is_empty() };
        if !now.firing.is_subset(&before.firing) {
            return true;
        }
        if now.firing.is_empty() {
            // All is well again: said once, and only where something was said before.
            return self.times.send_resolved && !before.firing.is_empty();
        }
        if self.times.send_resolved && !now.resolved.is_subset(&before.resolved) {
            return true;
        }
        before.at + self.times.repeat <= now.at
    }

    /// Leaves out what is over and was said; `false` where nothing is left.
    fn forget(&mut self, now: i64) -> bool {
        self.alerts.retain(|_, alert| !alert.is_resolved(now));
        !self.alerts.is_empty()
    }
}
