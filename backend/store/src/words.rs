//! What a word is, for `matches()` and for the index that serves it: both must agree, or the index would hide rows.

use devmesh_schema::body::Cut;

/// Those of the words that no body of the template is known to hold: they don't stand within its constants.
pub fn missing<'w>(template: &str, wanted: &'w [String]) -> Vec<&'w str> {
    let mut missing: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for text in Cut::new(template).surroundings().inner {
        words(text, |word| missing.retain(|wanted| *wanted != word));
    }
    missing
}

/// Calls `each` with every word of `text` in lower case: the maximal runs of Unicode alphanumeric characters.
///
/// Lower case is [`char::to_lowercase`] of each character by itself, so that a word's case folding does not depend on
/// what stands around it.
pub fn words(text: &str, mut each: impl FnMut(&str)) {
    let mut folded = String::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut fold = false;
        let mut ascii = true;
        while at < bytes.len() {
            match bytes[at] {
                b'a'..=b'z' | b'0'..=b'9' => at += 1,
                b'A'..=b'Z' => {
                    fold = true;
                    at += 1;
                }
                128.. => {
                    ascii = false;
                    break;
                }
                _ => break,
            }
        }
        if !ascii {
            at = unicode_word(text, start, &mut folded);
            if !folded.is_empty() {
                each(&folded);
            }
            continue;
        }
        if at > start {
            if fold {
                folded.clear();
                folded.push_str(&text[start..at]);
                folded.make_ascii_lowercase();
                each(&folded);
            } else {
                each(&text[start..at]);
            }
        }
        if at < bytes.len() {
            at += 1;
        }
    }
}

/// The word that begins at `start`, in lower case, into `folded` (empty where none does); answers where to go on.
fn unicode_word(text: &str, start: usize, folded: &mut String) -> usize {
    folded.clear();
    for (offset, c) in text[start..].char_indices() {
        if c.is_alphanumeric() {
            folded.extend(c.to_lowercase());
        } else {
            return start + offset + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        words(text, |word| found.push(word.to_owned()));
        found
    }

    #[test]
    fn words_are_runs_of_alphanumerics_in_lower_case() {
        for (text, expected) in [
            ("", vec![]),
            ("Connection refused: db-1", vec!["connection", "refused", "db", "1"]),
            ("  --  ", vec![]),
            ("Größe ÜBER 5µs", vec!["größe", "über", "5µs"]),
            ("x€y", vec!["x", "y"]),
            ("abcé", vec!["abcé"]),
            ("日本語 ok", vec!["日本語", "ok"]),
            ("İ", vec!["i\u{307}"]),
        ] {
            assert_eq!(all(text), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn words_are_what_splitting_by_characters_gives(text in ".{0,60}") {
            let expected: Vec<String> = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(|word| word.chars().flat_map(char::to_lowercase).collect())
                .collect();
            proptest::prop_assert_eq!(all(&text), expected);
        }
    }
}
