//! What the graph costs: CPU time a span while it is kept up, and how long a neighbourhood takes. `tests/src/bench/graph.rs` runs it.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark: its output is what it is for")]

use std::{
    fs,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use arrow_array::RecordBatch;
use devmesh_demo::Plan;
use devmesh_graph::{
    Around, Changes, Edge, Figures, Graph, Kind, Memory, Node, Observer, Properties, Range, Relation, Rows, Seen,
};
use devmesh_schema::{
    IngestPath, Signal,
    otlp::{self, decode},
};

/// Spans a second of the goal.
const RATE: f64 = 20_000.0;
/// Spans between two times that what was seen is shown: 250 ms.
const SHOWN: usize = 5_000;
const SPANS: u64 = 400_000;
const START: u64 = 1_795_262_400_000_000_000;

fn main() {
    kept_up();
    asked();
}

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// What the graph in the process answers is there at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the graph in the process waits for nothing"),
    }
}

fn kept_up() {
    let plan = Plan { seed: 1, records: SPANS, batch: 500, start_ns: START, span_ns: SPANS * 50_000 };
    let context = otlp::Context { path: IngestPath::Collector, received: START.cast_signed() };
    let batches: Vec<RecordBatch> = devmesh_demo::traces(plan)
        .map(|request| decode(Signal::Traces, &request.body, context).unwrap().rows)
        .collect();
    let (graph, mut observer) = (Memory::new(), Observer::default());
    let (mut spans, mut shown) = (0, 0);
    let before = cpu();
    for rows in &batches {
        spans += rows.num_rows();
        // The time goes on as it would at that rate, so that spans wait as long as they would.
        let time = START.cast_signed() + (spans as f64 / RATE * 1e9) as i64;
        let pattern = |text: &str| (text.to_owned(), text.to_owned());
        observer.read(Signal::Traces, &Rows::Stored(Signal::Traces, rows), time, &pattern).unwrap();
        if spans - shown >= SHOWN {
            observer.expire(time);
            now(graph.apply(&observer.take(time))).unwrap();
            shown = spans;
        }
    }
    let seconds = cpu() - before;
    let each = seconds / spans as f64;
    let size = now(graph.size()).unwrap();
    println!(
        "{spans} spans kept up: {:.2} µs of CPU each, {:.1} % of a core at 20,000 spans/s ({} nodes, {} edges, {} waiting)",
        each * 1e6,
        each * RATE * 100.0,
        size.nodes,
        size.edges,
        observer.waiting()
    );
}

/// A mesh of services, each with operations, hosts and calls.
fn mesh(services: usize) -> Changes {
    let mut changes = Changes::default();
    let seen = Seen { first: 0, last: 1 };
    let mut node = |id: String, kind| {
        let id: Arc<str> = id.into();
        let (name, figures) = (Arc::clone(&id), Figures::default());
        changes.nodes.push(Node { id: Arc::clone(&id), kind, name, properties: Properties::new(), seen, figures });
        id
    };
    let all: Vec<_> = (0..services).map(|n| node(format!("service:s{n}"), Kind::Service)).collect();
    let hosts: Vec<_> = (0..services / 2).map(|n| node(format!("node:host/h{n}"), Kind::Node)).collect();
    let mut edges = Vec::new();
    for (n, service) in all.iter().enumerate() {
        for operation in 0..10 {
            let operation = node(format!("operation:s{n}/o{operation}"), Kind::Operation);
            edges.push((operation, Relation::RunsOn, Arc::clone(service)));
        }
        edges.extend(
            (1..5)
                .map(|step| (Arc::clone(service), Relation::Calls, Arc::clone(&all[(n * 7 + step * 131) % services]))),
        );
        edges.push((Arc::clone(service), Relation::RunsOn, Arc::clone(&hosts[n % hosts.len()])));
    }
    let edge = |(from, relation, to)| Edge {
        from,
        to,
        relation,
        properties: Properties::new(),
        seen,
        figures: Figures::default(),
    };
    changes.edges = edges.into_iter().filter(|(from, _, to)| from != to).map(edge).collect();
    changes
}

fn asked() {
    let services = 3_000;
    let graph = Memory::new();
    now(graph.apply(&mesh(services))).unwrap();
    let (mut times, mut nodes) = (Vec::new(), 0);
    for n in 0..300 {
        let around = Around { depth: 3, range: Range::default(), limit: 10_000 };
        let begun = Instant::now();
        let part = now(graph.neighbours(&format!("service:s{}", n * 10 % services), around)).unwrap().unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        nodes += part.nodes.len();
    }
    times.sort_by(f64::total_cmp);
    let size = now(graph.size()).unwrap();
    println!(
        "a neighbourhood of depth 3 in a graph of {} nodes and {} edges: median {:.2} ms, p99 {:.2} ms ({} nodes each)",
        size.nodes,
        size.edges,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        nodes / times.len()
    );
}
