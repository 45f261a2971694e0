//! What a span says of itself: the operation, whom it calls, and whether it failed (semantic conventions, current and earlier names).

use crate::rows::{ATTRIBUTES, Attributes, places};

const HTTP_METHOD: [usize; 2] = places(&ATTRIBUTES, ["http.request.method", "http.method"]);
const HTTP_ROUTE: [usize; 1] = places(&ATTRIBUTES, ["http.route"]);
const HTTP_STATUS: [usize; 2] = places(&ATTRIBUTES, ["http.response.status_code", "http.status_code"]);
const RPC_SYSTEM: [usize; 2] = places(&ATTRIBUTES, ["rpc.system.name", "rpc.system"]);
const RPC_SERVICE: [usize; 1] = places(&ATTRIBUTES, ["rpc.service"]);
const RPC_METHOD: [usize; 1] = places(&ATTRIBUTES, ["rpc.method"]);
const RPC_STATUS: [usize; 3] =
    places(&ATTRIBUTES, ["rpc.status_code", "rpc.response.status_code", "rpc.grpc.status_code"]);
const DB_SYSTEM: [usize; 2] = places(&ATTRIBUTES, ["db.system.name", "db.system"]);
const DB_NAME: [usize; 2] = places(&ATTRIBUTES, ["db.namespace", "db.name"]);
const DB_COLLECTION: [usize; 2] = places(&ATTRIBUTES, ["db.collection.name", "db.sql.table"]);
const DB_OPERATION: [usize; 2] = places(&ATTRIBUTES, ["db.operation.name", "db.operation"]);
const QUEUE_SYSTEM: [usize; 1] = places(&ATTRIBUTES, ["messaging.system"]);
const QUEUE: [usize; 2] = places(&ATTRIBUTES, ["messaging.destination.name", "messaging.destination"]);
const QUEUE_OPERATION: [usize; 2] = places(&ATTRIBUTES, ["messaging.operation.type", "messaging.operation"]);
const PEER: [usize; 2] = places(&ATTRIBUTES, ["service.peer.name", "peer.service"]);
const ADDRESS: [usize; 2] = places(&ATTRIBUTES, ["server.address", "net.peer.name"]);
const PORT: [usize; 2] = places(&ATTRIBUTES, ["server.port", "net.peer.port"]);
const ERROR_TYPE: [usize; 2] = places(&ATTRIBUTES, ["error.type", "exception.type"]);

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    Server,
    Client,
    Producer,
    Consumer,
    Other,
}

impl SpanKind {
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "SERVER" => Self::Server,
            "CLIENT" => Self::Client,
            "PRODUCER" => Self::Producer,
            "CONSUMER" => Self::Consumer,
            _ => Self::Other,
        }
    }

    /// Whether it answers somebody.
    pub(crate) fn serves(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }

    /// Whether it asks somebody.
    pub(crate) fn asks(self) -> bool {
        matches!(self, Self::Client | Self::Producer)
    }
}

/// One span's attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) attributes: &'a Attributes,
    pub(crate) row: usize,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    pub(crate) status: &'a str,
}

/// Whom a span calls, where no span of the called tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A database: system, server's address and port, name.
    Database(String),
    /// A queue or topic.
    Queue { system: String, name: String },
    /// A service by its name, or a host.
    Named(String),
}

