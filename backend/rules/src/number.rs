//! Numbers as Go writes them: what Prometheus puts into texts and answers.

/// `NaN`, `+Inf` or `-Inf`, where the number is one of them.
fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    value.is_infinite().then_some(if value > 0.0 { "+Inf" } else { "-Inf" })
}

/// Rust's `1.5e-7` with two digits and a sign in the exponent.
fn exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn power(text: &str) -> i32 {
    text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0)
}

/// The fewest digits that read back equal (`%v`): 1, 0.1, 1e+06.
pub fn shortest(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    if value != 0.0 && !(-4..6).contains(&power(&scientific)) { exponent(&scientific) } else { format!("{value}") }
}

/// The same with an exponent always (`%e` with no precision): `1e+00`.
pub fn scientific(value: f64) -> String {
    special(value).map_or_else(|| exponent(&format!("{value:e}")), str::to_owned)
}

/// So many significant digits, without zeros at the end (`%.4g`).
pub fn significant(value: f64, digits: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let digits = digits.clamp(1, 100);
    let scientific = format!("{value:.*e}", digits - 1);
    let power = power(&scientific);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if value != 0.0 && !(-4..digits as i32).contains(&power) {
        let (mantissa, rest) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{rest}", trimmed(mantissa)));
    }
    let after = usize::try_from(digits as i32 - 1 - power).unwrap_or(0);
    trimmed(&format!("{value:.after$}"))
}

/// With a fixed number of digits after the point (`%.2f`).
pub fn fixed(value: f64, digits: usize) -> String {
    special(value).map_or_else(|| format!("{value:.*}", digits.min(100)), str::to_owned)
}

/// With an exponent and a fixed number of digits after the point (`%.2e`).
pub fn fixed_scientific(value: f64, digits: usize) -> String {
    special(value).map_or_else(|| exponent(&format!("{value:.*e}", digits.min(100))), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, v, e, g4) in [
            (0.0, "0", "0e+00", "0"),
            (1.0, "1", "1e+00", "1"),
            (0.1, "0.1", "1e-01", "0.1"),
            (12_345.678, "12345.678", "1.2345678e+04", "1.235e+04"),
            (0.000_01, "1e-05", "1e-05", "1e-05"),
            (999_999.0, "999999", "9.99999e+05", "1e+06"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06", "1.235e+06"),
            (1e21, "1e+21", "1e+21", "1e+21"),
            (999.96, "999.96", "9.9996e+02", "1000"),
            (9999.5, "9999.5", "9.9995e+03", "1e+04"),
            (-2.5, "-2.5", "-2.5e+00", "-2.5"),
            (f64::NAN, "NaN", "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
        ] {
            assert_eq!((shortest(value).as_str(), scientific(value).as_str()), (v, e));
            assert_eq!(significant(value, 4), g4, "{value}");
        }
        assert_eq!((fixed(2.0 / 3.0, 2).as_str(), fixed_scientific(1234.5, 1).as_str()), ("0.67", "1.2e+03"));
    }
}
