//! Times and durations as people and programs write them, and one way to write them back.
//!
//! - [`parse`]: what a query says (CONTRACT §5): RFC 3339, Unix nanoseconds, `now-15m`.
//! - [`parse_event`]: what a sender of plain JSON says: RFC 3339, or an epoch in s, ms, µs or ns by its magnitude.
//! - [`parse_duration`]: `90d`, `15m`, `1h30m`.
//! - [`format()`]: RFC 3339, UTC, nine digits.
//!
//! RFC 3339 is taken with `T`, `t` or a space; a missing offset means UTC, a missing time of day midnight, and a leap
//! second is the second after it, as POSIX counts. An error says what is wrong with which text.

use jiff::{
    Timestamp,
    civil::{Date, Time},
    fmt::temporal::DateTimePrinter,
};

use crate::TimestampNs;

const SECOND: i128 = 1_000_000_000;

/// Why a text is no time, or no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {reason}")]
pub struct TimeError {
    /// The text, cut to 64 characters.
    pub text: String,
    /// `time` or `duration`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl TimeError {
    fn new(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self { text: text.chars().take(64).collect(), what, reason: reason.into() }
    }
}

/// Parses a time in a query: RFC 3339, Unix nanoseconds, or `now`, `now-15m`, `now+1h` (from `now`, ns).
///
/// # Errors
/// The text is none of them, or lies outside the years 1678 to 2261.
pub fn parse(text: &str, now: TimestampNs) -> Result<TimestampNs, TimeError> {
    let trimmed = text.trim();
    let error = |reason: String| TimeError::new("time", trimmed, reason);
    if let Some(offset) = trimmed.strip_prefix("now") {
        let offset = offset.trim();
        let (sign, length) = match offset.split_at_checked(1) {
            None => return Ok(now),
            Some(("-", length)) => (-1, length),
            Some(("+", length)) => (1, length),
            Some(_) => return Err(error("after `now` comes `-` or `+` and a duration, as in `now-15m`".into())),
        };
        let length = parse_duration(length.trim()).map_err(|e| error(format!("`{}`: {}", e.text, e.reason)))?;
        return now.checked_add(sign * length).ok_or_else(|| error(OUTSIDE.into()));
    }
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return trimmed.parse().map_err(|e| error(format!("as Unix nanoseconds: {e}")));
    }
    parse_rfc3339(trimmed).map_err(error)
}

/// Parses the time of a record on the direct path: RFC 3339, or a positive number since the epoch, with a fraction or
/// without, in a string or as JSON writes it. Below 10^11 it counts seconds, below 10^14 milliseconds, below 10^17
/// microseconds, else nanoseconds.
///
/// # Errors
/// The text is neither, is 0 or negative, or lies outside the years 1678 to 2261.
pub fn parse_event(text: &str) -> Result<TimestampNs, TimeError> {
    let trimmed = text.trim();
    let error = |reason: String| TimeError::new("time", trimmed, reason);
    let numeric = trimmed.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && !trimmed.get(1..).unwrap_or_default().contains(['-', ':'])
        || trimmed.contains(['e', 'E']) && trimmed.parse::<f64>().is_ok();
    if numeric { parse_epoch(trimmed).map_err(error) } else { parse_rfc3339(trimmed).map_err(error) }
}

const OUTSIDE: &str = "it lies outside the years 1678 to 2261";
const SHAPE: &str = "write it as 2026-11-21T12:00:00Z, as Unix nanoseconds or as now-15m";

fn parse_epoch(text: &str) -> Result<TimestampNs, String> {
    let number: f64 = text.parse().ok().ok_or("it is no number")?;
    if number.is_nan() || number <= 0.0 {
        return Err("a time since the epoch is more than 0".into());
    }
    let unit: i128 = match number {
        n if n < 1e11 => SECOND,
        n if n < 1e14 => 1_000_000,
        n if n < 1e17 => 1_000,
        _ => 1,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let exact = whole.len() <= 19 && [whole, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let ns = if exact {
        // Decimal digits keep their nanoseconds, which a double would not.
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|e| format!("{e}"))? };
        whole * unit + fraction_of(fraction, unit)
    } else {
        (number * unit as f64) as i128
    };
    i64::try_from(ns).ok().ok_or_else(|| OUTSIDE.to_owned())
}

