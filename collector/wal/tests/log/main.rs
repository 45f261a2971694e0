//! The log's promises, on real files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod disk;
mod group_commit;
mod model;
mod reader;
mod support;
