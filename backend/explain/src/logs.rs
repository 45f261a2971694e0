//! What logs say: patterns that are new, gone, more or less frequent, measured by how much the service had to do.

use crate::{Kind, claims::Subject, collect::Findings, facts::Facts, robust::deviation};

/// How uneven logs come.
const UNEVEN: f64 = 0.02;
/// Deviations that are taken off: the largest of many patterns has them by chance.
const CHANCE: f64 = 1.0;
/// Spans by which a service's own exposure is drawn towards that of all.
const PRIOR: f64 = 3.0;

/// Adds all of it.
pub(crate) fn find(facts: &Facts, findings: &mut Findings) {
    let spans = facts.spans();
    let all = spans.values().fold([0.0, 0.0], |sum, both| [sum[0] + both[0], sum[1] + both[1]]);
    // Without spans, by the time that has logs.
    let volume = if all[0] > 0.0 && all[1] > 0.0 {
        (all[1] + 1.0) / (all[0] + 1.0)
    } else {
        facts.seconds(1).max(10.0) / facts.seconds(0).max(10.0)
    };
    for ((service, id), pattern) in &facts.patterns {
        let [was, is] = spans.get(service.as_str()).copied().unwrap_or_default();
        let ratio = (is + PRIOR * volume) / (was + PRIOR);
        let [before, after] = pattern.n;
        let raw = deviation(before, after, ratio);
        let uneven = (1.0 + UNEVEN * before * ratio.min(1.0)).sqrt();
        let strength = (raw.abs() / uneven - CHANCE).max(0.0);
        let subject =
            || Subject::Pattern { service: service.clone(), id: id.clone(), example: pattern.example.clone() };
        if raw > 0.0 {
            let kind = if before < 1.0 { Kind::NewLogs } else { Kind::MoreLogs };
            findings.add(service, kind, strength, subject());
            if pattern.bad {
                findings.add(service, Kind::ErrorLogs, strength, subject());
            }
        } else if !pattern.bad {
            // An error that ends is no fault.
            let kind = if after < 1.0 { Kind::GoneLogs } else { Kind::FewerLogs };
            findings.add(service, kind, strength, subject());
        }
    }
}
