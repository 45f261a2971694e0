//! A group of rules at work: its turns, and what one evaluation does.

use std::{
    collections::BTreeSet,
    hash::Hasher,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use devmesh_collector::recorded::{Recorded, Value};
use devmesh_query::prometheus::promql::NAME;
use devmesh_rules::{
    LabelSet,
    alert::{Alerts, Changes, Context, Found},
    file::{self, Query, Rule},
    notify::Notice,
};
use tokio_util::sync::CancellationToken;

use super::{
    Rules,
    ask::{self, Series},
    kept::{Identity, Past},
    lock, now_ms,
};

/// How often receivers are told of what goes on.
const RESEND: Duration = Duration::from_secs(60);
/// The shortest time that a query of a rule is given.
const TIME_MIN: Duration = Duration::from_secs(10);

/// How a rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Unknown,
    Ok,
    Failed(String),
}

impl Health {
    /// As Prometheus' API names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Ok => "ok",
            Health::Failed(_) => "err",
        }
    }
}

/// When something was evaluated, ms since the epoch, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) last: Option<i64>,
    pub(crate) seconds: f64,
}

/// The state of a rule.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) alerts: Alerts,
    pub(crate) health: Health,
    pub(crate) times: Times,
    /// What it wrote last: what is missing the next time has ended.
    pub(super) series: BTreeSet<LabelSet>,
}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) rule: Rule,
    /// Its query, as Prometheus writes it.
    pub(crate) query: String,
    pub(super) state: Mutex<State>,
}

impl Running {
    fn new(rule: Rule, alerts: Alerts) -> Self {
        let query = match &rule.query {
            Query::Promql(text) => devmesh_query::prometheus::promql::written(text).unwrap_or_else(|_| text.clone()),
            Query::Sql(text) => text.clone(),
        };
        let series = alerts.series().into_iter().map(|(labels, _)| labels).collect();
        let state = State { alerts, health: Health::Unknown, times: Times::default(), series };
        Self { rule, query, state: Mutex::new(state) }
    }

    /// Its state as it is now.
    pub(crate) fn state(&self) -> State {
        lock(&self.state).clone()
    }
}

/// A group at work.
#[derive(Debug)]
pub(crate) struct Group {
    /// The file that it stands in, or [`super::API`].
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) limit: usize,
    pub(crate) rules: Vec<Running>,
    offset: Duration,
    times: Mutex<Times>,
    pub(super) stop: CancellationToken,
}

