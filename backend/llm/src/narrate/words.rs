//! The words that a sentence about evidence may have.
//!
//! Three kinds: those that say nothing by themselves; those that every finding of a kind bears out ("slow" of one whose time grew); and
//! those of the cited evidence itself. Denials, causes, quantities and everything else are claims.

use std::collections::BTreeSet;

use crate::veil::{Veil, What};

/// Words that say nothing by themselves.
const NEUTRAL: &str = "a an and also are as at be been being besides both by call called calls compared comparison during each evidence first for \
    from further had has have here in into is it its itself itself's log logs metric metrics most of on one operation operations or other per \
    request requests same second see seen service services show shown shows span spans than that the their them then there these they third this \
    those time times to trace traces two was were what when where which while who whose window with within baseline earlier against before now";

/// Words of cause: they name a culprit.
const CAUSE: &str = "because cause caused causes causing culprit due explains likely origin probable probably problem reason responsible root source \
    suspect";

/// What every finding of a kind bears out.
const BORNE_OUT: [(&[&str], &str); 6] = [
    (
        &["call_latency", "self_time"],
        "behind delay delayed duration grew increased increase latency longer more rose rise slow slowed slower slowly slowness spends takes took \
         taking up waits waiting",
    ),
    (&["missing_calls", "early_return"], "ends end fewer less missing stopped stops rarely seldom"),
    (&["failing_requests"], "error errors fail failed failing fails failure failures increased more rose with"),
    (
        &["error_logs", "new_logs", "more_logs"],
        "appear appeared appears error errors increased logged logging logs message messages more new often reported reports rose",
    ),
    (&["gone_logs", "fewer_logs"], "fewer gone less logged longer message messages stopped rarely"),
    (
        &["cpu", "saturation"],
        "busy cpu exhausted full grew high higher increased load more rose saturated saturation usage use used",
    ),
];

/// Words of the statements themselves, which are ours: what is none of them in a statement is a stranger's.
const OURS: &str = "after ahead anything attribute attributes between calling calls count counts decile duration ends errors fails fewer fraction \
    gone grew host hosts instance instances largest latency logged longest longer makes maximum median minimum minutes more ms new ns once only out \
    outside own percent percentile pod pods rate s seconds share since slowest smallest spans spends takes tenth value values without";

fn all(words: &str) -> impl Iterator<Item = &str> {
    words.split_whitespace()
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part<'a> {
    /// Letters.
    Word(&'a str),
    Number(f64),
    Placeholder(&'a str),
    /// Anything between.
    Sign(char),
}

/// Takes a text apart.
fn parts(text: &str) -> Vec<(usize, Part<'_>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, part) = first(rest);
        found.push((at, part));
        at += length;
    }
    found
}

fn first(rest: &str) -> (usize, Part<'_>) {
    let c = rest.chars().next().unwrap_or(' ');
    if c == '<'
        && let Some(end) = rest.find('>')
        && let Some(inside) = rest.get(1..end)
        && let Some((kind, number)) = inside.split_once('#')
        && ["service", "name", "text"].contains(&kind)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return (end + 1, Part::Placeholder(rest.get(..=end).unwrap_or_default()));
    }
    // "stock's": the s is none of a word, nor a second.
    if matches!(c, '\'' | '’')
        && let Some(after) = rest.get(c.len_utf8()..).and_then(|after| after.strip_prefix('s'))
        && !after.starts_with(char::is_alphanumeric)
    {
        return (c.len_utf8() + 1, Part::Sign(c));
    }
    if c.is_ascii_digit() {
        let mut length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        // The point at the end of a sentence is none of its number.
        while rest.get(..length).is_some_and(|number| number.ends_with('.')) {
            length -= 1;
        }
        let number = rest.get(..length).and_then(|number| number.parse().ok());
        let joined = rest.get(length..).is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        if let (Some(number), false) = (number, joined) {
            return (length, Part::Number(number));
        }
    }
    if c.is_alphanumeric() || c == '_' {
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        return (length, Part::Word(rest.get(..length).unwrap_or_default()));
    }
    (c.len_utf8(), Part::Sign(c))
}

