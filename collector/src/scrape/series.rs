//! The series of one target, from scrape to scrape: their labels are made once, and those that have gone are ended.

use std::{collections::HashMap, sync::Arc};

use devmesh_schema::prometheus;
use foldhash::fast::RandomState;

use super::{
    config::{Job, Protocol},
    exposition::{self, Wanted},
    relabel::{self, Labels},
    sample::{Entry, Name, Owned, Scraped, Value},
    text::{self, Format},
};
use crate::prometheus::{Bounds, Exemplar, Families, Ready, Request, STALE, Sample, Series};

/// A series that was seen.
#[derive(Debug)]
struct Known {
    /// `None`: a rule drops it.
    labels: Option<Arc<Owned>>,
    /// In which scrape it was seen last.
    seen: u64,
    /// In which scrape it was, with the time of the scrape: it is ended once it is missing.
    tracked: u64,
}

/// What is known of a target's series.
#[derive(Debug)]
pub(super) struct Store {
    job: Arc<Job>,
    labels: Arc<Owned>,
    families: Families,
    known: HashMap<Box<str>, Known, RandomState>,
    scrape: u64,
}

/// What came of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) up: bool,
    pub(super) seconds: f64,
    scraped: usize,
    kept: usize,
    added: usize,
}

/// A sample with its series' labels.
type Kept<'e, 'b> = (Arc<Owned>, &'e Entry<'b>, i64);

impl Store {
    pub(super) fn new(job: Arc<Job>, labels: Arc<Owned>) -> Self {
        Self { job, labels, families: Families::default(), known: HashMap::default(), scrape: 1 }
    }

    /// Writes what a scrape at `time`, ms, has brought, and ends what it has not.
    ///
    /// # Errors
    /// The exposition is none, or exceeds a limit: nothing of it is taken.
    pub(super) fn take(
        &mut self,
        body: &[u8],
        protocol: Protocol,
        (time, seconds): (i64, f64),
        bounds: Bounds,
    ) -> Result<Ready, String> {
        let scraped = match protocol {
            Protocol::Proto => exposition::parse(body, Wanted { native: self.job.native, classic: self.job.classic }),
            Protocol::OpenMetrics1 | Protocol::OpenMetrics0 => text::parse(body, Format::OpenMetrics),
            Protocol::Text1 | Protocol::Text0 => text::parse(body, Format::Plain),
        };
        let Scraped { entries, families } = scraped.map_err(|error| error.to_string())?;
        families.into_iter().for_each(|(name, about)| self.families.learn(&name, about));
        self.scrape += 1;
        let (kept, added) = self.keep(&entries, time).inspect_err(|_| self.scrape -= 1)?;
        let report = Report { up: true, seconds, scraped: entries.len(), kept: kept.len(), added };
        let ended = self.ended();
        Ok(self.write(&kept, &ended, time, report, bounds))
    }

    /// Writes that a scrape at `time`, ms, failed, and ends all series.
    pub(super) fn failed(&mut self, (time, seconds): (i64, f64), bounds: Bounds) -> Ready {
        self.scrape += 1;
        let ended = self.ended();
        self.write(&[], &ended, time, Report { seconds, ..Report::default() }, bounds)
    }

    /// Ends all series, those about the scrape too: the target is gone.
    pub(super) fn end(&mut self, time: i64, bounds: Bounds) -> Ready {
        self.scrape += 1;
        let ended = self.ended();
        let mut request = Request::new(prometheus::SCRAPE, bounds, &self.families);
        ended.iter().for_each(|labels| number(&mut request, labels, None, f64::from_bits(STALE), time));
        for (name, _) in Report::default().series() {
            number(&mut request, &self.labels, Some(name), f64::from_bits(STALE), time);
        }
        request.finish()
    }

