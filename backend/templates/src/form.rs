//! The form of a value: its text without what varies in it. `core.2275` and `core.11` have the form `core.<*>`.
//!
//! A value is cut at `. - + @ # $ % & : , = ( ) [ ]` and blanks (not at `_` and `/`: those glue one identifier). A piece with a
//! digit is a parameter as a whole; a piece of letters stays.

use crate::template::MARK;

fn cut(c: char) -> bool {
    matches!(
        c,
        '.' | '-' | '+' | '@' | '#' | '$' | '%' | '&' | ':' | ',' | '=' | '(' | ')' | '[' | ']' | ' ' | '<' | '>'
    )
}

/// The form of `v`.
pub(crate) fn mask(v: &str) -> String {
    let mut out = String::with_capacity(v.len());
    let mut piece = String::new();
    for c in v.chars() {
        if cut(c) {
            // "blk_-12": an underscore before a sign glues
            if c == '-' && piece.ends_with('_') {
                piece.push('0');
                continue;
            }
            flush(&mut out, &mut piece);
            out.push(c);
        } else {
            piece.push(c);
        }
    }
    flush(&mut out, &mut piece);
    collapse(&out)
}

fn flush(out: &mut String, piece: &mut String) {
    if piece.bytes().any(|c| c.is_ascii_digit()) {
        out.push_str(MARK);
    } else {
        out.push_str(piece);
    }
    piece.clear();
}

/// Joins parameters that only one glue character parts: `<*>.<*>:<*>` is one parameter.
pub(crate) fn collapse(t: &str) -> String {
    let mut out = String::with_capacity(t.len());
    let mut rest = t;
    while let Some(p) = rest.find(MARK) {
        out.push_str(&rest[..p]);
        rest = &rest[p + MARK.len()..];
        loop {
            let skip = match rest.as_bytes().first() {
                Some(b'.' | b':' | b'/' | b',' | b'_' | b'-' | b'@' | b'#') => 1,
                _ => 0,
            };
            if !rest[skip..].starts_with(MARK) {
                break;
            }
            rest = &rest[skip + MARK.len()..];
        }
        out.push_str(MARK);
    }
    out.push_str(rest);
    out
}

/// Whether two values have one form.
pub(crate) fn same(a: &str, b: &str) -> bool {
    mask(a) == mask(b)
}

/// Whether a value that never varied may be shown as a constant: mostly letters (`ssh2`, `L3`), no number by itself.
pub(crate) fn constant(v: &str) -> bool {
    let digits = v.bytes().filter(u8::is_ascii_digit).count();
    let letters = v.chars().filter(|c| c.is_alphabetic()).count();
    digits <= letters.min(3) && !v.split(cut).any(|p| !p.is_empty() && p.bytes().all(|c| c.is_ascii_digit()))
}

/// What is shown of a value whose form never varied: the form, if it is a quantity (`<*> bytes`) or one name with one
/// parameter behind it (`core.<*>`, `a.b.Event@<*>`); more glue than that is a name as a whole (`rack-7-host-12`).
pub(crate) fn shown(v: &str) -> String {
    let m = mask(v);
    if quantity(v) {
        return m;
    }
    match m.strip_suffix(MARK).and_then(|p| p.char_indices().next_back().map(|(i, c)| (&p[..i], c))) {
        Some((name, glue))
            if !name.is_empty()
                && cut(glue)
                && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '$')) =>
        {
            m
        }
        _ => MARK.to_owned(),
    }
}

/// A number and its unit.
pub(crate) fn quantity(v: &str) -> bool {
    v.contains(' ')
}
