//! A migration's file as statements, and its checksum.
//!
//! Statements end with `;`, or with what a line `DELIMITER …` says. A delimiter inside of quotes (`'…'`, `"…"`, `` `…` ``,
//! with doubled quotes and backslashes) or of a comment (`-- `, `#`, `/* … */`) ends nothing. MariaDB's executable
//! comments `/*! … */` are part of their statement.

use xxhash_rust::xxh3::Xxh3;

/// A statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Without comments before it and without its delimiter.
    pub(crate) text: &'a str,
    /// The comments before it, as they stand in the file.
    pub(crate) comment: &'a str,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

/// Why a file is no list of statements.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct SplitError {
    /// Where, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) reason: &'static str,
}

/// Cuts a file into its statements.
///
/// # Errors
/// A quote or comment does not end, or the last statement lacks its delimiter.
pub(crate) fn split(text: &str) -> Result<Vec<Statement<'_>>, SplitError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut statements = Vec::new();
    let mut delimiter = ";";
    let mut start = None;
    let (mut at, mut end) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if start.is_none() {
            if let Some(white) = rest.chars().next().filter(|char| char.is_whitespace()) {
                at += white.len_utf8();
                continue;
            }
            if let Some((word, length)) = delimiter_line(rest) {
                if word.is_empty() {
                    return Err(SplitError { line: line(text, at), reason: "DELIMITER lacks what it sets" });
                }
                (delimiter, at) = (word, at + length);
                continue;
            }
        }
        if rest.starts_with(delimiter) {
            if let Some(begin) = start.take() {
                let comment = text[end..begin].trim();
                statements.push(Statement { text: text[begin..at].trim_end(), comment, line: line(text, begin) });
            }
            at += delimiter.len();
            end = at;
            continue;
        }
        let (length, counts) = token(rest).map_err(|reason| SplitError { line: line(text, at), reason })?;
        if counts && start.is_none() {
            start = Some(at);
        }
        at += length;
    }
    match start {
        Some(begin) => Err(SplitError { line: line(text, begin), reason: "this statement lacks its delimiter" }),
        None => Ok(statements),
    }
}

/// The number of the line that byte `at` is on, from 1.
fn line(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// The word after `DELIMITER` at the beginning of a line, and the line's length.
fn delimiter_line(rest: &str) -> Option<(&str, usize)> {
    let length = rest.find('\n').unwrap_or(rest.len());
    let mut words = rest[..length].split_whitespace();
    words.next().filter(|word| word.eq_ignore_ascii_case("delimiter"))?;
    Some((words.next().unwrap_or_default(), length))
}

/// The length of what stands first, and whether it is more than a comment.
fn token(rest: &str) -> Result<(usize, bool), &'static str> {
    let bytes = rest.as_bytes();
    match bytes {
        [b'#', ..] => Ok((to_line_end(rest), false)),
        [b'-', b'-'] | [b'-', b'-', b' ' | b'\t' | b'\r' | b'\n', ..] => Ok((to_line_end(rest), false)),
        [b'/', b'*', ..] => {
            let end = rest[2..].find("*/").ok_or("this comment does not end")?;
            Ok((end + 4, matches!(bytes.get(2), Some(b'!' | b'M'))))
        }
        [quote @ (b'\'' | b'"' | b'`'), ..] => quoted(bytes, *quote).map(|length| (length, true)),
        _ => {
            let first = rest.chars().next().map_or(1, char::len_utf8);
            Ok((first, !rest.starts_with(char::is_whitespace)))
        }
    }
}

fn to_line_end(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// The length of a quoted text. A doubled quote is two texts side by side, which comes to the same.
fn quoted(bytes: &[u8], quote: u8) -> Result<usize, &'static str> {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        if *byte == quote {
            return Ok(at + 1);
        }
        // A backslash escapes in strings, not in names.
        at += if *byte == b'\\' && quote != b'`' { 2 } else { 1 };
    }
    Err("this quote does not end")
}

