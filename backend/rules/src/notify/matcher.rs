//! Matchers of labels, as routes have them: `severity="page"`, `team=~"a|b"`.

use regex::{Regex, RegexBuilder};

use crate::LabelSet;

/// Bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

/// Compares one label; one that is not there is empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    value: String,
    negative: bool,
    regex: Option<Regex>,
}

impl Matcher {
    /// Of a name and a value.
    ///
    /// # Errors
    /// The regular expression is none.
    pub fn new(name: &str, value: &str, negative: bool, regex: bool) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a matcher needs the name of a label".to_owned());
        }
        let anchored = || RegexBuilder::new(&format!("^(?s:{value})$")).size_limit(REGEX_BYTES).build();
        let regex = if regex { Some(anchored().map_err(|error| format!("{name}: {error}"))?) } else { None };
        Ok(Self { name: name.to_owned(), value: value.to_owned(), negative, regex })
    }

    /// Reads `name="value"`, with `=`, `!=`, `=~` or `!~`; the quotes may be missing.
    ///
    /// # Errors
    /// It is no matcher.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no matcher; write it as name=\"value\", with =, !=, =~ or !~");
        let trimmed = text.trim().trim_start_matches('{').trim_end_matches('}');
        let at = trimmed.find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = trimmed.split_at(at);
        let operators = [("=~", false, true), ("!~", true, true), ("!=", true, false), ("=", false, false)];
        let (operator, negative, regex) =
            operators.into_iter().find(|(operator, ..)| rest.starts_with(operator)).ok_or_else(wrong)?;
        let value = rest[operator.len()..].trim();
        let unquoted = match value.strip_prefix('"') {
            Some(inner) => inner.strip_suffix('"').ok_or_else(wrong)?.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => value.to_owned(),
        };
        Self::new(name.trim().trim_matches('"'), &unquoted, negative, regex)
    }

    /// Whether the labels are wanted.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        let equal = self.regex.as_ref().map_or(value == self.value, |regex| regex.is_match(value));
        equal != self.negative
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operator = match (self.negative, self.regex.is_some()) {
            (false, false) => "=",
            (true, false) => "!=",
            (false, true) => "=~",
            (true, true) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_compare_whole_values_and_what_is_missing_is_empty() {
        let labels = LabelSet::from([("team".to_owned(), "shop".to_owned()), ("q".to_owned(), "a\"b".to_owned())]);
        for (text, want) in [
            ("team=\"shop\"", true),
            ("team = shop", true),
            ("team=sho", false),
            ("team!=\"shop\"", false),
            ("team=~\"sh.*|x\"", true),
            ("team=~\"sh\"", false),
            ("team!~\"sh\"", true),
            ("none=\"\"", true),
            ("none!=\"\"", false),
            ("q=\"a\\\"b\"", true),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().matches(&labels), want, "{text}");
        }
        for bad in ["team", "=x", "team=\"x", "team=~\"(\"", ""] {
            assert!(Matcher::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Matcher::parse("a =~ b").unwrap().to_string(), "a=~\"b\"");
    }
}
