//! Findings as they are made: by service and kind, the strongest first, few of each.

use std::collections::BTreeMap;

use crate::{Kind, claims::Subject};

/// Findings of one kind that a service keeps.
const KEPT: usize = 3;

/// One thing that has changed.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// How strong it is; what is strong differs by kind.
    pub(crate) strength: f64,
    /// What has changed.
    pub(crate) subject: Subject,
}

/// All findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(BTreeMap<String, BTreeMap<Kind, Vec<Found>>>);

impl Findings {
    /// Keeps a finding, where it is any.
    pub(crate) fn add(&mut self, service: &str, kind: Kind, strength: f64, subject: Subject) {
        if !strength.is_finite() || strength <= 0.0 {
            return;
        }
        let found = self.0.entry(service.to_owned()).or_default().entry(kind).or_default();
        let at = found.partition_point(|other| other.strength >= strength);
        if at < KEPT {
            found.insert(at, Found { strength, subject });
            found.truncate(KEPT);
        }
    }

    /// The services with findings.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A service's findings of one kind.
    pub(crate) fn of(&self, service: &str, kind: Kind) -> &[Found] {
        self.0.get(service).and_then(|kinds| kinds.get(&kind)).map_or(&[], Vec::as_slice)
    }

    /// The strength of a service's strongest finding of one kind.
    pub(crate) fn strength(&self, service: &str, kind: Kind) -> f64 {
        self.of(service, kind).first().map_or(0.0, |found| found.strength)
    }
}
