//! `/graph/…`: nodes, what is around one, and the way from one to another.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use devmesh_graph::{Around, Edge, Figures, Graph, Kind, Node, NodeQuery, Part, Range, Seen};
use devmesh_schema::{limits, time};
use serde_json::{Map, Value, json};

use super::{
    Api,
    lists::object,
    params::Params,
    problem::{Problem, ProblemBody},
};
use crate::graph::{mean_ms, whole};

/// Edges away that are looked at unless said otherwise.
const DEPTH: u64 = 1;

/// Nodes of the graph by type, name and id, in `nodes`; `truncated` says whether there are more. Each has `id`, `type`, `name`,
/// `first_seen`, `last_seen`, `count`, `errors`, `mean_ms` and what else is known in `properties`.
#[utoipa::path(get, path = "/graph/nodes", tag = "query",
    params(
        ("type" = Option<String>, Query, description = "Service, Node, Operation, Error, Pattern, Incident or Server"),
        ("q" = Option<String>, Query, description = "Whose name or id has this text in it"),
        ("start_time" = Option<String>, Query, description = "Seen at or after: RFC 3339, Unix ns, now-15m"),
        ("end_time" = Option<String>, Query, description = "Seen before"),
        ("limit" = Option<u64>, Query, description = "Nodes: 100 unless said otherwise, at most 10,000"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody)))]
pub(super) async fn nodes(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["type", "q", "start_time", "end_time", "limit"], &[])?;
    let kind = params.text("type").map(kind).transpose()?;
    let (limit, lowered) = params.limit()?;
    let query = NodeQuery { kind, text: params.string("q"), range: range(&params)?, limit };
    let part = graph(&api)?.nodes(&query).await.map_err(failed)?;
    let nodes: Vec<Value> = part.nodes.iter().map(node).collect();
    Ok(Json(object(json!({ "nodes": nodes, "truncated": part.truncated || lowered }), started)?))
}

/// A node and what is around it, by edges in either direction: `nodes`, the nearest first, each with its `distance`, and the
/// `edges` between them. An edge leads `from` a node `to` a node; `type` is CALLS, RUNS_ON, EMITS, AFFECTS or CAUSED_BY.
#[utoipa::path(get, path = "/graph/neighbors/{id}", tag = "query",
    params(
        ("id" = String, Path, description = "Its id: `service:cart`; without a type it is a service's"),
        ("depth" = Option<u64>, Query, description = "Edges away at most: 1 unless said otherwise, at most 10"),
        ("start_time" = Option<String>, Query, description = "By edges seen at or after"),
        ("end_time" = Option<String>, Query, description = "By edges seen before"),
        ("limit" = Option<u64>, Query, description = "Nodes: 100 unless said otherwise, at most 10,000"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn neighbors(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["depth", "start_time", "end_time", "limit"], &[])?;
    let depth = params.number("depth", 1, limits::GRAPH_DEPTH as u64)?.unwrap_or(DEPTH);
    let (limit, lowered) = params.limit()?;
    let around = Around { depth: usize::try_from(depth).unwrap_or(1), range: range(&params)?, limit };
    let id = whole(&id);
    let part = graph(&api)?.neighbours(&id, around).await.map_err(failed)?.ok_or_else(|| unknown(&id))?;
    let answer = json!({
        "id": id,
        "depth": depth,
        "nodes": nodes_of(&part),
        "edges": part.edges.iter().map(edge).collect::<Vec<_>>(),
        "truncated": part.truncated || lowered,
    });
    Ok(Json(object(answer, started)?))
}

/// A shortest path between two nodes: `nodes` and `edges` in order. Where no path follows the edges' directions, `directed` is
/// false and they are followed both ways; where there is none at all, `found` is false.
#[utoipa::path(get, path = "/graph/path", tag = "query",
    params(
        ("from" = String, Query, description = "Id of the first node: `service:frontend`; without a type it is a service's"),
        ("to" = String, Query, description = "Id of the last node"),
        ("start_time" = Option<String>, Query, description = "By edges seen at or after"),
        ("end_time" = Option<String>, Query, description = "By edges seen before"),
    ),
    responses((status = 200, body = Object), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn path(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let params = Params::read(&uri, &["from", "to", "start_time", "end_time"], &[])?;
    let range = range(&params)?;
    let end = |name: &str| {
        let id =
            params.text(name).ok_or_else(|| Problem::bad_request(format!("{name} is missing: the id of a node")))?;
        Ok::<_, Problem>(whole(id))
    };
    let (from, to) = (end("from")?, end("to")?);
    let graph = graph(&api)?;
    for id in [&from, &to] {
        let itself = Around { depth: 0, range: Range::default(), limit: 1 };
        graph.neighbours(id, itself).await.map_err(failed)?.ok_or_else(|| unknown(id))?;
    }
    let path = graph.path(&from, &to, range).await.map_err(failed)?;
    let (found, directed) = (path.is_some(), path.as_ref().is_some_and(|path| path.directed));
    let part = path.map(|path| path.part).unwrap_or_default();
    let answer = json!({
        "from": from,
        "to": to,
        "found": found,
        "directed": directed,
        "length": part.edges.len(),
        "nodes": nodes_of(&part),
        "edges": part.edges.iter().map(edge).collect::<Vec<_>>(),
    });
    Ok(Json(object(answer, started)?))
}

fn graph(api: &Api) -> Result<&dyn Graph, Problem> {
    let off = || Problem::new(StatusCode::NOT_IMPLEMENTED, "there is no graph: graph.enabled is false");
    api.graph.as_ref().map(|graph| graph.graph()).ok_or_else(off)
}

fn failed(error: devmesh_graph::Error) -> Problem {
    tracing::warn!(%error, "the graph could not be asked");
    Problem::later(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), 5)
}

fn kind(text: &str) -> Result<Kind, Problem> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::of(text).ok_or_else(|| Problem::bad_request(format!("type: `{text:.64}` is none of {}", names())))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(200).collect();
    Problem::not_found(format!("there is no node {id}; /graph/nodes lists them"))
}

