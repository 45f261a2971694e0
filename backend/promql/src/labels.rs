//! The labels of a series.

use std::{fmt, sync::Arc};

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";

/// Names with values: sorted by name, each once, none with an empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Of two equal names the later wins; an empty value means that the label is not there.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut all: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        all.retain(|(_, value)| !value.is_empty());
        Self(all.into())
    }

    /// The value of a label; empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).map_or("", |at| &*self.0[at].1)
    }

    /// The metric's name; empty where it has none.
    pub fn name(&self) -> &str {
        self.get(NAME)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only those whose name `keep` keeps.
    pub(crate) fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Without the metric's name, and what describes it.
    pub(crate) fn without_name(&self) -> Self {
        self.filter(|name| name != NAME)
    }

    /// With another value of one label; an empty one takes it away.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(n, _)| &**n != name).cloned();
        Self::new(others.chain([(Arc::from(name), Arc::from(value))]))
    }
}

/// As Prometheus writes it: `name{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(name)?;
        if self.0.len() == usize::from(!name.is_empty()) && !name.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (n, (label, value)) in self.iter().filter(|(label, _)| *label != NAME).enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{label}={value:?}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_equal_names_wins_and_empty_values_are_none() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((labels.get("b"), labels.get("c"), labels.get("z")), ("3", "", ""));
        assert_eq!(labels.with("b", "").with("d", "4"), Labels::new([("a", "2"), ("d", "4")]));
    }

    #[test]
    fn labels_read_as_in_prometheus() {
        for (labels, text) in [
            (Labels::default(), "{}"),
            (Labels::new([(NAME, "up")]), "up"),
            (Labels::new([(NAME, "up"), ("job", "a\"b")]), "up{job=\"a\\\"b\"}"),
            (Labels::new([("job", "x"), ("instance", "y")]), "{instance=\"y\", job=\"x\"}"),
        ] {
            assert_eq!(labels.to_string(), text);
        }
    }
}
