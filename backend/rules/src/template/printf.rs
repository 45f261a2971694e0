//! `printf`, with Go's verbs for the kinds of values that templates have.

use super::value::Value;
use crate::number;

/// Width and precision at most: what a line has.
const WIDTH: usize = 1000;

#[derive(Default)]
struct Flags {
    left: bool,
    zeros: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats values.
pub(super) fn printf(format: &str, args: &[Value]) -> String {
    let (mut out, mut args) = (String::new(), args.iter());
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            flags.left |= flag == '-';
            flags.zeros |= flag == '0';
            flags.plus |= flag == '+';
        }
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            flags.width = (flags.width * 10 + digit as usize - '0' as usize).min(WIDTH);
        }
        if chars.next_if_eq(&'.').is_some() {
            let mut precision = 0;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision = (precision * 10 + digit as usize - '0' as usize).min(WIDTH);
            }
            flags.precision = Some(precision);
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&padded(one(verb, value, &flags), &flags)),
            },
        }
    }
    let extra: Vec<String> = args.map(|value| format!("{}={}", value.kind(), value.show())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn one(verb: char, value: &Value, flags: &Flags) -> String {
    let signed = |text: String| if flags.plus && !text.starts_with(['-', '+']) { format!("+{text}") } else { text };
    let cut = |text: &str| flags.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect());
    match (verb, value) {
        ('v', Value::Float(value)) => signed(float('g', *value, flags.precision)),
        ('v', value) => value.show(),
        ('s', Value::Text(text)) => cut(text),
        ('s', Value::Time(_) | Value::Duration(_) | Value::Labels(_) | Value::Map(_) | Value::List(_)) => value.show(),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('t', Value::Bool(value)) => value.to_string(),
        ('d', Value::Int(value) | Value::Duration(value)) => signed(value.to_string()),
        ('c', Value::Int(value)) => u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').into(),
        ('x', Value::Int(value)) => format!("{value:x}"),
        ('X', Value::Int(value)) => format!("{value:X}"),
        ('o', Value::Int(value)) => format!("{value:o}"),
        ('b', Value::Int(value)) => format!("{value:b}"),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(value)) => {
            let text = signed(float(verb.to_ascii_lowercase(), *value, flags.precision));
            if verb.is_uppercase() { text.replace('e', "E") } else { text }
        }
        (verb, value) => format!("%!{verb}({}={})", value.kind(), value.show()),
    }
}

fn float(verb: char, value: f64, precision: Option<usize>) -> String {
    match (verb, precision) {
        ('e', _) => number::fixed_scientific(value, precision.unwrap_or(6)),
        ('g', None) => number::shortest(value),
        ('g', Some(digits)) => number::significant(value, digits),
        (_, _) => number::fixed(value, precision.unwrap_or(6)),
    }
}

fn padded(text: String, flags: &Flags) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if flags.left {
        return text + &" ".repeat(missing);
    }
    if flags.zeros {
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &text
}
