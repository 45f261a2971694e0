//! `info(v, {selector})`: what its second argument says, which is no vector, and as of when info series are read.

use promql_parser::parser::{self, Expr};

use super::{Info, Kind, Node, Planner, Range, Shift, Times, strip};
use crate::{Error, Matcher, NAME, Op, select::matchers};

/// The info series where none are named.
const TARGET_INFO: &str = "target_info";
/// The names of info series, where only is said which they are not.
const INFO_NAMES: &str = ".+_info";

impl Planner {
    pub(super) fn info(&mut self, call: &parser::Call, times: Times) -> Result<Node, Error> {
        let mut args = call.args.args.iter();
        let vector = args.next().ok_or_else(|| Error::Parse("expected a vector in the call to 'info'".into()))?;
        let node = self.node(vector, times)?;
        let mut all = match args.next().map(|arg| strip(arg)) {
            None => Vec::new(),
            Some(Expr::VectorSelector(selector)) => {
                let mut any = matchers(selector.name.as_deref(), &selector.matchers)?;
                match (any.pop(), any.is_empty()) {
                    (all, true) => all.unwrap_or_default(),
                    _ => return Err(Error::Parse("the labels of 'info' cannot be alternatives".into())),
                }
            }
            Some(_) => return Err(Error::Parse("expected label selectors as the second argument of 'info'".into())),
        };
        let labels: Vec<Matcher> = all.extract_if(.., |matcher| matcher.name != NAME).collect();
        let mut names = all;
        if names.is_empty() {
            names.push(Matcher::new(NAME, Op::Equal, TARGET_INFO)?);
        } else if names.iter().all(|matcher| matches!(matcher.op, Op::NotEqual | Op::NotMatches)) {
            names.push(Matcher::new(NAME, Op::Matches, INFO_NAMES)?);
        }
        let mut seen = Vec::new();
        references(&node, Shift { at: None, offset: 0 }, &mut seen);
        let shared = seen.first().copied().flatten().filter(|first| seen.iter().all(|other| *other == Some(*first)));
        let shift = shared.unwrap_or(Shift { at: None, offset: 0 });
        let any = vec![names.iter().chain(&labels).cloned().collect()];
        let selector = self.select(any, shift, times, self.lookback, "");
        Ok(Node::Info(Box::new(Info { node, selector, names, labels })))
    }
}

/// As of when each source of a vector is read; `None` for one that reads no series. `outer` is what the subqueries around it say.
fn references(node: &Node, outer: Shift, seen: &mut Vec<Option<Shift>>) {
    let inside = |inner: Shift| match (inner.at, outer.at) {
        (Some(at), _) => Shift { at: Some(at - inner.offset), offset: 0 },
        (None, Some(at)) => Shift { at: Some(at - outer.offset - inner.offset), offset: 0 },
        (None, None) => Shift { at: None, offset: outer.offset + inner.offset },
    };
    match node {
        // A number has no series to enrich.
        node if node.kind() == Kind::Scalar || node.kind() == Kind::Text => {}
        Node::Number(_) | Node::Text(_) => {}
        Node::Selector(selector) => seen.push(Some(inside(selector.shift))),
        Node::Range(range) => match &**range {
            Range::Selector { selector, .. } => seen.push(Some(inside(selector.shift))),
            Range::Subquery { node, shift, .. } => references(node, inside(*shift), seen),
        },
        Node::Call(call) => {
            let before = seen.len();
            call.args.iter().for_each(|arg| references(arg, outer, seen));
            if seen.len() == before {
                seen.push(None);
            }
        }
        Node::Aggregate(aggregate) => references(&aggregate.node, outer, seen),
        Node::Binary(binary) => {
            references(&binary.left, outer, seen);
            references(&binary.right, outer, seen);
        }
        Node::Negate(node) => references(node, outer, seen),
        Node::Info(info) => references(&info.node, outer, seen),
    }
}
