//! Reads data points, whatever their kind, and says which cannot be stored.

use super::{
    DecodeError,
    attributes::Raw,
    children::Children,
    rows::Rows,
    wire::{Reader, Wire},
};
use crate::limits;

/// A gauge's or sum's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Double(f64),
    Int(i64),
}

/// Where the lists of a point go that are no numbers.
pub(super) struct Lists<'r, 'a> {
    pub(super) rows: &'r mut Rows<'a>,
    pub(super) exemplars: &'r mut Children<'a>,
}

/// The buckets of one sign of an exponential histogram.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// A data point of any kind: what its kind lacks stays as it is here.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) flags: u32,
    pub(super) value: Option<Number>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) buckets: Vec<u64>,
    pub(super) bounds: Vec<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Option<Buckets>,
    pub(super) negative: Option<Buckets>,
    pub(super) quantiles: Vec<(f64, f64)>,
}

impl Point {
    /// Empties the point for the next one, and keeps its room.
    pub(super) fn clear(&mut self) {
        let mut old = std::mem::take(self);
        old.buckets.clear();
        old.bounds.clear();
        old.quantiles.clear();
        self.buckets = old.buckets;
        self.bounds = old.bounds;
        self.quantiles = old.quantiles;
    }

    /// Reads a `NumberDataPoint`.
    pub(super) fn number<'a>(&mut self, mut reader: Reader<'a>, to: &mut Lists<'_, 'a>) -> Result<(), DecodeError> {
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => self.start = wire.fixed64(&reader)?,
                3 => self.time = wire.fixed64(&reader)?,
                4 => self.value = Some(Number::Double(f64::from_bits(wire.fixed64(&reader)?))),
                5 => to.exemplars.add(inner(&reader, wire)?),
                6 => self.value = Some(Number::Int(wire.fixed64(&reader)? as i64)),
                7 => to.rows.add_attribute(raw(&reader, wire)?),
                8 => self.flags = wire.uint32(&reader)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a `HistogramDataPoint`.
    pub(super) fn histogram<'a>(&mut self, mut reader: Reader<'a>, to: &mut Lists<'_, 'a>) -> Result<(), DecodeError> {
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => self.start = wire.fixed64(&reader)?,
                3 => self.time = wire.fixed64(&reader)?,
                4 => self.count = wire.fixed64(&reader)?,
                5 => self.sum = Some(double(&reader, wire)?),
                6 => each_fixed64(&reader, wire, |value| push(&mut self.buckets, value))?,
                7 => each_fixed64(&reader, wire, |value| push(&mut self.bounds, f64::from_bits(value)))?,
                8 => to.exemplars.add(inner(&reader, wire)?),
                9 => to.rows.add_attribute(raw(&reader, wire)?),
                10 => self.flags = wire.uint32(&reader)?,
                11 => self.min = Some(double(&reader, wire)?),
                12 => self.max = Some(double(&reader, wire)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads an `ExponentialHistogramDataPoint`.
    pub(super) fn exponential<'a>(
        &mut self,
        mut reader: Reader<'a>,
        to: &mut Lists<'_, 'a>,
    ) -> Result<(), DecodeError> {
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => to.rows.add_attribute(raw(&reader, wire)?),
                2 => self.start = wire.fixed64(&reader)?,
                3 => self.time = wire.fixed64(&reader)?,
                4 => self.count = wire.fixed64(&reader)?,
                5 => self.sum = Some(double(&reader, wire)?),
                6 => self.scale = zigzag(wire.varint(&reader)?),
                7 => self.zero_count = wire.fixed64(&reader)?,
                8 => self.positive.get_or_insert_default().read(inner(&reader, wire)?)?,
                9 => self.negative.get_or_insert_default().read(inner(&reader, wire)?)?,
                10 => self.flags = wire.uint32(&reader)?,
                11 => to.exemplars.add(inner(&reader, wire)?),
                12 => self.min = Some(double(&reader, wire)?),
                13 => self.max = Some(double(&reader, wire)?),
                14 => self.zero_threshold = double(&reader, wire)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a `SummaryDataPoint`.
    pub(super) fn summary<'a>(&mut self, mut reader: Reader<'a>, to: &mut Lists<'_, 'a>) -> Result<(), DecodeError> {
        self.sum = Some(0.0);
        while let Some((number, wire)) = reader.field()? {
            match number {
                2 => self.start = wire.fixed64(&reader)?,
                3 => self.time = wire.fixed64(&reader)?,
                4 => self.count = wire.fixed64(&reader)?,
                5 => self.sum = Some(double(&reader, wire)?),
                6 => push(&mut self.quantiles, quantile(inner(&reader, wire)?)?),
                7 => to.rows.add_attribute(raw(&reader, wire)?),
                8 => self.flags = wire.uint32(&reader)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What makes the buckets or quantiles useless, if anything. Counts that don't add up are let pass.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        let (counts, bounds) = (self.buckets.len(), self.bounds.len());
        let signs = [&self.positive, &self.negative].into_iter().flatten();
        if counts.max(signs.map(|b| b.counts.len()).max().unwrap_or_default()) > limits::BUCKETS {
            return Some(("bad_histogram", "there are too many buckets"));
        }
        if self.quantiles.len() > limits::BUCKETS {
            return Some(("bad_summary", "there are too many quantiles"));
        }
        if counts != bounds + 1 && (counts, bounds) != (0, 0) {
            return Some(("bad_histogram", "bucket_counts has to have one element more than explicit_bounds"));
        }
        if self.bounds.iter().any(|b| b.is_nan()) || self.bounds.windows(2).any(|w| w[0] >= w[1]) {
            return Some(("bad_histogram", "explicit_bounds has to ascend"));
        }
        if !(-10..=20).contains(&self.scale) {
            return Some(("bad_histogram", "scale has to be between -10 and 20"));
        }
        if self.zero_threshold.is_nan() {
            return Some(("bad_histogram", "zero_threshold has to be a number"));
        }
        if [&self.positive, &self.negative].into_iter().flatten().any(Buckets::overflows) {
            return Some(("bad_histogram", "the index of the last bucket has to fit 32 bits"));
        }
        if self.quantiles.iter().any(|(quantile, _)| !(0.0..=1.0).contains(quantile)) {
            return Some(("bad_summary", "a quantile has to be between 0 and 1"));
        }
        None
    }
}

impl Buckets {
    fn read(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        while let Some((number, wire)) = reader.field()? {
            match (number, wire) {
                (1, _) => self.offset = zigzag(wire.varint(&reader)?),
                (2, Wire::Bytes(packed)) => {
                    let mut packed = reader.enter(packed);
                    while !packed.is_empty() {
                        push(&mut self.counts, packed.varint()?);
                    }
                }
                (2, _) => push(&mut self.counts, wire.varint(&reader)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn overflows(&self) -> bool {
        i32::try_from(self.counts.len()).ok().and_then(|n| self.offset.checked_add(n)).is_none()
    }
}

/// Appends to a list, which with one more than [`limits::BUCKETS`] says that it is too long, and grows no more.
fn push<T>(list: &mut Vec<T>, value: T) {
    if list.len() <= limits::BUCKETS {
        list.push(value);
    }
}

fn quantile(mut reader: Reader<'_>) -> Result<(f64, f64), DecodeError> {
    let mut out = (0.0, 0.0);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => out.0 = double(&reader, wire)?,
            2 => out.1 = double(&reader, wire)?,
            _ => {}
        }
    }
    Ok(out)
}

/// The value of a `sint32`.
fn zigzag(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

fn double(reader: &Reader<'_>, wire: Wire<'_>) -> Result<f64, DecodeError> {
    Ok(f64::from_bits(wire.fixed64(reader)?))
}

/// A repeated field of eight bytes each, packed or not.
fn each_fixed64(reader: &Reader<'_>, wire: Wire<'_>, mut push: impl FnMut(u64)) -> Result<(), DecodeError> {
    let Wire::Bytes(packed) = wire else {
        push(wire.fixed64(reader)?);
        return Ok(());
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        push(packed.fixed64()?);
    }
    Ok(())
}

/// A reader of the message that the field is.
pub(super) fn inner<'a>(reader: &Reader<'a>, wire: Wire<'a>) -> Result<Reader<'a>, DecodeError> {
    Ok(reader.enter(wire.bytes(reader)?))
}

/// The attribute that the field is.
#[inline]
pub(super) fn raw<'a>(reader: &Reader<'a>, wire: Wire<'a>) -> Result<Raw<'a>, DecodeError> {
    let bytes = wire.bytes(reader)?;
    Ok(Raw { bytes, offset: reader.offset() - bytes.len() })
}
