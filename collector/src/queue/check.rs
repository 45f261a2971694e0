//! Whether bytes are an export request, without decoding them: the envelopes, and the fields of each item.
//!
//! What lies deeper (attributes, bodies) is left to the server. This is enough to tell a sender at once that it sends
//! something else than OTLP, or another signal, and to count the items of a request.

use devmesh_schema::{
    Signal,
    otlp::{
        DecodeError,
        wire::{Reader, Wire},
    },
};

/// Counts the leaf items of an export request: log records, spans or data points.
///
/// # Errors
/// The bytes are no request of this signal; the error says where.
pub fn check(signal: Signal, request: &[u8]) -> Result<u64, DecodeError> {
    let mut items = 0;
    each(Reader::new(request), 1, &mut |resource| {
        each(resource, 2, &mut |scope| {
            each(scope, 2, &mut |item| {
                items += match signal {
                    Signal::Logs => record(item, &LOG_RECORD)?,
                    Signal::Traces => record(item, &SPAN)?,
                    Signal::Metrics => metric(item)?,
                };
                Ok(())
            })
        })
    })?;
    Ok(items)
}

/// Wire types of the known fields by number; `None` for those that a later version may have added.
type Fields = [Option<Kind>];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Varint,
    Fixed64,
    Fixed32,
    Delimited,
}

use Kind::{Delimited as D, Fixed32 as F4, Fixed64 as F8, Varint as V};

const LOG_RECORD: [Option<Kind>; 13] =
    [None, Some(F8), Some(V), Some(D), None, Some(D), Some(D), Some(V), Some(F4), Some(D), Some(D), Some(F8), Some(D)];
const SPAN: [Option<Kind>; 17] = [
    None,
    Some(D),
    Some(D),
    Some(D),
    Some(D),
    Some(D),
    Some(V),
    Some(F8),
    Some(F8),
    Some(D),
    Some(V),
    Some(D),
    Some(V),
    Some(D),
    Some(V),
    Some(D),
    Some(F4),
];

/// Walks the fields of a message and visits those with this number, which are messages.
fn each<'a>(
    mut message: Reader<'a>,
    number: u32,
    visit: &mut dyn FnMut(Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some((found, wire)) = message.field()? {
        if found == number {
            visit(message.enter(wire.bytes(&message)?))?;
        }
    }
    Ok(())
}

fn record(mut item: Reader<'_>, fields: &Fields) -> Result<u64, DecodeError> {
    while let Some((number, wire)) = item.field()? {
        let kind = match wire {
            Wire::Varint(_) => V,
            Wire::Fixed64(_) => F8,
            Wire::Fixed32(_) => F4,
            Wire::Bytes(_) => D,
        };
        if fields.get(number as usize).copied().flatten().is_some_and(|known| known != kind) {
            return Err(item.error("field has another wire type than OTLP gives it"));
        }
    }
    Ok(1)
}

/// The data points of a metric: field 1 of `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
fn metric(mut metric: Reader<'_>) -> Result<u64, DecodeError> {
    let mut points = 0;
    while let Some((number, wire)) = metric.field()? {
        match number {
            5 | 7 | 9 | 10 | 11 => each(metric.enter(wire.bytes(&metric)?), 1, &mut |_point| {
                points += 1;
                Ok(())
            })?,
            1..=3 => drop(wire.bytes(&metric)?),
            _ => {}
        }
    }
    Ok(points)
}