/// Signs that a sentence may have.
fn harmless(sign: char) -> bool {
    sign.is_ascii_whitespace()
        || matches!(
            sign,
            ',' | '.' | ';' | ':' | '(' | ')' | '-' | '–' | '—' | '\'' | '’' | '"' | '“' | '”' | '!' | '?'
        )
}

/// Puts placeholders in the place of what is none of our words in a statement.
pub(super) fn fold(statement: &str, veil: &mut Veil) -> String {
    let borne_out = BORNE_OUT.iter().map(|(_, words)| *words);
    let ours: BTreeSet<&str> = [NEUTRAL, OURS].into_iter().chain(borne_out).flat_map(all).collect();
    let parts = parts(statement);
    let foreign = |part: &Part<'_>| match part {
        Part::Word(word) => !ours.contains(word.to_lowercase().as_str()),
        Part::Sign(sign) => !harmless(*sign) && *sign != '`',
        _ => false,
    };
    let end = |index: usize| parts.get(index + 1).map_or(statement.len(), |(at, _)| *at);
    let (mut out, mut index) = (String::new(), 0);
    while let Some((at, part)) = parts.get(index) {
        let mut last = index;
        if foreign(part) {
            // With those that follow at once, and what is between them.
            while let Some(more) = next_foreign(&parts, last, foreign) {
                last = more;
            }
            out.push_str(&veil.add(What::Text, statement.get(*at..end(last)).unwrap_or_default()));
        } else {
            out.push_str(statement.get(*at..end(index)).unwrap_or_default());
        }
        index = last + 1;
    }
    out
}

/// The foreign part behind one, where nothing but a sign is between.
fn next_foreign<'a>(parts: &[(usize, Part<'a>)], at: usize, foreign: impl Fn(&Part<'a>) -> bool) -> Option<usize> {
    let is = |index: usize| parts.get(index).is_some_and(|(_, part)| foreign(part));
    let sign = matches!(parts.get(at + 1), Some((_, Part::Sign(_))));
    if is(at + 1) { Some(at + 1) } else { (sign && is(at + 2)).then_some(at + 2) }
}

/// What a sentence may say that cites certain evidence.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    words: BTreeSet<String>,
    numbers: Vec<f64>,
    placeholders: BTreeSet<&'a str>,
}

impl<'a> Allowed<'a> {
    /// By the kinds and texts of what is cited; `cause` where that is the first suspect's alone.
    pub(super) fn by(cited: impl Iterator<Item = (&'a str, &'a str)>, cause: bool) -> Self {
        let mut words: BTreeSet<String> = all(NEUTRAL).map(str::to_owned).collect();
        if cause {
            words.extend(all(CAUSE).map(str::to_owned));
        }
        let (mut numbers, mut placeholders) = (Vec::new(), BTreeSet::new());
        for (kind, text) in cited {
            words.extend(kind.split('_').map(str::to_owned));
            let borne_out = BORNE_OUT.iter().filter(|(kinds, _)| kinds.contains(&kind));
            words.extend(borne_out.flat_map(|(_, words)| all(words)).map(str::to_owned));
            for (_, part) in parts(text) {
                match part {
                    Part::Word(word) => words.extend([word.to_lowercase()]),
                    Part::Number(number) => numbers.push(number),
                    Part::Placeholder(placeholder) => placeholders.extend([placeholder]),
                    Part::Sign(_) => {}
                }
            }
        }
        Self { words, numbers, placeholders }
    }

    /// Whether the claim says nothing else.
    pub(super) fn all(&self, claim: &str) -> bool {
        let parts = parts(claim);
        !parts.is_empty()
            && parts.iter().all(|(_, part)| match part {
                Part::Word(word) => self.words.contains(word.to_lowercase().as_str()),
                Part::Number(number) => self.numbers.iter().any(|known| (known - number).abs() < 1e-9),
                Part::Placeholder(placeholder) => self.placeholders.contains(placeholder),
                Part::Sign(sign) => harmless(*sign),
            })
    }
}
