//! The agent: its queue, its way to a server, the journal, and the program as it is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forward;
mod journal;
mod journal_faults;
mod journal_fields;
mod program;
mod queue;
mod support;
