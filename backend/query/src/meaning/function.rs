//! `semantic('…')`: the patterns that a question means, as a table.
//!
//! `semantic(question [, top_k])` has the columns `pattern_id`, `template`, `score`, `similarity`, `word_score` and `rank`, best
//! first, and joins with whatever has a `pattern_id`. The question is understood once for each place where it stands, when
//! the plan is made to run, so that the plan knows how few rows it has.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableFunctionArgs, TableFunctionImpl},
    common::{Result, ScalarValue},
    datasource::{TableProvider, TableType, memory::MemorySourceConfig},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{future, stream};
use tokio::sync::OnceCell;

use super::{Hit, SemanticSearch, Slot, check_question, format_id};
use crate::error::Error;

/// Its name in SQL.
pub(crate) const NAME: &str = "semantic";
/// Patterns where no number is asked for.
const TOP_K: i64 = 10;
/// Patterns at most.
const TOP_K_MAX: i64 = 1000;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, kind| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field("pattern_id", DataType::Utf8View),
        field("template", DataType::Utf8View),
        field("score", DataType::Float64),
        field("similarity", DataType::Float64),
        field("word_score", DataType::Float64),
        field("rank", DataType::Int64),
    ]))
});

/// The function.
#[derive(Debug)]
pub(crate) struct Semantic(pub(crate) Slot);

impl TableFunctionImpl for Semantic {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let usage = || DataFusionError::Plan(format!("{NAME} is called as {NAME}('a question') or {NAME}('…', top_k)"));
        let (question, top_k) = match args.exprs() {
            [question] => (text(question), Some(TOP_K)),
            [question, top_k] => (text(question), number(top_k)),
            _ => (None, None),
        };
        let (question, top_k) = question.zip(top_k).ok_or_else(usage)?;
        let meaning = self.0.needed().map_err(external)?;
        let meaning = Arc::clone(meaning);
        Ok(Arc::new(Found { meaning, question, top_k, rows: OnceCell::new() }))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn text(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten().map(str::to_owned)
}

fn number(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(Some(number)) if value.data_type().is_integer() => Some(number),
        _ => None,
    }
}

/// The table of one call.
struct Found {
    meaning: Arc<dyn SemanticSearch>,
    question: String,
    top_k: i64,
    rows: OnceCell<RecordBatch>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semantic").field("top_k", &self.top_k).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Found {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Err(error) = self.check() {
            let wrong: Arc<dyn PartitionStream> = Arc::new(Wrong(error.to_string()));
            let plan = StreamingTableExec::try_new(self.schema(), vec![wrong], projection, [], false, None)?;
            return Ok(Arc::new(plan));
        }
        let rows = self.rows.get_or_try_init(|| self.ask()).await?.clone();
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?)
    }
}

impl Found {
    fn check(&self) -> Result<(), Error> {
        check_question(&format!("the question of {NAME}"), &self.question)?;
        if (1..=TOP_K_MAX).contains(&self.top_k) {
            return Ok(());
        }
        Err(Error::BadQuery(format!("top_k of {NAME} is {}; it lies between 1 and {TOP_K_MAX}", self.top_k)))
    }

    async fn ask(&self) -> Result<RecordBatch> {
        let (meaning, question, top_k) = (Arc::clone(&self.meaning), self.question.clone(), self.top_k as usize);
        let rank = move || meaning.rank(&meaning.question(&question), top_k, &|_| true);
        let hits = tokio::task::spawn_blocking(rank).await;
        rows(&hits.map_err(|error| DataFusionError::Internal(format!("a search failed: {error}")))?)
    }
}

/// What is wrong with a call, said when its rows are asked for: a statement is described before its parameters are known.
#[derive(Debug)]
struct Wrong(String);

impl PartitionStream for Wrong {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let error = external(Error::BadQuery(self.0.clone()));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCHEMA), stream::once(future::ready(Err(error)))))
    }
}

/// A score as a double, without the digits that a float has not.
fn double(score: f32) -> f64 {
    (f64::from(score) * 1e6).round() / 1e6
}

fn rows(hits: &[Hit]) -> Result<RecordBatch> {
    let doubles = |of: fn(&Hit) -> f32| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(hits.iter().map(|hit| double(of(hit)))))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(hits.iter().map(|hit| format_id(hit.pattern)))),
        Arc::new(StringViewArray::from_iter_values(hits.iter().map(|hit| hit.template.as_str()))),
        doubles(|hit| hit.score),
        doubles(|hit| hit.similarity),
        doubles(|hit| hit.words),
        Arc::new(Int64Array::from_iter_values(1..=hits.len() as i64)),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}
