//! Beside the ingestion: templates are compared with each other, the look-up learns what is new, and what is known is kept.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use devmesh_templates::template_id;

use super::mining::{Known, Templates, lock};
use crate::front::{Back, Shared};

/// How long what is new is gathered.
const GATHER: Duration = Duration::from_millis(100);
/// How much longer than the work the pause after it is: at most a fiftieth of a core goes into it.
const PAUSES: u32 = 50;
/// The longest pause: what is new is known everywhere after it.
const LONGEST: Duration = Duration::from_secs(20);
/// How often what is known is written down at most, beside the times when rows leave memory.
const SAVE: Duration = Duration::from_secs(2);
/// Bodies that the look-up did not know which make a new one worth its price: the twentieth part of all.
const MISSES: u64 = 20;

/// The thread's work: until the store closes.
pub(crate) fn run<B: Back>(shared: &Shared<B>) {
    let templates = &shared.templates;
    let mut saved = Instant::now();
    loop {
        templates.wait(if templates.is_saved() { LONGEST } else { SAVE });
        if shared.wake.wait_stop(GATHER) {
            break;
        }
        let started = Instant::now();
        templates.settle();
        if saved.elapsed() >= SAVE {
            keep(templates);
            saved = Instant::now();
        }
        if shared.wake.wait_stop((started.elapsed() * PAUSES).min(LONGEST)) {
            break;
        }
    }
    if !shared.wake.is_abandoned() {
        keep(templates);
    }
}

fn keep(templates: &Templates) {
    if let Err(error) = templates.save() {
        // The rows have the texts; what is lost is which of them say the same.
        tracing::warn!(%error, "what is known of templates cannot be written down");
    }
}

impl Known {
    fn templates(&self) -> usize {
        self.miner.templates().len()
    }

    /// Whether there are templates that were not compared.
    fn is_new(&self) -> bool {
        self.templates() > self.compared
    }
}

impl Templates {
    /// Whether the file has all that is known.
    fn is_saved(&self) -> bool {
        *lock(&self.saved) == self.changes.load(Ordering::Acquire)
    }

    /// Compares what is new with all that is known, and lets the look-up know.
    fn learn(&self) {
        let (snapshot, is_new) = {
            let mut known = lock(&self.known);
            for (id, count) in std::mem::take(&mut *lock(&self.credits)) {
                known.miner.credit(id, count);
            }
            let (all, is_new) = (known.templates(), known.is_new());
            known.compared = all;
            (known.miner.snapshot(), is_new)
        };
        let snapshot = if is_new {
            let found = snapshot.compare();
            let mut known = lock(&self.known);
            // Those that were born meanwhile stay to be compared.
            let late = known.templates() - known.compared;
            known.miner.adopt(found);
            known.compared = known.templates() - late;
            let snapshot = known.miner.snapshot();
            self.changes.fetch_add(1, Ordering::AcqRel);
            snapshot
        } else {
            snapshot
        };
        let shown = snapshot.patterns().into_iter().map(|pattern| (pattern.id, pattern.text)).collect();
        {
            let mut before = lock(&self.shown);
            if *before != shown {
                *before = shown;
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
        }
        let (seen, missed) = (self.seen.swap(0, Ordering::Relaxed), self.missed.swap(0, Ordering::Relaxed));
        if is_new || missed * MISSES > seen {
            let matcher = Arc::new(lock(&self.known).miner.matcher());
            *self.matcher.write().unwrap_or_else(PoisonError::into_inner) = matcher;
        }
    }

    /// Looks into what is new, if anything is; what somebody else looks into is waited for.
    pub(crate) fn settle(&self) {
        let _turn = lock(&self.turn);
        if self.news.swap(false, Ordering::AcqRel) {
            self.learn();
        }
    }

    /// Takes in a template that only rows of an earlier time have, by a body that has it.
    pub(crate) fn learn_earlier(&self, text: &str, example: &str) {
        let id = template_id(text);
        let mut known = lock(&self.known);
        if known.miner.template(id).is_some() || known.aliases.contains_key(&id) {
            return;
        }
        let (template, _) = known.observe(example);
        if template != id {
            known.aliases.insert(id, template);
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
        drop(known);
        self.tell();
    }
}
