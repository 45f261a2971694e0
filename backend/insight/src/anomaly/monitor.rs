//! Watches a whole installation: takes the answers of the four statements bucket by bucket, keeps a baseline for each series, and
//! opens and closes incidents.
//!
//! A service's signals are grouped (rate, errors and patterns of logs; rate, errors and latency of operations; saturation). The
//! rarest series of each group counts, less what the number of its series makes likely; groups add up, each further one
//! by half. Two of three buckets beyond [`OPEN`] open an incident, [`QUIET`] quiet ones close it. All services that are abnormal
//! meanwhile are one incident.
//!
//! It fails towards silence: a bucket without any record (the server or its senders were away) is not judged; series beyond
//! [`SERIES`] are not watched and counted in [`Monitor::unwatched`].

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use serde::{Deserialize, Serialize};

use super::{
    detector::{Detector, Point, Verdict},
    incident::{Finding, Incident, Incidents, Severity},
    signals::{self, Key, Measure, Range, Row, Source},
    vector::{self, Autoencoder, SIGNALS, Vector},
};

/// Series watched, some 12 KiB each.
pub const SERIES: usize = 1000;
/// Buckets that one round of statements asks for at most.
pub const BUCKETS: i64 = 240;
/// How far back a monitor without a state begins.
pub const PAST: i64 = 24 * 3600 * SECOND;
/// How long a bucket waits for its last records.
pub const GRACE: i64 = 30 * SECOND;
/// Buckets after which a series that is gone is forgotten.
const FORGET: i64 = 24 * 60;
/// The negative power of ten of the chance at which an incident opens.
const OPEN: f64 = 6.0;
/// The same, below which a bucket is quiet.
const CLOSE: f64 = 3.0;
/// Quiet buckets that close an incident.
const QUIET: u32 = 5;
/// The negative power of ten of the chance from which a series is a finding.
const RARE: f64 = 3.0;
/// Spreads by which a point itself must be off to be a finding: windows of the past stay abnormal for longer.
const OFF: f64 = 2.0;
const SECOND: i64 = 1_000_000_000;
/// The groups of signals; the first of them make up the vector.
const GROUPS: usize = SIGNALS + 1;

/// What the groups weigh, by [`group`]: more or fewer of something is not yet a failure.
const WEIGHTS: [f64; GROUPS] = [0.5, 1.0, 0.5, 1.0, 1.0, 1.0, 0.5];

/// A series that is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Watched {
    detector: Detector,
    /// When it last had records.
    last: i64,
}

/// A service, from bucket to bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Service {
    /// Whether the last three buckets were abnormal, with their beginnings.
    hot: VecDeque<(i64, bool)>,
    /// When a series of it last had records.
    last: i64,
}

/// One service in one bucket.
#[derive(Default)]
struct Now {
    rare: [f64; GROUPS],
    series: [u32; GROUPS],
    deviations: [f64; SIGNALS],
    findings: Vec<Finding>,
}

/// The state of what is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    bucket_seconds: u64,
    /// The end of the last bucket that was taken in.
    taken: Option<i64>,
    #[serde(with = "pairs")]
    series: BTreeMap<Key, Watched>,
    services: BTreeMap<String, Service>,
    autoencoder: Autoencoder,
    /// Whether a training is due.
    due: bool,
    /// Quiet buckets since the last abnormal one, and when that was.
    quiet: u32,
    last_hot: i64,
    /// Series that found no room in the last bucket.
    unwatched: usize,
}

/// Maps with keys that are no text, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// A figure as the detector sees it: on a scale on which its noise is even.
struct Figure {
    key: Key,
    value: f64,
    noise: f64,
}

fn count(n: u64) -> (f64, f64) {
    // Anscombe's transform of a Poisson count: its variance is 1.
    (2.0 * (n as f64 + 0.375).sqrt(), 1.0)
}

