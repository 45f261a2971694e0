//! The miner: bodies in, templates out; templates that say the same joined into patterns.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster;
use crate::hash::{Identity, fold, gap};
use crate::template::{Slot, Template};
use crate::token::{self, Kind, Token};

/// Observations of a template that are all looked into; then every 64th is. Kinds of values settle early.
pub(crate) const EAGER: u64 = 64;

/// Bounds of a miner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Templates kept at most; a body beyond them gets the template `<*>` (the whole body is its parameter).
    pub max_templates: usize,
    /// Bytes of templates kept at most; the same for a body beyond them.
    pub max_bytes: usize,
    /// Templates born before [`Miner::observe`] compares all with each other again (and at least an eighth of them);
    /// `usize::MAX`: the caller does.
    pub merge_every: usize,
    /// Keys remembered of bodies that matched a widened template; forgotten all at once when full.
    pub max_memo: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_templates: 50_000, max_bytes: 64 << 20, merge_every: 256, max_memo: 65_536 }
    }
}

/// A body's template and where its parameters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'m> {
    /// The template's id.
    pub template_id: u64,
    /// Byte ranges of the parameters in the body, in order.
    pub params: &'m [(u32, u32)],
}

/// A template and what was seen of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) template: Arc<Template>,
    pub(crate) slots: Box<[Slot]>,
    pub(crate) count: u64,
    /// The entry whose pattern this belongs to (itself: it is the pattern).
    pub(crate) parent: u32,
}

/// Where bodies are looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// Key of a body's gaps and words -> template.
    pub(crate) exact: HashMap<u64, u32, Identity>,
    /// Key of a body's gaps -> widened templates, the most specific first.
    pub(crate) wide: HashMap<u64, Vec<u32>, Identity>,
}

/// Mines templates from bodies. Deterministic: the same bodies in the same order give the same templates and patterns.
#[derive(Debug)]
pub struct Miner {
    pub(crate) config: Config,
    pub(crate) entries: Vec<Entry>,
    pub(crate) by_id: HashMap<u64, u32, Identity>,
    pub(crate) index: Index,
    memo: HashMap<u64, u32, Identity>,
    pub(crate) fresh: usize,
    /// Bytes of all templates.
    bytes: usize,
    scratch: Scratch,
}

/// Buffers of one look-up, reused: make one a thread.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) tokens: Vec<Token>,
    pub(crate) params: Vec<(u32, u32)>,
}

/// The two keys of a body: of its gaps and words, and of its gaps alone.
#[inline]
pub(crate) fn keys(b: &[u8], tokens: &[Token]) -> (u64, u64) {
    let (mut full, mut skeleton) = (0, 0);
    let mut at = 0usize;
    for t in tokens {
        let g = gap(&b[at..t.start as usize]);
        full = fold(full, g ^ if t.kind == Kind::Word { t.hash } else { 1 });
        skeleton = fold(skeleton, g);
        at = t.end as usize;
    }
    let g = gap(&b[at..]);
    (fold(full, g), fold(skeleton, g))
}

impl Miner {
    /// An empty miner.
    pub fn new(config: Config) -> Self {
        let mut m = Self {
            config,
            entries: Vec::new(),
            by_id: HashMap::default(),
            index: Index::default(),
            memo: HashMap::default(),
            fresh: 0,
            bytes: 0,
            scratch: Scratch::default(),
        };
        // entry 0 takes what has no other template; made first, so that no forged id can take its place
        m.push(Template::new("", &[Token { start: 0, end: 0, kind: Kind::Value, hash: 0 }], |_| true));
        m
    }

