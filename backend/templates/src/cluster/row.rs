//! A template as a row of columns.

use std::borrow::Cow;
use std::sync::Arc;

use crate::hash::{self, fold, gap};
use crate::miner::Entry;
use crate::template::{Slot, Template};

/// One or more templates with the same gaps, column by column.
#[derive(Debug, Clone)]
pub(crate) struct Row<'e> {
    /// A word's hash; 0 for a parameter.
    pub(crate) cols: Vec<u64>,
    /// The words' texts.
    pub(crate) words: Vec<&'e str>,
    /// What is known of the parameters.
    pub(crate) slots: Vec<Option<Cow<'e, Slot>>>,
    /// Columns that became parameters by comparison.
    pub(crate) learned: Vec<bool>,
    /// White space squeezed; one more than columns.
    pub(crate) gaps: Arc<[String]>,
    /// Bodies.
    pub(crate) count: u64,
    /// Entries, the oldest first.
    pub(crate) members: Vec<u32>,
}

impl<'e> Row<'e> {
    /// The columns of an entry.
    pub(crate) fn of(e: &'e Entry, i: u32, gaps: Arc<[String]>) -> Self {
        let t = &e.template;
        let n = t.parts().len();
        let mut row = Row {
            cols: Vec::with_capacity(n),
            words: Vec::with_capacity(n),
            slots: Vec::with_capacity(n),
            learned: vec![false; n],
            gaps,
            count: e.count,
            members: vec![i],
        };
        let mut slots = e.slots.iter();
        for (k, p) in t.parts().iter().enumerate() {
            let slot = if p.param { slots.next() } else { None };
            // a parameter that has been one text so far is compared as that text
            let word = match slot {
                Some(s) => s.constant().unwrap_or(""),
                None => t.part(k),
            };
            row.cols.push(if word.is_empty() { 0 } else { hash::bytes(word.as_bytes()) });
            row.words.push(word);
            row.slots.push(slot.map(Cow::Borrowed));
        }
        row
    }

    /// Makes column `i` a parameter.
    pub(crate) fn learn(&mut self, i: usize) {
        self.cols[i] = 0;
        self.slots[i] = Some(Cow::Owned(Slot::hidden()));
        self.learned[i] = true;
    }

    /// Takes another row in: what differs becomes a parameter.
    pub(crate) fn take(&mut self, other: Row<'e>) {
        for i in 0..self.cols.len() {
            match (&mut self.slots[i], &other.slots[i]) {
                (Some(a), Some(b)) => a.to_mut().join(b),
                (a, _) if self.cols[i] != other.cols[i] => {
                    *a = Some(Cow::Owned(Slot::hidden()));
                    self.learned[i] = true;
                }
                (a, b) => {
                    // a word and a parameter that has only been that word
                    if a.is_none() {
                        a.clone_from(b);
                    }
                }
            }
            if self.cols[i] != other.cols[i] {
                self.cols[i] = 0;
            }
            self.learned[i] |= other.learned[i];
        }
        self.count += other.count;
        self.members.extend(other.members);
        self.members.sort_unstable();
    }
}

/// The gaps of a template with white space squeezed, as one number.
pub(crate) fn group(t: &Template) -> u64 {
    let gap = |h, i| {
        let mut blank = false;
        let step = |h, c: u8| {
            let was = std::mem::replace(&mut blank, c <= b' ');
            if blank && was { h } else { fold(h, u64::from(if blank { b' ' } else { c })) }
        };
        fold(t.gap(i).bytes().fold(h, step), 1 << 8)
    };
    (0..=t.parts().len()).fold(0, gap)
}

/// The gaps of a template with white space squeezed.
pub(crate) fn gaps(t: &Template) -> Arc<[String]> {
    (0..=t.parts().len()).map(|k| squeeze(t.gap(k))).collect()
}

/// White space runs as one blank.
fn squeeze(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if c > ' ' {
            out.push(c);
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out
}

/// The keys under which bodies of a template are found: see [`crate::miner::keys`].
pub(crate) fn keys(t: &Template) -> (u64, u64) {
    let (mut full, mut skeleton) = (0, 0);
    for (i, p) in t.parts().iter().enumerate() {
        let g = gap(t.gap(i).as_bytes());
        full = fold(full, g ^ if p.param { 1 } else { hash::bytes(t.part(i).as_bytes()) });
        skeleton = fold(skeleton, g);
    }
    let g = gap(t.gap(t.parts().len()).as_bytes());
    (fold(full, g), fold(skeleton, g))
}
