//! Groups made by ClickHouse.
//!
//! One query a table; a group may come from more than one. What ClickHouse would compute otherwise than the engine has no
//! expression here, and then there are no groups.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use devmesh_schema::{
    otlp::wire::put_varint,
    stored::{self, Tag},
    tables,
};

use super::{
    arrays,
    columns::{Column, Kind, Table, absent, column},
    sql::literal,
};
use crate::{GroupBy, Key, Measure, Scan};

/// The query of groups, and the types of its columns.
#[derive(Debug)]
pub(super) struct Query {
    select: String,
    group: String,
    columns: Vec<(String, DataType)>,
}

impl Query {
    /// `None`: ClickHouse would not give exactly what the engine gives.
    pub(super) fn new(table: Table, scan: &Scan, group: &GroupBy) -> Option<Self> {
        let mut query = Self { select: String::new(), group: String::new(), columns: Vec::new() };
        let mut selected = Vec::new();
        let mut grouped = Vec::new();
        for (i, key) in group.keys.iter().enumerate() {
            let (by, shown, data_type) = self::key(table, scan, key)?;
            selected.push(format!("{shown} AS k{i}"));
            grouped.push(by);
            query.columns.push((format!("k{i}"), data_type));
        }
        for (i, measure) in group.measures.iter().enumerate() {
            let (shown, data_type) = self::measure(table, measure)?;
            selected.push(format!("{shown} AS m{i}"));
            query.columns.push((format!("m{i}"), data_type));
        }
        if selected.is_empty() {
            return None;
        }
        query.select = selected.join(", ");
        if !grouped.is_empty() {
            query.group = format!(" GROUP BY {}", grouped.join(", "));
        }
        Some(query)
    }

    /// The statement; `clause` is `WHERE …` or nothing.
    pub(super) fn sql(&self, from: &str, clause: &str) -> String {
        format!("SELECT {} FROM {from}{clause}{}", self.select, self.group)
    }

    /// A batch of the answer as the engine takes it.
    pub(super) fn groups(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (name, data_type) in &self.columns {
            let missing = || ArrowError::SchemaError(format!("the answer of ClickHouse lacks the column {name}"));
            let array = rows.column_by_name(name).ok_or_else(missing)?;
            columns.push(typed(array, data_type)?);
            fields.push(Field::new(name, data_type.clone(), true));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
    }
}

fn typed(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match data_type {
        DataType::Utf8 => arrays::repaired(array),
        DataType::Utf8View => cast(&arrays::repaired(array)?, data_type),
        _ => cast(array, data_type),
    }
}

fn type_of(table: Table, name: &str) -> Option<DataType> {
    if name == stored::TEMPLATE {
        return Some(DataType::Utf8View);
    }
    tables::columns(table.signal()).iter().find(|column| column.name == name).map(|column| column.data_type.clone())
}

/// A column's expression, NULL where the column is.
fn nullable(column: &Column) -> String {
    match &column.null {
        Some(null) => format!("if({null}, NULL, {})", column.sql),
        None => column.sql.clone(),
    }
}

/// What is grouped by, what is shown of it, and its type.
fn key(table: Table, scan: &Scan, key: &Key) -> Option<(String, String, DataType)> {
    match key {
        Key::Column(name) => {
            let column = column(table, name)?;
            // NaN and -0 are other groups for us than for ClickHouse.
            (column.kind != Kind::Double).then_some(())?;
            let sql = nullable(&column);
            Some((sql.clone(), sql, type_of(table, name)?))
        }
        Key::Attribute(name) => {
            let sql = attribute(table, name);
            Some((sql.clone(), sql, DataType::Utf8))
        }
        Key::Time { width, origin } => {
            (*width > 0).then_some(())?;
            let at = format!("toUnixTimestamp64Nano({})", table.time());
            let since = if *origin == 0 { at } else { format!("({at} - toInt64({origin}))") };
            // No row lies before the origin: then a division rounds down.
            let number = if scan.time.start >= *origin && scan.time.start >= 0 {
                format!("intDiv({since}, toInt64({width}))")
            } else {
                format!("intDiv({since} - positiveModulo({since}, toInt64({width})), toInt64({width}))")
            };
            let shown = format!("fromUnixTimestamp64Nano({number} * toInt64({width}) + toInt64({origin}))");
            Some((number, shown, tables::timestamp()))
        }
    }
}

/// An attribute as text, NULL where it is absent or was sent without a value.
fn attribute(table: Table, key: &str) -> String {
    let map = table.attributes();
    let name = literal(key);
    let mut entry = vec![Tag::Empty as u8];
    put_varint(&mut entry, key.len() as u64);
    entry.extend_from_slice(key.as_bytes());
    let (bit, entry) = (absent::ATTRIBUTE, hex::encode(entry));
    format!(
        "multiIf({map}[{name}] != '', {map}[{name}], NOT mapContains({map}, {name}), NULL, \
         bitAnd(DevmeshAbsent, {bit}) != 0 AND position(DevmeshShape, unhex('{entry}')) > 0, NULL, '')"
    )
}

/// The expression of a measure, and its type.
fn measure(table: Table, measure: &Measure) -> Option<(String, DataType)> {
    let of = |name: &String| Some((column(table, name)?, type_of(table, name)?));
    Some(match measure {
        Measure::CountAll => ("toInt64(count())".to_owned(), DataType::Int64),
        Measure::Count(name) => {
            let (column, _) = of(name)?;
            let sql = match &column.null {
                Some(null) => format!("toInt64(countIf(NOT ({null})))"),
                None => "toInt64(count())".to_owned(),
            };
            (sql, DataType::Int64)
        }
        Measure::Sum(name) => {
            let (column, _) = of(name)?;
            match column.kind {
                Kind::Int => {
                    let sql = Column { sql: format!("toInt64({})", column.sql), ..column };
                    (format!("sumOrNull({})", nullable(&sql)), DataType::Int64)
                }
                Kind::Double => (format!("sumOrNull({})", nullable(&column)), DataType::Float64),
                Kind::Text | Kind::Unsigned | Kind::Time => return None,
            }
        }
        Measure::Min(name) => {
            let (column, data_type) = of(name)?;
            (format!("minOrNull({})", nullable(&column)), data_type)
        }
        Measure::Max(name) => {
            let (column, data_type) = of(name)?;
            (format!("maxOrNull({})", nullable(&column)), data_type)
        }
    })
}