/// What is to be judged of a row.
fn figures(source: Source, row: &Row) -> Vec<Figure> {
    let key = |measure| Key { service: row.service.clone(), source, name: row.name.clone(), measure };
    let figure = |measure, (value, noise)| Figure { key: key(measure), value, noise };
    let n = row.count.max(1) as f64;
    match source {
        Source::Logs => vec![figure(Measure::Rate, count(row.count)), figure(Measure::Errors, count(row.failed))],
        Source::Pattern => vec![figure(Measure::Rate, count(row.count))],
        Source::Operation => {
            let part = ((row.failed as f64 + 0.375) / (n + 0.75)).clamp(0.0, 1.0);
            vec![
                figure(Measure::Rate, count(row.count)),
                figure(Measure::Errors, (2.0 * part.sqrt().asin(), 1.0 / (n + 0.5).sqrt())),
                figure(Measure::Latency, ((row.total / n).max(1.0).ln(), 1.0 / n.sqrt())),
            ]
        }
        Source::Metric => vec![figure(Measure::Saturation, (row.total / n, 0.0))],
    }
}

/// The operations of each service together: most of them alone have too few spans to tell anything.
fn whole(rows: &[(Source, Row)]) -> Vec<(Source, Row)> {
    let mut whole: BTreeMap<&str, Row> = BTreeMap::new();
    for (_, row) in rows.iter().filter(|(source, _)| *source == Source::Operation) {
        let sum = whole.entry(&row.service).or_insert_with(|| Row {
            name: String::new(),
            count: 0,
            failed: 0,
            total: 0.0,
            ..row.clone()
        });
        sum.count += row.count;
        sum.failed += row.failed;
        sum.total += row.total;
    }
    whole.into_values().map(|row| (Source::Operation, row)).collect()
}

/// Whether a series without records in a bucket was 0 in it.
fn is_count(key: &Key) -> bool {
    key.measure == Measure::Rate || (key.source == Source::Logs && key.measure == Measure::Errors)
}

/// From the detector's scale to what people read.
fn plain(key: &Key, value: f64) -> f64 {
    match (key.source, key.measure) {
        (Source::Operation, Measure::Errors) => (value / 2.0).clamp(0.0, 1.6).sin().powi(2),
        (_, Measure::Latency) => value.min(50.0).exp() / 1e6,
        (_, Measure::Saturation) => value,
        _ => ((value / 2.0).powi(2) - 0.375).max(0.0),
    }
}

/// The group of a series.
fn group(key: &Key) -> usize {
    match (key.source, key.measure) {
        (Source::Logs, Measure::Errors) => 1,
        (Source::Logs, _) => 0,
        (Source::Operation, Measure::Errors) => 3,
        (Source::Operation, Measure::Latency) => 4,
        (Source::Operation, _) => 2,
        (Source::Metric, _) => 5,
        (Source::Pattern, _) => 6,
    }
}

/// Whether a deviation to this side is bad: fewer errors and shorter times are not.
fn is_bad(key: &Key, above: bool) -> bool {
    above || !matches!(key.measure, Measure::Errors | Measure::Latency)
}

impl Monitor {
    /// One that has seen nothing.
    pub fn new(bucket_seconds: u64) -> Self {
        Self {
            bucket_seconds: bucket_seconds.max(1),
            taken: None,
            series: BTreeMap::new(),
            services: BTreeMap::new(),
            autoencoder: Autoencoder::default(),
            due: false,
            quiet: 0,
            last_hot: 0,
            unwatched: 0,
        }
    }

    /// Seconds of a bucket.
    pub fn bucket_seconds(&self) -> u64 {
        self.bucket_seconds
    }

    /// Series that are watched.
    pub fn watched(&self) -> usize {
        self.series.len()
    }

    /// Series that found no room in the last bucket.
    pub fn unwatched(&self) -> usize {
        self.unwatched
    }

    /// Until when everything has been taken in.
    pub fn taken(&self) -> Option<i64> {
        self.taken
    }

    /// The network over the services' vectors.
    pub fn autoencoder(&self) -> &Autoencoder {
        &self.autoencoder
    }

    fn bucket(&self) -> i64 {
        self.bucket_seconds as i64 * SECOND
    }

    /// The next buckets that are complete, if there are any.
    pub fn next(&self, now: i64) -> Option<Range> {
        let bucket = self.bucket();
        let whole = |time: i64| time.div_euclid(bucket) * bucket;
        let oldest = whole(now - PAST);
        let start = self.taken.map_or(oldest, |taken| taken.max(oldest));
        let end = whole(now - GRACE).min(start + BUCKETS * bucket);
        (end > start).then_some(Range { start, end })
    }

