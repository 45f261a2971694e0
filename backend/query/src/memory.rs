//! Stored rows that are not in files, as a source that projects and filters itself, the way a Parquet file does.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, cast::AsArray};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::{FilterBuilder, filter_record_batch};
use datafusion::{
    common::{Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    datasource::source::DataSource,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{
        EquivalenceProperties, PhysicalExpr, conjunction,
        projection::ProjectionExprs,
        simplifier::PhysicalExprSimplifier,
        utils::{collect_columns, reassign_expr_columns},
    },
    physical_expr_adapter::PhysicalExprAdapterFactory,
    physical_plan::{
        DisplayFormatType, Partitioning,
        filter_pushdown::{FilterPushdownPropagation, PushedDown},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder},
        stream::RecordBatchStreamAdapter,
    },
};
use devmesh_schema::stored;
use futures::{
    StreamExt, future,
    stream::{self, BoxStream},
};

use crate::adapter::AdapterFactory;

/// Rows on their way from a store.
type Arriving = BoxStream<'static, Result<RecordBatch, devmesh_store::Error>>;

/// Rows of one partition.
#[derive(Clone)]
pub(crate) enum Rows {
    /// In memory.
    Here(Arc<[Arc<RecordBatch>]>),
    /// Still to arrive; can be read once.
    Arriving(Arc<Mutex<Option<Arriving>>>),
}

/// The name under which plans count the rows that a source looked at.
pub(crate) const ROWS_SCANNED: &str = "rows_scanned";

/// The source.
#[derive(Clone)]
pub(crate) struct StoredRows {
    adapter: AdapterFactory,
    table: SchemaRef,
    partitions: Arc<[Rows]>,
    projection: ProjectionExprs,
    shown: SchemaRef,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// What the store was asked that gives them.
    asked: Option<Arc<str>>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRows")
            .field("signal", &self.adapter.signal)
            .field("partitions", &self.partitions.len())
            .finish()
    }
}

impl StoredRows {
    pub(crate) fn new(
        adapter: AdapterFactory,
        table: SchemaRef,
        partitions: Vec<Rows>,
        projection: ProjectionExprs,
        predicate: Option<Arc<dyn PhysicalExpr>>,
    ) -> Result<Self> {
        let shown = Arc::new(projection.project_schema(&table)?);
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { adapter, table, partitions: partitions.into(), projection, shown, predicate, asked: None, metrics })
    }

    /// Says, for EXPLAIN, what the store was asked.
    pub(crate) fn asked(self, asked: &Arc<str>) -> Self {
        Self { asked: Some(Arc::clone(asked)), ..self }
    }

    /// Whether all rows are shown.
    pub(crate) fn is_whole(&self) -> bool {
        self.predicate.is_none()
    }

    /// Fits the query to the columns that a batch has.
    fn prepare(&self, stored: &RecordBatch) -> Result<Prepared> {
        let stored = without_empty_rest(stored)?;
        let schema = stored.schema();
        let adapter = self.adapter.create(Arc::clone(&self.table), Arc::clone(&schema))?;
        let simplifier = PhysicalExprSimplifier::new(&schema);
        let adapt = |expr: &Arc<dyn PhysicalExpr>| simplifier.simplify(adapter.rewrite(Arc::clone(expr))?);
        let predicate = self.predicate.as_ref().map(adapt).transpose()?;
        let exprs = self.projection.iter().map(|p| adapt(&p.expr)).collect::<Result<Vec<_>>>()?;
        Ok(Prepared { stored, predicate, exprs, shown: Arc::clone(&self.shown) })
    }
}

/// A batch, and the query fitted to it.
struct Prepared {
    stored: RecordBatch,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    shown: SchemaRef,
}

impl Prepared {
    /// The table's rows that the query wants, of `size` stored rows from `start` on.
    fn read(&self, start: usize, size: usize) -> Result<RecordBatch> {
        let stored = self.stored.slice(start, size.min(self.stored.num_rows() - start));
        let mask = self.predicate.as_ref().map(|predicate| mask(predicate, &stored)).transpose()?;
        let (exprs, rows) = select(&self.exprs, &stored, mask.as_ref())?;
        let count = rows.num_rows();
        let columns = exprs.iter().map(|e| e.evaluate(&rows)?.into_array(count)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.shown), columns, &options)?)
    }

    /// All of it, piece by piece.
    fn pieces(self, size: usize) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        (0..self.stored.num_rows()).step_by(size).map(move |start| self.read(start, size))
    }
}

/// A batch whose every attribute has a column need not be asked for others.
fn without_empty_rest(stored: &RecordBatch) -> Result<RecordBatch> {
    match stored.schema().index_of(stored::REST) {
        Ok(index) if stored.column(index).null_count() == stored.num_rows() => {
            let others: Vec<usize> = (0..stored.num_columns()).filter(|i| *i != index).collect();
            Ok(stored.project(&others)?)
        }
        _ => Ok(stored.clone()),
    }
}

