//! The tree of a trace's spans, and its critical path. Pure functions over times and parents.
//!
//! The critical path is what the root waited for: from its end backwards, always the child that ended last before the
//! moment looked at. A child that outlives its parent counts up to the parent's end (it was not waited for longer).

use std::collections::HashMap;

use devmesh_schema::TimestampNs;
use serde::Serialize;

/// A span, as far as the tree needs it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its parent's.
    pub parent: Option<&'a str>,
    /// When it began.
    pub start: TimestampNs,
    /// When it ended.
    pub end: TimestampNs,
}

/// A span's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Its children, by index, in order of their start.
    pub children: Vec<usize>,
    /// Steps from a root.
    pub depth: usize,
    /// Time in which no child ran, ns.
    pub self_ns: i64,
}

/// A part of the critical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The span that was waited for.
    pub span_id: String,
    /// From when, ns since the epoch.
    #[serde(skip)]
    pub start: TimestampNs,
    /// From when, ns since the start of the trace.
    pub start_offset_ns: i64,
    /// How long, ns.
    pub duration_ns: i64,
}

/// The tree of a trace.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Spans whose parent is not known, by index, in order of their start.
    pub roots: Vec<usize>,
    /// Each span's place.
    pub places: Vec<Placed>,
}

/// Puts spans into their tree. A span whose parent is missing, itself, or part of a ring is a root.
pub fn build(spans: &[Node<'_>]) -> Tree {
    let mut by_id = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(span.id).or_insert(index);
    }
    let parent = |index: usize| spans[index].parent.and_then(|id| by_id.get(id)).copied().filter(|p| *p != index);
    let mut tree = Tree { roots: Vec::new(), places: vec![Placed::default(); spans.len()] };
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&index| (spans[index].start, index));
    for &index in &order {
        match parent(index) {
            Some(parent) => tree.places[parent].children.push(index),
            None => tree.roots.push(index),
        }
    }
    let mut seen = vec![false; spans.len()];
    let mut next = 0;
    for root in tree.roots.clone() {
        walk(&mut tree, &mut seen, root);
    }
    // What no root reaches is a ring: the earliest span of it is taken for its root.
    while let Some(place) = order[next..].iter().position(|&index| !seen[index]) {
        next += place;
        let root = order[next];
        if let Some(parent) = parent(root) {
            tree.places[parent].children.retain(|&child| child != root);
        }
        tree.roots.push(root);
        walk(&mut tree, &mut seen, root);
    }
    for index in 0..spans.len() {
        tree.places[index].self_ns = self_time(spans, &tree, index);
    }
    tree
}

fn walk(tree: &mut Tree, seen: &mut [bool], root: usize) {
    let mut open = vec![(root, 0)];
    while let Some((index, depth)) = open.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        tree.places[index].depth = depth;
        open.extend(tree.places[index].children.iter().map(|&child| (child, depth + 1)));
    }
}

fn self_time(spans: &[Node<'_>], tree: &Tree, index: usize) -> i64 {
    let span = &spans[index];
    let (mut covered, mut until) = (0, span.start);
    for &child in &tree.places[index].children {
        let start = spans[child].start.max(until);
        let end = spans[child].end.min(span.end);
        if end > start {
            covered += end - start;
            until = end;
        }
    }
    (span.end - span.start - covered).max(0)
}

/// The critical path below a root, earliest first. Spans outside the root's tree may have begun before it.
pub fn critical_path(spans: &[Node<'_>], tree: &Tree, root: usize) -> Vec<Segment> {
    let mut path = Vec::new();
    // Each entry: a span, and until when it is looked at.
    let mut open = vec![(root, spans[root].end)];
    while let Some((index, until)) = open.pop() {
        let span = &spans[index];
        let mut children: Vec<usize> = tree.places[index].children.clone();
        children.sort_by_key(|&child| spans[child].end);
        let mut cursor = until;
        let mut waited = Vec::new();
        while let Some(child) = children.pop() {
            let end = spans[child].end.min(until);
            if end <= cursor && spans[child].start < end && spans[child].start >= span.start {
                push(&mut path, span.id, end, cursor);
                waited.push((child, end));
                cursor = spans[child].start;
            }
        }
        push(&mut path, span.id, span.start, cursor);
        open.extend(waited);
    }
    path.sort_by_key(|segment| segment.start);
    let first = spans.iter().map(|span| span.start).min().unwrap_or_default();
    for segment in &mut path {
        segment.start_offset_ns = segment.start - first;
    }
    path
}

fn push(path: &mut Vec<Segment>, id: &str, start: TimestampNs, end: TimestampNs) {
    if end > start {
        path.push(Segment { span_id: id.into(), start, start_offset_ns: 0, duration_ns: end - start });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node<'a>(id: &'a str, parent: Option<&'a str>, start: i64, end: i64) -> Node<'a> {
        Node { id, parent, start, end }
    }

    #[test]
    fn the_critical_path_is_what_the_root_waited_for() {
        let spans = [
            node("root", None, 0, 100),
            node("a", Some("root"), 10, 40),
            node("b", Some("root"), 20, 90),
            node("b1", Some("b"), 30, 80),
            node("late", Some("root"), 95, 200),
        ];
        let tree = build(&spans);
        assert_eq!(tree.roots, [0]);
        assert_eq!(tree.places.iter().map(|p| p.depth).collect::<Vec<_>>(), [0, 1, 1, 2, 1]);
        assert_eq!(tree.places.iter().map(|p| p.self_ns).collect::<Vec<_>>(), [100 - 80 - 5, 30, 20, 50, 105]);
        let path = critical_path(&spans, &tree, 0).into_iter();
        let path: Vec<_> = path.map(|s| (s.span_id, s.start_offset_ns, s.duration_ns)).collect();
        let expected =
            [("root", 0, 20), ("b", 20, 10), ("b1", 30, 50), ("b", 80, 10), ("root", 90, 5), ("late", 95, 5)];
        assert_eq!(path, expected.map(|(id, start, ns)| (id.to_owned(), start, ns)));
        assert_eq!(path.iter().map(|(_, _, ns)| ns).sum::<i64>(), 100);
    }

    #[test]
    fn orphans_rings_and_doubled_ids_are_still_trees() {
        let spans = [
            node("x", Some("y"), 0, 10),
            node("y", Some("x"), 1, 9),
            node("self", Some("self"), 2, 3),
            node("orphan", Some("gone"), 4, 5),
            node("orphan", Some("gone"), 6, 7),
        ];
        let tree = build(&spans);
        assert_eq!(tree.roots.len(), 4);
        let children: usize = tree.places.iter().map(|p| p.children.len()).sum();
        assert_eq!(children + tree.roots.len(), spans.len(), "every span stands in one place");
        for root in tree.roots.clone() {
            critical_path(&spans, &tree, root);
        }
        assert_eq!(build(&[]).roots, Vec::<usize>::new());
    }
}
