//! Binary operators: between numbers, a number and series, and series that are matched by their labels.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{Eval, Row, Rows, aggregate::group_labels, merge};
use crate::{
    Error, Labels, NAME, Sample,
    plan::{Binary, BinaryOp, Cardinality, Grouping, Kind, Times},
};

/// What an operator makes of two samples: a value, and whether a comparison holds.
type Outcome = Option<(Sample, bool)>;

impl Eval<'_> {
    pub(super) fn scalar_binary(&self, binary: &Binary, times: Times) -> Result<Vec<f64>, Error> {
        let (left, right) = (self.scalar(&binary.left, times)?, self.scalar(&binary.right, times)?);
        Ok(left.into_iter().zip(right).map(|(l, r)| scalar_op(binary.op, l, r)).collect())
    }

    pub(super) fn binary(&self, binary: &Binary, times: Times, give: Rows<'_>) -> Result<(), Error> {
        match (binary.left.kind(), binary.right.kind()) {
            (Kind::Scalar, Kind::Vector) => self.with_scalar(binary, times, give, true),
            (Kind::Vector, Kind::Scalar) => self.with_scalar(binary, times, give, false),
            _ if binary.op.is_set() => self.set(binary, times, give),
            _ => self.matched(binary, times, give),
        }
    }

    fn with_scalar(&self, binary: &Binary, times: Times, give: Rows<'_>, scalar_left: bool) -> Result<(), Error> {
        let (scalar, vector) = if scalar_left { (&binary.left, &binary.right) } else { (&binary.right, &binary.left) };
        let scalar = self.scalar(scalar, times)?;
        let keeps_name = binary.op.is_comparison() && !binary.bool;
        let mut change = |give: Rows<'_>| {
            self.rows(vector, times, &mut |mut row| {
                for (point, scalar) in row.points.iter_mut().zip(&scalar) {
                    let Some(sample) = point.take() else { continue };
                    let number = Sample::Float(*scalar);
                    let outcome = if scalar_left {
                        self.operate(binary.op, &number, &sample)
                    } else {
                        self.operate(binary.op, &sample, &number)
                    };
                    *point = outcome.and_then(|(value, holds)| match (binary.op.is_comparison(), binary.bool) {
                        (false, _) => Some(value),
                        (true, true) => Some(Sample::Float(f64::from(u8::from(holds)))),
                        (true, false) => holds.then_some(sample),
                    });
                }
                if !keeps_name {
                    self.drop_name(&mut row);
                }
                give(row)
            })
        };
        if keeps_name { change(give) } else { self.distinct(vector, give, &mut change) }
    }

    fn set(&self, binary: &Binary, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let mut left = self.collect(&binary.left, times)?;
        let mut right = self.collect(&binary.right, times)?;
        let present = |rows: &[Row]| {
            let mut all: HashMap<Labels, Vec<bool>> = HashMap::with_capacity(rows.len());
            for row in rows {
                let steps =
                    all.entry(signature(&row.labels, &binary.matching)).or_insert_with(|| vec![false; times.count()]);
                steps.iter_mut().zip(&row.points).for_each(|(step, point)| *step |= point.is_some());
            }
            all
        };
        let keep = |row: &mut Row, others: &HashMap<Labels, Vec<bool>>, want: bool| match others
            .get(&signature(&row.labels, &binary.matching))
        {
            Some(there) => {
                row.points.iter_mut().zip(there).filter(|(_, there)| **there != want).for_each(|(p, _)| *p = None)
            }
            None if want => row.points.fill(None),
            None => {}
        };
        match binary.op {
            BinaryOp::And | BinaryOp::Unless => {
                let others = present(&right);
                left.iter_mut().for_each(|row| keep(row, &others, binary.op == BinaryOp::And));
                left.into_iter().try_for_each(give)
            }
            _ => {
                let others = present(&left);
                right.iter_mut().for_each(|row| keep(row, &others, false));
                left.extend(right);
                merge(left)?.into_iter().try_for_each(give)
            }
        }
    }

    fn matched(&self, binary: &Binary, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let swapped = binary.card == Cardinality::OneToMany;
        let (many, one) = if swapped { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let (many, one) = (self.collect(many, times)?, self.collect(one, times)?);
        // As in Prometheus: with `group_right`, too, `fill_left` stands for what the many side lacks.
        let (fill_many, fill_one) = (binary.fill_left, binary.fill_right);
        let ones = by_signature(&one, &binary.matching);
        let manys = by_signature(&many, &binary.matching);
        let mut out =
            Output { eval: self, binary, swapped, steps: times.count(), at: HashMap::new(), rows: Vec::new() };
        let mut only_one: Vec<&Labels> = Vec::new();
        for (signature, rows) in &manys.groups {
            let partners: &[usize] = ones.of(signature);
            if partners.is_empty() && fill_one.is_none() {
                continue;
            }
            for step in 0..times.count() {
                let partner = unique(&one, partners, step, signature, if swapped { "left" } else { "right" })?;
                let mut matched_before = false;
                for row in rows.iter().map(|at| &many[*at]) {
                    let Some(left) = &row.points[step] else { continue };
                    let filled = fill_one.map(Sample::Float);
                    let Some(right) = partner.map(|at| one[at].points[step].as_ref()).unwrap_or(filled.as_ref()) else {
                        continue;
                    };
                    let metric = out.labels(&row.labels, partner.map(|at| &one[at].labels));
                    if binary.card == Cardinality::OneToOne {
                        if matched_before {
                            return Err(many_matches(signature, binary));
                        }
                        matched_before = true;
                    }
                    out.put(metric, step, left, right, row.nameless)?;
                }
                if !matched_before && rows.iter().all(|at| many[*at].points[step].is_none()) {
                    out.fill(signature, partner.map(|at| &one[at]), step, fill_many)?;
                }
            }
        }
        if fill_many.is_some() {
            only_one.extend(ones.groups.iter().map(|(signature, _)| signature).filter(|s| manys.of(s).is_empty()));
        }
        for signature in only_one {
            for step in 0..times.count() {
                let side = if swapped { "left" } else { "right" };
                let partner = unique(&one, ones.of(signature), step, signature, side)?;
                out.fill(signature, partner.map(|at| &one[at]), step, fill_many)?;
            }
        }
        let rows = out.rows;
        self.release(many.iter().chain(&one).map(|row| row.points.len()).sum());
        rows.into_iter().try_for_each(give)
    }

    /// What an operator makes of two samples; `None` where it makes nothing of them.
    pub(crate) fn operate(&self, op: BinaryOp, left: &Sample, right: &Sample) -> Outcome {
        use Sample::{Float, Histogram};
        let incompatible = |l: &str, r: &str| {
            self.info(format!(
                "incompatible sample types encountered for binary operator {:?}: {l} {} {r}",
                op.symbol(),
                op.symbol()
            ));
            None
        };
        match (left, right) {
            (Float(l), Float(r)) => {
                let value = if op.is_comparison() { *l } else { scalar_op(op, *l, *r) };
                Some((Float(value), op.is_comparison() && scalar_op(op, *l, *r) == 1.0))
            }
            (Histogram(l), Histogram(r)) => match op {
                BinaryOp::Add | BinaryOp::Sub => {
                    let mut sum = (**l).clone();
                    let done = if op == BinaryOp::Add { sum.add(r) } else { sum.subtract(r) };
                    match done {
                        Ok(reconciled) => {
                            self.reconciled(reconciled, if op == BinaryOp::Add { "addition" } else { "subtraction" });
                            Some((Histogram(Arc::new(sum)), true))
                        }
                        Err(_incompatible) => {
                            self.warn(
                                "vector contains a mix of histograms with exponential and custom buckets schemas",
                            );
                            None
                        }
                    }
                }
                BinaryOp::Eq => Some((left.clone(), l.same(r))),
                BinaryOp::NotEq => Some((left.clone(), !l.same(r))),
                _ => incompatible("histogram", "histogram"),
            },
            (Histogram(l), Float(r)) => match op {
                BinaryOp::Mul => Some((Histogram(scaled(l, *r)), true)),
                BinaryOp::Div => {
                    let mut histogram = (**l).clone();
                    histogram.divide(*r);
                    Some((Histogram(Arc::new(histogram)), true))
                }
                _ => incompatible("histogram", "float"),
            },
            (Float(l), Histogram(r)) => match op {
                BinaryOp::Mul => Some((Histogram(scaled(r, *l)), true)),
                _ => incompatible("float", "histogram"),
            },
        }
    }
}

