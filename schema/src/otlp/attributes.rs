//! Attributes into typed columns, as [`crate::stored`] says.
//!
//! Records of one place in a program carry the same keys in the same order. The shapes seen so far are a tree: each
//! node is one attribute (key and type) after those before it, and remembers which attribute came next the last time.
//! To append an attribute is then one comparison of the key's bytes and a push to the column that the node names;
//! where the guess fails, one look-up of the key and one of the edge. A shape is a leaf, its dictionary key is there.

use std::borrow::Cow;

use arrow_array::{
    ArrayRef,
    types::{Float64Type, Int64Type},
};
use arrow_schema::{ArrowError, DataType, Field};

use super::{
    DecodeError,
    check::{self, KEY_VALUE},
    columns::{Bools, Bytes, Dictionary, FastMap, Fixed, Numbers},
    key_value::{KeyValue, Value},
    wire::{Reader, put_bytes, put_varint},
};
use crate::{
    limits,
    stored::{self, Tag},
};

const NONE: u32 = u32::MAX;
/// Nodes of the tree of shapes; with as many, further shapes go to the rest.
const NODES: usize = 1 << 18;

/// Where a `KeyValue` message stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offset: usize,
}

#[derive(Debug)]
struct Key {
    /// As on the wire.
    raw: Box<[u8]>,
    /// Repaired and cut.
    name: Box<str>,
    /// One a tag of [`Tag::COLUMNS`].
    columns: [u32; Tag::COLUMNS.len()],
    /// The attempt in which it was last seen.
    seen: u64,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    /// [`NONE`] for an attribute in the rest.
    key: u32,
    tag: Tag,
    column: u32,
    /// The child taken last.
    next: u32,
    /// Key in the dictionary of shapes, or -1.
    shape: i32,
}

#[derive(Debug)]
enum Values {
    Text(Bytes),
    Uuid(Fixed<16>),
    Int(Numbers<Int64Type>),
    Double(Numbers<Float64Type>),
    Bool(Bools),
}

#[derive(Debug)]
struct Column {
    key: u32,
    tag: Tag,
    values: Values,
}

/// Why a record could not be cut into columns as it is.
enum Obstacle {
    /// A key comes twice.
    Duplicate,
    /// There are too many shapes.
    Shapes,
}

/// The attribute columns of a batch.
#[derive(Debug)]
pub(super) struct Attributes {
    keys: Vec<Key>,
    by_raw: FastMap<Box<[u8]>, u32>,
    nodes: Vec<Node>,
    edges: FastMap<(u32, u32, u8), u32>,
    columns: Vec<Column>,
    shapes: Dictionary,
    rest: Bytes,
    attempt: u64,
    /// How many rows are expected.
    expected: usize,
    /// Strings that were no UTF-8.
    pub(super) repaired: u64,
}

impl Attributes {
    pub(super) fn new() -> Self {
        let root = Node { parent: NONE, key: NONE, tag: Tag::Empty, column: NONE, next: NONE, shape: -1 };
        Self {
            keys: Vec::new(),
            by_raw: FastMap::default(),
            nodes: vec![root],
            edges: FastMap::default(),
            columns: Vec::new(),
            shapes: Dictionary::new(),
            rest: Bytes::new(),
            attempt: 0,
            expected: 0,
            repaired: 0,
        }
    }

    /// Says how many rows to make room for.
    pub(super) fn expect(&mut self, rows: usize) {
        self.expected = rows;
    }

