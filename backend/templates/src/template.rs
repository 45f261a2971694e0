//! A template: the constant text of a body with a marker for each parameter.
//!
//! A template never changes once it has an id; what was seen of its parameters is kept beside it ([`Slot`]). That is what
//! makes reconstruction exact: a stored row names a template and its parameters, and [`Template::fill`] puts the bytes back.

use crate::token::{Kind, Token};
use crate::{form, hash};

/// The marker of a parameter in a template's text. A body that holds these three bytes has them in a parameter.
pub const MARK: &str = "<*>";
/// Bytes of a parameter that statistics remember; a longer one counts as varying.
pub(crate) const MAX_SAMPLE: usize = 96;

/// The id of the template with this text: what a stored row says is the text.
pub fn template_id(text: &str) -> u64 {
    hash::bytes(text.as_bytes())
}

/// One token in a template's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Bytes `start..end` of the text; a parameter's bytes are its [`MARK`].
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) param: bool,
}

/// A template: text with [`MARK`]s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    id: u64,
    text: Box<str>,
    parts: Box<[Part]>,
    params: u32,
}

impl Template {
    /// Makes the template of `body` cut into `tokens`, where `param(i)` says that token i is a parameter.
    pub(crate) fn new(body: &str, tokens: &[Token], param: impl Fn(usize) -> bool) -> Self {
        let mut text = String::with_capacity(body.len());
        let mut parts = Vec::with_capacity(tokens.len());
        let mut at = 0;
        for (i, t) in tokens.iter().enumerate() {
            text.push_str(&body[at..t.start as usize]);
            let start = text.len() as u32;
            let param = param(i);
            text.push_str(if param { MARK } else { &body[t.start as usize..t.end as usize] });
            parts.push(Part { start, end: text.len() as u32, param });
            at = t.end as usize;
        }
        text.push_str(&body[at..]);
        Self::of_parts(text.into(), parts.into())
    }

    /// A template of its parts (as saved).
    pub(crate) fn of_parts(text: Box<str>, parts: Box<[Part]>) -> Self {
        let params = parts.iter().filter(|p| p.param).count() as u32;
        Self { id: template_id(&text), text, parts, params }
    }

    /// This template with more parameters: those at `param(i)` of its parts.
    pub(crate) fn widened(&self, param: impl Fn(usize) -> bool) -> Self {
        let mut text = String::with_capacity(self.text.len());
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut at = 0;
        for (i, p) in self.parts.iter().enumerate() {
            text.push_str(&self.text[at..p.start as usize]);
            let start = text.len() as u32;
            let param = p.param || param(i);
            text.push_str(if param { MARK } else { &self.text[p.start as usize..p.end as usize] });
            parts.push(Part { start, end: text.len() as u32, param });
            at = p.end as usize;
        }
        text.push_str(&self.text[at..]);
        Self::of_parts(text.into(), parts.into())
    }

