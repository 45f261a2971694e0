//! Rows as text, and rows that only differ inside a parameter.

use std::collections::HashMap;

use super::row::Row;
use crate::form;
use crate::template::MARK;

/// The pattern of a row as text.
pub(crate) fn text(r: &Row<'_>) -> String {
    let mut s = String::new();
    // the units of a pattern are one decision: when one quantity comes in several units, none shows its unit
    let units_vary = r.slots.iter().flatten().any(|s| s.hidden && s.units);
    for i in 0..r.cols.len() {
        s.push_str(&r.gaps[i]);
        match &r.slots[i] {
            Some(x) if units_vary && x.units => s.push_str(MARK),
            Some(x) => s.push_str(&x.shown()),
            None => s.push_str(r.words[i]),
        }
    }
    s.push_str(r.gaps.last().map_or("", |g| g));
    form::collapse(&s).trim().to_owned()
}

/// Pairs of rows that say the same.
pub(crate) fn alike(rows: &[Row<'_>]) -> Vec<(usize, usize)> {
    let texts: Vec<String> = rows.iter().map(text).collect();
    let mut out = Vec::new();
    let mut whole: HashMap<&str, usize> = HashMap::new();
    let mut lists: HashMap<String, usize> = HashMap::new();
    for (i, t) in texts.iter().enumerate() {
        match whole.get(t.as_str()) {
            Some(j) => out.push((*j, i)),
            None => {
                whole.insert(t, i);
            }
        }
        let l = lists_as_one(t);
        match lists.get(&l) {
            Some(j) => {
                if texts[*j] != *t && (l != *t || l != texts[*j]) {
                    out.push((*j, i));
                }
            }
            None => {
                lists.insert(l, i);
            }
        }
    }
    out.extend(inner(&texts));
    out
}

/// A run of parameters is one: two or more with commas, three or more with blanks.
fn lists_as_one(t: &str) -> String {
    let mut out = String::with_capacity(t.len());
    let mut rest = t;
    while let Some(p) = rest.find(MARK) {
        out.push_str(&rest[..p]);
        rest = &rest[p + MARK.len()..];
        out.push_str(MARK);
        for (sep, least) in [(", <*>", 1), ("; <*>", 1), (" <*>", 2)] {
            let mut r = rest;
            let mut n = 0;
            while let Some(x) = r.strip_prefix(sep) {
                r = x;
                n += 1;
            }
            if n >= least {
                rest = r;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Texts with the same words but for one, where one is a parameter and the others hold one.
fn inner(texts: &[String]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let words: Vec<Vec<&str>> = texts.iter().map(|t| t.split(' ').collect()).collect();
    let mut buckets: HashMap<(usize, String), Vec<usize>> = HashMap::new();
    for (i, w) in words.iter().enumerate() {
        for c in 0..w.len() {
            if w[c].contains(MARK) && w.len() > 2 {
                let mut k = w.clone();
                k[c] = "\u{0}";
                buckets.entry((c, k.join(" "))).or_default().push(i);
            }
        }
    }
    for ((c, _), b) in buckets {
        if let Some(p) = b.iter().find(|i| words[**i][c].trim_end_matches([',', ':', ';', '.']) == MARK) {
            out.extend(b.iter().filter(|i| *i != p).map(|i| (*p.min(i), *p.max(i))));
        }
    }
    out.sort_unstable();
    out
}

/// The text of a pattern of several rows.
pub(crate) fn text_of(rows: &[&Row<'_>]) -> String {
    let mut it = rows.iter().map(|r| (text(r), r.count));
    let Some(mut acc) = it.next() else { return String::new() };
    for (t, n) in it {
        acc = (both(&acc.0, &t, acc.1 >= n), acc.1 + n);
    }
    acc.0
}

/// A text that says both: parameters where they differ, if they have the same number of words.
fn both(a: &str, b: &str, first: bool) -> String {
    let (la, lb) = (lists_as_one(a), lists_as_one(b));
    if la == lb {
        return if a == b { a.to_owned() } else { la };
    }
    let (wa, wb): (Vec<&str>, Vec<&str>) = (la.split(' ').collect(), lb.split(' ').collect());
    if wa.len() != wb.len() {
        return if first { a.to_owned() } else { b.to_owned() };
    }
    let words: Vec<&str> = wa
        .iter()
        .zip(&wb)
        .map(|(x, y)| match () {
            () if x == y => *x,
            () if x.starts_with(MARK) && x.len() <= MARK.len() + 1 => *x,
            () if y.starts_with(MARK) && y.len() <= MARK.len() + 1 => *y,
            () => MARK,
        })
        .collect();
    form::collapse(&words.join(" "))
}
