//! Cuts a body into tokens: words, and slots (typed values that cannot be a constant of a program's text).
//!
//! Why by structure and not by white space alone: `uid=0`, `user:root,`, `[10.0.0.1]:22` and `core.2275` hold a constant and a
//! value each. A chunk ends at white space and at punctuation that frames (`, ; = | " ' [ ] ( ) { } < > !`); inside a chunk the
//! characters `. - : / @ # $ % & + _` only glue. What a chunk is (number, address, path, mixed, word) is decided by the classes
//! of its bytes, counted in the same pass that finds its end. No rule names a program, a message or a data set.
//!
//! Fails never: every byte sequence has a tokenisation, and tokens and gaps together are the body. Long bodies end in one
//! slot (see [`MAX_TOKENS`]), so the cost of a body is linear in its bytes and the cost of its template is bounded.

use crate::hash;

/// Tokens of one body that are looked at; what follows is one last slot. Bounds a template's size and a match's cost.
pub const MAX_TOKENS: usize = 96;
/// Bytes of a word that may be a constant; a longer chunk (base64, a token, a blob) is a slot.
pub const MAX_WORD: usize = 128;
/// Bytes of words in a template, about; what follows is one last slot. Bounds a template's text.
pub const MAX_LITERAL: usize = 4096;
/// Bytes between two words that may be constant (a rule of dashes); what follows is one last slot.
const MAX_GAP: usize = 160;
/// Words that the first line of a body must have for the following lines (stack traces, dumps) to be one slot.
const FIRST_LINE_WORDS: usize = 3;
/// Blanks that a quoted value may have to be compared as one name; a longer one is a message of its own.
const QUOTED_NAME_BLANKS: usize = 2;
/// Blanks that make a quoted argument a text, which is data and not the program's own words.
const QUOTED_TEXT_BLANKS: usize = 4;
/// Bytes that a quoted text is looked for.
const QUOTED_TEXT: usize = 1024;

/// What a token is. Everything but [`Kind::Word`] is a slot of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters (and glue): a constant until statistics say otherwise.
    Word,
    /// Numbers, addresses, times, hashes, paths, true and false: never a constant.
    Value,
    /// Letters and digits, links, empty brackets, quantities with a unit: a slot whose text is shown while it never varies.
    Mixed,
}

/// One token: bytes `start..end` of the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// First byte.
    pub(crate) start: u32,
    /// Byte after the last.
    pub(crate) end: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// Hash of a word's bytes; 0 for slots.
    pub(crate) hash: u64,
}

const WS: u8 = 1;
const FRAME: u8 = 2;
const DIGIT: u8 = 4;
const LETTER: u8 = 8;
const HEX: u8 = 16;
const UNDER: u8 = 32;
const GLUE: u8 = 64;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut t = [GLUE; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        t[i] = match c {
            0..=b' ' | 127 => WS,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | HEX,
            b'g'..=b'z' | b'G'..=b'Z' | 128..=255 => LETTER,
            b',' | b';' | b'=' | b'|' | b'"' | b'\'' | b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'!' => {
                FRAME
            }
            b'_' => UNDER,
            _ => GLUE,
        };
        i += 1;
    }
    t
}

fn class(b: &[u8], i: usize) -> u8 {
    b.get(i).map_or(WS, |c| CLASS[*c as usize])
}

fn solid(c: u8) -> bool {
    c & (DIGIT | LETTER | UNDER) != 0
}

/// Counts of one chunk, filled while its end is sought.
#[derive(Default)]
struct Chunk {
    digits: u32,
    letters: u32,
    non_hex: u32,
    unders: u32,
    dots: u32,
    colons: u32,
    dashes: u32,
    slashes: u32,
    link: bool,
    query: bool,
}

