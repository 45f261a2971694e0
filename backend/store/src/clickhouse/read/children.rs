//! Messages out of the columns of other writers' rows: attributes, events, links, exemplars.

use arrow_array::{
    Array, ArrayRef, BinaryArray, Float64Array, ListArray, MapArray, StringArray, TimestampNanosecondArray,
    cast::AsArray,
    types::{Float64Type, TimestampNanosecondType},
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use devmesh_schema::{
    otlp::wire::{put_bytes, put_fixed64, put_message, put_varint},
    tables,
};

use super::{Input, Made, bytes, put_text};
use crate::clickhouse::arrays;

/// Maps from text to text.
pub(super) struct Maps {
    pub(super) offsets: Vec<usize>,
    pub(super) keys: arrow_array::Int32Array,
    pub(super) names: StringArray,
    pub(super) values: StringArray,
}

impl Maps {
    pub(super) fn new(map: &MapArray) -> Result<Self, ArrowError> {
        let (keys, names) = arrays::keyed(map.keys())?;
        let values = match map.values().data_type() {
            DataType::Dictionary(_, inner) => cast(map.values(), inner)?,
            _ => std::sync::Arc::clone(map.values()),
        };
        Ok(Self {
            offsets: map.value_offsets().iter().map(|offset| *offset as usize).collect(),
            keys,
            names: arrays::repaired(&names)?.as_string::<i32>().clone(),
            values: arrays::repaired(&values)?.as_string::<i32>().clone(),
        })
    }

    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.names.value(self.keys.value(at) as usize)
    }

    /// Writes the entries of a map as `KeyValue` messages with text in field `number`.
    pub(super) fn put(&self, out: &mut Vec<u8>, number: u32, row: usize) {
        for at in self.range(row) {
            put_message(out, number, |out| {
                put_bytes(out, 1, self.name(at).as_bytes());
                put_message(out, 2, |out| put_bytes(out, 1, self.values.value(at).as_bytes()));
            });
        }
    }
}

/// The lists of one column, and their values.
struct Lists {
    offsets: Vec<usize>,
    values: ArrayRef,
}

impl Lists {
    fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let lists: &ListArray = array
            .as_list_opt::<i32>()
            .ok_or_else(|| ArrowError::SchemaError("a column of ClickHouse is no list".into()))?;
        let offsets = lists.value_offsets().iter().map(|offset| *offset as usize).collect();
        Ok(Self { offsets, values: std::sync::Arc::clone(lists.values()) })
    }

    fn text(&self) -> Result<StringArray, ArrowError> {
        Ok(arrays::repaired(&self.values)?.as_string::<i32>().clone())
    }

    fn times(&self) -> Result<TimestampNanosecondArray, ArrowError> {
        let times = cast(&self.values, &tables::timestamp())?;
        Ok(times.as_primitive::<TimestampNanosecondType>().clone())
    }

    fn maps(&self) -> Result<Maps, ArrowError> {
        let map = self.values.as_map_opt();
        Maps::new(map.ok_or_else(|| ArrowError::SchemaError("a column of ClickHouse is no list of maps".into()))?)
    }
}

/// Adds the messages that `put` writes for the values of each row to those that the rows of ours have.
fn merged(own: &[(usize, Vec<u8>)], offsets: &[usize], put: impl Fn(&mut Vec<u8>, usize)) -> Vec<(usize, Vec<u8>)> {
    let mut all = own.to_vec();
    for (row, pair) in offsets.windows(2).enumerate() {
        if pair[0] == pair[1] {
            continue;
        }
        let mut messages = Vec::new();
        let mut message = Vec::new();
        for at in pair[0]..pair[1] {
            message.clear();
            put(&mut message, at);
            put_varint(&mut messages, message.len() as u64);
            messages.extend_from_slice(&message);
        }
        all.push((row, messages));
    }
    all.sort_by_key(|(row, _)| *row);
    all
}

/// Writes an id; nothing where the digits are none.
fn put_id(out: &mut Vec<u8>, field: u32, digits: &str) {
    if let Ok(id) = hex::decode(digits)
        && !id.is_empty()
    {
        put_bytes(out, field, &id);
    }
}

impl Input<'_> {
    pub(super) fn events(&self, name: &str, own: &[(usize, Vec<u8>)]) -> Result<Made, ArrowError> {
        let times = Lists::new(self.array("event_time")?)?;
        let (names, maps) = (Lists::new(self.array("event_name")?)?, Lists::new(self.array("event_attributes")?)?);
        let (times, names, maps, offsets) = (times.times()?, names.text()?, maps.maps()?, times.offsets);
        let all = merged(own, &offsets, |out, at| {
            put_fixed64(out, 1, times.value(at) as u64);
            put_text(out, 2, names.value(at));
            maps.put(out, 3, at);
        });
        Ok(bytes(name, &all, self.len()))
    }

    pub(super) fn links(&self, name: &str, own: &[(usize, Vec<u8>)]) -> Result<Made, ArrowError> {
        let [traces, spans, states] =
            ["link_trace", "link_span", "link_state"].map(|name| Lists::new(self.array(name)?));
        let (traces, maps) = (traces?, Lists::new(self.array("link_attributes")?)?.maps()?);
        let (spans, states) = (spans?.text()?, states?.text()?);
        let ids = traces.text()?;
        let all = merged(own, &traces.offsets, |out, at| {
            put_id(out, 1, ids.value(at));
            put_id(out, 2, spans.value(at));
            put_text(out, 3, states.value(at));
            maps.put(out, 4, at);
        });
        Ok(bytes(name, &all, self.len()))
    }

    pub(super) fn exemplars(&self, name: &str, own: &[(usize, Vec<u8>)]) -> Result<Made, ArrowError> {
        let lists = |name| Lists::new(self.array(name)?);
        let times = lists("exemplar_time")?;
        let values = cast(&lists("exemplar_value")?.values, &DataType::Float64)?;
        let values: &Float64Array = values.as_primitive::<Float64Type>();
        let (spans, traces) = (lists("exemplar_span")?.text()?, lists("exemplar_trace")?.text()?);
        let maps = lists("exemplar_attributes")?.maps()?;
        let (times, offsets) = (times.times()?, times.offsets);
        let all = merged(own, &offsets, |out, at| {
            put_fixed64(out, 2, times.value(at) as u64);
            put_fixed64(out, 3, values.value(at).to_bits());
            put_id(out, 4, spans.value(at));
            put_id(out, 5, traces.value(at));
            maps.put(out, 7, at);
        });
        Ok(bytes(name, &all, self.len()))
    }
}

/// The bytes of a binary column.
pub(super) fn binary(array: &ArrayRef) -> Result<BinaryArray, ArrowError> {
    let array = match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)?,
        _ => std::sync::Arc::clone(array),
    };
    Ok(cast(&array, &DataType::Binary)?.as_binary::<i32>().clone())
}
