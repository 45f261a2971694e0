//! What a store is asked: a small algebra whose meaning is the same in every store.

use std::{fmt, ops::Range, sync::Arc};

use arrow_array::RecordBatch;
use devmesh_schema::{Signal, TimestampNs};
use futures::stream::BoxStream;
use object_store::{ObjectStore, path::Path};

/// A read of one table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Whose table.
    pub signal: Signal,
    /// Times wanted, ns since the epoch; pulled out of the filters once, so that no store searches for it.
    pub time: Range<TimestampNs>,
    /// ANDed. A store may return rows that do not match (the engine filters again) but never leaves out one that does.
    pub filters: Vec<Filter>,
    /// Only the newest rows are wanted: fragments come newest first.
    pub newest_first: bool,
    /// No more than so many rows are needed where every filter is evaluated exactly; the newest ones with `newest_first`.
    pub limit: Option<usize>,
    /// Columns of the table that are read; a store may give more. `None`: all.
    pub columns: Option<Vec<String>>,
}

impl Scan {
    /// All rows of a signal's table.
    pub fn all(signal: Signal) -> Self {
        Self {
            signal,
            time: TimestampNs::MIN..TimestampNs::MAX,
            filters: Vec::new(),
            newest_first: false,
            limit: None,
            columns: None,
        }
    }
}

/// A predicate on the table's rows as users see them. What fits none of these stays in the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// A column against a value; false where the column is NULL.
    Compare {
        /// Name of a column of the table.
        column: String,
        /// How.
        op: Op,
        /// With what.
        value: Value,
    },
    /// A column equals one of the values.
    OneOf {
        /// Name of a column of the table.
        column: String,
        /// The values.
        values: Vec<Value>,
    },
    /// `attributes['key']` as text equals a value.
    Attribute {
        /// The key.
        key: String,
        /// The value, as text.
        value: String,
    },
    /// `matches(column, …)`: every word stands in the column, whatever the case.
    Words {
        /// Name of a text column.
        column: String,
        /// The words, in lower case.
        words: Vec<String>,
    },
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Eq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Text(String),
    Int(i64),
    Double(f64),
}

/// Groups to make of a scan's rows, in the store. Every filter of the scan must then be evaluated exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupBy {
    /// What rows of one group have in common.
    pub keys: Vec<Key>,
    /// What is computed of each group.
    pub measures: Vec<Measure>,
}

/// What rows are grouped by.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// A column of the table.
    Column(String),
    /// `attributes['key']` as text.
    Attribute(String),
    /// The table's time, rounded down to a multiple of `width` counted from `origin`; both ns.
    Time {
        /// ns, positive.
        width: i64,
        /// ns since the epoch.
        origin: TimestampNs,
    },
}

/// What is computed of the rows of a group. Each can be merged with the same of other rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Rows.
    CountAll,
    /// Rows in which the column is not NULL.
    Count(String),
    /// The sum of a numeric column, NULL without a value.
    Sum(String),
    /// The least value of a column.
    Min(String),
    /// The greatest value of a column.
    Max(String),
}

/// The answer of a store to a [`GroupBy`].
pub struct Groups {
    /// Groups of rows in the store: a column for each key, then for each measure, named `k0`, `k1`, … and `m0`, `m1`, …, with
    /// the types that the engine gives them: the column's own for keys and extremes, Utf8 for attributes, Timestamp(ns,
    /// UTC) for times, Int64 for counts; for sums Int64 or Float64. A group may come more than once.
    pub groups: BoxStream<'static, Result<RecordBatch, crate::Error>>,
    /// Rows that are not in the groups: the engine makes groups of them and merges.
    pub rest: Vec<Fragment>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("rest", &self.rest).finish_non_exhaustive()
    }
}

/// What a store's `scan` does itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Skips rows by [`Filter::Words`].
    pub words: bool,
    /// Skips rows by [`Filter::Attribute`].
    pub attributes: bool,
}

/// A piece of a scan's answer.
pub enum Fragment {
    /// Rows in memory: stored rows, each batch with the columns it has.
    Memory(Vec<Arc<RecordBatch>>),
    /// Rows that arrive: stored rows.
    Rows(BoxStream<'static, Result<RecordBatch, crate::Error>>),
    /// Parquet files of stored rows, which the engine reads itself.
    Parquet {
        /// Where they lie.
        store: Arc<dyn ObjectStore>,
        /// The files; newest first where that was asked.
        files: Vec<ParquetFile>,
        /// Keeps the files from being deleted while the query runs.
        pin: Arc<dyn std::any::Any + Send + Sync>,
    },
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fragment::Memory(batches) => write!(f, "Memory({} batches)", batches.len()),
            Fragment::Rows(_) => f.write_str("Rows"),
            Fragment::Parquet { files, .. } => write!(f, "Parquet({} files)", files.len()),
        }
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct ParquetFile {
    /// Where in the object store.
    pub path: Path,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// Least and greatest time of its rows, both inclusive.
    pub time: (TimestampNs, TimestampNs),
    /// Rows that can match, where the store's index rules others out: ascending, disjoint. `None`: all.
    pub selection: Option<Vec<Range<usize>>>,
    /// Whether the template of a row alone says whether it passes the scan's [`Filter::Words`] on bodies, each of them.
    pub by_template: bool,
}