/// Cuts `body` into `out` (cleared first).
pub(crate) fn tokenise(body: &str, out: &mut Vec<Token>) {
    out.clear();
    let b = body.as_bytes();
    let mut i = 0;
    let mut words = 0;
    // the end of the last token, and the bytes of words so far
    let (mut last, mut literal) = (0, 0);
    while i < b.len() {
        let c = CLASS[b[i] as usize];
        let trace = b[i] == b'\n' && words >= FIRST_LINE_WORDS;
        if trace && rest_blank(b, i) {
            return;
        }
        if trace || i - last > MAX_GAP || literal > MAX_LITERAL || out.len() + 1 >= MAX_TOKENS {
            push(out, i, b.len(), Kind::Value, 0);
            return;
        }
        if c & WS != 0 {
            i += 1;
            continue;
        }
        if c & FRAME != 0 {
            i = frame(b, i, out);
        } else if c & GLUE != 0 && !opens(b, i) {
            if matches!(b[i], b'-' | b'/') && lone(b, i) {
                push(out, i, i + 1, Kind::Word, hash::bytes(&b[i..=i]));
            }
            i += 1;
        } else {
            i = word(b, i, out);
            words += 1;
        }
        let end = out.last().map_or(0, |t| t.end as usize);
        if end > last {
            literal += if out.last().is_some_and(|t| t.kind == Kind::Word) { i - last } else { 0 };
            last = end;
        }
    }
}

/// Cuts one chunk, and joins it with what stands before it where both are one value. Returns where to go on.
fn word(b: &[u8], i: usize, out: &mut Vec<Token>) -> usize {
    let (end, ch) = chunk(b, i);
    let end = trim(b, i, end);
    let kind = classify(b, i, end, &ch);
    let h = if kind == Kind::Word { hash::bytes(&b[i..end]) } else { 0 };
    push(out, i, end, kind, h);
    if ch.digits > 0 {
        crate::compound::join(b, out, &ch_shape(&ch));
    } else if kind == Kind::Word {
        crate::compound::unit(b, out);
    }
    // a compound value may reach further than its last chunk
    out.last().map_or(end, |t| t.end as usize)
}

/// What [`crate::compound`] needs to know of the last chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) number: bool,
    pub(crate) colons: u32,
    pub(crate) digits: u32,
}

fn ch_shape(c: &Chunk) -> Shape {
    Shape { number: c.letters == 0, colons: c.colons, digits: c.digits }
}

fn push(out: &mut Vec<Token>, start: usize, end: usize, kind: Kind, hash: u64) {
    out.push(Token { start: start as u32, end: end as u32, kind, hash });
}

/// Whether nothing but a little white space follows.
fn rest_blank(b: &[u8], i: usize) -> bool {
    b.len() - i <= MAX_GAP && b[i..].iter().all(|c| CLASS[*c as usize] & WS != 0)
}

/// A framing character: usually a gap; an empty pair of brackets after white space, or a literal `<*>`, is a slot.
fn frame(b: &[u8], i: usize, out: &mut Vec<Token>) -> usize {
    match b[i] {
        b'<' if b[i..].starts_with(b"<*>") => {
            push(out, i, i + 3, Kind::Mixed, 0);
            return i + 3;
        }
        // "<1 sec": a bound belongs to its number
        b'<' | b'>' if class(b, i + 1) & DIGIT != 0 && i > 0 && class(b, i - 1) & WS != 0 => {
            let (end, ch) = chunk(b, i + 1);
            let end = trim(b, i + 1, end);
            if class(b, end) & FRAME == 0 || b[end] != b'>' {
                push(out, i, end, if ch.letters == 0 { Kind::Value } else { Kind::Mixed }, 0);
                crate::compound::join(b, out, &ch_shape(&ch));
                return end;
            }
        }
        b'(' | b'[' if i > 0 && class(b, i - 1) & WS != 0 => {
            let close = if b[i] == b'(' { b')' } else { b']' };
            if b.get(i + 1) == Some(&close) {
                push(out, i + 1, i + 1, Kind::Mixed, 0);
                return i + 2;
            }
        }
        b'=' if b.get(i + 1) == Some(&b'"') => {
            if let Some(end) = quoted_name(b, i + 2) {
                push(out, i + 2, end, Kind::Word, hash::bytes(&b[i + 2..end]));
                return end;
            }
        }
        b'"' if i > 0 && class(b, i - 1) & WS != 0 => {
            if let Some(end) = quoted_text(b, i + 1) {
                let kind = if end - i > MAX_WORD { Kind::Value } else { Kind::Mixed };
                push(out, i + 1, end, kind, 0);
                return end;
            }
        }
        _ => {}
    }
    i + 1
}