    /// Appends the attributes of row `row`. Returns how many were dropped: those beyond [`limits::ATTRIBUTES`], those
    /// with an empty key, and lists and maps of more than [`limits::VALUE_BYTES`]. Of equal keys the last wins.
    pub(super) fn append(&mut self, row: usize, list: &[Raw<'_>]) -> Result<u32, DecodeError> {
        let kept = list.get(..limits::ATTRIBUTES).unwrap_or(list);
        let beyond = (list.len() - kept.len()) as u32;
        match self.attempt(row, kept)? {
            Ok(dropped) => return Ok(dropped + beyond),
            Err(Obstacle::Shapes) => {}
            Err(Obstacle::Duplicate) => {
                self.roll_back(row);
                let single = self.last_of_each(kept)?;
                match self.attempt(row, &single)? {
                    Ok(dropped) => return Ok(dropped + beyond),
                    Err(_) => {
                        self.roll_back(row);
                        return Ok(self.all_to_rest(row, &single)? + beyond);
                    }
                }
            }
        }
        self.roll_back(row);
        Ok(self.all_to_rest(row, kept)? + beyond)
    }

    fn attempt(&mut self, row: usize, list: &[Raw<'_>]) -> Result<Result<u32, Obstacle>, DecodeError> {
        self.attempt += 1;
        let mut dropped = 0;
        let mut node = 0;
        let mut rest = false;
        for raw in list {
            let KeyValue { key, value } = KeyValue::read(*raw)?;
            if key.is_empty() {
                dropped += 1;
                continue;
            }
            let guess = self.nodes[node as usize].next;
            let id = self.key(guess, &key);
            let known = &mut self.keys[id as usize];
            if known.seen == self.attempt {
                return Ok(Err(Obstacle::Duplicate));
            }
            known.seen = self.attempt;
            let tag = value.tag();
            let next = match self.nodes.get(guess as usize) {
                Some(n) if n.key == id && n.tag == tag => guess,
                _ => match self.step(node, id, tag) {
                    Some(next) => next,
                    None => return Ok(Err(Obstacle::Shapes)),
                },
            };
            if self.nodes[next as usize].tag == Tag::Rest {
                if !self.put_rest(row, id, *raw, &key, &value)? {
                    dropped += 1;
                    continue;
                }
                rest = true;
            } else {
                self.put(row, self.nodes[next as usize].column, &value);
            }
            node = next;
        }
        let Some(shape) = self.shape(node) else { return Ok(Err(Obstacle::Shapes)) };
        if rest {
            self.rest.close();
        }
        self.shapes.push_key(row, shape);
        Ok(Ok(dropped))
    }

    /// The key's number; most often that of the node that is guessed to come next.
    #[inline]
    fn key(&mut self, guess: u32, raw: &[u8]) -> u32 {
        if let Some(node) = self.nodes.get(guess as usize)
            && let Some(key) = self.keys.get(node.key as usize)
            && *key.raw == *raw
        {
            return node.key;
        }
        match self.by_raw.get(raw) {
            Some(id) => *id,
            None => self.new_key(raw),
        }
    }

    #[cold]
    fn new_key(&mut self, raw: &[u8]) -> u32 {
        let text = check::repair(raw, &mut self.repaired);
        let name = if text.len() > limits::KEY_BYTES { Cow::Owned(short_key(&text)) } else { text };
        let id = match self.by_raw.get(name.as_bytes()) {
            Some(id) => *id,
            None => {
                let id = self.keys.len() as u32;
                self.keys.push(Key {
                    raw: raw.into(),
                    name: (*name).into(),
                    columns: [NONE; Tag::COLUMNS.len()],
                    seen: 0,
                });
                self.by_raw.insert(name.as_bytes().into(), id);
                id
            }
        };
        self.by_raw.insert(raw.into(), id);
        id
    }

    /// The node of an attribute after `node`, made where it is new; `None` where the tree is full.
    fn step(&mut self, node: u32, id: u32, tag: Tag) -> Option<u32> {
        let column = self.column(id, tag);
        let (key, tag) = match (tag, column) {
            (Tag::Rest, _) => (NONE, Tag::Rest),
            (Tag::Empty, _) => (id, Tag::Empty),
            (_, NONE) => (NONE, Tag::Rest),
            _ => (id, tag),
        };
        let edge = (node, key, tag as u8);
        let next = match self.edges.get(&edge) {
            Some(next) => *next,
            None if self.nodes.len() >= NODES || self.shapes.distinct() >= stored::SHAPES => return None,
            None => {
                let next = self.nodes.len() as u32;
                self.nodes.push(Node { parent: node, key, tag, column, next: NONE, shape: -1 });
                self.edges.insert(edge, next);
                next
            }
        };
        self.nodes[node as usize].next = next;
        Some(next)
    }

    /// The column of a key and tag, made where it is new; [`NONE`] where it has none.
    fn column(&mut self, id: u32, tag: Tag) -> u32 {
        let Some(slot) = Tag::COLUMNS.iter().position(|t| *t == tag) else { return NONE };
        let known = self.keys[id as usize].columns[slot];
        if known != NONE || self.columns.len() >= limits::ATTRIBUTE_COLUMNS {
            return known;
        }
        let values = match tag {
            Tag::Text => Values::Text(Bytes::new()),
            Tag::Uuid => Values::Uuid(Fixed::new()),
            Tag::Int => Values::Int(Numbers::new()),
            Tag::Double => Values::Double(Numbers::new()),
            Tag::Bool => Values::Bool(Bools::new()),
            Tag::Empty | Tag::Rest => return NONE,
        };
        let column = self.columns.len() as u32;
        self.columns.push(Column { key: id, tag, values });
        self.keys[id as usize].columns[slot] = column;
        column
    }

    #[inline]
    fn put(&mut self, row: usize, column: u32, value: &Value<'_>) {
        let Some(column) = self.columns.get_mut(column as usize) else { return };
        match (&mut column.values, value) {
            (Values::Text(values), Value::Text(text)) => {
                let text = check::cut(text, limits::VALUE_BYTES);
                if values.len() == 0 {
                    values.reserve(self.expected, text.len());
                }
                values.push(row, text);
            }
            (Values::Uuid(values), Value::Uuid(uuid)) => values.push(row, *uuid),
            (Values::Int(values), Value::Int(int)) => values.push(row, *int),
            (Values::Double(values), Value::Double(double)) => values.push(row, *double),
            (Values::Bool(values), Value::Bool(bool)) => values.push(row, *bool),
            _ => {}
        }
    }

    /// Writes the attribute to the rest of the row, which stays open. `false`: it is too long and was dropped.
    fn put_rest(
        &mut self,
        row: usize,
        id: u32,
        raw: Raw<'_>,
        key: &[u8],
        value: &Value<'_>,
    ) -> Result<bool, DecodeError> {
        let checked = KEY_VALUE.checked(Reader::at(raw.bytes, raw.offset), &mut self.repaired)?;
        let name = &self.keys[id as usize].name;
        let same_key = *key == *name.as_bytes();
        if same_key && checked.len() <= limits::VALUE_BYTES && matches!(checked, Cow::Borrowed(_)) {
            let out = self.rest.writer(row);
            put_varint(out, checked.len() as u64);
            out.extend_from_slice(&checked);
            return Ok(true);
        }
        let text = match value {
            Value::Text(text) => Some(check::repair(text, &mut self.repaired)),
            _ => None,
        };
        let any = match &text {
            Some(text) => {
                let mut any = Vec::new();
                put_bytes(&mut any, 1, check::cut(text.as_bytes(), limits::VALUE_BYTES));
                Some(Cow::Owned(any))
            }
            None => {
                KeyValue::value_bytes(Raw { bytes: &checked, offset: raw.offset })?.map(|any| any.into_owned().into())
            }
        };
        if any.as_ref().is_some_and(|any: &Cow<'_, [u8]>| any.len() > limits::VALUE_BYTES + 8) {
            return Ok(false);
        }
        let mut message = Vec::new();
        put_bytes(&mut message, 1, name.as_bytes());
        if let Some(any) = any {
            put_bytes(&mut message, 2, &any);
        }
        let out = self.rest.writer(row);
        put_varint(out, message.len() as u64);
        out.extend_from_slice(&message);
        Ok(true)
    }

    /// The number of the shape that ends in `node`; `None` where there are too many.
    #[inline]
    fn shape(&mut self, node: u32) -> Option<i32> {
        match self.nodes.get(node as usize)?.shape {
            -1 => self.new_shape(node),
            shape => Some(shape),
        }
    }

    #[cold]
    fn new_shape(&mut self, node: u32) -> Option<i32> {
        if self.shapes.distinct() >= stored::SHAPES {
            return None;
        }
        let mut path = Vec::new();
        let mut at = node;
        while at != 0 {
            path.push(at);
            at = self.nodes.get(at as usize)?.parent;
        }
        let mut shape = Vec::new();
        for at in path.into_iter().rev() {
            let node = self.nodes.get(at as usize)?;
            shape.push(node.tag as u8);
            if node.tag != Tag::Rest {
                let name = self.keys.get(node.key as usize)?.name.as_bytes();
                put_varint(&mut shape, name.len() as u64);
                shape.extend_from_slice(name);
            }
        }
        let shape = self.shapes.intern(&shape);
        self.nodes.get_mut(node as usize)?.shape = shape;
        Some(shape)
    }

    fn all_to_rest(&mut self, row: usize, list: &[Raw<'_>]) -> Result<u32, DecodeError> {
        let mut kept = 0;
        for raw in list {
            let KeyValue { key, value } = KeyValue::read(*raw)?;
            if key.is_empty() {
                continue;
            }
            let id = self.key(NONE, &key);
            kept += usize::from(self.put_rest(row, id, *raw, &key, &value)?);
        }
        if kept > 0 {
            self.rest.close();
        }
        let shape = self.shapes.intern(&vec![Tag::Rest as u8; kept]);
        self.shapes.push_key(row, shape);
        Ok((list.len() - kept) as u32)
    }

    fn last_of_each<'a>(&mut self, list: &[Raw<'a>]) -> Result<Vec<Raw<'a>>, DecodeError> {
        self.attempt += 1;
        let mut kept = Vec::with_capacity(list.len());
        for raw in list.iter().rev() {
            let KeyValue { key, .. } = KeyValue::read(*raw)?;
            if !key.is_empty() {
                let id = self.key(NONE, &key);
                let key = &mut self.keys[id as usize];
                if key.seen == self.attempt {
                    continue;
                }
                key.seen = self.attempt;
            }
            kept.push(*raw);
        }
        kept.reverse();
        Ok(kept)
    }

