//! How many log records a file has by template, service, level and stretch of time: what counts of patterns are answered from,
//! without reading a row.
//!
//! It stands behind the filters of the file's index, compressed: the stretch's width, the texts, the templates (each with a
//! body that has it), then the groups; each says its rows, its first and last time, and its rows by stretch. A file of a few
//! minutes has stretches of a minute, one of a day of an hour. Last stands what the bodies of each template hold beside its
//! constants ([`super::beside`]), by which questions for words are answered; files of earlier versions end before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow_array::{ArrayRef, cast::AsArray, types::TimestampNanosecondType};
use arrow_schema::ArrowError;
use devmesh_schema::{TimestampNs, otlp::wire::put_varint};

use super::{
    beside::Beside,
    bodies::{Bodies, Keyed},
};
use crate::Error;

/// Widths of a stretch of time, ns.
const WIDTHS: [i64; 4] = [60_000_000_000, 300_000_000_000, 900_000_000_000, 3_600_000_000_000];
/// Stretches of a file at most, but for one that spans days.
const STRETCHES: i64 = 64;
/// Bytes of a summary before compression: more is not read.
const BYTES: usize = 256 << 20;
/// Bytes of an example.
const EXAMPLE_BYTES: usize = 256;
/// How hard zstd tries.
const LEVEL: i32 = 3;

/// The rows of a file in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Of a stretch of time, ns; stretches begin at multiples of it.
    pub(crate) width: i64,
    pub(crate) services: Vec<String>,
    pub(crate) levels: Vec<String>,
    /// Texts of templates, and an example of each.
    pub(crate) templates: Vec<(String, String)>,
    pub(crate) groups: Vec<Group>,
    /// Of the rows without a template, then of each template; empty where the file does not say.
    pub(crate) beside: Vec<Beside>,
}

/// Rows of one template, service and level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// `None`: without one.
    pub(crate) template: Option<u32>,
    pub(crate) service: u32,
    pub(crate) level: u32,
    pub(crate) rows: u64,
    /// First and last time.
    pub(crate) time: (TimestampNs, TimestampNs),
    /// Number of the stretch and its rows, ascending.
    pub(crate) stretches: Vec<(i64, u64)>,
}

impl Summary {
    /// Of rows in the order of a file.
    ///
    /// # Errors
    /// A column is not what stored rows have.
    pub(crate) fn of(
        bodies: Option<(&Bodies, Vec<Beside>)>,
        services: &ArrayRef,
        levels: &ArrayRef,
        times: &ArrayRef,
    ) -> Result<Self, Error> {
        let (services, levels) = (Keyed::of(services)?, Keyed::of(levels)?);
        let wrong = || ArrowError::SchemaError("stored rows lack their time".into());
        let times = times.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(wrong)?.values();
        let (first, last) = (times.iter().min().copied().unwrap_or(0), times.iter().max().copied().unwrap_or(0));
        let width = WIDTHS.into_iter().find(|width| last.saturating_sub(first) / width < STRETCHES);
        let width = width.unwrap_or(WIDTHS[WIDTHS.len() - 1]);
        type Rows = (u64, TimestampNs, TimestampNs, BTreeMap<i64, u64>);
        let mut groups: HashMap<(Option<u32>, u32, u32), Rows> = HashMap::new();
        for (row, time) in times.iter().enumerate() {
            let template = bodies.as_ref().and_then(|(bodies, _)| bodies.templates().keys[row]);
            let key = |keyed: &Keyed| keyed.keys.get(row).copied().flatten().unwrap_or_default();
            let group = groups.entry((template, key(&services), key(&levels)));
            let group = group.or_insert_with(|| (0, TimestampNs::MAX, TimestampNs::MIN, BTreeMap::new()));
            (group.0, group.1, group.2) = (group.0 + 1, group.1.min(*time), group.2.max(*time));
            *group.3.entry(time.div_euclid(width)).or_default() += 1;
        }
        let groups = groups.into_iter().collect::<BTreeMap<_, _>>().into_iter();
        let groups = groups.map(|((template, service, level), (rows, first, last, stretches))| {
            let (time, stretches) = ((first, last), stretches.into_iter().collect());
            Group { template, service, level, rows, time, stretches }
        });
        let (templates, beside) = match bodies {
            Some((bodies, beside)) => {
                let texts = bodies.templates().texts.iter().cloned();
                (texts.zip(bodies.examples().into_iter().map(crop)).collect(), beside)
            }
            None => (Vec::new(), Vec::new()),
        };
        let (services, levels) = (services.texts, levels.texts);
        Ok(Self { width, services, levels, templates, groups: groups.collect(), beside })
    }

