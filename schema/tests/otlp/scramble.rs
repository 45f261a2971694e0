//! Writes a message in another way that means the same: fields in another order, singular messages in two parts,
//! packed numbers unpacked, unknown fields between.

use devmesh_schema::{
    Signal,
    otlp::wire::{Reader, Wire, put_bytes, put_field, put_fixed32, put_fixed64, put_uint},
};

use crate::generate::Source;

/// What a field is, so far as it matters here.
enum Kind {
    /// A repeated message.
    Many(&'static Message),
    /// A singular message, which may come in parts.
    One(&'static Message),
    /// Packed eight-byte numbers.
    Fixed64s,
    /// Packed varints.
    Varints,
}

struct Message(&'static [(u32, Kind)]);

static ANY: Message = Message(&[(5, Kind::One(&ARRAY)), (6, Kind::One(&MAP))]);
static ARRAY: Message = Message(&[(1, Kind::Many(&ANY))]);
static MAP: Message = Message(&[(1, Kind::Many(&ENTRY))]);
static ENTRY: Message = Message(&[(2, Kind::One(&ANY))]);
static ENTITY: Message = Message(&[]);
static RESOURCE: Message = Message(&[(1, Kind::Many(&ENTRY)), (3, Kind::Many(&ENTITY))]);
static SCOPE: Message = Message(&[(3, Kind::Many(&ENTRY))]);

static LOGS: Message = Message(&[(1, Kind::Many(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Message = Message(&[(1, Kind::One(&RESOURCE)), (2, Kind::Many(&SCOPE_LOGS))]);
static SCOPE_LOGS: Message = Message(&[(1, Kind::One(&SCOPE)), (2, Kind::Many(&LOG))]);
static LOG: Message = Message(&[(5, Kind::One(&ANY)), (6, Kind::Many(&ENTRY))]);

static TRACES: Message = Message(&[(1, Kind::Many(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Message = Message(&[(1, Kind::One(&RESOURCE)), (2, Kind::Many(&SCOPE_SPANS))]);
static SCOPE_SPANS: Message = Message(&[(1, Kind::One(&SCOPE)), (2, Kind::Many(&SPAN))]);
static SPAN: Message =
    Message(&[(9, Kind::Many(&ENTRY)), (11, Kind::Many(&EVENT)), (13, Kind::Many(&LINK)), (15, Kind::One(&STATUS))]);
static EVENT: Message = Message(&[(3, Kind::Many(&ENTRY))]);
static LINK: Message = Message(&[(4, Kind::Many(&ENTRY))]);
static STATUS: Message = Message(&[]);

static METRICS: Message = Message(&[(1, Kind::Many(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Message = Message(&[(1, Kind::One(&RESOURCE)), (2, Kind::Many(&SCOPE_METRICS))]);
static SCOPE_METRICS: Message = Message(&[(1, Kind::One(&SCOPE)), (2, Kind::Many(&METRIC))]);
static METRIC: Message = Message(&[
    (5, Kind::One(&NUMBERS)),
    (7, Kind::One(&NUMBERS)),
    (9, Kind::One(&HISTOGRAM)),
    (10, Kind::One(&EXPONENTIAL)),
    (11, Kind::One(&SUMMARY)),
    (12, Kind::Many(&ENTRY)),
]);
static NUMBERS: Message = Message(&[(1, Kind::Many(&NUMBER_POINT))]);
static HISTOGRAM: Message = Message(&[(1, Kind::Many(&HISTOGRAM_POINT))]);
static EXPONENTIAL: Message = Message(&[(1, Kind::Many(&EXPONENTIAL_POINT))]);
static SUMMARY: Message = Message(&[(1, Kind::Many(&SUMMARY_POINT))]);
static NUMBER_POINT: Message = Message(&[(5, Kind::Many(&EXEMPLAR)), (7, Kind::Many(&ENTRY))]);
static HISTOGRAM_POINT: Message =
    Message(&[(6, Kind::Fixed64s), (7, Kind::Fixed64s), (8, Kind::Many(&EXEMPLAR)), (9, Kind::Many(&ENTRY))]);
static EXPONENTIAL_POINT: Message = Message(&[
    (1, Kind::Many(&ENTRY)),
    (8, Kind::One(&BUCKETS)),
    (9, Kind::One(&BUCKETS)),
    (11, Kind::Many(&EXEMPLAR)),
]);
static BUCKETS: Message = Message(&[(2, Kind::Varints)]);
static SUMMARY_POINT: Message = Message(&[(6, Kind::Many(&QUANTILE)), (7, Kind::Many(&ENTRY))]);
static QUANTILE: Message = Message(&[]);
static EXEMPLAR: Message = Message(&[(7, Kind::Many(&ENTRY))]);

/// The request, written in another way.
pub(crate) fn scramble(signal: Signal, request: &[u8], source: &mut Source<'_>) -> Vec<u8> {
    let message = match signal {
        Signal::Logs => &LOGS,
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
    };
    message.scramble(request, source).concat()
}

impl Message {
    /// The fields of the message, each as its bytes.
    fn scramble(&self, bytes: &[u8], source: &mut Source<'_>) -> Vec<Vec<u8>> {
        let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field().unwrap() {
            let kind = self.0.iter().find(|(n, _)| *n == number).map(|(_, kind)| kind);
            let mut push = |value: &[u8]| {
                let mut out = Vec::new();
                put_bytes(&mut out, number, value);
                fields.push((number, out));
            };
            match (kind, wire) {
                (Some(Kind::Many(inner)), Wire::Bytes(value)) => push(&inner.scramble(value, source).concat()),
                (Some(Kind::One(inner)), Wire::Bytes(value)) => {
                    let parts = inner.scramble(value, source);
                    let split = source.below(parts.len() + 1);
                    let (first, second) = parts.split_at(split);
                    push(&first.concat());
                    if !second.is_empty() {
                        push(&second.concat());
                    }
                }
                (Some(Kind::Fixed64s), Wire::Bytes(packed)) if source.byte() > 128 => {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        let mut out = Vec::new();
                        put_fixed64(&mut out, number, packed.fixed64().unwrap());
                        fields.push((number, out));
                    }
                }
                (Some(Kind::Varints), Wire::Bytes(packed)) if source.byte() > 128 => {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        let mut out = Vec::new();
                        put_uint(&mut out, number, packed.varint().unwrap());
                        fields.push((number, out));
                    }
                }
                _ => {
                    let mut out = Vec::new();
                    put_field(&mut out, number, wire);
                    fields.push((number, out));
                }
            }
        }
        shuffle(fields, source)
    }
}

/// Another order, in which fields of one number keep theirs, with unknown fields between.
fn shuffle(fields: Vec<(u32, Vec<u8>)>, source: &mut Source<'_>) -> Vec<Vec<u8>> {
    let mut queues: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for (number, bytes) in fields {
        match queues.iter_mut().find(|(n, _)| *n == number) {
            Some((_, queue)) => queue.push(bytes),
            None => queues.push((number, vec![bytes])),
        }
    }
    queues.iter_mut().for_each(|(_, queue)| queue.reverse());
    let mut out = Vec::new();
    while !queues.is_empty() {
        if source.byte() > 220 {
            out.push(unknown(source));
        }
        let at = source.below(queues.len().min(256));
        if let Some(bytes) = queues[at].1.pop() {
            out.push(bytes);
        } else {
            queues.swap_remove(at);
        }
    }
    out
}

fn unknown(source: &mut Source<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match source.below(4) {
        0 => put_uint(&mut out, 100, 1 << 40),
        1 => put_fixed64(&mut out, 1000, 7),
        2 => put_fixed32(&mut out, 99, 7),
        _ => put_bytes(&mut out, 536_870_911, &[0xFF; 5]),
    }
    out
}
