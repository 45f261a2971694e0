//! Aggregations: series become groups as they come, one after the other.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::FixedState;
use xxhash_rust::xxh64::xxh64;

use super::{Eval, Row, Rows, kahan, quantile};
use crate::{
    Error, Labels, NAME, Sample,
    histogram::{Histogram, ResetHint, Rest},
    plan::{Aggregate, Aggregator, Grouping, Times},
};

impl Aggregator {
    /// Whether it picks series, and leaves them as they are.
    pub(crate) fn keeps_series(self) -> bool {
        matches!(self, Self::TopK | Self::BottomK | Self::LimitK | Self::LimitRatio)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
        }
    }
}

/// The labels of the group that a series belongs to.
pub(crate) fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    match grouping {
        Grouping::By(names) => labels.filter(|name| names.iter().any(|n| n == name)),
        Grouping::Without(names) => labels.filter(|name| name != NAME && !names.iter().any(|n| n == name)),
    }
}

/// What is known of a group at one time.
#[derive(Clone, Debug, Default)]
struct State {
    count: f64,
    value: f64,
    compensation: f64,
    mean: f64,
    incremental: bool,
    floats: bool,
    histogram: Option<Arc<Histogram>>,
    rest: Rest,
    broken: bool,
    values: Vec<f64>,
}

