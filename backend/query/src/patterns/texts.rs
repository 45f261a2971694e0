//! `pattern_texts`: what the store knows of patterns, as a table that views and functions join with. Not listed: what there is
//! to be said of a pattern stands in `log_patterns`.

use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::Result,
    datasource::{TableProvider, TableType, memory::MemorySourceConfig},
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use devmesh_store::pattern_id_text;

use crate::scope::Scope;

/// Its name.
pub(crate) const NAME: &str = "pattern_texts";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str| Field::new(name, DataType::Utf8View, false);
    Arc::new(Schema::new(vec![field("pattern_id"), field("template"), field("example")]))
});

/// The table.
#[derive(Debug)]
pub(crate) struct PatternTexts;

#[async_trait]
impl TableProvider for PatternTexts {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scope = Scope::of(state)?;
        let list = scope.patterns.list();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(list.iter().map(|pattern| pattern_id_text(pattern.id)))),
            Arc::new(StringViewArray::from_iter_values(list.iter().map(|pattern| pattern.text.as_str()))),
            Arc::new(StringViewArray::from_iter_values(list.iter().map(|pattern| pattern.example.as_str()))),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?)
    }
}
