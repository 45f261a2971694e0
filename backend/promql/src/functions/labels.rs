//! Functions that change labels, and the order of series.

use std::cmp::Ordering;

use regex::Regex;

use super::argument;
use crate::{
    Error, Labels, NAME, Sample,
    eval::{Eval, Row, Rows},
    plan::{Call, Times},
};

pub(crate) fn replace(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let text = |at| eval.text(argument(call, at)?);
    let (target, replacement, source, pattern) = (text(1)?, text(2)?, text(3)?, text(4)?);
    let regex = Regex::new(&format!("^(?s:{pattern})$")).map_err(|error| {
        Error::execution(format!("invalid regular expression in label_replace(): {pattern}: {error}"))
    })?;
    if target.is_empty() {
        return Err(Error::execution("invalid destination label name in label_replace(): "));
    }
    relabelled(eval, call, times, give, target, &|labels| {
        let captures = regex.captures(labels.get(source))?;
        let mut value = String::new();
        captures.expand(replacement, &mut value);
        Some(labels.with(target, &value))
    })
}

pub(crate) fn join(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let text = |at| eval.text(argument(call, at)?);
    let (target, separator) = (text(1)?, text(2)?);
    let sources = (3..call.args.len()).map(text).collect::<Result<Vec<_>, _>>()?;
    if target.is_empty() {
        return Err(Error::execution("invalid destination label name in label_join(): "));
    }
    relabelled(eval, call, times, give, target, &|labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
        Some(labels.with(target, &values.join(separator)))
    })
}

/// Series with other labels; those that are alike then are an error.
fn relabelled(
    eval: &Eval<'_>,
    call: &Call,
    times: Times,
    give: Rows<'_>,
    named: &str,
    change: &dyn Fn(&Labels) -> Option<Labels>,
) -> Result<(), Error> {
    let mut rows = eval.collect(argument(call, 0)?, times)?;
    for row in &mut rows {
        if let Some(labels) = change(&row.labels) {
            // A name that was set here stays.
            row.nameless &= named != NAME;
            row.labels = labels;
        }
    }
    crate::eval::merge(rows)?.into_iter().try_for_each(give)
}

pub(crate) fn sort(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    sorted(eval, call, times, give, |a, b| value(a).0.cmp(&value(b).0).then(value(a).1.total_cmp(&value(b).1)))
}

pub(crate) fn sort_desc(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    sorted(eval, call, times, give, |a, b| value(a).0.cmp(&value(b).0).then(value(b).1.total_cmp(&value(a).1)))
}

/// What a row is sorted by; NaN comes last.
fn value(row: &Row) -> (bool, f64) {
    match row.points.first() {
        Some(Some(Sample::Float(value))) => (value.is_nan(), *value + 0.0),
        _ => (true, f64::NAN),
    }
}

fn ineffective(eval: &Eval<'_>) {
    if !eval.query.instant {
        eval.warn("sort is ineffective for range queries since results are always ordered by labels");
    }
}

fn sorted(
    eval: &Eval<'_>,
    call: &Call,
    times: Times,
    give: Rows<'_>,
    order: impl Fn(&Row, &Row) -> Ordering,
) -> Result<(), Error> {
    ineffective(eval);
    let mut rows = eval.collect(argument(call, 0)?, times)?;
    rows.retain(|row| matches!(row.points.first(), Some(Some(Sample::Float(_)))) || !eval.query.instant);
    rows.sort_by(order);
    rows.into_iter().try_for_each(give)
}

pub(crate) fn sort_by_label(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    by_label(eval, call, times, give, false)
}

pub(crate) fn sort_by_label_desc(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    by_label(eval, call, times, give, true)
}

fn by_label(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>, descending: bool) -> Result<(), Error> {
    ineffective(eval);
    let names = (1..call.args.len()).map(|at| eval.text(argument(call, at)?)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = eval.collect(argument(call, 0)?, times)?;
    rows.sort_by(|a, b| {
        let by_names = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
        let order = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
    rows.into_iter().try_for_each(give)
}

/// The order in which `9` comes before `10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    loop {
        match (a.first(), b.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (m, n) = (digits(a), digits(b));
                let bare = |text: &[u8]| -> Vec<u8> { text.iter().copied().skip_while(|c| *c == b'0').collect() };
                let (x, y) = (bare(&a[..m]), bare(&b[..n]));
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (&a[m..], &b[n..]);
            }
            (Some(x), Some(y)) if x == y => (a, b) = (&a[1..], &b[1..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        for (a, b) in [("a9", "a10"), ("", "a"), ("a", "b"), ("a1b2", "a1b10"), ("2", "010")] {
            assert_eq!(
                (natural(a, b), natural(b, a), natural(a, a)),
                (Ordering::Less, Ordering::Greater, Ordering::Equal)
            );
        }
    }
}