fn mask(predicate: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let answer = predicate.evaluate(rows)?.into_array(rows.num_rows())?;
    match answer.as_boolean_opt() {
        Some(mask) => Ok(mask.clone()),
        None => Err(DataFusionError::Internal(format!("the filter {predicate} is no boolean"))),
    }
}

/// The rows that the mask leaves, of just the columns that the expressions read; and the expressions over those.
fn select(
    exprs: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
    mask: Option<&BooleanArray>,
) -> Result<(Vec<Arc<dyn PhysicalExpr>>, RecordBatch)> {
    let Some(mask) = mask else { return Ok((exprs.to_vec(), rows.clone())) };
    let mut needed: Vec<usize> = exprs.iter().flat_map(collect_columns).map(|column| column.index()).collect();
    needed.sort_unstable();
    needed.dedup();
    let rows = rows.project(&needed)?;
    let rows = if needed.is_empty() {
        let count = FilterBuilder::new(mask).build().count();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?
    } else {
        filter_record_batch(&rows, mask)?
    };
    let schema = rows.schema();
    let exprs = exprs.iter().map(|e| reassign_expr_columns(Arc::clone(e), &schema)).collect::<Result<Vec<_>>>()?;
    Ok((exprs, rows))
}

impl DataSource for StoredRows {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let source = self.clone();
        let shown = Arc::clone(&self.shown);
        let rows = match &self.partitions[partition] {
            Rows::Here(batches) => {
                let batches = Arc::clone(batches);
                stream::iter((0..batches.len()).map(move |i| Ok(Arc::clone(&batches[i])))).boxed()
            }
            Rows::Arriving(rows) => match rows.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(rows) => rows.map(|batch| batch.map(Arc::new)).boxed(),
                None => return Err(DataFusionError::Execution("rows that arrive can be read once only".into())),
            },
        };
        let scanned = MetricBuilder::new(&self.metrics).counter(ROWS_SCANNED, partition);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let size = context.session_config().batch_size();
        let pieces = rows.flat_map(move |batch| {
            let prepared = batch.map_err(|error| DataFusionError::External(Box::new(error))).and_then(|batch| {
                scanned.add(batch.num_rows());
                source.prepare(&batch)
            });
            let pieces: Box<dyn Iterator<Item = Result<RecordBatch>> + Send> = match prepared {
                Ok(prepared) => Box::new(prepared.pieces(size)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            };
            stream::iter(pieces)
        });
        let shown_rows = pieces.filter(move |rows| {
            let count = rows.as_ref().map_or(1, RecordBatch::num_rows);
            baseline.record_output(count);
            future::ready(count > 0)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(shown, shown_rows)))
    }

    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(asked) if self.partitions.iter().any(|rows| matches!(rows, Rows::Arriving(_))) => {
                write!(f, "StoreScan: {asked}; here:")?;
            }
            _ => f.write_str("rows in memory,")?,
        }
        write!(f, " partitions={}, projection=[{}]", self.partitions.len(), self.projection)?;
        if let Some(predicate) = &self.predicate {
            write!(f, ", predicate={predicate}")?;
        }
        Ok(())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.shown))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = |rows: &Rows| match rows {
            Rows::Here(batches) => Some(batches.iter().map(|batch| batch.num_rows()).sum::<usize>()),
            Rows::Arriving(_) => None,
        };
        let count = match partition {
            Some(partition) => rows(&self.partitions[partition]),
            None => self.partitions.iter().map(rows).sum(),
        };
        let mut statistics = Statistics::new_unknown(&self.shown);
        statistics.num_rows = match (count, &self.predicate) {
            (Some(count), None) => Precision::Exact(count),
            (Some(count), Some(_)) => Precision::Inexact(count),
            (None, _) => Precision::Absent,
        };
        Ok(Arc::new(statistics))
    }

    /// A limit stays above: a piece is read whole.
    fn with_fetch(&self, _: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        let projection = self.projection.try_merge(projection)?;
        let shown = Arc::new(projection.project_schema(&self.table)?);
        Ok(Some(Arc::new(Self { projection, shown, ..self.clone() })))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let over_table = |filter: &Arc<dyn PhysicalExpr>| {
            reassign_expr_columns(self.projection.unproject_expr(filter)?, &self.table)
        };
        let mut all = filters.iter().map(over_table).collect::<Result<Vec<_>>>()?;
        all.extend(self.predicate.clone());
        let source = Self { predicate: (!all.is_empty()).then(|| conjunction(all)), ..self.clone() };
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::Yes; filters.len()])
            .with_updated_node(Arc::new(source) as Arc<dyn DataSource>))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for expr in self.predicate.iter().chain(self.projection.iter().map(|p| &p.expr)) {
            next = f(expr)?;
            if next == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(next)
    }
}
