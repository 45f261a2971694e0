//! The needle index of a file: for each range of [`PAGE_ROWS`] rows one split-block Bloom
//! filter over the words of the body, the values of attributes that rarely repeat, and the trace ids.
//!
//! It stands in the Parquet file between the last row group and the footer, where other readers don't look: a header
//! (JSON: what is covered, how large each filter is), then the filters. A question reads the header once and 32 bytes a
//! range and word. What the index cannot rule out it lets through, and so does a damaged one.
//!
//! The filters are those of the Parquet format: 256-bit blocks, eight bits set in each.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
};

use arrow_array::{Array, ArrayRef, cast::AsArray};
use arrow_schema::DataType;
use devmesh_schema::stored::{self, Tag};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    bodies::{Bodies, CutBodies, Part},
    parquet::PAGE_ROWS,
};
use crate::{Error, Filter, Op, Value, words::words};

/// Where in the file the index lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexPlace {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

const MAGIC: [u8; 4] = *b"dmx1";
/// Magic, length of the header, checksum of the header.
pub(crate) const PREFIX: usize = 16;
const BLOCK: usize = 32;
/// Bits a value: about one in a hundred that are not there seems to be.
const BITS: usize = 10;
/// Distinct values of a range above which a column's values are put into the filter. With fewer, most ranges hold them
/// all and a filter rules nothing out.
const RARE: usize = 256;
/// Keys in [`stored::REST`] that are named; beyond, any key may be there.
const REST_KEYS: usize = 1024;

/// What an index covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Rows of a range.
    range: usize,
    /// Rows of the file.
    rows: usize,
    /// Blocks of the filter of each range.
    blocks: Vec<u32>,
    /// Columns whose every value is in the filters.
    covered: BTreeSet<String>,
    /// Attribute columns that are not.
    other: BTreeSet<String>,
    /// Keys of attributes in [`stored::REST`]; `None`: any.
    rest: Option<BTreeSet<String>>,
    /// Bytes of the summary behind the filters.
    #[serde(default)]
    summary: usize,
}

/// Takes a hash as its own.
#[derive(Debug, Default, Clone)]
pub(crate) struct AsIsHasher(u64);

impl Hasher for AsIsHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// For sets of hashes.
pub(crate) type AsIs = BuildHasherDefault<AsIsHasher>;

type Hashes = HashSet<u64, AsIs>;

/// Gathers what a file's columns hold.
pub(crate) struct Builder {
    header: Header,
    ranges: Vec<Hashes>,
}

impl Builder {
    pub(crate) fn new(rows: usize) -> Self {
        let ranges = vec![Hashes::default(); rows.div_ceil(PAGE_ROWS)];
        let header = Header { range: PAGE_ROWS, rows, rest: Some(BTreeSet::new()), ..Header::default() };
        Self { header, ranges }
    }

    /// Adds a column, its rows in the order of the file.
    pub(crate) fn add(&mut self, name: &str, array: &ArrayRef) {
        match name {
            stored::BODY => self.add_words(name, array),
            stored::TRACE_ID => self.add_values(name, array, 0),
            stored::REST => self.add_rest(array),
            _ => match stored::parse_attribute_column(name) {
                Some((Tag::Text | Tag::Uuid, _)) => self.add_values(name, array, RARE),
                Some(_) => {
                    self.header.other.insert(name.to_owned());
                }
                None => {}
            },
        }
    }

    /// Cuts bodies, in the order of the file, and adds them.
    ///
    /// # Errors
    /// As [`Bodies::cut`].
    pub(crate) fn add_bodies(&mut self, bodies: &Bodies) -> Result<CutBodies, Error> {
        let (words, templates) = (seed(stored::BODY), seed(stored::TEMPLATE));
        let cut = bodies.cut(PAGE_ROWS, |range, part| {
            self.ranges[range].insert(match part {
                Part::Word(word) => hash(words, word.as_bytes()),
                Part::Template(id) => hash(templates, &id.to_le_bytes()),
            });
        })?;
        self.header.covered.extend([stored::BODY.to_owned(), stored::TEMPLATE.to_owned()]);
        Ok(cut)
    }

