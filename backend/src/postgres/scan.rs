//! Just enough of SQL's surface to find where statements end and where parameters stand: strings, quoted names, dollar
//! quotes and comments are passed over.

use std::ops::Range;

/// The parts of a text that are neither string, quoted name nor comment.
fn code(sql: &str) -> Vec<Range<usize>> {
    let bytes = sql.as_bytes();
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let rest = sql.get(at..).unwrap_or_default();
        let skipped = match byte {
            b'\'' => quoted(rest, '\''),
            b'"' => quoted(rest, '"'),
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment(rest),
            b'$' => dollar(rest),
            _ => 0,
        };
        if skipped == 0 {
            at += 1;
            while !sql.is_char_boundary(at) {
                at += 1;
            }
            continue;
        }
        parts.push(start..at);
        at += skipped;
        start = at;
    }
    parts.push(start..sql.len());
    parts
}

/// Bytes up to the end of what begins with a quote; a doubled quote is part of it.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// Bytes of a comment; comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let step = match () {
            () if rest.starts_with("/*") => (1, 2),
            () if rest.starts_with("*/") => (-1, 2),
            () => (0, rest.chars().next().map_or(0, char::len_utf8)),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 || step.1 == 0 {
            return at;
        }
    }
}

/// Bytes of a dollar-quoted string; 0 where the dollar begins none.
fn dollar(text: &str) -> usize {
    let tag = text.get(1..).and_then(|rest| rest.find('$').map(|end| end + 2));
    let Some(tag) = tag.and_then(|end| text.get(..end)) else { return 0 };
    let name = tag.trim_matches('$');
    let valid = name.chars().all(|char| char.is_alphanumeric() || char == '_');
    if !valid || name.starts_with(|char: char| char.is_ascii_digit()) {
        return 0;
    }
    text.get(tag.len()..).and_then(|rest| rest.find(tag)).map_or(text.len(), |end| end + 2 * tag.len())
}

/// The statements of a text, without the semicolons and without empty ones.
pub(super) fn statements(sql: &str) -> Vec<&str> {
    let ends = code(sql).into_iter().flat_map(|part| {
        let text = sql.get(part.clone()).unwrap_or_default();
        text.match_indices(';').map(move |(at, _)| part.start + at).collect::<Vec<_>>()
    });
    let mut statements = Vec::new();
    let mut start = 0;
    for end in ends.chain([sql.len()]) {
        let statement = sql.get(start..end).unwrap_or_default();
        if !words(statement).is_empty() {
            statements.push(statement.trim());
        }
        start = end + 1;
    }
    statements
}

/// The text without comments, strings and quoted names, in lower case, with single spaces.
pub(super) fn words(sql: &str) -> String {
    let parts: Vec<&str> = code(sql).into_iter().filter_map(|part| sql.get(part)).collect();
    let lower = parts.join(" ").to_lowercase();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where `$1`, `$2`, … stand, and which number each has.
pub(super) fn parameters(sql: &str) -> Vec<(Range<usize>, usize)> {
    let mut found = Vec::new();
    for part in code(sql) {
        let text = sql.get(part.clone()).unwrap_or_default();
        for (at, _) in text.match_indices('$') {
            let digits = text.get(at + 1..).unwrap_or_default().bytes().take_while(u8::is_ascii_digit).count();
            let number = text.get(at + 1..at + 1 + digits).and_then(|digits| digits.parse().ok());
            if let Some(number) = number {
                found.push((part.start + at..part.start + at + 1 + digits, number));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes() {
        let cases: [(&str, &[&str]); 9] = [
            ("SELECT 1", &["SELECT 1"]),
            ("SELECT 1;", &["SELECT 1"]),
            ("BEGIN; SELECT ';', 'it''s;'; COMMIT;", &["BEGIN", "SELECT ';', 'it''s;'", "COMMIT"]),
            ("SELECT \"a;b\" ; -- c;d\n", &["SELECT \"a;b\""]),
            ("/* a; /* b; */ c; */ SELECT 1", &["/* a; /* b; */ c; */ SELECT 1"]),
            ("SELECT $$a;b$$; SELECT $x$ ; $x$", &["SELECT $$a;b$$", "SELECT $x$ ; $x$"]),
            (";;", &[]),
            ("SELECT 'open;", &["SELECT 'open;"]),
            ("SELECT 'é;' ; SELECT 2", &["SELECT 'é;'", "SELECT 2"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(statements(sql), expected, "{sql}");
        }
    }

    #[test]
    fn parameters_are_found_outside_of_quotes() {
        let sql = "SELECT '$1', $2, \"$3\" -- $4\n, $$ $5 $$, $11";
        let found: Vec<(&str, usize)> =
            parameters(sql).into_iter().map(|(range, number)| (&sql[range], number)).collect();
        assert_eq!(found, [("$2", 2), ("$11", 11)]);
    }

    #[test]
    fn words_leave_out_what_is_quoted() {
        assert_eq!(words("SET  x = 'a' -- hm\n"), "set x =");
    }
}
