//! What metrics say: processors, memory, queues that are fuller than they ever ordinarily were.

use crate::{
    Kind,
    claims::Subject,
    collect::Findings,
    facts::Facts,
    robust::{median, spread},
};

/// Minutes of a baseline below which it says nothing.
const MINUTES: usize = 5;

/// Adds all of it.
pub(crate) fn find(facts: &Facts, findings: &mut Findings) {
    let usual = facts.usual();
    for ((service, pod, name), [before, after]) in &facts.metrics {
        if before.len() < MINUTES || after.is_empty() {
            continue;
        }
        let (middle, now) = (median(before), median(after));
        // A change within a tenth of itself, or small against what others have, is none.
        let least = (0.1 * middle.abs()).max(0.2 * usual.get(name.as_str()).copied().unwrap_or(0.0).abs());
        let z = (now - middle) / spread(before).max(least).max(1e-9);
        let strength = if z > 0.0 { (1.0 + z / 4.0).log2() * (z / 8.0).min(1.0) } else { 0.0 };
        let lower = name.to_lowercase();
        // What a whole host has is not one service's.
        let host = ["node", "host", "system"].iter().any(|prefix| lower.starts_with(prefix));
        let processor = lower.contains("cpu") || lower.contains("processor");
        let kind = if processor && !host { Kind::Cpu } else { Kind::Saturation };
        let subject = Subject::Metric {
            service: service.clone(),
            pod: pod.clone(),
            name: name.clone(),
            level: f64::midpoint(middle, now),
        };
        findings.add(service, kind, strength, subject);
    }
}
