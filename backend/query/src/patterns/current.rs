//! `pattern_id = '…'` with the id of a pattern that has become part of another: the rows are of that one now, and who kept the
//! earlier id, in an alert or a link, is asking for them.

use datafusion::{
    common::{
        Result, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, expr::InList},
};
use devmesh_store::{PatternMap, parse_pattern_id, pattern_id_text};

use crate::planner;

/// The plan with ids of patterns as they are now.
pub(crate) fn plan(plan: LogicalPlan, patterns: &PatternMap) -> Result<LogicalPlan> {
    let mut names_earlier = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                names_earlier |= current(expr, patterns).is_some();
                Ok(if names_earlier { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    if !names_earlier {
        return Ok(plan);
    }
    planner::rewrite(plan, |expr| {
        Ok(match current(&expr, patterns) {
            Some(current) => Transformed::yes(current),
            None => Transformed::no(expr),
        })
    })
}

/// The comparison with the ids of now; `None` where it is none, or has them already.
fn current(expr: &Expr, patterns: &PatternMap) -> Option<Expr> {
    let is_id = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "pattern_id");
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            let (id, literal) = if is_id(left) { (left, right) } else { (right, left) };
            let literal = now(literal, patterns).filter(|_| is_id(id))?;
            Some(Expr::BinaryExpr(BinaryExpr::new(id.clone(), *op, Box::new(literal))))
        }
        Expr::InList(InList { expr, list, negated }) if is_id(expr) => {
            let changed = list.iter().any(|item| now(item, patterns).is_some());
            let list = list.iter().map(|item| now(item, patterns).unwrap_or_else(|| item.clone())).collect();
            changed.then(|| Expr::InList(InList::new(expr.clone(), list, *negated)))
        }
        _ => None,
    }
}

/// The literal of the pattern that this one's has become part of.
fn now(literal: &Expr, patterns: &PatternMap) -> Option<Expr> {
    let Expr::Literal(value, metadata) = literal else { return None };
    let id = parse_pattern_id(value.try_as_str()??)?;
    let current = patterns.pattern_of(id).filter(|current| *current != id)?;
    let text = ScalarValue::Utf8(Some(pattern_id_text(current))).cast_to(&value.data_type()).ok()?;
    Some(Expr::Literal(text, metadata.clone()))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit, table_scan};
    use devmesh_schema::{Signal, tables};

    use super::*;

    #[test]
    fn only_ids_that_have_become_part_of_others_are_replaced() {
        let map = PatternMap::of([(1, 2), (2, 2), (3, 3)]);
        let id = |n: u64| lit(pattern_id_text(n));
        let list = |ids: &[u64]| ids.iter().map(|n| id(*n)).collect::<Vec<_>>();
        let pattern = || col("logs.pattern_id");
        for (asked, expected) in [
            (pattern().eq(id(1)), Some(pattern().eq(id(2)))),
            (id(1).eq(pattern()), Some(pattern().eq(id(2)))),
            (pattern().not_eq(id(1)), Some(pattern().not_eq(id(2)))),
            (pattern().in_list(list(&[3, 1, 9]), false), Some(pattern().in_list(list(&[3, 2, 9]), false))),
            (pattern().in_list(list(&[1]), true), Some(pattern().in_list(list(&[2]), true))),
            (pattern().eq(id(2)), None),
            (pattern().eq(id(9)), None),
            (pattern().gt(id(1)), None),
            (pattern().eq(lit("no id")), None),
            (col("logs.trace_id").eq(id(1)), None),
            (pattern().in_list(list(&[2, 3]), false), None),
        ] {
            assert_eq!(current(&asked, &map), expected, "{asked}");
        }
    }

    #[test]
    fn a_plan_asks_for_the_patterns_of_now_wherever_it_asks() {
        let map = PatternMap::of([(1, 2), (2, 2)]);
        let asked = |n: u64| {
            let is = col("pattern_id").eq(lit(pattern_id_text(n)));
            let table = table_scan(Some("logs"), &tables::schema(Signal::Logs), None).unwrap();
            let plan: LogicalPlanBuilder = table.filter(col("service").eq(lit("cart")).and(is.clone())).unwrap();
            plan.project([is.alias("is")]).unwrap().build().unwrap()
        };
        assert_eq!(plan(asked(1), &map).unwrap(), asked(2));
        assert_eq!(plan(asked(2), &map).unwrap(), asked(2));
    }
}
