//! The text formats: Prometheus' 0.0.4 and 1.0.0, and OpenMetrics 1.0.
//!
//! A line that is none refuses the whole scrape, as Prometheus does: half an exposition is no measurement. Written here and
//! not taken from a crate: the one at hand passes over what it does not understand, knows neither OpenMetrics' exemplars
//! nor quoted names, and makes a map of every series at every scrape, where most are known by their text.

use std::{borrow::Cow, collections::HashMap};

use super::{
    number,
    sample::{Entry, OwnExemplar, Owned, ParseError, Scraped, Value},
};
use crate::prometheus::{About, Type};

/// Which text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain`.
    Plain,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

type Result<T> = std::result::Result<T, &'static str>;

/// Reads an exposition.
///
/// # Errors
/// The first line that is none.
pub(super) fn parse(body: &[u8], format: Format) -> std::result::Result<Scraped<'_>, ParseError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let line = body.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        ParseError { line, message: "it is no UTF-8" }
    })?;
    let mut reading = Reading { format, out: Scraped::default(), families: HashMap::new(), ended: false };
    let mut rest = text;
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let failed = |message| ParseError { line, message };
        let (one, after) = match rest.split_once('\n') {
            Some(parts) => parts,
            None if format == Format::OpenMetrics && rest == "# EOF" => (rest, ""),
            None => return Err(failed("the line is cut off")),
        };
        rest = after;
        reading.line(one).map_err(failed)?;
        if let Some(entry) = reading.out.entries.last_mut().filter(|entry| entry.line == 0) {
            entry.line = line;
        }
    }
    if format == Format::OpenMetrics && !reading.ended {
        return Err(ParseError { line, message: "# EOF is missing: the text is cut off" });
    }
    Ok(reading.finish())
}

struct Reading<'a> {
    format: Format,
    out: Scraped<'a>,
    families: HashMap<&'a str, Family<'a>>,
    ended: bool,
}

#[derive(Default)]
struct Family<'a> {
    kind: Option<Type>,
    help: Option<Cow<'a, str>>,
    unit: Option<&'a str>,
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a str) -> Result<()> {
        let open = self.format == Format::OpenMetrics;
        if self.ended {
            return Err("there is more after # EOF");
        }
        let line = if open { line } else { blanks(line) };
        match line.as_bytes().first() {
            None if open => Err("a blank line"),
            None => Ok(()),
            Some(b'#') => self.comment(&line[1..]),
            Some(_) => self.sample(line),
        }
    }

    fn comment(&mut self, comment: &'a str) -> Result<()> {
        let open = self.format == Format::OpenMetrics;
        if open && comment == " EOF" {
            self.ended = true;
            return Ok(());
        }
        let text = blanks(comment);
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let known = matches!(word, "HELP" | "TYPE") || (open && word == "UNIT");
        if !known || text.len() == comment.len() {
            return if open { Err("no such comment in OpenMetrics: HELP, TYPE, UNIT, EOF") } else { Ok(()) };
        }
        let rest = blanks(rest);
        let (name, rest) = family_name(rest)?;
        let family = self.families.entry(name).or_default();
        // The first one is meant where there are several.
        match word {
            "HELP" => drop(family.help.get_or_insert_with(|| unescape(blanks(rest), open))),
            "TYPE" => drop(family.kind.get_or_insert(kind(rest.trim_matches([' ', '\t'])))),
            _ => {
                let unit = rest.trim_matches(' ');
                let suffix = name.strip_suffix(unit).is_some_and(|stem| stem.is_empty() || stem.ends_with('_'));
                if !unit.is_empty() && !suffix {
                    return Err("a unit has to be the end of the metric's name");
                }
                family.unit.get_or_insert(unit);
            }
        }
        Ok(())
    }

    fn sample(&mut self, line: &'a str) -> Result<()> {
        let open = self.format == Format::OpenMetrics;
        let end = series_end(line)?;
        let (series, rest) = line.split_at(end);
        let (name, labelled) = bare_name(series);
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        let kind = self.families.get(base).and_then(|family| family.kind).unwrap_or_default();
        let mut entry = Entry::new(series, if labelled { kind } else { Type::Unknown });
        let rest = if open { one_blank(rest)? } else { blanks(rest) };
        let (value, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        entry.value = Value::Number(number::float(value).ok_or("a value that is no number")?);
        let rest = if open { rest } else { blanks(rest) };
        let (time, rest) = match rest.as_bytes().first() {
            None | Some(b'#') => ("", rest),
            Some(_) => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        if !time.is_empty() {
            let read = if open { number::seconds(time) } else { time.parse().ok() };
            entry.time = Some(read.ok_or("a timestamp that is none")?);
        }
        if open && rest.starts_with('#') {
            entry.exemplars.push(exemplar(&rest[1..])?);
        } else if !blanks(rest).is_empty() || (open && !rest.is_empty()) {
            return Err("there is more after the value and its time");
        }
        self.out.entries.push(entry);
        Ok(())
    }

    fn finish(mut self) -> Scraped<'a> {
        let said = self.families.into_iter().map(|(name, family)| {
            let help = family.help.unwrap_or_default();
            let about = About::new(family.kind.unwrap_or_default(), &help, family.unit.unwrap_or_default()).owned();
            (name.to_owned(), about)
        });
        self.out.families.extend(said);
        self.out
    }
}

