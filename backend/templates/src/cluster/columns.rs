//! Rows with the same gaps, compared column by column.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::prior;
use super::row::Row;
use crate::hash::{Identity, fold};

/// Rounds of comparison at most; each round joins rows or ends.
const MAX_ROUNDS: usize = 16;
/// Rows of one group, alike in nothing but their gaps, that are a crowd.
const CROWD: usize = 32;

/// Joins rows of one group until nothing changes.
pub(crate) fn merge(mut rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    if rows.len() < 2 {
        return rows;
    }
    let gaps = &*Arc::clone(&rows[0].gaps);
    let columns = gaps.len() - 1;
    let values: Vec<bool> = (0..columns).map(|c| prior::value(gaps, c)).collect();
    let several = values.iter().filter(|v| **v).count() > 1;
    for _ in 0..MAX_ROUNDS {
        let before = rows.len();
        rows = group(rows, |r| key(r, |_| false));
        for c in (0..columns).rev() {
            rows = buckets(rows, |i| i == c, |rows, b| parameter(gaps, rows, b, c));
        }
        if several {
            rows = buckets(rows, |i| values[i], |rows, b| prose(gaps, &rows[b[0]], usize::MAX));
        }
        rows = absorb(rows);
        if rows.len() == before {
            break;
        }
    }
    if rows.len() >= CROWD { crowd(columns, rows) } else { rows }
}

/// In a crowd of rows, columns with a word of their own for nearly every row are parameters together: two names that vary at
/// once leave no rows that differ in one column alone.
fn crowd(columns: usize, rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let noisy: Vec<bool> = (0..columns)
        .map(|c| {
            let words: HashSet<u64, Identity> = rows.iter().map(|r| r.cols[c]).collect();
            words.len() >= CROWD / 2 && words.len() * 4 >= rows.len()
        })
        .collect();
    let loud = noisy.iter().filter(|n| **n).count();
    let ok = |rows: &[Row<'_>], b: &[usize]| {
        let fixed = rows[b[0]].cols.iter().zip(&noisy).filter(|(w, n)| !**n && **w != 0).count();
        b.len() >= CROWD / 2 && fixed >= loud.max(2)
    };
    if loud < 2 { rows } else { absorb(buckets(rows, |i| noisy[i], ok)) }
}

/// A row's columns without those that `but` names, as one number.
fn key(r: &Row<'_>, but: impl Fn(usize) -> bool) -> u64 {
    r.cols.iter().enumerate().fold(0, |h, (i, w)| fold(h, if but(i) { u64::MAX } else { *w }))
}

/// Joins rows with the same key.
fn group(rows: Vec<Row<'_>>, key: impl Fn(&Row<'_>) -> u64) -> Vec<Row<'_>> {
    let mut out: Vec<Row<'_>> = Vec::with_capacity(rows.len());
    let mut at: HashMap<u64, usize, Identity> = HashMap::default();
    for r in rows {
        match at.get(&key(&r)) {
            Some(&i) => out[i].take(r),
            None => {
                at.insert(key(&r), out.len());
                out.push(r);
            }
        }
    }
    out
}

/// Joins rows that are equal but for the columns that `but` names, where `ok` says so.
fn buckets(rows: Vec<Row<'_>>, but: impl Fn(usize) -> bool, ok: impl Fn(&[Row<'_>], &[usize]) -> bool) -> Vec<Row<'_>> {
    let mut buckets: HashMap<u64, Vec<usize>, Identity> = HashMap::default();
    for (i, r) in rows.iter().enumerate() {
        buckets.entry(key(r, &but)).or_default().push(i);
    }
    let mut target: Vec<usize> = (0..rows.len()).collect();
    for b in buckets.values().filter(|b| b.len() > 1) {
        if ok(&rows, b) {
            for i in b {
                target[*i] = b[0];
            }
        }
    }
    collect(rows, &target)
}

/// Joins each row into its target (a row not after it).
fn collect<'e>(rows: Vec<Row<'e>>, target: &[usize]) -> Vec<Row<'e>> {
    let mut out: Vec<Option<Row<'e>>> = vec![None; rows.len()];
    for (i, r) in rows.into_iter().enumerate() {
        match &mut out[target[i]] {
            Some(a) => a.take(r),
            none => *none = Some(r),
        }
    }
    out.into_iter().flatten().collect()
}

/// Whether column `c` of these rows (equal in all others) is a parameter.
fn parameter(gaps: &[String], rows: &[Row<'_>], bucket: &[usize], c: usize) -> bool {
    let first = &rows[bucket[0]];
    let fixed = first.cols.iter().enumerate().filter(|(i, w)| *i != c && **w != 0).count();
    let words = bucket.iter().filter(|i| rows[**i].cols[c] != 0).count();
    if words < bucket.len() {
        return fixed >= 1;
    }
    let prev = if c == 0 { "" } else { first.words[c - 1] };
    let prose = prose(gaps, first, c);
    // "-" stands for nothing: where it stands, values stand
    let nothing = prose && bucket.iter().any(|i| rows[*i].words[c] == "-");
    fixed >= 2 && (nothing || words >= prior::threshold(gaps, c, prev, prose))
}

/// Whether a row has a constant word that is neither a key nor a value, beside column `c`.
fn prose(gaps: &[String], r: &Row<'_>, c: usize) -> bool {
    let n = r
        .cols
        .iter()
        .enumerate()
        .filter(|(i, w)| *i != c && **w != 0 && !prior::key(gaps, *i) && !prior::value(gaps, *i))
        .count();
    n >= 1
}

/// A row with learned parameters takes in the rows that it covers.
fn absorb(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let wide: Vec<usize> = (0..rows.len()).filter(|i| open(&rows[*i])).collect();
    let mut target: Vec<usize> = (0..rows.len()).collect();
    for (i, r) in rows.iter().enumerate() {
        if wide.contains(&i) {
            continue;
        }
        if let Some(w) = wide.iter().find(|w| covers(&rows[**w], r)) {
            target[i] = *w;
        }
    }
    let mut out: Vec<Option<Row<'_>>> = rows.into_iter().map(Some).collect();
    for i in 0..out.len() {
        if target[i] != i
            && let Some(r) = out[i].take()
            && let Some(w) = &mut out[target[i]]
        {
            w.take(r);
        }
    }
    out.into_iter().flatten().collect()
}

/// Whether a row has a parameter that took words, and enough constants beside.
fn open(r: &Row<'_>) -> bool {
    r.cols.iter().filter(|w| **w != 0).count() >= 2 && (0..r.cols.len()).any(|i| takes_words(r, i))
}

fn takes_words(r: &Row<'_>, i: usize) -> bool {
    r.cols[i] == 0 && (r.learned[i] || r.slots[i].as_ref().is_some_and(|s| s.lettered && s.varies))
}

fn covers(wide: &Row<'_>, r: &Row<'_>) -> bool {
    wide.cols.iter().zip(&r.cols).enumerate().all(|(i, (a, b))| a == b || takes_words(wide, i))
}
