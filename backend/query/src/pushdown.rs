//! From a query's filters to what a store is asked ([`Scan`]).
//!
//! The one file where the two could come to mean different things. Whatever is not recognised here is not asked of the
//! store; the engine filters every row again in any case.

use std::ops::Range;

use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{
        BinaryExpr, Expr, Operator,
        expr::{InList, Like},
        utils::{split_binary, split_conjunction},
    },
};
use devmesh_schema::{Signal, TimestampNs, stored};
use devmesh_store::{Filter, Op, Scan, Value};

use crate::functions::{
    attribute::{As, Attribute},
    matches,
};

/// What the store is asked for a query that filters by all of `filters`, and whether that is all of them: then a row that
/// passes the store's filters passes the query's.
pub(crate) fn scan(signal: Signal, filters: &[Expr]) -> (Scan, bool) {
    let mut scan = Scan::all(signal);
    let mut is_all = true;
    for part in filters.iter().flat_map(split_conjunction) {
        if !bound_time(part, &mut scan.time) {
            match filter(part) {
                Some(filters) => scan.filters.extend(filters),
                None => {
                    scan.filters.extend(implied(part));
                    is_all = false;
                }
            }
        }
    }
    (scan, is_all)
}

/// The words that bodies must hold for all of `filters`: of each condition that says nothing else.
pub(crate) fn words_of_bodies(filters: &[Expr]) -> Vec<Vec<String>> {
    let words = |filter: Filter| match filter {
        Filter::Words { column, words } if column == stored::BODY => Some(words),
        _ => None,
    };
    let parts = filters.iter().flat_map(split_conjunction);
    parts.filter_map(filter).flatten().filter_map(words).collect()
}

/// Narrows the range where the expression compares `time` with a literal. Whether it does.
fn bound_time(expr: &Expr, range: &mut Range<TimestampNs>) -> bool {
    match expr {
        Expr::Between(between) if !between.negated => {
            let (Some(low), Some(high)) = (time(&between.low), time(&between.high)) else { return false };
            if column(&between.expr) != Some("time") {
                return false;
            }
            range.start = range.start.max(low);
            range.end = range.end.min(high.saturating_add(1));
            true
        }
        Expr::BinaryExpr(binary) => {
            let Some((Side::Column("time"), op, literal)) = sides(binary) else { return false };
            let ScalarValue::TimestampNanosecond(Some(at), _) = literal else { return false };
            let after = at.saturating_add(1);
            match op {
                Op::Eq => (range.start, range.end) = (range.start.max(*at), range.end.min(after)),
                Op::Lt => range.end = range.end.min(*at),
                Op::LtEq => range.end = range.end.min(after),
                Op::Gt => range.start = range.start.max(after),
                Op::GtEq => range.start = range.start.max(*at),
            }
            true
        }
        _ => false,
    }
}

fn time(expr: &Expr) -> Option<TimestampNs> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(at, _), _) => *at,
        _ => None,
    }
}

/// The expression as filters that all hold.
fn filter(expr: &Expr) -> Option<Vec<Filter>> {
    let one = match expr {
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => alternatives(expr)?,
        Expr::BinaryExpr(binary) => {
            let (side, op, literal) = sides(binary)?;
            match side {
                Side::Column(name) => Filter::Compare { column: name.into(), op, value: value(literal)? },
                Side::Attribute(key) if op == Op::Eq => {
                    Filter::Attribute { key: key.into(), value: literal.try_as_str()??.into() }
                }
                Side::Attribute(_) => return None,
            }
        }
        Expr::Between(between) if !between.negated => {
            let bound = |op, bound: &Expr| match bound {
                Expr::Literal(literal, _) => {
                    Some(Filter::Compare { column: column(&between.expr)?.into(), op, value: value(literal)? })
                }
                _ => None,
            };
            return Some(vec![bound(Op::GtEq, &between.low)?, bound(Op::LtEq, &between.high)?]);
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let literal = |item: &Expr| match item {
                Expr::Literal(literal, _) => value(literal),
                _ => None,
            };
            let values = list.iter().map(literal).collect::<Option<Vec<_>>>()?;
            Filter::OneOf { column: column(expr)?.into(), values }
        }
        Expr::ScalarFunction(call) if call.name() == "matches" => {
            let [text, Expr::Literal(words, _)] = call.args.as_slice() else { return None };
            let words = matches::words(words.try_as_str()??);
            if words.is_empty() {
                return None;
            }
            Filter::Words { column: column(text)?.into(), words }
        }
        _ => return None,
    };
    Some(vec![one])
}