/// `key="View Lock"`: the end of a short quoted text that is one name, whatever stands in it (no digits: those vary).
fn quoted_name(b: &[u8], from: usize) -> Option<usize> {
    let rest = &b[from..b.len().min(from + MAX_WORD)];
    let n = rest.iter().position(|c| *c == b'"')?;
    let blanks = rest[..n].iter().filter(|c| **c == b' ').count();
    let plain = |c: &u8| *c == b' ' || (CLASS[*c as usize] & (DIGIT | FRAME | WS) == 0 && *c != b'\\');
    (n > 0 && blanks <= QUOTED_NAME_BLANKS && rest[..n].iter().all(plain)).then_some(from + n)
}

/// `… "Mozilla/5.0 (X11; Linux) …" …`: the end of a longer quoted text that stands as an argument by itself.
fn quoted_text(b: &[u8], from: usize) -> Option<usize> {
    let rest = &b[from..b.len().min(from + QUOTED_TEXT)];
    let n = rest.iter().position(|c| matches!(c, b'"' | b'\n' | b'\\'))?;
    let blanks = rest[..n].iter().filter(|c| **c == b' ').count();
    (rest[n] == b'"' && blanks >= QUOTED_TEXT_BLANKS && class(b, from + n + 1) & (WS | FRAME) != 0).then_some(from + n)
}

/// Whether a glue character may open a chunk: a sign or a dot before a digit, a path's or an option's first character.
fn opens(b: &[u8], i: usize) -> bool {
    let next = class(b, i + 1);
    let fresh = i == 0 || class(b, i - 1) & GLUE == 0;
    match b[i] {
        b'-' | b'+' => next & DIGIT != 0,
        b'.' if next & DIGIT != 0 => fresh,
        b'.' | b'~' => fresh && relative(&b[i..]),
        b'/' => solid(next),
        b':' => fresh && b.get(i + 1) == Some(&b':') && class(b, i + 2) & (HEX | DIGIT) != 0,
        _ => false,
    }
}

/// A dash or a slash by itself: nothing, or the root, written down as a value (or a constant between words).
fn lone(b: &[u8], i: usize) -> bool {
    class(b, i + 1) & (WS | FRAME) != 0 && (i == 0 || class(b, i - 1) & (WS | FRAME) != 0)
}

/// `./a`, `../a`, `~/a`
fn relative(b: &[u8]) -> bool {
    let at = if b.starts_with(b"..") { 2 } else { 1 };
    b.get(at) == Some(&b'/') && solid(class(b, at + 1))
}

/// The end of the chunk that starts at `i`, and its counts.
fn chunk(b: &[u8], start: usize) -> (usize, Chunk) {
    let mut c = Chunk::default();
    let mut i = start;
    while i < b.len() {
        let k = CLASS[b[i] as usize];
        if k & DIGIT != 0 {
            c.digits += 1;
        } else if k & LETTER != 0 {
            c.letters += 1;
            c.non_hex += u32::from(k & HEX == 0);
        } else if k & UNDER != 0 {
            c.unders += 1;
        } else if k & GLUE != 0 {
            if !glue(b, start, i, &mut c) {
                break;
            }
        } else if b[i] != b'=' || !(c.link || c.query) || !solid(class(b, i + 1)) {
            break;
        }
        i += 1;
    }
    (i, c)
}

