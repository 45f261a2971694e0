//! From a query's text to what is computed: names of functions resolved, times fixed, selections numbered.

mod info;
mod tokens;

use std::time::{Duration, SystemTime};

use promql_parser::parser::{
    self, AtModifier, BinModifier, Expr, LabelModifier, Offset, VectorMatchCardinality, VectorSelector,
};

use self::tokens::{aggregator, operator};
use crate::{
    Error,
    functions::{self, Function},
    select::{Matcher, Select, matchers},
};

/// How deep expressions may be nested.
const DEPTH: usize = 200;
/// The step of a subquery that names none, ms.
const SUBQUERY_STEP: i64 = 60_000;

/// When a query is computed, ms since the epoch: `start`, and every `step` until `end`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first time.
    pub start: i64,
    /// No time is later than it.
    pub end: i64,
    /// Positive.
    pub step: i64,
}

impl Times {
    /// One time.
    pub fn at(time: i64) -> Self {
        Self { start: time, end: time, step: 1 }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        usize::try_from((self.end - self.start).div_euclid(self.step.max(1)) + 1).unwrap_or(0)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i64> + Clone + use<> {
        let Self { start, step, .. } = *self;
        (0..self.count()).map(move |n| start + step * n as i64)
    }
}

/// A query at its times.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) root: Node,
    pub(crate) times: Times,
    pub(crate) lookback: i64,
    /// Whether it is asked for one time, and may answer with ranges of samples.
    pub(crate) instant: bool,
    selects: Vec<Select>,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(f64),
    Text(String),
    Selector(Selector),
    Range(Box<Range>),
    Call(Call),
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Node>),
    Info(Box<Info>),
}

/// Reads the selection at `shift`.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) select: usize,
    pub(crate) shift: Shift,
}

/// `@` and `offset`: which time is read at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
}

impl Shift {
    pub(crate) fn time(self, step: i64) -> i64 {
        self.at.unwrap_or(step) - self.offset
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Range {
    Selector { selector: Selector, range: i64 },
    Subquery { node: Node, shift: Shift, range: i64, times: Times },
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) args: Vec<Node>,
}

/// Labels of info series that a vector takes.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) node: Node,
    /// The info series.
    pub(crate) selector: Selector,
    /// Conditions on their names.
    pub(crate) names: Vec<Matcher>,
    /// Conditions on their other labels, which are those to be taken; none: all are.
    pub(crate) labels: Vec<Matcher>,
}

/// Which labels count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregator {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    LimitK,
    LimitRatio,
    CountValues,
    Quantile,
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) op: Aggregator,
    pub(crate) node: Node,
    pub(crate) param: Option<Node>,
    pub(crate) grouping: Grouping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::NotEq | Self::Lt | Self::LtEq | Self::Gt | Self::GtEq)
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::NotEq => "!=",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) bool: bool,
    pub(crate) card: Cardinality,
    /// `on` as [`Grouping::By`], `ignoring` as [`Grouping::Without`].
    pub(crate) matching: Grouping,
    /// Labels of the one side that the answer takes.
    pub(crate) include: Vec<String>,
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

/// What a node gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    Text,
    Vector,
    Range,
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Node::Number(_) => Kind::Scalar,
            Node::Text(_) => Kind::Text,
            Node::Selector(_) | Node::Aggregate(_) | Node::Info(_) => Kind::Vector,
            Node::Range(_) => Kind::Range,
            Node::Call(call) if call.function.is_scalar() => Kind::Scalar,
            Node::Call(_) => Kind::Vector,
            Node::Binary(binary) => match (binary.left.kind(), binary.right.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
            Node::Negate(node) => node.kind(),
        }
    }
}

impl Query {
    /// Parses a query that is asked for one time, ms since the epoch; a plain selector sees samples of the last `lookback`.
    ///
    /// # Errors
    /// [`Error::Parse`]: it is no query.
    pub fn instant(text: &str, time: i64, lookback: Duration) -> Result<Self, Error> {
        Self::new(text, Times::at(time), lookback, true)
    }

    /// Parses a query that is asked for several times.
    ///
    /// # Errors
    /// [`Error::Parse`]: it is no query, or one whose answer is a text or ranges.
    pub fn range(text: &str, times: Times, lookback: Duration) -> Result<Self, Error> {
        let query = Self::new(text, times, lookback, false)?;
        match query.root.kind() {
            Kind::Scalar | Kind::Vector => Ok(query),
            Kind::Text => Err(invalid_range("string")),
            Kind::Range => Err(invalid_range("range vector")),
        }
    }

