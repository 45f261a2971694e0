//! Parameters of Prometheus' API: of the query string, and of a form in the body.

use std::time::Duration;

use axum::{
    body,
    extract::Request,
    http::{Method, header},
};
use jiff::Timestamp;

use super::{Failure, LOOKBACK_MAX};

/// Bytes of a form.
const FORM_BYTES: usize = 256 << 10;
/// Times before and after it are none, ms since the epoch: what a timestamp in ns can hold.
const TIME_MAX: f64 = 9.2e12;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

/// ms since the epoch.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Parameters {
    pub(super) async fn read(request: Request) -> Result<Self, Failure> {
        let (parts, content) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if parts.method == Method::POST {
            let kind =
                parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !kind.starts_with("application/x-www-form-urlencoded") {
                return Err(Failure::bad_data("POST takes parameters as application/x-www-form-urlencoded"));
            }
            let bytes = body::to_bytes(content, FORM_BYTES).await;
            let bytes = bytes.map_err(|error| Failure::bad_data(format!("cannot read the form: {error}")))?;
            pairs.extend(url::form_urlencoded::parse(&bytes).into_owned());
        }
        Ok(Self(pairs))
    }

    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn query(&self) -> Result<&str, Failure> {
        self.one("query")
            .ok_or_else(|| Failure::parameter("query", "unknown position: parse error: no expression found in input"))
    }

    /// A time, ms since the epoch.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.one(name)
            .map(|text| {
                time(text)
                    .ok_or_else(|| Failure::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
            })
            .transpose()
    }

    pub(super) fn needed_time(&self, name: &str) -> Result<i64, Failure> {
        self.time(name)?.ok_or_else(|| Failure::parameter(name, "cannot parse \"\" to a valid timestamp"))
    }

    /// `start` and `end`, where they are missing the last `back` ms.
    pub(super) fn range(&self, back: i64) -> Result<(i64, i64), Failure> {
        let end = self.time("end")?.unwrap_or_else(now);
        let start = self.time("start")?.unwrap_or(end - back);
        if end < start {
            return Err(Failure::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok((start, end))
    }

    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let parsed = self.one(name).map(|text| {
            let duration = duration(text).filter(|duration| *duration <= LOOKBACK_MAX);
            duration.ok_or_else(|| Failure::parameter(name, format!("cannot parse {text:?} to a valid duration")))
        });
        parsed.transpose()
    }

    /// `limit`; 0 and none mean no limit.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        self.count("limit")
    }

    pub(super) fn count(&self, name: &str) -> Result<usize, Failure> {
        let Some(text) = self.one(name) else { return Ok(usize::MAX) };
        match text.parse::<usize>() {
            Ok(0) => Ok(usize::MAX),
            Ok(count) => Ok(count),
            Err(error) => Err(Failure::parameter(name, format!("cannot parse {text:?}: {error}"))),
        }
    }
}

/// Unix seconds or RFC 3339, as ms.
fn time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return (ms.abs() <= TIME_MAX).then_some(ms as i64);
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Seconds, or `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut total, mut rest, mut last) = (0_u64, text, usize::MAX);
    const UNITS: [(&str, u64); 7] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("y", 31_536_000_000),
    ];
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let at = UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at < last)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(UNITS[at].1)?)?;
        (rest, last) = (after, at);
    }
    (last != usize::MAX).then(|| Duration::from_millis(total))
}

/// A label's name from a path: `U__` before one whose other characters stand between underscores as hexadecimal numbers.
pub(super) fn unescaped(name: &str) -> Result<String, Failure> {
    let Some(escaped) = name.strip_prefix("U__") else {
        return if name.is_empty() { Err(Failure::bad_data("invalid label name: \"\"")) } else { Ok(name.to_owned()) };
    };
    let (mut plain, mut rest) = (String::new(), escaped);
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let bad = || Failure::bad_data(format!("invalid label name: {name:?}"));
        let end = rest.find('_').ok_or_else(bad)?;
        plain.push(u32::from_str_radix(&rest[..end], 16).ok().and_then(char::from_u32).ok_or_else(bad)?);
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_written_with_units() {
        for (text, ms) in [
            ("15", Some(15_000)),
            ("0.5", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("5m", Some(300_000)),
            ("1d", Some(86_400_000)),
            ("30m1h", None),
            ("5", Some(5000)),
            ("m", None),
            ("5x", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), ms, "{text:?}");
        }
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("1.5", Some(1500)),
            ("1970-01-01T00:00:02Z", Some(2000)),
            ("2015-07-01T20:10:51.781+02:00", Some(1_435_774_251_781)),
            ("1e30", None),
            ("now", None),
        ] {
            assert_eq!(time(text), ms, "{text}");
        }
    }

    #[test]
    fn label_names_in_paths_may_be_escaped() {
        assert_eq!(unescaped("job").unwrap(), "job");
        assert_eq!(unescaped("U__http_2e_route").unwrap(), "http.route");
        assert_eq!(unescaped("U__a__b").unwrap(), "a_b");
        assert!(unescaped("U__a_zz_").is_err());
    }
}
