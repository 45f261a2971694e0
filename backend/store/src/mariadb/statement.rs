//! The INSERT of a chunk, prepared or as text.
//!
//! A prepared one is read by the server in two thirds of the CPU time that its text takes. It has as many rows as a full
//! chunk, so that each connection prepares it once for each table; a chunk of another size goes as text. Ids of a chunk's rows
//! are neighbours only in one statement, which is why it is not cut into smaller ones.

use std::{fmt, sync::LazyLock};

use arrow_schema::ArrowError;
use devmesh_schema::Signal;
use sqlx::{
    Arguments, AssertSqlSafe, Encode, MySql, MySqlConnection, Type,
    mysql::{MySqlArguments, MySqlQueryResult},
};

use super::{
    chunk::ROWS,
    rows::table,
    sql::{Clock, put_text},
};

/// An INSERT that rows are written into, column by column.
pub(super) enum Statement {
    Text {
        sql: String,
        /// Whether the next value is the first of its row.
        is_first: bool,
    },
    Prepared {
        sql: &'static str,
        values: MySqlArguments,
        /// What of a packet they take.
        bytes: usize,
        time: String,
    },
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Text { sql, .. } => f.debug_tuple("Text").field(&sql.len()).finish(),
            Statement::Prepared { bytes, .. } => f.debug_tuple("Prepared").field(bytes).finish(),
        }
    }
}

impl Statement {
    /// An INSERT of so many rows; `limit`: bytes that a statement may have.
    pub(super) fn new(signal: Signal, columns: &[&str], rows: usize, limit: usize) -> Self {
        if rows == ROWS {
            let sql = prepared(signal, columns);
            let places = columns.len() * rows;
            // For each place a bit for NULL, and its type.
            let bytes = places / 8 + places * 2 + 64;
            if sql.len().max(bytes) < limit {
                let mut values = MySqlArguments::default();
                values.reserve(places, rows * 1024);
                return Statement::Prepared { sql, values, bytes, time: String::new() };
            }
        }
        let mut sql = String::with_capacity(rows * 1024);
        sql.push_str(&format!("INSERT INTO {} ({}) VALUES ", table(signal), columns.join(",")));
        Statement::Text { sql, is_first: false }
    }

    pub(super) fn begin_row(&mut self) {
        if let Statement::Text { sql, is_first } = self {
            sql.push_str(if sql.ends_with(')') { ",(" } else { "(" });
            *is_first = true;
        }
    }

    pub(super) fn end_row(&mut self) {
        if let Statement::Text { sql, .. } = self {
            sql.push(')');
        }
    }

    /// A text, or NULL.
    pub(super) fn text(&mut self, text: Option<&str>) -> Result<(), ArrowError> {
        self.put(text, text.map_or(0, str::len), |sql| match text {
            Some(text) => put_text(sql, text),
            None => sql.push_str("NULL"),
        })
    }

    pub(super) fn int(&mut self, number: i64) -> Result<(), ArrowError> {
        self.put(number, 0, |sql| sql.push_str(&number.to_string()))
    }

    /// A finite number, or NULL.
    pub(super) fn double(&mut self, number: Option<f64>) -> Result<(), ArrowError> {
        self.put(number, 0, |sql| match number {
            Some(number) => sql.push_str(&format!("{number:e}")),
            None => sql.push_str("NULL"),
        })
    }

    /// A time, in microseconds since the epoch.
    pub(super) fn time(&mut self, clock: &mut Clock, micros: i64) -> Result<(), ArrowError> {
        if let Statement::Prepared { values, bytes, time, .. } = self {
            time.clear();
            clock.put_plain(time, micros);
            *bytes += time.len() + 1;
            return values.add(time.as_str()).map_err(ArrowError::ExternalError);
        }
        self.put(0, 0, |sql| clock.put(sql, micros))
    }

    fn put<'v, V: Encode<'v, MySql> + Type<MySql>>(
        &mut self,
        value: V,
        length: usize,
        write: impl FnOnce(&mut String),
    ) -> Result<(), ArrowError> {
        match self {
            Statement::Text { sql, is_first } => {
                if !std::mem::replace(is_first, false) {
                    sql.push(',');
                }
                write(sql);
                Ok(())
            }
            Statement::Prepared { values, bytes, .. } => {
                // Before a text stands its length, in nine bytes at most; a number has eight.
                *bytes += length + 9;
                values.add(value).map_err(ArrowError::ExternalError)
            }
        }
    }

    /// Bytes of a packet that it takes at most.
    pub(super) fn len(&self) -> usize {
        match self {
            Statement::Text { sql, .. } => sql.len(),
            Statement::Prepared { bytes, .. } => *bytes,
        }
    }

    pub(super) async fn execute(self, connection: &mut MySqlConnection) -> Result<MySqlQueryResult, sqlx::Error> {
        match self {
            Statement::Text { sql, .. } => sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await,
            Statement::Prepared { sql, values, .. } => sqlx::query_with(sql, values).execute(connection).await,
        }
    }
}

/// The statement for full chunks of a table. A table has the same columns each time.
fn prepared(signal: Signal, columns: &[&str]) -> &'static str {
    static STATEMENTS: LazyLock<[std::sync::OnceLock<String>; 3]> = LazyLock::new(Default::default);
    STATEMENTS[signal as usize].get_or_init(|| {
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        let rows = vec![row; ROWS].join(",");
        format!("INSERT INTO {} ({}) VALUES {rows}", table(signal), columns.join(","))
    })
}
