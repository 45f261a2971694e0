//! Into MariaDB and out of it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use devmesh_demo::Request;

use super::{
    CONNECTIONS, count, devmesh, fill, logs,
    mysql::{Client, Row},
    queries::{compare, queries},
    wait_for,
};
use crate::{
    Server,
    bench::{load, process},
    program,
};

#[path = "../../../../backend/store/tests/mariadb/server.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "the tests' own way to start a server")]
mod server;

/// Rows of one INSERT, and INSERTs of one transaction, of the plain program.
const ROWS: usize = 1000;
const STATEMENTS: usize = 10;
/// A user without a password, for this benchmark alone.
const USER: &str = "bench";
/// The share of the plain program's rate that devmesh has to reach.
const REQUIRED: f64 = 0.9;

pub(super) fn run() -> Result<()> {
    // A server as one has it for a million rows: they fit into its memory, and its log does not stop it.
    let maria = server::Server::new(&["--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G"]);
    maria.execute(&format!("CREATE USER {USER}@'127.0.0.1'; GRANT ALL ON *.* TO {USER}@'127.0.0.1'"));
    let requests = logs();
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let database = maria.database();
    let (ours, server) = through_devmesh(&maria, &database, dir.path(), &requests)?;
    println!("| into MariaDB | records/s | CPU µs a record | of it the server's |\n|---|---|---|---|");
    ours.print("devmesh, until the rows are in log_events");
    let rows = literals(&maria, &database, count(&requests))?;
    let mut plain: Vec<Rate> = Vec::new();
    for connections in [1, 2, 4] {
        let rate = plain_program(&maria, &database, &rows, connections)?;
        rate.print(&format!("multi-row INSERTs, {connections} connections"));
        plain.push(rate);
    }
    drop(rows);
    let again = {
        let dir = tempfile::tempdir_in(program::root().join("target"))?;
        let (again, _server) = through_devmesh(&maria, &maria.database(), dir.path(), &requests)?;
        again
    };
    again.print("devmesh, once more");
    let best = plain.iter().map(|rate| rate.per_second).fold(0.0, f64::max);
    let ours = f64::midpoint(ours.per_second, again.per_second);
    let verdict = if ours >= best * REQUIRED { "ok" } else { "too slow" };
    println!("devmesh reaches {:.2} of the best of them; {REQUIRED} is required: {verdict}\n", ours / best);
    ask(&maria, &database, &server, count(&requests))
}

/// How fast records came in.
struct Rate {
    per_second: f64,
    /// µs of CPU a record: of the process that sends rows to the server (0: not counted), and of the server.
    cpu: f64,
    server_cpu: f64,
}

impl Rate {
    fn print(&self, name: &str) {
        println!("| {name} | {:.0} | {:.1} | {:.1} |", self.per_second, self.cpu + self.server_cpu, self.server_cpu);
    }
}

fn through_devmesh(
    maria: &server::Server,
    database: &str,
    dir: &std::path::Path,
    requests: &[Request],
) -> Result<(Rate, Server)> {
    let server = devmesh(dir, &maria.url(database))?;
    let mut client = Client::connect(maria.port(), USER, database)?;
    rest(&mut client)?;
    let records = count(requests);
    let engine = maria.pid().context("MariaDB does not run")?;
    let before = (process::cpu_seconds(server.pid()), process::cpu_seconds(engine));
    let begin = Instant::now();
    load::send(server.door("otlp-http"), "/v1/logs", requests, CONNECTIONS, None)?;
    // Cheap, and the last that is true: then they are counted.
    wait_for(records, || number(&mut client, "SELECT COALESCE(MAX(id), 0) FROM log_events"))?;
    wait_for(records, || number(&mut client, "SELECT COUNT(*) FROM log_events"))?;
    let seconds = begin.elapsed().as_secs_f64();
    let each = |seconds: f64| seconds * 1e6 / records as f64;
    let rate = Rate {
        per_second: records as f64 / seconds,
        cpu: each(process::cpu_seconds(server.pid()) - before.0),
        server_cpu: each(process::cpu_seconds(engine) - before.1),
    };
    Ok((rate, server))
}

fn number(client: &mut Client, sql: &str) -> Result<u64> {
    let rows = client.query(sql)?;
    let value = rows.first().and_then(|row| row.first()).and_then(|value| value.as_deref());
    let text = std::str::from_utf8(value.with_context(|| format!("{sql} gave nothing"))?)?;
    text.parse().with_context(|| format!("{sql} gave {text}"))
}

