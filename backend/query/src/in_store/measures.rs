//! What is computed of the rows of a group, and aggregates over it.
//!
//! A store counts and sums columns and finds their extremes; each can be merged with the same of other rows. An aggregate
//! of the query becomes one over these: `avg(x)` is a sum over a count, `sum(CASE WHEN level = 'ERROR' THEN 1 ELSE 0 END)`
//! sums counts of groups that have `level` as a further key.

use arrow_schema::DataType;
use datafusion::{
    common::{Column, DFSchema, Result, ScalarValue},
    functions_aggregate::{
        average::Avg,
        count::{Count, count_udaf},
        min_max::{Max, Min, max_udaf, min_udaf},
        sum::{Sum, sum_udaf},
    },
    logical_expr::{
        AggregateUDF, Case, Cast, Expr, ExprSchemable, cast,
        expr::{AggregateFunction, AggregateFunctionParams},
        lit, when,
    },
};
use devmesh_schema::{Signal, tables};
use devmesh_store::Measure;

use super::keys::Keys;

/// The measures of a request, and what the engine makes of them.
#[derive(Debug)]
pub(super) struct Measures<'a> {
    signal: Signal,
    /// Of the table.
    schema: &'a DFSchema,
    pub(super) keys: Keys,
    /// What the store computes: `m0`, `m1`, …
    pub(super) all: Vec<Measure>,
    /// Aggregates over groups: `a0`, `a1`, …
    pub(super) finals: Vec<Expr>,
}

impl<'a> Measures<'a> {
    pub(super) fn new(signal: Signal, schema: &'a DFSchema) -> Self {
        Self { signal, schema, keys: Keys::new(signal), all: Vec::new(), finals: Vec::new() }
    }

    /// The value of an aggregate over the table's rows, said over [`Measures::finals`].
    pub(super) fn aggregate(&mut self, aggregate: &AggregateFunction) -> Result<Option<Expr>> {
        let AggregateFunctionParams { args, distinct, filter, order_by, .. } = &aggregate.params;
        let [arg] = args.as_slice() else { return Ok(None) };
        if !order_by.is_empty() {
            return Ok(None);
        }
        let filter = match filter {
            None => None,
            Some(filter) => match self.keys.computed(filter)? {
                Some(filter) => Some(Box::new(filter)),
                None => return Ok(None),
            },
        };
        let function = aggregate.func.inner();
        let (is_count, is_sum, is_avg) = (function.is::<Count>(), function.is::<Sum>(), function.is::<Avg>());
        let is_max = function.is::<Max>();
        if *distinct && is_count {
            let Some(key) = self.keys.grouped(arg)? else { return Ok(None) };
            return Ok(Some(self.over_groups(count_udaf(), key, true, filter)));
        }
        if is_max || function.is::<Min>() {
            let Some(extreme) = self.extreme(arg, is_max)? else { return Ok(None) };
            let function = if is_max { max_udaf() } else { min_udaf() };
            return Ok(Some(self.over_groups(function, extreme, false, filter)));
        }
        if *distinct || !(is_count || is_sum || is_avg) {
            return Ok(None);
        }
        let sum = match is_count {
            true => None,
            false => match self.summed(arg)? {
                None => return Ok(None),
                sum => sum,
            },
        };
        let sum = sum.map(|sum| self.over_groups(sum_udaf(), sum, false, filter.clone()));
        if is_sum {
            return Ok(sum);
        }
        let Some(count) = self.counted(arg)? else { return Ok(None) };
        let count = self.over_groups(sum_udaf(), count, false, filter);
        Ok(Some(match sum {
            // No rows: a count of 0, not of NULL.
            None => or_zero(count)?,
            Some(sum) => cast(sum, DataType::Float64) / cast(count, DataType::Float64),
        }))
    }

    /// The column that holds an aggregate over the groups.
    fn over_groups(
        &mut self,
        function: std::sync::Arc<AggregateUDF>,
        arg: Expr,
        distinct: bool,
        filter: Option<Box<Expr>>,
    ) -> Expr {
        let call = AggregateFunction::new_udf(function, vec![arg], distinct, filter, vec![], None);
        let call = Expr::AggregateFunction(call);
        let index = self.finals.iter().position(|known| *known == call).unwrap_or_else(|| {
            self.finals.push(call);
            self.finals.len() - 1
        });
        Expr::Column(Column::new_unqualified(format!("a{index}")))
    }

    /// The column of the groups that holds a measure.
    fn column(&mut self, measure: Measure) -> Expr {
        let index = self.all.iter().position(|known| *known == measure).unwrap_or_else(|| {
            self.all.push(measure);
            self.all.len() - 1
        });
        Expr::Column(Column::new_unqualified(format!("m{index}")))
    }