/// The type of its name; one that nobody knows is unknown.
fn kind(name: &str) -> Type {
    match name {
        "counter" => Type::Counter,
        "gauge" => Type::Gauge,
        "histogram" => Type::Histogram,
        "gaugehistogram" => Type::GaugeHistogram,
        "summary" => Type::Summary,
        "info" => Type::Info,
        "stateset" => Type::StateSet,
        _ => Type::Unknown,
    }
}

fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn one_blank(text: &str) -> Result<&str> {
    text.strip_prefix(' ').filter(|rest| !rest.starts_with(' ')).ok_or("one space has to stand before a value")
}

/// The name in a HELP, TYPE or UNIT line, and what stands behind it.
fn family_name(text: &str) -> Result<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        // A name with escapes is looked up under its escaped form only here: nothing but its help would be lost.
        let end = quoted_end(quoted).ok_or("a quoted name does not end")?;
        return Ok((&quoted[..end], &quoted[end + 1..]));
    }
    let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if name.is_empty() { Err("a comment without a metric's name") } else { Ok((name, rest)) }
}

/// Where the series at the beginning of a line ends.
fn series_end(line: &str) -> Result<usize> {
    let bytes = line.as_bytes();
    let name = bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count();
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return Err("a metric's name does not begin with a digit");
    }
    let open = name + (line.len() - name - blanks(&line[name..]).len());
    if bytes.get(open) != Some(&b'{') {
        return if name == 0 { Err("a line that is no sample") } else { Ok(name) };
    }
    let mut at = open + 1;
    let mut quoted = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(at + 1),
            _ => {}
        }
        at += 1;
    }
    Err("the labels do not end")
}

/// The name before the labels, and whether there are any.
fn bare_name(series: &str) -> (&str, bool) {
    let (name, labels) = series.split_once('{').map_or((series, false), |(name, _)| (name, true));
    (name.trim_end_matches([' ', '\t']), labels)
}

/// The labels of a series' text, with its name among them.
///
/// # Errors
/// It is none.
pub(super) fn labels(series: &str, kind: Type) -> Result<Owned> {
    let (name, labelled) = bare_name(series);
    let mut all = Owned::new();
    if !name.is_empty() {
        all.push(("__name__".to_owned(), name.to_owned()));
    }
    if labelled {
        let (_, inside) = series.split_once('{').unwrap_or_default();
        let rest = pairs(inside, kind, &mut all)?;
        if !rest.is_empty() {
            return Err("there is more after the labels");
        }
    }
    if !all.iter().any(|(name, _)| name == "__name__") {
        return Err("a sample without a metric's name");
    }
    all.sort_unstable();
    match all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        true => Err("a label is there twice"),
        false => Ok(all),
    }
}

/// Reads `name="value",…}`, also `"a metric's name",…}`, and answers what stands behind it.
fn pairs<'t>(text: &'t str, kind: Type, out: &mut Owned) -> Result<&'t str> {
    let mut rest = blanks(text);
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after, quoted) = label_name(rest)?;
        let after = blanks(after);
        if let Some(value) = after.strip_prefix('=') {
            let value = blanks(value).strip_prefix('"').ok_or("a label's value has to be quoted")?;
            let end = quoted_end(value).ok_or("a label's value does not end")?;
            let text = unescape(&value[..end], true);
            out.push((name.clone().into_owned(), canonical(&name, text, kind)));
            rest = &value[end + 1..];
        } else if quoted {
            if name.is_empty() {
                return Err("an empty metric's name");
            }
            out.push(("__name__".to_owned(), name.into_owned()));
            rest = after;
        } else {
            return Err("a label without a value");
        }
        rest = blanks(rest);
        match rest.strip_prefix(',') {
            Some(after) => rest = blanks(after),
            None if rest.starts_with('}') => {}
            None => return Err("a comma has to stand between labels"),
        }
    }
}

