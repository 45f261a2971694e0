//! What every keeper of the graph answers, whatever it keeps it in.

use std::{future::Future, sync::Arc};

use devmesh_graph::{
    Around, Changes, Edge, Figures, Graph, Kind, Node, NodeQuery, Part, Properties, Range, Relation, Seen, Size,
};

/// Runs all cases, each on a graph of its own.
pub(crate) async fn run<F: Future<Output = Arc<dyn Graph>>>(fresh: impl Fn() -> F) {
    figures_are_added_times_widened_and_properties_replaced(&*fresh().await).await;
    nodes_are_found_by_kind_text_and_time(&*fresh().await).await;
    neighbours_are_the_nearest_by_edges_of_the_time_asked_for(&*fresh().await).await;
    a_path_follows_the_edges_where_it_can(&*fresh().await).await;
    what_is_old_or_gone_leaves_with_its_edges(&*fresh().await).await;
    names_of_strangers_are_names(&*fresh().await).await;
    what_was_taken_is_remembered(&*fresh().await).await;
}

fn node(id: &str, kind: Kind, time: i64) -> Node {
    let name = id.split_once(':').map_or(id, |(_, name)| name);
    Node {
        id: id.into(),
        kind,
        name: name.into(),
        properties: Properties::new(),
        seen: Seen::at(time),
        figures: Figures::default(),
    }
}

fn service(name: &str) -> Node {
    node(&format!("service:{name}"), Kind::Service, 10)
}

fn edge(from: &str, relation: Relation, to: &str, time: i64) -> Edge {
    let (from, to) = (from.into(), to.into());
    Edge { from, to, relation, properties: Properties::new(), seen: Seen::at(time), figures: Figures::call(false, 5) }
}

fn calls(from: &str, to: &str, time: i64) -> Edge {
    edge(&format!("service:{from}"), Relation::Calls, &format!("service:{to}"), time)
}

fn ids(part: &Part) -> Vec<&str> {
    part.nodes.iter().map(|node| &*node.id).collect()
}

fn arrows(part: &Part) -> Vec<String> {
    part.edges.iter().map(|edge| format!("{} {} {}", edge.from, edge.relation.name(), edge.to)).collect()
}

async fn apply(graph: &dyn Graph, nodes: Vec<Node>, edges: Vec<Edge>, now: i64) {
    graph.apply(&Changes { nodes, edges, now, ..Changes::default() }).await.unwrap();
}

async fn figures_are_added_times_widened_and_properties_replaced(graph: &dyn Graph) {
    let mut cart = service("cart");
    cart.properties.extend([("version".to_owned(), "1".to_owned()), ("language".to_owned(), "go".to_owned())]);
    cart.figures = Figures { count: 3, errors: 1, duration_ns: 30 };
    let mut call = calls("shop", "cart", 10);
    call.properties.insert("inferred".to_owned(), "true".to_owned());
    apply(graph, vec![cart.clone(), service("shop")], vec![call.clone()], 1).await;
    cart.seen = Seen { first: 5, last: 20 };
    cart.properties = Properties::from([("version".to_owned(), "2".to_owned())]);
    (call.seen, call.properties) = (Seen::at(40), Properties::new());
    apply(graph, vec![cart], vec![call], 2).await;
    let around = Around { depth: 1, range: Range::default(), limit: 10 };
    let part = graph.neighbours("service:cart", around).await.unwrap().unwrap();
    assert_eq!((ids(&part), &part.distances), (vec!["service:cart", "service:shop"], &vec![0, 1]));
    let cart = &part.nodes[0];
    assert_eq!(
        (cart.seen, cart.figures),
        (Seen { first: 5, last: 20 }, Figures { count: 6, errors: 2, duration_ns: 60 })
    );
    assert_eq!((cart.properties["version"].as_str(), cart.properties["language"].as_str()), ("2", "go"));
    assert_eq!((cart.kind, &*cart.name), (Kind::Service, "cart"));
    let call = &part.edges[0];
    assert_eq!(
        (call.seen, call.figures),
        (Seen { first: 10, last: 40 }, Figures { count: 2, errors: 0, duration_ns: 10 })
    );
    assert!(call.properties.is_empty(), "{call:?}");
    assert_eq!(graph.size().await.unwrap(), Size { nodes: 2, edges: 1, refused: 0 });
}

