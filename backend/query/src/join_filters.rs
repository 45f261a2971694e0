//! Whether a join tells its right side which rows it looks for.
//!
//! DataFusion lets a hash join filter what it joins with: by the values of a small left side, else by looking each row up
//! in the join's own table. That is worth it where the left side is a choice of rows. Where it is all of a large table,
//! nearly every row is in it, and each is looked up twice: half as much time again for a join of all spans with their
//! parents.

use std::sync::Arc;

use datafusion::{
    common::{Result, config::ConfigOptions},
    datasource::{physical_plan::FileScanConfig, source::DataSourceExec},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{ExecutionPlan, joins::HashJoinExec},
};

use crate::memory::StoredRows;

/// Rows of a table from which on it counts as large: looking up fewer costs next to nothing.
const LARGE: usize = 100_000;

/// DataFusion's rules, that of filters made by operators replaced by ours.
pub(crate) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    rules
        .map(|rule| match rule.name() {
            "FilterPushdown(Post)" => Arc::new(JoinFilters(rule)) as Arc<dyn PhysicalOptimizerRule + Send + Sync>,
            _ => rule,
        })
        .collect()
}

#[derive(Debug)]
struct JoinFilters(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for JoinFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let lefts = lefts(&plan);
        if lefts.is_empty() || !lefts.iter().all(is_large_table) {
            return self.0.optimize(plan, config);
        }
        let mut config = config.clone();
        config.optimizer.enable_join_dynamic_filter_pushdown = false;
        self.0.optimize(plan, &config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The left sides of the plan's hash joins.
fn lefts(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut found: Vec<_> = plan.children().into_iter().flat_map(lefts).collect();
    found.extend(plan.downcast_ref::<HashJoinExec>().map(|join| Arc::clone(join.left())));
    found
}

fn is_large_table(plan: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(rows_of_whole_tables(plan), Some(rows) if rows >= LARGE)
}

/// The rows of what is a table without any condition; `None` where it is something else.
fn rows_of_whole_tables(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let Some(scan) = plan.downcast_ref::<DataSourceExec>() else {
        let passes_on = ["CoalescePartitionsExec", "CooperativeExec", "ProjectionExec", "RepartitionExec", "UnionExec"]
            .contains(&plan.name());
        return passes_on.then(|| plan.children().into_iter().map(rows_of_whole_tables).sum())?;
    };
    let source = scan.data_source();
    let any = source.as_ref() as &dyn std::any::Any;
    let is_whole = match any.downcast_ref::<FileScanConfig>() {
        Some(files) => files.file_source().filter().is_none() && files.limit.is_none(),
        None => any.downcast_ref::<StoredRows>().is_some_and(StoredRows::is_whole),
    };
    let rows = || source.partition_statistics(None).ok()?.num_rows.get_value().copied();
    // Rows that arrive from a database are not counted.
    is_whole.then(|| rows().unwrap_or(LARGE))
}