/// A label's name, what stands behind it, and whether it was quoted.
fn label_name(text: &str) -> Result<(Cow<'_, str>, &str, bool)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = quoted_end(quoted).ok_or("a quoted name does not end")?;
        return Ok((unescape(&quoted[..end], true), &quoted[end + 1..], true));
    }
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if length == 0 || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a label's name is none");
    }
    Ok((text[..length].into(), &text[length..], false))
}

/// Where a quoted text ends, from behind its first quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

/// Without escapes: `\\`, `\n`, and `\"` where quotes are escaped. Another one is what it says.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out.into()
}

/// A bound as OpenMetrics writes it, where the label is one.
pub(super) fn canonical(name: &str, value: Cow<'_, str>, kind: Type) -> String {
    let bound = match kind {
        Type::Histogram => name == "le",
        Type::Summary => name == "quantile",
        _ => false,
    };
    match bound.then(|| number::float(&value)).flatten() {
        Some(number) => number::canonical(number),
        None => value.into_owned(),
    }
}

/// `{labels} value [seconds]`, behind the `#`.
fn exemplar(text: &str) -> Result<OwnExemplar> {
    let text = one_blank(text)?.strip_prefix('{').ok_or("an exemplar has to begin with its labels")?;
    let mut labels = Owned::new();
    let rest = one_blank(pairs(text, Type::Unknown, &mut labels)?)?;
    let (value, time) = rest.split_once(' ').unwrap_or((rest, ""));
    let value = number::float(value).ok_or("the value of an exemplar is no number")?;
    let time =
        (!time.is_empty()).then(|| number::seconds(time).ok_or("the timestamp of an exemplar is none")).transpose()?;
    let length: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    const CHARS: usize = 128;
    if length > CHARS {
        return Err("the labels of an exemplar have more than 128 characters");
    }
    Ok(OwnExemplar { labels, value, time })
}

#[cfg(test)]
mod tests {
    use super::{super::sample::Name, *};

