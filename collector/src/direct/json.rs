//! JSON as senders of plain records write it: a reader with limits, and numbers that keep their digits.
//!
//! A record is first found (brackets and strings only, no recursion), then read into a tree. So one broken record does
//! not break its neighbours, and a body is never a tree as a whole.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use devmesh_schema::{limits, otlp::write::Value};

/// Values of one record at most: bounds the tree's memory at some tens of MiB.
const VALUES: usize = 1 << 18;
/// Keys of an object from which on a map finds repeated ones.
const MANY_KEYS: usize = 16;

/// What is wrong with a JSON text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) reason: &'static str,
}

/// A value that borrows from its text. Of a repeated key the last value counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// The digits as written.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// The values, and the list as written.
    List(Vec<Json<'a>>, &'a str),
    /// The entries, and the object as written.
    Map(Vec<(Cow<'a, str>, Json<'a>)>, &'a str),
}

impl<'a> Json<'a> {
    /// The text of a string, the JSON of anything else; `None` for null.
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Json::Null => return None,
            Json::Bool(true) => "true".into(),
            Json::Bool(false) => "false".into(),
            Json::Number(text) | Json::List(_, text) | Json::Map(_, text) => text.into(),
            Json::Text(text) => text,
        })
    }

    /// The value of an attribute.
    pub(super) fn into_value(self) -> Value<'a> {
        match self {
            Json::Null => Value::Empty,
            Json::Bool(value) => value.into(),
            Json::Number(digits) => number(digits),
            Json::Text(text) => text.into(),
            Json::List(values, _) => Value::List(values.into_iter().map(Json::into_value).collect()),
            Json::Map(entries, _) => {
                Value::Map(entries.into_iter().map(|(key, value)| (key, value.into_value())).collect())
            }
        }
    }
}

/// An integer or a double where it is exactly that, else the digits as text.
fn number(digits: &str) -> Value<'_> {
    if let Ok(value) = digits.parse::<i64>()
        && digits != "-0"
    {
        return value.into();
    }
    let Ok(value) = digits.parse::<f64>() else { return digits.into() };
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let significant = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    let whole = !digits.contains(['.', 'e', 'E']);
    let exact = if whole { format!("{value:.0}") == digits } else { significant <= 17 };
    let underflow = value == 0.0 && mantissa.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
    if value.is_finite() && exact && !underflow { value.into() } else { digits.into() }
}

