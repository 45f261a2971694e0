//! Relabelling, as Prometheus does it (configuration, `relabel_config`).

use regex::Regex;

use super::{fields::Fields, sample::Owned};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    source: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target: String,
    replacement: String,
    action: Action,
}

/// Bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

impl Rule {
    /// Reads a rule of the configuration.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub(super) fn read(mut fields: Fields) -> Result<Self, String> {
        let action = fields.text("action")?.map_or(Ok(Action::Replace), |name| action(&name));
        let action = action.map_err(|error| fields.wrong("action", error))?;
        let regex = fields.text("regex")?.unwrap_or_else(|| "(.*)".to_owned());
        // Anchored at both ends, and a dot is any character: a label may have lines.
        let anchored = regex::RegexBuilder::new(&format!("^(?s:{regex})$")).size_limit(REGEX_BYTES).build();
        let regex = anchored.map_err(|error| fields.wrong("regex", error))?;
        let rule = Self {
            source: fields.texts("source_labels")?,
            separator: fields.text("separator")?.unwrap_or_else(|| ";".to_owned()),
            regex,
            modulus: fields.number("modulus")?.unwrap_or_default(),
            target: fields.text("target_label")?.unwrap_or_default(),
            replacement: fields.text("replacement")?.unwrap_or_else(|| "$1".to_owned()),
            action,
        };
        let needs_target =
            !matches!(action, Action::Keep | Action::Drop | Action::LabelMap | Action::LabelDrop | Action::LabelKeep);
        if needs_target && rule.target.is_empty() {
            return Err(fields.wrong("target_label", "this action needs it"));
        }
        if action == Action::HashMod && rule.modulus == 0 {
            return Err(fields.wrong("modulus", "hashmod needs one above 0"));
        }
        fields.end()?;
        Ok(rule)
    }

    /// Applies the rule; `false` where what has the labels is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let joined = || {
            let values: Vec<&str> = self.source.iter().map(|name| labels.get(name)).collect();
            values.join(&self.separator)
        };
        match self.action {
            Action::Keep => return self.regex.is_match(&joined()),
            Action::Drop => return !self.regex.is_match(&joined()),
            Action::KeepEqual => return joined() == labels.get(&self.target),
            Action::DropEqual => return joined() != labels.get(&self.target),
            Action::Replace => self.replace(&joined(), labels),
            Action::Lowercase => {
                let value = joined().to_lowercase();
                labels.set(&self.target, value);
            }
            Action::Uppercase => {
                let value = joined().to_uppercase();
                labels.set(&self.target, value);
            }
            Action::HashMod => {
                let hash = md5::compute(joined().as_bytes()).0;
                let mut last = [0; 8];
                last.copy_from_slice(&hash[8..]);
                labels.set(&self.target, (u64::from_be_bytes(last) % self.modulus).to_string());
            }
            Action::LabelMap => {
                for (name, value) in labels.0.clone() {
                    if let Some(captures) = self.regex.captures(&name) {
                        let mut to = String::new();
                        captures.expand(&self.replacement, &mut to);
                        labels.set(&to, value);
                    }
                }
            }
            Action::LabelDrop => labels.0.retain(|(name, _)| !self.regex.is_match(name)),
            Action::LabelKeep => labels.0.retain(|(name, _)| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut Labels) {
        let Some(captures) = self.regex.captures(value) else { return };
        let expand = |template: &str| {
            let mut out = String::new();
            captures.expand(template, &mut out);
            out
        };
        let target = expand(&self.target);
        if !target.is_empty() {
            labels.set(&target, expand(&self.replacement));
        }
    }
}

fn action(name: &str) -> Result<Action, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "replace" => Action::Replace,
        "keep" => Action::Keep,
        "drop" => Action::Drop,
        "keepequal" => Action::KeepEqual,
        "dropequal" => Action::DropEqual,
        "hashmod" => Action::HashMod,
        "labelmap" => Action::LabelMap,
        "labeldrop" => Action::LabelDrop,
        "labelkeep" => Action::LabelKeep,
        "lowercase" => Action::Lowercase,
        "uppercase" => Action::Uppercase,
        other => return Err(format!("there is no action {other:?}")),
    })
}

