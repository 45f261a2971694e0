//! The graph in the process, and in one file beside the data.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;
use devmesh_schema::{TimestampNs, limits};
use foldhash::fast::FixedState;
use petgraph::{
    Direction,
    stable_graph::{EdgeIndex, NodeIndex, StableDiGraph},
    visit::{EdgeRef, IntoEdgeReferences},
};

use crate::{
    Around, Error, Graph, NodeQuery, Part, Path, Range,
    model::{Changes, Edge, Figures, Node, Properties, Relation, Seen, Size},
    saved::{Saved, SavedEdge, SavedNode},
};

/// A node as it is kept.
#[derive(Clone, Debug)]
struct Place {
    node: Node,
    touched: TimestampNs,
}

/// An edge as it is kept.
#[derive(Clone, Debug)]
struct Link {
    relation: Relation,
    properties: Properties,
    seen: Seen,
    figures: Figures,
    touched: TimestampNs,
}

type Ends = (NodeIndex, NodeIndex, Relation);

#[derive(Default)]
struct State {
    graph: StableDiGraph<Place, Link>,
    places: HashMap<Arc<str>, NodeIndex, FixedState>,
    links: HashMap<Ends, EdgeIndex, FixedState>,
    refused: u64,
    taken: Option<TimestampNs>,
    /// Rises with every change.
    version: u64,
    saved: u64,
}

