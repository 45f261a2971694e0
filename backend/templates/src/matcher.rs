//! A look-up that changes nothing, for many threads at once.
//!
//! [`Miner::observe`] needs the miner alone. Where many threads ask, each keeps a [`Matcher`], asks it first, and only what it
//! does not know goes to the miner; after a while of misses, it takes a new one. A matcher knows only templates that the
//! miner has seen often enough to have learned what their parameters are like, and refuses a body that would teach something
//! (a parameter that was one text so far and is another now). So statistics do not starve.

use std::sync::Arc;

use crate::miner::{EAGER, Index, Match, Miner, Scratch, keys};
use crate::template::Template;
use crate::token;

/// The templates of a miner at one time, read-only. Cheap to share: clone the [`Arc`] around it.
#[derive(Debug)]
pub struct Matcher {
    known: Box<[Option<Known>]>,
    index: Index,
}

#[derive(Debug)]
struct Known {
    template: Arc<Template>,
    /// Parameters that have been one text so far: (which, the text).
    constant: Box<[(u32, Box<str>)]>,
}

impl Matcher {
    /// Finds the template of `body`, or `None`: then ask [`Miner::observe`].
    #[inline]
    pub fn find<'s>(&self, body: &str, scratch: &'s mut Scratch) -> Option<Match<'s>> {
        let template_id = self.find_template(body, scratch)?.id();
        Some(Match { template_id, params: &scratch.params })
    }

    /// The same, for who needs the template and not the parameters.
    #[inline]
    pub fn find_template(&self, body: &str, scratch: &mut Scratch) -> Option<&Arc<Template>> {
        token::tokenise(body, &mut scratch.tokens);
        let (full, skeleton) = keys(body.as_bytes(), &scratch.tokens);
        let exact = self.index.exact.get(&full).copied();
        let wide = self.index.wide.get(&skeleton).into_iter().flatten().copied();
        for i in exact.into_iter().chain(wide) {
            let Some(k) = self.known.get(i as usize).and_then(Option::as_ref) else { continue };
            if k.template.read(body, &scratch.tokens, &mut scratch.params) {
                let params = &scratch.params;
                let same = |(n, text): &(u32, Box<str>)| {
                    let (a, b) = params[*n as usize];
                    body[a as usize..b as usize] == **text
                };
                return k.constant.iter().all(same).then_some(&k.template);
            }
        }
        None
    }

    /// Templates that it knows.
    pub fn len(&self) -> usize {
        self.known.iter().flatten().count()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Miner {
    /// A read-only look-up of what is known now.
    pub fn matcher(&self) -> Matcher {
        let known = self.entries.iter().skip(1).map(|e| {
            let constant = e.slots.iter().enumerate().filter(|(_, s)| !s.varies);
            (e.count >= EAGER).then(|| Known {
                template: Arc::clone(&e.template),
                constant: constant.filter_map(|(n, s)| Some((n as u32, s.first.clone()?))).collect(),
            })
        });
        Matcher { known: std::iter::once(None).chain(known).collect(), index: self.index.clone() }
    }

    /// Counts bodies that a [`Matcher`] found.
    pub fn credit(&mut self, template_id: u64, bodies: u64) {
        if let Some(i) = self.by_id.get(&template_id) {
            self.entries[*i as usize].count += bodies;
        }
    }
}
