//! Exemplars as OTLP's: the ids of a trace where the labels are such, the other labels as attributes.

use devmesh_schema::otlp::write::Writer;

use super::Exemplar;

/// Writes an exemplar as field `field` of a point. Its time was checked.
pub(super) fn write(out: &mut Writer, field: u32, exemplar: &Exemplar<'_>) {
    out.message(field, |out| {
        out.fixed64(2, super::request::nanos(exemplar.time));
        out.put_double(3, exemplar.value);
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        let (mut traced, mut spanned) = (false, false);
        for (name, value) in &exemplar.labels {
            match *name {
                "trace_id" if !traced && id(value, &mut trace) => traced = true,
                "span_id" if !spanned && id(value, &mut span) => spanned = true,
                _ => out.message(7, |out| {
                    out.text(1, name);
                    out.message(2, |out| out.put_text(1, value));
                }),
            }
        }
        if spanned {
            out.put_bytes(4, &span);
        }
        if traced {
            out.put_bytes(5, &trace);
        }
    });
}

/// Reads an id that is written as OpenTelemetry writes it, in lower-case hexadecimal digits; another text is a text.
fn id(text: &str, out: &mut [u8]) -> bool {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower && hex::decode_to_slice(text, out).is_ok() && out.iter().any(|byte| *byte != 0)
}