    /// What of a group adds up to the sum of `expr` over all rows.
    fn summed(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::Column(column) => {
                Ok(sum_type(self.signal, &column.name).map(|_type| self.column(Measure::Sum(column.name.clone()))))
            }
            Expr::Cast(Cast { expr: inner, field }) if self.keeps_value(inner, field.data_type())? => {
                Ok(self.summed(inner)?.map(|sum| cast(sum, field.data_type().clone())))
            }
            Expr::Case(case) => self.case(case, Self::summed),
            Expr::Literal(literal, _) if literal.is_null() => Ok(Some(expr.clone())),
            expr => {
                let Some(each) = self.keys.computed(expr)? else { return Ok(None) };
                let data_type = expr.get_type(self.schema)?;
                let rows = self.column(Measure::CountAll);
                Ok(match data_type {
                    DataType::Float64 => Some(each * cast(rows, DataType::Float64)),
                    data_type if data_type.is_signed_integer() => Some(cast(each, DataType::Int64) * rows),
                    _ => None,
                })
            }
        }
    }

    /// How many rows of a group have a value of `expr`.
    fn counted(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::Column(column) => {
                let Some(known) = tables::columns(self.signal).iter().find(|known| known.name == column.name) else {
                    return Ok(None);
                };
                Ok(match (known.nullable, known.data_type.is_nested()) {
                    (false, _) => Some(self.column(Measure::CountAll)),
                    (true, false) => Some(self.column(Measure::Count(column.name.clone()))),
                    (true, true) => None,
                })
            }
            Expr::Cast(Cast { expr: inner, field }) if self.keeps_value(inner, field.data_type())? => {
                self.counted(inner)
            }
            Expr::Case(case) => {
                let or_else = case.else_expr.clone().unwrap_or_else(|| Box::new(lit(ScalarValue::Null)));
                let case = Case { else_expr: Some(or_else), ..case.clone() };
                self.case(&case, Self::counted)?.map(or_zero).transpose()
            }
            Expr::Literal(literal, _) if literal.is_null() => Ok(Some(lit(0_i64))),
            Expr::Literal(..) => Ok(Some(self.column(Measure::CountAll))),
            expr => {
                let Some(each) = self.keys.computed(expr)? else { return Ok(None) };
                let rows = self.column(Measure::CountAll);
                when(each.is_not_null(), rows).otherwise(lit(0_i64)).map(Some)
            }
        }
    }

    /// The extreme of `expr` among the rows of a group.
    fn extreme(&mut self, expr: &Expr, greatest: bool) -> Result<Option<Expr>> {
        match expr {
            Expr::Column(column) => {
                let known = tables::columns(self.signal).iter().find(|known| known.name == column.name);
                let fits = known.is_some_and(|known| !known.data_type.is_nested());
                let measure = if greatest { Measure::Max } else { Measure::Min };
                Ok(fits.then(|| self.column(measure(column.name.clone()))))
            }
            Expr::Case(case) => {
                let extreme = |measures: &mut Self, expr: &Expr| measures.extreme(expr, greatest);
                self.case(case, extreme)
            }
            expr => self.keys.computed(expr),
        }
    }

    /// A choice by keys between what `each` makes of the branches.
    fn case(&mut self, case: &Case, each: impl Fn(&mut Self, &Expr) -> Result<Option<Expr>>) -> Result<Option<Expr>> {
        let expr = match &case.expr {
            None => None,
            Some(expr) => match self.keys.computed(expr)? {
                Some(expr) => Some(Box::new(expr)),
                None => return Ok(None),
            },
        };
        let mut when_then_expr = Vec::with_capacity(case.when_then_expr.len());
        for (condition, value) in &case.when_then_expr {
            let (Some(condition), Some(value)) = (self.keys.computed(condition)?, each(self, value)?) else {
                return Ok(None);
            };
            when_then_expr.push((Box::new(condition), Box::new(value)));
        }
        let else_expr = match &case.else_expr {
            None => None,
            Some(value) => match each(self, value)? {
                Some(value) => Some(Box::new(value)),
                None => return Ok(None),
            },
        };
        Ok(Some(Expr::Case(Case { expr, when_then_expr, else_expr })))
    }

    /// Whether a cast to `wanted` gives the same number, and a number wherever there was one.
    fn keeps_value(&self, inner: &Expr, wanted: &DataType) -> Result<bool> {
        let given = inner.get_type(self.schema)?;
        let is_whole = matches!(given, DataType::Int32 | DataType::Int64 | DataType::UInt32);
        Ok(match wanted {
            DataType::Int64 => is_whole,
            DataType::Float64 => is_whole || given == DataType::Float64,
            _ => false,
        })
    }
}

/// 0 for NULL.
fn or_zero(count: Expr) -> Result<Expr> {
    when(count.clone().is_null(), lit(0_i64)).otherwise(count)
}

/// The type of the sum of a column; `None` where it has none that a store gives.
fn sum_type(signal: Signal, column: &str) -> Option<DataType> {
    match tables::columns(signal).iter().find(|known| known.name == column)?.data_type {
        DataType::Int32 | DataType::Int64 | DataType::UInt32 => Some(DataType::Int64),
        DataType::Float64 => Some(DataType::Float64),
        _ => None,
    }
}

/// The type of a measure.
pub(super) fn type_of(signal: Signal, measure: &Measure) -> Option<DataType> {
    let column = |name: &String| tables::columns(signal).iter().find(|known| known.name == name);
    match measure {
        Measure::CountAll | Measure::Count(_) => Some(DataType::Int64),
        Measure::Sum(name) => sum_type(signal, name),
        Measure::Min(name) | Measure::Max(name) => column(name).map(|column| column.data_type.clone()),
    }
}