fn range(params: &Params) -> Result<Range, Problem> {
    let range = params.range()?;
    Ok(Range { start: range.start, end: range.end })
}

fn figures(value: &mut Map<String, Value>, seen: Seen, figures: Figures) {
    let Figures { count, errors, .. } = figures;
    value.insert("first_seen".to_owned(), time::format(seen.first).into());
    value.insert("last_seen".to_owned(), time::format(seen.last).into());
    value.insert("count".to_owned(), count.into());
    value.insert("errors".to_owned(), errors.into());
    value.insert("mean_ms".to_owned(), mean_ms(figures).into());
}

fn node(node: &Node) -> Value {
    let mut value = Map::new();
    value.insert("id".to_owned(), (*node.id).into());
    value.insert("type".to_owned(), node.kind.name().into());
    value.insert("name".to_owned(), (*node.name).into());
    figures(&mut value, node.seen, node.figures);
    value.insert("properties".to_owned(), json!(node.properties));
    value.into()
}

fn nodes_of(part: &Part) -> Vec<Value> {
    let distances = part.distances.iter().map(|distance| Some(*distance)).chain(std::iter::repeat(None));
    let with = |(it, distance): (&Node, Option<usize>)| {
        let mut value = node(it);
        if let (Some(fields), Some(distance)) = (value.as_object_mut(), distance) {
            fields.insert("distance".to_owned(), distance.into());
        }
        value
    };
    part.nodes.iter().zip(distances).map(with).collect()
}

fn edge(edge: &Edge) -> Value {
    let mut value = Map::new();
    value.insert("from".to_owned(), (*edge.from).into());
    value.insert("to".to_owned(), (*edge.to).into());
    value.insert("type".to_owned(), edge.relation.name().into());
    figures(&mut value, edge.seen, edge.figures);
    value.insert("properties".to_owned(), json!(edge.properties));
    value.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_without_a_type_is_a_services() {
        for (id, shown) in [
            ("cart", "service:cart"),
            ("service:cart", "service:cart"),
            ("operation:cart/GET /cart", "operation:cart/GET /cart"),
            ("https://x", "service:https://x"),
        ] {
            assert_eq!(whole(id), shown);
        }
        assert_eq!(kind("service").unwrap(), Kind::Service);
        assert!(kind("Servic").unwrap_err().detail().contains("Service"));
    }
}
