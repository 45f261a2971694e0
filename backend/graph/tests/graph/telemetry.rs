//! Telemetry as senders send it, decoded as the store decodes it.

use arrow_array::RecordBatch;
use devmesh_graph::{Changes, Edge, Graph, Kind, Memory, Node, NodeQuery, Observer, Relation, Rows};
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{Context, decode, json::to_protobuf},
};
use serde_json::{Map, Value, json};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// A clock of the tests.
pub(crate) const NOW: i64 = 1_800_000_000 * SECOND;

fn attributes(pairs: &Value) -> Value {
    let pair = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            other => json!({ "intValue": other.to_string() }),
        };
        json!({ "key": key, "value": value })
    };
    pairs.as_object().unwrap_or(&Map::new()).iter().map(pair).collect()
}

/// A span: ids are small numbers, times seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) trace: u8,
    pub(crate) id: u8,
    pub(crate) parent: u8,
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) at: i64,
    pub(crate) failed: bool,
    pub(crate) attributes: Value,
    pub(crate) events: Value,
    /// Trace and id of spans that it names.
    pub(crate) links: Vec<(u8, u8)>,
}

const KINDS: [&str; 6] = ["", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

impl Span {
    fn json(&self) -> Value {
        let trace = |id: u8| format!("{id:032x}");
        let span = |id: u8| format!("{id:016x}");
        let events = self.events.as_array().cloned().unwrap_or_default();
        let event = |event: &Value| json!({"name": event["name"], "timeUnixNano": "1", "attributes": attributes(&event["attributes"])});
        json!({
            "traceId": trace(self.trace),
            "spanId": span(self.id),
            "parentSpanId": if self.parent == 0 { String::new() } else { span(self.parent) },
            "name": self.name,
            "kind": KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(1),
            "startTimeUnixNano": (NOW + self.at * SECOND).to_string(),
            "endTimeUnixNano": (NOW + self.at * SECOND + 5_000_000).to_string(),
            "status": if self.failed { json!({"code": 2, "message": "it broke"}) } else { json!({}) },
            "attributes": attributes(&self.attributes),
            "events": events.iter().map(event).collect::<Vec<_>>(),
            "links": self.links.iter().map(|(t, s)| json!({"traceId": trace(*t), "spanId": span(*s)})).collect::<Vec<_>>(),
        })
    }
}

fn rows(signal: Signal, request: &Value) -> RecordBatch {
    let bytes = to_protobuf(signal, request.to_string().as_bytes()).unwrap().request;
    let context = Context { path: IngestPath::Collector, received: NOW };
    let decoded = decode(signal, &bytes, context).unwrap();
    assert_eq!(decoded.rejected, 0, "{:?}", decoded.rejections);
    decoded.rows
}

/// The rows of spans of a resource.
pub(crate) fn spans(resource: &Value, spans: &[Span]) -> RecordBatch {
    let spans: Vec<Value> = spans.iter().map(Span::json).collect();
    let resource = json!({ "attributes": attributes(resource) });
    rows(Signal::Traces, &json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}))
}

/// The rows of log records of a resource, by their attributes.
pub(crate) fn logs(resource: &Value, records: &[Value]) -> RecordBatch {
    let record = |pairs: &Value| json!({"timeUnixNano": NOW.to_string(), "severityNumber": 17, "body": {"stringValue": "x"}, "attributes": attributes(pairs)});
    let records: Vec<Value> = records.iter().map(record).collect();
    let resource = json!({ "attributes": attributes(resource) });
    rows(Signal::Logs, &json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}))
}

/// The rows of one gauge of a resource.
pub(crate) fn metrics(resource: &Value) -> RecordBatch {
    let points = json!([{"timeUnixNano": NOW.to_string(), "asDouble": 1.0}]);
    let resource = json!({ "attributes": attributes(resource) });
    let metrics = json!([{"name": "load", "gauge": {"dataPoints": points}}]);
    rows(Signal::Metrics, &json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}))
}

/// Reads batches in order, then lets all waiting end.
pub(crate) fn observe(batches: &[(Signal, RecordBatch)]) -> Changes {
    let mut observer = Observer::default();
    for (signal, rows) in batches {
        observer.read(*signal, &Rows::Stored(*signal, rows), NOW, &|text| (text.to_owned(), text.to_owned())).unwrap();
    }
    observer.finish();
    observer.take(NOW)
}

/// The graph of changes.
pub(crate) async fn graph(changes: &Changes) -> Memory {
    let graph = Memory::new();
    graph.apply(changes).await.unwrap();
    graph
}

/// Ids of the nodes of a kind.
pub(crate) async fn ids(graph: &dyn Graph, kind: Kind) -> Vec<String> {
    let query = NodeQuery { kind: Some(kind), limit: 1000, ..NodeQuery::default() };
    let mut ids: Vec<String> = graph.nodes(&query).await.unwrap().nodes.iter().map(|n| n.id.to_string()).collect();
    ids.sort();
    ids
}

/// `from → to` of the edges of a relation.
pub(crate) fn arrows(changes: &Changes, relation: Relation) -> Vec<String> {
    let edges = changes.edges.iter().filter(|edge| edge.relation == relation);
    let mut arrows: Vec<String> = edges.map(|edge| format!("{} → {}", edge.from, edge.to)).collect();
    arrows.sort();
    arrows
}

/// The one edge between two nodes.
pub(crate) fn edge<'a>(changes: &'a Changes, from: &str, to: &str) -> &'a Edge {
    let found: Vec<&Edge> = changes.edges.iter().filter(|edge| &*edge.from == from && &*edge.to == to).collect();
    let [edge] = found.as_slice() else { panic!("{from} → {to}: {found:?}") };
    edge
}

/// A node.
pub(crate) fn node<'a>(changes: &'a Changes, id: &str) -> &'a Node {
    changes.nodes.iter().find(|node| &*node.id == id).unwrap_or_else(|| panic!("{id}: {:#?}", changes.nodes))
}
