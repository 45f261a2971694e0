//! Text as search reads it: what a model is given of a template, and the terms that words are compared by.
//!
//! A text becomes **stems** (words split where writing runs them together: `NoRouteToHost`, `read_timeout`, `/var/log`;
//! lower case; endings cut; words without a meaning of their own left out), **names** (ids and other tokens with a digit, whole:
//! `blk_38`, `10.0.0.7`) and **pairs** of a number with the word beside it (`stage 7`), since a number alone says little.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Bytes of a text that are read for terms; a template or a question is far below, a dump of a heap is cut.
const TEXT_BYTES: usize = 8 << 10;
/// Letters or digits of a term; more are cut.
const TERM_CHARS: usize = 64;

/// The terms of a text, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) stems: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) pairs: Vec<String>,
}

impl Terms {
    pub(super) fn of(text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
        let stems: Vec<String> =
            words(text).into_iter().filter(|w| !EMPTY_WORDS.contains(w.as_str())).map(|w| stem(&w)).collect();
        let pairs = stems.windows(2).filter(|w| is_number(&w[0]) != is_number(&w[1])).map(|w| w.join(" ")).collect();
        Self { stems, names: names(text), pairs }
    }
}

/// What the model is given of a template: without the marks of its parameters, run-together words parted.
pub fn model_text(template: &str) -> String {
    let mut text = String::with_capacity(template.len() + 16);
    let mut last = ' ';
    for c in template.replace(MARK, " ").chars() {
        if last.is_lowercase() && c.is_uppercase() {
            text.push(' ');
        }
        if !(c.is_whitespace() && (last.is_whitespace() || text.is_empty())) {
            text.push(if c.is_whitespace() { ' ' } else { c });
        }
        last = c;
    }
    text.truncate(text.trim_end().len());
    if text.is_empty() { template.to_owned() } else { text }
}

/// The hash of a text that was given to the model: a vector is out of date where the text's hash is another.
pub fn text_hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// A parameter's place in a template.
pub(super) const MARK: &str = "<*>";

/// Runs of letters and runs of digits, in lower case; a run of letters ends before a capital that begins a word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let text: Vec<char> = text.replace(MARK, " ").chars().collect();
    for (i, &c) in text.iter().enumerate() {
        let before = i.checked_sub(1).map_or(' ', |i| text[i]);
        let after = text.get(i + 1).copied().unwrap_or(' ');
        let begins = (before.is_lowercase() && c.is_uppercase())
            || (before.is_uppercase() && c.is_uppercase() && after.is_lowercase())
            || before.is_numeric() != c.is_numeric();
        if (begins || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() && word.chars().count() < TERM_CHARS {
            word.extend(c.to_lowercase());
        }
    }
    words.extend(Some(word).filter(|w| !w.is_empty()));
    words
}

/// Runs of letters, digits and what joins them in a name, as written, if they have a word in them that says something.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let trimmed = text.split(move |c| !inside(c)).map(|t| t.trim_matches(['.', '-']));
    trimmed.filter(|t| words(t).iter().any(|w| !EMPTY_WORDS.contains(w.as_str())))
}

/// Tokens of several parts of which one is a number, whole and in lower case.
fn names(text: &str) -> Vec<String> {
    let named = tokens(text).filter(|t| t.contains(|c: char| c.is_numeric()) && words(t).len() > 1);
    named.map(|t| t.to_lowercase().chars().take(TERM_CHARS).collect()).collect()
}

fn is_number(stem: &str) -> bool {
    stem.starts_with(|c: char| c.is_numeric())
}

/// Whether a term says which one rather than what: it holds a digit.
pub(super) fn is_specific(stem: &str) -> bool {
    stem.contains(|c: char| c.is_numeric())
}

/// Cuts the endings that English adds to a word; what is left need not be a word. Words of three letters stay.
pub(super) fn stem(word: &str) -> String {
    if !word.is_ascii() || word.len() <= 3 {
        return word.to_owned();
    }
    let mut w = word.to_owned();
    match w.as_str() {
        w_ if w_.ends_with("ies") && w_.len() > 4 => w.replace_range(w.len() - 3.., "y"),
        w_ if w_.ends_with("sses") => w.truncate(w.len() - 2),
        w_ if w_.ends_with('s') && !["ss", "us", "is"].iter().any(|e| w_.ends_with(e)) => w.truncate(w.len() - 1),
        _ => {}
    }
    for ending in ["ing", "ed"] {
        if let Some(root) = w.strip_suffix(ending)
            && root.len() >= 3
            && root.contains(['a', 'e', 'i', 'o', 'u', 'y'])
        {
            w.truncate(root.len());
            undouble(&mut w);
            break;
        }
    }
    if w.ends_with('e') && w.len() > 3 {
        w.pop();
    }
    if w.ends_with("ly") && w.len() > 5 {
        w.truncate(w.len() - 2);
    }
    w
}

/// `stopp` to `stop`; `fail` and `miss` keep theirs.
fn undouble(w: &mut String) {
    let b = w.as_bytes();
    if let [.., x, y] = b
        && x == y
        && b.len() > 3
        && !matches!(y, b'l' | b's' | b'z')
    {
        w.pop();
    }
}

/// Words that say nothing by themselves. `not` and `no` say a lot.
static EMPTY_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let words = "a an the of to in on is was are were be been being for and or by with at as it its that this these those than \
        then nor so from has have had do does did will would can could may might must shall should i you he she we they what \
        which who whom whose when where why how there here if but because while into onto about after before again very just \
        only also any some all each every";
    words.split_whitespace().collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_where_writing_runs_them_together() {
        let cases = [
            ("java.net.NoRouteToHostException", "java net no route to host exception"),
            ("read_timeout=30ms", "read timeout 30 ms"),
            ("HTTPServer /var/log/app.log", "http server var log app log"),
            ("<*> blocks <*>", "blocks"),
            ("Überlauf größer", "überlauf größer"),
        ];
        for (text, want) in cases {
            assert_eq!(words(text).join(" "), want, "{text}");
        }
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in
            [&["stop", "stops", "stopped", "stopping"][..], &["retry", "retries"], &["close", "closed", "closing"]]
        {
            let stems: HashSet<String> = forms.iter().map(|w| stem(w)).collect();
            assert_eq!(stems.len(), 1, "{forms:?}: {stems:?}");
        }
        assert_eq!(stem("status"), "status");
        assert_eq!(stem("process"), "process");
    }

    #[test]
    fn ids_are_terms_whole_and_numbers_stand_with_their_word() {
        let terms = Terms::of("Task 7 of blk_-38 at 10.0.0.7:50010 v1.2.");
        assert_eq!(terms.names, ["blk_-38", "10.0.0.7", "v1.2"]);
        assert_eq!(terms.pairs[0], "task 7");
        assert_eq!(Terms::of("").stems, Vec::<String>::new());
    }

    #[test]
    fn the_model_reads_a_template_without_marks() {
        let cases = [
            ("Connection to <*>:<*> timedOut", "Connection to : timed Out"),
            ("<*>", "<*>"),
            ("  plain  text ", "plain text"),
        ];
        for (template, want) in cases {
            assert_eq!(model_text(template), want);
        }
    }
}