/// Waits until the server has written most of what the load before has changed, but not for ever.
fn rest(client: &mut Client) -> Result<()> {
    let begin = Instant::now();
    loop {
        let status = client.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")?;
        let pages = status.first().and_then(|row| row.get(1)).and_then(|value| value.as_deref()).unwrap_or_default();
        let pages: u64 = std::str::from_utf8(pages)?.parse()?;
        if pages < 1000 || begin.elapsed() > Duration::from_secs(10) {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// The rows of the table, each as a literal of an INSERT.
fn literals(maria: &server::Server, database: &str, records: u64) -> Result<Vec<Vec<u8>>> {
    let mut client = Client::connect(maria.port(), USER, database)?;
    let mut literals = Vec::new();
    for first in (1..=records).step_by(10_000) {
        let rows = client.query(&format!(
            "SELECT timestamp, source, service, host, level, trace_id, span_id, event_type, error_code, message, meta_json \
             FROM log_events WHERE id BETWEEN {first} AND {}",
            first + 9999
        ))?;
        literals.extend(rows.iter().map(literal));
    }
    ensure!(literals.len() as u64 == records, "{} of {records} rows were read", literals.len());
    Ok(literals)
}

fn literal(row: &Row) -> Vec<u8> {
    let mut out = vec![b'('];
    for value in row {
        if out.len() > 1 {
            out.push(b',');
        }
        let Some(value) = value else {
            out.extend_from_slice(b"NULL");
            continue;
        };
        out.push(b'\'');
        for byte in value {
            match byte {
                b'\'' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                0 => out.extend_from_slice(b"\\0"),
                byte => out.push(*byte),
            }
        }
        out.push(b'\'');
    }
    out.push(b')');
    out
}

/// The program that devmesh is measured by. Its rows are text already: it only puts them together and sends them.
fn plain_program(maria: &server::Server, like: &str, rows: &[Vec<u8>], connections: usize) -> Result<Rate> {
    let mut client = Client::connect(maria.port(), USER, like)?;
    client.query("CREATE DATABASE IF NOT EXISTS plain")?;
    client.query(&format!("CREATE OR REPLACE TABLE plain.log_events LIKE {like}.log_events"))?;
    rest(&mut client)?;
    let engine = maria.pid().context("MariaDB does not run")?;
    let before = process::cpu_seconds(engine);
    let next = AtomicUsize::new(0);
    let parts: Vec<&[Vec<u8>]> = rows.chunks(ROWS * STATEMENTS).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| insert(maria.port(), &parts, &next))).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_) => bail!("a thread of the plain program panicked"),
            }
        }
        Ok(())
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let server_cpu = (process::cpu_seconds(engine) - before) * 1e6 / rows.len() as f64;
    let found = number(&mut client, "SELECT COUNT(*) FROM plain.log_events")?;
    ensure!(found == rows.len() as u64, "the plain program stored {found} of {} rows", rows.len());
    Ok(Rate { per_second: rows.len() as f64 / seconds, cpu: 0.0, server_cpu })
}

fn insert(port: u16, parts: &[&[Vec<u8>]], next: &AtomicUsize) -> Result<()> {
    let mut client = Client::connect(port, USER, "plain")?;
    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        client.query("START TRANSACTION")?;
        for rows in part.chunks(ROWS) {
            let mut statement = b"INSERT INTO log_events (timestamp, source, service, host, level, trace_id, span_id, \
                                  event_type, error_code, message, meta_json) VALUES "
                .to_vec();
            for row in rows {
                statement.extend_from_slice(row);
                statement.push(b',');
            }
            statement.pop();
            client.send(&statement)?;
        }
        client.query("COMMIT")?;
    }
    Ok(())
}

fn ask(maria: &server::Server, database: &str, server: &Server, have: u64) -> Result<()> {
    let (logs, spans) = fill(server, have)?;
    let mut client = Client::connect(maria.port(), USER, database)?;
    wait_for(logs, || number(&mut client, "SELECT COALESCE(MAX(id), 0) FROM log_events"))?;
    wait_for(spans, || number(&mut client, "SELECT COALESCE(MAX(id), 0) FROM spans"))?;
    wait_for(logs, || number(&mut client, "SELECT COUNT(*) FROM log_events"))?;
    client.query("ANALYZE TABLE log_events, spans")?;
    client.query("DROP DATABASE plain")?;
    rest(&mut client)?;
    println!("{logs} log records and {spans} spans in MariaDB");
    compare(server, "MariaDB", &queries(server)?, |query| Ok(client.query(&query.mariadb)?.len()))
}
