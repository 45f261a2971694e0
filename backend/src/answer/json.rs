//! Rows as JSON: arrays under their columns, for `/query/sql`.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use devmesh_query::Stats;

use super::cell;

/// The beginning of an answer to `/query/sql`, up to its rows.
pub(crate) fn begin(out: &mut String, schema: &Schema) {
    out.push_str("{\"columns\":[");
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":");
        cell::quoted(out, field.name());
        out.push_str(",\"type\":\"");
        out.push_str(cell::type_name(field.data_type()));
        out.push_str("\"}");
    }
    out.push_str("],\"rows\":[");
}

/// Appends rows as arrays; `first` says whether none came before.
pub(crate) fn arrays(out: &mut String, batch: &RecordBatch, first: bool) {
    for row in 0..batch.num_rows() {
        if row > 0 || !first {
            out.push(',');
        }
        out.push('[');
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            cell::json(out, column.as_ref(), row);
        }
        out.push(']');
    }
}

/// The end of an answer to `/query/sql`.
pub(crate) fn end(out: &mut String, stats: &Stats) {
    let elapsed = stats.elapsed().as_secs_f64() * 1000.0;
    out.push_str(&format!(
        "],\"elapsed_ms\":{elapsed:.3},\"rows_scanned\":{},\"truncated\":{}}}",
        stats.rows_scanned(),
        stats.truncated()
    ));
}
