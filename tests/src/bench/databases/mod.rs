//! devmesh before a database, against the plain way into it and out of it: MariaDB, and the ClickHouse engine, both as the
//! tests start them (`tests/install.sh` brings them).
//!
//! - MariaDB: records until their rows are in `log_events`, against a program of multi-row INSERTs.
//! - ClickHouse: records by CPU second of devmesh, against the OpenTelemetry Collector with its ClickHouse exporter.
//! - Both: queries that run in the database, against the same asked of it directly.
//!
//! `BENCH_DATABASE_LOGS` (300,000): records of one load. `BENCH_DATABASE_ROWS` (1,000,000) log records and
//! `BENCH_DATABASE_SPANS` (200,000) are queried.
#![allow(clippy::print_stdout, reason = "the output of a benchmark is what it is for")]

mod clickhouse;
mod mariadb;
mod mysql;
mod queries;

use std::{path::Path, time::Duration};

use anyhow::Result;
use devmesh_demo::{Plan, Request};

use super::{load, plan, size};
use crate::{Server, client, server::Start, until};

const CONNECTIONS: usize = 4;
/// How long a load may take to reach the database.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures and prints.
///
/// # Errors
/// Something cannot be started, or rows are missing.
pub fn run() -> Result<()> {
    mariadb::run()?;
    clickhouse::run()
}

/// The records of one load.
fn logs() -> Vec<Request> {
    devmesh_demo::logs(plan(size("BENCH_DATABASE_LOGS", 300_000))).collect()
}

fn count(requests: &[Request]) -> u64 {
    requests.iter().map(|request| request.records).sum()
}

/// A devmesh before this database, which has its tables.
fn devmesh(dir: &Path, url: &str) -> Result<Server> {
    // Else the last rows of a load would wait for a few seconds, with nothing to do.
    let start = Start::new(dir)?.env("DEVMESH_STORE_DATABASE_FLUSH", "500ms").args(&["--store", url]);
    let server = start.ready()?;
    ready(&server)?;
    Ok(server)
}

fn ready(server: &Server) -> Result<()> {
    let is_ready = || Ok((client::get(&server.url("http", "/ready"))?.status == 200).then_some(()));
    until(Duration::from_secs(60), "devmesh has its tables in the database", is_ready)
}

/// Sends what is missing of the records that are queried; answers how many log records and spans there are then.
fn fill(server: &Server, have: u64) -> Result<(u64, u64)> {
    let more = Plan { seed: 2, ..plan(size("BENCH_DATABASE_ROWS", 1_000_000).saturating_sub(have)) };
    let mut logs = have;
    let mut requests = devmesh_demo::logs(more);
    loop {
        // A part at a time: together they need much memory.
        let part: Vec<Request> = requests.by_ref().take(100).collect();
        if part.is_empty() {
            break;
        }
        logs += load::send(server.door("otlp-http"), "/v1/logs", &part, CONNECTIONS, None)?.records;
    }
    let spans: Vec<Request> = devmesh_demo::traces(plan(size("BENCH_DATABASE_SPANS", 200_000))).collect();
    let spans = load::send(server.door("otlp-http"), "/v1/traces", &spans, CONNECTIONS, None)?.records;
    Ok((logs, spans))
}

/// Waits until a count in the database is this; asks seldom, so that asking costs little.
fn wait_for(count: u64, mut look: impl FnMut() -> Result<u64>) -> Result<()> {
    until(PATIENCE, &format!("{count} rows in the database"), || {
        let found = look()?;
        if found < count {
            std::thread::park_timeout(Duration::from_millis(80));
            anyhow::bail!("{found} rows");
        }
        Ok(Some(()))
    })
}
