//! Query parameters, read strictly: a name that the call does not know, a name given twice, a percent sign that begins
//! no byte and a text that is no UTF-8 are errors that name the parameter, since a filter that is silently ignored gives
//! a wrong answer.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::http::Uri;
use devmesh_schema::{TimestampNs, time};

use super::problem::Problem;

/// Rows of a list where the caller names no limit.
pub(crate) const LIMIT_DEFAULT: usize = 100;
/// Rows of a list at most; a higher limit is lowered to it, and the header `X-Limit-Applied` says so.
pub(crate) const LIMIT_MAX: usize = 10_000;
/// Rows that `offset` may skip: what lies deeper is found by `end_time`.
const OFFSET_MAX: usize = 1_000_000;
/// Bytes of a query string.
const QUERY_BYTES: usize = 8 << 10;

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    now: TimestampNs,
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampNs::try_from(since.as_nanos()).unwrap_or(TimestampNs::MAX)
}

impl Params {
    /// Reads the query string of a call that knows `known`; names in `repeatable` may come more than once.
    pub(crate) fn read(uri: &Uri, known: &[&str], repeatable: &[&str]) -> Result<Self, Problem> {
        let query = uri.query().unwrap_or_default();
        if query.len() > QUERY_BYTES {
            return Err(Problem::bad_request(format!("the query string is longer than {QUERY_BYTES} bytes")));
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name, "a name")?;
            let value = decode(value, &name)?;
            if !known.contains(&name.as_str()) && !repeatable.contains(&name.as_str()) {
                let all = [known, repeatable].concat().join(", ");
                return Err(Problem::bad_request(format!("there is no parameter `{name}` here; there are: {all}")));
            }
            if !repeatable.contains(&name.as_str()) && pairs.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad_request(format!("{name} is given twice")));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs, now: now() })
    }

    /// A text; `None` where it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a repeatable parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// An owned text.
    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A number, as the sender wrote it, within bounds; `None` where absent.
    pub(crate) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some((_, text)) = self.pairs.iter().find(|(other, _)| other == name) else { return Ok(None) };
        let wrong = || Problem::bad_request(format!("{name}: `{text}` is no whole number from {least} to {most}"));
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.filter(|number| (least..=most).contains(number)).map(Some).ok_or_else(wrong)
    }

    /// Rows wanted, and whether that is less than was asked for.
    pub(crate) fn limit(&self) -> Result<(usize, bool), Problem> {
        let asked = self.number("limit", 1, u64::from(u32::MAX))?;
        let asked = asked.map_or(LIMIT_DEFAULT, |number| usize::try_from(number).unwrap_or(usize::MAX));
        Ok((asked.min(LIMIT_MAX), asked > LIMIT_MAX))
    }

    /// Rows to skip.
    pub(crate) fn offset(&self) -> Result<usize, Problem> {
        let offset = self.number("offset", 0, OFFSET_MAX as u64)?;
        Ok(offset.map_or(0, |number| usize::try_from(number).unwrap_or(OFFSET_MAX)))
    }

    /// Milliseconds: a decimal number that is not negative.
    pub(crate) fn milliseconds(&self, name: &str) -> Result<Option<f64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (0.0..1e12).contains(number));
        number.map(Some).ok_or_else(|| Problem::bad_request(format!("{name}: `{text}` is no number of milliseconds")))
    }

    fn time(&self, name: &str) -> Result<Option<TimestampNs>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        time::parse(text, self.now).map(Some).map_err(|error| Problem::bad_request(format!("{name}: {error}")))
    }

    /// `start_time` to `end_time`; what is absent is unbounded.
    pub(crate) fn range(&self) -> Result<Range<TimestampNs>, Problem> {
        self.range_of("start_time", "end_time")
    }

    /// The same by other names.
    pub(crate) fn range_of(&self, start_name: &str, end_name: &str) -> Result<Range<TimestampNs>, Problem> {
        let (start, end) = (self.time(start_name)?, self.time(end_name)?);
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(Problem::bad_request(format!("{start_name} lies after {end_name}")));
        }
        Ok(start.unwrap_or(TimestampNs::MIN)..end.unwrap_or(TimestampNs::MAX))
    }
}

/// Decodes `%41` and `+` (application/x-www-form-urlencoded).
fn decode(text: &str, name: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(Problem::bad_request(format!("{name}: a % is not followed by two hex digits")));
                };
                bytes.push((high * 16 + low) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_error| Problem::bad_request(format!("{name}: it is no UTF-8")))?;
    if text.contains('\0') {
        return Err(Problem::bad_request(format!("{name}: it holds a NUL")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, Problem> {
        let uri: Uri = format!("/query/logs?{query}").parse().unwrap();
        Params::read(&uri, &["service", "limit", "offset", "start_time", "end_time", "min_duration_ms"], &["attribute"])
    }

    #[test]
    fn what_is_right_is_read() {
        let params =
            read("service=a%20b%2Bc+d&limit=5&attribute=a=b&attribute=c=d&start_time=now-1h&end_time=now").unwrap();
        assert_eq!(params.text("service"), Some("a b+c d"));
        assert_eq!(params.limit().unwrap(), (5, false));
        assert_eq!(params.all("attribute").collect::<Vec<_>>(), ["a=b", "c=d"]);
        let range = params.range().unwrap();
        assert_eq!(range.end - range.start, 3_600_000_000_000);
        assert_eq!(read("").unwrap().limit().unwrap(), (LIMIT_DEFAULT, false));
        assert_eq!(read("limit=1000000000").unwrap().limit().unwrap(), (LIMIT_MAX, true));
        assert_eq!(read("min_duration_ms=1.5").unwrap().milliseconds("min_duration_ms").unwrap(), Some(1.5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for query in
            ["limit=-1", "limit=0", "limit=abc", "limit=99999999999999999999", "limit=10.5", "limit=", "limit=%2b1"]
        {
            let problem = read(query).unwrap().limit().unwrap_err();
            assert!(problem.detail().contains("limit"), "{query}: {}", problem.detail());
        }
        for query in
            ["limit=1&limit=2", "servic=x", "service=%zz", "service=%f", "service=%ff", "service=%00", "offset=1&x"]
        {
            assert!(read(query).is_err(), "{query}");
        }
        for query in
            ["start_time=NaN", "start_time=now&end_time=now-1d", "end_time=yesterday", "start_time=300000-01-01"]
        {
            assert!(read(query).unwrap().range().is_err(), "{query}");
        }
        for query in ["min_duration_ms=-1", "min_duration_ms=NaN", "min_duration_ms=1e300"] {
            assert!(read(query).unwrap().milliseconds("min_duration_ms").is_err(), "{query}");
        }
        let long = format!("service={}", "a".repeat(QUERY_BYTES));
        assert!(read(&long).is_err());
    }
}
