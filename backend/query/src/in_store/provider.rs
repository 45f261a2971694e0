//! A store's groups, and the rows beside them, as tables of a plan.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{Result, Statistics, tree_node::TreeNodeRecursion},
    datasource::{
        TableProvider, TableType,
        source::{DataSource, DataSourceExec},
    },
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_expr::{EquivalenceProperties, PhysicalExpr, projection::ProjectionExprs},
    physical_plan::{
        DisplayFormatType, ExecutionPlan, Partitioning,
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use devmesh_schema::tables;
use devmesh_store::{Fragment, Key};
use futures::{StreamExt, stream::BoxStream};

use super::{measures::type_of, request::Request};
use crate::{asked, table::SignalTable};

type Arriving = BoxStream<'static, Result<RecordBatch, devmesh_store::Error>>;

/// Groups on their way from a store. They can be read once.
#[derive(Clone)]
pub(super) struct StoreGroups {
    schema: SchemaRef,
    groups: Arc<Mutex<Option<Arriving>>>,
    /// What was asked, for EXPLAIN.
    asked: Arc<str>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for StoreGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked)
    }
}

impl StoreGroups {
    pub(super) fn new(request: &Request, groups: Arriving) -> Result<Self> {
        let asked = format!(
            "StoreGroups: {}, keys=[{}], measures=[{}]",
            asked::Asked(&request.scan),
            asked::list(&request.group.keys, asked::key),
            asked::list(&request.group.measures, asked::measure),
        );
        Ok(Self {
            schema: schema(request)?,
            groups: Arc::new(Mutex::new(Some(groups))),
            asked: asked.into(),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

/// The columns of the groups: keys as the table has them, then measures.
fn schema(request: &Request) -> Result<SchemaRef> {
    let signal = request.table.signal;
    let unknown = || DataFusionError::Internal("a group has a column that no table has".into());
    let mut fields = Vec::new();
    for (i, key) in request.group.keys.iter().enumerate() {
        let name = format!("k{i}");
        fields.push(match key {
            Key::Column(column) => {
                let columns = tables::columns(signal).iter();
                let known = columns.into_iter().find(|known| known.name == column).ok_or_else(unknown)?;
                Field::new(name, known.data_type.clone(), known.nullable)
            }
            Key::Attribute(_) => Field::new(name, arrow_schema::DataType::Utf8View, true),
            Key::Time { .. } => Field::new(name, tables::timestamp(), false),
        });
    }
    for (i, measure) in request.group.measures.iter().enumerate() {
        fields.push(Field::new(format!("m{i}"), type_of(signal, measure).ok_or_else(unknown)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[async_trait]
impl TableProvider for StoreGroups {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(DataSourceExec::from_data_source(self.clone()))
    }
}

/// The store's columns by name, in the types that the plan has.
fn typed(groups: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match groups.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()),
        None => Err(ArrowError::SchemaError(format!("the store gave groups without {}", field.name()))),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(groups.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_, _>>()?, &options)
}

impl DataSource for StoreGroups {
    fn open(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(groups) = self.groups.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(DataFusionError::Execution("groups that arrive can be read once only".into()));
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let schema = Arc::clone(&self.schema);
        let groups = groups.map(move |batch| {
            let batch = batch.map_err(|error| DataFusionError::External(Box::new(error)))?;
            baseline.record_output(batch.num_rows());
            typed(&batch, &schema).map_err(|error| DataFusionError::Internal(error.to_string()))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), groups)))
    }

    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked)
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(1)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }

    fn with_fetch(&self, _: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

/// A table's rows that are in none of the store's groups.
pub(super) struct Rest {
    pub(super) table: SignalTable,
    /// They can be read once.
    pub(super) fragments: Mutex<Option<Vec<Fragment>>>,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rest({})", self.table.signal)
    }
}

#[async_trait]
impl TableProvider for Rest {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(fragments) = self.fragments.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(DataFusionError::Execution("rows beside groups can be read once only".into()));
        };
        self.table.read(state, projection, filters, limit, fragments, None)
    }
}
