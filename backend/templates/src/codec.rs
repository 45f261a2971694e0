//! A miner's state as bytes, so that a restart continues where it stopped: the same ids, patterns and statistics.
//!
//! Form: `DMTP`, a version, the templates in their order (text, parts, count, pattern, look-up target, parameters' statistics),
//! the widened ones, and a hash over all of it. Numbers are LEB128. What cannot be read is refused as a whole with
//! [`LoadError`]; starting empty is then safe, since a template's id is a hash of its text.

use std::fmt;

use crate::miner::{Config, Miner};
use crate::template::{Part, Slot, Template};
use crate::{cluster, hash};

const MAGIC: &[u8; 4] = b"DMTP";
const VERSION: u8 = 1;

/// Why saved state was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadError {
    /// Not a miner's state, or of another version.
    Format,
    /// Cut off or changed after it was written.
    Damaged,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "read templates: not a state of this version; start with an empty one",
            Self::Damaged => "read templates: the state is damaged; start with an empty one",
        })
    }
}

impl std::error::Error for LoadError {}

fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 128 {
        out.push(v as u8 | 128);
        v >>= 7;
    }
    out.push(v as u8);
}

fn put_text(out: &mut Vec<u8>, s: &str) {
    put(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

fn put_slot(out: &mut Vec<u8>, s: &Slot) {
    let bits = [s.first.is_some(), s.varies, s.hidden, s.units, s.lettered];
    out.push(bits.iter().enumerate().map(|(i, b)| u8::from(*b) << i).sum());
    if let Some(f) = &s.first {
        put_text(out, f);
    }
}

/// Reads what [`put`] and its like wrote.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], LoadError> {
        let (a, b) = self.0.split_at_checked(n).ok_or(LoadError::Damaged)?;
        self.0 = b;
        Ok(a)
    }

    fn byte(&mut self) -> Result<u8, LoadError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, LoadError> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            v |= u64::from(b & 127) << shift;
            if b < 128 {
                return Ok(v);
            }
        }
        Err(LoadError::Damaged)
    }

    /// A number that counts or points below `limit`.
    fn index(&mut self, limit: usize) -> Result<u32, LoadError> {
        let v = self.number()?;
        if v < limit as u64 { Ok(v as u32) } else { Err(LoadError::Damaged) }
    }

    fn text(&mut self) -> Result<&'a str, LoadError> {
        let n = self.index(self.0.len() + 1)?;
        std::str::from_utf8(self.take(n as usize)?).map_err(|_not_text| LoadError::Damaged)
    }

    fn slot(&mut self) -> Result<Slot, LoadError> {
        let b = self.byte()?;
        let first = if b & 1 != 0 { Some(self.text()?.into()) } else { None };
        Ok(Slot { first, varies: b & 2 != 0, hidden: b & 4 != 0, units: b & 8 != 0, lettered: b & 16 != 0 })
    }

    fn template(&mut self) -> Result<Template, LoadError> {
        let text = self.text()?;
        let n = self.index(text.len() + 2)?;
        let mut parts = Vec::with_capacity(n as usize);
        let mut at = 0u64;
        for _ in 0..n {
            let start = at + self.number()?;
            let len = self.number()?;
            let (end, param) = (start + (len >> 1), len & 1 == 1);
            if end > text.len() as u64 || !text.is_char_boundary(start as usize) || !text.is_char_boundary(end as usize)
            {
                return Err(LoadError::Damaged);
            }
            parts.push(Part { start: start as u32, end: end as u32, param });
            at = end;
        }
        Ok(Template::of_parts(text.into(), parts.into()))
    }
}

impl Miner {
    /// The state as bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put(&mut out, self.fresh as u64);
        put(&mut out, self.entries.len() as u64);
        for (i, e) in self.entries.iter().enumerate() {
            let t = &e.template;
            put_text(&mut out, t.text());
            put(&mut out, t.parts().len() as u64);
            let mut at = 0;
            for p in t.parts() {
                put(&mut out, u64::from(p.start - at));
                put(&mut out, u64::from(p.end - p.start) << 1 | u64::from(p.param));
                at = p.end;
            }
            put(&mut out, e.count);
            put(&mut out, (i as u32 - e.parent).into());
            let (full, _) = cluster::keys(t);
            put(&mut out, self.index.exact.get(&full).map_or(0, |to| u64::from(*to) + 1));
            for s in &e.slots {
                put_slot(&mut out, s);
            }
        }
        let mut wide: Vec<u32> = self.index.wide.values().flatten().copied().collect();
        wide.sort_unstable();
        put(&mut out, wide.len() as u64);
        for w in wide {
            put(&mut out, w.into());
        }
        let sum = hash::bytes(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// The miner that [`Miner::save`] wrote.
    ///
    /// # Errors
    /// [`LoadError`] when the bytes are not that.
    pub fn load(config: Config, bytes: &[u8]) -> Result<Self, LoadError> {
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or(LoadError::Format)?;
        let head = body.strip_prefix(MAGIC).ok_or(LoadError::Format)?;
        if head.first() != Some(&VERSION) {
            return Err(LoadError::Format);
        }
        if hash::bytes(body) != u64::from_le_bytes(*sum) {
            return Err(LoadError::Damaged);
        }
        let mut r = Reader(&head[1..]);
        let mut m = Self::new(config);
        m.fresh = r.number()? as usize;
        let n = r.index(body.len())? as usize;
        let mut targets = Vec::with_capacity(n);
        for i in 0..n {
            let t = r.template()?;
            if i == 0 && t != *m.entries[0].template {
                return Err(LoadError::Damaged);
            }
            if i > 0 && m.add(t) != Some(i as u32) {
                return Err(LoadError::Damaged);
            }
            m.entries[i].count = r.number()?;
            m.entries[i].parent = i as u32 - r.index(i + 1)?;
            targets.push(r.index(n + 1)?);
            for s in 0..m.entries[i].slots.len() {
                m.entries[i].slots[s] = r.slot()?;
            }
        }
        for (i, to) in targets.iter().enumerate().filter(|(_, to)| **to > 0) {
            let (full, _) = cluster::keys(&m.entries[i].template);
            m.index.exact.insert(full, to - 1);
        }
        for _ in 0..r.index(n + 1)? {
            let w = r.index(n)?;
            m.list(w);
        }
        Ok(m)
    }
}
