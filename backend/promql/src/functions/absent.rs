//! What is not there.

use super::{argument, range_argument};
use crate::{
    Error, Labels, NAME, Op, Sample,
    eval::{Eval, Row, Rows},
    plan::{Call, Node, Range, Times},
};

pub(crate) fn absent(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let node = argument(call, 0)?;
    let mut there = vec![false; times.count()];
    eval.rows(node, times, &mut |row| {
        there.iter_mut().zip(&row.points).for_each(|(there, point)| *there |= point.is_some());
        Ok(())
    })?;
    let select = match node {
        Node::Selector(selector) => Some(selector.select),
        _ => None,
    };
    answer(eval, select, &there, give)
}

pub(crate) fn absent_over_time(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let (_, range) = range_argument(call)?;
    let mut there = vec![false; times.count()];
    eval.ranges(range, times, &mut |ranged| {
        for (there, time) in there.iter_mut().zip(times.iter()) {
            let (after, until) = ranged.bounds(time);
            *there |= !ranged.samples.window(after, until).is_empty();
        }
        Ok(())
    })?;
    let select = match range {
        Range::Selector { selector, .. } => Some(selector.select),
        Range::Subquery { .. } => None,
    };
    answer(eval, select, &there, give)
}

/// One where nothing is, with the labels that the selector demands.
fn answer(eval: &Eval<'_>, select: Option<usize>, there: &[bool], give: Rows<'_>) -> Result<(), Error> {
    let labels = select.and_then(|select| match &eval.query.selects()[select].any[..] {
        [all] => {
            let all: Vec<_> = all.iter().filter(|matcher| matcher.name != NAME).collect();
            // A label that is asked for twice has no one value.
            let once = |name: &str| all.iter().filter(|matcher| matcher.name == name).count() == 1;
            let equal = all.iter().filter(|m| m.op == Op::Equal && once(&m.name));
            Some(Labels::new(equal.map(|m| (m.name.as_str(), m.value.as_str()))))
        }
        _ => None,
    });
    let points = there.iter().map(|there| (!there).then_some(Sample::Float(1.0))).collect();
    give(Row::new(labels.unwrap_or_default(), points))
}
