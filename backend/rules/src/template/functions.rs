//! The functions that templates may call: Go's own, and Prometheus'.

use std::{cmp::Ordering, net::IpAddr, sync::Arc};

use regex::{Captures, RegexBuilder};

use super::{
    printf::printf,
    run::Run,
    value::{Sample, Value},
};
use crate::{duration, number};

/// Bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

const NAMES: [&str; 47] = [
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "println",
    "printf",
    "html",
    "js",
    "urlquery",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "args",
    "reReplaceAll",
    "safeHtml",
    "match",
    "title",
    "toUpper",
    "toLower",
    "graphLink",
    "tableLink",
    "sortByLabel",
    "stripPort",
    "stripDomain",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "pathPrefix",
    "externalURL",
    "parseDuration",
    "urlQueryEscape",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

type Done = Result<Value, String>;

fn count<const N: usize>(args: Vec<Value>) -> Result<[Value; N], String> {
    let got = args.len();
    args.try_into().map_err(|_args| format!("wrong number of args: want {N} got {got}"))
}

pub(super) fn call(run: &Run<'_>, name: &str, args: Vec<Value>) -> Done {
    match name {
        "not" => count::<1>(args).map(|[value]| Value::Bool(!value.is_true())),
        "print" => Ok(Value::Text(print(&args))),
        "println" => Ok(Value::Text(args.iter().map(Value::show).collect::<Vec<_>>().join(" ") + "\n")),
        "printf" => {
            let (format, args) = args.split_first().ok_or("wrong number of args: want at least 1 got 0")?;
            Ok(Value::Text(printf(format.as_text()?, args)))
        }
        "html" => Ok(Value::Text(html(&print(&args)))),
        "js" => Ok(Value::Text(js(&print(&args)))),
        "urlquery" | "urlQueryEscape" => Ok(Value::Text(escaped(&print(&args)))),
        "len" | "index" | "slice" => of_lists(name, args),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, &args),
        "query" | "first" | "label" | "value" | "strvalue" | "sortByLabel" => of_samples(run, name, args),
        "args" => {
            let numbered = args.into_iter().enumerate().map(|(n, value)| (format!("arg{n}"), value));
            Ok(Value::Map(Arc::new(numbered.collect())))
        }
        "now" => Ok(Value::Float(run.data.now as f64 / 1000.0)),
        "externalURL" => Ok(Value::text(run.data.external_url)),
        "pathPrefix" => {
            let path =
                url::Url::parse(run.data.external_url).map_or_else(|_none| String::new(), |url| url.path().into());
            Ok(Value::text(path.trim_end_matches('/')))
        }
        "reReplaceAll" | "match" => of_expressions(name, args),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp" | "toTime"
        | "toDuration" => of_numbers(name, args),
        _ => of_texts(name, args),
    }
}

/// As Go's Sprint: a space between two values of which neither is a text.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in args.iter().enumerate() {
        let text = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !text(value) && !text(&args[at - 1]) {
            out.push(' ');
        }
        out.push_str(&value.show());
    }
    out
}