    /// Finds or makes the template of `body`.
    pub fn observe(&mut self, body: &str) -> Match<'_> {
        let mut scratch = std::mem::take(&mut self.scratch);
        token::tokenise(body, &mut scratch.tokens);
        let i = self.find_or_make(body, &mut scratch);
        let e = &mut self.entries[i as usize];
        e.note(body, &scratch.params, &scratch.tokens);
        let template_id = e.template.id();
        if self.fresh >= self.config.merge_every.max(self.entries.len() / 8) {
            self.merge();
        }
        self.scratch = scratch;
        Match { template_id, params: &self.scratch.params }
    }

    fn find_or_make(&mut self, body: &str, s: &mut Scratch) -> u32 {
        let (full, skeleton) = keys(body.as_bytes(), &s.tokens);
        if let Some(&i) = self.index.exact.get(&full).or_else(|| self.memo.get(&full))
            && self.entries[i as usize].template.read(body, &s.tokens, &mut s.params)
        {
            return i;
        }
        for &i in self.index.wide.get(&skeleton).into_iter().flatten() {
            if self.entries[i as usize].template.read(body, &s.tokens, &mut s.params) {
                if self.memo.len() >= self.config.max_memo {
                    self.memo.clear();
                }
                self.memo.insert(full, i);
                return i;
            }
        }
        if self.has_room() && !self.index.exact.contains_key(&full) {
            let t = Template::new(body, &s.tokens, |i| s.tokens[i].kind != Kind::Word);
            if let Some(i) = self.add(t) {
                self.index.exact.insert(full, i);
                self.fresh += 1;
                let fits = self.entries[i as usize].template.read(body, &s.tokens, &mut s.params);
                debug_assert!(fits, "a template reads the body it was made of");
                return i;
            }
        }
        self.fallback(body, s)
    }

    fn has_room(&self) -> bool {
        self.entries.len() < self.config.max_templates && self.bytes < self.config.max_bytes
    }

    /// The template of what has no other: the whole body is its parameter.
    fn fallback(&mut self, body: &str, s: &mut Scratch) -> u32 {
        s.tokens.clear();
        s.tokens.push(Token { start: 0, end: body.len() as u32, kind: Kind::Value, hash: 0 });
        s.params.clear();
        s.params.push((0, body.len() as u32));
        0
    }

    /// Adds a template, or finds it; `None` when another has its id.
    pub(crate) fn add(&mut self, t: Template) -> Option<u32> {
        match self.by_id.get(&t.id()) {
            Some(&i) => (*self.entries[i as usize].template == t).then_some(i),
            None => Some(self.push(t)),
        }
    }

    fn push(&mut self, t: Template) -> u32 {
        let i = self.entries.len() as u32;
        self.by_id.insert(t.id(), i);
        let slots = vec![Slot::default(); t.params()].into();
        self.bytes += t.bytes();
        self.entries.push(Entry { template: Arc::new(t), slots, count: 0, parent: i });
        i
    }

    /// Makes the widened template known to look-ups, in place of those it covers.
    pub(crate) fn widen(&mut self, w: cluster::Widened) {
        if !self.has_room() {
            return;
        }
        let Some(i) = self.add(w.template) else { return };
        self.entries[i as usize].slots = w.slots;
        self.list(i);
        self.memo.clear();
        for m in w.covers {
            self.unite(m, i);
            if let Some(k) = self.key_of(m) {
                self.index.exact.insert(k, i);
            }
        }
    }

    /// Lists a widened template for look-ups, the most specific first.
    pub(crate) fn list(&mut self, i: u32) {
        let (_, skeleton) = cluster::keys(&self.entries[i as usize].template);
        let list = self.index.wide.entry(skeleton).or_default();
        if !list.contains(&i) {
            list.push(i);
            let entries = &self.entries;
            list.sort_by_key(|i| (entries[*i as usize].template.params(), *i));
        }
    }

    /// The key under which bodies of template `i` are found (`None`: it is a widened one).
    fn key_of(&self, i: u32) -> Option<u64> {
        let (full, _) = cluster::keys(&self.entries[i as usize].template);
        self.index.exact.get(&full).map(|_| full)
    }

    /// Makes two entries one pattern: the older one's.
    pub(crate) fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (root(&self.entries, a), root(&self.entries, b));
        let (lo, hi) = (a.min(b), a.max(b));
        self.entries[hi as usize].parent = lo;
    }

    /// A template by its id.
    pub fn template(&self, id: u64) -> Option<&Arc<Template>> {
        self.by_id.get(&id).map(|i| &self.entries[*i as usize].template)
    }

    /// Finds the template of `body` without learning anything.
    pub fn split<'s>(&self, body: &str, scratch: &'s mut Scratch) -> Option<Match<'s>> {
        token::tokenise(body, &mut scratch.tokens);
        let (full, skeleton) = keys(body.as_bytes(), &scratch.tokens);
        let exact = self.index.exact.get(&full).into_iter();
        for i in exact.chain(self.index.wide.get(&skeleton).into_iter().flatten()) {
            let t = &self.entries[*i as usize].template;
            if t.read(body, &scratch.tokens, &mut scratch.params) {
                return Some(Match { template_id: t.id(), params: &scratch.params });
            }
        }
        None
    }

    /// The templates, oldest first.
    pub fn templates(&self) -> impl ExactSizeIterator<Item = &Arc<Template>> {
        self.entries.iter().map(|e| &e.template)
    }
}

/// The entry that is the pattern of entry `i`.
pub(crate) fn root(entries: &[Entry], mut i: u32) -> u32 {
    while entries[i as usize].parent != i {
        i = entries[i as usize].parent;
    }
    i
}

impl Entry {
    /// Takes note of one body's parameters: all of them at first; later a sample, and what is new in a parameter that has been
    /// one text so far.
    #[inline]
    fn note(&mut self, body: &str, params: &[(u32, u32)], tokens: &[Token]) {
        let n = self.count;
        self.count += 1;
        let look = n <= EAGER || n.is_multiple_of(EAGER);
        if look || self.slots.iter().zip(params).any(|(s, p)| s.differs(&body[p.0 as usize..p.1 as usize])) {
            let kinds = tokens.iter().zip(self.template.parts()).filter(|(_, p)| p.param).map(|(t, _)| t.kind);
            for ((slot, p), kind) in self.slots.iter_mut().zip(params).zip(kinds) {
                slot.note(&body[p.0 as usize..p.1 as usize], kind);
            }
        }
    }
}