/// Reads one JSON text.
///
/// # Errors
/// Another syntax, nesting beyond [`limits::DEPTH`], more than [`VALUES`] values.
pub(super) fn parse(text: &str) -> Result<Json<'_>, Fault> {
    let mut reader = Reader::new(text);
    let mut values = VALUES;
    let value = reader.value(limits::DEPTH, &mut values)?;
    reader.space();
    if reader.at < text.len() { Err(reader.fault("more after the end of the value")) } else { Ok(value) }
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn fault(&self, reason: &'static str) -> Fault {
        Fault { offset: self.at, reason }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.space();
        self.byte()
    }

    /// Steps over `byte` where it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Begins a list or object that is open with its first bracket, or goes on after a value: whether a value follows.
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, Fault> {
        if self.take(close) {
            return Ok(false);
        }
        if !first && !self.take(b',') {
            return Err(self.fault(if close == b']' { "expected `,` or `]`" } else { "expected `,` or `}`" }));
        }
        if !first && self.peek() == Some(close) {
            return Err(self.fault("a comma before the end"));
        }
        Ok(true)
    }

    /// A key and its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in quotes"));
        }
        let key = self.string()?;
        if self.take(b':') { Ok(key) } else { Err(self.fault("expected `:`")) }
    }

    /// Steps over a value, however deep, looking at brackets and strings only, and gives its text.
    pub(super) fn skip(&mut self) -> Result<&'a str, Fault> {
        self.space();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.byte() {
                None => return Err(self.fault("the body ends in the middle of a value")),
                Some(b'"') => self.skip_string()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    if depth == 0 {
                        return Err(self.fault("expected a value"));
                    }
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth == 0 => return Err(self.fault("expected a value")),
                Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => self.skip_word(),
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    fn skip_word(&mut self) {
        let end = self.rest().find(|c: char| matches!(c, ',' | ':' | '"' | '{' | '[' | '}' | ']') || c.is_whitespace());
        self.at = end.map_or(self.text.len(), |end| self.at + end);
    }

    fn skip_string(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
            at += found;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(());
            }
            at += 2;
        }
        Err(self.fault("a string without its end"))
    }

    fn value(&mut self, depth: usize, values: &mut usize) -> Result<Json<'a>, Fault> {
        *values = values.checked_sub(1).ok_or_else(|| self.fault("too many values in one record"))?;
        match self.peek() {
            Some(b'{' | b'[') if depth == 0 => Err(self.fault("nested deeper than 64 levels")),
            Some(b'{') => self.map(depth, values),
            Some(b'[') => self.list(depth, values),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(_) => {
                let words = [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)];
                for (word, value) in words {
                    if self.rest().starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.fault("expected a value"))
            }
            None => Err(self.fault("the text ends in the middle of a value")),
        }
    }

    fn list(&mut self, depth: usize, values: &mut usize) -> Result<Json<'a>, Fault> {
        let start = self.at;
        self.at += 1;
        let mut list = Vec::new();
        while self.more(list.is_empty(), b']')? {
            list.push(self.value(depth - 1, values)?);
        }
        Ok(Json::List(list, &self.text[start..self.at]))
    }

    fn map(&mut self, depth: usize, values: &mut usize) -> Result<Json<'a>, Fault> {
        let start = self.at;
        self.at += 1;
        let mut entries: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
        let mut first = true;
        while self.more(first, b'}')? {
            first = false;
            let key = self.key()?;
            let value = self.value(depth - 1, values)?;
            if entries.len() == MANY_KEYS && places.is_empty() {
                places = entries.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect();
            }
            let known = if entries.len() < MANY_KEYS {
                entries.iter().position(|(known, _)| *known == key)
            } else {
                match places.entry(key.clone()) {
                    Entry::Occupied(place) => Some(*place.get()),
                    Entry::Vacant(place) => {
                        place.insert(entries.len());
                        None
                    }
                }
            };
            match known {
                Some(place) => entries[place].1 = value,
                None => entries.push((key, value)),
            }
        }
        Ok(Json::Map(entries, &self.text[start..self.at]))
    }

    /// RFC 8259's number, as written.
    fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while reader.byte().is_some_and(|byte| byte.is_ascii_digit()) {
                reader.at += 1;
            }
            if reader.at == from { Err(reader.fault("expected a digit")) } else { Ok(reader.at - from) }
        };
        self.at += usize::from(self.byte() == Some(b'-'));
        let zero = self.byte() == Some(b'0');
        if digits(self)? > 1 && zero {
            return Err(self.fault("a number with a zero before it"));
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            digits(self)?;
        }
        Ok(&self.text[start..self.at])
    }

    /// A string; borrowed where it has no escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.at += 1;
        let mut owned = String::new();
        loop {
            let rest = self.rest();
            let run = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\') || byte < 0x20);
            let Some(run) = run else { return Err(self.fault("a string without its end")) };
            let plain = &rest[..run];
            self.at += run;
            match rest.as_bytes()[run] {
                b'"' => {
                    self.at += 1;
                    if owned.is_empty() {
                        return Ok(Cow::Borrowed(plain));
                    }
                    owned.push_str(plain);
                    return Ok(Cow::Owned(owned));
                }
                b'\\' => {
                    owned.push_str(plain);
                    owned.push(self.escape()?);
                }
                _ => return Err(self.fault("a control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => {
                self.at -= 2;
                return Err(self.fault("an unknown escape"));
            }
        })
    }

    /// After `\u`. A surrogate without its partner is U+FFFD.
    fn unicode(&mut self) -> Result<char, Fault> {
        let unit = self.unit(self.at).ok_or_else(|| self.fault("expected four hex digits"))?;
        self.at += 4;
        let high = (0xd800..0xdc00).contains(&unit);
        let low = self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u");
        if high
            && low
            && let Some(second @ 0xdc00..0xe000) = self.unit(self.at + 2)
        {
            self.at += 6;
            let scalar = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.as_bytes().get(at..at + 4)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(text: &str) -> String {
        format!("{:?}", parse(text).map(Json::into_value))
    }

    #[test]
    fn c10_a_number_that_is_no_i64_or_f64_is_kept_as_its_digits() {
        for (text, expected) in [
            ("42", "Ok(Int(42))"),
            ("-9223372036854775808", "Ok(Int(-9223372036854775808))"),
            ("-0", "Ok(Double(-0.0))"),
            ("1.5", "Ok(Double(1.5))"),
            ("1e3", "Ok(Double(1000.0))"),
            ("0.30000000000000004", "Ok(Double(0.30000000000000004))"),
            ("18446744073709551616", "Ok(Double(1.8446744073709552e19))"),
            ("123456789012345678901234567890", "Ok(Text(\"123456789012345678901234567890\"))"),
            ("1e400", "Ok(Text(\"1e400\"))"),
            ("1e-400", "Ok(Text(\"1e-400\"))"),
            ("0.1234567890123456789", "Ok(Text(\"0.1234567890123456789\"))"),
        ] {
            assert_eq!(attribute(text), expected, "{text}");
        }
    }

    #[test]
    fn syntax_that_is_no_json_is_refused_with_its_place() {
        for (text, offset) in [
            ("{\"a\":1,}", 7),
            ("[1,]", 3),
            ("{a:1}", 1),
            ("01", 2),
            ("1.", 2),
            ("\"\\x\"", 1),
            ("\"a\nb\"", 2),
            ("NaN", 0),
            ("{} x", 3),
            ("[1", 2),
            ("// c", 0),
            ("", 0),
        ] {
            assert_eq!(parse(text).unwrap_err().offset, offset, "{text}");
        }
    }

    #[test]
    fn strings_are_unescaped_and_lone_surrogates_replaced() {
        let read = parse(r#""a\u0041\n\ud83d\ude00\ud800x\"""#).unwrap();
        assert_eq!(read, Json::Text("aA\n😀\u{fffd}x\"".into()));
        assert!(matches!(parse("\"plain\"").unwrap(), Json::Text(Cow::Borrowed("plain"))));
    }

    #[test]
    fn of_a_repeated_key_the_last_value_counts() {
        let keys: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        let text = format!("{{\"k1\":0,{},\"k30\":7}}", keys.join(","));
        let Json::Map(entries, raw) = parse(&text).unwrap() else { panic!("no map") };
        assert_eq!((entries.len(), raw), (40, text.as_str()));
        assert_eq!(entries.iter().find(|(key, _)| key == "k30").unwrap().1, Json::Number("7"));
        assert_eq!(entries[0].1, Json::Number("1"));
    }

    #[test]
    fn c11_nesting_is_bounded_at_64_and_stepped_over_at_any_depth() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(64)).is_ok());
        assert!(parse(&nested(65)).is_err());
        let deep = nested(1_000_000);
        assert!(parse(&deep).is_err());
        assert_eq!(Reader::new(&deep).skip().unwrap().len(), deep.len());
    }
}