/// The checksum of a file: 32 hex digits. Line endings, blanks at a line's end and empty lines at the file's end do not
/// count, so that it is the same whatever a version control system or an editor made of them.
pub(crate) fn checksum(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut hash = Xxh3::new();
    let mut empty = 0;
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            empty += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty) {
            hash.update(b"\n");
        }
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql).unwrap().into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_file_is_cut_where_a_delimiter_is_no_part_of_a_text_or_comment() {
        let cases: [(&str, &[&str]); 19] = [
            ("", &[]),
            ("  \n\t ", &[]),
            (";;", &[]),
            ("SELECT 1;", &["SELECT 1"]),
            ("SELECT 1;SELECT 2 ;\n", &["SELECT 1", "SELECT 2"]),
            ("INSERT INTO t VALUES ('a;b');", &["INSERT INTO t VALUES ('a;b')"]),
            ("SELECT 'it''s; here';", &["SELECT 'it''s; here'"]),
            (r"SELECT 'it\'s; here', '\\';SELECT 2;", &[r"SELECT 'it\'s; here', '\\'", "SELECT 2"]),
            ("SELECT \"a;b\", `c;d\\`;SELECT 2;", &["SELECT \"a;b\", `c;d\\`", "SELECT 2"]),
            ("-- first; no statement\nSELECT 1; -- and; last", &["SELECT 1"]),
            ("SELECT 1 -- it's; one\n + 1;", &["SELECT 1 -- it's; one\n + 1"]),
            ("SELECT 5--3;", &["SELECT 5--3"]),
            ("# hash; 'comment\nSELECT 1;", &["SELECT 1"]),
            ("/* a; b ' */ SELECT /* c; */ 1;", &["SELECT /* c; */ 1"]),
            ("/*!100301 SET x = ';' */;SELECT 1;", &["/*!100301 SET x = ';' */", "SELECT 1"]),
            ("\u{feff}SELECT 'ü;€' ;", &["SELECT 'ü;€'"]),
            ("SELECT 1;\r\nSELECT\r\n2;\r\n", &["SELECT 1", "SELECT\r\n2"]),
            (
                "DELIMITER //\nCREATE TRIGGER t BEGIN SET a = 1; SET b = 2; END//\ndelimiter ;\nSELECT 1;",
                &["CREATE TRIGGER t BEGIN SET a = 1; SET b = 2; END", "SELECT 1"],
            ),
            ("CREATE TABLE delimiter_x (a INT);", &["CREATE TABLE delimiter_x (a INT)"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(texts(sql), expected, "{sql:?}");
        }
    }

    #[test]
    fn a_statement_knows_its_line_and_the_comments_before_it() {
        let statements = split("-- one\n\nSELECT 1;\n/* four\nfive */ SELECT\n2;SELECT 3;").unwrap();
        assert_eq!(statements.iter().map(|statement| statement.line).collect::<Vec<_>>(), [3, 5, 6]);
        let comments: Vec<_> = statements.iter().map(|statement| statement.comment).collect();
        assert_eq!(comments, ["-- one", "/* four\nfive */", ""]);
    }

    #[test]
    fn what_does_not_end_is_refused_with_its_line() {
        let cases = [
            ("SELECT 1;\nSELECT 2", 2, "delimiter"),
            ("SELECT 'a;\n", 1, "quote"),
            ("\n\nSELECT `a", 3, "quote"),
            ("SELECT 1;\n/* b", 2, "comment"),
            ("SELECT 'a\\", 1, "quote"),
            ("DELIMITER\nSELECT 1;", 1, "DELIMITER"),
        ];
        for (sql, line, part) in cases {
            let error = split(sql).unwrap_err();
            assert!(error.line == line && error.reason.contains(part), "{sql:?}: {error}");
        }
    }

    #[test]
    fn a_checksum_does_not_depend_on_line_endings_and_does_on_everything_else() {
        let sum = checksum("CREATE TABLE a (\n  b INT\n);\n\nSELECT 1;\n");
        for same in [
            "CREATE TABLE a (\r\n  b INT\r\n);\r\n\r\nSELECT 1;\r\n",
            "CREATE TABLE a (\n  b INT  \n);\n\t\nSELECT 1;",
            "\u{feff}CREATE TABLE a (\n  b INT\n);\n\nSELECT 1;\n\n\n",
        ] {
            assert_eq!(checksum(same), sum, "{same:?}");
        }
        for other in [
            "CREATE TABLE a (\n  c INT\n);\n\nSELECT 1;\n",
            "CREATE TABLE a (\n b INT\n);\n\nSELECT 1;\n",
            "CREATE TABLE a (\n  b INT\n);\nSELECT 1;\n",
            "CREATE TABLE a (  b INT\n);\n\nSELECT 1;\n",
            "",
        ] {
            assert_ne!(checksum(other), sum, "{other:?}");
        }
        assert_eq!(sum.len(), 32);
    }
}
