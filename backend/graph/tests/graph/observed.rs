//! What rows show: each rule of who calls whom, what runs on what, what is called how, and what fails of what.

use devmesh_graph::{Figures, Kind, Observer, Relation, Rows, Seen};
use devmesh_schema::{Signal, limits};
use serde_json::{Value, json};

use crate::telemetry::{NOW, SECOND, Span, arrows, edge, graph, ids, logs, metrics, node, observe, spans};

fn service(name: &str) -> Value {
    json!({ "service.name": name })
}

fn traces(resource: &str, all: &[Span]) -> (Signal, arrow_array::RecordBatch) {
    (Signal::Traces, spans(&service(resource), all))
}

fn client(id: u8, parent: u8, attributes: Value) -> Span {
    Span { trace: 1, id, parent, kind: "CLIENT", name: "call", attributes, ..Span::default() }
}

fn server(id: u8, parent: u8) -> Span {
    Span { trace: 1, id, parent, kind: "SERVER", name: "serve", ..Span::default() }
}

#[test]
fn a_client_span_and_the_server_span_below_it_are_a_call_whichever_comes_first() {
    let caller = traces("shop", &[client(2, 0, json!({})), Span { at: 60, ..client(4, 0, json!({})) }]);
    let called = traces("cart", &[server(3, 2), Span { at: 60, failed: true, ..server(5, 4) }]);
    for batches in [[caller.clone(), called.clone()], [called, caller]] {
        let changes = observe(&batches);
        let call = edge(&changes, "service:shop", "service:cart");
        assert_eq!(call.relation, Relation::Calls);
        assert_eq!(call.figures, Figures { count: 2, errors: 1, duration_ns: 10_000_000 });
        assert_eq!(call.seen, Seen { first: NOW, last: NOW + 60 * SECOND });
        assert!(call.properties.is_empty(), "{call:?}");
        assert_eq!(
            arrows(&changes, Relation::Calls),
            ["service:shop → operation:cart/serve", "service:shop → service:cart"]
        );
        assert_eq!(edge(&changes, "operation:cart/serve", "service:cart").relation, Relation::RunsOn);
    }
}

#[test]
fn who_calls_is_told_by_each_rule_of_the_conventions() {
    let producer = Span { trace: 1, id: 2, kind: "PRODUCER", name: "send", ..Span::default() };
    let consumer = Span { trace: 2, id: 9, kind: "CONSUMER", name: "take", links: vec![(1, 2)], ..Span::default() };
    let queue = json!({"messaging.system": "kafka", "messaging.destination.name": "orders"});
    let database = json!({"db.system.name": "postgresql", "server.address": "db.internal", "server.port": 5432, "db.namespace": "shop"});
    type Case<'a> = (&'a str, Vec<(Signal, arrow_array::RecordBatch)>, Vec<&'a str>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            "a message, by a link",
            vec![traces("a", std::slice::from_ref(&producer)), traces("b", std::slice::from_ref(&consumer))],
            vec!["service:a → operation:b/take", "service:a → service:b"],
            "messaging_system",
        ),
        (
            "a queue, by its name on either side",
            vec![
                traces("a", &[Span { attributes: queue.clone(), ..producer }]),
                traces("b", &[Span { attributes: queue, links: vec![], ..consumer }]),
            ],
            vec!["service:a → service:kafka/orders", "service:kafka/orders → service:b"],
            "messaging_system",
        ),
        (
            "a database",
            vec![traces("a", &[client(2, 7, database)])],
            vec!["service:a → service:postgresql@db.internal:5432/shop"],
            "database",
        ),
        (
            "what sends no spans",
            vec![traces("a", &[client(2, 7, json!({"server.address": "api.stripe.com"}))])],
            vec!["service:a → service:api.stripe.com"],
            "virtual_node",
        ),
        (
            "a service by the first label of its address, without a span of this call",
            vec![
                traces("cart", &[server(9, 8)]),
                traces("a", &[client(2, 7, json!({"net.peer.name": "cart.shop.svc.cluster.local"}))]),
            ],
            vec!["service:a → service:cart"],
            "virtual_node",
        ),
        (
            "whoever serves that remote procedure, where no address is given",
            vec![
                traces(
                    "payment",
                    &[Span {
                        attributes: json!({"rpc.system": "grpc", "rpc.service": "oteldemo.PaymentService", "rpc.method": "Charge"}),
                        ..server(9, 8)
                    }],
                ),
                traces(
                    "checkout",
                    &[Span {
                        failed: true,
                        attributes: json!({"rpc.system": "grpc", "rpc.method": "/oteldemo.PaymentService/Charge"}),
                        ..client(2, 7, json!({}))
                    }],
                ),
            ],
            vec!["service:checkout → service:payment"],
            "virtual_node",
        ),
        (
            "users, where a server's span has no parent",
            vec![traces("a", &[server(2, 0)])],
            vec!["service:user → service:a"],
            "virtual_node",
        ),
    ];
    for (what, batches, wanted, connection) in cases {
        let changes = observe(&batches);
        assert_eq!(arrows(&changes, Relation::Calls), wanted, "{what}");
        let calls: Vec<_> = changes.edges.iter().filter(|edge| edge.relation == Relation::Calls).collect();
        assert!(calls.iter().all(|call| call.properties["connection_type"] == connection), "{what}: {calls:?}");
    }
}

