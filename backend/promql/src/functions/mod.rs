//! The functions, by name.

mod absent;
mod classic;
mod labels;
mod linear;
mod map;
mod native;
mod over_time;
mod rate;

use crate::{
    Error, Labels, Sample,
    eval::{Eval, Row, Rows},
    plan::{Call, Kind, Node, Range, Times},
    series::Window,
};

/// What a function of a range sees beside its samples.
pub(crate) struct Step<'e> {
    pub(crate) eval: &'e Eval<'e>,
    /// The time of the step, ms.
    pub(crate) time: i64,
    /// Its other arguments, at this step.
    pub(crate) args: &'e [f64],
}

type RangeFn = fn(&Step<'_>, &Window<'_>) -> Option<Sample>;
type MapFn = fn(f64, &[f64]) -> Option<f64>;
type NativeFn = fn(&crate::histogram::Histogram) -> f64;
type RowsFn = fn(&Eval<'_>, &Call, Times, Rows<'_>) -> Result<(), Error>;

/// How a function is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    /// A sample of a range of samples; the flag says whether the series keeps its name.
    Range(RangeFn, bool),
    /// A number of a number; histograms are left out.
    Map(MapFn),
    /// A number of a time, seconds since the epoch; without an argument that of the step.
    Date(fn(f64) -> f64),
    /// A number of a native histogram; numbers are left out.
    Native(NativeFn),
    /// Anything else; the flag says whether the series lose their name.
    Rows(RowsFn, bool),
    /// A number.
    Scalar(Scalar),
}

/// A function whose value is one number a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    Time,
    Pi,
    OfVector,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// The function of a name; `None` where there is none.
pub(crate) fn named(name: &str) -> Option<Function> {
    use Function::{Date, Native, Range, Rows, Scalar as Number};
    Some(match name {
        "rate" => Range(rate::rate, false),
        "increase" => Range(rate::increase, false),
        "delta" => Range(rate::delta, false),
        "irate" => Range(rate::irate, false),
        "idelta" => Range(rate::idelta, false),
        "changes" => Range(rate::changes, false),
        "resets" => Range(rate::resets, false),
        "deriv" => Range(linear::deriv, false),
        "predict_linear" => Range(linear::predict, false),
        "double_exponential_smoothing" | "holt_winters" => Range(linear::smooth, false),
        "absent" => Rows(absent::absent, true),
        "absent_over_time" => Rows(absent::absent_over_time, true),
        "histogram_quantile" => Rows(classic::quantile, true),
        "histogram_quantiles" => Rows(classic::quantiles, true),
        "histogram_fraction" => Rows(classic::fraction, true),
        "histogram_count" => Native(|h| h.count),
        "histogram_sum" => Native(|h| h.sum),
        "histogram_avg" => Native(|h| h.sum / h.count),
        "histogram_stddev" => Native(|h| native::variance(h).sqrt()),
        "histogram_stdvar" => Native(native::variance),
        "label_replace" => Rows(labels::replace, false),
        "label_join" => Rows(labels::join, false),
        "sort" => Rows(labels::sort, false),
        "sort_desc" => Rows(labels::sort_desc, false),
        "sort_by_label" => Rows(labels::sort_by_label, false),
        "sort_by_label_desc" => Rows(labels::sort_by_label_desc, false),
        "timestamp" => Rows(timestamp, true),
        "vector" => Rows(vector, true),
        "time" => Number(Scalar::Time),
        "pi" => Number(Scalar::Pi),
        "scalar" => Number(Scalar::OfVector),
        "start" => Number(Scalar::Start),
        "end" => Number(Scalar::End),
        "step" => Number(Scalar::Step),
        "range" => Number(Scalar::Range),
        "max_of" => Number(Scalar::MaxOf),
        "min_of" => Number(Scalar::MinOf),
        "day_of_month" => Date(map::day_of_month),
        "day_of_week" => Date(map::day_of_week),
        "day_of_year" => Date(map::day_of_year),
        "days_in_month" => Date(map::days_in_month),
        "hour" => Date(map::hour),
        "minute" => Date(map::minute),
        "month" => Date(map::month),
        "year" => Date(map::year),
        _ => return over_time::named(name).or_else(|| map::named(name)),
    })
}