fn html(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn js(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' | '\'' | '"' => format!("\\{c}"),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(c)),
        c if c < ' ' => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn of_lists(name: &str, args: Vec<Value>) -> Done {
    let (first, rest) = args.split_first().ok_or("wrong number of args: want at least 1 got 0")?;
    let place = |value: &Value, length: usize| match value {
        Value::Int(at) => {
            usize::try_from(*at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}"))
        }
        other => Err(format!("cannot index with type {}", other.kind())),
    };
    match (name, first) {
        ("len", Value::Text(text)) => Ok(Value::Int(text.len() as i64)),
        ("len", Value::List(list)) => Ok(Value::Int(list.len() as i64)),
        ("len", Value::Labels(map)) => Ok(Value::Int(map.len() as i64)),
        ("len", Value::Map(map)) => Ok(Value::Int(map.len() as i64)),
        ("len", other) => Err(format!("len of type {}", other.kind())),
        ("index", _) => rest.iter().try_fold(first.clone(), |value, key| match (&value, key) {
            (Value::List(list), key) => {
                list.get(place(key, list.len())?).cloned().ok_or_else(|| format!("index out of range: {}", key.show()))
            }
            (Value::Labels(_) | Value::Map(_), Value::Text(key)) => value.field(key),
            (Value::Text(text), key) => {
                let byte = text.as_bytes().get(place(key, text.len())?);
                byte.map(|byte| Value::Int(i64::from(*byte)))
                    .ok_or_else(|| format!("index out of range: {}", key.show()))
            }
            (value, key) => Err(format!("cannot index {} with {}", value.kind(), key.kind())),
        }),
        (_, Value::Text(text)) => {
            let from = rest.first().map_or(Ok(0), |at| place(at, text.len()))?;
            let to = rest.get(1).map_or(Ok(text.len()), |at| place(at, text.len()))?;
            text.get(from..to).map(Value::text).ok_or_else(|| format!("invalid slice index: {from} > {to}"))
        }
        (_, Value::List(list)) => {
            let from = rest.first().map_or(Ok(0), |at| place(at, list.len()))?;
            let to = rest.get(1).map_or(Ok(list.len()), |at| place(at, list.len()))?;
            let part = list.get(from..to).ok_or_else(|| format!("invalid slice index: {from} > {to}"))?;
            Ok(Value::List(Arc::new(part.to_vec())))
        }
        (_, other) => Err(format!("can't slice item of type {}", other.kind())),
    }
}

fn compare(name: &str, args: &[Value]) -> Done {
    let (first, rest) = args.split_first().ok_or("missing argument for comparison")?;
    let second = rest.first().ok_or("missing argument for comparison")?;
    if name == "eq" {
        let equal = rest.iter().map(|other| first.equals(other)).collect::<Result<Vec<_>, _>>()?;
        return Ok(Value::Bool(equal.contains(&true)));
    }
    if rest.len() > 1 {
        return Err(format!("wrong number of args: want 2 got {}", args.len()));
    }
    if name == "ne" {
        return first.equals(second).map(|equal| Value::Bool(!equal));
    }
    let order = first.order(second)?;
    Ok(Value::Bool(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}

fn of_samples(run: &Run<'_>, name: &str, args: Vec<Value>) -> Done {
    let sample = |value: &Value| match value {
        Value::Sample(sample) => Ok(Arc::clone(sample)),
        other => Err(format!("wrong type for value; expected sample; got {}", other.kind())),
    };
    match name {
        "query" => {
            let [query] = count(args)?;
            let found: Vec<Sample> = (run.data.ask)(query.as_text()?)?;
            Ok(Value::List(Arc::new(found.into_iter().map(|sample| Value::Sample(Arc::new(sample))).collect())))
        }
        "first" => match count::<1>(args)? {
            [Value::List(list)] => {
                list.first().cloned().ok_or_else(|| "first() called on vector with no elements".to_owned())
            }
            [other] => Err(format!("wrong type for value; expected a query's answer; got {}", other.kind())),
        },
        "label" => {
            let [label, of] = count(args)?;
            Ok(Value::text(sample(&of)?.labels.get(label.as_text()?).cloned().unwrap_or_default()))
        }
        "value" => count::<1>(args).and_then(|[of]| Ok(Value::Float(sample(&of)?.value))),
        "strvalue" => {
            let [of] = count(args)?;
            Ok(Value::text(sample(&of)?.labels.get("__value__").cloned().unwrap_or_default()))
        }
        _ => {
            let [label, list] = count(args)?;
            let Value::List(list) = list else { return Err(format!("cannot sort {}", list.kind())) };
            let mut sorted = list.to_vec();
            let label = label.as_text()?;
            sorted.sort_by_cached_key(|of| {
                sample(of).ok().and_then(|s| s.labels.get(label).cloned()).unwrap_or_default()
            });
            Ok(Value::List(Arc::new(sorted)))
        }
    }
}

fn of_expressions(name: &str, args: Vec<Value>) -> Done {
    let regex = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES).build().map_err(|e| e.to_string());
    if name == "match" {
        let [pattern, text] = count(args)?;
        return Ok(Value::Bool(regex(pattern.as_text()?)?.is_match(text.as_text()?)));
    }
    let [pattern, with, text] = count(args)?;
    let with = with.as_text()?;
    let replaced = regex(pattern.as_text()?)?.replace_all(text.as_text()?, |captures: &Captures<'_>| {
        let mut out = String::new();
        captures.expand(with, &mut out);
        out
    });
    Ok(Value::text(replaced))
}

fn of_numbers(name: &str, args: Vec<Value>) -> Done {
    let [value] = count(args)?;
    let v = value.number()?;
    let odd = v == 0.0 || !v.is_finite();
    let text = match name {
        "humanize" if odd => number::significant(v, 4),
        "humanize" if v.abs() >= 1.0 => scaled(v, 1000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"]),
        "humanize" => shrunk(v, &["m", "u", "n", "p", "f", "a", "z", "y"]),
        "humanize1024" if v.abs() <= 1.0 || odd => number::significant(v, 4),
        "humanize1024" => scaled(v, 1024.0, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]),
        "humanizeDuration" => humanize_duration(v),
        "humanizePercentage" => number::significant(v * 100.0, 4) + "%",
        "toDuration" => return Ok(Value::Duration((v * 1e9) as i64)),
        _ if !v.is_finite() => {
            return if name == "toTime" {
                Err("value is NaN or Inf".to_owned())
            } else {
                Ok(Value::Text(number::significant(v, 4)))
            };
        }
        _ if (v * 1e9).abs() > i64::MAX as f64 => {
            return Err(format!("{v} cannot be represented as a nanoseconds timestamp since it overflows int64"));
        }
        // Prometheus' times have ms.
        "toTime" => return Ok(Value::Time((v * 1000.0).floor() as i64 * 1_000_000)),
        _ => super::time::text((v * 1000.0).floor() as i64 * 1_000_000),
    };
    Ok(Value::Text(text))
}

fn scaled(mut v: f64, by: f64, prefixes: &[&str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if v.abs() < by {
            break;
        }
        prefix = next;
        v /= by;
    }
    number::significant(v, 4) + prefix
}

fn shrunk(mut v: f64, prefixes: &[&str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = next;
        v *= 1000.0;
    }
    number::significant(v, 4) + prefix
}

fn humanize_duration(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return number::significant(v, 4) + if v == 0.0 { "s" } else { "" };
    }
    if v.abs() < 1.0 {
        return shrunk(v, &["m", "u", "n", "p", "f", "a", "z", "y"]) + "s";
    }
    let (sign, v) = if v < 0.0 { ("-", -v) } else { ("", v) };
    let whole = v as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (1.., _, _) => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
        (_, 1.., _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        (_, _, 1..) => format!("{sign}{minutes}m {seconds}s"),
        // Without minutes the parts of a second count.
        _ => format!("{sign}{}s", number::significant(v, 4)),
    }
}