fn scaled(histogram: &crate::histogram::Histogram, factor: f64) -> Arc<crate::histogram::Histogram> {
    let mut scaled = histogram.clone();
    scaled.scale(factor);
    Arc::new(scaled)
}

/// An operator between numbers; a comparison gives 1 or 0.
pub(crate) fn scalar_op(op: BinaryOp, l: f64, r: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        BinaryOp::Eq => truth(l == r),
        BinaryOp::NotEq => truth(l != r),
        BinaryOp::Lt => truth(l < r),
        BinaryOp::LtEq => truth(l <= r),
        BinaryOp::Gt => truth(l > r),
        BinaryOp::GtEq => truth(l >= r),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}

/// The labels by which series are matched.
fn signature(labels: &Labels, matching: &Grouping) -> Labels {
    group_labels(labels, matching)
}

/// Rows by their signature, in the order in which those come first.
struct Signatures {
    groups: Vec<(Labels, Vec<usize>)>,
    at: HashMap<Labels, usize>,
}

impl Signatures {
    fn of(&self, signature: &Labels) -> &[usize] {
        self.at.get(signature).map_or(&[], |at| &self.groups[*at].1)
    }
}

fn by_signature(rows: &[Row], matching: &Grouping) -> Signatures {
    let mut all = Signatures { groups: Vec::new(), at: HashMap::with_capacity(rows.len()) };
    for (n, row) in rows.iter().enumerate() {
        let signature = signature(&row.labels, matching);
        match all.at.entry(signature) {
            Entry::Occupied(entry) => all.groups[*entry.get()].1.push(n),
            Entry::Vacant(entry) => {
                all.groups.push((entry.key().clone(), vec![n]));
                entry.insert(all.groups.len() - 1);
            }
        }
    }
    all
}

