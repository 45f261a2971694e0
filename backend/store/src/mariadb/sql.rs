//! Values as SQL. What a record says never becomes SQL itself: every text goes through [`put_text`].

use devmesh_schema::TimestampNs;

/// Writes a text as a literal. Escapes as `sql_mode` without `NO_BACKSLASH_ESCAPES` reads them, which every connection
/// is set to.
pub(super) fn put_text(out: &mut String, text: &str) {
    out.push('\'');
    // Without a branch for each byte many are looked at in one step.
    let escapes = text.bytes().fold(false, |any, byte| any | (byte == b'\'') | (byte == b'\\') | (byte == 0));
    if !escapes {
        out.push_str(text);
        out.push('\'');
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'\'' => "\\'",
            b'\\' => "\\\\",
            0 => "\\0",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(escape);
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('\'');
}

/// A text as a literal.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    put_text(&mut out, text);
    out
}

/// Microseconds since the epoch, rounded down.
pub(super) fn micros(time: TimestampNs) -> i64 {
    time.div_euclid(1000)
}

/// A time as a literal for `DATETIME(6)`, from microseconds since the epoch. Every `i64` of nanoseconds lies within its years.
pub(super) fn datetime(micros: i64) -> String {
    let mut out = String::with_capacity(28);
    Clock::default().put(&mut out, micros);
    out
}

/// Writes times of which neighbours often share their second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// `2026-11-21 12:00:00`
    text: String,
    second: Option<i64>,
}

impl Clock {
    /// Writes a time, given in microseconds since the epoch, as a literal.
    pub(super) fn put(&mut self, out: &mut String, micros: i64) {
        out.push('\'');
        self.put_plain(out, micros);
        out.push('\'');
    }

    /// Writes it without quotes.
    pub(super) fn put_plain(&mut self, out: &mut String, micros: i64) {
        let second = micros.div_euclid(1_000_000);
        if self.second != Some(second) {
            let text = devmesh_schema::time::format(second.saturating_mul(1_000_000_000));
            self.text = text.get(..19).unwrap_or_default().replace('T', " ");
            self.second = Some(second);
        }
        out.push_str(&self.text);
        out.push('.');
        let mut digits = [b'0'; 6];
        let mut left = micros.rem_euclid(1_000_000);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
}

/// The first characters of a text: no more than `characters`, and no more than `bytes` bytes.
pub(super) fn cut(text: &str, characters: usize, bytes: usize) -> &str {
    let text = if text.len() <= bytes { text } else { &text[..text.floor_char_boundary(bytes)] };
    if text.len() <= characters {
        return text;
    }
    match text.char_indices().nth(characters) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_quotes() {
        for (plain, literal) in [
            ("", "''"),
            ("it's", r"'it\'s'"),
            (r"\' OR 1=1 -- ", r"'\\\' OR 1=1 -- '"),
            ("a\0b", r"'a\0b'"),
            ("💥\n", "'💥\n'"),
        ] {
            assert_eq!(text(plain), literal);
        }
    }

    #[test]
    fn a_time_is_written_to_the_microsecond_below_it() {
        for (ns, literal) in [
            (0, "'1970-01-01 00:00:00.000000'"),
            (-1, "'1969-12-31 23:59:59.999999'"),
            (1_795_262_400_123_456_789, "'2026-11-21 12:00:00.123456'"),
            (i64::MIN, "'1677-09-21 00:12:43.145224'"),
            (i64::MAX, "'2262-04-11 23:47:16.854775'"),
        ] {
            assert_eq!(datetime(micros(ns)), literal);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2, 100), "äö");
        assert_eq!(cut("äöü", 9, 3), "ä");
        assert_eq!(cut("abc", 3, 3), "abc");
        assert_eq!(cut("", 0, 0), "");
    }
}
