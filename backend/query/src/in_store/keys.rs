//! What rows are grouped by, and expressions over it.
//!
//! A store groups by columns, attributes and stretches of time. Anything made of those (`lower(service)`, the condition of
//! a `FILTER`) is computed by the engine from the groups' keys. That only pays where the keys are few: of columns, those
//! that name what a record is about.

use datafusion::{
    common::{
        Column, Result, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, expr::ScalarFunction},
};
use devmesh_schema::{Signal, tables};
use devmesh_store::Key;

use crate::functions::{
    attribute::{As, Attribute},
    id::IdBytes,
};

/// Columns with few values, which may be keys for what is made of them.
const FEW_VALUES: [&str; 15] = [
    "event_name",
    "host",
    "ingest_path",
    "is_monotonic",
    "kind",
    "level",
    "name",
    "scope_name",
    "service",
    "severity_number",
    "severity_text",
    "source",
    "status_code",
    "temporality",
    "unit",
];

/// The keys of a request, in the order in which they came up.
#[derive(Debug)]
pub(super) struct Keys {
    signal: Signal,
    /// Each with the expression over the table that makes it.
    pub(super) all: Vec<(Key, Expr)>,
}

impl Keys {
    pub(super) fn new(signal: Signal) -> Self {
        Self { signal, all: Vec::new() }
    }

    /// The expression over keys that groups as `expr` over the table does.
    pub(super) fn grouped(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let Some((key, made_by)) = atom(self.signal, expr) {
            return Ok(Some(self.column(key, made_by)));
        }
        // The bytes of an id: a store groups by what it shows.
        if let Expr::ScalarFunction(call) = expr
            && call.func.inner().downcast_ref::<IdBytes>().is_some()
            && let [id @ Expr::Column(_)] = call.args.as_slice()
            && let Some((key, made_by)) = atom(self.signal, id)
        {
            let id = self.column(key, made_by);
            return Ok(Some(Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), vec![id]))));
        }
        self.computed(expr)
    }

    /// The expression over keys that says what `expr` over the table says of each row of a group.
    pub(super) fn computed(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let mut fits = !expr.is_volatile();
        let computed = expr.clone().transform_down(|expr| {
            if let Some((whole, coarse)) = coarse_time(&expr) {
                let Expr::ScalarFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
                call.args[1] = self.column(whole, coarse);
                return Ok(Transformed::new(Expr::ScalarFunction(call), true, TreeNodeRecursion::Jump));
            }
            match atom(self.signal, &expr) {
                Some((key, made_by)) if is_of_few_values(&key) => {
                    Ok(Transformed::new(self.column(key, made_by), true, TreeNodeRecursion::Jump))
                }
                _ => {
                    fits &= !matches!(
                        expr,
                        Expr::Column(_)
                            | Expr::OuterReferenceColumn(..)
                            | Expr::ScalarSubquery(_)
                            | Expr::InSubquery(_)
                            | Expr::Exists(_)
                            | Expr::SetComparison(_)
                            | Expr::AggregateFunction(_)
                            | Expr::WindowFunction(_)
                            | Expr::GroupingSet(_)
                            | Expr::Unnest(_)
                    );
                    Ok(Transformed::no(expr))
                }
            }
        })?;
        Ok(fits.then_some(computed.data))
    }

    /// The column of the groups that holds a key.
    fn column(&mut self, key: Key, made_by: Expr) -> Expr {
        let index = self.all.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            self.all.push((key, made_by));
            self.all.len() - 1
        });
        Expr::Column(Column::new_unqualified(format!("k{index}")))
    }
}

fn is_of_few_values(key: &Key) -> bool {
    match key {
        Key::Column(name) => FEW_VALUES.contains(&name.as_str()),
        Key::Attribute(_) | Key::Time { .. } => true,
    }
}

/// A key, and what makes it of the table.
fn atom(signal: Signal, expr: &Expr) -> Option<(Key, Expr)> {
    let key = match expr {
        Expr::Column(column) => {
            let known = tables::columns(signal).iter().find(|known| known.name == column.name)?;
            let fits = !known.data_type.is_nested() && !known.data_type.is_floating();
            fits.then(|| Key::Column(column.name.clone()))?
        }
        Expr::ScalarFunction(call) => attribute(call).or_else(|| bucket(call))?,
        _ => return None,
    };
    Some((key, expr.clone()))
}

/// `attributes['key']`
fn attribute(call: &ScalarFunction) -> Option<Key> {
    let function = call.func.inner().downcast_ref::<Attribute>()?;
    let [Expr::Column(map), Expr::Literal(key, _)] = call.args.as_slice() else { return None };
    let fits = function.kind == As::Text && map.name == "attributes";
    fits.then_some(Key::Attribute(key.try_as_str()??.to_owned()))
}

const DAY: i64 = 86_400_000_000_000;

/// `date_bin` and `date_trunc` to stretches of one width.
fn bucket(call: &ScalarFunction) -> Option<Key> {
    match (call.name(), call.args.as_slice()) {
        ("date_bin", [Expr::Literal(width, _), time]) if is_time(time) => {
            Some(Key::Time { width: nanoseconds(width)?, origin: 0 })
        }
        ("date_bin", [Expr::Literal(width, _), time, Expr::Literal(origin, _)]) if is_time(time) => {
            let ScalarValue::TimestampNanosecond(Some(origin), _) = origin else { return None };
            Some(Key::Time { width: nanoseconds(width)?, origin: *origin })
        }
        ("date_trunc", [Expr::Literal(unit, _), time]) if is_time(time) => {
            let (width, origin) = match unit.try_as_str()??.to_ascii_lowercase().as_str() {
                "microsecond" => (1_000, 0),
                "millisecond" => (1_000_000, 0),
                "second" => (1_000_000_000, 0),
                "minute" => (60_000_000_000, 0),
                "hour" => (3_600_000_000_000, 0),
                "day" => (DAY, 0),
                // Weeks begin on Mondays; the epoch was a Thursday.
                "week" => (7 * DAY, 4 * DAY),
                _ => return None,
            };
            Some(Key::Time { width, origin })
        }
        _ => None,
    }
}

/// The days that `date_trunc` to a month, quarter or year can be made of, and what makes them.
fn coarse_time(expr: &Expr) -> Option<(Key, Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let [Expr::Literal(unit, metadata), time] = call.args.as_slice() else { return None };
    let unit_text = unit.try_as_str()??;
    let is_coarse = ["month", "quarter", "year"].iter().any(|coarse| unit_text.eq_ignore_ascii_case(coarse));
    if call.name() != "date_trunc" || !is_coarse || !is_time(time) {
        return None;
    }
    let day = ScalarValue::from("day").cast_to(&unit.data_type()).ok()?;
    let args = vec![Expr::Literal(day, metadata.clone()), time.clone()];
    let days = Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), args));
    Some((Key::Time { width: DAY, origin: 0 }, days))
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "time")
}

/// An interval of one length.
fn nanoseconds(interval: &ScalarValue) -> Option<i64> {
    let nanoseconds = match interval {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(DAY)?.checked_add(interval.nanoseconds)?
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let days = i64::from(interval.days).checked_mul(DAY)?;
            days.checked_add(i64::from(interval.milliseconds).checked_mul(1_000_000)?)?
        }
        _ => return None,
    };
    (nanoseconds > 0).then_some(nanoseconds)
}
