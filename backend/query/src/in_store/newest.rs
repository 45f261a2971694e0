//! `ORDER BY time DESC LIMIT n`: the scan is told that only the newest `n` rows are wanted.
//!
//! With a further column in the order the last of equal times would be chosen by it, and a store that cuts after `n` rows
//! may have left out the right one: then nothing is said.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    datasource::provider_as_source,
    logical_expr::{Expr, LogicalPlan, Sort},
};

use super::{base, table};
use crate::table::SignalTable;

/// The plan with its scans told.
pub(super) fn mark(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|plan| {
        let LogicalPlan::Sort(sort) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(wanted) = wanted(sort)? else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Sort(mut sort) = plan else { return Ok(Transformed::no(plan)) };
        sort.input = Arc::new(told(Arc::unwrap_or_clone(sort.input), wanted)?);
        Ok(Transformed::yes(LogicalPlan::Sort(sort)))
    })
    .data()
}

/// How many of the newest rows of a table the sort keeps.
fn wanted(sort: &Sort) -> Result<Option<usize>> {
    let (Some(fetch), [by]) = (sort.fetch, sort.expr.as_slice()) else { return Ok(None) };
    if by.asc {
        return Ok(None);
    }
    let found = base(&sort.input, vec![by.expr.clone()])?;
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "time");
    Ok(found.is_some_and(|base| base.exprs.iter().all(is_time)).then_some(fetch))
}

fn told(plan: LogicalPlan, newest: usize) -> Result<LogicalPlan> {
    plan.transform_down(|plan| match plan {
        LogicalPlan::TableScan(mut scan) => {
            if let Some(table) = table(&scan) {
                scan.source = provider_as_source(Arc::new(SignalTable { newest: Some(newest), ..table }));
            }
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        plan => Ok(Transformed::no(plan)),
    })
    .data()
}