#[test]
fn a_server_span_below_one_that_does_not_ask_is_an_inferred_call() {
    let changes = observe(&[traces("proxy", &[server(2, 1)]), traces("cart", &[server(3, 2)])]);
    assert_eq!(edge(&changes, "service:proxy", "service:cart").properties["inferred"], "true");
}

#[test]
fn a_call_that_is_answered_later_is_none_to_the_outside_and_one_that_waited_too_long_is() {
    let mut observer = Observer::default();
    let mut read = |resource: &str, all: &[Span], now: i64| {
        let rows = spans(&service(resource), all);
        observer.read(Signal::Traces, &Rows::Stored(Signal::Traces, &rows), now, &|t| (t.into(), t.into())).unwrap();
        observer.expire(now);
        arrows(&observer.take(now), Relation::Calls)
    };
    let address = json!({"server.address": "10.0.0.7"});
    assert!(read("a", &[client(2, 7, address.clone())], NOW).is_empty());
    let wait = i64::try_from(limits::GRAPH_WAIT.as_nanos()).unwrap();
    assert_eq!(read("b", &[server(3, 2)], NOW + wait - 1), ["service:a → operation:b/serve", "service:a → service:b"]);
    assert!(read("a", &[client(4, 7, address)], NOW + wait).is_empty());
    assert_eq!(read("c", &[server(9, 8)], NOW + 2 * wait), ["service:a → service:10.0.0.7"]);
    assert_eq!(observer.waiting(), 2, "the last span and its missing parent");
}

#[test]
fn resources_become_what_a_service_runs_on() {
    let pod = json!({
        "service.name": "cart", "service.namespace": "shop", "service.version": "1.2", "telemetry.sdk.language": "go",
        "k8s.pod.uid": "u-1", "k8s.pod.name": "cart-1", "k8s.namespace.name": "prod", "k8s.container.name": "main",
        "k8s.node.name": "worker-1", "host.name": "cart-1",
    });
    let changes = observe(&[(
        Signal::Traces,
        spans(&pod, &[Span { trace: 1, id: 1, parent: 9, kind: "INTERNAL", ..Span::default() }]),
    )]);
    let (container, pod, host) = ("node:container/u-1/main", "node:pod/u-1", "node:host/worker-1");
    let wanted = [
        format!("{container} → {pod}"),
        format!("{pod} → {host}"),
        format!("service:shop/cart → {container}"),
        format!("service:shop/cart → {host}"),
        format!("service:shop/cart → {pod}"),
    ];
    assert_eq!(arrows(&changes, Relation::RunsOn), wanted);
    let cart = node(&changes, "service:shop/cart");
    assert_eq!(
        (&*cart.name, cart.properties["version"].as_str(), cart.properties["language"].as_str()),
        ("cart", "1.2", "go")
    );
    assert_eq!((&*node(&changes, pod).name, node(&changes, pod).properties["type"].as_str()), ("cart-1", "pod"));
}

#[tokio::test]
async fn hosts_are_known_by_their_id_and_shown_by_their_name_whatever_signal_names_them() {
    let host = json!({"host.id": "abc", "host.name": "web-1", "service.name": "cart"});
    let alone = json!({"host.name": "db-1"});
    let changes = observe(&[
        (Signal::Metrics, metrics(&host)),
        (Signal::Logs, logs(&host, &[json!({})])),
        (Signal::Metrics, metrics(&alone)),
    ]);
    assert_eq!(ids(&graph(&changes).await, Kind::Node).await, ["node:host/abc", "node:host/db-1"]);
    assert_eq!(&*node(&changes, "node:host/abc").name, "web-1");
    assert_eq!(arrows(&changes, Relation::RunsOn), ["service:cart → node:host/abc"]);
    assert_eq!(ids(&graph(&changes).await, Kind::Service).await, ["service:cart"]);
}

