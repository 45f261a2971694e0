//! What receivers are told of alerts, and when: who is named in the [`config`], [`dispatch`] groups and leaves out what was said
//! already, [`message`] writes it in each receiver's format.

pub mod config;
pub mod dispatch;
pub mod matcher;
pub mod message;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{LabelSet, alert::Alert};

/// An alert as receivers know it. Times are ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is known by.
    pub labels: LabelSet,
    /// What people are told.
    pub annotations: LabelSet,
    /// Since when it fires.
    pub starts_at: i64,
    /// When it was over; of one that fires, when it is over unless it is told again.
    pub ends_at: i64,
    /// Where its rule is seen.
    pub generator_url: String,
}

impl Notice {
    /// What is told of an alert. One that fires is over after `valid` ms, where nothing more is heard of it.
    pub fn of(alert: &Alert, at: i64, valid: i64, external_labels: &LabelSet, generator_url: String) -> Self {
        let mut labels = external_labels.clone();
        labels.extend(alert.labels.clone());
        Self {
            labels,
            annotations: alert.annotations.clone(),
            starts_at: alert.fired_at.unwrap_or(alert.active_at),
            ends_at: alert.resolved_at.unwrap_or(at + valid),
            generator_url,
        }
    }

    /// Whether it is over.
    pub fn is_resolved(&self, now: i64) -> bool {
        self.ends_at <= now
    }

    /// Its labels as a number: the one that Alertmanager knows it by.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.labels)
    }
}

/// FNV-1a over names and values, each with the byte 255 behind it.
pub fn fingerprint(labels: &LabelSet) -> u64 {
    let bytes = labels.iter().flat_map(|(name, value)| {
        let parted = |text: &str| text.bytes().chain([255]).collect::<Vec<u8>>();
        [parted(name), parted(value)].into_iter().flatten().collect::<Vec<u8>>()
    });
    bytes.fold(14_695_981_039_346_656_037, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211))
}

/// ms as RFC 3339.
pub fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
#[path = "../notify_tests.rs"]
mod tests;
