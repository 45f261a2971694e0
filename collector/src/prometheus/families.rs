//! What is known of the families of metrics: type, help and unit.
//!
//! Remote write 1.0 sends it apart from the samples, now and then; a door remembers it, and says it with the samples that
//! come later. It is lost with the process, and comes again within a minute.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use devmesh_schema::limits;

/// The type of a family (remote write 2.0, `Metadata.MetricType`, in its order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl Type {
    /// The type of its number in both protocols; an unknown number is an unknown type.
    pub(crate) fn of(number: u64) -> Self {
        const ALL: [Type; 8] = [
            Type::Unknown,
            Type::Counter,
            Type::Gauge,
            Type::Histogram,
            Type::GaugeHistogram,
            Type::Summary,
            Type::Info,
            Type::StateSet,
        ];
        usize::try_from(number).ok().and_then(|at| ALL.get(at)).copied().unwrap_or_default()
    }

    /// As OpenMetrics writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Unknown => "unknown",
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
            Type::GaugeHistogram => "gaugehistogram",
            Type::Summary => "summary",
            Type::Info => "info",
            Type::StateSet => "stateset",
        }
    }
}

/// What is known of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About<'a> {
    pub(crate) kind: Type,
    pub(crate) help: Cow<'a, str>,
    pub(crate) unit: Cow<'a, str>,
}

impl<'a> About<'a> {
    /// With texts of a bounded length.
    pub(crate) fn new(kind: Type, help: &'a str, unit: &'a str) -> Self {
        let cut = |text: &'a str| Cow::Borrowed(&text[..text.floor_char_boundary(limits::HELP_BYTES)]);
        Self { kind, help: cut(help), unit: cut(unit) }
    }

    /// With texts of its own.
    pub(crate) fn owned(self) -> About<'static> {
        About { kind: self.kind, help: self.help.into_owned().into(), unit: self.unit.into_owned().into() }
    }
}

/// The families that a door knows.
#[derive(Debug, Default)]
pub(crate) struct Families(Mutex<HashMap<Box<str>, Arc<About<'static>>>>);

impl Families {
    /// Remembers what was said of a family; beyond [`limits::FAMILIES`] nothing new.
    pub(crate) fn learn(&self, family: &str, about: About<'_>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = family.len() > limits::METRIC_NAME_BYTES || all.len() >= limits::FAMILIES;
        match all.get_mut(family) {
            Some(known) if **known == about => {}
            Some(known) => *known = Arc::new(about.owned()),
            None if full => {}
            None => drop(all.insert(family.into(), Arc::new(about.owned()))),
        }
    }

    /// What is known of the family of the metric `name`: its own, or that of the histogram or summary it is a part of.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<About<'static>>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        if let Some(about) = all.get(name) {
            return Some(Arc::clone(about));
        }
        let (family, suffix) = name.rsplit_once('_')?;
        let about = all.get(family)?;
        let belongs = match about.kind {
            Type::Histogram | Type::GaugeHistogram => matches!(suffix, "bucket" | "sum" | "count" | "gsum" | "gcount"),
            Type::Summary => matches!(suffix, "sum" | "count"),
            Type::Counter => suffix == "total",
            Type::Info => suffix == "info",
            _ => false,
        };
        belongs.then(|| Arc::clone(about))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_what_was_said_of_its_family() {
        let families = Families::default();
        assert_eq!(families.of("x"), None);
        families.learn("x", About::new(Type::Histogram, "how long", "seconds"));
        families.learn("jobs", About::new(Type::Counter, "old", ""));
        families.learn("jobs", About::new(Type::Counter, "jobs", ""));
        let help = |name: &str| families.of(name).map(|about| about.help.to_string());
        for name in ["x", "x_bucket", "x_sum", "x_count"] {
            assert_eq!(help(name).as_deref(), Some("how long"), "{name}");
        }
        assert_eq!(help("jobs_total").as_deref(), Some("jobs"));
        assert_eq!(help("jobs_count"), None, "a counter has no such part");
        assert_eq!(help("y"), None);
    }
}