impl<'a> Span<'a> {
    fn get(&self, places: &[usize]) -> Option<&'a str> {
        self.attributes.first(self.row, places)
    }

    /// What it is called in figures: `GET /cart/{id}`, `oteldemo.CartService/AddItem`, `SELECT orders`, `publish orders`; where
    /// no attributes say it, the span's name. Never a raw path.
    pub(crate) fn operation(&self) -> String {
        if let Some(method) = self.get(&HTTP_METHOD) {
            return match self.get(&HTTP_ROUTE) {
                Some(route) => format!("{method} {route}"),
                None => method.to_owned(),
            };
        }
        if self.get(&RPC_SYSTEM).is_some() || self.get(&RPC_SERVICE).is_some() {
            return self.rpc();
        }
        if self.get(&DB_SYSTEM).is_some() {
            let parts = [self.get(&DB_OPERATION), self.get(&DB_COLLECTION)];
            let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            return if text.is_empty() { self.name.to_owned() } else { text };
        }
        if let (Some(_), Some(queue)) = (self.get(&QUEUE_SYSTEM), self.get(&QUEUE)) {
            let operation = self.get(&QUEUE_OPERATION).unwrap_or(match self.kind {
                SpanKind::Producer => "send",
                _ => "process",
            });
            return format!("{operation} {queue}");
        }
        self.name.to_owned()
    }

    /// The full method. One trace has it under three names: with a slash before it, with Node's `grpc.`, and in two attributes.
    fn rpc(&self) -> String {
        let method = self.get(&RPC_METHOD).unwrap_or(self.name);
        let method = method.strip_prefix('/').unwrap_or(method);
        let method = method.strip_prefix("grpc.").unwrap_or(method);
        match self.get(&RPC_SERVICE) {
            Some(service) if !method.contains('/') => format!("{service}/{method}"),
            _ => method.to_owned(),
        }
    }

    /// The service of the remote procedure, by its own name: `oteldemo.PaymentService`.
    pub(crate) fn rpc_service(&self) -> Option<String> {
        if let Some(service) = self.get(&RPC_SERVICE) {
            return Some(service.to_owned());
        }
        self.get(&RPC_SYSTEM)?;
        self.rpc().rsplit_once('/').map(|(service, _)| service.to_owned())
    }

    /// Whom it calls by its attributes alone.
    pub(crate) fn peer(&self) -> Option<Peer> {
        if let Some(system) = self.get(&DB_SYSTEM) {
            let mut name = system.to_owned();
            if let Some(address) = self.get(&ADDRESS) {
                name = format!("{name}@{address}");
                if let Some(port) = self.get(&PORT) {
                    name = format!("{name}:{port}");
                }
            }
            if let Some(database) = self.get(&DB_NAME) {
                name = format!("{name}/{database}");
            }
            return Some(Peer::Database(name));
        }
        if let (Some(system), Some(queue)) = (self.get(&QUEUE_SYSTEM), self.get(&QUEUE)) {
            return Some(Peer::Queue { system: system.to_owned(), name: queue.to_owned() });
        }
        self.get(&PEER).or(self.get(&ADDRESS)).map(|name| Peer::Named(name.to_owned()))
    }

    /// Whether it failed: by its status, or, where that is not set, by what was answered. A server that answers 404 did not fail.
    pub(crate) fn failed(&self) -> bool {
        match self.status {
            "ERROR" => return true,
            "OK" => return false,
            _ => {}
        }
        let asks = self.kind == SpanKind::Client;
        let http = self.get(&HTTP_STATUS).and_then(|code| code.parse::<u16>().ok());
        if let Some(code) = http {
            return (self.kind == SpanKind::Server && code >= 500) || (asks && code >= 400);
        }
        let Some(code) = self.get(&RPC_STATUS) else { return false };
        let ok = code == "0" || code.eq_ignore_ascii_case("OK");
        let fault = ["2", "4", "12", "13", "14", "15"].contains(&code)
            || ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]
                .iter()
                .any(|name| name.eq_ignore_ascii_case(code));
        (asks && !ok) || (self.kind == SpanKind::Server && fault)
    }

    /// What it failed of, where no exception tells: `error.type`, the status of HTTP or RPC, else `error`.
    pub(crate) fn failure(&self) -> String {
        if let Some(kind) = self.get(&ERROR_TYPE) {
            return kind.to_owned();
        }
        if let Some(code) = self.get(&HTTP_STATUS).filter(|code| code.starts_with(['4', '5'])) {
            return format!("HTTP {code}");
        }
        match self.get(&RPC_STATUS).filter(|code| *code != "0") {
            Some(code) => format!("RPC {code}"),
            None => "error".to_owned(),
        }
    }
}
