//! A series' labels: sorted, checked, and divided into what OTLP has another place for.

use devmesh_schema::{limits, prometheus};

use super::Bad;

/// The label with the metric's name.
const NAME: &str = "__name__";

/// A series' identity, as OTLP divides it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'l, 'a> {
    pub(super) name: &'a str,
    pub(super) job: &'a str,
    pub(super) instance: &'a str,
    /// All labels by name, those above among them.
    labels: &'l [(&'a str, &'a str)],
}

impl<'l, 'a> Identity<'l, 'a> {
    /// Sorts the labels and says whether they are a series' (remote write 2.0, "Labels"): senders that do not sort are
    /// served all the same, and an empty value means that the label is not there.
    pub(super) fn of(labels: &'l mut Vec<(&'a str, &'a str)>) -> Result<Self, Bad> {
        let bad = |message: String| Err(Bad::new("bad_labels", message));
        if !labels.is_sorted_by(|a, b| a.0 < b.0) {
            labels.sort_unstable();
        }
        if let Some(twice) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return bad(format!("the label {:?} is there twice", short(twice[0].0)));
        }
        labels.retain(|(_, value)| !value.is_empty());
        if labels.len() > limits::LABELS {
            return bad(format!("a series has at most {} labels", limits::LABELS));
        }
        let mut identity = Identity { name: "", job: "", instance: "", labels: &[] };
        for (name, value) in labels.iter() {
            let longest = if *name == NAME { limits::METRIC_NAME_BYTES } else { limits::LABEL_VALUE_BYTES };
            if name.is_empty() {
                return bad("a label has an empty name".to_owned());
            }
            if name.len() > limits::LABEL_NAME_BYTES {
                return bad(format!(
                    "the name of the label {:?} has more than {} bytes",
                    short(name),
                    limits::LABEL_NAME_BYTES
                ));
            }
            if value.len() > longest {
                return bad(format!("the value of the label {:?} has more than {longest} bytes", short(name)));
            }
            if !prometheus::is_label(name) {
                return bad(format!("the label {name:?} is reserved"));
            }
            match *name {
                NAME => identity.name = value,
                "job" => identity.job = value,
                "instance" => identity.instance = value,
                _ => {}
            }
        }
        if identity.name.is_empty() {
            return bad("the series has no metric's name (label __name__)".to_owned());
        }
        identity.labels = labels;
        Ok(identity)
    }

    /// The labels that become attributes of a point.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'l, 'a> {
        self.labels.iter().copied().filter(|(name, _)| !matches!(*name, NAME | "job" | "instance"))
    }
}

/// A text for a message.
pub(super) fn short(text: &str) -> &str {
    const BYTES: usize = 64;
    &text[..text.floor_char_boundary(BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_checked_and_divided() {
        let mut labels = vec![("z", "1"), ("job", "a/b"), (NAME, "up"), ("empty", ""), ("instance", "i"), ("a", "2")];
        let identity = Identity::of(&mut labels).unwrap();
        assert_eq!((identity.name, identity.job, identity.instance), ("up", "a/b", "i"));
        assert_eq!(identity.attributes().collect::<Vec<_>>(), [("a", "2"), ("z", "1")]);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        let long = "x".repeat(5000);
        let many: Vec<String> = (0..65).map(|n| format!("l{n}")).collect();
        let mut many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "v")).collect();
        many.push((NAME, "up"));
        for (labels, part) in [
            (vec![], "no metric's name"),
            (vec![("job", "a")], "no metric's name"),
            (vec![(NAME, "")], "no metric's name"),
            (vec![(NAME, "up"), ("", "a")], "empty name"),
            (vec![(NAME, "up"), ("a", "1"), ("a", "1")], "twice"),
            (vec![(NAME, "up"), (NAME, "down")], "twice"),
            (vec![(NAME, long.as_str())], "more than 1024 bytes"),
            (vec![(NAME, "up"), ("a", long.as_str())], "more than 4096 bytes"),
            (vec![(NAME, "up"), (long.as_str(), "a")], "more than 256 bytes"),
            (vec![(NAME, "up"), (prometheus::COUNTS, "a")], "reserved"),
            (many, "at most 64 labels"),
        ] {
            let bad = Identity::of(&mut labels.clone()).unwrap_err();
            assert!(bad.reason == "bad_labels" && bad.message.contains(part), "{labels:?}: {bad:?}");
        }
    }
}
