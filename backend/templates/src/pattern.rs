//! Patterns: templates that say the same; and their comparison beside the ingestion.
//!
//! [`Miner::merge`] compares where it is called. A server that must not wait takes a [`Snapshot`] (a copy of what is known),
//! compares it on another thread while bodies keep coming, and lets the miner [adopt](Miner::adopt) the findings. Entries only
//! ever grow in number, so findings about a snapshot hold for the miner that it was taken from.

use std::collections::HashMap;

use crate::cluster;
use crate::miner::{Entry, Miner, root};
use crate::template::MARK;

/// Templates that say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The id of the first template that said it; it stays when others join.
    pub id: u64,
    /// The text, with `<*>` where its templates or their parameters differ.
    pub text: String,
    /// Its templates' ids, oldest first.
    pub templates: Vec<u64>,
    /// Bodies observed.
    pub count: u64,
}

/// What a miner knows at one time.
#[derive(Debug, Clone)]
pub struct Snapshot {
    entries: Vec<Entry>,
}

/// What a comparison found: see [`Snapshot::compare`].
#[derive(Debug)]
pub struct Findings(cluster::Joined);

impl Snapshot {
    /// Compares all templates with each other.
    pub fn compare(&self) -> Findings {
        Findings(cluster::join(&self.entries))
    }

    /// The patterns, oldest first.
    pub fn patterns(&self) -> Vec<Pattern> {
        patterns(&self.entries)
    }
}

impl Miner {
    /// Compares all templates with each other and joins those that say the same. [`Miner::observe`] calls it now and then.
    pub fn merge(&mut self) {
        self.fresh = 0;
        let found = Findings(cluster::join(&self.entries));
        self.adopt(found);
    }

    /// A copy of what is known, to compare elsewhere. Templates born until now no longer count as [unmerged](Miner::unmerged).
    pub fn snapshot(&mut self) -> Snapshot {
        self.fresh = 0;
        Snapshot { entries: self.entries.clone() }
    }

    /// Templates born since the last comparison.
    pub fn unmerged(&self) -> usize {
        self.fresh
    }

    /// Joins what a comparison of one of its snapshots found.
    pub fn adopt(&mut self, found: Findings) {
        for (a, b) in found.0.same {
            self.unite(a, b);
        }
        for w in found.0.widened {
            self.widen(w);
        }
        for i in 0..self.entries.len() {
            self.entries[i].parent = root(&self.entries, i as u32);
        }
    }

    /// The patterns, oldest first.
    pub fn patterns(&self) -> Vec<Pattern> {
        patterns(&self.entries)
    }

    /// The id of the pattern that a template (or an earlier pattern) belongs to now.
    pub fn pattern_id(&self, template_id: u64) -> Option<u64> {
        let i = *self.by_id.get(&template_id)?;
        Some(self.entries[root(&self.entries, i) as usize].template.id())
    }
}

fn patterns(entries: &[Entry]) -> Vec<Pattern> {
    let mut texts = cluster::texts(entries, |i| root(entries, i));
    let mut out: Vec<Pattern> = Vec::new();
    let mut at: HashMap<u32, usize> = HashMap::new();
    for (i, e) in entries.iter().enumerate() {
        // the first entry is there before any body
        if i == 0 && e.count == 0 {
            continue;
        }
        let r = root(entries, i as u32);
        let n = *at.entry(r).or_insert_with(|| {
            let text = texts.remove(&r).unwrap_or_else(|| MARK.to_owned());
            out.push(Pattern { id: entries[r as usize].template.id(), text, templates: Vec::new(), count: 0 });
            out.len() - 1
        });
        out[n].templates.push(e.template.id());
        out[n].count += e.count;
    }
    out
}
