//! Computing a query's answer from the samples it asked for.
//!
//! A node is computed for all times at once. Series go through selectors, functions and aggregations one at a time
//! ([`Eval::rows`]), so that `sum(rate(…))` over many series holds one of them; only where series meet (binary operators,
//! sorting) all are held. What is held is counted against [`Limits::samples`].

mod aggregate;
mod binary;
mod info;
mod order;

use std::cell::{Cell, RefCell};

use crate::{
    Annotations, Error, Labels, NAME, Sample, Series,
    plan::{Kind, Node, Query, Range, Selector, Times},
};

pub(crate) use aggregate::format_float;
pub(crate) use order::{kahan, quantile};

/// What an evaluation may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples held at one time.
    pub samples: usize,
    /// Names are dropped when the answer is whole, not by each function (Prometheus' `promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 50_000_000, delayed_name_removal: false }
    }
}

/// A series of an answer: at each time a sample, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its labels.
    pub labels: Labels,
    /// In the order of the query's times.
    pub points: Vec<Option<Sample>>,
    /// The name goes when the answer is whole.
    pub(crate) nameless: bool,
}

impl Row {
    pub(crate) fn new(labels: Labels, points: Vec<Option<Sample>>) -> Self {
        Self { labels, points, nameless: false }
    }

    fn is_empty(&self) -> bool {
        self.points.iter().all(Option::is_none)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One number a time.
    Scalar(Vec<f64>),
    /// A text.
    Text(String),
    /// Series with at most one sample a time. Where one time was asked for, in the order that the query made.
    Vector(Vec<Row>),
    /// Ranges of samples; only where one time was asked for.
    Matrix(Vec<Series>),
}

impl Query {
    /// Computes the answer. `data` has the series of each of [`Query::selects`]; more samples than asked for do no harm.
    ///
    /// # Errors
    /// [`Error::Execution`], [`Error::TooManySamples`].
    pub fn run(&self, data: &[Vec<Series>], limits: Limits) -> Result<(Answer, Annotations), Error> {
        let eval =
            Eval { query: self, data, limits, held: Cell::new(0), annotations: RefCell::new(Annotations::default()) };
        let answer = match &self.root {
            Node::Text(text) => Answer::Text(text.clone()),
            Node::Range(range) if self.instant => {
                let mut all = Vec::new();
                eval.ranges(range, self.times, &mut |series| {
                    let (after, until) = series.bounds(self.times.start);
                    let window = series.samples.window(after, until);
                    let mut kept = Series::new(series.samples.labels.clone());
                    (kept.times, kept.values) = (window.times.to_vec(), window.values.to_vec());
                    kept.histograms = window.histograms.to_vec();
                    if !kept.is_empty() {
                        all.push(kept);
                    }
                    Ok(())
                })?;
                all.sort_by(|a, b| a.labels.cmp(&b.labels));
                Answer::Matrix(all)
            }
            node if node.kind() == Kind::Scalar => Answer::Scalar(eval.scalar(node, self.times)?),
            node => {
                let mut rows = eval.collect(node, self.times)?;
                for row in rows.iter_mut().filter(|row| row.nameless) {
                    (row.labels, row.nameless) = (row.labels.without_name(), false);
                }
                let mut rows = merge(rows)?;
                if !self.instant {
                    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                Answer::Vector(rows)
            }
        };
        Ok((answer, eval.annotations.into_inner()))
    }
}

/// A sample of a subquery: what was known about resets was about the sample stored before it, which is not the one before it
/// here.
fn unhinted(sample: Sample) -> Sample {
    use crate::histogram::ResetHint::{NotReset, Reset, Unknown};
    match sample {
        Sample::Histogram(mut histogram) if matches!(histogram.reset, Reset | NotReset) => {
            std::sync::Arc::make_mut(&mut histogram).reset = Unknown;
            Sample::Histogram(histogram)
        }
        other => other,
    }
}

/// Joins rows whose labels are alike.
pub(crate) fn merge(rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    let mut at = std::collections::HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match at.entry(row.labels.clone()) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(merged.len());
                merged.push(row);
            }
            std::collections::hash_map::Entry::Occupied(occupied) => {
                for (point, other) in merged[*occupied.get()].points.iter_mut().zip(row.points) {
                    match (&point, other) {
                        (Some(_), Some(_)) => {
                            return Err(Error::execution("vector cannot contain metrics with the same labelset"));
                        }
                        (None, other) => *point = other,
                        (Some(_), None) => {}
                    }
                }
            }
        }
    }
    Ok(merged)
}