    /// The samples that rules keep, and how many of their series are new. Where the scrape is refused, nothing is noted of
    /// it: what was there before is what ends.
    fn keep<'e, 'b>(&mut self, entries: &'e [Entry<'b>], time: i64) -> Result<(Vec<Kept<'e, 'b>>, usize), String> {
        let mut kept = Vec::with_capacity(entries.len());
        let mut added = 0;
        for entry in entries {
            let key = entry.name.key();
            if !self.known.contains_key(key) {
                let labels = self.labels(&entry.name).map_err(|error| format!("line {}: {error}", entry.line))?;
                added += usize::from(labels.is_some());
                let seen = self.scrape;
                self.known.insert(key.into(), Known { labels: labels.map(Arc::new), seen, tracked: 0 });
            }
            let Some(labels) = self.known.get(key).and_then(|known| known.labels.as_ref()) else { continue };
            let own = entry.time.filter(|_| self.job.honor_timestamps);
            kept.push((Arc::clone(labels), entry, own.unwrap_or(time)));
            if kept.len() as u64 > self.job.limits.samples {
                return Err(format!("there are more than {} samples", self.job.limits.samples));
            }
        }
        for entry in entries {
            let Some(known) = self.known.get_mut(entry.name.key()) else { continue };
            known.seen = self.scrape;
            let at_scrape = entry.time.is_none() || !self.job.honor_timestamps;
            if at_scrape || self.job.track_staleness {
                known.tracked = self.scrape;
            }
        }
        Ok((kept, added))
    }

    /// The labels of a new series, with those of its target, after the rules for metrics.
    fn labels(&self, name: &Name<'_>) -> Result<Option<Owned>, String> {
        let own = match name {
            Name::Text(text, kind) => text::labels(text, *kind)?,
            Name::Labels(labels, _) => labels.clone(),
        };
        let limits = &self.job.limits;
        let beyond = |limit: u64, length: usize| limit > 0 && length as u64 > limit;
        if beyond(limits.labels, own.len()) {
            return Err(format!("a series has more than {} labels", limits.labels));
        }
        if own.iter().any(|(name, value)| beyond(limits.name, name.len()) || beyond(limits.value, value.len())) {
            return Err("a label's name or value is longer than its limit".to_owned());
        }
        let mut all = Labels(own);
        for (name, value) in self.labels.iter() {
            let exposed = all.get(name).to_owned();
            if exposed.is_empty() {
                all.set(name, value.as_str());
            } else if !self.job.honor_labels {
                let mut moved = format!("exported_{name}");
                while !all.get(&moved).is_empty() || self.labels.iter().any(|(known, _)| *known == moved) {
                    moved.insert_str(0, "exported_");
                }
                all.set(&moved, exposed);
                all.set(name, value.as_str());
            }
        }
        let kept = relabel::relabel(&self.job.metric_relabel, all);
        Ok(kept.map(Labels::sorted).filter(|labels| !labels.is_empty()))
    }

    /// The series that were there in the scrape before and are not in this one; what was not seen for long is forgotten.
    fn ended(&mut self) -> Vec<Arc<Owned>> {
        let now = self.scrape;
        let gone = |known: &Known| known.tracked + 1 == now && known.labels.is_some();
        let ended = self.known.values().filter(|known| gone(known)).filter_map(|known| known.labels.clone()).collect();
        self.known.retain(|_, known| known.seen + 1 >= now);
        ended
    }

    fn write(&self, kept: &[Kept<'_, '_>], ended: &[Arc<Owned>], time: i64, report: Report, bounds: Bounds) -> Ready {
        let mut request = Request::new(prometheus::SCRAPE, bounds, &self.families);
        let mut series = Series::default();
        for (labels, entry, at) in kept {
            series.clear();
            series.labels.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            match &entry.value {
                Value::Number(value) => series.samples.push(Sample { time: *at, start: entry.start, value: *value }),
                Value::Native(native) => {
                    let mut native = (**native).clone();
                    native.time = *at;
                    series.histograms.push(native);
                }
            }
            series.exemplars.extend(entry.exemplars.iter().map(|exemplar| Exemplar {
                labels: exemplar.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                time: exemplar.time.unwrap_or(*at),
                value: exemplar.value,
            }));
            request.add(&mut series);
        }
        ended.iter().for_each(|labels| number(&mut request, labels, None, f64::from_bits(STALE), time));
        for (name, value) in report.series() {
            number(&mut request, &self.labels, Some(name), value, time);
        }
        request.finish()
    }
}

/// Adds one number, of a metric that the labels do not name.
fn number<'a>(request: &mut Request<'a>, labels: &'a Owned, name: Option<&'a str>, value: f64, time: i64) {
    let mut all: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(name.map(|name| ("__name__", name)));
    let samples = vec![Sample { time, start: 0, value }];
    request.add(&mut Series { labels: all, samples, ..Series::default() });
}

impl Report {
    /// The series about the scrape itself.
    fn series(self) -> [(&'static str, f64); 5] {
        [
            ("up", f64::from(u8::from(self.up))),
            ("scrape_duration_seconds", self.seconds),
            ("scrape_samples_scraped", self.scraped as f64),
            ("scrape_samples_post_metric_relabeling", self.kept as f64),
            ("scrape_series_added", self.added as f64),
        ]
    }
}