    fn add_words(&mut self, name: &str, array: &ArrayRef) {
        let Some(texts) = array.as_string_opt::<i32>() else { return };
        let seed = seed(name);
        for (range, hashes) in self.ranges.iter_mut().enumerate() {
            for row in rows_of(range, texts.len()) {
                if texts.is_valid(row) {
                    words(texts.value(row), |word| {
                        hashes.insert(hash(seed, word.as_bytes()));
                    });
                }
            }
        }
        self.header.covered.insert(name.to_owned());
    }

    /// Covers the column if in some range it has at least `rare` distinct values.
    fn add_values(&mut self, name: &str, array: &ArrayRef, rare: usize) {
        let seed = seed(name);
        let value: Box<dyn Fn(usize) -> u64> = match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>().clone();
                Box::new(move |row| hash(seed, texts.value(row).as_bytes()))
            }
            DataType::FixedSizeBinary(_) => {
                let values = array.as_fixed_size_binary().clone();
                Box::new(move |row| hash(seed, values.value(row)))
            }
            _ => {
                self.header.other.insert(name.to_owned());
                return;
            }
        };
        let distinct = |range: usize| -> Hashes {
            rows_of(range, array.len()).filter(|row| array.is_valid(*row)).map(&value).collect()
        };
        let ranges: Vec<Hashes> = (0..self.ranges.len()).map(distinct).collect();
        if ranges.iter().all(|hashes| hashes.len() < rare) {
            self.header.other.insert(name.to_owned());
            return;
        }
        for (all, own) in self.ranges.iter_mut().zip(ranges) {
            all.extend(own);
        }
        self.header.covered.insert(name.to_owned());
    }

    fn add_rest(&mut self, array: &ArrayRef) {
        let Some(values) = array.as_binary_opt::<i32>() else {
            self.header.rest = None;
            return;
        };
        for value in values.iter().flatten() {
            let Some(keys) = &mut self.header.rest else { return };
            let whole = rest_keys(value, |key| {
                if !keys.contains(key) {
                    keys.insert(key.to_owned());
                }
            });
            if whole.is_none() || keys.len() > REST_KEYS {
                self.header.rest = None;
            }
        }
    }

    /// The keys of the attributes in [`stored::REST`]; `None` where they are too many, or cannot be told.
    pub(crate) fn rest_keys(&self) -> Option<&BTreeSet<String>> {
        self.header.rest.as_ref()
    }

    /// The bytes of the index, with a summary of the rows behind the filters.
    pub(crate) fn finish(mut self, summary: &[u8]) -> Vec<u8> {
        self.header.summary = summary.len();
        let blocks = |hashes: &Hashes| (hashes.len() * BITS).div_ceil(BLOCK * 8);
        self.header.blocks =
            self.ranges.iter().map(|hashes| u32::try_from(blocks(hashes)).unwrap_or(u32::MAX)).collect();
        // A map with text keys and numbers can always be written.
        let header = serde_json::to_vec(&self.header).unwrap_or_default();
        let total: usize = self.header.blocks.iter().map(|blocks| *blocks as usize * BLOCK).sum();
        let mut bytes = Vec::with_capacity(PREFIX + header.len() + total + summary.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&header).to_le_bytes());
        bytes.extend_from_slice(&header);
        for (hashes, blocks) in self.ranges.iter().zip(&self.header.blocks) {
            let start = bytes.len();
            bytes.resize(start + *blocks as usize * BLOCK, 0);
            let filter = &mut bytes[start..];
            for hash in hashes {
                let block = &mut filter[block_of(*hash, *blocks) * BLOCK..][..BLOCK];
                for (word, mask) in block.chunks_exact_mut(4).zip(masks(*hash)) {
                    for (byte, bits) in word.iter_mut().zip(mask.to_le_bytes()) {
                        *byte |= bits;
                    }
                }
            }
        }
        bytes.extend_from_slice(summary);
        bytes
    }
}