    /// Its id: a hash of its text, the same on every machine and in every run.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its text, with [`MARK`] for each parameter.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.parts.len() * size_of::<Part>() + self.params() * size_of::<Slot>()
    }

    /// Number of parameters.
    pub fn params(&self) -> usize {
        self.params as usize
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Word `i`'s text ([`MARK`] for a parameter).
    pub(crate) fn part(&self, i: usize) -> &str {
        let p = self.parts[i];
        &self.text[p.start as usize..p.end as usize]
    }

    /// What stands before part `i`; with `i` the number of parts, what stands after the last.
    pub(crate) fn gap(&self, i: usize) -> &str {
        let from = if i == 0 { 0 } else { self.parts[i - 1].end as usize };
        let to = self.parts.get(i).map_or(self.text.len(), |p| p.start as usize);
        &self.text[from..to]
    }

    /// The constant parts, one more than there are parameters.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        let mut at = 0usize;
        let ends = self.parts.iter().filter(|p| p.param).map(|p| (p.start as usize, p.end as usize));
        ends.chain(std::iter::once((self.text.len(), self.text.len()))).map(move |(start, end)| {
            let lit = &self.text[at..start];
            at = end;
            lit
        })
    }

    /// Reads `body` against this template: fills `params` and says whether the constants are the body's.
    #[inline]
    pub(crate) fn read(&self, body: &str, tokens: &[Token], params: &mut Vec<(u32, u32)>) -> bool {
        params.clear();
        if tokens.len() != self.parts.len() {
            return false;
        }
        let (body, text) = (body.as_bytes(), self.text.as_bytes());
        let (mut at, mut from) = (0usize, 0usize);
        for (t, p) in tokens.iter().zip(&*self.parts) {
            if p.param {
                if body[at..t.start as usize] != text[from..p.start as usize] {
                    return false;
                }
                params.push((t.start, t.end));
                at = t.end as usize;
                from = p.end as usize;
            }
        }
        body[at..] == text[from..]
    }

    /// Puts a body together again; `None` when the number of parameters is not the template's.
    pub fn fill<'a>(&self, params: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let mut out = String::with_capacity(self.text.len() + 32);
        let mut params = params.into_iter();
        let mut lits = self.literals();
        out.push_str(lits.next()?);
        for l in lits {
            out.push_str(params.next()?);
            out.push_str(l);
        }
        params.next().is_none().then_some(out)
    }
}

/// What is known of one parameter's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The first value, while its text may still be shown.
    pub(crate) first: Option<Box<str>>,
    /// More than one value was seen.
    pub(crate) varies: bool,
    /// Not even the text around the digits is the same: shown as a parameter.
    pub(crate) hidden: bool,
    /// A number and its unit was seen.
    pub(crate) units: bool,
    /// A value with letters was seen that was no unit: a name, not a number.
    pub(crate) lettered: bool,
}

impl Slot {
    /// A slot whose text is never shown.
    pub(crate) fn hidden() -> Self {
        Self { first: None, varies: true, hidden: true, units: false, lettered: false }
    }

    /// Takes note of one value.
    pub(crate) fn note(&mut self, value: &str, kind: Kind) {
        if self.hidden {
            return;
        }
        let quantity = kind == Kind::Mixed && form::quantity(value);
        let units = self.units || quantity;
        let lettered = self.lettered || (kind == Kind::Mixed && !quantity);
        match &self.first {
            _ if kind == Kind::Value || value.len() > MAX_SAMPLE => *self = Self::hidden(),
            None => self.first = Some(value.into()),
            Some(f) if **f == *value => {}
            Some(f) => {
                self.varies = true;
                if !form::same(f, value) {
                    *self = Self::hidden();
                }
            }
        }
        self.units = units;
        self.lettered = lettered;
    }

    /// Whether this value would be the second one.
    #[inline]
    pub(crate) fn differs(&self, value: &str) -> bool {
        !self.varies && self.first.as_deref() != Some(value)
    }

    /// Joins what two templates know of one parameter.
    pub(crate) fn join(&mut self, other: &Slot) {
        let (units, lettered) = (self.units || other.units, self.lettered || other.lettered);
        let same = match (&self.first, &other.first) {
            (Some(a), Some(b)) if a == b => true,
            (Some(a), Some(b)) => {
                self.varies = true;
                form::same(a, b)
            }
            _ => false,
        };
        if !same || self.hidden || other.hidden {
            *self = Self::hidden();
        }
        self.varies |= other.varies;
        self.units = units;
        self.lettered = lettered;
    }

    /// The constant that this parameter has been so far.
    pub(crate) fn constant(&self) -> Option<&str> {
        self.first.as_deref().filter(|f| !self.varies && form::constant(f))
    }

    /// What a pattern shows for this parameter.
    pub(crate) fn shown(&self) -> String {
        match (&self.first, self.constant()) {
            (_, Some(c)) => c.to_owned(),
            (Some(f), None) if !self.hidden => form::shown(f),
            _ => MARK.to_owned(),
        }
    }
}
