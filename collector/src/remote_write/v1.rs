//! Remote write 1.0: `prometheus.WriteRequest`.

use devmesh_schema::otlp::wire::{Reader, Wire};

use super::wire::{Result, double, histogram, inner, int64, sample};
use crate::prometheus::{About, Bad, Exemplar, Families, Request, Series, Type};

/// Reads a request into `out`, and what it says of families into `families`.
///
/// # Errors
/// It is no such message, or one of version 2.
pub(super) fn read<'a>(body: &'a [u8], families: &Families, out: &mut Request<'a>) -> Result<()> {
    let mut reader = Reader::new(body);
    let mut series = Series::default();
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => one(inner(&reader, wire)?, &mut series, out)?,
            3 => metadata(inner(&reader, wire)?, families)?,
            4 | 5 => {
                return Err(reader.error(
                    "this is a message of remote write 2.0: its Content-Type is \
                     application/x-protobuf;proto=io.prometheus.write.v2.Request",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `TimeSeries {1 labels, 2 samples, 3 exemplars, 4 histograms}`.
fn one<'a>(mut reader: Reader<'a>, series: &mut Series<'a>, out: &mut Request<'a>) -> Result<()> {
    series.clear();
    let mut bad = None;
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => match label(inner(&reader, wire)?)? {
                Some(label) => series.labels.push(label),
                None => bad = Some("a label is no UTF-8"),
            },
            2 => series.samples.push(sample(inner(&reader, wire)?)?),
            3 => match exemplar(inner(&reader, wire)?)? {
                Some(exemplar) => series.exemplars.push(exemplar),
                None => out.refuse(1, Bad::new("bad_exemplar", "a label of an exemplar is no UTF-8")),
            },
            4 => series.histograms.push(histogram(inner(&reader, wire)?)?),
            _ => {}
        }
    }
    match bad {
        Some(message) => out.refuse(series.items(), Bad::new("bad_labels", message)),
        None => out.add(series),
    }
    Ok(())
}

/// `Label {1 name, 2 value}`; `None` where it is no UTF-8.
fn label<'a>(mut reader: Reader<'a>) -> Result<Option<(&'a str, &'a str)>> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => name = wire.bytes(&reader)?,
            2 => value = wire.bytes(&reader)?,
            _ => {}
        }
    }
    Ok(std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
}

/// `Exemplar {1 labels, 2 value, 3 timestamp}`; `None` where a label is no UTF-8.
fn exemplar<'a>(mut reader: Reader<'a>) -> Result<Option<Exemplar<'a>>> {
    let mut exemplar = Exemplar::default();
    let mut valid = true;
    while let Some((field, wire)) = reader.field()? {
        match field {
            1 => match label(inner(&reader, wire)?)? {
                Some(label) => exemplar.labels.push(label),
                None => valid = false,
            },
            2 => exemplar.value = double(&reader, wire)?,
            3 => exemplar.time = int64(&reader, wire)?,
            _ => {}
        }
    }
    Ok(valid.then_some(exemplar))
}

/// `MetricMetadata {1 type, 2 metric_family_name, 4 help, 5 unit}`.
fn metadata(mut reader: Reader<'_>, families: &Families) -> Result<()> {
    let mut kind = Type::default();
    let [mut family, mut help, mut unit] = [""; 3];
    let text = |reader: &Reader<'_>, wire: Wire<'_>| wire.bytes(reader).map(drop);
    while let Some((field, wire)) = reader.field()? {
        let slot = match field {
            1 => {
                kind = Type::of(wire.varint(&reader)?);
                continue;
            }
            2 => &mut family,
            4 => &mut help,
            5 => &mut unit,
            _ => continue,
        };
        text(&reader, wire)?;
        if let Wire::Bytes(bytes) = wire {
            *slot = std::str::from_utf8(bytes).unwrap_or_default();
        }
    }
    if !family.is_empty() {
        families.learn(family, About::new(kind, help, unit));
    }
    Ok(())
}
