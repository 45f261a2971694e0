//! The doors as senders see them: real listeners, real HTTP and gRPC clients, and a sink that records what it is given.
//!
//! Tests of OTLP begin with the number of their line in the conformance checklist (`o01_` to `o60_`), tests of bad input
//! with that of their row in the bad-input catalogue (`a3_`, `b15_`, `c7_`, `g10_`), tests of a requirement with its (`s6_`).

#![allow(clippy::unwrap_used, reason = "a helper that fails a test may panic")]

mod bad_input_direct;
mod bad_input_grpc;
mod bad_input_http;
mod bad_input_remote_write;
mod bad_input_tokens;
mod client_certificates;
mod direct_logs;
mod direct_traces;
mod faults;
mod http2_floods;
mod otlp_json;
mod otlp_limits;
mod otlp_outcome;
mod otlp_protobuf;
mod otlp_same_rows;
mod otlp_transport;
mod rates;
mod remote_write;
mod scrape;
mod serving;
mod support;
mod tls;