/// The keys of the `KeyValue` messages in a value of [`stored::REST`]; `None` where it is not of that form.
fn rest_keys(mut bytes: &[u8], mut each: impl FnMut(&str)) -> Option<()> {
    while !bytes.is_empty() {
        let length = usize::try_from(varint(&mut bytes)?).ok()?;
        let mut message = bytes.get(..length)?;
        bytes = &bytes[length..];
        let mut key = "";
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            if tag & 7 != 2 {
                return None;
            }
            let length = usize::try_from(varint(&mut message)?).ok()?;
            if tag >> 3 == 1 {
                key = std::str::from_utf8(message.get(..length)?).ok()?;
            }
            message = message.get(length..)?;
        }
        each(key);
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn rows_of(range: usize, rows: usize) -> Range<usize> {
    let start = range * PAGE_ROWS;
    start..(start + PAGE_ROWS).min(rows)
}

fn seed(column: &str) -> u64 {
    xxh3_64(column.as_bytes())
}

fn hash(seed: u64, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, seed)
}

fn block_of(hash: u64, blocks: u32) -> usize {
    (((hash >> 32) * u64::from(blocks)) >> 32) as usize
}

fn masks(hash: u64) -> [u32; 8] {
    const SALT: [u32; 8] =
        [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
    SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// What a scan's filters ask of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// No row of the file can match.
    Never,
    /// A row can match where of each clause at least one hash is in its range's filter.
    Clauses(Vec<Vec<u64>>),
}

impl Header {
    /// Reads the header at the beginning of an index; answers where the filters begin.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Header, usize)> {
        let length = Self::length(bytes)?;
        let header = bytes.get(PREFIX..PREFIX + length)?;
        let sum = bytes.get(8..PREFIX)?;
        if sum != xxh3_64(header).to_le_bytes() {
            return None;
        }
        let header: Header = serde_json::from_slice(header).ok()?;
        let ranges = header.rows.checked_add(header.range)?.checked_sub(1)?.checked_div(header.range)?;
        (ranges == header.blocks.len()).then_some((header, PREFIX + length))
    }

    /// Bytes of the header that follows the first [`PREFIX`] bytes.
    pub(crate) fn length(prefix: &[u8]) -> Option<usize> {
        let prefix = prefix.first_chunk::<PREFIX>()?;
        (prefix[..4] == MAGIC).then(|| u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize)
    }

    /// Translates what a scan asks into what the filters can answer.
    pub(crate) fn question(&self, filters: &[Filter]) -> Question {
        let mut clauses = Vec::new();
        for filter in filters {
            match self.clauses(filter) {
                Some(own) if own.iter().any(Vec::is_empty) => return Question::Never,
                Some(own) => clauses.extend(own),
                None => {}
            }
        }
        Question::Clauses(clauses)
    }

    /// ANDed clauses of ORed hashes; an empty clause never holds. `None`: the index can't tell.
    fn clauses(&self, filter: &Filter) -> Option<Vec<Vec<u64>>> {
        match filter {
            Filter::Words { column, words } if column == stored::BODY && self.covered.contains(stored::BODY) => {
                let seed = seed(stored::BODY);
                Some(words.iter().map(|word| vec![hash(seed, word.as_bytes())]).collect())
            }
            Filter::Compare { column, op: Op::Eq, value: Value::Text(body) }
                if column == stored::BODY && self.covered.contains(stored::BODY) =>
            {
                let (seed, mut clauses) = (seed(stored::BODY), Vec::new());
                words(body, |word| clauses.push(vec![hash(seed, word.as_bytes())]));
                Some(clauses)
            }
            Filter::Compare { column, op: Op::Eq, value } if column == stored::TRACE_ID => {
                self.trace_ids(std::slice::from_ref(value))
            }
            Filter::OneOf { column, values } if column == stored::TRACE_ID => self.trace_ids(values),
            Filter::OneOf { column, values } if column == stored::TEMPLATE => self.templates(values),
            Filter::Attribute { key, value } => self.attribute(key, value).map(|clause| vec![clause]),
            _ => None,
        }
    }

    /// Templates by the bits of their ids.
    fn templates(&self, values: &[Value]) -> Option<Vec<Vec<u64>>> {
        let seed = seed(stored::TEMPLATE);
        let template = |value: &Value| match value {
            Value::Int(id) => Some(hash(seed, &id.to_le_bytes())),
            Value::Text(_) | Value::Double(_) => None,
        };
        let covered = self.covered.contains(stored::TEMPLATE);
        covered.then(|| Some(vec![values.iter().map(template).collect::<Option<Vec<u64>>>()?])).flatten()
    }

    fn trace_ids(&self, values: &[Value]) -> Option<Vec<Vec<u64>>> {
        if !self.covered.contains(stored::TRACE_ID) {
            return None;
        }
        let seed = seed(stored::TRACE_ID);
        let mut clause = Vec::new();
        for value in values {
            let Value::Text(text) = value else { return None };
            if text.is_empty() {
                // What a missing id may be shown as.
                return None;
            }
            let mut id = [0; 16];
            // Ids are shown in lower case: any other text equals none.
            if hex::decode_to_slice(text, &mut id).is_ok() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
                clause.push(hash(seed, &id));
            }
        }
        Some(vec![clause])
    }

    /// The hashes one of which is there if an attribute has the value; `None` if it may be there without any.
    fn attribute(&self, key: &str, value: &str) -> Option<Vec<u64>> {
        if self.rest.as_ref().is_none_or(|keys| keys.contains(key)) {
            return None;
        }
        let mut clause = Vec::new();
        for tag in Tag::COLUMNS {
            let name = stored::attribute_column(tag, key);
            let bytes = match tag {
                Tag::Uuid => match uuid::Uuid::parse_str(value) {
                    Ok(uuid) if uuid.hyphenated().to_string() == value => Some(uuid.as_bytes().to_vec()),
                    _ => None,
                },
                Tag::Int => value.parse::<i64>().ok().map(|_int| Vec::new()),
                Tag::Bool => value.parse::<bool>().ok().map(|_bool| Vec::new()),
                Tag::Double => value.parse::<f64>().ok().map(|_double| Vec::new()),
                Tag::Text | Tag::Empty | Tag::Rest => Some(value.as_bytes().to_vec()),
            };
            // A text that no value of the type is written as.
            let Some(bytes) = bytes else { continue };
            if self.covered.contains(&name) {
                clause.push(hash(seed(&name), &bytes));
            } else if self.other.contains(&name) {
                return None;
            }
        }
        Some(clause)
    }

    /// Where behind the beginning of the filters the summary stands, and its bytes; `None` where there is none.
    pub(crate) fn summary(&self) -> Option<(u64, usize)> {
        let filters: u64 = self.blocks.iter().map(|blocks| u64::from(*blocks) * BLOCK as u64).sum();
        (self.summary > 0).then_some((filters, self.summary))
    }

    /// The rows that can match, as ascending, disjoint ranges. `block` reads 32 bytes at an offset from the filters'
    /// beginning.
    pub(crate) fn select<E>(
        &self,
        clauses: &[Vec<u64>],
        mut block: impl FnMut(u64) -> Result<[u8; BLOCK], E>,
    ) -> Result<Vec<Range<usize>>, E> {
        let mut selected: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for (range, blocks) in self.blocks.iter().enumerate() {
            let mut possible = true;
            for clause in clauses {
                possible = false;
                for hash in clause {
                    // An empty filter holds nothing.
                    if *blocks > 0 {
                        let at = start + (block_of(*hash, *blocks) * BLOCK) as u64;
                        possible |= contains(&block(at)?, *hash);
                    }
                    if possible {
                        break;
                    }
                }
                if !possible {
                    break;
                }
            }
            start += u64::from(*blocks) * BLOCK as u64;
            if !possible {
                continue;
            }
            let rows = range * self.range..((range + 1) * self.range).min(self.rows);
            match selected.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => selected.push(rows),
            }
        }
        Ok(selected)
    }
}

fn contains(block: &[u8; BLOCK], hash: u64) -> bool {
    block.chunks_exact(4).zip(masks(hash)).all(|(word, mask)| {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        word & mask != 0
    })
}

#[cfg(test)]
mod tests;
