//! What was seen since the last changes: each node and edge once, whatever number of rows showed it.
//!
//! Things get small numbers here, so that a row costs a hash and no text. What is known of them stays until there are too
//! many; then everything is forgotten and learned again from the rows that follow.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use devmesh_schema::{TimestampNs, limits};
use foldhash::fast::FixedState;

use crate::model::{Changes, Edge, Figures, Kind, Node, Properties, Relation, Seen, VALUE_BYTES, cut, identity};

/// The number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Number(u32);

/// How one calls another, as `service_edges` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Connection {
    /// By a call that both have seen.
    Call,
    /// By a message.
    Messaging,
    /// A database.
    Database,
    /// Something that sends no spans.
    Virtual,
}

impl Connection {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "",
            Self::Messaging => "messaging_system",
            Self::Database => "database",
            Self::Virtual => "virtual_node",
        }
    }
}

/// What an edge is, besides its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) connection: Connection,
    /// The caller's own span is missing.
    pub(crate) inferred: bool,
}

pub(crate) const PLAIN: Said = Said { connection: Connection::Call, inferred: false };

#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    kind: Kind,
    name: Arc<str>,
    /// Its id without the kind.
    key: Arc<str>,
    properties: Properties,
    /// What was seen since the last changes.
    news: Option<(Seen, Figures)>,
    /// Things of each kind that belong to it.
    owned: [u32; Kind::ALL.len()],
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    numbers: HashMap<u64, Number, FixedState>,
    /// The service or host of a name, whatever else it is known by; the last that was seen.
    named: HashMap<u64, Number, FixedState>,
    entries: Vec<Entry>,
    touched: Vec<Number>,
    edges: HashMap<(Number, Number, Relation), (Seen, Figures, Said), FixedState>,
    refused: u64,
}