impl Function {
    pub(crate) fn is_scalar(self) -> bool {
        matches!(self, Self::Scalar(_))
    }

    /// Whether its series have lost their name.
    pub(crate) fn drops_name(self) -> bool {
        match self {
            Self::Range(_, keeps) => !keeps,
            Self::Map(_) | Self::Date(_) | Self::Native(_) | Self::Scalar(_) => true,
            Self::Rows(_, drops) => drops,
        }
    }

    pub(crate) fn scalar(self, eval: &Eval<'_>, call: &Call, times: Times) -> Result<Vec<f64>, Error> {
        let whole = eval.query.times;
        let all = |value: f64| Ok(vec![value; times.count()]);
        match self {
            Self::Scalar(Scalar::Time) => Ok(times.iter().map(seconds).collect()),
            Self::Scalar(Scalar::Pi) => all(std::f64::consts::PI),
            Self::Scalar(Scalar::Start) => all(seconds(whole.start)),
            Self::Scalar(Scalar::End) => all(seconds(whole.end)),
            Self::Scalar(Scalar::Step) => all(if eval.query.instant { 0.0 } else { seconds(whole.step) }),
            Self::Scalar(Scalar::Range) => all(seconds(whole.end - whole.start)),
            Self::Scalar(which @ (Scalar::MaxOf | Scalar::MinOf)) => {
                let (a, b) = (eval.scalar(argument(call, 0)?, times)?, eval.scalar(argument(call, 1)?, times)?);
                let pick = if matches!(which, Scalar::MaxOf) { map::go_max } else { map::go_min };
                Ok(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect())
            }
            Self::Scalar(Scalar::OfVector) => {
                let mut found: Vec<(usize, f64)> = vec![(0, f64::NAN); times.count()];
                eval.rows(argument(call, 0)?, times, &mut |row| {
                    for (found, point) in found.iter_mut().zip(row.points) {
                        if let Some(Sample::Float(value)) = point {
                            *found = (found.0 + 1, value);
                        }
                    }
                    Ok(())
                })?;
                Ok(found.into_iter().map(|(n, value)| if n == 1 { value } else { f64::NAN }).collect())
            }
            _ => Err(Error::execution(format!("{} is no scalar", call.name))),
        }
    }

    pub(crate) fn rows(self, eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
        match self {
            Self::Range(function, keeps_name) => over_ranges(eval, call, times, give, function, keeps_name),
            Self::Map(function) => {
                let scalars = scalars(eval, call, times)?;
                let node = vector_argument(call)?;
                eval.distinct(node, give, &mut |give| {
                    eval.rows(node, times, &mut |mut row| {
                        let mut args = Vec::with_capacity(scalars.len());
                        for (step, point) in row.points.iter_mut().enumerate() {
                            args.clear();
                            args.extend(scalars.iter().map(|values| values[step]));
                            *point = match point.take() {
                                Some(Sample::Float(value)) => function(value, &args).map(Sample::Float),
                                _ => None,
                            };
                        }
                        eval.drop_name(&mut row);
                        give(row)
                    })
                })
            }
            Self::Date(function) => match call.args.first() {
                None => {
                    let points = times.iter().map(|time| Some(Sample::Float(function(seconds(time)))));
                    give(Row::new(Labels::default(), points.collect()))
                }
                Some(node) => eval.unnamed(node, times, give, &|sample| match sample {
                    Sample::Float(value) => Some(Sample::Float(function(value))),
                    Sample::Histogram(_) => None,
                }),
            },
            Self::Native(function) => eval.unnamed(argument(call, 0)?, times, give, &|sample| match sample {
                Sample::Float(_) => None,
                Sample::Histogram(histogram) => Some(Sample::Float(function(&histogram))),
            }),
            Self::Rows(function, _) => function(eval, call, times, give),
            Self::Scalar(_) => Err(Error::execution(format!("{} is no vector", call.name))),
        }
    }
}