/// The one row that has a sample at a step.
fn unique(rows: &[Row], group: &[usize], step: usize, signature: &Labels, side: &str) -> Result<Option<usize>, Error> {
    let mut there = group.iter().copied().filter(|at| rows[*at].points[step].is_some());
    let first = there.next();
    if let (Some(first), Some(second)) = (first, there.next()) {
        let (a, b) = (&rows[second].labels, &rows[first].labels);
        return Err(Error::execution(format!(
            "found duplicate series for the match group {signature} on the {side} hand-side of the operation: [{a}, {b}];\
             many-to-many matching not allowed: matching labels must be unique on one side"
        )));
    }
    Ok(first)
}

fn many_matches(signature: &Labels, binary: &Binary) -> Error {
    Error::execution(match binary.card {
        Cardinality::OneToOne => {
            format!(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right): {signature}"
            )
        }
        _ => "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
    })
}

/// The rows that a match makes.
struct Output<'e> {
    eval: &'e Eval<'e>,
    binary: &'e Binary,
    swapped: bool,
    steps: usize,
    at: HashMap<Labels, usize>,
    rows: Vec<Row>,
}

impl Output<'_> {
    fn drops_name(&self) -> bool {
        !self.binary.op.is_comparison() || self.binary.bool
    }

    /// The labels of what a row of the many side and one of the one side make.
    fn labels(&self, many: &Labels, one: Option<&Labels>) -> Labels {
        let delayed = self.eval.limits.delayed_name_removal;
        let base = if self.drops_name() && !delayed { many.without_name() } else { many.clone() };
        if self.binary.card == Cardinality::OneToOne {
            return match &self.binary.matching {
                Grouping::By(names) => base.filter(|name| names.iter().any(|n| n == name)),
                Grouping::Without(names) => base.filter(|name| !names.iter().any(|n| n == name)),
            };
        }
        let mut labels = base;
        for name in &self.binary.include {
            labels = labels.with(name, one.map_or("", |one| one.get(name)));
        }
        labels
    }

    /// One side has a sample at a step and the other has none: what the fill makes of it.
    fn fill(&mut self, signature: &Labels, partner: Option<&Row>, step: usize, fill: Option<f64>) -> Result<(), Error> {
        let (Some(fill), Some(partner)) = (fill, partner) else { return Ok(()) };
        let Some(right) = &partner.points[step] else { return Ok(()) };
        let metric = if self.binary.card == Cardinality::OneToOne {
            self.labels(&partner.labels.without_name(), None)
        } else {
            self.labels(signature, Some(&partner.labels))
        };
        self.put(metric, step, &Sample::Float(fill), right, false)
    }

    /// Adds what the operator makes of a sample of the many side and one of the one side.
    fn put(&mut self, metric: Labels, step: usize, many: &Sample, one: &Sample, nameless: bool) -> Result<(), Error> {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        let Some((value, holds)) = self.eval.operate(self.binary.op, left, right) else { return Ok(()) };
        let value = match (self.binary.op.is_comparison(), self.binary.bool) {
            (false, _) => value,
            (true, true) => Sample::Float(f64::from(u8::from(holds))),
            (true, false) if holds => value,
            (true, false) => return Ok(()),
        };
        let at = match self.at.entry(metric) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.eval.hold(self.steps)?;
                let mut row = Row::new(entry.key().clone(), vec![None; self.steps]);
                let delayed = self.eval.limits.delayed_name_removal;
                let drops = !self.binary.op.is_comparison() || self.binary.bool;
                row.nameless = nameless || (delayed && drops);
                self.rows.push(row);
                *entry.insert(self.rows.len() - 1)
            }
        };
        let point = &mut self.rows[at].points[step];
        if point.is_some() {
            return Err(many_matches(&self.rows[at].labels.filter(|name| name != NAME), self.binary));
        }
        *point = Some(value);
        Ok(())
    }
}