    /// Series, value and time of each sample.
    fn read(text: &str, format: Format) -> std::result::Result<Vec<(String, f64, Option<i64>)>, ParseError> {
        let parsed = parse(text.as_bytes(), format)?;
        let one = |entry: &Entry<'_>| {
            let Name::Text(text, kind) = &entry.name else { panic!("no text") };
            let labels = labels(text, *kind).map_err(|message| ParseError { line: entry.line, message })?;
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let Value::Number(value) = entry.value else { panic!("no number") };
            Ok((labels.join(","), value, entry.time))
        };
        parsed.entries.iter().map(one).collect()
    }

    #[test]
    fn plain_text_is_read_as_prometheus_reads_it() {
        for (text, want) in [
            ("up 1\n", Some(("__name__=up", 1.0, None))),
            ("  up\t1   \n", Some(("__name__=up", 1.0, None))),
            ("up 1 1700000000000\n", Some(("__name__=up", 1.0, Some(1_700_000_000_000)))),
            ("up 1 -5\n", Some(("__name__=up", 1.0, Some(-5)))),
            ("up{} 1\n", Some(("__name__=up", 1.0, None))),
            ("up { a = \"b\" , } 1\n", Some(("__name__=up,a=b", 1.0, None))),
            ("up{a=\"x\\\\y\\\"z\\nw\\q\"} 1\n", Some(("__name__=up,a=x\\y\"z\nw\\q", 1.0, None))),
            ("up{a=\"}\",b=\"#\"} 1\n", Some(("__name__=up,a=},b=#", 1.0, None))),
            ("{\"my.metric\",\"label.one\"=\"v\"} 2\n", Some(("__name__=my.metric,label.one=v", 2.0, None))),
            ("a:b:c -Inf\n", Some(("__name__=a:b:c", f64::NEG_INFINITY, None))),
            ("# a comment\n\n#TYPE x y\n# TYPE\tx counter\nx 1\n", Some(("__name__=x", 1.0, None))),
            ("up 1", None),
            ("up 1\r\n", None),
            ("foo{a=\"b} 1\n", None),
            ("foo{} \n", None),
            ("{} 1\n", None),
            ("foo{a} 1\n", None),
            ("foo 1 2 3\n", None),
            ("foo 0x1\n", None),
            ("foo 1e999\n", None),
            ("foo{a=b} 1\n", None),
            ("foo{,} 1\n", None),
            ("foo{a=\"1\",a=\"2\"} 1\n", None),
            ("foo{__name__=\"bar\"} 1\n", None),
            ("foo{a=\"1\"b=\"2\"} 1\n", None),
            ("foo{a=\"1\"}x 1\n", None),
            ("1foo 1\n", None),
            ("<html>\n", None),
            ("foo 1 # {a=\"b\"} 1\n", None),
            ("foo 1 1.5\n", None),
            ("fo\u{e9} 1\n", None),
        ] {
            let want = want.map(|(labels, value, time)| vec![(labels.to_owned(), value, time)]);
            assert_eq!(read(text, Format::Plain).ok(), want, "{text:?}");
        }
        let error = parse(b"a 1\nb{c=\"\xff\"} 1\n", Format::Plain).unwrap_err();
        assert_eq!(error, ParseError { line: 2, message: "it is no UTF-8" });
        assert_eq!(read("a 1\nb x\n", Format::Plain).unwrap_err().line, 2);
    }

    #[test]
    fn openmetrics_is_strict_and_has_exemplars_and_seconds() {
        let text = "# TYPE took histogram\n# UNIT took_seconds seconds\n# HELP took how \\\"long\\\"\ntook_bucket{le=\"1\"} 3 1.5 # \
                    {trace_id=\"a b\"} 0.5 1.25\ntook_count 3\n# EOF\n";
        let parsed = parse(text.as_bytes(), Format::OpenMetrics).unwrap();
        let labels: Owned = vec![("trace_id".to_owned(), "a b".to_owned())];
        assert_eq!(parsed.entries[0].exemplars, [OwnExemplar { labels, value: 0.5, time: Some(1250) }]);
        assert_eq!(parsed.entries[0].time, Some(1500));
        let about = |name: &str| parsed.families.iter().find(|(family, _)| family == name).unwrap().1.clone();
        assert_eq!((about("took").kind, about("took").help), (Type::Histogram, "how \"long\"".into()));
        assert_eq!(about("took_seconds").unit, "seconds");
        let series = read(text, Format::OpenMetrics).unwrap();
        assert_eq!(series[0].0, "__name__=took_bucket,le=1.0", "a bound has one form");
        for bad in [
            "a 1\n",
            "a 1\n# EOF",
            "a 1\n# EOF\nb 1\n",
            "a 1\n\n# EOF\n",
            " a 1\n# EOF\n",
            "a  1\n# EOF\n",
            "# a comment\n# EOF\n",
            "# UNIT a seconds\n# EOF\n",
            "a 1 x\n# EOF\n",
            "a 1 # {a=\"b\"}\n# EOF\n",
            "a 1 # {a=\"b\"} x\n# EOF\n",
            "a 1 # b\n# EOF\n",
        ] {
            let cut = bad == "a 1\n# EOF";
            assert_eq!(parse(bad.as_bytes(), Format::OpenMetrics).is_ok(), cut, "{bad:?}");
        }
        let long = format!("a 1 # {{a=\"{}\"}} 1\n# EOF\n", "x".repeat(128));
        assert!(parse(long.as_bytes(), Format::OpenMetrics).is_err(), "an exemplar is short");
    }

    #[test]
    fn the_first_type_and_help_count_and_an_unknown_type_is_unknown() {
        let text = "# TYPE a counter\n# TYPE a gauge\n# HELP a one\n# HELP a two\n# TYPE b thing\na 1\nb 2\n";
        let parsed = parse(text.as_bytes(), Format::Plain).unwrap();
        let mut said: Vec<_> =
            parsed.families.iter().map(|(name, about)| (name.as_str(), about.kind, &*about.help)).collect();
        said.sort_by_key(|(name, ..)| *name);
        assert_eq!(said, [("a", Type::Counter, "one"), ("b", Type::Unknown, "")]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(bytes: Vec<u8>, text in "[a-z{}\"=,# \\\\\n0-9.]{0,60}") {
            for format in [Format::Plain, Format::OpenMetrics] {
                drop(parse(&bytes, format));
                for entry in parse(text.as_bytes(), format).map(|parsed| parsed.entries).unwrap_or_default() {
                    drop(labels(entry.name.key(), Type::Histogram));
                }
            }
        }
    }
}
