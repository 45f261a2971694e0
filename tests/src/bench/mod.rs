//! Benchmarks of the real programs, by what they cost: CPU seconds, memory, bytes.

pub mod databases;
pub mod graph;
pub mod load;
pub mod process;
pub mod search;

use std::time::{Duration, Instant};

use anyhow::Result;
use devmesh_demo::Plan;

use crate::until;

const DAY_NS: u64 = 86_400_000_000_000;

/// A number from the environment.
pub fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// So many records, of six hours of one day: yesterday at the latest.
pub fn plan(records: u64) -> Plan {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let span_ns = 6 * 3_600_000_000_000;
    // Within one UTC day, yesterday's at the latest.
    let day = (now * 1_000_000_000 - span_ns) / DAY_NS * DAY_NS;
    Plan { seed: 1, records, batch: 1000, start_ns: day, span_ns }
}

/// Waits until the server has moved all rows to where they stay: its CPU time stands still. Answers that time.
///
/// # Errors
/// It goes on for five minutes.
pub fn settle(pid: u32) -> Result<f64> {
    let mut last = process::cpu_seconds(pid);
    let mut since = Instant::now();
    until(Duration::from_secs(300), "the server to settle", || {
        let now = process::cpu_seconds(pid);
        if now > last + 0.02 {
            (last, since) = (now, Instant::now());
        }
        Ok((since.elapsed() > Duration::from_secs(3)).then_some(now))
    })
}
