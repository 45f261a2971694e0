//! Joins and groups by ids compare the bytes that are stored.
//!
//! A table shows ids as hexadecimal text, and a join by them would hash and keep that text: for a join of all spans with
//! their parents that is nearly all of its time and memory. `a.trace_id = b.trace_id` becomes
//! `trace_id_bytes(a.trace_id) = trace_id_bytes(b.trace_id)`, which the scans answer with their stored columns; the digits
//! of an id are made only where it is shown. Where one side is no id of a table, nothing changes. `GROUP BY trace_id` groups
//! by the bytes as well, and makes the digits of each group.

use datafusion::{
    catalog::TableProvider,
    common::{Column, Result, tree_node::Transformed},
    datasource::source_as_provider,
    logical_expr::{Aggregate, Expr, Join, LogicalPlan, Projection, expr::ScalarFunction},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::{functions::id, table::SignalTable};

/// The rule.
#[derive(Debug)]
pub(crate) struct JoinsById;

impl OptimizerRule for JoinsById {
    fn name(&self) -> &str {
        "joins_by_id"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else { return Ok(Transformed::no(plan)) };
        let sizes: Vec<_> = join.on.iter().map(|on| size_of_both(&join, on)).collect();
        let found = sizes.iter().any(Option::is_some);
        for ((left, right), size) in join.on.iter_mut().zip(sizes) {
            if let Some(size) = size {
                for side in [left, right] {
                    let function = ScalarFunction::new_udf(id::function(size), vec![std::mem::take(side)]);
                    *side = Expr::ScalarFunction(function);
                }
            }
        }
        let join = LogicalPlan::Join(join);
        Ok(if found { Transformed::yes(join) } else { Transformed::no(join) })
    }
}

/// The rule for groups.
#[derive(Debug)]
pub(crate) struct GroupsById;

impl OptimizerRule for GroupsById {
    fn name(&self) -> &str {
        "groups_by_id"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) => match groups(aggregate)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(plan)),
            },
            _ => Ok(Transformed::no(plan)),
        }
    }
}

/// The aggregate by the bytes of ids, and above it what shows them; `None` where it is by no ids.
fn groups(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let size_of = |expr: &Expr| match expr.clone().unalias() {
        Expr::Column(column) => size(&aggregate.input, &column),
        _ => None,
    };
    let sizes: Vec<Option<i32>> = aggregate.group_expr.iter().map(size_of).collect();
    if sizes.iter().all(Option::is_none) {
        return Ok(None);
    }
    let call = |function, arg| Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![arg]));
    let grouped = aggregate.group_expr.iter().zip(&sizes).map(|(expr, size)| match size {
        Some(size) => call(id::function(*size), expr.clone().unalias()),
        None => expr.clone(),
    });
    let by_bytes = Aggregate::try_new(aggregate.input.clone(), grouped.collect(), aggregate.aggr_expr.clone())?;
    let shown = (0..aggregate.schema.fields().len()).map(|at| {
        let column = Expr::Column(Column::from(by_bytes.schema.qualified_field(at)));
        let (qualifier, field) = aggregate.schema.qualified_field(at);
        match sizes.get(at).copied().flatten() {
            Some(size) => call(id::text_function(size), column).alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    let shown = shown.collect();
    Projection::try_new(shown, LogicalPlan::Aggregate(by_bytes).into()).map(|plan| Some(LogicalPlan::Projection(plan)))
}

/// Bytes of the ids, where both sides are ids of one kind.
fn size_of_both(join: &Join, (left, right): &(Expr, Expr)) -> Option<i32> {
    let (Expr::Column(left), Expr::Column(right)) = (left, right) else { return None };
    size(&join.left, left).filter(|size_of_left| size(&join.right, right) == Some(*size_of_left))
}

/// Bytes of the ids in a column of a plan, where it is a table's column of ids, however it is named by now.
fn size(plan: &LogicalPlan, column: &Column) -> Option<i32> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let _table: &SignalTable = (provider.as_ref() as &dyn TableProvider).downcast_ref()?;
            match column.name.as_str() {
                "trace_id" => Some(id::TRACE),
                "span_id" | "parent_span_id" => Some(id::SPAN),
                _ => None,
            }
        }
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.maybe_index_of_column(column)?;
            match projection.expr.get(index)?.clone().unalias() {
                Expr::Column(inner) => size(&projection.input, &inner),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = alias.schema.maybe_index_of_column(column)?;
            size(&alias.input, &Column::from(alias.input.schema().qualified_field(index)))
        }
        LogicalPlan::Filter(filter) => size(&filter.input, column),
        LogicalPlan::Join(join) => [&join.left, &join.right].into_iter().find_map(|side| {
            side.schema().maybe_index_of_column(column)?;
            size(side, column)
        }),
        LogicalPlan::Union(union) => {
            let index = union.schema.maybe_index_of_column(column)?;
            let of = |input: &LogicalPlan| size(input, &Column::from(input.schema().qualified_field(index)));
            let first = of(union.inputs.first()?)?;
            union.inputs.iter().all(|input| of(input) == Some(first)).then_some(first)
        }
        _ => None,
    }
}
