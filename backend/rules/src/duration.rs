//! Lengths of time as Prometheus writes them: `1h30m`, the longer units first, `0` for none.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads one.
///
/// # Errors
/// It is none; the text is in the message.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a valid duration string: {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut total, mut rest, mut after) = (0_u64, text, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, more) = rest.split_at(digits);
        let letters = more.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, more) = more.split_at(letters);
        let at = UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= after).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_no_number| wrong())?;
        total = number.checked_mul(UNITS[at].1).and_then(|ms| ms.checked_add(total)).ok_or_else(wrong)?;
        (rest, after) = (more, at + 1);
    }
    // What ns since an epoch can hold.
    if after == 0 || total > i64::MAX as u64 / 1_000_000 { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// Writes one, in ms.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, ms) in UNITS {
        // Years and weeks only where they are whole, as 90d is no 12w6d.
        let whole = !matches!(unit, "y" | "w" | "d") || rest.is_multiple_of(ms);
        if whole && rest >= ms {
            text += &format!("{}{unit}", rest / ms);
            rest %= ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        for (text, ms) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("15s", Some(15_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("1m500ms", Some(60_500)),
            ("30m1h", None),
            ("1m1m", None),
            ("5", None),
            ("m", None),
            ("1.5h", None),
            ("-1s", None),
            ("", None),
            ("99999999999y", None),
        ] {
            assert_eq!(parse(text).ok().map(|d| d.as_millis()), ms, "{text:?}");
        }
        for text in ["90d", "15s", "1h30m", "1m500ms", "2w", "1y", "36h"] {
            assert_eq!(parse(&format(parse(text).unwrap())), parse(text), "{text}");
        }
        assert_eq!(format(Duration::from_secs(5400)), "1h30m");
    }
}
