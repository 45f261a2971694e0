//! What of a query runs in the store: the newest rows, and groups.
//!
//! Filters, columns and limits reach a store with the scan of its table ([`crate::table`], [`crate::pushdown`]). What needs
//! more than one node of the plan is found here, once the plan is optimized:
//!
//! - `ORDER BY time DESC LIMIT n` over a table: the scan asks for the newest `n` rows ([`newest`]);
//! - an aggregate over a table ([`request`]): the store is asked for its groups, and where it has an answer, the
//!   aggregate is replaced by one over those groups ([`merge`]).
//!
//! The store is asked while the query is planned: where it says that it would not give exactly the engine's answer, the
//! plan stays as it is. A table is looked for through projections and names, so that views profit as well.

mod keys;
mod measures;
mod merge;
mod newest;
mod provider;
mod request;

use std::collections::VecDeque;

use datafusion::{
    common::{
        Column, DFSchema, Result,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    datasource::source_as_provider,
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan, TableScan},
};
use devmesh_store::Groups;

use crate::{in_store::request::Request, limits, patterns, scope::Scope, table::SignalTable};

/// The plan with what the store does itself done there.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn plan(plan: LogicalPlan, scope: &Scope) -> Result<LogicalPlan> {
    let plan = newest::mark(patterns::current::plan(plan, &scope.patterns)?)?;
    let mut requests = Vec::new();
    find(&plan, &mut requests)?;
    if requests.is_empty() {
        return Ok(plan);
    }
    let mut answers = VecDeque::with_capacity(requests.len());
    for mut request in requests {
        let horizon = scope.snapshot.horizon(request.scan.signal);
        request.scan.time.start = request.scan.time.start.max(horizon);
        let answer = scope.snapshot.group(&request.scan, &request.group).await;
        answers.push_back(answer.map_err(|error| DataFusionError::External(Box::new(error)))?);
    }
    replace(plan, &mut answers).data()
}

/// The aggregates that a store can be asked for, in the order in which [`replace`] comes by them.
fn find(plan: &LogicalPlan, found: &mut Vec<Request>) -> Result<()> {
    if let Some(request) = Request::of(plan)? {
        found.push(request);
        return Ok(());
    }
    plan.inputs().into_iter().try_for_each(|input| find(input, found))?;
    plan.apply_subqueries(|subquery| find(subquery, found).map(|()| TreeNodeRecursion::Continue))?;
    Ok(())
}

fn replace(plan: LogicalPlan, answers: &mut VecDeque<Option<Groups>>) -> Result<Transformed<LogicalPlan>> {
    if let Some(request) = Request::of(&plan)? {
        return match answers.pop_front().flatten() {
            Some(groups) => merge::plan(&request, groups).map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        };
    }
    let plan = plan.map_children(|input| replace(input, answers))?;
    let changed = plan.transformed;
    let plan = plan.data.map_subqueries(|subquery| replace(subquery, answers))?;
    if changed || plan.transformed {
        return plan.data.recompute_schema().map(Transformed::yes);
    }
    Ok(plan)
}

/// A signal's table below nothing but projections and names.
struct Base<'a> {
    scan: &'a TableScan,
    table: SignalTable,
    /// What was asked of the plan above, over the columns of the table.
    exprs: Vec<Expr>,
}

/// Finds the table that a plan shows, and says expressions over the plan as ones over the table.
fn base(plan: &LogicalPlan, exprs: Vec<Expr>) -> Result<Option<Base<'_>>> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(table(scan).map(|table| Base { scan, table, exprs })),
        LogicalPlan::Projection(projection) => {
            let inner = |index: usize| projection.expr[index].clone().unalias();
            match over(exprs, &projection.schema, inner)? {
                Some(exprs) => base(&projection.input, exprs),
                None => Ok(None),
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = |index: usize| Expr::Column(Column::from(alias.input.schema().qualified_field(index)));
            match over(exprs, &alias.schema, inner)? {
                Some(exprs) => base(&alias.input, exprs),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// The table of a scan that reads all of it.
fn table(scan: &TableScan) -> Option<SignalTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table: &SignalTable = (provider.as_ref() as &dyn std::any::Any).downcast_ref()?;
    scan.fetch.is_none().then(|| table.clone())
}

/// The expressions over what is below; `None` where they would be too large: a column that is used twice, in each of
/// thirty projections, is there a billion times.
fn over(exprs: Vec<Expr>, schema: &DFSchema, inner: impl Fn(usize) -> Expr) -> Result<Option<Vec<Expr>>> {
    let mut left = limits::EXPRESSIONS;
    let mut fits = true;
    let mut over = |expr: Expr| {
        expr.transform_down(|expr| match &expr {
            Expr::Column(column) if fits => {
                let inner = inner(schema.index_of_column(column)?);
                inner.apply(|_| {
                    fits = left > 0;
                    left = left.saturating_sub(1);
                    Ok(if fits { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
                })?;
                Ok(Transformed::new(inner, true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(expr)),
        })
        .data()
    };
    let exprs = exprs.into_iter().map(&mut over).collect::<Result<Vec<_>>>()?;
    Ok(fits.then_some(exprs))
}
