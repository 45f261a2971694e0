//! A reader of JSON text that borrows what it can, never recurses, and knows where it stands.

use std::borrow::Cow;

use super::JsonError;
use crate::limits;

/// Something is wrong with a value: with the request as a whole, or with the item that has it.
#[derive(Debug)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// The word for the rejection, where only the item is lost.
    item: Option<&'static str>,
    offset: usize,
    reason: String,
    /// From the inside to the outside.
    path: Vec<Step>,
}

/// A step of a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Key(&'static str),
    Index(usize),
}

impl Fault {
    /// The request cannot be read.
    pub(super) fn fatal(offset: usize, reason: impl Into<String>) -> Self {
        Self(Box::new(Inner { item: None, offset, reason: reason.into(), path: Vec::new() }))
    }

    /// The item that has the value cannot be kept.
    pub(super) fn item(offset: usize, word: &'static str, reason: impl Into<String>) -> Self {
        Self(Box::new(Inner { item: Some(word), offset, reason: reason.into(), path: Vec::new() }))
    }

    /// The word for the rejection of an item; `None` where the whole request is lost.
    pub(super) fn word(&self) -> Option<&'static str> {
        self.0.item
    }

    /// The same, seen from the object or list that has the value at `step`.
    pub(super) fn under(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    /// What is wrong, and where: below `prefix`.
    pub(super) fn message(&self, prefix: &[Step]) -> String {
        let path = path(prefix.iter().chain(self.0.path.iter().rev()));
        let separator = if path.is_empty() { "" } else { ": " };
        let mut message = format!("{path}{separator}{}", self.0.reason);
        message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES));
        message
    }
}

/// Writes a path as `spans[3].kind`.
fn path<'s>(steps: impl Iterator<Item = &'s Step>) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

impl From<Fault> for JsonError {
    fn from(fault: Fault) -> Self {
        JsonError { path: path(fault.0.path.iter().rev()), offset: fault.0.offset, reason: fault.0.reason }
    }
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

impl Next {
    pub(super) fn name(self) -> &'static str {
        match self {
            Next::Object => "an object",
            Next::Array => "a list",
            Next::Text => "a string",
            Next::Number => "a number",
            Next::Bool => "a boolean",
            Next::Null => "null",
        }
    }
}