/// `0.fraction` of `unit`, cut; `fraction` has digits only.
fn fraction_of(fraction: &str, mut unit: i128) -> i128 {
    let mut sum = 0;
    for digit in fraction.bytes().take(10) {
        unit /= 10;
        sum += i128::from(digit - b'0') * unit;
    }
    sum
}

fn parse_rfc3339(text: &str) -> Result<TimestampNs, String> {
    let shape = || SHAPE.to_owned();
    let date = text.get(..10).ok_or_else(shape)?;
    let date = parse_date(date)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return utc(date, 0, 0);
    }
    let rest = rest.strip_prefix(['T', 't', ' ']).ok_or_else(shape)?;
    let clock_end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(clock_end);
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(c, f)| (c, Some(f)));
    let fraction = match fraction {
        None => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => fraction_of(digits, SECOND),
        Some(digits) => return Err(format!("`.{digits}` is no fraction of a second")),
    };
    utc(date, parse_clock(clock)? - parse_offset(offset)?, fraction)
}

fn parse_date(text: &str) -> Result<Date, String> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2]).ok_or_else(|| SHAPE.to_owned())?;
    Date::new(year as i16, month as i8, day as i8).ok().ok_or_else(|| format!("there is no day {text}"))
}

/// Seconds since midnight; `23:59:60` is the first second of the next day.
fn parse_clock(text: &str) -> Result<i64, String> {
    let no_clock = || format!("there is no time of day {text}");
    let parts = numbers(text, ':', [2, 2, 2]).or_else(|| numbers(text, ':', [2, 2]).map(|[h, m]| [h, m, 0]));
    let [hour, minute, second] = parts.ok_or_else(no_clock)?;
    let leap = i64::from(minute == 59 && second == 60);
    Time::new(hour as i8, minute as i8, (second - leap) as i8, 0).ok().ok_or_else(no_clock)?;
    Ok(hour * 3600 + minute * 60 + second)
}

fn parse_offset(text: &str) -> Result<i64, String> {
    let no_offset = || format!("there is no offset {text}");
    let (sign, rest) = match text.split_at_checked(1) {
        None | Some(("Z" | "z", "")) => return Ok(0),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        Some(_) => return Err(no_offset()),
    };
    match numbers(rest, ':', [2, 2]) {
        Some([hours @ 0..24, minutes @ 0..60]) => Ok(sign * (hours * 3600 + minutes * 60)),
        _ => Err(no_offset()),
    }
}

/// `N` groups of digits, each of exactly so many.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn utc(date: Date, seconds: i64, fraction: i128) -> Result<TimestampNs, String> {
    let midnight = jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|e| e.to_string())?;
    let ns = midnight.as_nanosecond() + i128::from(seconds) * SECOND + fraction;
    i64::try_from(ns).ok().ok_or_else(|| OUTSIDE.to_owned())
}

/// Parses a duration to ns: whole numbers, each with its unit `ns`, `us`, `ms`, `s`, `m`, `h`, `d`, `w` or `y` (365 days).
///
/// # Errors
/// The text has another form, or is longer than 292 years.
pub fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let trimmed = text.trim();
    let error = |reason: &str| TimeError::new("duration", trimmed, reason);
    if trimmed == "0" {
        return Ok(0);
    }
    if trimmed.is_empty() {
        return Err(error("write it as 90d, 15m or 1h30m"));
    }
    let mut sum: i64 = 0;
    let mut rest = trimmed;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        if number.is_empty() {
            return Err(error("a whole number comes before each unit, as in 90d, 15m or 1h30m"));
        }
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 7 * 86_400_000_000_000,
            "y" => 365 * 86_400_000_000_000,
            "" => return Err(error("a number lacks its unit: ns, us, ms, s, m, h, d, w or y")),
            other => return Err(error(&format!("unit `{other}` is none of ns, us, ms, s, m, h, d, w, y"))),
        };
        let part = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or_else(|| error("it is longer than 292 years"))?;
        rest = tail;
    }
    Ok(sum)
}

