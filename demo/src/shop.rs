//! The shop: its services, where they run, what they say and whom they call.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
};

use crate::Rng;

/// Services, the busiest first.
pub(crate) const SERVICES: [&str; 18] = [
    "storefront",
    "basket",
    "catalog",
    "orders",
    "payments",
    "inventory",
    "search",
    "pricing",
    "sessions",
    "reviews",
    "delivery",
    "mailer",
    "invoices",
    "fraud-check",
    "recommender",
    "media",
    "edge-proxy",
    "warehouse-sync",
];

/// Instances a service has.
pub(crate) const INSTANCES: u64 = 4;

/// Routes, the busiest first.
pub(crate) const ROUTES: [&str; 20] = [
    "/",
    "/api/basket",
    "/api/catalog/{sku}",
    "/api/catalog",
    "/api/search",
    "/api/orders",
    "/api/orders/{id}",
    "/api/payments",
    "/api/reviews/{sku}",
    "/api/recommendations",
    "/api/session",
    "/login",
    "/logout",
    "/api/delivery/quote",
    "/api/inventory/{sku}",
    "/assets/app.js",
    "/assets/app.css",
    "/healthz",
    "/api/prices",
    "/api/invoices/{id}",
];

/// Whom a service calls, by index.
pub(crate) const CALLS: [&[usize]; 18] = [
    &[1, 2, 6, 7, 8, 9, 14],
    &[2, 7, 8],
    &[5, 15],
    &[1, 4, 5, 10, 11, 12],
    &[13],
    &[17],
    &[2],
    &[],
    &[],
    &[8],
    &[7],
    &[],
    &[11],
    &[8],
    &[2],
    &[],
    &[0, 3],
    &[],
];

/// Exception types, the most frequent first.
pub(crate) const EXCEPTIONS: [&str; 12] = [
    "java.net.SocketTimeoutException",
    "NullPointerException",
    "TimeoutError",
    "ConnectionRefusedError",
    "io.grpc.StatusRuntimeException",
    "KeyError",
    "TypeError",
    "OutOfMemoryError",
    "sql.ErrConnDone",
    "System.InvalidOperationException",
    "ValueError",
    "redis.exceptions.ConnectionError",
];

/// Bodies of log records: severity number, text. `{…}` stands for something random.
pub(crate) const TEMPLATES: [(i32, &str); 44] = [
    (9, "{method} {route} answered 200 in {ms} ms to {ip}"),
    (9, "request {uuid} accepted: method={method} route={route} client={ip}"),
    (5, "cache hit basket:{user} after {ms} ms"),
    (5, "cache miss sku:{big}, asking the database"),
    (9, "order {uuid} placed by {user}: {int} items, {ms} EUR"),
    (9, "connected to {host}:{port} with TLSv1.3"),
    (13, "slow statement: SELECT * FROM orders WHERE customer_id = {big} took {ms} ms"),
    (13, "attempt {int} of 5 to reach {service} failed: connection reset by peer, next in {int} ms"),
    (17, "charging order {uuid} failed: gateway answered 502 after {ms} ms"),
    (17, "unhandled exception in request {uuid}: java.net.SocketTimeoutException: Read timed out"),
    (9, "published to orders/{int} at offset {big}"),
    (9, "consumed orders/{int} offset {big} lag {int}"),
    (5, "gc pause {ms} ms, heap {int}M -> {int}M"),
    (9, "dependency {service} is healthy ({ms} ms)"),
    (13, "circuit to {service} half open after {int} failures in {int} s"),
    (17, "no connection from pool within {int} ms: active={int} idle=0 waiting={int}"),
    (9, "{user} signed in from {ip}, session {uuid}"),
    (13, "sign-in refused for {user} from {ip} port {port}"),
    (5, "flag checkout.express is off for {user}"),
    (9, "delivery quote {ms} EUR for {int} parcels to {int}"),
    (9, "Receiving block blk_{big} src: /{ip}:{port} dest: /{ip}:50010"),
    (9, "PacketResponder {int} for block blk_{big} terminating"),
    (9, "Received block blk_{big} of size {big} from /{ip}"),
    (13, "{ip}:50010:Got exception while serving blk_{big} to /{ip}"),
    (9, "Accepted socket connection from /{ip}:{port}"),
    (9, "Closed socket connection for client /{ip}:{port} which had sessionid 0x{hex}"),
    (13, "caught end of stream exception: client 0x{hex} has closed its socket"),
    (9, "[instance: {uuid}] VM Started (Lifecycle Event)"),
    (9, "[instance: {uuid}] Took {ms} seconds to spawn the instance"),
    (9, "{ip} \"GET /v2/{hex}/servers HTTP/1.1\" status: 200 len: {int} time: {ms}"),
    (9, "Finished task {int}.0 in stage {int}.0 (TID {big}), {int} bytes to driver"),
    (9, "Found block rdd_{int}_{int} locally"),
    (13, "Lost task {int}.0 in stage {int}.0 (TID {big}, {host}): ExecutorLostFailure"),
    (9, "{ip} - {user} \"GET {route} HTTP/1.1\" 200 {int} \"Mozilla/5.0 (X11; Linux x86_64)\" {ms}"),
    (9, "{ip} - - \"POST {route} HTTP/1.1\" 201 {int} \"okhttp/4.12.0\" {ms}"),
    (13, "upstream disabled for a while: client {ip}, request GET {route}, upstream http://{ip}:{port}"),
    (17, "connect() failed (111: Connection refused), client: {ip}, upstream: http://{ip}:{port}{route}"),
    (9, "stock of sku {big} set to {int} by warehouse {int}"),
    (13, "stock of sku {big} below {int}"),
    (17, "invoice {uuid} could not be rendered: template {int} is missing"),
    (9, "mail {uuid} handed to {host}"),
    (9, "search for {hex} gave {int} hits in {ms} ms"),
    (5, "ranking {int} candidates for {user}"),
    (9, "price of sku {big} is {ms} EUR"),
];