/// What holds wherever the expression does: the whole words of a pattern of `LIKE`.
fn implied(expr: &Expr) -> Option<Filter> {
    let Expr::Like(Like { negated: false, expr, pattern, escape_char: None, case_insensitive: false }) = expr else {
        return None;
    };
    let Expr::Literal(pattern, _) = pattern.as_ref() else { return None };
    let words = whole_words(pattern.try_as_str()??);
    (!words.is_empty()).then(|| Some(Filter::Words { column: column(expr)?.into(), words }))?
}

/// The words of a pattern that no wildcard touches, in lower case.
fn whole_words(pattern: &str) -> Vec<String> {
    if pattern.contains('\\') {
        return Vec::new();
    }
    let mut words = Vec::new();
    let is_cut = |c: Option<char>| matches!(c, Some('%' | '_'));
    let mut at = 0;
    for run in pattern.split(|c: char| !c.is_alphanumeric()) {
        let end = at + run.len();
        let (before, behind) = (pattern[..at].chars().next_back(), pattern[end..].chars().next());
        at = end + behind.map_or(0, char::len_utf8);
        if !is_cut(before) && !is_cut(behind) {
            words.extend(matches::words(run));
        }
    }
    words
}

/// `a = 1 OR a = 2`, which is what short lists become.
fn alternatives(expr: &Expr) -> Option<Filter> {
    let mut found: Option<(&str, Vec<Value>)> = None;
    for part in split_binary(expr, Operator::Or) {
        let Expr::BinaryExpr(binary) = part else { return None };
        let (Side::Column(name), Op::Eq, literal) = sides(binary)? else { return None };
        let (column, values) = found.get_or_insert_with(|| (name, Vec::new()));
        if *column != name {
            return None;
        }
        values.push(value(literal)?);
    }
    found.map(|(column, values)| Filter::OneOf { column: column.into(), values })
}

enum Side<'a> {
    Column(&'a str),
    /// `attribute(attributes, key)`
    Attribute(&'a str),
}

/// A comparison of a column or attribute with a literal, the literal on the right.
fn sides(expr: &BinaryExpr) -> Option<(Side<'_>, Op, &ScalarValue)> {
    let (side, op, literal) = match (expr.left.as_ref(), expr.right.as_ref()) {
        (side, Expr::Literal(literal, _)) => (side, expr.op, literal),
        (Expr::Literal(literal, _), side) => (side, expr.op.swap()?, literal),
        _ => return None,
    };
    let op = match op {
        Operator::Eq => Op::Eq,
        Operator::Lt => Op::Lt,
        Operator::LtEq => Op::LtEq,
        Operator::Gt => Op::Gt,
        Operator::GtEq => Op::GtEq,
        _ => return None,
    };
    let side = match (column(side), side) {
        (Some(name), _) => Side::Column(name),
        (None, Expr::ScalarFunction(call)) => {
            let function = call.func.inner().downcast_ref::<Attribute>()?;
            let [map, Expr::Literal(key, _)] = call.args.as_slice() else { return None };
            if function.kind != As::Text || column(map) != Some("attributes") {
                return None;
            }
            Side::Attribute(key.try_as_str()??)
        }
        _ => return None,
    };
    Some((side, op, literal))
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(Column { name, .. }) => Some(name),
        _ => None,
    }
}

fn value(literal: &ScalarValue) -> Option<Value> {
    match literal {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Some(Value::Text(text.clone()))
        }
        ScalarValue::Int64(Some(number)) => Some(Value::Int(*number)),
        ScalarValue::Int32(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::UInt32(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::UInt64(Some(number)) => i64::try_from(*number).ok().map(Value::Int),
        ScalarValue::Float64(Some(number)) => Some(Value::Double(*number)),
        ScalarValue::TimestampNanosecond(Some(at), _) => Some(Value::Int(*at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_holds_the_words_that_no_wildcard_touches() {
        for (pattern, expected) in [
            ("%failed%", vec![]),
            ("% Failed: %", vec!["failed"]),
            ("order % failed", vec!["order", "failed"]),
            ("%er Büro-ß 7_", vec!["büro", "ß"]),
            ("failed", vec!["failed"]),
            ("% a\\% b %", vec![]),
            ("%", vec![]),
        ] {
            assert_eq!(whole_words(pattern), expected, "{pattern}");
        }
    }
}