/// The graph in the process.
pub struct Memory {
    state: RwLock<State>,
    path: Option<PathBuf>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Memory {
    /// An empty graph that is kept nowhere.
    pub fn new() -> Self {
        Self { state: RwLock::default(), path: None }
    }

    /// The graph of a file, or an empty one where there is none yet. What is wrong with a file that cannot be read is answered
    /// beside: the graph is empty then, and the file is replaced at the next [`Graph::keep`].
    pub fn open(path: PathBuf) -> (Self, Option<Error>) {
        let (state, error) = match Saved::read(&path) {
            Ok(saved) => (saved.map(State::of).unwrap_or_default(), None),
            Err(error) => (State::default(), Some(error)),
        };
        (Self { state: RwLock::new(state), path: Some(path) }, error)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Graph for Memory {
    async fn apply(&self, changes: &Changes) -> Result<(), Error> {
        self.write().apply(changes);
        Ok(())
    }

    async fn nodes(&self, query: &NodeQuery) -> Result<Part, Error> {
        Ok(self.read().nodes(query))
    }

    async fn edges(&self, range: Range, limit: usize) -> Result<Part, Error> {
        let state = self.read();
        let inside = state.graph.edge_references().filter(|edge| range.meets(&edge.weight().seen));
        let mut edges: Vec<Edge> = inside.filter_map(|edge| state.edge(edge.id())).collect();
        edges.sort_unstable_by(|a, b| (&a.from, &a.to, a.relation).cmp(&(&b.from, &b.to, b.relation)));
        let truncated = edges.len() > limit;
        edges.truncate(limit);
        Ok(Part { edges, truncated, ..Part::default() })
    }

    async fn neighbours(&self, id: &str, around: Around) -> Result<Option<Part>, Error> {
        Ok(self.read().neighbours(id, around))
    }

    async fn path(&self, from: &str, to: &str, range: Range) -> Result<Option<Path>, Error> {
        Ok(self.read().path(from, to, range))
    }

    async fn prune(&self, before: TimestampNs, nodes: usize) -> Result<usize, Error> {
        Ok(self.write().prune(before, nodes))
    }

    async fn size(&self) -> Result<Size, Error> {
        let state = self.read();
        Ok(Size { nodes: state.graph.node_count(), edges: state.graph.edge_count(), refused: state.refused })
    }

    async fn taken(&self) -> Result<Option<TimestampNs>, Error> {
        Ok(self.read().taken)
    }

    async fn keep(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let (saved, version) = {
            let state = self.read();
            if state.version == state.saved {
                return Ok(());
            }
            (state.saved(), state.version)
        };
        saved.write(path)?;
        self.write().saved = version;
        Ok(())
    }
}

impl State {
    fn apply(&mut self, changes: &Changes) {
        self.version += 1;
        self.taken = self.taken.max(changes.taken);
        for id in &changes.gone {
            self.remove(id);
        }
        for node in &changes.nodes {
            self.put(node, changes.now);
        }
        for edge in &changes.edges {
            self.link(edge, changes.now);
        }
    }

    fn put(&mut self, node: &Node, now: TimestampNs) {
        if let Some(index) = self.places.get(&node.id) {
            let Some(place) = self.graph.node_weight_mut(*index) else { return };
            place.node.seen.widen(node.seen);
            place.node.figures.add(node.figures);
            place.touched = now;
            if place.node.properties != node.properties {
                place.node.properties.extend(node.properties.clone());
            }
        } else if self.graph.node_count() < limits::GRAPH_NODES {
            let index = self.graph.add_node(Place { node: node.clone(), touched: now });
            self.places.insert(Arc::clone(&node.id), index);
        } else {
            self.refused += 1;
        }
    }

    fn link(&mut self, edge: &Edge, now: TimestampNs) {
        let (Some(from), Some(to)) = (self.places.get(&edge.from), self.places.get(&edge.to)) else { return };
        let ends = (*from, *to, edge.relation);
        if let Some(link) = self.links.get(&ends).and_then(|index| self.graph.edge_weight_mut(*index)) {
            link.seen.widen(edge.seen);
            link.figures.add(edge.figures);
            link.touched = now;
            if link.properties != edge.properties {
                link.properties.clone_from(&edge.properties);
            }
        } else if self.graph.edge_count() < limits::GRAPH_EDGES {
            let Edge { relation, seen, figures, .. } = *edge;
            let link = Link { relation, properties: edge.properties.clone(), seen, figures, touched: now };
            self.links.insert(ends, self.graph.add_edge(ends.0, ends.1, link));
        } else {
            self.refused += 1;
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(index) = self.places.remove(id) else { return };
        let ends = |edge: petgraph::stable_graph::EdgeReference<'_, Link>| {
            (edge.source(), edge.target(), edge.weight().relation)
        };
        let (out, into) = (self.graph.edges(index), self.graph.edges_directed(index, Direction::Incoming));
        let gone: Vec<Ends> = out.chain(into).map(ends).collect();
        for ends in &gone {
            self.links.remove(ends);
        }
        self.graph.remove_node(index);
    }

    fn node(&self, index: NodeIndex) -> Option<&Node> {
        self.graph.node_weight(index).map(|place| &place.node)
    }

    fn nodes(&self, query: &NodeQuery) -> Part {
        let text = query.text.as_deref().map(str::to_lowercase);
        let fits = |node: &&Node| {
            let named =
                |text: &String| node.name.to_lowercase().contains(text) || node.id.to_lowercase().contains(text);
            query.kind.is_none_or(|kind| kind == node.kind)
                && query.range.meets(&node.seen)
                && text.as_ref().is_none_or(named)
        };
        let mut found: Vec<&Node> = self.graph.node_weights().map(|place| &place.node).filter(fits).collect();
        found.sort_unstable_by(|a, b| (a.kind.name(), &a.name, &a.id).cmp(&(b.kind.name(), &b.name, &b.id)));
        let truncated = found.len() > query.limit;
        found.truncate(query.limit);
        Part { nodes: found.into_iter().cloned().collect(), truncated, ..Part::default() }
    }

    fn neighbours(&self, id: &str, around: Around) -> Option<Part> {
        let start = *self.places.get(id)?;
        let mut part = Part::default();
        let mut found: HashMap<NodeIndex, usize, FixedState> = HashMap::default();
        let mut level = vec![start];
        found.insert(start, 0);
        for distance in 1..=around.depth {
            let mut next: Vec<NodeIndex> = Vec::new();
            for (other, _) in level.iter().flat_map(|index| self.around(*index, around.range)) {
                found.entry(other).or_insert_with(|| {
                    next.push(other);
                    distance
                });
            }
            next.sort_unstable_by_key(|index| self.node(*index).map(|node| &node.id));
            let room = around.limit.saturating_sub(found.len() - next.len());
            if next.len() > room {
                for index in next.drain(room..) {
                    found.remove(&index);
                }
                part.truncated = true;
            }
            level = next;
            if level.is_empty() {
                break;
            }
        }
        let mut order: Vec<(usize, &Node, NodeIndex)> =
            found.iter().filter_map(|(index, distance)| Some((*distance, self.node(*index)?, *index))).collect();
        order.sort_unstable_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        let inner = order.iter().flat_map(|(.., index)| self.graph.edges(*index));
        let mut edges: Vec<_> = inner
            .filter(|edge| found.contains_key(&edge.target()) && around.range.meets(&edge.weight().seen))
            .collect();
        if edges.len() > limits::GRAPH_ANSWER_EDGES {
            part.truncated = true;
            edges.truncate(limits::GRAPH_ANSWER_EDGES);
        }
        part.edges = edges.into_iter().filter_map(|edge| self.edge(edge.id())).collect();
        part.edges.sort_unstable_by(|a, b| (&a.from, &a.to, a.relation).cmp(&(&b.from, &b.to, b.relation)));
        part.distances = order.iter().map(|(distance, ..)| *distance).collect();
        part.nodes = order.into_iter().map(|(_, node, _)| node.clone()).collect();
        Some(part)
    }

    /// The nodes one edge away, whichever way it leads.
    fn around(&self, index: NodeIndex, range: Range) -> impl Iterator<Item = (NodeIndex, EdgeIndex)> + '_ {
        let out = self.graph.edges(index).map(|edge| (edge.target(), edge));
        let into = self.graph.edges_directed(index, Direction::Incoming).map(|edge| (edge.source(), edge));
        out.chain(into)
            .filter(move |(_, edge)| range.meets(&edge.weight().seen))
            .map(|(other, edge)| (other, edge.id()))
    }

    fn edge(&self, index: EdgeIndex) -> Option<Edge> {
        let (from, to) = self.graph.edge_endpoints(index)?;
        let Link { relation, ref properties, seen, figures, .. } = *self.graph.edge_weight(index)?;
        let id = |index| self.node(index).map(|node| Arc::clone(&node.id));
        Some(Edge { from: id(from)?, to: id(to)?, relation, properties: properties.clone(), seen, figures })
    }

    fn path(&self, from: &str, to: &str, range: Range) -> Option<Path> {
        let (from, to) = (*self.places.get(from)?, *self.places.get(to)?);
        let along = self.search(from, to, |index| {
            let out = self.graph.edges(index).filter(|edge| range.meets(&edge.weight().seen));
            out.map(|edge| (edge.target(), edge.id())).collect()
        });
        if let Some(part) = along {
            return Some(Path { part, directed: true });
        }
        let part = self.search(from, to, |index| self.around(index, range).collect())?;
        Some(Path { part, directed: false })
    }

    /// A shortest path by breadth, of several the one whose nodes come first by their ids.
    fn search(
        &self,
        from: NodeIndex,
        to: NodeIndex,
        next: impl Fn(NodeIndex) -> Vec<(NodeIndex, EdgeIndex)>,
    ) -> Option<Part> {
        let mut came: HashMap<NodeIndex, Option<(NodeIndex, EdgeIndex)>, FixedState> = HashMap::default();
        came.insert(from, None);
        let mut level = vec![from];
        for _ in 0..limits::GRAPH_PATH {
            if came.contains_key(&to) || level.is_empty() {
                break;
            }
            let mut reached = Vec::new();
            for index in level {
                for (other, edge) in next(index) {
                    came.entry(other).or_insert_with(|| {
                        reached.push(other);
                        Some((index, edge))
                    });
                }
            }
            reached.sort_unstable_by_key(|index| self.node(*index).map(|node| &node.id));
            level = reached;
        }
        let mut part = Part::default();
        let mut at = to;
        while let Some((before, edge)) = *came.get(&at)? {
            part.nodes.push(self.node(at)?.clone());
            part.edges.push(self.edge(edge)?);
            at = before;
        }
        part.nodes.push(self.node(from)?.clone());
        part.nodes.reverse();
        part.edges.reverse();
        part.distances = (0..part.nodes.len()).collect();
        Some(part)
    }

    fn prune(&mut self, before: TimestampNs, nodes: usize) -> usize {
        let mut touched: Vec<(TimestampNs, Arc<str>)> =
            self.graph.node_weights().map(|place| (place.touched, Arc::clone(&place.node.id))).collect();
        touched.sort_unstable();
        let excess = touched.len().saturating_sub(nodes);
        let old = touched.iter().take_while(|(touched, _)| *touched < before).count();
        touched.truncate(excess.max(old));
        touched.iter().for_each(|(_, id)| self.remove(id));
        let stale: Vec<EdgeIndex> =
            self.graph.edge_references().filter(|edge| edge.weight().touched < before).map(|edge| edge.id()).collect();
        for edge in &stale {
            if let (Some((from, to)), Some(link)) = (self.graph.edge_endpoints(*edge), self.graph.remove_edge(*edge)) {
                self.links.remove(&(from, to, link.relation));
            }
        }
        if !touched.is_empty() || !stale.is_empty() {
            self.version += 1;
        }
        touched.len()
    }

    fn saved(&self) -> Saved {
        let mut saved = Saved::new(self.taken);
        let mut numbers: HashMap<NodeIndex, u32, FixedState> = HashMap::default();
        for index in self.graph.node_indices() {
            let Some(Place { node, touched }) = self.graph.node_weight(index) else { continue };
            numbers.insert(index, u32::try_from(saved.nodes.len()).unwrap_or(u32::MAX));
            saved.nodes.push(SavedNode {
                id: node.id.to_string(),
                kind: node.kind,
                name: node.name.to_string(),
                properties: node.properties.clone(),
                seen: node.seen,
                figures: node.figures,
                touched: *touched,
            });
        }
        for edge in self.graph.edge_references() {
            let (Some(from), Some(to)) = (numbers.get(&edge.source()), numbers.get(&edge.target())) else { continue };
            let Link { relation, ref properties, seen, figures, touched } = *edge.weight();
            let properties = properties.clone();
            saved.edges.push(SavedEdge { from: *from, to: *to, relation, properties, seen, figures, touched });
        }
        saved
    }

    fn of(saved: Saved) -> Self {
        let mut state = Self { taken: saved.taken, ..Self::default() };
        let mut indices = Vec::with_capacity(saved.nodes.len());
        for node in saved.nodes {
            let SavedNode { id, kind, name, properties, seen, figures, touched } = node;
            let id: Arc<str> = id.into();
            let node = Node { id: Arc::clone(&id), kind, name: name.into(), properties, seen, figures };
            let index = state.graph.add_node(Place { node, touched });
            state.places.insert(id, index);
            indices.push(index);
        }
        for edge in saved.edges {
            let SavedEdge { from, to, relation, properties, seen, figures, touched } = edge;
            let (Some(from), Some(to)) = (indices.get(from as usize), indices.get(to as usize)) else { continue };
            let index = state.graph.add_edge(*from, *to, Link { relation, properties, seen, figures, touched });
            state.links.insert((*from, *to, relation), index);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn changes() -> Changes {
        let node = |id: &str, kind| Node {
            id: id.into(),
            kind,
            name: id.into(),
            properties: Properties::from([("type".to_owned(), "x".to_owned())]),
            seen: Seen { first: -1, last: 7 },
            figures: Figures { count: u64::MAX, errors: 2, duration_ns: 3 },
        };
        let edge = Edge {
            from: "a".into(),
            to: "b".into(),
            relation: Relation::RunsOn,
            properties: Properties::new(),
            seen: Seen::at(3),
            figures: Figures::records(4),
        };
        Changes {
            nodes: vec![node("a", Kind::Operation), node("b", Kind::Service)],
            edges: vec![edge],
            now: 9,
            taken: Some(8),
            ..Changes::default()
        }
    }

    async fn all(graph: &Memory) -> Part {
        let around = Around { depth: 1, range: Range::default(), limit: 10 };
        graph.neighbours("a", around).await.unwrap().unwrap_or_default()
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_a_damaged_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph").join("graph");
        let (graph, error) = Memory::open(path.clone());
        assert!(error.is_none());
        graph.apply(&changes()).await.unwrap();
        graph.keep().await.unwrap();
        let (again, error) = Memory::open(path.clone());
        assert!(error.is_none() && again.taken().await.unwrap() == Some(8));
        assert_eq!(all(&again).await, all(&graph).await);
        assert_eq!(all(&again).await.nodes.len(), 2);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        let (anew, error) = Memory::open(path.clone());
        assert!(error.is_some() && all(&anew).await.nodes.is_empty());
        anew.apply(&changes()).await.unwrap();
        anew.keep().await.unwrap();
        assert!(Memory::open(path).1.is_none());
    }

    #[tokio::test]
    async fn a_full_graph_counts_what_it_refuses() {
        let graph = Memory::new();
        let node = |n: usize| Node { id: n.to_string().into(), ..changes().nodes[0].clone() };
        let nodes = (0..limits::GRAPH_NODES + 5).map(node).collect();
        graph.apply(&Changes { nodes, ..Changes::default() }).await.unwrap();
        assert_eq!(graph.size().await.unwrap(), Size { nodes: limits::GRAPH_NODES, edges: 0, refused: 5 });
        graph.prune(0, limits::GRAPH_NODES - 10).await.unwrap();
        graph.apply(&changes()).await.unwrap();
        assert_eq!(graph.size().await.unwrap(), Size { nodes: limits::GRAPH_NODES - 8, edges: 1, refused: 5 });
    }
}
