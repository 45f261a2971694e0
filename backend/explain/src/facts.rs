//! The rows of the statements, as what they mean. A row that is not as expected is left out: it is one group of many.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{robust::median, strip::left_behind};

/// What a statement's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// How much of both windows has telemetry.
    Coverage,
    /// Operations.
    Operations,
    /// Parents and children.
    Calls,
    /// Patterns of logs.
    Patterns,
    /// Metrics of what can fill.
    Metrics,
}

/// Before and in the window.
pub(crate) type Both<T> = [T; 2];

/// An operation in one window. Times in ns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operation {
    pub(crate) n: f64,
    pub(crate) failed: f64,
    pub(crate) own50: f64,
    pub(crate) own90: f64,
    pub(crate) leaves: f64,
}

/// Calls of one kind in one window: the time of the parent that is not the child's, ns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) n: f64,
    pub(crate) gap25: f64,
    pub(crate) gap50: f64,
    pub(crate) gap90: f64,
}

/// A pattern of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pattern {
    pub(crate) n: Both<f64>,
    pub(crate) bad: bool,
    pub(crate) example: String,
}

/// Who calls whom, by service and operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) caller: (String, String),
    pub(crate) callee: (String, String),
}

/// What both windows say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Stretches of ten seconds with telemetry, by signal.
    pub(crate) coverage: BTreeMap<String, Both<f64>>,
    pub(crate) operations: BTreeMap<(String, String), Both<Operation>>,
    pub(crate) calls: BTreeMap<Call, Both<Calls>>,
    pub(crate) patterns: BTreeMap<(String, String), Pattern>,
    /// By service, pod and name: the minutes of both windows.
    pub(crate) metrics: BTreeMap<(String, String, String), Both<Vec<f64>>>,
}

fn text(row: &[Value], at: usize) -> Option<String> {
    row.get(at)?.as_str().map(str::to_owned)
}

/// A number; large ones come as texts.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.filter(|number| number.is_finite())
}

fn numbers<const N: usize>(row: &[Value], from: usize) -> Option<[f64; N]> {
    let mut out = [0.0; N];
    for (at, out) in out.iter_mut().enumerate() {
        *out = number(row.get(from + at)?).unwrap_or(0.0);
    }
    Some(out)
}

fn side(row: &[Value], at: usize) -> Option<usize> {
    row.get(at)?.as_bool().map(usize::from)
}

impl Facts {
    /// Takes the rows of a statement.
    pub fn take(&mut self, source: Source, rows: &[Vec<Value>]) {
        for row in rows {
            // A row with a NULL where a name belongs says nothing of anybody.
            let _known = match source {
                Source::Coverage => self.coverage(row),
                Source::Operations => self.operation(row),
                Source::Calls => self.call(row),
                Source::Patterns => self.pattern(row),
                Source::Metrics => self.metric(row),
            };
        }
    }

    fn coverage(&mut self, row: &[Value]) -> Option<()> {
        let [buckets] = numbers(row, 2)?;
        *self.coverage.entry(text(row, 0)?).or_default().get_mut(side(row, 1)?)? = buckets;
        Some(())
    }

    fn operation(&mut self, row: &[Value]) -> Option<()> {
        let (service, name) = (text(row, 0)?, text(row, 1)?);
        if left_behind(&name) {
            return None;
        }
        let [n, failed, own50, own90, leaves] = numbers(row, 3)?;
        *self.operations.entry((service, name)).or_default().get_mut(side(row, 2)?)? =
            Operation { n, failed, own50, own90, leaves };
        Some(())
    }

    fn call(&mut self, row: &[Value]) -> Option<()> {
        let call = Call { caller: (text(row, 0)?, text(row, 1)?), callee: (text(row, 2)?, text(row, 3)?) };
        if left_behind(&call.caller.1) || left_behind(&call.callee.1) {
            return None;
        }
        let [n, gap25, gap50, gap90] = numbers(row, 5)?;
        *self.calls.entry(call).or_default().get_mut(side(row, 4)?)? = Calls { n, gap25, gap50, gap90 };
        Some(())
    }

    fn pattern(&mut self, row: &[Value]) -> Option<()> {
        let (service, id, level, side) = (text(row, 0)?, text(row, 1)?, text(row, 2)?, side(row, 3)?);
        let [n] = numbers(row, 4)?;
        let example = text(row, 5).unwrap_or_default();
        if left_behind(&example) {
            return None;
        }
        let pattern = self.patterns.entry((service, id)).or_default();
        *pattern.n.get_mut(side)? += n;
        pattern.bad |= ["WARN", "ERROR", "FATAL", "CRITICAL", "EMERGENCY", "ALERT"].contains(&level.as_str());
        if pattern.example.is_empty() || side == 1 {
            pattern.example = example;
        }
        Some(())
    }

    fn metric(&mut self, row: &[Value]) -> Option<()> {
        let name = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
        if left_behind(&name.2) {
            return None;
        }
        let value = number(row.get(5)?)?;
        self.metrics.entry(name).or_default().get_mut(side(row, 4)?)?.push(value);
        Some(())
    }

    /// Seconds of a window with spans or logs.
    pub(crate) fn seconds(&self, side: usize) -> f64 {
        10.0 * self.coverage.values().filter_map(|both| both.get(side)).fold(0.0, |most: f64, n| most.max(*n))
    }

    /// Spans of each service in both windows.
    pub(crate) fn spans(&self) -> BTreeMap<&str, Both<f64>> {
        let mut spans: BTreeMap<&str, Both<f64>> = BTreeMap::new();
        for ((service, _), [before, after]) in &self.operations {
            let sum = spans.entry(service).or_default();
            *sum = [sum[0] + before.n, sum[1] + after.n];
        }
        spans
    }

    /// The middle of what the services have of a metric: a change that is small against it is small.
    pub(crate) fn usual(&self) -> BTreeMap<&str, f64> {
        let mut medians: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for ((_, _, name), [before, _]) in &self.metrics {
            if !before.is_empty() {
                medians.entry(name).or_default().push(median(before));
            }
        }
        medians.into_iter().map(|(name, medians)| (name, median(&medians))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: &Value) -> Vec<Vec<Value>> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn rows_become_facts_and_what_an_injector_left_is_not_read() {
        let mut facts = Facts::default();
        facts.take(
            Source::Patterns,
            &rows(&json!([
                ["cart", "01", "ERROR", true, 7, "refused"],
                ["cart", "01", "INFO", false, "2", "refused"],
                ["cart", "02", "ERROR", true, 9, "Feature Flag Enabled"],
                [null, "03", "ERROR", true, 9, "x"],
            ])),
        );
        facts.take(
            Source::Operations,
            &rows(&json!([["cart", "resolveBoolean", true, 9, 0, 1, 1, 1], ["cart", "add", true, 9, 1, 1, 1, 1]])),
        );
        facts.take(Source::Coverage, &rows(&json!([["spans", false, 6], ["logs", false, 9], ["logs", true, 3]])));
        assert_eq!(facts.patterns.len(), 1);
        let pattern = &facts.patterns[&("cart".to_owned(), "01".to_owned())];
        assert_eq!((pattern.n, pattern.bad), ([2.0, 7.0], true));
        assert_eq!(facts.spans()["cart"], [0.0, 9.0]);
        assert_eq!((facts.seconds(0), facts.seconds(1)), (90.0, 30.0));
    }
}