    /// Whether any row holds all words of each of `wanted`, where the templates of all rows alone decide on each of them.
    pub(crate) fn decided(&self, wanted: &[&[String]]) -> Option<bool> {
        let templates: BTreeSet<Option<u32>> = self.groups.iter().map(|group| group.template).collect();
        let mut any = false;
        for template in templates {
            let at = template.map(|template| template as usize);
            let beside = self.beside.get(at.map_or(0, |at| at + 1))?;
            let text = at.and_then(|at| self.templates.get(at)).map(|(text, _)| text.as_str());
            let mut all = true;
            for words in wanted {
                all &= beside.decide(text, words)?;
            }
            any |= all;
        }
        Some(any)
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        put_varint(&mut out, self.width as u64);
        for texts in [&self.services, &self.levels] {
            put_varint(&mut out, texts.len() as u64);
            texts.iter().for_each(|text| put_text(&mut out, text));
        }
        put_varint(&mut out, self.templates.len() as u64);
        for (text, example) in &self.templates {
            put_text(&mut out, text);
            put_text(&mut out, example);
        }
        put_varint(&mut out, self.groups.len() as u64);
        for group in &self.groups {
            put_varint(&mut out, group.template.map_or(0, |template| u64::from(template) + 1));
            put_varint(&mut out, u64::from(group.service));
            put_varint(&mut out, u64::from(group.level));
            put_varint(&mut out, group.rows);
            put_signed(&mut out, group.time.0);
            put_varint(&mut out, group.time.1.wrapping_sub(group.time.0) as u64);
            put_varint(&mut out, group.stretches.len() as u64);
            let mut before = 0;
            for (stretch, rows) in &group.stretches {
                put_signed(&mut out, stretch - before);
                put_varint(&mut out, *rows);
                before = *stretch;
            }
        }
        put_varint(&mut out, self.beside.len() as u64);
        self.beside.iter().for_each(|beside| put_beside(&mut out, beside));
        let mut packed = (out.len() as u64).to_le_bytes().to_vec();
        let zstd = zstd::bulk::compress(&out, LEVEL).map_err(|error| ArrowError::IoError(error.to_string(), error))?;
        packed.extend_from_slice(&zstd);
        Ok(packed)
    }

    /// `None` where it is damaged.
    pub(crate) fn decode(packed: &[u8]) -> Option<Self> {
        let (length, zstd) = packed.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length <= BYTES)?;
        let bytes = zstd::bulk::decompress(zstd, length).ok()?;
        let mut input = Input(&bytes);
        let width = i64::try_from(input.varint()?).ok().filter(|width| *width > 0)?;
        let services = input.list(Input::text)?;
        let levels = input.list(Input::text)?;
        let templates = input.list(|input| Some((input.text()?, input.text()?)))?;
        let number = |number: u64, count: usize| u32::try_from(number).ok().filter(|at| (*at as usize) < count);
        let groups = input.list(|input| {
            let template = match input.varint()? {
                0 => None,
                template => Some(number(template - 1, templates.len())?),
            };
            let service = number(input.varint()?, services.len())?;
            let level = number(input.varint()?, levels.len())?;
            let rows = input.varint()?;
            let first = input.signed()?;
            let time = (first, first.wrapping_add(input.varint()? as i64));
            let mut at = 0_i64;
            let stretches = input.list(|input| {
                at = at.wrapping_add(input.signed()?);
                Some((at, input.varint()?))
            })?;
            Some(Group { template, service, level, rows, time, stretches })
        })?;
        let beside = if input.0.is_empty() { Vec::new() } else { input.list(Input::beside)? };
        if !beside.is_empty() && beside.len() != templates.len() + 1 {
            return None;
        }
        input.0.is_empty().then_some(Self { width, services, levels, templates, groups, beside })
    }
}

