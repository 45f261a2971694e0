//! DataFusion over the store: tables, functions, views, limits.
//!
//! The tables are those of [`devmesh_schema::tables`]; what is stored is [`devmesh_schema::stored`]. A query is planned
//! over the first and, file by file and batch by batch, [`adapter`] turns it into one over the second, so that only
//! the stored columns it needs are read and everything else is made of them late.
//!
//! ```text
//! Engine::sql ─ guard (one statement that reads, of bounded size)
//!             ─ session (tables, views, functions on the list)
//!             ─ in_store (the newest rows, groups: what the store does itself)
//!             ─ table (filters → store.scan, fragments → a plan) ─ adapter (columns of the table → columns of a file)
//!             ─ rows, bounded in time, memory and number
//! ```

pub mod adapter;
pub mod alerts;
mod asked;
mod body_test;
mod derive;
pub mod engine;
pub mod error;
pub mod functions;
pub mod graph;
mod guard;
mod ids;
mod in_store;
pub mod incidents;
mod join_filters;
pub mod limits;
pub mod meaning;
mod memory;
mod patterns;
mod pauses;
mod planner;
mod pool;
pub mod prometheus;
mod pushdown;
pub mod rest;
mod scope;
mod session;
pub mod stored_expr;
mod table;

pub use engine::{Answer, Engine, Rows, SqlOptions, Stats};
pub use error::Error;
pub use limits::Limits;
pub use meaning::SemanticSearch;