async fn nodes_are_found_by_kind_text_and_time(graph: &dyn Graph) {
    let nodes = vec![
        node("service:cart", Kind::Service, 10),
        node("service:Shop", Kind::Service, 20),
        node("operation:cart/GET /cart", Kind::Operation, 30),
        node("node:host/web-1", Kind::Node, 40),
    ];
    apply(graph, nodes, vec![], 1).await;
    let ask = |kind: Option<Kind>, text: &str, range: Range, limit: usize| {
        let text = (!text.is_empty()).then(|| text.to_owned());
        async move { graph.nodes(&NodeQuery { kind, text, range, limit }).await.unwrap() }
    };
    let all = ask(None, "", Range::default(), 10).await;
    assert_eq!(ids(&all), ["node:host/web-1", "operation:cart/GET /cart", "service:Shop", "service:cart"]);
    let service = ask(Some(Kind::Service), "", Range::default(), 1).await;
    assert_eq!((ids(&service), service.truncated), (vec!["service:Shop"], true));
    assert_eq!(ids(&ask(None, "SHOP", Range::default(), 10).await), ["service:Shop"]);
    assert_eq!(ids(&ask(None, "get /", Range::default(), 10).await), ["operation:cart/GET /cart"]);
    assert_eq!(
        ids(&ask(None, "", Range { start: 20, end: 40 }, 10).await),
        ["operation:cart/GET /cart", "service:Shop"]
    );
    assert!(ask(Some(Kind::Error), "", Range::default(), 10).await.nodes.is_empty());
}

async fn neighbours_are_the_nearest_by_edges_of_the_time_asked_for(graph: &dyn Graph) {
    // a → b → c → d, a → e only at 90.
    let nodes = ["a", "b", "c", "d", "e"].map(service).to_vec();
    let edges =
        vec![calls("a", "b", 10), calls("b", "c", 10), calls("c", "d", 10), calls("a", "e", 90), calls("b", "d", 90)];
    apply(graph, nodes, edges, 1).await;
    let ask = |id: &'static str, depth, start, end, limit| async move {
        graph.neighbours(id, Around { depth, range: Range { start, end }, limit }).await.unwrap()
    };
    let part = ask("service:a", 2, 0, 50, 10).await.unwrap();
    assert_eq!(
        (ids(&part), part.distances.as_slice()),
        (vec!["service:a", "service:b", "service:c"], [0, 1, 2].as_slice())
    );
    assert_eq!(arrows(&part), ["service:a CALLS service:b", "service:b CALLS service:c"]);
    let part = ask("service:d", 1, 0, 200, 10).await.unwrap();
    assert_eq!(ids(&part), ["service:d", "service:b", "service:c"], "against the edges as well");
    assert_eq!(arrows(&part), ["service:b CALLS service:c", "service:b CALLS service:d", "service:c CALLS service:d"]);
    let part = ask("service:a", 3, 0, 200, 4).await.unwrap();
    assert_eq!((ids(&part), part.truncated), (vec!["service:a", "service:b", "service:e", "service:c"], true));
    let alone = ask("service:a", 0, 0, 200, 10).await.unwrap();
    assert_eq!((ids(&alone), alone.edges.len()), (vec!["service:a"], 0));
    assert!(ask("service:none", 1, 0, 200, 10).await.is_none());
    let some = graph.edges(Range { start: 50, end: 100 }, 10).await.unwrap();
    assert_eq!(arrows(&some), ["service:a CALLS service:e", "service:b CALLS service:d"]);
    let first = graph.edges(Range::default(), 2).await.unwrap();
    assert_eq!(
        (arrows(&first), first.truncated),
        (vec!["service:a CALLS service:b".to_owned(), "service:a CALLS service:e".to_owned()], true)
    );
}

