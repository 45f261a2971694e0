//! The program as its users meet it: started, sent to, asked, stopped. Every test starts a server of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by it, and clippy knows only functions marked #[test]")]

mod access;
mod anomalies;
mod api;
mod away;
mod bad_questions;
mod bad_settings;
mod certificates;
mod commands;
mod console;
mod explain;
mod graph;
mod heavy_questions;
mod mcp;
mod models;
mod moving;
mod patterns;
mod postgres;
mod prometheus;
mod rates;
mod red;
mod retention;
mod rules;
mod safeguards;
mod search;
mod secured;
mod server;
mod serving;
mod sql;