/// A hash of what something is known by.
pub(crate) fn key(parts: &[&str]) -> u64 {
    let mut hasher = FixedState::with_seed(7).build_hasher();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// How many things of a kind one thing may own.
fn room(kind: Kind) -> u32 {
    match kind {
        Kind::Operation => limits::GRAPH_OPERATIONS,
        Kind::Error => limits::GRAPH_ERRORS,
        Kind::Pattern => limits::GRAPH_PATTERNS,
        Kind::Service => limits::GRAPH_PEERS,
        _ => u32::MAX,
    }
}

impl Ledger {
    /// The node of a kind that is known by `parts`, which `make` names and describes where it is new. `owner`: what it belongs to,
    /// which has room for a number of them. `None` where there is no room.
    pub(crate) fn node(
        &mut self,
        kind: Kind,
        parts: &[&str],
        owner: Option<Number>,
        make: impl FnOnce() -> (String, Properties),
    ) -> Option<Number> {
        let mut hash = key(parts);
        hash ^= (kind as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(number) = self.numbers.get(&hash) {
            return Some(*number);
        }
        if let Some(owner) = owner {
            let owned = &mut self.entries[owner.0 as usize].owned[kind as usize];
            if *owned >= room(kind) {
                self.refused += 1;
                return None;
            }
            *owned += 1;
        }
        let number = Number(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let (name, properties) = make();
        let name = cut(&name, VALUE_BYTES);
        if matches!(kind, Kind::Service | Kind::Node) {
            self.named.insert(key(&[kind.name(), &name]), number);
        }
        let properties = properties.into_iter().map(|(key, value)| (key, cut(&value, VALUE_BYTES))).collect();
        let id = identity(kind, parts);
        self.entries.push(Entry {
            key: id[kind.prefix().len()..].into(),
            id: id.into(),
            kind,
            name: name.into(),
            properties,
            news: None,
            owned: [0; Kind::ALL.len()],
        });
        self.numbers.insert(hash, number);
        Some(number)
    }

    /// The service or host that goes by a name.
    pub(crate) fn named(&self, kind: Kind, name: &str) -> Option<Number> {
        self.named.get(&key(&[kind.name(), name])).copied()
    }

    /// What ids of things that belong to a service begin with.
    pub(crate) fn name(&self, service: Number) -> Arc<str> {
        Arc::clone(&self.entries[service.0 as usize].key)
    }

    /// Sets what else is known of a node.
    pub(crate) fn describe(&mut self, node: Number, name: &str, value: &str) {
        let properties = &mut self.entries[node.0 as usize].properties;
        if properties.get(name).is_none_or(|known| known != value) {
            properties.insert(name.to_owned(), cut(value, VALUE_BYTES));
        }
    }

    /// A node was seen.
    pub(crate) fn see(&mut self, node: Number, seen: Seen, figures: Figures) {
        match &mut self.entries[node.0 as usize].news {
            Some((before, sum)) => {
                before.widen(seen);
                sum.add(figures);
            }
            news => {
                *news = Some((seen, figures));
                self.touched.push(node);
            }
        }
    }

    /// An edge was seen, and so were its ends.
    pub(crate) fn link(&mut self, edge: (Number, Relation, Number), seen: Seen, figures: Figures, said: Said) {
        let (from, relation, to) = edge;
        if from == to {
            return;
        }
        self.see(from, seen, Figures::default());
        self.see(to, seen, Figures::default());
        let known = self.edges.entry((from, to, relation));
        let (before, sum, how) = known.or_insert((seen, Figures::default(), said));
        before.widen(seen);
        sum.add(figures);
        how.connection = how.connection.min(said.connection);
        how.inferred &= said.inferred;
    }

    /// Things that found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many changes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.touched.len() + self.edges.len()
    }

    /// Whether there is more known than should be.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= limits::GRAPH_NODES * 2
    }

    /// What was seen since the last call.
    pub(crate) fn take(&mut self, now: TimestampNs) -> Changes {
        let mut changes = Changes { now, ..Changes::default() };
        for number in self.touched.drain(..) {
            let entry = &mut self.entries[number.0 as usize];
            let Some((seen, figures)) = entry.news.take() else { continue };
            let (id, name) = (Arc::clone(&entry.id), Arc::clone(&entry.name));
            let properties = entry.properties.clone();
            changes.nodes.push(Node { id, kind: entry.kind, name, properties, seen, figures });
        }
        let id = |number: Number| Arc::clone(&self.entries[number.0 as usize].id);
        for ((from, to, relation), (seen, figures, said)) in self.edges.drain() {
            let mut properties = Properties::new();
            if relation == Relation::Calls && said.connection != Connection::Call {
                properties.insert("connection_type".to_owned(), said.connection.name().to_owned());
            }
            if said.inferred {
                properties.insert("inferred".to_owned(), "true".to_owned());
            }
            changes.edges.push(Edge { from: id(from), to: id(to), relation, properties, seen, figures });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ledger: &mut Ledger, name: &str) -> Number {
        ledger.node(Kind::Service, &[name], None, || (name.to_owned(), Properties::new())).unwrap()
    }

    #[test]
    fn what_many_rows_show_is_one_change() {
        let mut ledger = Ledger::default();
        let (a, b) = (service(&mut ledger, "a"), service(&mut ledger, "b"));
        for time in [5, 3, 9] {
            ledger.link((a, Relation::Calls, b), Seen::at(time), Figures::call(time == 3, 10), PLAIN);
        }
        assert_eq!(service(&mut ledger, "a"), a);
        let changes = ledger.take(1);
        let [edge] = changes.edges.as_slice() else { panic!("{changes:?}") };
        assert_eq!(
            (edge.seen, edge.figures),
            (Seen { first: 3, last: 9 }, Figures { count: 3, errors: 1, duration_ns: 30 })
        );
        assert_eq!(changes.nodes.len(), 2);
        assert!(ledger.take(2).is_empty());
    }

    #[test]
    fn a_service_has_room_for_a_number_of_operations() {
        let mut ledger = Ledger::default();
        let owner = service(&mut ledger, "a");
        let mut node = |n: u32| {
            ledger.node(Kind::Operation, &["a", &n.to_string()], Some(owner), || (n.to_string(), Properties::new()))
        };
        assert!((0..limits::GRAPH_OPERATIONS).all(|n| node(n).is_some()));
        assert!(node(limits::GRAPH_OPERATIONS).is_none() && node(0).is_some());
        assert_eq!(ledger.refused(), 1);
    }
}