    fn new(text: &str, times: Times, lookback: Duration, instant: bool) -> Result<Self, Error> {
        let expr = parsed(text)?;
        let mut planner = Planner { times, lookback: ms(lookback), selects: Vec::new(), depth: 0 };
        let root = planner.node(&expr, times)?;
        Ok(Self { root, times, lookback: planner.lookback, instant, selects: planner.selects })
    }

    /// When it is computed.
    pub fn times(&self) -> Times {
        self.times
    }

    /// The series it needs, in the order in which [`Query::run`] takes them.
    pub fn selects(&self) -> &[Select] {
        &self.selects
    }
}

/// A reason with the types by the names that the documentation of PromQL gives them.
fn documented(mut reason: String) -> String {
    for (before, after) in [("vector", "instant vector"), ("matrix", "range vector")] {
        for words in ["type", "got"] {
            reason = reason.replace(&format!("{words} {before}"), &format!("{words} {after}"));
        }
    }
    reason
}

fn invalid_range(kind: &str) -> Error {
    Error::Parse(format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector"))
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

pub(crate) struct Planner {
    times: Times,
    lookback: i64,
    selects: Vec<Select>,
    depth: usize,
}

impl Planner {
    fn node(&mut self, expr: &Expr, times: Times) -> Result<Node, Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::Parse(format!("the expression is nested deeper than {DEPTH} levels")));
        }
        let node = self.unguarded(expr, times);
        self.depth -= 1;
        node
    }

    fn unguarded(&mut self, expr: &Expr, times: Times) -> Result<Node, Error> {
        Ok(match expr {
            Expr::NumberLiteral(literal) => Node::Number(literal.val),
            Expr::StringLiteral(literal) => Node::Text(literal.val.clone()),
            Expr::Paren(paren) => self.node(&paren.expr, times)?,
            Expr::Unary(unary) => Node::Negate(Box::new(self.node(&unary.expr, times)?)),
            Expr::VectorSelector(selector) => Node::Selector(self.selector(selector, times, self.lookback, "")?),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => Node::Range(Box::new(self.ranged(expr, times, "")?)),
            Expr::Call(call) => self.call(call, times)?,
            Expr::Aggregate(aggregate) => Node::Aggregate(Box::new(self.aggregate(aggregate, times)?)),
            Expr::Binary(binary) => Node::Binary(Box::new(self.binary(binary, times)?)),
            Expr::Extension(_) => return Err(Error::Parse("unknown extension".into())),
        })
    }

    fn call(&mut self, call: &parser::Call, times: Times) -> Result<Node, Error> {
        let name = call.func.name;
        if name == "info" {
            return self.info(call, times);
        }
        let function =
            functions::named(name).ok_or_else(|| Error::Parse(format!("the function {name} is not supported")))?;
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args.args {
            args.push(match strip(arg) {
                ranged @ (Expr::MatrixSelector(_) | Expr::Subquery(_)) => {
                    Node::Range(Box::new(self.ranged(ranged, times, name)?))
                }
                other => self.node(other, times)?,
            });
        }
        Ok(Node::Call(Call { name, function, args }))
    }

    fn ranged(&mut self, expr: &Expr, times: Times, function: &str) -> Result<Range, Error> {
        match expr {
            Expr::MatrixSelector(matrix) => {
                let range = ms(matrix.range);
                Ok(Range::Selector { selector: self.selector(&matrix.vs, times, range, function)?, range })
            }
            Expr::Subquery(subquery) => {
                let shift = self.shift(subquery.offset.as_ref(), subquery.at.as_ref());
                let range = ms(subquery.range);
                let step = subquery.step.map_or(SUBQUERY_STEP, ms).max(1);
                let first = shift.time(times.start) - range;
                // The least multiple of the step that is later than `first`: the range is open on the left.
                let start = (first.div_euclid(step) + 1) * step;
                let last = shift.time(times.start + times.step * (times.count() as i64 - 1).max(0));
                let inner = Times { start, end: last.max(start - 1), step };
                Ok(Range::Subquery { node: self.node(&subquery.expr, inner)?, shift, range, times: inner })
            }
            _ => Err(Error::Parse("expected a range of samples".into())),
        }
    }

    fn selector(&mut self, vs: &VectorSelector, times: Times, range: i64, function: &str) -> Result<Selector, Error> {
        let any = matchers(vs.name.as_deref(), &vs.matchers)?;
        let shift = self.shift(vs.offset.as_ref(), vs.at.as_ref());
        Ok(self.select(any, shift, times, range, function))
    }

    fn select(&mut self, any: Vec<Vec<Matcher>>, shift: Shift, times: Times, range: i64, function: &str) -> Selector {
        let select = self.selects.len();
        self.selects.push(Select {
            any,
            start: shift.time(times.start) - range + 1,
            end: shift.time(times.end.max(times.start)),
            range,
            function: function.to_owned(),
        });
        Selector { select, shift }
    }

    fn shift(&self, offset: Option<&Offset>, at: Option<&AtModifier>) -> Shift {
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => ms(*duration),
            Some(Offset::Neg(duration)) => -ms(*duration),
        };
        let at = at.map(|at| match at {
            AtModifier::Start => self.times.start,
            AtModifier::End => self.times.end,
            AtModifier::At(time) => match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => ms(after),
                Err(before) => -ms(before.duration()),
            },
        });
        Shift { at, offset }
    }

    fn aggregate(&mut self, aggregate: &parser::AggregateExpr, times: Times) -> Result<Aggregate, Error> {
        let op = aggregator(aggregate.op)
            .ok_or_else(|| Error::Parse(format!("the aggregation {} is not supported", aggregate.op)))?;
        let grouping = match &aggregate.modifier {
            None => Grouping::By(Vec::new()),
            Some(modifier) => grouping(modifier),
        };
        let param = aggregate.param.as_ref().map(|param| self.node(param, times)).transpose()?;
        Ok(Aggregate { op, node: self.node(&aggregate.expr, times)?, param, grouping })
    }

    fn binary(&mut self, binary: &parser::BinaryExpr, times: Times) -> Result<Binary, Error> {
        let op =
            operator(binary.op).ok_or_else(|| Error::Parse(format!("the operator {} is not supported", binary.op)))?;
        let (left, right) = (self.node(&binary.lhs, times)?, self.node(&binary.rhs, times)?);
        let plain = BinModifier::default();
        let modifier = binary.modifier.as_ref().unwrap_or(&plain);
        let (card, include) = match &modifier.card {
            _ if op.is_set() => (Cardinality::ManyToMany, Vec::new()),
            VectorMatchCardinality::OneToOne => (Cardinality::OneToOne, Vec::new()),
            VectorMatchCardinality::ManyToOne(labels) => (Cardinality::ManyToOne, labels.labels.clone()),
            VectorMatchCardinality::OneToMany(labels) => (Cardinality::OneToMany, labels.labels.clone()),
            VectorMatchCardinality::ManyToMany => (Cardinality::ManyToMany, Vec::new()),
        };
        let matching = modifier.matching.as_ref().map_or(Grouping::Without(Vec::new()), grouping);
        Ok(Binary {
            op,
            left,
            right,
            bool: modifier.return_bool,
            card,
            matching,
            include,
            fill_left: modifier.fill_values.lhs,
            fill_right: modifier.fill_values.rhs,
        })
    }
}

/// The expression inside parentheses.
fn strip(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => strip(&paren.expr),
        other => other,
    }
}

fn grouping(modifier: &LabelModifier) -> Grouping {
    match modifier {
        LabelModifier::Include(labels) => Grouping::By(labels.labels.clone()),
        LabelModifier::Exclude(labels) => Grouping::Without(labels.labels.clone()),
    }
}

/// A query written as Prometheus formats it.
///
/// # Errors
/// [`Error::Parse`]: it is no query.
pub fn format(text: &str) -> Result<String, Error> {
    parsed(text).map(|expr| expr.prettify())
}

/// A query as the tree that Prometheus' API shows, in JSON.
///
/// # Errors
/// [`Error::Parse`]: it is no query.
pub fn tree(text: &str) -> Result<String, Error> {
    let expr = parsed(text)?;
    serde_json::to_string(&expr).map_err(|error| Error::Parse(format!("it has no tree: {error}")))
}

fn parsed(text: &str) -> Result<Expr, Error> {
    parser::parse(text).map_err(|reason| Error::Parse(documented(reason)))
}