impl Group {
    /// A group that is to work; `known` gives the alerts that a rule had.
    pub(super) fn new(
        file: &str,
        group: &file::Group,
        default: Duration,
        known: &mut dyn FnMut(&Identity) -> Alerts,
    ) -> Self {
        let mut running = Vec::with_capacity(group.rules.len());
        for rule in &group.rules {
            let identity = Identity::new(file, &group.name, &rule.name, &rule.query, rule.label_texts());
            running.push(Running::new(rule.clone(), known(&identity)));
        }
        Self {
            file: file.to_owned(),
            name: group.name.clone(),
            interval: group.interval.unwrap_or(default),
            limit: group.limit,
            rules: running,
            offset: group.query_offset.unwrap_or_default(),
            times: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// What a rule's state is known by.
    pub(super) fn identity(&self, rule: &Rule) -> Identity {
        Identity::new(&self.file, &self.name, &rule.name, &rule.query, rule.label_texts())
    }

    /// Whether it says the same: then it goes on as it is.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let rule = |running: &Running| format!("{:?}", running.rule);
        (&self.file, &self.name, self.interval, self.offset, self.limit)
            == (&other.file, &other.name, other.interval, other.offset, other.limit)
            && self.rules.iter().map(rule).eq(other.rules.iter().map(rule))
    }

    /// When it was evaluated last.
    pub(crate) fn times(&self) -> Times {
        *lock(&self.times)
    }

    /// Groups are evaluated at different moments of their interval, each always at the same: the first one after `now`, ms.
    fn next(&self, now: i64) -> i64 {
        let mut hash = std::hash::DefaultHasher::new();
        hash.write(self.file.as_bytes());
        hash.write_u8(0xff);
        hash.write(self.name.as_bytes());
        let interval = self.interval_ms();
        let shift = i64::try_from(hash.finish() % interval.unsigned_abs()).unwrap_or(0);
        now + interval - (now - shift).rem_euclid(interval)
    }

    fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// Evaluates the group at its turns, until it is stopped; `at_once` without waiting for the first.
    pub(super) async fn run(self: Arc<Self>, rules: Arc<Rules>, at_once: bool) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            if at_once {
                self.evaluate(&rules, now_ms()).await;
            }
            let mut turn = self.next(now_ms());
            loop {
                tokio::time::sleep(Duration::from_millis(u64::try_from(turn - now_ms()).unwrap_or(0))).await;
                self.evaluate(&rules, turn).await;
                // Turns that passed meanwhile are missed: two at once would only make it worse.
                let now = now_ms();
                let missed = (now - turn) / self.interval_ms();
                if missed > 0 {
                    rules.figures.missed.fetch_add(missed.unsigned_abs(), Relaxed);
                    tracing::warn!(group = self.name, missed, "evaluations of a group were missed: it takes too long");
                }
                turn = self.next(now.max(turn));
            }
        })
        .await;
    }

    /// Evaluates all rules, one after the other, for one time.
    async fn evaluate(self: &Arc<Self>, rules: &Arc<Rules>, at: i64) {
        let Ok(_turn) = rules.turns.acquire().await else { return };
        let started = Instant::now();
        let mut changed = false;
        let mut notices = Vec::new();
        for place in 0..self.rules.len() {
            changed |= self.one(rules, place, at, &mut notices).await;
        }
        let took = started.elapsed();
        *lock(&self.times) = Times { last: Some(at), seconds: took.as_secs_f64() };
        if took > self.interval {
            rules.figures.slow.fetch_add(1, Relaxed);
        }
        if changed {
            // Before anybody is told: what was told is not told anew after a crash.
            rules.save().await;
        }
        rules.delivery.take(&notices);
    }

    /// Evaluates one rule. Whether an alert changed.
    async fn one(self: &Arc<Self>, rules: &Arc<Rules>, place: usize, at: i64, notices: &mut Vec<Notice>) -> bool {
        let started = Instant::now();
        let running = &self.rules[place];
        let offset = i64::try_from(self.offset.as_millis()).unwrap_or(0);
        let outcome = self.answer(rules, place, at, at - offset).await;
        let mut changed = false;
        let health = match outcome {
            Ok((changes, alerts)) => {
                changed = changes.changed;
                if let Some(alerts) = alerts {
                    notices.extend(self.publish(rules, running, alerts, changes, at));
                }
                Health::Ok
            }
            Err(error) => {
                rules.figures.failed.fetch_add(1, Relaxed);
                let before = lock(&running.state).health.clone();
                if !matches!(before, Health::Failed(_)) {
                    tracing::warn!(group = self.name, rule = running.rule.name, "a rule cannot be evaluated: {error}");
                }
                Health::Failed(error)
            }
        };
        let took = started.elapsed();
        rules.figures.evaluations.fetch_add(1, Relaxed);
        rules.figures.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        let mut state = lock(&running.state);
        state.health = health;
        state.times = Times { last: Some(at), seconds: took.as_secs_f64() };
        changed
    }

    /// Asks the query, takes the answer in, and writes the series.
    async fn answer(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        place: usize,
        at: i64,
        asked: i64,
    ) -> Result<(Changes, Option<Alerts>), String> {
        let running = &self.rules[place];
        let time = self.interval.max(TIME_MIN);
        let found = ask::ask(&rules.engine, &running.rule.query, asked, time).await?;
        if !running.rule.is_alert() {
            self.record(rules, running, found, asked).await?;
            return Ok((Changes::default(), None));
        }
        let found: Vec<Found> = found.into_iter().map(Series::found).collect();
        let mut alerts = lock(&running.state).alerts.clone();
        let (this, engine) = (Arc::clone(self), Arc::clone(&rules.engine));
        let (external_url, config) = (rules.external_url.clone(), rules.delivery.config());
        // Templates may ask queries, and wait for them.
        let evaluated = tokio::task::spawn_blocking(move || {
            let ask = |query: &str| ask::for_template(&engine, query, asked, time);
            let context = Context {
                at,
                limit: this.limit,
                external_labels: &config.external_labels,
                external_url: &external_url,
                ask: &ask,
            };
            let changes = alerts.evaluate(&this.rules[place].rule, &found, context);
            (alerts, changes)
        });
        let (alerts, changes) = evaluated.await.map_err(|error| error.to_string())?;
        let changes = match changes {
            Ok(changes) => changes,
            Err(error) => {
                lock(&running.state).alerts = alerts;
                return Err(error);
            }
        };
        let series = alerts.series().into_iter().map(|(labels, value)| (labels, Value::Number(value))).collect();
        self.write(rules, running, series, asked).await?;
        Ok((changes, Some(alerts)))
    }

    /// What a recording rule writes: the answer under its own name.
    async fn record(&self, rules: &Rules, running: &Running, found: Vec<Series>, at: i64) -> Result<(), String> {
        if self.limit > 0 && found.len() > self.limit {
            return Err(format!("exceeded limit of {} with {} series", self.limit, found.len()));
        }
        let mut all: Vec<(LabelSet, Value)> = Vec::with_capacity(found.len());
        let mut seen = BTreeSet::new();
        for Series { mut labels, value } in found {
            labels.extend(running.rule.label_texts());
            labels.insert(NAME.to_owned(), running.rule.name.clone());
            labels.retain(|_, value| !value.is_empty());
            if !seen.insert(labels.clone()) {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
            all.push((labels, value));
        }
        self.write(rules, running, all, at).await
    }

    /// Writes series, and the end of those that are missing now.
    async fn write(
        &self,
        rules: &Rules,
        running: &Running,
        series: Vec<(LabelSet, Value)>,
        at: i64,
    ) -> Result<(), String> {
        let now: BTreeSet<LabelSet> = series.iter().map(|(labels, _)| labels.clone()).collect();
        let ended: Vec<LabelSet> = lock(&running.state).series.difference(&now).cloned().collect();
        let all = series.into_iter().chain(ended.into_iter().map(|labels| (labels, Value::End)));
        let recorded: Vec<Recorded> =
            all.map(|(labels, value)| Recorded { labels: labels.into_iter().collect(), time: at, value }).collect();
        rules.write(&recorded).await?;
        lock(&running.state).series = now;
        Ok(())
    }

    /// Takes over what an evaluation made of the alerts; answers what receivers are told.
    fn publish(&self, rules: &Rules, running: &Running, mut alerts: Alerts, changes: Changes, at: i64) -> Vec<Notice> {
        let resend = i64::try_from(RESEND.as_millis()).unwrap_or(i64::MAX);
        // Four times as long as it takes until they are told again, as in Prometheus.
        let valid = 4 * resend.max(self.interval_ms());
        let config = rules.delivery.config();
        let url = rules.link(&running.rule.name);
        let send = alerts.to_send(at, resend);
        let notices =
            send.iter().map(|alert| Notice::of(alert, at, valid, &config.external_labels, url.clone())).collect();
        let past = changes.resolved.into_iter().map(|alert| Past {
            file: self.file.clone(),
            group: self.name.clone(),
            rule: running.rule.name.clone(),
            alert,
        });
        rules.past(past);
        lock(&running.state).alerts = alerts;
        notices
    }
}