fn of_texts(name: &str, args: Vec<Value>) -> Done {
    let [value] = count(args)?;
    let text = value.as_text()?;
    Ok(Value::Text(match name {
        "safeHtml" => text.to_owned(),
        "toUpper" => text.to_uppercase(),
        "toLower" => text.to_lowercase(),
        "title" => title(text),
        "graphLink" => format!("/graph?g0.expr={}&g0.tab=0", escaped(text)),
        "tableLink" => format!("/graph?g0.expr={}&g0.tab=1", escaped(text)),
        "stripPort" => host_port(text).map_or_else(|| text.to_owned(), |(host, _)| host.to_owned()),
        "stripDomain" => strip_domain(text),
        "parseDuration" => {
            let (sign, bare) = text.strip_prefix('-').map_or((1.0, text), |bare| (-1.0, bare));
            return Ok(Value::Float(sign * duration::parse(bare)?.as_secs_f64()));
        }
        other => return Err(format!("function {other:?} not defined")),
    }))
}

/// The first letter of each word as a capital, the others as they are.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let letter = c.is_alphanumeric() || c == '\'';
        if letter && !inside {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        inside = letter;
    }
    out
}

/// Host and port of `host:port` or `[host]:port`.
fn host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, port)),
        None if host.contains([':', '[', ']']) => None,
        None => Some((host, port)),
    }
}

fn strip_domain(text: &str) -> String {
    let (host, port) = host_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let first = host.split('.').next().unwrap_or(host);
    if port.is_empty() { first.to_owned() } else { format!("{first}:{port}") }
}
