//! An aggregate of a query as a question to a store.

use datafusion::{
    common::Result,
    logical_expr::{Aggregate, Expr, LogicalPlan, TableScan},
};
use devmesh_store::{GroupBy, Key, Scan};

use super::{base, measures::Measures};
use crate::{pushdown, table::SignalTable};

/// The question, and what the engine makes of the answer.
#[derive(Debug)]
pub(super) struct Request {
    /// Which rows.
    pub(super) scan: Scan,
    /// Which groups.
    pub(super) group: GroupBy,
    /// What makes each key of the table.
    pub(super) keys: Vec<Expr>,
    /// What the query groups by, over the keys.
    pub(super) grouped: Vec<Expr>,
    /// Aggregates over the groups.
    pub(super) finals: Vec<Expr>,
    /// What the query computes, over those aggregates.
    pub(super) computed: Vec<Expr>,
    /// The aggregate that is asked for.
    pub(super) aggregate: Aggregate,
    /// The scan of the table below it.
    pub(super) table_scan: TableScan,
    /// The table.
    pub(super) table: SignalTable,
}

impl Request {
    /// The question that answers `plan`; `None` where a store cannot be asked for it.
    pub(super) fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(None) };
        let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        let exprs = exprs.map(|expr| expr.clone().unalias()).collect();
        let Some(base) = base(&aggregate.input, exprs)? else { return Ok(None) };
        let signal = base.table.signal;
        let (scan, true) = pushdown::scan(signal, &base.scan.filters) else { return Ok(None) };
        let mut measures = Measures::new(signal, &base.scan.projected_schema);
        let (group_exprs, aggr_exprs) = base.exprs.split_at(aggregate.group_expr.len());
        let mut grouped = Vec::with_capacity(group_exprs.len());
        for expr in group_exprs {
            let Some(expr) = measures.keys.grouped(expr)? else { return Ok(None) };
            grouped.push(expr);
        }
        let mut computed = Vec::with_capacity(aggr_exprs.len());
        for expr in aggr_exprs {
            let Expr::AggregateFunction(function) = expr else { return Ok(None) };
            let Some(expr) = measures.aggregate(function)? else { return Ok(None) };
            computed.push(expr);
        }
        let Measures { keys, all, finals, .. } = measures;
        let (group_keys, keys): (Vec<Key>, Vec<Expr>) = keys.all.into_iter().unzip();
        Ok(Some(Self {
            scan,
            group: GroupBy { keys: group_keys, measures: all },
            keys,
            grouped,
            finals,
            computed,
            aggregate: aggregate.clone(),
            table_scan: base.scan.clone(),
            table: base.table,
        }))
    }
}