/// Takes rows as they are computed.
pub(crate) type Rows<'s> = &'s mut dyn FnMut(Row) -> Result<(), Error>;

/// The samples of a series, and which of them a step sees.
pub(crate) struct Ranged<'a> {
    pub(crate) samples: std::borrow::Cow<'a, Series>,
    pub(crate) nameless: bool,
    pub(crate) range: i64,
    shift: crate::plan::Shift,
}

impl Ranged<'_> {
    /// The range of a step: open, closed.
    pub(crate) fn bounds(&self, step: i64) -> (i64, i64) {
        let until = self.shift.time(step);
        (until - self.range, until)
    }
}

/// The evaluation of one query.
pub(crate) struct Eval<'a> {
    pub(crate) query: &'a Query,
    pub(crate) data: &'a [Vec<Series>],
    pub(crate) limits: Limits,
    held: Cell<usize>,
    pub(crate) annotations: RefCell<Annotations>,
}

impl Eval<'_> {
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.annotations.borrow_mut().warn(text);
    }

    pub(crate) fn info(&self, text: impl Into<String>) {
        self.annotations.borrow_mut().info(text);
    }

    /// Counts samples that are held from here on.
    pub(crate) fn hold(&self, samples: usize) -> Result<(), Error> {
        let held = self.held.get() + samples;
        self.held.set(held);
        if held > self.limits.samples { Err(Error::TooManySamples(self.limits.samples)) } else { Ok(()) }
    }

    pub(crate) fn release(&self, samples: usize) {
        self.held.set(self.held.get().saturating_sub(samples));
    }

    /// The rows of a node, all at once.
    pub(crate) fn collect(&self, node: &Node, times: Times) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        self.rows(node, times, &mut |row| {
            self.hold(row.points.len())?;
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// A number at each time.
    pub(crate) fn scalar(&self, node: &Node, times: Times) -> Result<Vec<f64>, Error> {
        match node {
            Node::Number(value) => Ok(vec![*value; times.count()]),
            Node::Negate(node) => Ok(self.scalar(node, times)?.into_iter().map(|v| -v).collect()),
            Node::Call(call) => call.function.scalar(self, call, times),
            Node::Binary(binary) => self.scalar_binary(binary, times),
            _ => Err(Error::execution("expected a scalar")),
        }
    }

    /// A text.
    pub(crate) fn text<'n>(&self, node: &'n Node) -> Result<&'n str, Error> {
        match node {
            Node::Text(text) => Ok(text),
            _ => Err(Error::execution("expected a string")),
        }
    }

    /// Computes the rows of a node and hands each over. Rows without a sample are left out.
    pub(crate) fn rows(&self, node: &Node, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let give: Rows<'_> = &mut |row: Row| if row.is_empty() { Ok(()) } else { give(row) };
        match node {
            Node::Selector(selector) => self.selector(selector, times, give),
            Node::Call(call) => call.function.rows(self, call, times, give),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, times, give),
            Node::Binary(binary) => self.binary(binary, times, give),
            Node::Info(info) => self.with_info(info, times, give),
            Node::Negate(node) => self.unnamed(node, times, give, &|sample| {
                Some(match sample {
                    Sample::Float(value) => Sample::Float(-value),
                    Sample::Histogram(mut histogram) => {
                        std::sync::Arc::make_mut(&mut histogram).scale(-1.0);
                        Sample::Histogram(histogram)
                    }
                })
            }),
            Node::Number(_) | Node::Text(_) | Node::Range(_) => Err(Error::execution("expected an instant vector")),
        }
    }

    /// Changes each sample of a node's rows, which thereby lose their name.
    pub(crate) fn unnamed(
        &self,
        node: &Node,
        times: Times,
        give: Rows<'_>,
        change: &dyn Fn(Sample) -> Option<Sample>,
    ) -> Result<(), Error> {
        self.distinct(node, give, &mut |give| {
            self.rows(node, times, &mut |mut row| {
                for point in &mut row.points {
                    *point = point.take().and_then(change);
                }
                self.drop_name(&mut row);
                give(row)
            })
        })
    }

    /// Takes the name away, or notes that it goes.
    pub(crate) fn drop_name(&self, row: &mut Row) {
        if self.limits.delayed_name_removal {
            row.nameless = true;
        } else {
            row.labels = row.labels.without_name();
        }
    }

    /// Runs `work`, whose rows have lost their name, and joins rows that are alike without it. Where the series of `node` have
    /// one name, none can be.
    pub(crate) fn distinct(
        &self,
        node: &Node,
        give: Rows<'_>,
        work: &mut dyn FnMut(Rows<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.limits.delayed_name_removal || self.one_name(node) {
            return work(give);
        }
        let mut rows = Vec::new();
        work(&mut |row| {
            self.hold(row.points.len())?;
            rows.push(row);
            Ok(())
        })?;
        let held: usize = rows.iter().map(|row: &Row| row.points.len()).sum();
        for row in merge(rows)? {
            give(row)?;
        }
        self.release(held);
        Ok(())
    }

    /// Whether all series of a node have the same name, or none.
    fn one_name(&self, node: &Node) -> bool {
        let selector = |selector: &Selector| self.query.selects()[selector.select].metric().is_some();
        match node {
            Node::Selector(s) => selector(s),
            Node::Range(range) => match &**range {
                Range::Selector { selector: s, .. } => selector(s),
                Range::Subquery { node, .. } => self.one_name(node),
            },
            Node::Negate(_) => true,
            Node::Call(call) => call.function.drops_name(),
            Node::Aggregate(aggregate) if aggregate.op.keeps_series() => false,
            Node::Aggregate(aggregate) => match &aggregate.grouping {
                crate::plan::Grouping::By(labels) => !labels.iter().any(|label| label == NAME),
                crate::plan::Grouping::Without(_) => true,
            },
            Node::Binary(_) | Node::Number(_) | Node::Text(_) | Node::Info(_) => false,
        }
    }

    fn selector(&self, selector: &Selector, times: Times, give: Rows<'_>) -> Result<(), Error> {
        for series in &self.data[selector.select] {
            let points = times.iter().map(|step| {
                let until = selector.shift.time(step);
                series.newest(until - self.query.lookback, until).map(|(_, sample)| sample)
            });
            let points = points.collect();
            give(Row::new(series.labels.clone(), points))?;
        }
        Ok(())
    }

    /// Hands over each series of a range with all samples that any step sees.
    pub(crate) fn ranges(
        &self,
        range: &Range,
        times: Times,
        give: &mut dyn FnMut(Ranged<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        use std::borrow::Cow;
        match range {
            Range::Selector { selector, range } => {
                for series in &self.data[selector.select] {
                    let stale = series.values.iter().any(|v| crate::is_stale(*v))
                        || series.histograms.iter().any(|(_, h)| crate::is_stale(h.sum));
                    let samples =
                        if stale { Cow::Owned(series.clone().without_stale()) } else { Cow::Borrowed(series) };
                    give(Ranged { samples, nameless: false, range: *range, shift: selector.shift })?;
                }
                Ok(())
            }
            Range::Subquery { node, shift, range, times: inner } => {
                let steps: Vec<i64> = inner.iter().collect();
                let mut give = |row: Row| {
                    let mut series = Series::new(row.labels);
                    for (time, point) in steps.iter().zip(row.points) {
                        if let Some(sample) = point {
                            series.push(*time, unhinted(sample));
                        }
                    }
                    give(Ranged { samples: Cow::Owned(series), nameless: row.nameless, range: *range, shift: *shift })
                };
                let _ = times;
                if node.kind() == Kind::Scalar {
                    let points = self.scalar(node, *inner)?.into_iter().map(|v| Some(Sample::Float(v))).collect();
                    return give(Row::new(Labels::default(), points));
                }
                self.rows(node, *inner, &mut give)
            }
        }
    }
}
