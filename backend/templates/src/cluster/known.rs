//! Words that are known to be values because they were one elsewhere.
//!
//! `session opened for user ann` alone does not say that `ann` is a parameter. When another template has a learned
//! parameter behind `user` and `ann` was one of its values, it is: the same word behind the same word is the same thing.

use std::collections::HashSet;

use super::prior;
use super::row::Row;
use crate::hash::{self, Identity, fold};
use crate::miner::Entry;

/// Pairs (word before, word) where the second was a value.
#[derive(Debug, Default)]
pub(crate) struct Known(HashSet<u64, Identity>);

fn pair(before: &str, gap: &str, word: &str) -> u64 {
    let h = fold(hash::bytes(before.to_ascii_lowercase().as_bytes()), hash::bytes(gap.as_bytes()));
    fold(h, hash::bytes(word.as_bytes()))
}

/// The word before column `c`, where a value may follow it.
fn before<'e>(gaps: &[String], r: &Row<'e>, c: usize) -> Option<&'e str> {
    let w = *r.words.get(c.checked_sub(1)?)?;
    let value = prior::value(gaps, c) || (gaps[c] == " " && prior::before_value(w));
    (r.cols[c - 1] != 0 && value).then_some(w)
}

impl Known {
    /// Gathers the values of learned columns.
    pub(crate) fn of(entries: &[Entry], groups: &[Vec<Row<'_>>]) -> Self {
        let mut known = HashSet::default();
        for rows in groups {
            for r in rows {
                for c in (0..r.cols.len()).filter(|c| r.learned[*c]) {
                    let Some(b) = before(&r.gaps, r, c) else { continue };
                    for m in &r.members {
                        let t = &entries[*m as usize].template;
                        if !t.parts()[c].param {
                            known.insert(pair(b, gap_of(&r.gaps[c]), t.part(c)));
                        }
                    }
                }
            }
        }
        Self(known)
    }

    /// Makes known values parameters; says whether there were any.
    pub(crate) fn apply(&self, rows: &mut [Row<'_>]) -> bool {
        let mut any = false;
        for r in rows {
            let fixed = r.cols.iter().filter(|w| **w != 0).count();
            for c in 0..r.cols.len() {
                if r.cols[c] == 0 || r.slots[c].is_some() || fixed < 3 {
                    continue;
                }
                let Some(b) = before(&r.gaps, r, c) else { continue };
                if self.0.contains(&pair(b, gap_of(&r.gaps[c]), r.words[c])) {
                    r.learn(c);
                    any = true;
                }
            }
        }
        any
    }
}

/// A gap as far as it belongs to the pair.
fn gap_of(gap: &str) -> &str {
    gap.trim_end_matches(['"', '\''])
}