async fn a_path_follows_the_edges_where_it_can(graph: &dyn Graph) {
    let mut nodes = ["a", "b", "c", "d", "lonely"].map(service).to_vec();
    nodes.push(node("node:host/h", Kind::Node, 10));
    let runs = |name: &str| edge(&format!("service:{name}"), Relation::RunsOn, "node:host/h", 10);
    let edges =
        vec![calls("a", "b", 10), calls("b", "c", 10), calls("c", "d", 10), calls("a", "c", 90), runs("a"), runs("d")];
    apply(graph, nodes, edges, 1).await;
    let ask = |from: &'static str, to: &'static str, start, end| async move {
        graph.path(&format!("service:{from}"), &format!("service:{to}"), Range { start, end }).await.unwrap()
    };
    // Through the host it would be shorter, but nothing leads from there.
    let path = ask("a", "d", 0, 50).await.unwrap();
    assert_eq!((ids(&path.part), path.directed), (vec!["service:a", "service:b", "service:c", "service:d"], true));
    assert_eq!(
        arrows(&path.part),
        ["service:a CALLS service:b", "service:b CALLS service:c", "service:c CALLS service:d"]
    );
    let path = ask("a", "d", 0, 200).await.unwrap();
    assert_eq!(ids(&path.part), ["service:a", "service:c", "service:d"], "the later call is a way then");
    let path = ask("d", "a", 0, 50).await.unwrap();
    assert_eq!((ids(&path.part), path.directed), (vec!["service:d", "node:host/h", "service:a"], false));
    let itself = ask("a", "a", 0, 50).await.unwrap();
    assert_eq!((ids(&itself.part), itself.part.edges.len(), itself.directed), (vec!["service:a"], 0, true));
    assert!(ask("a", "lonely", 0, 50).await.is_none() && ask("a", "none", 0, 50).await.is_none());
}

async fn what_is_old_or_gone_leaves_with_its_edges(graph: &dyn Graph) {
    apply(graph, vec![service("a"), service("b")], vec![calls("a", "b", 1)], 100).await;
    apply(graph, vec![service("b"), service("c"), service("d")], vec![calls("b", "c", 1), calls("c", "d", 1)], 200)
        .await;
    assert_eq!(graph.prune(150, 10).await.unwrap(), 1, "a was not touched since 100");
    assert_eq!(graph.size().await.unwrap(), Size { nodes: 3, edges: 2, refused: 0 });
    apply(graph, vec![service("c"), service("d")], vec![], 300).await;
    assert_eq!(graph.prune(0, 2).await.unwrap(), 1, "b is the longest untouched of three");
    assert_eq!(graph.size().await.unwrap(), Size { nodes: 2, edges: 1, refused: 0 });
    graph.apply(&Changes { gone: vec!["service:c".into()], now: 400, ..Changes::default() }).await.unwrap();
    assert_eq!(graph.size().await.unwrap(), Size { nodes: 1, edges: 0, refused: 0 });
    apply(graph, vec![service("c")], vec![calls("c", "d", 1)], 500).await;
    assert_eq!(graph.size().await.unwrap(), Size { nodes: 2, edges: 1, refused: 0 }, "it may come again");
}

async fn names_of_strangers_are_names(graph: &dyn Graph) {
    let name = "x'}) DETACH DELETE n //\"\\ `ß\u{202e}";
    let mut node = service(name);
    node.properties.insert("weird ` key".to_owned(), "'; DROP".to_owned());
    apply(graph, vec![node, service("b")], vec![calls(name, "b", 1)], 1).await;
    let id = format!("service:{name}");
    let part = graph.neighbours(&id, Around { depth: 1, range: Range::default(), limit: 10 }).await.unwrap().unwrap();
    assert_eq!((&*part.nodes[0].id, &*part.nodes[0].name, part.nodes.len()), (id.as_str(), name, 2));
    assert_eq!(part.nodes[0].properties["weird ` key"], "'; DROP");
    let found =
        graph.nodes(&NodeQuery { text: Some("detach".to_owned()), limit: 5, ..NodeQuery::default() }).await.unwrap();
    assert_eq!(found.nodes.len(), 1);
}

async fn what_was_taken_is_remembered(graph: &dyn Graph) {
    assert_eq!(graph.taken().await.unwrap(), None);
    apply(graph, vec![service("a")], vec![], 5).await;
    assert_eq!(graph.taken().await.unwrap(), None, "it is not said that all before is there");
    let changes = Changes { nodes: vec![service("a")], now: 7, taken: Some(7), ..Changes::default() };
    graph.apply(&changes).await.unwrap();
    graph.apply(&Changes { now: 9, ..changes.clone() }).await.unwrap();
    assert_eq!(graph.taken().await.unwrap(), Some(7));
    graph.keep().await.unwrap();
}