#[test]
fn operations_go_by_what_they_do_and_never_by_a_path() {
    for (attributes, name) in [
        (json!({"http.request.method": "GET", "http.route": "/cart/{id}", "url.path": "/cart/7"}), "GET /cart/{id}"),
        (json!({"http.method": "POST", "http.target": "/cart/7"}), "POST"),
        (json!({"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Add"}), "shop.Cart/Add"),
        (json!({"rpc.system": "grpc", "rpc.method": "/shop.Cart/Add"}), "shop.Cart/Add"),
        (json!({"rpc.system": "grpc", "rpc.method": "grpc.shop.Cart/Add"}), "shop.Cart/Add"),
        (json!({"messaging.system": "kafka", "messaging.destination": "orders"}), "process orders"),
        (json!({}), "serve"),
    ] {
        let changes = observe(&[traces("cart", &[Span { attributes: attributes.clone(), ..server(3, 2) }])]);
        let id = format!("operation:cart/{name}");
        assert_eq!(node(&changes, &id).figures.count, 1, "{attributes}");
    }
}

#[test]
fn what_failed_is_told_by_status_or_answer() {
    for (kind, attributes, failed) in [
        ("SERVER", json!({"http.response.status_code": 500}), true),
        ("SERVER", json!({"http.response.status_code": 404}), false),
        ("CLIENT", json!({"http.status_code": 404}), true),
        ("CLIENT", json!({"http.status_code": 302}), false),
        ("SERVER", json!({"rpc.system": "grpc", "rpc.grpc.status_code": 5}), false),
        ("SERVER", json!({"rpc.system": "grpc", "rpc.grpc.status_code": 14}), true),
        ("CLIENT", json!({"rpc.system": "grpc", "rpc.response.status_code": "NOT_FOUND"}), true),
        ("CLIENT", json!({"rpc.system": "grpc", "rpc.status_code": "OK"}), false),
    ] {
        let changes = observe(&[traces("cart", &[Span { kind, attributes: attributes.clone(), ..server(3, 2) }])]);
        let errors = changes.nodes.iter().filter(|node| node.kind == Kind::Error).count();
        assert_eq!(errors == 1, failed, "{kind} {attributes}");
    }
}

#[test]
fn exceptions_of_one_sort_are_one_error_and_failures_lead_to_what_brought_them_about() {
    let exception = |stack: &str| {
        let attributes = json!({"exception.type": "TimeoutException", "exception.message": "after 5 s", "exception.stacktrace": stack});
        json!([{ "name": "exception", "attributes": attributes }])
    };
    let failed = |id, parent, stack: &str| Span { failed: true, events: exception(stack), ..server(id, parent) };
    let caller = Span { failed: true, attributes: json!({"error.type": "503"}), ..client(2, 7, json!({})) };
    let changes = observe(&[
        traces(
            "cart",
            &[
                failed(3, 2, "T: 1\n at a.B.c(B.java:1)"),
                failed(5, 4, "T: 2\n at a.B.c(B.java:99)"),
                failed(6, 4, "T: 2\n at a.Other.c(B.java:99)"),
            ],
        ),
        traces("shop", &[caller]),
    ]);
    let errors: Vec<&str> = changes.nodes.iter().filter(|n| n.kind == Kind::Error).map(|n| &*n.id).collect();
    let (cart, shop): (Vec<&str>, Vec<&str>) =
        errors.iter().partition(|id| id.starts_with("error:cart/TimeoutException#"));
    assert_eq!((cart.len(), shop), (2, vec!["error:shop/503"]), "{errors:?}");
    let twice = cart.iter().find(|id| node(&changes, id).figures.count == 2).expect("two of one sort");
    assert_eq!(node(&changes, twice).properties["message"], "after 5 s");
    assert_eq!(arrows(&changes, Relation::CausedBy), [format!("error:shop/503 → {twice}")]);
    assert_eq!(edge(&changes, "service:cart", twice).relation, Relation::Emits);
    assert_eq!(edge(&changes, "operation:cart/serve", twice).figures.count, 2);
}

#[test]
fn exceptions_in_logs_are_errors_of_their_service() {
    let record = json!({"exception.type": "ValueError", "exception.message": "no such cart"});
    let changes = observe(&[(Signal::Logs, logs(&service("cart"), &[record, json!({"x": 1})]))]);
    assert_eq!(arrows(&changes, Relation::Emits), ["service:cart → error:cart/ValueError"]);
}

#[test]
fn a_service_of_endless_names_fills_its_own_room_alone() {
    let many = u16::try_from(limits::GRAPH_OPERATIONS).unwrap() + 50;
    let mut observer = Observer::default();
    for n in 0..many {
        let span = Span {
            attributes: json!({"http.request.method": "GET", "http.route": format!("/cart/{n}")}),
            ..server(3, 2)
        };
        let rows = spans(&service("cart"), &[span]);
        observer.read(Signal::Traces, &Rows::Stored(Signal::Traces, &rows), NOW, &|t| (t.into(), t.into())).unwrap();
    }
    let changes = observer.take(NOW);
    let operations = changes.nodes.iter().filter(|node| node.kind == Kind::Operation).count();
    assert_eq!((operations, observer.refused()), (limits::GRAPH_OPERATIONS as usize, 50));
    assert_eq!(node(&changes, "service:cart").figures.count, u64::from(many));
}
