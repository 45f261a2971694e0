//! The tables `logs`, `spans` and `metrics`: a scan of the store as a DataFusion plan.

use std::{any::Any, cmp::Reverse, fmt, sync::Arc};

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{
        ColumnStatistics, DFSchema, Result, ScalarValue, Statistics, ToDFSchema, stats::Precision, tree_node::TreeNode,
    },
    datasource::{
        TableProvider, TableType,
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, ParquetRowSelection},
        },
        source::DataSourceExec,
    },
    error::DataFusionError,
    execution::{cache::cache_manager::FileMetadataCache, object_store::ObjectStoreUrl},
    logical_expr::{Expr, TableProviderFilterPushDown, col, lit},
    physical_expr::{PhysicalExpr, conjunction, projection::ProjectionExprs},
    physical_plan::{ExecutionPlan, empty::EmptyExec, metrics::ExecutionPlanMetricsSet, union::UnionExec},
};
use devmesh_schema::{Signal, TimestampNs, stored, tables};
use devmesh_store::{Fragment, ParquetFile, Scan};
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::{
    arrow_reader::{RowSelection, RowSelector},
    async_reader::AsyncFileReader,
};

use crate::{
    adapter::{self, AdapterFactory},
    asked::Asked,
    memory::{Rows, StoredRows},
    pushdown,
    scope::Scope,
};

/// A signal's table.
#[derive(Clone)]
pub(crate) struct SignalTable {
    /// Whose.
    pub(crate) signal: Signal,
    /// Footers and page indexes of files, kept between queries.
    pub(crate) metadata: Arc<FileMetadataCache>,
    /// Of all rows that pass the filters, only so many of the newest are wanted.
    pub(crate) newest: Option<usize>,
}

impl fmt::Debug for SignalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalTable({})", self.signal)
    }
}

/// What a query wants of the table.
struct Wanted {
    projection: Option<Vec<usize>>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
    partitions: usize,
    scope: Arc<Scope>,
    /// Rows before it are forgotten.
    horizon: TimestampNs,
    /// What the store was asked, for EXPLAIN.
    asked: Option<Arc<str>>,
    /// Words that bodies must hold: on those the templates of some files decide.
    words: Arc<[Vec<String>]>,
}

impl Wanted {
    /// The same of what may hold rows that are forgotten.
    fn after_horizon(&self, state: &dyn Session, schema: &DFSchema) -> Result<Self> {
        let horizon = ScalarValue::TimestampNanosecond(Some(self.horizon), Some("UTC".into()));
        let remembered = state.create_physical_expr(col("time").gt_eq(lit(horizon)), schema)?;
        let predicate = Some(conjunction(self.predicate.iter().cloned().chain([remembered])));
        let (projection, scope, asked) = (self.projection.clone(), Arc::clone(&self.scope), self.asked.clone());
        let (partitions, horizon, words) = (self.partitions, self.horizon, Arc::clone(&self.words));
        Ok(Self { projection, predicate, limit: None, partitions, scope, horizon, asked, words })
    }
}

#[async_trait]
impl TableProvider for SignalTable {
    fn schema(&self) -> SchemaRef {
        tables::schema(self.signal)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A reader of files or memory applies every filter by itself but those on lists.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.schema();
        let pushdown = |filter: &&Expr| {
            let stays = filter.is_volatile()
                || filter.column_refs().iter().any(|column| adapter::is_list(&schema, &column.name))
                || filter
                    .exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))))?;
            Ok(if stays { TableProviderFilterPushDown::Unsupported } else { TableProviderFilterPushDown::Exact })
        };
        filters.iter().map(pushdown).collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = Arc::clone(&Scope::of(state)?.snapshot);
        let (mut scan, is_exact) = pushdown::scan(self.signal, filters);
        scan.time.start = scan.time.start.max(snapshot.horizon(self.signal));
        scan.columns = projection.map(|projection| self.columns(projection, filters));
        if is_exact {
            scan.newest_first = self.newest.is_some();
            scan.limit = self.newest.or(limit);
        }
        let fragments = snapshot.scan(&scan).await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.read(state, projection, filters, limit, fragments, Some(&scan))
    }
}

fn predicate(state: &dyn Session, schema: &DFSchema, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let filters = filters.iter().map(|f| state.create_physical_expr(f.clone(), schema)).collect::<Result<Vec<_>>>()?;
    Ok((!filters.is_empty()).then(|| conjunction(filters)))
}

