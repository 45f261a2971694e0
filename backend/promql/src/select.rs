//! Which series a query reads, over which times.

use promql_parser::label::{MatchOp, Matchers};
use regex::Regex;

use crate::{Error, Labels, NAME};

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

/// A condition on one label. A label that is not there has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How.
    pub op: Op,
    /// With what: a text, or a regular expression that has to match all of the value.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// # Errors
    /// The regular expression does not compile.
    pub fn new(name: &str, op: Op, value: &str) -> Result<Self, Error> {
        let regex =
            match op {
                Op::Equal | Op::NotEqual => None,
                // As in Prometheus: all of the value, and `.` is any character, line ends too.
                Op::Matches | Op::NotMatches => Some(Regex::new(&format!("^(?s:{value})$")).map_err(|error| {
                    Error::Parse(format!("invalid regular expression {value:?} of {name}: {error}"))
                })?),
            };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether the value passes.
    pub fn matches(&self, value: &str) -> bool {
        let regex = |value| self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            Op::Equal => self.value == value,
            Op::NotEqual => self.value != value,
            Op::Matches => regex(value),
            Op::NotMatches => !regex(value),
        }
    }
}

/// Series to be fetched.
#[derive(Clone, Debug)]
pub struct Select {
    /// A series is wanted where all matchers of one of these match.
    pub any: Vec<Vec<Matcher>>,
    /// Samples are wanted from here, ms since the epoch, inclusive.
    pub start: i64,
    /// To here, inclusive.
    pub end: i64,
    /// Length of the range that is read at each step, ms; the lookback for a plain selector.
    pub range: i64,
    /// The function that reads the range, as `rate`; empty for none.
    pub function: String,
}

impl Select {
    /// Whether a series with these labels is wanted.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.any.iter().any(|all| all.iter().all(|matcher| matcher.matches(labels.get(&matcher.name))))
    }

    /// The metric's name, where only one has it.
    pub fn metric(&self) -> Option<&str> {
        let mut names = self.any.iter().map(|all| {
            let mut exact = all.iter().filter(|m| m.name == NAME && m.op == Op::Equal && !m.value.is_empty());
            exact.next().map(|m| m.value.as_str())
        });
        let first = names.next()??;
        names.all(|name| name == Some(first)).then_some(first)
    }
}

/// The matchers of a parsed selector.
pub(crate) fn matchers(name: Option<&str>, parsed: &Matchers) -> Result<Vec<Vec<Matcher>>, Error> {
    let convert = |matcher: &promql_parser::label::Matcher| {
        let op = match matcher.op {
            MatchOp::Equal => Op::Equal,
            MatchOp::NotEqual => Op::NotEqual,
            MatchOp::Re(_) => Op::Matches,
            MatchOp::NotRe(_) => Op::NotMatches,
        };
        Matcher::new(&matcher.name, op, &matcher.value)
    };
    let sets: Vec<&Vec<_>> =
        if parsed.or_matchers.is_empty() { vec![&parsed.matchers] } else { parsed.or_matchers.iter().collect() };
    let mut any = Vec::with_capacity(sets.len());
    for set in sets {
        let mut all = set.iter().map(convert).collect::<Result<Vec<_>, Error>>()?;
        if let Some(name) = name {
            all.push(Matcher::new(NAME, Op::Equal, name)?);
        }
        any.push(all);
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_match_all_of_the_value() {
        for (pattern, value, matches) in [
            ("a|b", "a", true),
            ("a|b", "ab", false),
            (".*", "", true),
            (".+", "", false),
            ("a.b", "a\nb", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let matcher = Matcher::new("l", Op::Matches, pattern).unwrap();
            assert_eq!(matcher.matches(value), matches, "{pattern} on {value:?}");
            assert_eq!(Matcher::new("l", Op::NotMatches, pattern).unwrap().matches(value), !matches);
        }
        assert!(matches!(Matcher::new("l", Op::Matches, "("), Err(Error::Parse(_))));
    }
}