/// Labels in the making: names with values that are not empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(pub(super) Owned);

impl Labels {
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Sets a label; an empty value takes it away.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        let at = self.0.iter().position(|(known, _)| known == name);
        match at {
            Some(at) if value.is_empty() => drop(self.0.remove(at)),
            Some(at) => self.0[at].1 = value,
            None if value.is_empty() => {}
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// By name.
    pub(super) fn sorted(mut self) -> Owned {
        self.0.sort_unstable();
        self.0
    }
}

/// Applies rules in their order; `None` where one drops what has the labels.
pub(super) fn relabel(rules: &[Rule], mut labels: Labels) -> Option<Labels> {
    rules.iter().all(|rule| rule.apply(&mut labels)).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rules: &str, labels: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(rules).unwrap();
        let rules: Vec<Rule> = rules
            .as_sequence()
            .unwrap()
            .iter()
            .map(|rule| Rule::read(Fields::new("rule", rule.clone()).unwrap()).unwrap())
            .collect();
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        relabel(&rules, Labels(labels)).map(Labels::sorted)
    }

    #[test]
    fn rules_do_what_prometheus_does() {
        let labels = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        type Want = &'static [(&'static str, &'static str)];
        let table: [(&str, Option<Want>); 15] = [
            (
                "[{source_labels: [a], target_label: d, regex: 'f(.*)', replacement: 'ch${1}-ch${1}'}]",
                Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]),
            ),
            (
                "[{source_labels: [a, b], separator: '+', target_label: a}]",
                Some(&[("a", "foo+bar"), ("b", "bar"), ("c", "baz")]),
            ),
            ("[{source_labels: [a], regex: '.*o.*', action: drop}]", None),
            ("[{source_labels: [a], regex: o, action: drop}]", Some(&[("a", "foo"), ("b", "bar"), ("c", "baz")])),
            ("[{source_labels: [a], regex: no, action: keep}]", None),
            ("[{source_labels: [a], regex: 'f|foo', action: keep}]", Some(&[("a", "foo"), ("b", "bar"), ("c", "baz")])),
            ("[{source_labels: [b], target_label: b, replacement: ''}]", Some(&[("a", "foo"), ("c", "baz")])),
            (
                "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
                Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
            ),
            (
                "[{regex: '([ab])', replacement: 'x_$1', action: labelmap}]",
                Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("x_a", "foo"), ("x_b", "bar")]),
            ),
            ("[{regex: '[ab]', action: labeldrop}]", Some(&[("c", "baz")])),
            ("[{regex: '[ab]', action: labelkeep}]", Some(&[("a", "foo"), ("b", "bar")])),
            (
                "[{source_labels: [a], target_label: a, action: Uppercase}]",
                Some(&[("a", "FOO"), ("b", "bar"), ("c", "baz")]),
            ),
            ("[{source_labels: [a], target_label: b, action: keepequal}]", None),
            (
                "[{source_labels: [a], target_label: b, action: dropequal}]",
                Some(&[("a", "foo"), ("b", "bar"), ("c", "baz")]),
            ),
            (
                "[{source_labels: [a], regex: '(f).*', target_label: '${1}x', replacement: y}]",
                Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("fx", "y")]),
            ),
        ];
        for (rules, want) in table {
            let want = want.map(|all| all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
            assert_eq!(run(rules, &labels), want, "{rules}");
        }
    }

    #[test]
    fn a_rule_that_is_none_names_its_key() {
        for (rule, part) in [
            ("{action: jump}", "rule.action: there is no action \"jump\""),
            ("{regex: '('}", "rule.regex"),
            ("{action: hashmod, target_label: a}", "rule.modulus"),
            ("{source_labels: [a]}", "rule.target_label"),
            ("{action: keep, foo: 1}", "rule.foo: not supported"),
            ("{source_labels: 7}", "rule.source_labels"),
        ] {
            let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(rule).unwrap();
            let error = Rule::read(Fields::new("rule", value).unwrap()).unwrap_err();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}
