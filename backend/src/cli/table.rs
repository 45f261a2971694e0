//! Rows as a table for people: columns side by side, numbers to the right, control characters shown as escapes, since what
//! strangers logged must not steer a terminal.

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use crate::answer::cell;

/// Characters of a cell; a longer one is cut.
const CELL: usize = 200;

/// Makes a text inert for a terminal, on one line.
pub(super) fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&char)
                || ('\u{2066}'..='\u{2069}').contains(&char) =>
            {
                out.extend(char.escape_unicode());
            }
            char => out.push(char),
        }
    }
    out
}

fn shown(text: &str) -> String {
    let inert = inert(text);
    match inert.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", inert.get(..end).unwrap_or_default()),
        None => inert,
    }
}

/// A time as people read it: RFC 3339 to the millisecond.
pub(super) fn moment(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, rest)) if rest.len() > 4 && rest.is_char_boundary(3) && rest.ends_with('Z') => {
            inert(&format!("{seconds}.{}Z", &rest[..3]))
        }
        _ => inert(time),
    }
}

/// The rows, under their columns.
pub(super) fn render(schema: &Schema, batches: &[RecordBatch]) -> String {
    let names: Vec<String> = schema.fields().iter().map(|field| shown(field.name())).collect();
    let right: Vec<bool> = schema
        .fields()
        .iter()
        .map(|field| matches!(cell::type_name(field.data_type()), "integer" | "bigint" | "double" | "decimal"))
        .collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &arrow_array::ArrayRef| {
                cell::bare(column.as_ref(), row).map_or_else(|| "NULL".into(), |text| shown(&text))
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).chain(names.get(index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &[String], head: bool| {
        let padded = cells.iter().zip(&widths).zip(&right).map(|((cell, width), right)| {
            let space = " ".repeat(width - cell.chars().count());
            if *right && !head { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(&names, true);
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    out.push_str(&line(&rule, true));
    rows.iter().for_each(|row| out.push_str(&line(row, false)));
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_are_aligned_and_escapes_are_shown() {
        let name: ArrayRef = Arc::new(StringArray::from(vec![Some("cart"), Some("a\u{1b}[2Jb\n"), None]));
        let count: ArrayRef = Arc::new(Int64Array::from(vec![7, 1234, 0]));
        let batch = RecordBatch::try_from_iter(vec![("name", name), ("count", count)]).unwrap();
        let expected = [
            "name           count",
            "─────────────  ─────",
            "cart               7",
            "a\\u{1b}[2Jb\\n   1234",
            "NULL               0",
        ];
        let table = render(batch.schema_ref(), std::slice::from_ref(&batch));
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }
}
