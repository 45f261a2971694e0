//! The aggregate over a store's groups that takes the place of one over its rows.
//!
//! ```text
//! Projection      the columns of the aggregate that was asked for
//!   Aggregate     groups of equal keys merged
//!     Union
//!       StoreGroups   groups made in the store
//!       Aggregate     groups of the rows that are not in those: in memory, on their way to the store
//! ```

use std::sync::{Arc, Mutex};

use datafusion::{
    common::{Column, Result, TableReference},
    datasource::provider_as_source,
    functions_aggregate::{
        count::count_udaf,
        min_max::{max_udaf, min_udaf},
        sum::sum_udaf,
    },
    logical_expr::{
        AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableScanBuilder, cast,
        expr::AggregateFunction, lit,
    },
};
use devmesh_store::{Fragment, Groups, Measure};

use super::{
    measures::type_of,
    provider::{Rest, StoreGroups},
    request::Request,
};

/// The plan that answers the request's aggregate from the store's groups.
pub(super) fn plan(request: &Request, groups: Groups) -> Result<LogicalPlan> {
    let names = names(request);
    let in_store = StoreGroups::new(request, groups.groups)?;
    let source = provider_as_source(Arc::new(in_store));
    let shown = names.iter().map(|name| unqualified(name).alias(name));
    let mut plan = LogicalPlanBuilder::scan("groups", source, None)?.project(shown)?;
    if !groups.rest.is_empty() {
        plan = plan.union(rest(request, groups.rest, &names)?)?;
    }
    let grouped = request.grouped.iter().enumerate().map(|(i, expr)| expr.clone().alias(format!("g{i}")));
    let finals = request.finals.iter().enumerate().map(|(i, expr)| expr.clone().alias(format!("a{i}")));
    let plan = plan.aggregate(grouped, finals)?;
    let schema = &request.aggregate.schema;
    let columns = (0..request.grouped.len()).map(|i| unqualified(&format!("g{i}")));
    let columns = columns.chain(request.computed.iter().cloned()).enumerate();
    let shown = columns.map(|(i, expr)| {
        let (qualifier, field) = schema.qualified_field(i);
        let is_of_type = expr.get_type(plan.schema())? == *field.data_type();
        let expr = if is_of_type { expr } else { cast(expr, field.data_type().clone()) };
        Ok(expr.alias_qualified(qualifier.cloned(), field.name()))
    });
    let shown = shown.collect::<Result<Vec<_>>>()?;
    plan.project(shown)?.build()
}

/// Names of the columns of the groups.
fn names(request: &Request) -> Vec<String> {
    let keys = (0..request.group.keys.len()).map(|i| format!("k{i}"));
    keys.chain((0..request.group.measures.len()).map(|i| format!("m{i}"))).collect()
}

fn unqualified(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// Groups of the rows that the store has not put into groups.
fn rest(request: &Request, fragments: Vec<Fragment>, names: &[String]) -> Result<LogicalPlan> {
    let table = &request.table_scan.table_name;
    let fragments = Mutex::new(Some(fragments));
    let source = provider_as_source(Arc::new(Rest { table: request.table.clone(), fragments }));
    let schema = source.schema();
    let measured = request.group.measures.iter().filter_map(measured);
    let columns: Vec<Expr> = measured.map(|name| column(table, name)).collect();
    let mut needed = Vec::new();
    for expr in request.keys.iter().chain(&columns) {
        for column in expr.column_refs() {
            needed.push(schema.index_of(&column.name)?);
        }
    }
    needed.sort_unstable();
    needed.dedup();
    let scan = TableScanBuilder::new(table.clone(), source)
        .with_projection(Some(needed))
        .with_filters(request.table_scan.filters.clone())
        .build()?;
    let mut plan = LogicalPlanBuilder::new(LogicalPlan::TableScan(scan));
    let keys = request.keys.iter().enumerate().map(|(i, expr)| expr.clone().alias(format!("k{i}")));
    let mut shown: Vec<Expr> = keys.collect();
    for column in columns {
        if !shown.contains(&column) {
            shown.push(column);
        }
    }
    if !shown.is_empty() {
        plan = plan.project(shown)?;
    }
    let keys = (0..request.keys.len()).map(|i| unqualified(&format!("k{i}")));
    let measures = request.group.measures.iter().enumerate();
    let measures = measures.map(|(i, measure)| Ok(aggregate(request, measure)?.alias(format!("m{i}"))));
    let plan = plan.aggregate(keys, measures.collect::<Result<Vec<_>>>()?)?;
    plan.project(names.iter().map(|name| unqualified(name)))?.build()
}

fn column(table: &TableReference, name: &str) -> Expr {
    Expr::Column(Column::new(Some(table.clone()), name))
}

fn measured(measure: &Measure) -> Option<&str> {
    match measure {
        Measure::CountAll => None,
        Measure::Count(name) | Measure::Sum(name) | Measure::Min(name) | Measure::Max(name) => Some(name),
    }
}

/// What computes a measure of rows.
fn aggregate(request: &Request, measure: &Measure) -> Result<Expr> {
    let call = |function: Arc<AggregateUDF>, arg: Expr| {
        Expr::AggregateFunction(AggregateFunction::new_udf(function, vec![arg], false, None, vec![], None))
    };
    let column = |name: &String| column(&request.table_scan.table_name, name);
    Ok(match measure {
        Measure::CountAll => call(count_udaf(), lit(1_i64)),
        Measure::Count(name) => call(count_udaf(), column(name)),
        Measure::Sum(name) => {
            let wanted = type_of(request.table.signal, measure);
            call(sum_udaf(), wanted.map_or_else(|| column(name), |wanted| cast(column(name), wanted)))
        }
        Measure::Min(name) => call(min_udaf(), column(name)),
        Measure::Max(name) => call(max_udaf(), column(name)),
    })
}