/// The text of a template with its places filled.
pub(crate) fn fill(rng: &mut Rng, template: &str, out: &mut String) {
    out.clear();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((place, tail)) = after.split_once('}') else { break };
        out.push_str(&value(rng, place));
        rest = tail;
    }
    out.push_str(rest);
}

fn value(rng: &mut Rng, place: &str) -> String {
    match place {
        "int" => rng.skewed(5000, 2.0).to_string(),
        "big" => (1000 + rng.below(800_000_000)).to_string(),
        "hex" => format!("{:016x}", rng.bits()),
        "uuid" => rng.uuid(),
        "ip" => format!("10.{}.{}.{}", rng.below(4), rng.below(40), rng.below(256)),
        "port" => (30_000 + rng.below(30_000)).to_string(),
        "ms" => format!("{:.3}", rng.long_tail(20.0)),
        "user" => format!("user{:06}", rng.skewed(200_000, 2.0)),
        "host" => format!("node-{}.internal.example", rng.below(60)),
        "service" => SERVICES[rng.skewed(SERVICES.len(), 1.0)].to_owned(),
        "method" => rng.pick(&["GET", "GET", "GET", "POST", "PUT", "DELETE"]).to_owned(),
        "route" => {
            let id = rng.below(100_000).to_string();
            ROUTES[rng.skewed(ROUTES.len(), 1.7)].replace("{sku}", &id).replace("{id}", &id)
        }
        other => other.to_owned(),
    }
}

/// The resource of an instance of a service.
pub(crate) fn resource(service: usize, instance: u64) -> Resource {
    let mut rng = Rng::new((service as u64) << 32 | instance);
    let name = SERVICES[service];
    let node = rng.below(12);
    Resource {
        attributes: vec![
            text("service.name", name),
            text("service.namespace", "shop"),
            text("service.version", &format!("{}.{}.{}", 1 + service % 3, service, instance % 2)),
            text("service.instance.id", &rng.uuid()),
            text("deployment.environment.name", if instance == 3 { "staging" } else { "production" }),
            text("host.name", &format!("ip-10-0-{node}-{}.internal.example", node * 7)),
            text("k8s.namespace.name", "shop"),
            text("k8s.deployment.name", name),
            text("k8s.pod.name", &format!("{name}-{:08x}-{:05x}", rng.bits() >> 32, rng.below(1 << 20))),
            text("k8s.node.name", &format!("node-{node}")),
            text(
                "container.id",
                &format!("{:016x}{:016x}{:016x}{:016x}", rng.bits(), rng.bits(), rng.bits(), rng.bits()),
            ),
            text("cloud.region", "eu-central-1"),
            text("telemetry.sdk.language", ["java", "go", "nodejs", "python", "rust", "dotnet"][service % 6]),
        ],
        ..Resource::default()
    }
}

/// The scope of a library.
pub(crate) fn scope(name: &str) -> InstrumentationScope {
    InstrumentationScope { name: name.to_owned(), version: "1.27.0".to_owned(), ..InstrumentationScope::default() }
}

/// The schema that the attributes follow.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// An attribute with a value.
pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// An attribute whose value is text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// An attribute whose value is a whole number.
pub(crate) fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}
