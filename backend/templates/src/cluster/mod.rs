//! Joins templates that say the same into patterns.
//!
//! Two steps. [`columns`] compares templates with the same gaps word by word: a column that takes many words while all
//! others stay is a parameter that looked like a word (a user, a host). Then [`texts`] compares what came out as text, for
//! parameters whose inner structure differs (`10.0.0.1:80` and `host.example:80`, lists of any length).
//!
//! Everything is a function of the templates in their order; no map's order is relied on.

mod columns;
mod known;
mod prior;
mod render;
mod row;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::hash::Identity;
use crate::miner::Entry;
use crate::template::{Slot, Template};
use row::Row;
pub(crate) use row::keys;

/// What [`join`] found.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// Pairs of templates that say the same.
    pub(crate) same: Vec<(u32, u32)>,
    /// Templates with more parameters than any seen body showed.
    pub(crate) widened: Vec<Widened>,
}

/// A template that covers others and what has not been seen yet.
#[derive(Debug)]
pub(crate) struct Widened {
    pub(crate) template: Template,
    pub(crate) slots: Box<[Slot]>,
    /// The templates that it covers.
    pub(crate) covers: Vec<u32>,
}

/// Compares all templates.
pub(crate) fn join(entries: &[Entry]) -> Joined {
    let mut out = Joined::default();
    let rows = rows(entries);
    for r in &rows {
        for m in &r.members[1..] {
            out.same.push((r.members[0], *m));
        }
        if r.learned.iter().any(|l| *l) {
            widen(entries, r, &mut out.widened);
        }
    }
    for (a, b) in render::alike(&rows) {
        out.same.push((rows[a].members[0], rows[b].members[0]));
    }
    out
}

/// The patterns' texts by the entry that `root` gives for each.
pub(crate) fn texts(entries: &[Entry], root: impl Fn(u32) -> u32) -> HashMap<u32, String> {
    let rows = rows(entries);
    let mut by_root: BTreeMap<u32, Vec<&Row<'_>>> = BTreeMap::new();
    for r in &rows {
        by_root.entry(root(r.members[0])).or_default().push(r);
    }
    by_root.into_iter().map(|(k, rows)| (k, render::text_of(&rows))).collect()
}

fn rows(entries: &[Entry]) -> Vec<Row<'_>> {
    let mut groups: Vec<Vec<Row<'_>>> = Vec::new();
    let mut at: HashMap<u64, usize, Identity> = HashMap::default();
    for (i, e) in entries.iter().enumerate().skip(1) {
        let g = *at.entry(row::group(&e.template)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        let gaps = groups[g].first().map_or_else(|| row::gaps(&e.template), |r| Arc::clone(&r.gaps));
        groups[g].push(Row::of(e, i as u32, gaps));
    }
    for rows in &mut groups {
        *rows = columns::merge(std::mem::take(rows));
    }
    let known = known::Known::of(entries, &groups);
    for rows in &mut groups {
        if known.apply(rows) {
            *rows = columns::merge(std::mem::take(rows));
        }
    }
    let mut out: Vec<Row<'_>> = groups.into_iter().flatten().collect();
    out.sort_by_key(|r| r.members[0]);
    out
}

/// One widened template for each exact spelling of the gaps among a row's members.
fn widen(entries: &[Entry], r: &Row<'_>, out: &mut Vec<Widened>) {
    let mut seen: BTreeMap<(u64, Box<str>), usize> = BTreeMap::new();
    let start = out.len();
    for m in &r.members {
        let old = &entries[*m as usize].template;
        let template = old.widened(|i| r.learned[i]);
        match seen.get(&(template.id(), template.text().into())) {
            Some(n) => out[start + n].covers.push(*m),
            None => {
                let slots: Box<[Slot]> = template
                    .parts()
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| p.param)
                    .map(|(i, _)| r.slots[i].clone().map_or_else(Slot::hidden, Cow::into_owned))
                    .collect();
                seen.insert((template.id(), template.text().into()), out.len() - start);
                out.push(Widened { template, slots, covers: vec![*m] });
            }
        }
    }
}