/// ms as seconds.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// An argument of a call.
pub(crate) fn argument(call: &Call, at: usize) -> Result<&Node, Error> {
    call.args.get(at).ok_or_else(|| Error::execution(format!("{} lacks argument {}", call.name, at + 1)))
}

fn vector_argument(call: &Call) -> Result<&Node, Error> {
    let vector = call.args.iter().find(|arg| arg.kind() == Kind::Vector);
    vector.ok_or_else(|| Error::execution(format!("{} lacks an instant vector", call.name)))
}

/// The numbers among the arguments, at each time.
fn scalars(eval: &Eval<'_>, call: &Call, times: Times) -> Result<Vec<Vec<f64>>, Error> {
    call.args.iter().filter(|arg| arg.kind() == Kind::Scalar).map(|arg| eval.scalar(arg, times)).collect()
}

/// The range among the arguments.
pub(crate) fn range_argument(call: &Call) -> Result<(&Node, &Range), Error> {
    let range = call.args.iter().find_map(|arg| match arg {
        Node::Range(range) => Some((arg, &**range)),
        _ => None,
    });
    range.ok_or_else(|| Error::execution(format!("{} lacks a range of samples", call.name)))
}

fn over_ranges(
    eval: &Eval<'_>,
    call: &Call,
    times: Times,
    give: Rows<'_>,
    function: RangeFn,
    keeps_name: bool,
) -> Result<(), Error> {
    let (node, range) = range_argument(call)?;
    let scalars = scalars(eval, call, times)?;
    if call.name == "quantile_over_time" {
        eval.check_quantiles(scalars.first().map_or(&[], Vec::as_slice));
    }
    let mut work = |give: Rows<'_>| {
        eval.ranges(range, times, &mut |ranged| {
            let mut args = Vec::with_capacity(scalars.len());
            let points = times.iter().enumerate().map(|(n, time)| {
                args.clear();
                args.extend(scalars.iter().map(|values| values[n]));
                let (after, until) = ranged.bounds(time);
                let window = ranged.samples.window(after, until);
                if window.is_empty() { None } else { function(&Step { eval, time, args: &args }, &window) }
            });
            let points = points.collect();
            let mut row = Row::new(ranged.samples.labels.clone(), points);
            row.nameless = ranged.nameless;
            if !keeps_name {
                eval.drop_name(&mut row);
            }
            give(row)
        })
    };
    if keeps_name { work(give) } else { eval.distinct(node, give, &mut work) }
}

/// The time of a sample: its own where a selector gives it, else that of the step.
fn timestamp(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let node = argument(call, 0)?;
    eval.distinct(node, give, &mut |give| {
        if let Node::Selector(selector) = node {
            for series in &eval.data[selector.select] {
                let points = times.iter().map(|step| {
                    let until = selector.shift.time(step);
                    let newest = series.newest(until - eval.query.lookback, until);
                    newest.map(|(time, _)| Sample::Float(seconds(time)))
                });
                let mut row = Row::new(series.labels.clone(), points.collect());
                eval.drop_name(&mut row);
                if row.points.iter().any(Option::is_some) {
                    give(row)?;
                }
            }
            return Ok(());
        }
        eval.rows(node, times, &mut |mut row| {
            for (time, point) in times.iter().zip(&mut row.points) {
                *point = point.take().map(|_| Sample::Float(seconds(time)));
            }
            eval.drop_name(&mut row);
            give(row)
        })
    })
}

fn vector(eval: &Eval<'_>, call: &Call, times: Times, give: Rows<'_>) -> Result<(), Error> {
    let values = eval.scalar(argument(call, 0)?, times)?;
    give(Row::new(Labels::default(), values.into_iter().map(|v| Some(Sample::Float(v))).collect()))
}