    /// Leaves out what lies before `now`, where nothing has been taken in yet.
    pub fn begin(&mut self, now: i64) {
        let bucket = self.bucket();
        self.taken.get_or_insert((now - GRACE).div_euclid(bucket) * bucket);
    }

    /// The statements that [`Monitor::take`] wants the answers of.
    pub fn statements(&self, range: Range) -> [(Source, String); 4] {
        Source::ALL.map(|source| (source, signals::statement(source, range, self.bucket_seconds)))
    }

    /// Takes in what the statements answered for a range.
    pub fn take(&mut self, range: Range, rows: Vec<(Source, Row)>, incidents: &mut Incidents) {
        let bucket = self.bucket();
        let mut buckets: BTreeMap<i64, Vec<(Source, Row)>> = BTreeMap::new();
        for (source, row) in rows {
            if row.fits() && (range.start..range.end).contains(&row.time) {
                buckets.entry((row.time - range.start).div_euclid(bucket)).or_default().push((source, row));
            }
        }
        for at in 0..(range.end - range.start) / bucket {
            let rows = buckets.remove(&at).unwrap_or_default();
            // Nothing at all came: nobody knows what happened then.
            if !rows.is_empty() {
                self.step(range.start + at * bucket, &rows, incidents);
            }
        }
        self.taken = Some(range.end);
    }

    /// Trains the network where that is due: half a second of one core.
    ///
    /// # Errors
    /// It could not be trained, and is as it was.
    pub fn train(&mut self) -> Result<(), crate::Error> {
        if std::mem::take(&mut self.due) { self.autoencoder.train() } else { Ok(()) }
    }

    /// One bucket.
    fn step(&mut self, time: i64, rows: &[(Source, Row)], incidents: &mut Incidents) {
        let verdicts = self.judge(time, rows);
        let mut services: BTreeMap<String, Now> = BTreeMap::new();
        for (key, value, verdict) in verdicts {
            self.sort_in(services.entry(key.service.clone()).or_default(), time, &key, value, verdict);
        }
        let mut abnormal = false;
        for (name, now) in services {
            let vector: Vector = now.deviations.map(vector::squeeze);
            let sum = now.sum() + self.autoencoder.rare(&vector) / 2.0;
            self.due |= self.autoencoder.add(vector);
            abnormal |= sum >= CLOSE && !now.findings.is_empty();
            self.follow(&name, time, sum, now.findings, incidents);
        }
        self.settle(time, abnormal, incidents);
        let forgotten = time - FORGET * self.bucket();
        self.series.retain(|_, watched| watched.last >= forgotten);
        self.services.retain(|_, service| service.last >= forgotten);
    }

    /// Judges every series in a bucket: with its rows, or with 0 where it counts and there are none.
    fn judge(&mut self, time: i64, rows: &[(Source, Row)]) -> Vec<(Key, f64, Verdict)> {
        let whole = whole(rows);
        let all = rows.iter().chain(&whole).flat_map(|(source, row)| figures(*source, row));
        let figures: BTreeMap<Key, (f64, f64)> = all.map(|f| (f.key, (f.value, f.noise))).collect();
        self.unwatched = 0;
        for key in figures.keys() {
            if self.series.contains_key(key) {
                continue;
            }
            match self.series.len() < SERIES {
                true => drop(self.series.insert(key.clone(), Watched { detector: Detector::default(), last: time })),
                false => self.unwatched += 1,
            }
        }
        let mut verdicts = Vec::new();
        for (key, watched) in &mut self.series {
            let (value, noise) = match figures.get(key) {
                Some(figure) => {
                    watched.last = time;
                    *figure
                }
                None if is_count(key) => count(0),
                None => continue,
            };
            let verdict = watched.detector.observe(Point { time, value, noise });
            verdicts.push((key.clone(), value, verdict));
        }
        verdicts
    }

