//! The words of the graph: kinds of nodes and edges, what is known of each, and how they are named.

use std::{collections::BTreeMap, sync::Arc};

use devmesh_schema::TimestampNs;
use serde::{Deserialize, Serialize};

/// Bytes of a name or of a part of an id; a longer one is cut and ends in a hash.
pub(crate) const NAME_BYTES: usize = 200;
/// Bytes of a property's value.
pub(crate) const VALUE_BYTES: usize = 400;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Something that failed in one way: a type of exception or status, of one service.
    Error,
    /// A stretch in which things were abnormal.
    Incident,
    /// What something runs on: a host, a pod, a container.
    Node,
    /// What a service does when it is asked: a route, a method.
    Operation,
    /// A pattern of log bodies.
    Pattern,
    /// A machine of the fleet.
    Server,
    /// A service; also a database, a queue, a foreign host that services call, and the users who call them.
    Service,
}

impl Kind {
    /// All, by their names.
    pub const ALL: [Self; 7] =
        [Self::Error, Self::Incident, Self::Node, Self::Operation, Self::Pattern, Self::Server, Self::Service];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Incident => "Incident",
            Self::Node => "Node",
            Self::Operation => "Operation",
            Self::Pattern => "Pattern",
            Self::Server => "Server",
            Self::Service => "Service",
        }
    }

    /// What ids of it begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Error => "error:",
            Self::Incident => "incident:",
            Self::Node => "node:",
            Self::Operation => "operation:",
            Self::Pattern => "pattern:",
            Self::Server => "server:",
            Self::Service => "service:",
        }
    }

    /// The kind of this name, whatever the case.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// An incident → what it concerns.
    Affects,
    /// A service → a service or an operation that it calls.
    Calls,
    /// An error or incident → what brought it about.
    CausedBy,
    /// A service or operation → its errors; a service → its patterns.
    Emits,
    /// A service → its containers, pods and hosts; a container → its pod; a pod → its host; an operation → its service.
    RunsOn,
}

impl Relation {
    /// All, by their names.
    pub const ALL: [Self; 5] = [Self::Affects, Self::Calls, Self::CausedBy, Self::Emits, Self::RunsOn];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Affects => "AFFECTS",
            Self::Calls => "CALLS",
            Self::CausedBy => "CAUSED_BY",
            Self::Emits => "EMITS",
            Self::RunsOn => "RUNS_ON",
        }
    }

    /// The relation of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.name() == name)
    }
}

/// When something was seen, by the time of the records that show it; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// First.
    pub first: TimestampNs,
    /// Last.
    pub last: TimestampNs,
}

impl Seen {
    /// At one moment.
    pub fn at(time: TimestampNs) -> Self {
        Self { first: time, last: time }
    }

    /// Takes in another.
    pub fn widen(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// How often, and how it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How often: calls, spans, records.
    pub count: u64,
    /// Of them, failed.
    pub errors: u64,
    /// Nanoseconds that they took, together.
    pub duration_ns: u64,
}

impl Figures {
    /// Of one call.
    pub fn call(failed: bool, duration_ns: i64) -> Self {
        Self { count: 1, errors: u64::from(failed), duration_ns: u64::try_from(duration_ns).unwrap_or(0) }
    }

    /// Of `count` records.
    pub fn records(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.errors = self.errors.saturating_add(other.errors);
        self.duration_ns = self.duration_ns.saturating_add(other.duration_ns);
    }
}

/// What else is known, by name.
pub type Properties = BTreeMap<String, String>;

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its id: the kind in lower case, a colon, and what it is known by. `service:cart`, `operation:cart/GET /cart`.
    pub id: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// As people call it.
    pub name: Arc<str>,
    /// What else is known.
    pub properties: Properties,
    /// When it was seen.
    pub seen: Seen,
    /// How often.
    pub figures: Figures,
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// From this node,
    pub from: Arc<str>,
    /// to this one.
    pub to: Arc<str>,
    /// What it says.
    pub relation: Relation,
    /// What else is known.
    pub properties: Properties,
    /// When it was seen.
    pub seen: Seen,
    /// How often.
    pub figures: Figures,
}

/// What was seen since the last changes. Each node and edge stands in it once; the ends of its edges stand in these or earlier changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The nodes, with figures to be added.
    pub nodes: Vec<Node>,
    /// The edges, likewise.
    pub edges: Vec<Edge>,
    /// Nodes that turned out to be none: patterns that have become part of others.
    pub gone: Vec<Arc<str>>,
    /// When they were taken in, by the server's clock.
    pub now: TimestampNs,
    /// Everything that came before this time is in the graph with them.
    pub taken: Option<TimestampNs>,
}

impl Changes {
    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty() && self.gone.is_empty()
    }
}

/// How much a graph holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Edges.
    pub edges: usize,
    /// Nodes and edges that found no room, since the start.
    pub refused: u64,
}

/// The id of a thing of a kind that is known by these parts.
pub fn identity(kind: Kind, parts: &[&str]) -> String {
    let mut id = String::from(kind.prefix());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            id.push('/');
        }
        id.push_str(&cut(part, NAME_BYTES));
    }
    id
}

/// A text of bounded length: a longer one ends in a hash, so that two stay two.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(bytes.saturating_sub(20))];
    format!("{kept}…{:016x}", fnv(text.as_bytes()))
}

/// FNV-1a: the same in every process, as an id must be.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(&kind.name().to_uppercase()), Some(kind));
            assert_eq!(kind.prefix(), format!("{}:", kind.name().to_lowercase()));
        }
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.name()));
        assert!(Relation::ALL.iter().all(|relation| Relation::of(relation.name()) == Some(*relation)));
    }

    #[test]
    fn long_names_are_cut_and_stay_two() {
        let (a, b) = ("ä".repeat(200) + "a", "ä".repeat(200) + "b");
        let (id_a, id_b) = (identity(Kind::Service, &[&a]), identity(Kind::Service, &[&b]));
        assert!(id_a != id_b && id_a.len() < NAME_BYTES + 20, "{id_a} {id_b}");
        assert_eq!(identity(Kind::Operation, &["cart", "GET /cart"]), "operation:cart/GET /cart");
    }
}