/// Writes a time as RFC 3339 in UTC with nine digits: `2026-11-21T12:00:00.000000000Z`.
pub fn format(time: TimestampNs) -> String {
    // Every i64 of nanoseconds lies within jiff's years.
    let time = Timestamp::from_nanosecond(i128::from(time)).unwrap_or_default();
    DateTimePrinter::new().precision(Some(9)).timestamp_to_string(&time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_795_262_400_000_000_000; // 2026-11-21T12:00:00Z

    #[test]
    fn a_query_can_say_a_time_in_three_ways() {
        let minute = 60_000_000_000;
        for (text, expected) in [
            ("2026-11-21T12:00:00Z", NOON),
            ("2026-11-21t12:00:00z", NOON),
            ("2026-11-21 12:00:00Z", NOON),
            (" 2026-11-21T12:00:00.000000001Z ", NOON + 1),
            ("2026-11-21T12:00:00.5Z", NOON + 500_000_000),
            ("2026-11-21T12:00:00.1234567899Z", NOON + 123_456_789),
            ("2026-11-21T13:30:00+01:30", NOON),
            ("2026-11-21T11:00:00-01:00", NOON),
            ("2026-11-21T12:00:00", NOON),
            ("2026-11-21T12:00", NOON),
            ("2026-11-21", NOON - 12 * 60 * minute),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
            ("1795262400000000000", NOON),
            ("0", 0),
            ("-1", -1),
            ("now", NOON),
            ("now-15m", NOON - 15 * minute),
            ("now - 15m", NOON - 15 * minute),
            ("now+1h30m", NOON + 90 * minute),
        ] {
            assert_eq!(parse(text, NOON), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_time_is_told_what_is_wrong() {
        for (text, reason) in [
            ("", "write it as"),
            ("yesterday", "write it as"),
            ("2026-02-30T00:00:00Z", "no day 2026-02-30"),
            ("2026-13-01T00:00:00Z", "no day"),
            ("2026-11-21T24:00:00Z", "no time of day 24:00:00"),
            ("2026-11-21T12:60:00Z", "no time of day"),
            ("2026-11-21T12:00:61Z", "no time of day"),
            ("2026-11-21T12:00:00+25:00", "no offset +25:00"),
            ("2026-11-21T12:00:00+1", "no offset"),
            ("2026-11-21T12:00:00.Z", "no fraction"),
            ("2026-11-21T12:00:00ZZ", "no offset"),
            ("9999-01-01T00:00:00Z", "outside the years"),
            ("10000-01-01T00:00:00Z", "write it as"),
            ("1677-01-01T00:00:00Z", "outside the years"),
            ("99999999999999999999", "as Unix nanoseconds"),
            ("now-", "write it as 90d"),
            ("now-15", "lacks its unit"),
            ("now*2", "after `now`"),
            ("now-99999999w", "longer than 292 years"),
            ("💥💥💥💥", "write it as"),
        ] {
            let error = parse(text, NOON).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_number_of_an_event_counts_in_the_unit_of_its_magnitude() {
        for (text, expected) in [
            ("1795262400", NOON),
            ("1795262400000", NOON),
            ("1795262400000000", NOON),
            ("1795262400000000000", NOON),
            ("1795262400.5", NOON + 500_000_000),
            ("1795262400.123456789", NOON + 123_456_789),
            ("1795262400000.25", NOON + 250_000),
            ("1.7952624e9", NOON),
            ("2026-11-21T12:00:00Z", NOON),
            ("2026-11-21", NOON - 43_200_000_000_000),
        ] {
            assert_eq!(parse_event(text), Ok(expected), "{text}");
        }
        for text in ["0", "-1", "1e300", "now", "", ".", "NaN", "inf", "1795262400.x", "2026-02-30", "1.2.3", "--1"] {
            let error = parse_event(text);
            assert!(error.is_err(), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_duration_is_a_sum_of_numbers_with_units() {
        for (text, expected) in [
            ("0", 0),
            ("90d", 7_776_000_000_000_000),
            ("15m", 900_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("2w", 1_209_600_000_000_000),
            ("1y", 31_536_000_000_000_000),
            ("5ms", 5_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("9ns", 9),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["", "5", "m", "-5m", "1.5h", "5 m", "5x", "99999999999999999999s", "300y", "💥"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(time: i64) {
            let text = format(time);
            prop_assert_eq!(text.len(), "2026-11-21T12:00:00.000000000Z".len());
            prop_assert_eq!(parse(&text, 0), Ok(time));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            drop((parse(&text, 0), parse_event(&text), parse_duration(&text)));
        }

        #[test]
        fn no_almost_time_panics(text in "[0-9TZ:+.e -]{0,40}") {
            drop((parse(&text, 0), parse_event(&text), parse_duration(&text)));
        }
    }
}
