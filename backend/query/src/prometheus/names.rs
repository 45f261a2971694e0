//! OpenTelemetry's names as Prometheus' (OpenTelemetry's compatibility specification, "OTLP Metric points to Prometheus").

use std::borrow::Cow;

/// A metric's name with its unit, and `_total` where it counts: `http.server.request.duration` in `s` becomes
/// `http_server_request_duration_seconds`.
pub(super) fn metric(name: &str, unit: &str, monotonic_sum: bool, gauge: bool) -> String {
    let mut words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .filter(|w| !w.is_empty())
        .map(Into::into)
        .collect();
    if monotonic_sum {
        words.retain(|word| word != "total");
    }
    for word in unit_words(unit, gauge) {
        if !words.contains(&word) {
            words.push(word);
        } else if word == "ratio" || word == "percent" {
            words.retain(|w| *w != word);
            words.push(word);
        }
    }
    if monotonic_sum {
        words.push("total".into());
    }
    let mut text = words.join("_");
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '_');
    }
    text
}

/// The words of a unit (UCUM): `By/s` is bytes, per, second.
fn unit_words(unit: &str, gauge: bool) -> Vec<String> {
    if unit == "1" {
        return if gauge { vec!["ratio".into()] } else { Vec::new() };
    }
    let (of, per) = unit.split_once('/').map_or((unit, None), |(of, per)| (of, Some(per)));
    let clean = |part: &str| -> String {
        let part = part.trim();
        let known = word(part);
        if part.contains(['{', '}']) {
            return String::new();
        }
        let text: Cow<'_, str> = known.map_or_else(|| part.into(), Into::into);
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("_")
    };
    let mut words: Vec<String> = Some(clean(of)).filter(|word| !word.is_empty()).into_iter().collect();
    if let Some(per) = per {
        let per = singular(per.trim()).map_or_else(|| clean(per), str::to_owned);
        if !per.is_empty() {
            words.push("per".into());
            words.push(per);
        }
    }
    words
}

fn word(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        _ => return None,
    })
}

fn singular(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        _ => return None,
    })
}

/// An attribute's key as a label's name.
pub(super) fn label(key: &str) -> Cow<'_, str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit = key.starts_with(|c: char| c.is_ascii_digit());
    if !digit && key.chars().all(valid) {
        return key.into();
    }
    let text: String = key.chars().map(|c| if valid(c) { c } else { '_' }).collect();
    if digit { format!("key_{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_compatibility_specification() {
        for (name, unit, monotonic, gauge, want) in [
            ("http.server.request.duration", "s", false, false, "http_server_request_duration_seconds"),
            ("http.server.active_requests", "{request}", false, false, "http_server_active_requests"),
            ("system.network.io", "By", true, false, "system_network_io_bytes_total"),
            ("requests_total", "", true, false, "requests_total"),
            ("a.total.b", "1", true, false, "a_b_total"),
            ("system.cpu.utilization", "1", false, true, "system_cpu_utilization_ratio"),
            ("speed", "m/s", false, true, "speed_meters_per_second"),
            ("rate", "By/s", false, true, "rate_bytes_per_second"),
            ("disk.seconds", "s", false, true, "disk_seconds"),
            ("1.x", "", false, true, "_1_x"),
            ("up", "", false, true, "up"),
            ("job:rate:sum", "", false, true, "job:rate:sum"),
        ] {
            assert_eq!(metric(name, unit, monotonic, gauge), want, "{name} in {unit:?}");
        }
    }

    #[test]
    fn keys_become_label_names() {
        for (key, want) in
            [("http.route", "http_route"), ("a-b", "a_b"), ("ok_1", "ok_1"), ("1a", "key_1a"), ("ä", "_")]
        {
            assert_eq!(label(key), want);
        }
    }
}
