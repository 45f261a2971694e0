//! The one place that asks [`devmesh_schema::view`] for table columns and attributes.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray, cast::AsArray};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Schema};
use arrow_select::take::take;
use devmesh_schema::{Signal, stored, view};
use devmesh_store::{PatternMap, pattern_id_text};

use crate::{
    functions::{
        attribute::{self, As},
        id, matches,
    },
    stored_expr::Wanted,
};

/// The stored columns of `file` that a column of the table is made from.
pub(crate) fn column_sources(signal: Signal, column: &str, file: &Schema) -> Vec<String> {
    let mut sources: Vec<String> = view::sources(signal, column)
        .iter()
        .filter(|name| file.index_of(name).is_ok())
        .map(|s| s.to_string())
        .collect();
    if view::needs_attribute_columns(column) {
        let names = file.fields().iter().map(|field| field.name());
        sources.extend(names.filter(|name| stored::parse_attribute_column(name).is_some()).cloned());
    }
    sources
}

/// Makes what is wanted from stored columns.
pub(crate) fn make(wanted: &Wanted, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    match wanted {
        Wanted::Column { signal, name } => view::derive(*signal, name, rows),
        Wanted::Pattern { patterns } => pattern_ids(&patterns.0, rows),
        Wanted::Words { text, by_template: true } => {
            let words = matches::words(text);
            let holds =
                |template: &Option<String>| Some(matches::told_by(template.as_ref()?, &words) == view::Told::All);
            let (texts, keys) = view::distinct(rows, stored::TEMPLATE)?;
            take(&texts.iter().map(holds).collect::<BooleanArray>(), &keys, None)
        }
        Wanted::Words { text, .. } => {
            let (asked, words) = (matches::Words::new(text), matches::words(text));
            let decide = |template: &str| matches::told_by(template, &words);
            Ok(Arc::new(view::search_bodies(rows, decide, |body| asked.stand_in(body))?))
        }
        Wanted::Body { test } => test.answer(rows),
        Wanted::Id { name, size } => match rows.column_by_name(name) {
            Some(ids) => id::without_nulls(&cast(ids, &DataType::FixedSizeBinary(*size))?),
            None => id::absent(rows.num_rows(), *size),
        },
        Wanted::Attribute { key, kind: As::Double } => Ok(Arc::new(view::attribute_f64(key, rows)?)),
        Wanted::Attribute { key, kind } => Ok(as_kind(view::attribute_text(key, rows)?, *kind)),
        Wanted::Shared { column, key, kind } => {
            let envelope = if column == "scope_attributes" { stored::SCOPE } else { stored::RESOURCE };
            Ok(as_kind(view::envelope_attribute_text(rows, envelope, key)?, *kind))
        }
    }
}

/// The patterns of rows, each distinct template looked up once.
fn pattern_ids(patterns: &PatternMap, rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let (texts, keys) = view::distinct(rows, stored::TEMPLATE)?;
    let ids = texts.iter().map(|text| Some(pattern_id_text(patterns.pattern_of_text(text.as_ref()?))));
    let ids: StringViewArray = ids.collect();
    take(&ids, &keys, None)
}

fn as_kind(texts: ArrayRef, kind: As) -> ArrayRef {
    match (kind, texts.as_string_view_opt()) {
        (As::Double | As::Int, Some(texts)) => attribute::convert(texts.clone(), kind),
        _ => texts,
    }
}