impl Eval<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, times: Times, give: Rows<'_>) -> Result<(), Error> {
        match aggregate.op {
            op if op.keeps_series() => self.pick(aggregate, times, give),
            Aggregator::CountValues => self.count_values(aggregate, times, give),
            _ => self.reduce(aggregate, times, give),
        }
    }

    fn reduce(&self, aggregate: &Aggregate, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let op = aggregate.op;
        let param = match &aggregate.param {
            Some(param) => self.scalar(param, times)?,
            None => Vec::new(),
        };
        if op == Aggregator::Quantile {
            self.check_quantiles(&param);
        }
        let count = times.count();
        let mut groups: HashMap<Labels, usize, FixedState> = HashMap::default();
        let mut states: Vec<(Labels, bool, Vec<State>)> = Vec::new();
        self.rows(&aggregate.node, times, &mut |row| {
            let labels = group_labels(&row.labels, &aggregate.grouping);
            let nameless = row.nameless && !labels.name().is_empty();
            let at = match groups.entry(labels) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    // A state is as large as several samples.
                    self.hold(count * 4)?;
                    states.push((entry.key().clone(), nameless, vec![State::default(); count]));
                    *entry.insert(states.len() - 1)
                }
            };
            states[at].1 |= nameless;
            for (state, point) in states[at].2.iter_mut().zip(row.points) {
                if let Some(sample) = point {
                    self.add(op, state, sample);
                }
            }
            Ok(())
        })?;
        for (labels, nameless, states) in states {
            let points = states
                .into_iter()
                .enumerate()
                .map(|(step, state)| self.finish(op, state, param.get(step).copied().unwrap_or(f64::NAN)));
            let mut row = Row::new(labels, points.collect());
            row.nameless = nameless;
            give(row)?;
        }
        Ok(())
    }

    pub(crate) fn check_quantiles(&self, param: &[f64]) {
        if let Some(bad) = param.iter().find(|q| q.is_nan() || **q < 0.0 || **q > 1.0) {
            self.warn(format!("quantile value should be between 0 and 1, got {bad}"));
        }
    }

    fn add(&self, op: Aggregator, state: &mut State, sample: Sample) {
        match sample {
            Sample::Float(value) => match op {
                Aggregator::Sum => {
                    kahan(value, &mut state.value, &mut state.compensation);
                    state.floats = true;
                }
                Aggregator::Avg => {
                    add_to_mean(state, value);
                    state.floats = true;
                    return;
                }
                Aggregator::Min if !state.floats || state.value > value || state.value.is_nan() => {
                    (state.value, state.floats) = (value, true);
                }
                Aggregator::Max if !state.floats || state.value < value || state.value.is_nan() => {
                    (state.value, state.floats) = (value, true);
                }
                Aggregator::Stddev | Aggregator::Stdvar => {
                    let delta = value - state.mean;
                    state.mean += delta / (state.count + 1.0);
                    state.value += delta * (value - state.mean);
                    state.floats = true;
                }
                Aggregator::Quantile => {
                    state.values.push(value);
                    state.floats = true;
                }
                _ => state.floats = true,
            },
            Sample::Histogram(histogram) => match op {
                Aggregator::Sum | Aggregator::Avg => self.add_histogram(state, &histogram),
                Aggregator::Count | Aggregator::Group => {}
                _ => {
                    self.info(format!("ignored histogram in {} aggregation", op.name()));
                    return;
                }
            },
        }
        state.count += 1.0;
    }

    fn add_histogram(&self, state: &mut State, histogram: &Arc<Histogram>) {
        let Some(sum) = &mut state.histogram else {
            state.histogram = Some(Arc::clone(histogram));
            return;
        };
        self.collision(sum.reset, histogram.reset);
        match Arc::make_mut(sum).add_compensated(histogram, &mut state.rest) {
            Ok(reconciled) => self.reconciled(reconciled, "aggregation"),
            Err(_incompatible) => {
                state.broken = true;
                self.warn(
                    "vector contains a mix of histograms with exponential and custom buckets schemas for aggregation",
                );
            }
        }
    }

    /// Warns where one histogram is said to follow a reset and another not to.
    fn collision(&self, a: ResetHint, b: ResetHint) {
        if matches!((a, b), (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset)) {
            self.warn("conflicting counter resets during histogram aggregation");
        }
    }

    /// Notes that bounds were made alike.
    pub(crate) fn reconciled(&self, reconciled: bool, operation: &str) {
        if reconciled {
            self.info(format!("mismatched custom buckets were reconciled during {operation}"));
        }
    }

    fn finish(&self, op: Aggregator, mut state: State, param: f64) -> Option<Sample> {
        if let Some(mut histogram) = state.histogram.take() {
            if state.floats {
                self.warn("encountered a mix of histograms and floats for aggregation");
                return None;
            }
            if state.broken {
                return None;
            }
            Arc::make_mut(&mut histogram).compensate(&state.rest);
            if op == Aggregator::Avg {
                Arc::make_mut(&mut histogram).divide(state.count);
            }
            return Some(Sample::Histogram(histogram));
        }
        if state.count == 0.0 {
            return None;
        }
        Some(Sample::Float(match op {
            Aggregator::Sum => state.value + state.compensation,
            Aggregator::Avg if state.incremental => state.mean + state.compensation,
            Aggregator::Avg => state.value / state.count + state.compensation / state.count,
            Aggregator::Count => state.count,
            Aggregator::Group => 1.0,
            Aggregator::Stddev => (state.value / state.count).sqrt(),
            Aggregator::Stdvar => state.value / state.count,
            Aggregator::Quantile => quantile(param, &mut state.values),
            _ => state.value,
        }))
    }

    fn count_values(&self, aggregate: &Aggregate, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let label = match &aggregate.param {
            Some(param) => self.text(param)?,
            None => "",
        };
        if label.is_empty() {
            return Err(Error::execution(format!("invalid label name {label:?}")));
        }
        let mut counts: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        self.rows(&aggregate.node, times, &mut |row| {
            let group = match &aggregate.grouping {
                Grouping::Without(names) => {
                    let mut names = names.clone();
                    names.push(label.to_owned());
                    group_labels(&row.labels, &Grouping::Without(names))
                }
                by @ Grouping::By(_) => group_labels(&row.labels, by),
            };
            for (step, point) in row.points.into_iter().enumerate() {
                let text = match point {
                    None => continue,
                    Some(Sample::Float(value)) => format_float(value),
                    Some(Sample::Histogram(histogram)) => histogram.to_string(),
                };
                let counts = match counts.entry(group.with(label, &text)) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        self.hold(times.count())?;
                        entry.insert(vec![0.0; times.count()])
                    }
                };
                counts[step] += 1.0;
            }
            Ok(())
        })?;
        for (labels, counts) in counts {
            give(Row::new(labels, counts.into_iter().map(|n| (n > 0.0).then_some(Sample::Float(n))).collect()))?;
        }
        Ok(())
    }

    /// Aggregations that pick series of each group.
    fn pick(&self, aggregate: &Aggregate, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let param = match &aggregate.param {
            Some(param) => self.scalar(param, times)?,
            None => vec![0.0; times.count()],
        };
        let op = aggregate.op;
        let limits = param.iter().map(|k| self.pick_limit(op, *k)).collect::<Result<Vec<_>, Error>>()?;
        let mut groups: HashMap<Labels, usize, FixedState> = HashMap::default();
        // By group and step: what is picked so far, best first.
        let mut picked: Vec<Vec<Vec<(f64, usize, Sample)>>> = Vec::new();
        let mut series: Vec<(Labels, bool)> = Vec::new();
        self.rows(&aggregate.node, times, &mut |row| {
            let next = groups.len();
            let group = *groups.entry(group_labels(&row.labels, &aggregate.grouping)).or_insert(next);
            if group == next {
                picked.push(vec![Vec::new(); times.count()]);
            }
            let number = series.len();
            let offset = if op == Aggregator::LimitRatio { ratio_offset(&row.labels) } else { 0.0 };
            series.push((row.labels, row.nameless));
            for (step, point) in row.points.into_iter().enumerate() {
                let Some(sample) = point else { continue };
                let best = &mut picked[group][step];
                match (op, &sample) {
                    (Aggregator::LimitRatio, _) => {
                        let ratio = param[step].clamp(-1.0, 1.0);
                        if (ratio >= 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio) {
                            best.push((0.0, number, sample));
                        }
                    }
                    (Aggregator::LimitK, _) => {
                        if best.len() < limits[step] {
                            best.push((0.0, number, sample));
                        }
                    }
                    (_, Sample::Histogram(_)) => self.info(format!("ignored histogram in {} aggregation", op.name())),
                    (_, Sample::Float(value)) => {
                        let value = *value;
                        let better = |other: f64| match op {
                            Aggregator::TopK => value > other || (other.is_nan() && !value.is_nan()),
                            _ => value < other || (other.is_nan() && !value.is_nan()),
                        };
                        let at = best.iter().position(|(other, ..)| better(*other)).unwrap_or(best.len());
                        if at < limits[step] {
                            best.insert(at, (value, number, sample));
                            best.truncate(limits[step]);
                        }
                    }
                }
            }
            Ok(())
        })?;
        for steps in picked {
            let mut order: Vec<usize> = Vec::new();
            let mut rows: HashMap<usize, Vec<Option<Sample>>> = HashMap::new();
            for (step, best) in steps.into_iter().enumerate() {
                for (_, number, sample) in best {
                    let points = rows.entry(number).or_insert_with(|| {
                        order.push(number);
                        vec![None; times.count()]
                    });
                    points[step] = Some(sample);
                }
            }
            for number in order {
                let (labels, nameless) = series[number].clone();
                let points = rows.remove(&number).unwrap_or_default();
                give(Row { labels, points, nameless })?;
            }
        }
        Ok(())
    }

    fn pick_limit(&self, op: Aggregator, k: f64) -> Result<usize, Error> {
        if k.is_nan() {
            return Err(Error::execution(match op {
                Aggregator::LimitRatio => "Ratio value is NaN",
                _ => "Parameter value is NaN",
            }));
        }
        if op == Aggregator::LimitRatio {
            if k.abs() > 1.0 {
                self.warn(format!("ratio value should be between -1 and 1, got {k}, capping to {}", k.signum()));
            }
            return Ok(usize::MAX);
        }
        if k <= -9.223_372_036_854_776e18 {
            return Err(Error::execution(format!("Scalar value {k} underflows int64")));
        }
        if k >= 9.223_372_036_854_776e18 {
            return Err(Error::execution(format!("Scalar value {k} overflows int64")));
        }
        Ok(if k < 1.0 { 0 } else { k as usize })
    }
}

/// Adds to a mean: as a sum while that is finite, then value by value.
fn add_to_mean(state: &mut State, value: f64) {
    state.count += 1.0;
    if !state.incremental {
        let (mut sum, mut compensation) = (state.value, state.compensation);
        kahan(value, &mut sum, &mut compensation);
        if state.count == 1.0 || !sum.is_infinite() {
            (state.value, state.compensation) = (sum, compensation);
            return;
        }
        state.incremental = true;
        state.mean = state.value / (state.count - 1.0);
        state.compensation /= state.count - 1.0;
    }
    if state.mean.is_infinite() && (value.is_finite() || value == state.mean) {
        // Nothing finite moves it.
        return;
    }
    let ratio = (state.count - 1.0) / state.count;
    let (mut mean, mut compensation) = (ratio * state.mean, ratio * state.compensation);
    kahan(value / state.count, &mut mean, &mut compensation);
    (state.mean, state.compensation) = (mean, compensation);
}

/// A number as Go writes it without an exponent.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

/// Where in [0, 1] a series stands, always the same, and the same as in Prometheus: a hash of names and values, each after its
/// length.
fn ratio_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}