    /// What a series' verdict is for its service.
    fn sort_in(&self, now: &mut Now, time: i64, key: &Key, value: f64, verdict: Verdict) {
        let group = group(key);
        now.series[group] += 1;
        let off = if verdict.spread > 0.0 { (value - verdict.expected) / verdict.spread } else { 0.0 };
        // Of operations, all of them together: the largest of many is large by chance.
        if let Some(deviation) = now.deviations.get_mut(group)
            && (key.source != Source::Operation || key.name.is_empty())
            && off.abs() > deviation.abs()
        {
            *deviation = off;
        }
        if verdict.rare < RARE || off.abs() < OFF || !is_bad(key, off > 0.0) {
            return;
        }
        now.rare[group] = now.rare[group].max(verdict.rare);
        let hour = 30 * 60 * SECOND;
        let range = Range { start: time - hour, end: time + hour };
        now.findings.push(Finding {
            service: key.service.clone(),
            signal: key.to_string(),
            source: key.source,
            measure: key.measure,
            score: (verdict.rare / (2.0 * RARE)).clamp(0.5, 1.0),
            value: plain(key, value),
            expected: plain(key, verdict.expected),
            first: time,
            last: time + self.bucket(),
            sql: signals::evidence(key, range, self.bucket_seconds),
        });
    }

    /// Remembers a service's bucket, and opens or widens an incident.
    fn follow(&mut self, name: &str, time: i64, sum: f64, findings: Vec<Finding>, incidents: &mut Incidents) {
        let service = self.services.entry(name.to_owned()).or_default();
        service.last = time;
        service.hot.push_back((time, sum >= OPEN && !findings.is_empty()));
        if service.hot.len() > 3 {
            service.hot.pop_front();
        }
        let hot = service.hot.iter().filter(|(_, hot)| *hot).count();
        let first = service.hot.iter().find(|(_, hot)| *hot).map_or(time, |(time, _)| *time);
        let known = incidents.detected().is_some_and(|incident| incident.services.iter().any(|known| known == name));
        if (hot < 2 && !known) || findings.is_empty() {
            return;
        }
        let failing = findings.iter().any(|f| matches!(f.measure, Measure::Errors | Measure::Latency));
        let severity = if failing { Severity::Major } else { Severity::Minor };
        if incidents.detected().is_none() {
            self.quiet = 0;
            self.last_hot = time;
            incidents.open(Incident {
                id: String::new(),
                opened: first,
                closed: None,
                severity,
                services: Vec::new(),
                title: String::new(),
                what: Vec::new(),
                by_person: false,
            });
        }
        if let Some(incident) = incidents.detected() {
            findings.into_iter().for_each(|finding| incident.add(finding));
            incident.severity = incident.severity.max(severity);
            if incident.services.len() >= 3 && failing {
                incident.severity = Severity::Critical;
            }
            incident.name();
        }
    }

    /// Closes the incident once it has been quiet for long enough.
    fn settle(&mut self, time: i64, abnormal: bool, incidents: &mut Incidents) {
        let bucket = self.bucket();
        let Some(incident) = incidents.detected() else { return };
        if abnormal {
            (self.quiet, self.last_hot) = (0, time);
            return;
        }
        self.quiet += 1;
        if self.quiet >= QUIET {
            incident.closed = Some((self.last_hot + bucket).max(incident.opened + bucket));
        }
    }

    /// The names of the services that are watched.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The series of a service.
    pub fn series_of(&self, service: &str) -> impl Iterator<Item = &Key> {
        let first =
            Key { service: service.to_owned(), source: Source::Logs, name: String::new(), measure: Measure::Rate };
        let all = self.series.range((Bound::Included(first), Bound::Unbounded)).map(|(key, _)| key);
        all.take_while(move |key| key.service == service)
    }
}

impl Now {
    /// The groups together: each further one counts half of the one before it.
    fn sum(&self) -> f64 {
        let likely = |((rare, series), weight): ((&f64, &u32), f64)| {
            (rare - f64::from((*series).max(1)).log10()).max(0.0) * weight
        };
        let mut rare: Vec<f64> = self.rare.iter().zip(&self.series).zip(WEIGHTS).map(likely).collect();
        rare.sort_by(|a, b| b.total_cmp(a));
        rare.iter().zip(0..).map(|(rare, at)| rare / f64::from(1 << at)).sum()
    }
}