fn crop(body: &str) -> String {
    body[..body.floor_char_boundary(EXAMPLE_BYTES)].to_owned()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Small numbers of either sign in few bytes.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// A number says whether all words are told (1) and all bodies have the constants (2); then the words.
fn put_beside(out: &mut Vec<u8>, beside: &Beside) {
    put_varint(out, u64::from(beside.words.is_some()) | u64::from(beside.is_exact) << 1);
    if let Some(words) = &beside.words {
        put_varint(out, words.len() as u64);
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn beside(&mut self) -> Option<Beside> {
        let told = self.varint().filter(|told| *told < 4)?;
        let words = match told & 1 {
            0 => None,
            _ => Some(self.list(|input| {
                let (word, rest) = input.0.split_first_chunk::<8>()?;
                input.0 = rest;
                Some(u64::from_le_bytes(*word))
            })?),
        };
        Some(Beside { words, is_exact: told & 2 > 0 })
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.varint()?;
        // Each has a byte at least: a damaged count makes no memory.
        if count > self.0.len() as u64 {
            return None;
        }
        (0..count).map(|_| each(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{StringArray, TimestampNanosecondArray};

    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn summary(step: i64) -> Summary {
        let services: ArrayRef = Arc::new(StringArray::from(vec!["cart", "cart", "shop", "shop", "shop"]));
        let levels: ArrayRef = Arc::new(StringArray::from(vec!["INFO", "INFO", "INFO", "ERROR", "INFO"]));
        let times = (0..5).map(|n| n * step - MINUTE);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"));
        Summary::of(None, &services, &levels, &times).unwrap()
    }

    #[test]
    fn rows_are_counted_by_service_level_and_stretch() {
        let summary = summary(MINUTE / 2);
        assert_eq!(summary.width, MINUTE);
        let found: Vec<_> = summary.groups.iter().map(|g| (g.service, g.level, g.rows, g.stretches.clone())).collect();
        let expected = vec![(0, 0, 2, vec![(-1, 2)]), (1, 0, 2, vec![(0, 1), (1, 1)]), (1, 1, 1, vec![(0, 1)])];
        assert_eq!(found, expected);
        assert_eq!(summary.groups[1].time, (0, MINUTE));
    }

    #[test]
    fn a_file_of_hours_has_longer_stretches() {
        let widths =
            [(MINUTE, MINUTE), (17 * MINUTE, 5 * MINUTE), (100 * MINUTE, 15 * MINUTE), (1000 * MINUTE, 60 * MINUTE)];
        for (step, width) in widths {
            assert_eq!(summary(step).width, width, "{step}");
        }
    }

    #[test]
    fn it_survives_the_file_and_a_damaged_one_is_refused() {
        let mut summary = summary(7 * MINUTE);
        summary.templates = vec![("took <*> ms".into(), "took 7 ms".into()), ("".into(), "".into())];
        summary.groups[0].template = Some(1);
        let beside = |words, is_exact| Beside { words, is_exact };
        summary.beside = vec![beside(None, true), beside(Some(vec![7, u64::MAX]), true), beside(Some(vec![]), false)];
        let bytes = summary.encode().unwrap();
        assert_eq!(Summary::decode(&bytes), Some(summary));
        for cut in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn one_of_an_earlier_version_says_nothing_of_words() {
        let summary = summary(7 * MINUTE);
        let mut bytes = zstd::bulk::decompress(&summary.encode().unwrap()[8..], BYTES).unwrap();
        assert_eq!(bytes.pop(), Some(0), "how many there are");
        let mut packed = (bytes.len() as u64).to_le_bytes().to_vec();
        packed.extend(zstd::bulk::compress(&bytes, 1).unwrap());
        assert_eq!(Summary::decode(&packed), Some(summary));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let mut packed = (bytes.len() as u64).to_le_bytes().to_vec();
            packed.extend(zstd::bulk::compress(&bytes, 1).unwrap());
            drop(Summary::decode(&packed));
        }
    }
}
