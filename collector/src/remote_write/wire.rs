//! What the messages of both versions have in common: samples, histograms, lists of numbers.

use devmesh_schema::{
    limits,
    otlp::{
        DecodeError,
        wire::{Reader, Wire},
    },
};

use crate::prometheus::{Histogram, Number, Reset, Sample, Side};

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// A reader of the message that the field is.
pub(super) fn inner<'a>(reader: &Reader<'a>, wire: Wire<'a>) -> Result<Reader<'a>> {
    Ok(reader.enter(wire.bytes(reader)?))
}

pub(super) fn double(reader: &Reader<'_>, wire: Wire<'_>) -> Result<f64> {
    Ok(f64::from_bits(wire.fixed64(reader)?))
}

pub(super) fn int64(reader: &Reader<'_>, wire: Wire<'_>) -> Result<i64> {
    Ok(wire.varint(reader)?.cast_signed())
}

/// `Sample {1 value, 2 timestamp, 3 start_timestamp}`; the first version has no third field.
pub(super) fn sample(mut reader: Reader<'_>) -> Result<Sample> {
    let mut sample = Sample::default();
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => sample.value = double(&reader, wire)?,
            2 => sample.time = int64(&reader, wire)?,
            3 => sample.start = int64(&reader, wire)?,
            _ => {}
        }
    }
    Ok(sample)
}

/// `Histogram`, the same in both versions but for 17, the start.
pub(super) fn histogram(mut reader: Reader<'_>) -> Result<Histogram> {
    let mut out = Histogram::default();
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => out.count = Number::Int(wire.varint(&reader)?),
            2 => out.count = Number::Float(double(&reader, wire)?),
            3 => out.sum = double(&reader, wire)?,
            4 => out.schema = zigzag32(wire.varint(&reader)?),
            5 => out.zero_threshold = double(&reader, wire)?,
            6 => out.zero = Number::Int(wire.varint(&reader)?),
            7 => out.zero = Number::Float(double(&reader, wire)?),
            8 => push(&mut out.negative.spans, span(inner(&reader, wire)?)?, &reader)?,
            9 => deltas(&reader, wire, &mut out.negative)?,
            10 => doubles(&reader, wire, &mut out.negative.counts)?,
            11 => push(&mut out.positive.spans, span(inner(&reader, wire)?)?, &reader)?,
            12 => deltas(&reader, wire, &mut out.positive)?,
            13 => doubles(&reader, wire, &mut out.positive.counts)?,
            14 => out.reset = Reset::of(wire.varint(&reader)?),
            15 => out.time = int64(&reader, wire)?,
            16 => doubles(&reader, wire, &mut out.bounds)?,
            17 => out.start = int64(&reader, wire)?,
            _ => {}
        }
    }
    Ok(out)
}

/// `BucketSpan {1 offset sint32, 2 length uint32}`.
fn span(mut reader: Reader<'_>) -> Result<(i32, u32)> {
    let mut span = (0, 0);
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => span.0 = zigzag32(wire.varint(&reader)?),
            2 => span.1 = wire.uint32(&reader)?,
            _ => {}
        }
    }
    Ok(span)
}

fn zigzag32(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn zigzag64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Adds an element; a list of more than [`limits::BUCKETS`] is no histogram's.
fn push<T>(list: &mut Vec<T>, value: T, reader: &Reader<'_>) -> Result<()> {
    if list.len() >= limits::BUCKETS {
        return Err(reader.error("a histogram has too many buckets"));
    }
    list.push(value);
    Ok(())
}

/// `repeated sint64`, packed or not.
fn deltas(reader: &Reader<'_>, wire: Wire<'_>, side: &mut Side) -> Result<()> {
    let Wire::Bytes(packed) = wire else {
        return push(&mut side.deltas, zigzag64(wire.varint(reader)?), reader);
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        let delta = zigzag64(packed.varint()?);
        push(&mut side.deltas, delta, &packed)?;
    }
    Ok(())
}

/// `repeated double`, packed or not.
fn doubles(reader: &Reader<'_>, wire: Wire<'_>, list: &mut Vec<f64>) -> Result<()> {
    let Wire::Bytes(packed) = wire else {
        return push(list, double(reader, wire)?, reader);
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        let value = f64::from_bits(packed.fixed64()?);
        push(list, value, &packed)?;
    }
    Ok(())
}