/// Whether the glue character at `i` continues the chunk; counts it.
fn glue(b: &[u8], start: usize, i: usize, c: &mut Chunk) -> bool {
    let next = class(b, i + 1);
    match b[i] {
        b'.' => {
            c.dots += 1;
            solid(next)
                || i == start
                || (c.slashes > 0 && next & (WS | FRAME) == 0)
                || (i == start + 1 && b[start] == b'.')
        }
        b'-' => {
            c.dashes += 1;
            solid(next) || (c.digits > 0 && b.get(i + 1) == Some(&b'-'))
        }
        b'/' => {
            c.slashes += 1;
            solid(next) || next & GLUE != 0 || c.slashes > 1 || i == start
        }
        b'\\' => {
            c.slashes += 1;
            solid(next) || next & GLUE != 0
        }
        b':' => {
            c.colons += 1;
            let prev = if i > start { class(b, i - 1) } else { WS };
            let address =
                next & DIGIT != 0 && (prev & DIGIT != 0 || (prev & LETTER != 0 && (c.dots > 0 || c.digits > 0)));
            let hex = c.non_hex == 0
                && c.dots + c.slashes == 0
                && (next & (HEX | DIGIT) != 0 || b.get(i + 1) == Some(&b':'))
                && (c.digits > 0 || c.colons > 1 || i == start);
            let link = b[i + 1..].starts_with(b"//");
            let drive = i == start + 1 && matches!(b.get(i + 1), Some(b'\\' | b'/'));
            let mac =
                i == start + 2 && c.non_hex == 0 && b.get(i + 3) == Some(&b':') && class(b, i + 2) & (HEX | DIGIT) != 0;
            c.link |= link;
            address || hex || link || drive || mac
        }
        b'?' if c.slashes > 0 => {
            c.query = solid(next);
            c.query
        }
        // c++, 1.2.3+~4
        b'+' => i > start || solid(next),
        b'@' | b'%' | b'#' | b'$' | b'&' | b'~' | b'?' | b'*' | b'^' => {
            solid(next) || (b[i] == b'%' && c.letters == 0) || (b[i] == b'~' && (i == start || next & GLUE != 0))
        }
        _ => false,
    }
}

/// Cuts glue off the end of a chunk; a path keeps its last slash, a percentage its sign.
fn trim(b: &[u8], start: usize, mut end: usize) -> usize {
    while end > start + 1 && matches!(b[end - 1], b'.' | b':' | b'-' | b'@' | b'#' | b'?' | b'*' | b'&' | b'~') {
        end -= 1;
    }
    end
}

/// `server.go:114`: a place in a program, not on a network.
fn source(chunk: &[u8]) -> bool {
    let name = chunk.split(|c| *c == b':').next().unwrap_or_default();
    #[rustfmt::skip]
    let is = matches!(
        name.rsplit(|c| *c == b'.').next().unwrap_or_default(),
        b"c" | b"cc" | b"cpp" | b"cs" | b"erl" | b"ex" | b"go" | b"h" | b"java" | b"js" | b"kt" | b"lua" | b"m" | b"php" | b"py" | b"rb"
            | b"rs" | b"scala" | b"swift" | b"ts"
    );
    is
}

fn classify(b: &[u8], start: usize, end: usize, c: &Chunk) -> Kind {
    let len = (end - start) as u32;
    if len as usize > MAX_WORD {
        return Kind::Value;
    }
    if matches!(b[start], b'/' | b'~')
        || (b[start] == b'.' && c.slashes > 0)
        || (c.slashes > 1 && c.colons == 0 && c.dots > 0 && c.digits > 0)
        || (c.slashes > 1 && c.colons == 1 && b[start + 1] == b':')
    {
        return if c.letters + c.digits > 0 { Kind::Value } else { Kind::Word };
    }
    if c.digits == 0 {
        return match &b[start..end] {
            b"true" | b"false" | b"True" | b"False" | b"TRUE" | b"FALSE" | b"null" | b"NULL" => Kind::Value,
            _ if c.slashes > 1 => Kind::Mixed,
            _ => Kind::Word,
        };
    }
    if c.letters == 0 || c.link {
        return Kind::Value;
    }
    // a key is a constant, whatever its digits: r24=…, k8s:
    if b.get(end) == Some(&b'=')
        && class(b, start) & LETTER != 0
        && c.digits <= 3
        && c.dots + c.dashes + c.slashes + c.colons == 0
    {
        return Kind::Word;
    }
    // host:port
    if c.colons == 1
        && c.dots + c.dashes > 0
        && !source(&b[start..end])
        && !source(&b[start..end])
        && b[start..end].iter().rev().take_while(|x| x.is_ascii_digit()).count() > 1
    {
        return Kind::Value;
    }
    if b[start] == b'0' && len > 2 && b[start + 1] | 32 == b'x' {
        return Kind::Value;
    }
    // a hash, a MAC or IPv6 address, a UUID: only hexadecimal digits, and enough of them
    if c.non_hex == 0 && c.digits >= 2 && c.digits + c.letters >= 6 {
        return Kind::Value;
    }
    // a number with its unit: 12ms, 3.5GB, 1h
    if class(b, start) & DIGIT != 0 && c.letters <= 2 && c.unders + c.slashes == 0 {
        return Kind::Value;
    }
    Kind::Mixed
}
