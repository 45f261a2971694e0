//! Patterns of log bodies in SQL: their texts, and the table functions that count and compare them.
//!
//! What they count is answered by the store's groups where it has them ([`crate::in_store`]), so that no row is read.

pub(crate) mod current;
pub(crate) mod functions;
pub(crate) mod texts;

use devmesh_schema::{TimestampNs, time};

/// A stretch of time, both ends known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// ns since the epoch.
    pub(crate) start: TimestampNs,
    /// That moment excluded.
    pub(crate) end: TimestampNs,
}

impl Window {
    /// The condition on the table `logs`.
    fn condition(self, service: Option<&str>) -> String {
        let time = |at| format!("'{}'", time::format(at));
        let service = service.map(|name| format!(" AND service = '{}'", name.replace('\'', "''"))).unwrap_or_default();
        format!("time >= {} AND time < {}{service}", time(self.start), time(self.end))
    }

    fn seconds(self) -> f64 {
        self.end.saturating_sub(self.start) as f64 / 1e9
    }
}

/// The query of `log_pattern_counts`.
pub(crate) fn counts(window: Window) -> String {
    devmesh_schema::functions::LOG_PATTERN_COUNTS.replace("{window}", &window.condition(None))
}

/// The query of `patterns_compare`.
pub(crate) fn compare(window: Window, compared: Window, service: Option<&str>) -> String {
    let (seconds, compare_seconds) = (window.seconds(), compared.seconds());
    let number = |number: f64| format!("CAST('{number:e}' AS DOUBLE)");
    devmesh_schema::functions::PATTERNS_COMPARE
        .replace("{window}", &window.condition(service))
        .replace("{compared}", &compared.condition(service))
        .replace("{seconds}", &number(seconds))
        .replace("{compare_seconds}", &number(compare_seconds))
        .replace("{compare_minutes}", &number((compare_seconds / 60.0).max(1.0)))
        .replace("{share}", &number(seconds / (seconds + compare_seconds)))
}
