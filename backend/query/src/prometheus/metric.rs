//! The metrics that the store has, and what is known of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use devmesh_promql::{NAME, Select};
use devmesh_schema::prometheus::is_source;

use super::{Metadata, names};
use crate::rest::cells;

/// One kind of metric in the store.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    /// Its name there.
    pub(super) name: String,
    unit: String,
    kind: String,
    description: String,
    family: String,
    monotonic: bool,
    /// Its name is Prometheus' own.
    own: bool,
}

impl Metric {
    /// From a row of the list of metrics.
    pub(super) fn of(row: &cells::Row<'_>) -> Self {
        let (name, unit, kind) = (row.text_or_empty("name"), row.text_or_empty("unit"), row.text_or_empty("kind"));
        let (source, monotonic) = (row.text_or_empty("source"), row.boolean("is_monotonic").unwrap_or(false));
        let family = family(&source, &name, &unit, &kind, monotonic);
        let (description, own) = (row.text_or_empty("description"), is_source(&source));
        Self { family, description, name, unit, kind, monotonic, own }
    }

    /// Whether its series can be among those of a selection.
    pub(super) fn may_match(&self, select: &Select) -> bool {
        let series: &[&str] = match self.kind.as_str() {
            _ if self.own => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            _ => &[""],
        };
        let named = |suffix: &&str| {
            let name = format!("{}{suffix}", self.family);
            select.any.iter().any(|all| all.iter().filter(|m| m.name == NAME).all(|m| m.matches(&name)))
        };
        series.iter().any(named)
    }

    /// What is known of it. A series of Prometheus may be a part of a family, which `own`, the names of all of them, tells.
    fn metadata(&self, own: &HashSet<&str>) -> Metadata {
        let all =
            |base: &str, suffixes: &[&str]| suffixes.iter().all(|suffix| own.contains(&*format!("{base}{suffix}")));
        let part = self.name.rsplit_once('_').filter(|(_, suffix)| matches!(*suffix, "bucket" | "sum" | "count"));
        let (name, kind) = match self.kind.as_str() {
            "histogram" | "exponential_histogram" => (self.family.as_str(), "histogram"),
            "summary" => (self.family.as_str(), "summary"),
            _ if !self.own && self.kind == "sum" && self.monotonic => (self.family.as_str(), "counter"),
            _ if !self.own => (self.family.as_str(), "gauge"),
            _ => match part {
                Some((base, _)) if all(base, &["_bucket", "_count"]) => (base, "histogram"),
                Some((base, _)) if all(base, &["_sum", "_count"]) => (base, "summary"),
                _ if all(&self.name, &["_sum", "_count"]) => (self.name.as_str(), "summary"),
                _ if self.monotonic => (self.name.as_str(), "counter"),
                _ if self.description.is_empty() => (self.name.as_str(), "unknown"),
                _ => (self.name.as_str(), "gauge"),
            },
        };
        Metadata { name: name.to_owned(), kind, help: self.description.clone(), unit: self.unit.clone() }
    }
}

/// Prometheus' name of a metric. What came from Prometheus has it already.
pub(super) fn family(source: &str, name: &str, unit: &str, kind: &str, monotonic: bool) -> String {
    if is_source(source) {
        return name.to_owned();
    }
    names::metric(name, unit, kind == "sum" && monotonic, kind == "gauge")
}

/// What is known of metrics, by family. What was said without a help is left out where there is one.
pub(super) fn metadata(metrics: &[Metric]) -> BTreeMap<String, BTreeSet<Metadata>> {
    let own: HashSet<&str> = metrics.iter().filter(|metric| metric.own).map(|metric| metric.name.as_str()).collect();
    let mut all: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
    for metric in metrics {
        let metadata = metric.metadata(&own);
        all.entry(metadata.name.clone()).or_default().insert(metadata);
    }
    for known in all.values_mut() {
        if known.iter().any(|metadata| !metadata.help.is_empty()) {
            known.retain(|metadata| !metadata.help.is_empty());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, kind: &str, description: &str) -> Metric {
        Metric {
            name: name.to_owned(),
            unit: String::new(),
            kind: kind.to_owned(),
            description: description.to_owned(),
            family: name.to_owned(),
            monotonic: kind == "sum",
            own: true,
        }
    }

    #[test]
    fn series_of_prometheus_are_told_by_family() {
        let metrics = [
            own("up", "gauge", ""),
            own("load", "gauge", "load"),
            own("jobs_total", "sum", ""),
            own("jobs_total", "sum", "jobs"),
            own("took_bucket", "sum", "took"),
            own("took_sum", "sum", "took"),
            own("took_count", "sum", "took"),
            own("gc", "gauge", "pauses"),
            own("gc_sum", "sum", "pauses"),
            own("gc_count", "sum", "pauses"),
            own("size", "exponential_histogram", "sizes"),
            own("only_count", "sum", "alone"),
        ];
        let all = metadata(&metrics);
        let known: Vec<(&str, Vec<(&str, &str)>)> = all
            .iter()
            .map(|(name, all)| (name.as_str(), all.iter().map(|m| (m.kind, m.help.as_str())).collect()))
            .collect();
        let want = [
            ("gc", vec![("summary", "pauses")]),
            ("jobs_total", vec![("counter", "jobs")]),
            ("load", vec![("gauge", "load")]),
            ("only_count", vec![("counter", "alone")]),
            ("size", vec![("histogram", "sizes")]),
            ("took", vec![("histogram", "took")]),
            ("up", vec![("unknown", "")]),
        ];
        assert_eq!(known, want);
    }
}
