//! Times and lengths of time in templates.

use jiff::{Timestamp, tz::TimeZone};

use crate::number;

fn utc(ns: i64) -> jiff::Zoned {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC)
}

/// As Go prints a time: `2015-07-01 20:10:51.781 +0000 UTC`.
pub(super) fn text(ns: i64) -> String {
    let whole = utc(ns).strftime("%Y-%m-%d %H:%M:%S").to_string();
    format!("{whole}{} +0000 UTC", fraction(ns))
}

fn fraction(ns: i64) -> String {
    match ns.rem_euclid(1_000_000_000) {
        0 => String::new(),
        rest => format!(".{rest:09}").trim_end_matches('0').to_owned(),
    }
}

/// As Go prints a length of time: `1h0m0.5s`.
pub(super) fn duration(ns: i64) -> String {
    let (sign, rest) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
    let seconds = rest as f64 / 1e9;
    let text = match rest {
        0 => "0s".to_owned(),
        1..1_000 => format!("{rest}ns"),
        1_000..1_000_000 => format!("{}µs", number::shortest(rest as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", number::shortest(rest as f64 / 1e6)),
        _ => {
            let (hours, minutes) = (rest / 3_600_000_000_000, rest / 60_000_000_000 % 60);
            let left = seconds - (rest / 60_000_000_000 * 60) as f64;
            let left = number::shortest((left * 1e9).round() / 1e9);
            match (hours, minutes) {
                (0, 0) => format!("{left}s"),
                (0, _) => format!("{minutes}m{left}s"),
                _ => format!("{hours}h{minutes}m{left}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// The parts of Go's reference time, longest first where one begins another, as `strftime` has them.
const LAYOUT: [(&str, &str); 22] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("-07:00", "+00:00"),
    ("Z07:00", "Z"),
    ("-0700", "+0000"),
    ("2006", "%Y"),
    ("MST", "UTC"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("000", "%3f"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("_2", "%e"),
];

/// A time in one of Go's layouts, in UTC.
pub(super) fn format(ns: i64, layout: &str) -> String {
    let (mut pattern, mut rest) = (String::new(), layout);
    while let Some(first) = rest.chars().next() {
        if let Some((part, with)) = LAYOUT.iter().find(|(part, _)| rest.starts_with(part)) {
            pattern.push_str(with);
            rest = &rest[part.len()..];
            continue;
        }
        pattern.push(first);
        if first == '%' {
            pattern.push('%');
        }
        rest = &rest[first.len_utf8()..];
    }
    utc(ns).strftime(&pattern).to_string()
}

/// A method of a time.
pub(super) fn method(ns: i64, name: &str) -> Option<i64> {
    let time = utc(ns);
    Some(match name {
        "Unix" => ns.div_euclid(1_000_000_000),
        "UnixMilli" => ns.div_euclid(1_000_000),
        "UnixNano" => ns,
        "Year" => i64::from(time.year()),
        "Month" => i64::from(time.month()),
        "Day" => i64::from(time.day()),
        "Hour" => i64::from(time.hour()),
        "Minute" => i64::from(time.minute()),
        "Second" => i64::from(time.second()),
        _ => return None,
    })
}
