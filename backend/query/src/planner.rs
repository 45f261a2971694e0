//! What `attributes['k']` is planned as, and numbers that don't go through text.

use arrow_schema::DataType;
use datafusion::{
    common::{
        DFSchema, Result, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    logical_expr::{
        Cast, Expr, ExprSchemable, GetFieldAccess, LogicalPlan, TryCast,
        expr::ScalarFunction,
        expr_rewriter::NamePreserver,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr},
    },
    optimizer::AnalyzerRule,
    sql::sqlparser::ast::BinaryOperator,
};

use crate::functions::{
    attribute::{As, Attribute},
    join,
};

/// Plans `map['key']` as `attribute(map, 'key')`. Lists and structs keep DataFusion's own meaning.
#[derive(Debug)]
pub(crate) struct AttributePlanner;

impl ExprPlanner for AttributePlanner {
    /// In `attributes['n'] + 1` the attribute is a number.
    fn plan_binary_op(&self, mut expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
        if matches!(expr.op, Plus | Minus | Multiply | Divide | Modulo) {
            for side in [&mut expr.left, &mut expr.right] {
                if let Expr::ScalarFunction(call) = side
                    && is_text_attribute(call)
                {
                    call.func = As::Double.function();
                }
            }
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !matches!(access.expr.get_type(schema), Ok(DataType::Map(_, _))) {
            return Ok(PlannerResult::Original(access));
        }
        let key = match access.field_access {
            GetFieldAccess::NamedStructField { name } => match name.try_as_str() {
                Some(Some(key)) => Expr::Literal(ScalarValue::Utf8(Some(key.into())), None),
                _ => Expr::Literal(name, None),
            },
            GetFieldAccess::ListIndex { key } => *key,
            range => {
                return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access: range, expr: access.expr }));
            }
        };
        let call = ScalarFunction::new_udf(As::Text.function(), vec![access.expr, key]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// Turns `CAST(attribute(…) AS DOUBLE)` into `attribute_double(…)`, and `AS BIGINT` into `attribute_int(…)`. Runs after
/// type coercion, so that `attributes['n'] > 5` is covered as well.
#[derive(Debug)]
pub(crate) struct NumericAttributes;

impl AnalyzerRule for NumericAttributes {
    fn name(&self) -> &str {
        "numeric_attributes"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, numeric)
    }
}

/// Gives a bound to what joins texts and lists. Runs after type coercion.
#[derive(Debug)]
pub(crate) struct BoundedJoins;

impl AnalyzerRule for BoundedJoins {
    fn name(&self) -> &str {
        "bounded_joins"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, |expr| Ok(join::bounded(expr)))
    }
}

/// Rewrites every expression of a plan, from its leaves up.
pub(crate) fn rewrite(plan: LogicalPlan, each: impl Fn(Expr) -> Result<Transformed<Expr>>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(&each)?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn numeric(expr: Expr) -> Result<Transformed<Expr>> {
    let (inner, field) = match &expr {
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => (expr.as_ref(), field),
        _ => return Ok(Transformed::no(expr)),
    };
    let Expr::ScalarFunction(call) = inner else { return Ok(Transformed::no(expr)) };
    let wanted = field.data_type().clone();
    let kind = match &wanted {
        DataType::Float64 | DataType::Float32 | DataType::Decimal128(_, _) => As::Double,
        wanted if wanted.is_integer() => As::Int,
        _ => return Ok(Transformed::no(expr)),
    };
    if !is_text_attribute(call) {
        return Ok(Transformed::no(expr));
    }
    let read = Expr::ScalarFunction(ScalarFunction::new_udf(kind.function(), call.args.clone()));
    let read = if wanted == kind.data_type() { read } else { Expr::Cast(Cast::new(Box::new(read), wanted)) };
    Ok(Transformed::yes(read))
}

fn is_text_attribute(call: &ScalarFunction) -> bool {
    call.func.inner().downcast_ref::<Attribute>().is_some_and(|function| function.kind == As::Text)
}
