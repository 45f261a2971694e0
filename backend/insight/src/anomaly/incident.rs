//! Incidents: what is abnormal at one time, from its opening to its end.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::signals::{Measure, Source};

/// Incidents kept; the oldest closed ones go first.
pub const KEPT: usize = 1000;
/// Services and findings that one incident names.
const NAMED: usize = 50;
/// Bytes of a title or a service's name that a person may give.
pub const TEXT_BYTES: usize = 500;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is unusual.
    Minor,
    /// Something fails or is slow.
    Major,
    /// It fails widely.
    Critical,
}

impl Severity {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Minor => "minor",
            Severity::Major => "major",
            Severity::Critical => "critical",
        }
    }

    /// The severity of a name.
    pub fn of(name: &str) -> Option<Self> {
        [Severity::Minor, Severity::Major, Severity::Critical].into_iter().find(|severity| severity.name() == name)
    }
}

/// A signal that was abnormal, at its worst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Whose.
    pub service: String,
    /// In words: `latency of operation GET /cart`.
    pub signal: String,
    /// What is counted.
    pub source: Source,
    /// What of it.
    pub measure: Measure,
    /// 0.5 to 1.
    pub score: f64,
    /// What it was, in records a bucket, a part of 1, milliseconds, or the metric's unit.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// When it was first abnormal in this incident, ns since the epoch.
    pub first: i64,
    /// When last.
    pub last: i64,
    /// The statement that shows it.
    pub sql: String,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// `inc-000001` and so on.
    pub id: String,
    /// When it began, ns since the epoch.
    pub opened: i64,
    /// When it ended.
    pub closed: Option<i64>,
    /// How bad it was at its worst.
    pub severity: Severity,
    /// Who is concerned, in the order in which they came in.
    pub services: Vec<String>,
    /// One line.
    pub title: String,
    /// The signals, worst first.
    pub what: Vec<Finding>,
    /// Whether a person opened it; such an incident is closed by a person.
    pub by_person: bool,
}

impl Incident {
    /// `open` or `closed`.
    pub fn state(&self) -> &'static str {
        if self.closed.is_some() { "closed" } else { "open" }
    }

    /// Takes a finding in, or makes a known one worse or longer.
    pub(super) fn add(&mut self, finding: Finding) {
        if !self.services.contains(&finding.service) && self.services.len() < NAMED {
            self.services.push(finding.service.clone());
        }
        match self.what.iter_mut().find(|known| known.service == finding.service && known.signal == finding.signal) {
            Some(known) if finding.score > known.score => *known = Finding { first: known.first, ..finding },
            Some(known) => known.last = finding.last,
            None => self.what.push(finding),
        }
        self.what.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.first.cmp(&b.first)));
        self.what.truncate(NAMED);
    }

    /// Says in a line what there is, worst first.
    pub(super) fn name(&mut self) {
        let Some(worst) = self.what.first() else { return };
        let more = match self.services.len() {
            0 | 1 => String::new(),
            2 => " and 1 further service".to_owned(),
            n => format!(" and {} further services", n - 1),
        };
        self.title = format!(
            "{}: {} is {} instead of {}{more}",
            worst.service,
            worst.signal,
            short(worst.value),
            short(worst.expected)
        );
    }
}

/// A number with three digits.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 1.0 => 1,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// All incidents that are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    last: u64,
    all: VecDeque<Incident>,
}

impl Incidents {
    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Incident> {
        self.all.iter().rev()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.all.iter().find(|incident| incident.id == id)
    }

    /// The one that was detected and goes on.
    pub(super) fn detected(&mut self) -> Option<&mut Incident> {
        self.all.iter_mut().rev().find(|incident| incident.closed.is_none() && !incident.by_person)
    }

    /// Opens one. Where there is no more room, the oldest that is closed goes, else the oldest.
    pub fn open(&mut self, mut incident: Incident) -> &Incident {
        if self.all.len() >= KEPT {
            let oldest = self.all.iter().position(|incident| incident.closed.is_some()).unwrap_or(0);
            self.all.remove(oldest);
        }
        self.last += 1;
        incident.id = format!("inc-{:06}", self.last);
        self.all.push_back(incident);
        &self.all[self.all.len() - 1]
    }

    /// Closes one that is open; `None` where there is none of that id.
    pub fn close(&mut self, id: &str, now: i64) -> Option<&Incident> {
        let incident = self.all.iter_mut().find(|incident| incident.id == id)?;
        incident.closed.get_or_insert(now);
        Some(incident)
    }
}
