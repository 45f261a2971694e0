//! Remote write 2.0: `io.prometheus.write.v2.Request`, whose texts are numbers in a table of symbols.

use devmesh_schema::otlp::wire::{Reader, Wire};

use super::wire::{Result, double, histogram, inner, int64, sample};
use crate::prometheus::{About, Bad, Exemplar, Request, Series, Type};

/// The texts of a request; `None` for what is no UTF-8.
type Symbols<'a> = Vec<Option<&'a str>>;
/// A text that is not there.
const OUT_OF_RANGE: &str = "a reference lies beyond the table of symbols";

/// Reads a request into `out`.
///
/// # Errors
/// It is no such message, or one of version 1.
pub(super) fn read<'a>(body: &'a [u8], out: &mut Request<'a>) -> Result<()> {
    let symbols = symbols(body)?;
    let mut reader = Reader::new(body);
    let mut reading = Reading { symbols: &symbols, refs: Vec::new(), series: Series::default() };
    while let Some((field, wire)) = reader.field()? {
        if field == 5 {
            reading.one(inner(&reader, wire)?, out)?;
        }
    }
    Ok(())
}

/// The table may stand behind the series that use it.
fn symbols(body: &[u8]) -> Result<Symbols<'_>> {
    let mut symbols = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((field, wire)) = reader.field()? {
        match field {
            4 => symbols.push(std::str::from_utf8(wire.bytes(&reader)?).ok()),
            1..=3 => {
                return Err(reader.error(
                    "this is a message of remote write 1.0: its Content-Type is application/x-protobuf, or \
                     application/x-protobuf;proto=prometheus.WriteRequest",
                ));
            }
            _ => {}
        }
    }
    match symbols.first() {
        Some(Some("")) => Ok(symbols),
        None => Ok(symbols),
        Some(_) => Err(reader.error("the first symbol has to be empty")),
    }
}

struct Reading<'s, 'a> {
    symbols: &'s Symbols<'a>,
    refs: Vec<u32>,
    series: Series<'a>,
}

impl<'a> Reading<'_, 'a> {
    /// `TimeSeries {1 labels_refs, 2 samples, 3 histograms, 4 exemplars, 5 metadata}`; 6 was a start of older drafts.
    fn one(&mut self, mut reader: Reader<'a>, out: &mut Request<'a>) -> Result<()> {
        self.series.clear();
        self.refs.clear();
        let mut bad = None;
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 => refs(&reader, wire, &mut self.refs)?,
                2 => self.series.samples.push(sample(inner(&reader, wire)?)?),
                3 => self.series.histograms.push(histogram(inner(&reader, wire)?)?),
                4 => match self.exemplar(inner(&reader, wire)?)? {
                    Ok(exemplar) => self.series.exemplars.push(exemplar),
                    Err(message) => out.refuse(1, Bad::new("bad_exemplar", message)),
                },
                5 => match self.metadata(inner(&reader, wire)?)? {
                    Ok(about) => self.series.about = Some(about),
                    Err(message) => bad = Some(message),
                },
                _ => {}
            }
        }
        let refs = std::mem::take(&mut self.refs);
        let labels = pairs(self.symbols, &refs, &mut self.series.labels);
        self.refs = refs;
        match labels.err().or(bad) {
            Some(message) => out.refuse(self.series.items(), Bad::new("bad_labels", message)),
            None => out.add(&mut self.series),
        }
        Ok(())
    }

    /// `Exemplar {1 labels_refs, 2 value, 3 timestamp}`.
    fn exemplar(&self, mut reader: Reader<'a>) -> Result<std::result::Result<Exemplar<'a>, &'static str>> {
        let mut exemplar = Exemplar::default();
        let mut all = Vec::new();
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 => refs(&reader, wire, &mut all)?,
                2 => exemplar.value = double(&reader, wire)?,
                3 => exemplar.time = int64(&reader, wire)?,
                _ => {}
            }
        }
        Ok(pairs(self.symbols, &all, &mut exemplar.labels).map(|()| exemplar))
    }

    /// `Metadata {1 type, 3 help_ref, 4 unit_ref}`.
    fn metadata(&self, mut reader: Reader<'a>) -> Result<std::result::Result<About<'a>, &'static str>> {
        let (mut kind, mut help, mut unit) = (Type::default(), 0, 0);
        while let Some((field, wire)) = reader.field()? {
            match field {
                1 => kind = Type::of(wire.varint(&reader)?),
                3 => help = wire.uint32(&reader)?,
                4 => unit = wire.uint32(&reader)?,
                _ => {}
            }
        }
        // A reference of 0 is a text that was not set, also where there is no table.
        let text = |at: u32| if at == 0 { Ok("") } else { symbol(self.symbols, at) };
        Ok(text(help).and_then(|help| Ok(About::new(kind, help, text(unit)?))))
    }
}

/// `repeated uint32`, packed or not.
fn refs(reader: &Reader<'_>, wire: Wire<'_>, out: &mut Vec<u32>) -> Result<()> {
    let Wire::Bytes(packed) = wire else {
        out.push(wire.uint32(reader)?);
        return Ok(());
    };
    let mut packed = reader.enter(packed);
    while !packed.is_empty() {
        // A number that does not fit is no reference.
        out.push(u32::try_from(packed.varint()?).unwrap_or(u32::MAX));
    }
    Ok(())
}

fn symbol<'a>(symbols: &Symbols<'a>, at: u32) -> std::result::Result<&'a str, &'static str> {
    let found = usize::try_from(at).ok().and_then(|at| symbols.get(at)).ok_or(OUT_OF_RANGE)?;
    found.ok_or("a symbol is no UTF-8")
}

/// Adds the names and values that the references are.
fn pairs<'a>(
    symbols: &Symbols<'a>,
    refs: &[u32],
    out: &mut Vec<(&'a str, &'a str)>,
) -> std::result::Result<(), &'static str> {
    let (pairs, rest) = refs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("the references of labels are no pairs: their number is odd");
    }
    for [name, value] in pairs {
        out.push((symbol(symbols, *name)?, symbol(symbols, *value)?));
    }
    Ok(())
}