impl SignalTable {
    /// Names of the columns that are shown or filtered by; rows that are forgotten are told by their time.
    fn columns(&self, projection: &[usize], filters: &[Expr]) -> Vec<String> {
        let schema = self.schema();
        let filtered =
            filters.iter().flat_map(Expr::column_refs).map(|column| column.name.as_str()).chain([stored::TIME]);
        let filtered: Vec<&str> = filtered.collect();
        let fields = schema.fields().iter().enumerate();
        fields
            .filter(|(index, field)| projection.contains(index) || filtered.contains(&field.name().as_str()))
            .map(|(_, field)| field.name().clone())
            .collect()
    }

    /// A plan that reads fragments of a scan's answer. `asked` is the scan, where EXPLAIN shall show it.
    pub(crate) fn read(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
        fragments: Vec<Fragment>,
        asked: Option<&Scan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema().to_dfschema()?;
        let scope = Scope::of(state)?;
        let horizon = scope.snapshot.horizon(self.signal);
        let wanted = Wanted {
            projection: projection.cloned(),
            predicate: predicate(state, &schema, filters)?,
            limit,
            partitions: state.config().target_partitions(),
            scope,
            horizon,
            asked: asked.map(|scan| Asked(scan).to_string().into()),
            words: pushdown::words_of_bodies(filters).into(),
        };
        let (young, old) = fragments.into_iter().map(|fragment| split(fragment, horizon)).unzip();
        let mut plans = Vec::new();
        self.plan(state, young, &wanted, &mut plans)?;
        self.plan(state, old, &wanted.after_horizon(state, &schema)?, &mut plans)?;
        match plans.len() {
            0 => {
                let schema = self.schema();
                let shown = match &wanted.projection {
                    Some(columns) => Arc::new(schema.project(columns)?),
                    None => schema,
                };
                Ok(Arc::new(EmptyExec::new(shown)))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// What of a fragment holds no row before the horizon, and what may.
fn split(fragment: Fragment, horizon: TimestampNs) -> (Option<Fragment>, Option<Fragment>) {
    if horizon == TimestampNs::MIN {
        return (Some(fragment), None);
    }
    match fragment {
        Fragment::Memory(batches) => {
            let (young, old) = batches.into_iter().partition(|batch| oldest(batch).is_some_and(|time| time >= horizon));
            (Some(Fragment::Memory(young)), Some(Fragment::Memory(old)))
        }
        Fragment::Rows(rows) => (None, Some(Fragment::Rows(rows))),
        Fragment::Parquet { store, files, pin } => {
            let (young, old) = files.into_iter().partition(|file| file.time.0 >= horizon);
            let of = |files| Some(Fragment::Parquet { store: Arc::clone(&store), files, pin: Arc::clone(&pin) });
            (of(young), of(old))
        }
    }
}

/// The least time of the rows.
fn oldest(rows: &RecordBatch) -> Option<TimestampNs> {
    let times = rows.column_by_name(stored::TIME)?.as_primitive_opt::<TimestampNanosecondType>()?;
    times.values().iter().copied().min()
}

impl SignalTable {
    /// Adds the plans that read the fragments.
    fn plan(
        &self,
        state: &dyn Session,
        fragments: Vec<Option<Fragment>>,
        wanted: &Wanted,
        plans: &mut Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<()> {
        let mut here = Vec::new();
        let mut arriving = Vec::new();
        for fragment in fragments.into_iter().flatten() {
            match fragment {
                Fragment::Memory(batches) => here.extend(batches.into_iter().filter(|batch| batch.num_rows() > 0)),
                Fragment::Rows(rows) => arriving.push(Rows::Arriving(Arc::new(std::sync::Mutex::new(Some(rows))))),
                Fragment::Parquet { store, files, pin } => {
                    let (decided, open): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.by_template);
                    for (files, words) in [(decided, Arc::clone(&wanted.words)), (open, Arc::default())] {
                        if files.is_empty() {
                            continue;
                        }
                        let url = ObjectStoreUrl::parse(format!("devmesh://{}-{}", self.signal.table(), plans.len()))?;
                        // A name for the plan: the reader has the store itself.
                        state.runtime_env().register_object_store(url.as_ref(), Arc::clone(&store));
                        plans.push(self.files(url, Arc::clone(&store), files, Arc::clone(&pin), words, wanted)?);
                    }
                }
            }
        }
        let mut rows = arriving;
        rows.extend(
            share_out(here, wanted.partitions, |batch| batch.num_rows()).into_iter().map(|b| Rows::Here(b.into())),
        );
        if !rows.is_empty() {
            let schema = self.schema();
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let projection = ProjectionExprs::from_indices(wanted.projection.as_deref().unwrap_or(&all), &schema);
            let patterns = Arc::clone(&wanted.scope.patterns);
            let adapter = AdapterFactory { signal: self.signal, patterns, by_template: Arc::default() };
            let source = StoredRows::new(adapter, schema, rows, projection, wanted.predicate.clone())?;
            let source = match &wanted.asked {
                Some(asked) => source.asked(asked),
                None => source,
            };
            plans.push(DataSourceExec::from_data_source(source));
        }
        Ok(())
    }

    /// A plan that reads files. `by_template`: words on which the templates of their rows alone decide.
    fn files(
        &self,
        url: ObjectStoreUrl,
        store: Arc<dyn ObjectStore>,
        mut files: Vec<ParquetFile>,
        pin: Arc<dyn Any + Send + Sync>,
        by_template: Arc<[Vec<String>]>,
        wanted: &Wanted,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let mut source = ParquetSource::new(Arc::clone(&schema))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true)
            .with_parquet_file_reader_factory(Arc::new(PinnedFiles {
                readers: CachedParquetFileReaderFactory::new(store, Arc::clone(&self.metadata)),
                scope: Arc::clone(&wanted.scope),
                _pin: pin,
            }));
        if let Some(predicate) = &wanted.predicate {
            source = source.with_predicate(Arc::clone(predicate));
        }
        files.sort_by_key(|file| Reverse(file.time.1));
        let statistics = files.iter().map(|file| statistics(&schema, file)).collect::<Vec<_>>();
        let total = Statistics::try_merge_iter(&statistics, &schema)?;
        let files = files.into_iter().zip(statistics).collect();
        let groups = share_out(files, wanted.partitions, |(file, _)| file.rows as usize)
            .into_iter()
            .map(|group| {
                let statistics = Statistics::try_merge_iter(group.iter().map(|(_, s)| s), &schema)?;
                let files = group.into_iter().map(|(file, statistics)| partitioned(&file, statistics)).collect();
                Ok(FileGroup::new(files).with_statistics(Arc::new(statistics)))
            })
            .collect::<Result<Vec<_>>>()?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(total)
            .with_projection_indices(wanted.projection.clone())?
            .with_limit(wanted.limit)
            .with_expr_adapter(Some(Arc::new(AdapterFactory {
                signal: self.signal,
                patterns: Arc::clone(&wanted.scope.patterns),
                by_template,
            })))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Into at most `parts` groups of about the same weight, the order kept within each.
fn share_out<T>(items: Vec<T>, parts: usize, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let parts = parts.min(items.len());
    let mut groups: Vec<(usize, Vec<T>)> = (0..parts).map(|_| (0, Vec::new())).collect();
    for item in items {
        if let Some(group) = groups.iter_mut().min_by_key(|(total, _)| *total) {
            group.0 += weight(&item);
            group.1.push(item);
        }
    }
    groups.into_iter().map(|(_, items)| items).collect()
}

fn statistics(schema: &SchemaRef, file: &ParquetFile) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let whole = file.selection.is_none();
    let precise = |value| if whole { Precision::Exact(value) } else { Precision::Inexact(value) };
    let rows = match &file.selection {
        None => file.rows as usize,
        Some(ranges) => ranges.iter().map(|range| range.len()).sum(),
    };
    statistics.num_rows = if whole { Precision::Exact(rows) } else { Precision::Inexact(rows) };
    statistics.total_byte_size = Precision::Inexact(file.size as usize);
    if let Ok(time) = schema.index_of("time") {
        let at = |time| precise(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())));
        statistics.column_statistics[time] = ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: at(file.time.0),
            max_value: at(file.time.1),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

fn partitioned(file: &ParquetFile, statistics: Statistics) -> PartitionedFile {
    // Files are never rewritten under the same name: the cache needs no time of change.
    let meta = ObjectMeta {
        location: file.path.clone(),
        last_modified: Default::default(),
        size: file.size,
        e_tag: None,
        version: None,
    };
    let partitioned = PartitionedFile::from(meta).with_statistics(Arc::new(statistics));
    match &file.selection {
        Some(ranges) => partitioned.with_extension(ParquetRowSelection::new(selection(ranges, file.rows as usize))),
        None => partitioned,
    }
}

fn selection(ranges: &[std::ops::Range<usize>], rows: usize) -> RowSelection {
    let mut selectors = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut end = 0;
    for range in ranges {
        if range.start > end {
            selectors.push(RowSelector::skip(range.start - end));
        }
        selectors.push(RowSelector::select(range.len()));
        end = range.end;
    }
    if end < rows {
        selectors.push(RowSelector::skip(rows - end));
    }
    RowSelection::from(selectors)
}

/// Readers that keep their files from being deleted, and tell the query which they open.
struct PinnedFiles {
    readers: CachedParquetFileReaderFactory,
    scope: Arc<Scope>,
    _pin: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for PinnedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedFiles")
    }
}

impl ParquetFileReaderFactory for PinnedFiles {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        self.scope.open(&file.object_meta.location);
        self.readers.create_reader(partition, file, metadata_size_hint, metrics)
    }
}
