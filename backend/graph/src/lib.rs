//! The graph: what the telemetry is about, and how it hangs together since when and until when.
//!
//! Nodes are services (and the databases, queues and foreign hosts that they call), the hosts, pods and containers that they run on,
//! operations, errors, patterns of logs, incidents and servers of the fleet. Edges say who calls whom, what runs on what, who emits
//! what, what an incident affects, and which error was caused by which. Each has the time in which it was seen.
//!
//! ```text
//! rows as they are committed ─ rows (columns) ─ observer ─┬ resource, operation, failure (what one row tells)
//!                                                         ├ pairs (what two spans tell together, whichever comes first)
//!                                                         └ ledger (what changed, each thing once) ─ Graph::apply
//! ```
//!
//! A [`Graph`] keeps it: [`Memory`] in the process. Nothing here reads a clock or a network by itself: the time is an
//! argument, and rows are handed in.

mod error;
mod failure;
mod ledger;
mod memory;
mod model;
#[cfg(feature = "neo4j")]
pub mod neo4j;
mod observer;
mod operation;
mod pairs;
mod resource;
mod rows;
mod saved;
pub mod statements;

use std::fmt::Debug;

use async_trait::async_trait;
use devmesh_schema::TimestampNs;

pub use error::Error;
pub use memory::Memory;
pub use model::{Changes, Edge, Figures, Kind, Node, Properties, Relation, Seen, Size, identity};
pub use observer::{IncidentSeen, Observer, ServerSeen};
pub use rows::Rows;

/// Which nodes are asked for.
#[derive(Clone, Debug, Default)]
pub struct NodeQuery {
    /// Of this kind alone.
    pub kind: Option<Kind>,
    /// Whose name or id has this text in it, whatever the case.
    pub text: Option<String>,
    /// Seen in this time.
    pub range: Range,
    /// So many at most.
    pub limit: usize,
}

/// A range of time, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From.
    pub start: TimestampNs,
    /// Until, exclusive.
    pub end: TimestampNs,
}

impl Default for Range {
    fn default() -> Self {
        Self { start: TimestampNs::MIN, end: TimestampNs::MAX }
    }
}

impl Range {
    /// Whether something was seen in it.
    pub fn meets(&self, seen: &Seen) -> bool {
        seen.first < self.end && seen.last >= self.start
    }
}

/// What is around a node.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Edges away at most.
    pub depth: usize,
    /// By edges seen in this time.
    pub range: Range,
    /// So many nodes at most, the nearest first.
    pub limit: usize,
}

/// A part of the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The nodes, the nearest first, those as near by their ids; of a path: in its order.
    pub nodes: Vec<Node>,
    /// The edges between them, by their ids; of a path: in its order.
    pub edges: Vec<Edge>,
    /// How far each node is, in edges.
    pub distances: Vec<usize>,
    /// Whether there is more than the limits allow.
    pub truncated: bool,
}

/// A way from one node to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Its nodes and edges, in order.
    pub part: Part,
    /// Whether all edges lead from the first node to the last. Where no such way exists, edges are followed both ways.
    pub directed: bool,
}

/// Keeps the graph and answers from it. Implementations answer alike.
#[async_trait]
pub trait Graph: Debug + Send + Sync {
    /// Takes in what was seen: figures are added, times widened, properties replaced.
    ///
    /// # Errors
    /// It cannot be written now; the same may be tried again.
    async fn apply(&self, changes: &Changes) -> Result<(), Error>;
    /// Nodes by kind, name and id.
    ///
    /// # Errors
    /// It cannot be read.
    async fn nodes(&self, query: &NodeQuery) -> Result<Part, Error>;
    /// Edges seen in a range of time, by their ends.
    ///
    /// # Errors
    /// It cannot be read.
    async fn edges(&self, range: Range, limit: usize) -> Result<Part, Error>;
    /// A node and what is around it; `None` where there is no such node.
    ///
    /// # Errors
    /// It cannot be read.
    async fn neighbours(&self, id: &str, around: Around) -> Result<Option<Part>, Error>;
    /// A shortest path; `None` where there is none in the range, or no such nodes.
    ///
    /// # Errors
    /// It cannot be read.
    async fn path(&self, from: &str, to: &str, range: Range) -> Result<Option<Path>, Error>;
    /// Forgets what was last touched before `before`, and the oldest of what is more than `nodes`. Answers how many nodes went.
    ///
    /// # Errors
    /// It cannot be written.
    async fn prune(&self, before: TimestampNs, nodes: usize) -> Result<usize, Error>;
    /// How much there is.
    ///
    /// # Errors
    /// It cannot be read.
    async fn size(&self) -> Result<Size, Error>;
    /// The time until which everything has been taken in; `None` where nothing has.
    ///
    /// # Errors
    /// It cannot be read.
    async fn taken(&self) -> Result<Option<TimestampNs>, Error>;
    /// Makes durable what was taken in.
    ///
    /// # Errors
    /// It cannot be written.
    async fn keep(&self) -> Result<(), Error>;
}
