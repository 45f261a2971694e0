//! A template as pieces of text and actions, and an action as tokens.

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// What stands between `{{` and `}}`.
    Action(&'t str),
}

/// Splits a template; `{{-` and `-}}` take the white space beside them away, comments are left out.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut out, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some(at) = rest.find("{{") {
        let (mut before, action) = (&rest[..at], &rest[at + 2..]);
        if trim {
            before = before.trim_start();
        }
        let left = action.strip_prefix('-').filter(|more| more.starts_with(char::is_whitespace));
        if left.is_some() {
            before = before.trim_end();
        }
        if !before.is_empty() {
            out.push(Piece::Text(before));
        }
        let action = left.unwrap_or(action);
        let end = end(action)?;
        let mut inner = &action[..end];
        rest = &action[end + 2..];
        let without = inner.strip_suffix('-').filter(|less| less.ends_with(char::is_whitespace));
        trim = without.is_some();
        inner = without.unwrap_or(inner).trim();
        if !inner.starts_with("/*") {
            out.push(Piece::Action(inner));
        }
    }
    let last = if trim { rest.trim_start() } else { rest };
    if !last.is_empty() {
        out.push(Piece::Text(last));
    }
    Ok(out)
}

/// Where the action ends: at the first `}}` that stands in no text.
fn end(action: &str) -> Result<usize, String> {
    if action.trim_start().starts_with("/*") {
        let comment = action.find("*/").ok_or("unclosed comment")?;
        return action[comment..].find("}}").map(|at| comment + at).ok_or_else(|| "unclosed comment".to_owned());
    }
    let (mut quote, mut escaped) = (None, false);
    let bytes = action.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match quote {
            Some(b'`') if *byte == b'`' => quote = None,
            Some(b'`') => {}
            Some(_) if escaped => escaped = false,
            Some(_) if *byte == b'\\' => escaped = true,
            Some(open) if *byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'`' | b'\'') => quote = Some(*byte),
            None if action[at..].starts_with("}}") => return Ok(at),
            None => {}
        }
    }
    Err(if quote.is_some() { "unterminated quoted string" } else { "unclosed action" }.to_owned())
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.`, and no field of it.
    Dot,
    /// `.Name`; true where it stands right behind what it is a field of.
    Field(String, bool),
    /// `$` or `$name`.
    Variable(String),
    Word(String),
    Text(String),
    Int(i64),
    Float(f64),
    Open,
    /// `)`.
    Close,
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// The tokens of an action.
pub(super) fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = action;
    let mut joined = false;
    while let Some(first) = rest.chars().next() {
        let name = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (token, length) = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                joined = false;
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Assign, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '"' => text(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '\'' => character(rest)?,
            '$' => {
                let length = 1 + name(&rest[1..]);
                (Token::Variable(rest[..length].to_owned()), length)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => match name(&rest[1..]) {
                0 => (Token::Dot, 1),
                length => (Token::Field(rest[1..=length].to_owned(), joined), length + 1),
            },
            c if c.is_ascii_digit() || matches!(c, '.' | '+' | '-') => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let length = name(rest);
                (Token::Word(rest[..length].to_owned()), length)
            }
            c => return Err(format!("unexpected {c:?} in the action {action:?}")),
        };
        out.push(token);
        rest = &rest[length..];
        joined = true;
    }
    Ok(out)
}

/// A text in double quotes, with Go's escapes.
fn text(rest: &str) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), at + 1)),
            '\\' => {
                let (_, escape) = chars.next().ok_or("unterminated quoted string")?;
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    other => {
                        out.push(plain(other).ok_or_else(|| format!("unknown escape \\{other}"))?);
                        continue;
                    }
                };
                let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.ok_or_else(|| format!("unknown escape \\{escape}{hex}"))?);
            }
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn plain(escape: char) -> Option<char> {
    Some(match escape {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\\' | '"' | '\'' => escape,
        _ => return None,
    })
}

/// A character, which is its number.
fn character(rest: &str) -> Result<(Token, usize), String> {
    let end = rest[1..].find('\'').ok_or("unterminated character constant")?;
    // `'\''` has the quote in its middle.
    let end = if &rest[1..=end] == "\\" { end + 1 } else { end };
    let inner = rest.get(1..=end).ok_or("unterminated character constant")?;
    let found = match inner.strip_prefix('\\') {
        Some(escape) => escape.chars().next().and_then(plain),
        None => inner.chars().next().filter(|c| c.len_utf8() == inner.len()),
    };
    found.map(|c| (Token::Int(i64::from(u32::from(c))), end + 2)).ok_or_else(|| format!("bad character {inner:?}"))
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let mut length = 0;
    let mut before = ' ';
    for c in rest.chars() {
        let sign = matches!(c, '+' | '-') && (length == 0 || matches!(before, 'e' | 'E'));
        if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || sign) {
            break;
        }
        length += 1;
        before = c;
    }
    let text = rest[..length].replace('_', "");
    let (sign, bare) = text.strip_prefix('-').map_or((1, text.trim_start_matches('+')), |bare| (-1, bare));
    let whole = match bare.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => i64::from_str_radix(&bare[2..], 16).ok(),
        Some("0o") => i64::from_str_radix(&bare[2..], 8).ok(),
        Some("0b") => i64::from_str_radix(&bare[2..], 2).ok(),
        _ => bare.parse().ok(),
    };
    if let Some(whole) = whole {
        return Ok((Token::Int(sign * whole), length));
    }
    let float = bare.parse::<f64>().ok().filter(|_| bare.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
    let float = float.ok_or_else(|| format!("bad number syntax: {:?}", &rest[..length]))?;
    Ok((Token::Float(f64::from(sign as i32) * float), length))
}
