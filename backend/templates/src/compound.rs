//! Values of more than one chunk: `Sat Jul  9 12:16:49 2005`, `2026-01-02 10:00:00`, `403 bytes (1.2 KB)`.
//!
//! Called after each chunk that could complete one; looks back over the tokens already there and joins them. The names of
//! days and months and the units are those of the calendar and of measures, not of any program.

use crate::token::{Kind, Shape, Token};

fn text<'b>(b: &'b [u8], t: &Token) -> &'b [u8] {
    &b[t.start as usize..t.end as usize]
}

fn day(s: &[u8]) -> bool {
    matches!(s, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun")
}

#[rustfmt::skip]
fn month(s: &[u8]) -> bool {
    matches!(s, b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"May" | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Oct" | b"Nov" | b"Dec")
}

/// Units of sizes and times, as written after a number.
#[rustfmt::skip]
fn is_unit(s: &[u8]) -> bool {
    matches!(
        s,
        b"B" | b"K" | b"M" | b"G" | b"KB" | b"MB" | b"GB" | b"TB" | b"PB" | b"kB" | b"KiB" | b"MiB" | b"GiB" | b"TiB"
            | b"byte" | b"bytes" | b"Bytes" | b"kbytes"
            | b"ns" | b"us" | b"ms" | b"s" | b"sec" | b"secs" | b"second" | b"seconds" | b"min" | b"mins" | b"minute" | b"minutes"
            | b"h" | b"hr" | b"hrs" | b"hour" | b"hours" | b"d" | b"day" | b"days"
            | b"nsec" | b"usec" | b"msec" | b"msecs" | b"millis" | b"nanoseconds" | b"microseconds" | b"milliseconds"
            | b"Hz" | b"MHz"
    )
}

fn is_zone(s: &[u8]) -> bool {
    (3..=4).contains(&s.len()) && s.iter().all(u8::is_ascii_uppercase)
}

fn is_date(s: &[u8]) -> bool {
    let sep = s.iter().filter(|c| matches!(c, b'-' | b'/')).count();
    (8..=10).contains(&s.len()) && sep == 2 && s.iter().all(|c| c.is_ascii_digit() || matches!(c, b'-' | b'/'))
}

/// Whether one or two blanks, and nothing else, stand between two tokens.
fn near(b: &[u8], first: &Token, second: &Token) -> bool {
    let gap = &b[first.end as usize..second.start as usize];
    matches!(gap, b" " | b"  ")
}

/// After a chunk with digits: a time of day takes its date, a year takes the day and time before it.
pub(crate) fn join(b: &[u8], out: &mut Vec<Token>, last: &Shape) {
    let n = out.len();
    if !last.number || n < 2 || !near(b, &out[n - 2], &out[n - 1]) {
        return;
    }
    if last.colons == 2 {
        with_date(b, out);
    } else if last.colons == 0 && last.digits == 4 && out[n - 1].end - out[n - 1].start == 4 {
        with_year(b, out);
    }
}

/// `Sat Jul  9 12:16:49`, `Jul 9 12:16:49`, `9 Jul 2005 12:16:49`, `2026-01-02 12:16:49`: the last token is the time of day.
fn with_date(b: &[u8], out: &mut Vec<Token>) {
    let n = out.len();
    let (prev, this) = (out[n - 2], out[n - 1]);
    let named = |i: usize, is: fn(&[u8]) -> bool| {
        out[i].kind == Kind::Word && is(text(b, &out[i])) && near(b, &out[i], &out[i + 1])
    };
    let first = if prev.kind != Kind::Value {
        return;
    } else if is_date(text(b, &prev)) {
        n - 2
    } else if n >= 3 && prev.end - prev.start <= 2 && named(n - 3, month) {
        if n >= 4 && named(n - 4, day) { n - 4 } else { n - 3 }
    } else if n >= 4
        && prev.end - prev.start == 4
        && named(n - 3, month)
        && near(b, &out[n - 4], &out[n - 3])
        && out[n - 4].kind == Kind::Value
    {
        n - 4
    } else {
        return;
    };
    out[first] = Token { end: this.end, kind: Kind::Value, hash: 0, ..out[first] };
    out.truncate(first + 1);
}

/// `Sat Jul  9 12:16:49 2005`, `Sat Jul  9 12:16:49 CEST 2005`: the last token is the year.
fn with_year(b: &[u8], out: &mut Vec<Token>) {
    let n = out.len();
    let (prev, this) = (out[n - 2], out[n - 1]);
    let zone = n >= 3 && prev.kind == Kind::Word && is_zone(text(b, &prev)) && near(b, &out[n - 3], &prev);
    let at = if zone { n - 3 } else { n - 2 };
    let t = text(b, &out[at]);
    if out[at].kind == Kind::Value && t[0].is_ascii_alphabetic() && t.contains(&b':') && t.contains(&b' ') {
        out[at].end = this.end;
        out.truncate(at + 1);
    }
}

/// After a word: a unit joins its number; a quantity in brackets joins the quantity before it (`403 bytes (1.2 KB)`).
pub(crate) fn unit(b: &[u8], out: &mut Vec<Token>) {
    let n = out.len();
    if n < 2 {
        return;
    }
    let (prev, this) = (out[n - 2], out[n - 1]);
    if prev.kind == Kind::Word || &b[prev.end as usize..this.start as usize] != b" " || !is_unit(text(b, &this)) {
        return;
    }
    let p = text(b, &prev);
    let number = |c: &u8| c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'<' | b'>' | b',');
    if !p.last().is_some_and(u8::is_ascii_digit) || !p.iter().all(number) {
        return;
    }
    out[n - 2] = Token { end: this.end, kind: Kind::Mixed, hash: 0, ..prev };
    out.truncate(n - 1);
    if n >= 3 && b.get(this.end as usize) == Some(&b')') {
        let (outer, inner) = (out[n - 3], out[n - 2]);
        let named = text(b, &outer).last().is_some_and(u8::is_ascii_alphabetic);
        if outer.kind == Kind::Mixed && named && &b[outer.end as usize..inner.start as usize] == b" (" {
            out[n - 3].end = inner.end + 1;
            out.truncate(n - 2);
        }
    }
}
