//! A column of the table, or an attribute, made from the columns that one file or batch has for it.
//!
//! [`crate::adapter`] puts it in where no stored column can stand for the table's column as it is. Its children are
//! the stored columns it reads, so that the reader of a file fetches those and no others.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, FieldRef, Schema};
use datafusion::{common::Result, error::DataFusionError, logical_expr::ColumnarValue, physical_expr::PhysicalExpr};
use devmesh_schema::Signal;
use devmesh_store::PatternMap;

use crate::{body_test::BodyTest, derive, functions::attribute::As};

/// Which pattern each template belongs to: one and the same for all of a query.
#[derive(Clone, Debug)]
pub struct Patterns(pub Arc<PatternMap>);

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Patterns {}

impl Hash for Patterns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A column of the signal's table.
    Column {
        /// Whose.
        signal: Signal,
        /// Its name.
        name: String,
    },
    /// The pattern of a log record.
    Pattern {
        /// Which pattern each template belongs to.
        patterns: Patterns,
    },
    /// Whether all words stand in the body of a log record.
    Words {
        /// As they were asked for.
        text: String,
        /// Whether the template alone decides.
        by_template: bool,
    },
    /// Whether the body of a log record is as asked.
    Body {
        /// What is asked.
        test: BodyTest,
    },
    /// The bytes of an id of the signal's table, zeros where it is absent.
    Id {
        /// The name of the column.
        name: String,
        /// How many.
        size: i32,
    },
    /// An attribute of the record.
    Attribute {
        /// Its key.
        key: String,
        /// As what.
        kind: As,
    },
    /// An attribute of what many records share.
    Shared {
        /// The table's column: `resource_attributes` or `scope_attributes`.
        column: String,
        /// Its key.
        key: String,
        /// As what.
        kind: As,
    },
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Column { name, .. } => f.write_str(name),
            Wanted::Pattern { .. } => f.write_str("pattern_id"),
            Wanted::Words { text, by_template: true } => write!(f, "matches(template of body, {text})"),
            Wanted::Words { text, .. } => write!(f, "matches(body, {text})"),
            Wanted::Body { .. } => f.write_str("a test of body"),
            Wanted::Id { name, .. } => write!(f, "bytes of {name}"),
            Wanted::Attribute { key, .. } => write!(f, "attributes[{key}]"),
            Wanted::Shared { column, key, .. } => write!(f, "{column}[{key}]"),
        }
    }
}

/// The expression.
#[derive(Clone, Debug)]
pub struct StoredExpr {
    wanted: Wanted,
    field: FieldRef,
    names: Vec<String>,
    columns: Vec<Arc<dyn PhysicalExpr>>,
}

impl StoredExpr {
    /// Makes `wanted`, of the type and nullability of `field`, from stored columns: `names[i]` is what `columns[i]` reads.
    pub fn new(wanted: Wanted, field: Field, columns: Vec<(String, Arc<dyn PhysicalExpr>)>) -> Self {
        let (names, columns) = columns.into_iter().unzip();
        Self { wanted, field: Arc::new(field), names, columns }
    }
}

impl PartialEq for StoredExpr {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
            && self.field == other.field
            && self.names == other.names
            && self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(|(mine, theirs)| mine.as_ref() == theirs.as_ref())
    }
}

impl Eq for StoredExpr {}

impl Hash for StoredExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted.hash(state);
        self.names.hash(state);
        self.columns.hash(state);
    }
}

impl fmt::Display for StoredExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored({} from {})", self.wanted, self.names.join(", "))
    }
}

impl PhysicalExpr for StoredExpr {
    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let mut fields = Vec::with_capacity(self.names.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.names.len());
        for (name, column) in self.names.iter().zip(&self.columns) {
            let array = column.evaluate(batch)?.into_array(rows)?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let stored = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        // What is stored decides whether this works, never what was asked.
        let made = derive::make(&self.wanted, &stored)
            .map_err(|error| DataFusionError::Internal(format!("{self} cannot be made: {error}")))?;
        if made.len() != rows || made.data_type() != self.field.data_type() {
            return Err(DataFusionError::Internal(format!(
                "{self} made {} rows of {}, not {rows} of {}",
                made.len(),
                made.data_type(),
                self.field.data_type()
            )));
        }
        Ok(ColumnarValue::Array(made))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.columns.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, columns: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { columns, ..self.as_ref().clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wanted)
    }
}
