//! The graph as the query engine asks it: its answers as rows.

use std::sync::Arc;

use async_trait::async_trait;
use devmesh_graph::{Around, Edge, Figures, Kind, Node, NodeQuery, Properties, Range, Seen, identity};
use devmesh_query::{
    Error,
    graph::{self, Asked, Row},
};
use devmesh_schema::limits;

use super::Graphed;

/// The graph as the query engine asks it.
#[derive(Debug)]
pub(crate) struct InSql(pub(crate) Arc<Graphed>);

#[async_trait]
impl graph::Graph for InSql {
    async fn ask(&self, asked: &Asked) -> Result<Vec<Row>, Error> {
        let failed = |error: devmesh_graph::Error| Error::Store(error.to_string());
        let graph = self.0.graph();
        let unknown =
            |id: &str| Error::BadQuery(format!("the graph has no node `{id:.200}`; graph_nodes() lists them"));
        match asked {
            Asked::Nodes(kind) => {
                let named = |name: &String| {
                    Kind::of(name).ok_or_else(|| Error::BadQuery(format!("`{name:.64}` is no type of nodes")))
                };
                let kind = kind.as_ref().map(named).transpose()?;
                let query = NodeQuery { kind, limit: limits::GRAPH_NODES, ..NodeQuery::default() };
                Ok(graph.nodes(&query).await.map_err(failed)?.nodes.iter().map(|node| of_node(node, 0)).collect())
            }
            Asked::Edges => {
                let part = graph.edges(Range::default(), limits::GRAPH_EDGES).await.map_err(failed)?;
                Ok(part.edges.iter().map(of_edge).collect())
            }
            Asked::Neighbours(id, depth) => {
                let id = whole(id);
                let around = Around { depth: *depth, range: Range::default(), limit: limits::GRAPH_NODES };
                let part = graph.neighbours(&id, around).await.map_err(failed)?.ok_or_else(|| unknown(&id))?;
                Ok(part.nodes.iter().zip(&part.distances).map(|(node, distance)| of_node(node, *distance)).collect())
            }
            Asked::Path(from, to) => {
                let (from, to) = (whole(from), whole(to));
                for id in [&from, &to] {
                    let itself = Around { depth: 0, range: Range::default(), limit: 1 };
                    graph.neighbours(id, itself).await.map_err(failed)?.ok_or_else(|| unknown(id))?;
                }
                let path = graph.path(&from, &to, Range::default()).await.map_err(failed)?;
                let nodes = path.map(|path| path.part.nodes).unwrap_or_default();
                Ok(nodes.iter().enumerate().map(|(step, node)| of_node(node, step)).collect())
            }
        }
    }
}

/// An id as it is kept: one without a type is a service's.
pub(crate) fn whole(id: &str) -> String {
    let typed = Kind::ALL.iter().any(|kind| id.starts_with(kind.prefix()));
    if typed { id.to_owned() } else { identity(Kind::Service, &[id]) }
}

/// Milliseconds that one of them takes, where they take time.
pub(crate) fn mean_ms(figures: Figures) -> Option<f64> {
    let Figures { count, duration_ns, .. } = figures;
    (duration_ns > 0 && count > 0).then(|| duration_ns as f64 / count as f64 / 1e6)
}

fn row(seen: Seen, figures: Figures, properties: &Properties) -> Row {
    Row {
        seen: (seen.first, seen.last),
        count: figures.count,
        errors: figures.errors,
        mean_ms: mean_ms(figures),
        properties: properties.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        ..Row::default()
    }
}

fn of_node(node: &Node, distance: usize) -> Row {
    let (id, name) = (node.id.to_string(), node.name.to_string());
    Row {
        id,
        name,
        kind: node.kind.name(),
        distance: distance as u64,
        ..row(node.seen, node.figures, &node.properties)
    }
}

fn of_edge(edge: &Edge) -> Row {
    let ends = (edge.from.to_string(), edge.to.to_string());
    Row { ends, kind: edge.relation.name(), ..row(edge.seen, edge.figures, &edge.properties) }
}