    fn roll_back(&mut self, row: usize) {
        for column in &mut self.columns {
            match &mut column.values {
                Values::Text(values) => values.truncate(row),
                Values::Uuid(values) => values.truncate(row),
                Values::Int(values) => values.truncate(row),
                Values::Double(values) => values.truncate(row),
                Values::Bool(values) => values.truncate(row),
            }
        }
        self.rest.truncate(row);
    }

    /// The columns, in the order in which their keys first came.
    pub(super) fn finish(self, rows: usize, repaired: &mut u64) -> Result<Vec<(Field, ArrayRef)>, ArrowError> {
        let mut out = Vec::with_capacity(self.columns.len() + 2);
        *repaired += self.repaired;
        out.push((stored::dictionary(stored::SHAPE, DataType::Binary, false), self.shapes.binary(rows)?));
        if self.rest.len() > 0 {
            out.push((Field::new(stored::REST, DataType::Binary, true), self.rest.binary(rows)?));
        }
        for column in self.columns {
            let array = match column.values {
                Values::Text(values) if values.len() == 0 => None,
                Values::Text(values) => Some(values.text(rows, repaired)?),
                Values::Uuid(values) => values.finish(rows)?,
                Values::Int(values) => {
                    values.finish(rows, false)?.map(|array| -> ArrayRef { std::sync::Arc::new(array) })
                }
                Values::Double(values) => {
                    values.finish(rows, false)?.map(|array| -> ArrayRef { std::sync::Arc::new(array) })
                }
                Values::Bool(values) => Some(values.finish(rows)),
            };
            let (Some(array), Some(key)) = (array, self.keys.get(column.key as usize)) else { continue };
            let name = stored::attribute_column(column.tag, &key.name);
            out.push((Field::new(name, array.data_type().clone(), true), array));
        }
        Ok(out)
    }
}

/// A key of at most [`limits::KEY_BYTES`] that differs where the long keys do: its start and a hash.
fn short_key(key: &str) -> String {
    // FNV-1a: the name must be the same in every process and version, and 64 bits keep keys apart well enough.
    let hash = key.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    let start = check::cut(key.as_bytes(), limits::KEY_BYTES - 17);
    format!("{}~{hash:016x}", String::from_utf8_lossy(start))
}