/// A place in JSON text.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte it stands at.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Goes back to a byte it stood at.
    pub(super) fn rewind(&mut self, offset: usize) {
        self.at = offset;
    }

    fn fatal(&self, reason: impl Into<String>) -> Fault {
        Fault::fatal(self.at, reason)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space, which stays unread.
    fn peek(&mut self) -> Option<u8> {
        self.skip_whitespace();
        self.byte()
    }

    /// What stands here, for an error.
    fn unexpected(&self, wanted: &str) -> Fault {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(char) => self.fatal(format!("expected {wanted}, found `{}`", char.escape_debug())),
            None => self.fatal(format!("expected {wanted}, but the body ends here")),
        }
    }

    /// What kind of value comes next; it stays unread.
    pub(super) fn next(&mut self) -> Result<Next, Fault> {
        match self.peek() {
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::Array),
            Some(b'"') => Ok(Next::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Next::Number),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'n') => Ok(Next::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Fails unless `wanted` comes next.
    pub(super) fn expect(&mut self, wanted: Next) -> Result<(), Fault> {
        let found = self.next()?;
        if found == wanted {
            return Ok(());
        }
        Err(self.fatal(format!("expected {}, found {}", wanted.name(), found.name())))
    }

    /// Reads `byte`, if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads `null`, if it comes next.
    pub(super) fn null(&mut self) -> Result<bool, Fault> {
        if self.next()? != Next::Null {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    /// Reads a boolean.
    pub(super) fn boolean(&mut self) -> Result<bool, Fault> {
        self.expect(Next::Bool)?;
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.unexpected(word));
        }
        self.at += word.len();
        match self.byte() {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_') => Err(self.unexpected("the end of a word")),
            _ => Ok(()),
        }
    }

    /// Begins an object or a list. `open` is known to come next.
    pub(super) fn open(&mut self) {
        self.skip_whitespace();
        self.at += 1;
    }

    /// Whether the object or list that ends in `close` goes on with another member; reads the comma before it.
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, Fault> {
        if self.take(close) {
            return Ok(false);
        }
        if !first && !self.take(b',') {
            return Err(self.unexpected(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }));
        }
        Ok(true)
    }

    /// Reads a key and its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in double quotes"));
        }
        let key = self.string()?;
        if !self.take(b':') {
            return Err(self.unexpected("`:`"));
        }
        Ok(key)
    }

    /// Fails unless nothing but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the body")),
        }
    }

    /// Reads a number and returns its text, which keeps to JSON's grammar.
    pub(super) fn number(&mut self) -> Result<&'a str, Fault> {
        self.expect(Next::Number)?;
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        let leading = self.byte();
        let digits = self.digits()?;
        if leading == Some(b'0') && digits > 1 {
            return Err(Fault::fatal(start, "a number has a leading zero"));
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(self.at - start) }
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.expect(Next::Text)?;
        self.at += 1;
        let start = self.at;
        if self.run()? {
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let mut text = self.text[start..self.at].to_owned();
        loop {
            self.escape(&mut text)?;
            let start = self.at;
            let end = self.run()?;
            text.push_str(&self.text[start..self.at - usize::from(end)]);
            if end {
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Goes on to the closing quote (behind it, true) or to a backslash (before it, false).
    fn run(&mut self) -> Result<bool, Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(rest.len());
        self.at += length;
        match rest.get(length) {
            Some(b'"') => {
                self.at += 1;
                Ok(true)
            }
            Some(b'\\') => Ok(false),
            Some(_) => Err(self.fatal("a control character in a string must be escaped")),
            None => Err(self.fatal("a string does not end")),
        }
    }

    /// Reads an escape sequence.
    fn escape(&mut self, text: &mut String) -> Result<(), Fault> {
        let char = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                text.push(self.unicode()?);
                return Ok(());
            }
            _ => return Err(self.fatal("there is no such escape sequence")),
        };
        text.push(char);
        self.at += 2;
        Ok(())
    }

    /// Reads `\uXXXX`, and a second one where they are a pair. Half a pair is U+FFFD.
    fn unicode(&mut self) -> Result<char, Fault> {
        let unit = self.unit(self.at).ok_or_else(|| self.fatal("`\\u` needs four hexadecimal digits"))?;
        self.at += 6;
        if let Some(char) = char::from_u32(unit) {
            return Ok(char);
        }
        let low = self.unit(self.at).filter(|low| unit < 0xdc00 && (0xdc00..0xe000).contains(low));
        let Some(low) = low else { return Ok(char::REPLACEMENT_CHARACTER) };
        self.at += 6;
        Ok(char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u32::from_str_radix(digits, 16).ok()
    }

    /// Passes over a value that has at most `depth` levels of objects and lists.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        let mut closers: Vec<u8> = Vec::new();
        loop {
            let opened = match self.next()? {
                Next::Object | Next::Array if closers.len() == depth => {
                    return Err(self.fatal(format!("values nest deeper than {depth} levels")));
                }
                Next::Object => Some(b'}'),
                Next::Array => Some(b']'),
                Next::Text => self.string().map(|_| None)?,
                Next::Number => self.number().map(|_| None)?,
                Next::Bool => self.boolean().map(|_| None)?,
                Next::Null => self.null().map(|_| None)?,
            };
            if let Some(closer) = opened {
                self.open();
                closers.push(closer);
            }
            // To the next value: behind as many ends as there are here.
            let mut first = opened.is_some();
            loop {
                let Some(&closer) = closers.last() else { return Ok(()) };
                if self.more(first, closer)? {
                    if closer == b'}' {
                        self.key()?;
                    }
                    break;
                }
                closers.pop();
                first = false;
            }
        }
    }
}
