//! `log_pattern_counts(start, end)` and `patterns_compare(start, end, compare_start, compare_end [, service])`.
//!
//! A call becomes the plan of a query, as if its text stood there. Times are timestamps, or texts: RFC 3339, Unix
//! nanoseconds, `now-15m`.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use datafusion::{
    catalog::{TableFunctionArgs, TableFunctionImpl},
    common::{Result, ScalarValue},
    datasource::{TableProvider, ViewTable},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::Expr,
};
use devmesh_schema::{TimestampNs, tables, time};
use futures::FutureExt;

use super::{Window, compare, counts};
use crate::guard;

/// The functions by their names.
pub(crate) const ALL: [(&str, Function); 2] =
    [("log_pattern_counts", Function::Counts), ("patterns_compare", Function::Compare)];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Counts,
    Compare,
}

impl Function {
    fn usage(self) -> DataFusionError {
        DataFusionError::Plan(match self {
            Function::Counts => {
                "log_pattern_counts(start, end) takes two times, such as '2026-11-21T12:00:00Z', 'now-1h'".into()
            }
            Function::Compare => "patterns_compare(start, end, compare_start, compare_end) takes four times, such as \
                                  '2026-11-21T12:00:00Z', 'now-1h', and a service where you name one"
                .into(),
        })
    }

    fn sql(self, args: &[Expr]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = TimestampNs::try_from(now).unwrap_or(TimestampNs::MAX);
        let window = |start: &Expr, end: &Expr| {
            let (start, end) = (moment(start, now)?, moment(end, now)?);
            if start >= end {
                return Err(DataFusionError::Plan("a window's start lies before its end".into()));
            }
            Ok(Window { start, end })
        };
        match (self, args) {
            (Function::Counts, [start, end]) => Ok(counts(window(start, end)?)),
            (Function::Compare, [start, end, compare_start, compare_end, service @ ..]) if service.len() < 2 => {
                let service = match service.first() {
                    None => None,
                    Some(Expr::Literal(value, _)) if value.is_null() => None,
                    Some(Expr::Literal(value, _)) => Some(value.try_as_str().flatten().ok_or_else(|| self.usage())?),
                    Some(_) => return Err(self.usage()),
                };
                Ok(compare(window(start, end)?, window(compare_start, compare_end)?, service))
            }
            _ => Err(self.usage()),
        }
    }
}

/// An argument as a time.
pub(crate) fn moment(argument: &Expr, now: TimestampNs) -> Result<TimestampNs> {
    let wrong = |what: &str| DataFusionError::Plan(format!("`{argument}` is no time: {what}"));
    let Expr::Literal(value, _) = argument else { return Err(wrong("write it as a constant")) };
    if let Some(text) = value.try_as_str().flatten() {
        return time::parse(text, now).map_err(|error| wrong(&error.to_string()));
    }
    match value.cast_to(&tables::timestamp()) {
        Ok(ScalarValue::TimestampNanosecond(Some(at), _)) if !value.data_type().is_numeric() => Ok(at),
        _ => Err(wrong("a timestamp or a text is one")),
    }
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let internal = |what: &str| DataFusionError::Internal(format!("{self:?} of patterns: {what}"));
        let sql = self.sql(args.exprs())?;
        let state: &SessionState =
            args.session().as_any().downcast_ref().ok_or_else(|| internal("it is called outside of a query"))?;
        let statement = guard::parse(&sql, &HashSet::new()).map_err(|error| internal(&error.to_string()))?;
        // All tables are there already: nothing is waited for.
        let plan = state.statement_to_plan(statement).now_or_never().ok_or_else(|| internal("it waits"))??;
        Ok(Arc::new(ViewTable::new(plan, Some(sql))))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn arguments_are_times_and_a_service() {
        let time = |at: i64| lit(ScalarValue::TimestampNanosecond(Some(at), Some("UTC".into())));
        let sql = Function::Counts.sql(&[time(1), lit("1970-01-01T00:00:01Z")]).unwrap();
        assert!(sql.contains("time >= '1970-01-01T00:00:00.000000001Z'"), "{sql}");
        assert!(sql.contains("time < '1970-01-01T00:00:01"), "{sql}");
        let windows = [time(5), time(9), time(1), time(5)];
        let sql = Function::Compare.sql(&windows).unwrap();
        assert!(!sql.contains("service = ") && !sql.contains('{'), "{sql}");
        let sql = Function::Compare.sql(&[&windows[..], &[lit("o'neil")]].concat()).unwrap();
        assert_eq!(sql.matches("AND service = 'o''neil'").count(), 3);
        for wrong in [
            vec![],
            vec![time(1)],
            vec![time(2), time(2)],
            vec![time(3), time(2)],
            vec![lit("yesterday"), time(2)],
            vec![lit(1_i64), time(2)],
        ] {
            assert!(Function::Counts.sql(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Function::Compare.sql(&[&windows[..], &[lit("a"), lit("b")]].concat()).is_err());
        assert!(Function::Compare.sql(&[&windows[..], &[lit(1_i64)]].concat()).is_err());
    }
}
