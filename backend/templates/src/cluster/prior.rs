//! How many different words a column must show before it is a parameter.
//!
//! A column of words alone does not tell a parameter (`session opened for user NAME`) from an enumeration that means
//! different things (`NAME startup succeeded`, `data TLB error`). What stands around it does, in part: a value follows `=` or a
//! preposition, is quoted or in brackets; a subject stands first. The thresholds were compared by leaving systems out; see the crate's
//! documentation.

/// Words after which a value stands.
const BEFORE_VALUE: [&str; 16] =
    ["for", "from", "to", "by", "at", "in", "on", "of", "with", "as", "user", "host", "via", "into", "named", "id"];

/// Whether a value is likely after this word.
pub(crate) fn before_value(word: &str) -> bool {
    BEFORE_VALUE.iter().any(|w| w.eq_ignore_ascii_case(word))
}

/// Distinct words that make a column a parameter where nothing speaks for one.
const PLAIN: usize = 8;
/// The same for the first word of a body: usually who speaks, not of what.
const FIRST: usize = 24;
/// The same behind a colon, a preposition, in brackets or quotes.
const LIKELY: usize = 3;
/// The same behind `=`.
const VALUE: usize = 2;
/// The same for a value in a record of nothing but keys and values, where a value may be the message.
const MESSAGE: usize = 64;

/// Whether column `c` stands where values stand: behind `=` or in quotes.
pub(crate) fn value(gaps: &[String], c: usize) -> bool {
    let next = gaps[c + 1].chars().next();
    match gaps[c].chars().next_back() {
        Some('=') => true,
        Some(q @ ('"' | '\'')) => {
            next == Some(q) && !gaps[c + 1].trim_start_matches(q).trim_start().starts_with([':', '='])
        }
        _ => false,
    }
}

/// Whether column `c` is a key: `=` or `":` follows.
pub(crate) fn key(gaps: &[String], c: usize) -> bool {
    let after = gaps[c + 1].trim_start_matches(['"', '\'']);
    after.starts_with('=') || (after.starts_with(':') && gaps[c + 1].len() > after.len())
}

/// Distinct words that make column `c` a parameter. `prev` is the word before it; `prose` says whether the body has constant
/// words that are neither keys nor values: in a record of nothing but `key=value`, the values are the message.
pub(crate) fn threshold(gaps: &[String], c: usize, prev: &str, prose: bool) -> usize {
    let (before, after) = (gaps[c].as_str(), gaps[c + 1].as_str());
    if value(gaps, c) {
        return match before.ends_with('=') {
            _ if !prose => MESSAGE,
            true => VALUE,
            false => LIKELY,
        };
    }
    let framed =
        matches!((before.chars().next_back(), after.chars().next()), (Some('('), Some(')')) | (Some('['), Some(']')));
    let told = before.ends_with(':') || before == ": ";
    let preposed = before == " " && before_value(prev);
    match () {
        () if framed || told || preposed => LIKELY,
        () if c == 0 => FIRST,
        () => PLAIN,
    }
}
