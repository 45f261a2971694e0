//! Numbers of the text formats: read as Go reads them, and written as OpenMetrics writes them in labels.

/// The bits of an ordinary NaN; another would be a stale marker or nothing known.
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// Reads a value. A number beyond a double's range is none, hexadecimal ones and underscores are none.
pub(super) fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        return Some(f64::from_bits(NAN));
    }
    let named = text.bytes().any(|byte| matches!(byte, b'i' | b'I'));
    (value.is_finite() || named).then_some(value)
}

/// Reads a timestamp in seconds as ms.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let ms = float(text)? * 1000.0;
    // Within these a double is exact, and they reach further than anybody's clock.
    (ms.abs() < 9e15).then_some(ms as i64)
}

/// A bound in the label `le` or `quantile`, so that `1` and `1.0` are one series (OpenMetrics, "Canonical Numbers").
pub(super) fn canonical(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    // `d.ddde±x`, the shortest digits that read back equal.
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_go_reads_them() {
        for (text, want) in [
            ("1", Some(1.0)),
            ("+1.5e3", Some(1500.0)),
            (".5", Some(0.5)),
            ("-0", Some(-0.0)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("1e999", None),
            ("0x1", None),
            ("0x1p-2", None),
            ("1_000", None),
            ("", None),
            ("1.0f", None),
        ] {
            assert_eq!(float(text), want, "{text}");
        }
        assert_eq!(float("NaN").map(f64::to_bits), Some(NAN));
        assert_eq!((seconds("1.5"), seconds("NaN"), seconds("1e300")), (Some(1500), None, None));
    }

    #[test]
    fn bounds_are_written_as_openmetrics_does() {
        for (value, want) in [
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (0.0, "0.0"),
            (0.005, "0.005"),
            (0.00001, "1e-05"),
            (0.0001, "0.0001"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (5e100, "5e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(canonical(value), want);
        }
    }
}
