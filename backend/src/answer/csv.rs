//! CSV (RFC 4180): a header, then the rows. NULL is empty, an empty text is `""`.
//!
//! A text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, tab or carriage return) gets an
//! apostrophe before it: log bodies come from strangers.

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema};

use super::cell;

/// Appends the header.
pub(crate) fn header(out: &mut String, schema: &Schema) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        quoted(out, field.name());
    }
    out.push_str("\r\n");
}

/// Appends the rows of a batch.
pub(crate) fn rows(out: &mut String, batch: &RecordBatch) {
    for row in 0..batch.num_rows() {
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let Some(text) = cell::bare(column.as_ref(), row) else { continue };
            if is_text(column.data_type()) { quoted(out, &text) } else { plain(out, &text) }
        }
        out.push_str("\r\n");
    }
}

fn is_text(data_type: &DataType) -> bool {
    cell::type_name(data_type) == "text"
}

fn quoted(out: &mut String, text: &str) {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return plain(out, &format!("'{text}"));
    }
    if text.is_empty() { out.push_str("\"\"") } else { plain(out, text) }
}

fn plain(out: &mut String, text: &str) {
    if text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ') {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn what_needs_quotes_has_them_and_formulas_are_inert() {
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a,b"), Some("say \"hi\"\n"), Some("=1+1"), Some(""), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), Some(2), None, Some(0), Some(5)]));
        let batch = RecordBatch::try_from_iter(vec![("text", texts), ("a,b", numbers)]).unwrap();
        let mut out = String::new();
        header(&mut out, batch.schema_ref());
        rows(&mut out, &batch);
        assert_eq!(out, "text,\"a,b\"\r\n\"a,b\",-1\r\n\"say \"\"hi\"\"\n\",2\r\n'=1+1,\r\n\"\",0\r\n,5\r\n");
    }
}
