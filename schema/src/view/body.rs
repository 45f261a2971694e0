//! Bodies out of templates and parameters ([`crate::body`]).

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::{Sifted, Told, input, text::Texts};
use crate::{body, otlp::stored_columns::BytesColumn, stored};

/// Whether the bodies of these columns were cut.
pub(super) fn is_cut(schema: &Schema) -> bool {
    schema.index_of(stored::PARAMS).is_ok()
}

/// The bodies of rows that were cut.
pub(super) fn join(rows: &RecordBatch) -> Result<StringArray, ArrowError> {
    let column = |name| rows.column_by_name(name).map(BytesColumn::new).transpose();
    let (whole, params, ids) = (column(stored::BODY)?, column(stored::PARAMS)?, column(stored::UUIDS)?);
    let templates = input::Distinct::of(rows, stored::TEMPLATE)?;
    let mut constants: Vec<Option<Vec<&[u8]>>> = Vec::new();
    templates.each(|text| {
        constants.push(match text {
            // Text that is stored is UTF-8; what is not would be of no template.
            Some(text) => std::str::from_utf8(text)
                .ok()
                .map(|text| body::Cut::new(text).constants().iter().map(|constant| constant.as_bytes()).collect()),
            None => None,
        });
        Ok(())
    })?;
    let mut out = Texts::with_capacity(rows.num_rows());
    for (row, key) in templates.keys.values().iter().enumerate() {
        if let Some(text) = whole.as_ref().and_then(|whole| whole.get(row)) {
            out.push(text);
            continue;
        }
        let Some(constants) = constants.get(*key as usize).and_then(Option::as_ref) else {
            out.push_null();
            continue;
        };
        let params = params.as_ref().and_then(|params| params.get(row)).unwrap_or_default();
        let id = ids.as_ref().and_then(|ids| ids.get(row));
        body::fill(out.writer(), constants, params, id)?;
        out.close();
    }
    out.finish()
}

/// The words of a template, between which its parameters stand.
type Constants<'t> = Vec<&'t [u8]>;

/// What is known of the body of a row.
enum Seen<'b> {
    /// There is none.
    Absent,
    /// Its template and parameters tell whether it holds what is looked for.
    Known(bool),
    /// It has to be looked at.
    Body(&'b [u8]),
}

/// Calls `each` for every row, in their order: `decide` says what a template tells.
fn visit(rows: &RecordBatch, decide: impl Fn(&str) -> Told, mut each: impl FnMut(Seen<'_>)) -> Result<(), ArrowError> {
    let column = |name| rows.column_by_name(name).map(BytesColumn::new).transpose();
    let (whole, params, ids) = (column(stored::BODY)?, column(stored::PARAMS)?, column(stored::UUIDS)?);
    let templates = input::Distinct::of(rows, stored::TEMPLATE)?;
    let mut told: Vec<Option<(Constants<'_>, Told)>> = Vec::new();
    templates.each(|text| {
        told.push(text.and_then(|text| std::str::from_utf8(text).ok()).map(|text| {
            let constants = body::Cut::new(text).constants().iter().map(|constant| constant.as_bytes()).collect();
            (constants, decide(text))
        }));
        Ok(())
    })?;
    let mut scratch = Vec::new();
    for (row, key) in templates.keys.values().iter().enumerate() {
        let whole = whole.as_ref().and_then(|whole| whole.get(row));
        let told = told.get(*key as usize).and_then(Option::as_ref);
        match (whole, told) {
            (Some(body), _) => each(Seen::Body(body)),
            (None, None) => each(Seen::Absent),
            (None, Some((_, Told::All))) => each(Seen::Known(true)),
            (None, Some((_, Told::None))) => each(Seen::Known(false)),
            (None, Some((constants, Told::Maybe { in_params }))) => {
                let params = params.as_ref().and_then(|params| params.get(row)).unwrap_or_default();
                let id = ids.as_ref().and_then(|ids| ids.get(row));
                let may_hold = |text: &Vec<u8>| (id.is_some() && is_of_ids(text)) || contains(params, text);
                if in_params.iter().all(may_hold) {
                    scratch.clear();
                    body::fill(&mut scratch, constants, params, id)?;
                    each(Seen::Body(&scratch));
                } else {
                    each(Seen::Known(false));
                }
            }
        }
    }
    Ok(())
}

/// Which bodies hold what is looked for: `decide` says what a template tells, `holds` looks at a whole body.
pub(super) fn search(
    rows: &RecordBatch,
    decide: impl Fn(&str) -> Told,
    holds: impl Fn(&str) -> bool,
) -> Result<BooleanArray, ArrowError> {
    let mut found = Vec::with_capacity(rows.num_rows());
    visit(rows, decide, |seen| {
        found.push(match seen {
            Seen::Absent => None,
            Seen::Known(holds) => Some(holds),
            Seen::Body(body) => Some(std::str::from_utf8(body).is_ok_and(&holds)),
        });
    })?;
    Ok(found.into())
}

/// What is known of bodies, and those that have to be looked at.
pub(super) fn sift(rows: &RecordBatch, decide: impl Fn(&str) -> Told) -> Result<Sifted, ArrowError> {
    let (mut known, mut open) = (Vec::with_capacity(rows.num_rows()), Vec::new());
    let mut bodies = Texts::with_capacity(0);
    visit(rows, decide, |seen| match seen {
        Seen::Body(body) => {
            open.push(known.len());
            bodies.push(body);
            known.push(None);
        }
        Seen::Known(holds) => known.push(Some(holds)),
        Seen::Absent => known.push(None),
    })?;
    Ok(Sifted { known, open, bodies: bodies.finish()? })
}

/// Whether the text can stand within a UUID in its canonical form.
fn is_of_ids(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// Whether the bytes hold a text, whatever the case of its ASCII letters.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else { return true };
    bytes.windows(text.len()).any(|here| here[0].eq_ignore_ascii_case(first) && here.eq_ignore_ascii_case(text))
}

/// The rows with their bodies whole, and nothing of what they were cut into but the template.
pub(super) fn with_whole(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !is_cut(rows.schema_ref()) {
        return Ok(rows.clone());
    }
    let gone = [stored::BODY, stored::PARAMS, stored::UUIDS];
    let kept = rows.schema_ref().fields().iter().zip(rows.columns());
    let kept = kept.filter(|(field, _)| !gone.contains(&field.name().as_str()));
    let (mut fields, mut arrays): (Vec<_>, Vec<ArrayRef>) =
        kept.map(|(field, array)| (Arc::clone(field), Arc::clone(array))).unzip();
    fields.push(Arc::new(Field::new(stored::BODY, DataType::Utf8, true)));
    arrays.push(Arc::new(join(rows)?));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

/// The column `body`; `None` where it is stored as it is.
pub(super) fn column(rows: &RecordBatch) -> Result<Option<ArrayRef>, ArrowError> {
    if !is_cut(rows.schema_ref()) {
        return Ok(None);
    }
    Ok(Some(Arc::new(StringViewArray::from(&join(rows)?))))
}
