//! The figures of the README: `cargo run --release -p devmesh-tests --bin bench -- [ingest] [ack] [start] [replay] [forward] [queries] [search] [graph] [databases]`.
//!
//! Without arguments all of them. Client and server share the machine; figures are server CPU seconds, so let nothing
//! else run meanwhile.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use devmesh_demo::{Plan, Request};
use devmesh_tests::{
    Server,
    bench::{databases, graph, load, plan, process, search, settle, size},
    client, program, until,
};

const CONNECTIONS: usize = 4;

type Benchmark = (&'static str, fn() -> Result<()>);

const ALL: [Benchmark; 9] = [
    ("start", start),
    ("ingest", ingest),
    ("ack", ack),
    ("replay", replay),
    ("forward", forward),
    ("queries", queries),
    ("search", search::run),
    ("graph", graph::run),
    ("databases", databases::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, bench) in ALL {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            println!("## {name}");
            bench()?;
        }
    }
    Ok(())
}

fn start() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let begin = Instant::now();
    let server = Server::start(dir.path())?;
    let ready = begin.elapsed();
    settle(server.pid())?;
    println!("ready after {} ms, idle memory {:.0} MiB", ready.as_millis(), process::memory_mib(server.pid(), "VmRSS"));
    Ok(())
}

fn ingest() -> Result<()> {
    measure_ingest("logs", "/v1/logs", devmesh_demo::logs(plan(size("BENCH_LOGS", 1_000_000))).collect())?;
    measure_ingest("spans", "/v1/traces", devmesh_demo::traces(plan(size("BENCH_SPANS", 1_000_000))).collect())?;
    measure_ingest(
        "metric points",
        "/v1/metrics",
        devmesh_demo::metrics(plan(size("BENCH_POINTS", 1_000_000))).collect(),
    )
}

fn measure_ingest(what: &str, path: &str, requests: Vec<Request>) -> Result<()> {
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let server = Server::start(dir.path())?;
    let before = settle(server.pid())?;
    let outcome = load::send(server.door("otlp-http"), path, &requests, CONNECTIONS, None)?;
    let at_ack = process::cpu_seconds(server.pid()) - before;
    let peak = process::memory_mib(server.pid(), "VmHWM");
    let pid = server.pid();
    settle(pid)?;
    // Ending the server writes what is still in memory; its CPU time is read while it ends.
    server.signal(rustix::process::Signal::TERM)?;
    let mut settled = process::cpu_seconds(pid) - before;
    until(Duration::from_secs(120), "the server to end", || {
        settled = settled.max(process::cpu_seconds(pid) - before);
        let ended = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z"));
        Ok(ended.then_some(()))
    })?;
    // The log's next segment is allocated before it is used and holds no records now.
    let data = dir.path().join("data");
    let disk = process::disk_bytes(&data) - process::disk_bytes(&data.join("wal"));
    println!(
        "{what}: {:.0} a CPU second settled ({:.0} at ack, {:.0} MB/CPU-s), {:.0}/s wall, ack p50 {:.1} ms p99 {:.1} ms, peak {peak:.0} MiB, {:.1} bytes each on disk ({} sent of {:.0} bytes)",
        outcome.records as f64 / settled,
        outcome.records as f64 / at_ack,
        outcome.bytes as f64 / settled / 1e6,
        outcome.records as f64 / outcome.seconds,
        outcome.quantile(0.5),
        outcome.quantile(0.99),
        disk as f64 / outcome.records as f64,
        outcome.records,
        outcome.bytes as f64 / outcome.records as f64,
    );
    Ok(())
}

fn ack() -> Result<()> {
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let server = Server::start(dir.path())?;
    let requests: Vec<Request> = devmesh_demo::logs(Plan { batch: 100, ..plan(size("BENCH_ACK", 400_000)) }).collect();
    let outcome = load::send(server.door("otlp-http"), "/v1/logs", &requests, 8, Some(20_000.0))?;
    println!(
        "offered 20,000 logs/s in requests of 100: ack p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        outcome.quantile(0.5),
        outcome.quantile(0.99),
        outcome.quantile(1.0)
    );
    Ok(())
}

fn replay() -> Result<()> {
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    // Nothing can be flushed while a file stands where the tables' directory should, so that all of it has to be replayed.
    let server = devmesh_tests::server::Start::new(dir.path())?.env("DEVMESH_STORE_MEMORY", "16GiB").ready()?;
    let (tables, aside) = (dir.path().join("data/tables"), dir.path().join("aside"));
    std::fs::rename(&tables, &aside)?;
    std::fs::write(&tables, "in the way")?;
    let mut bytes = 0;
    for request in devmesh_demo::logs(plan(2_000_000)) {
        bytes += request.body.len() as u64;
        load::send(server.door("otlp-http"), "/v1/logs", std::slice::from_ref(&request), 1, None)?;
        if bytes > 1 << 30 {
            break;
        }
    }
    server.kill()?;
    std::fs::remove_file(&tables)?;
    std::fs::rename(&aside, &tables)?;
    let begin = Instant::now();
    let server = Server::start(dir.path())?;
    println!(
        "a log of {:.2} GiB replayed in {:.1} s ({:.1} CPU s), peak {:.0} MiB",
        bytes as f64 / f64::from(1 << 30),
        begin.elapsed().as_secs_f64(),
        process::cpu_seconds(server.pid()),
        process::memory_mib(server.pid(), "VmHWM")
    );
    Ok(())
}

fn forward() -> Result<()> {
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let server = Server::start(dir.path())?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut agent = Command::new(program::built("devmesh-collector")?)
        .args(["run", "--to", &server.url("otlp-http", ""), "--otlp", &format!("127.0.0.1:{port}")])
        .arg("--queue-dir")
        .arg(dir.path().join("queue"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start the agent")?;
    let address = format!("127.0.0.1:{port}");
    let done = forwarded(&server, &address, agent.id());
    client::ignore(agent.kill());
    client::ignore(agent.wait());
    done
}

fn forwarded(server: &Server, address: &str, agent: u32) -> Result<()> {
    until(Duration::from_secs(10), "the agent's door", || Ok(std::net::TcpStream::connect(address).ok()))?;
    let requests: Vec<Request> = devmesh_demo::logs(plan(size("BENCH_LOGS", 1_000_000))).collect();
    let outcome = load::send(address, "/v1/logs", &requests, CONNECTIONS, None)?;
    let arrived = || Ok((server.number("SELECT count(*) FROM logs")? == outcome.records).then_some(()));
    until(Duration::from_secs(120), "all records at the server", arrived)?;
    println!(
        "forwarding: {:.0} logs a CPU second of the agent (queue fsynced), peak {:.0} MiB",
        outcome.records as f64 / process::cpu_seconds(agent),
        process::memory_mib(agent, "VmHWM")
    );
    Ok(())
}

/// The queries of `tests/sql/performance`, warm: the CPU time and the middle wall time of five runs.
fn queries() -> Result<()> {
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    let mut server = Server::start(dir.path())?;
    for request in devmesh_demo::logs(plan(size("BENCH_QUERY_LOGS", 5_000_000))) {
        load::send(server.door("otlp-http"), "/v1/logs", std::slice::from_ref(&request), 1, None)?;
    }
    for request in devmesh_demo::traces(plan(size("BENCH_QUERY_SPANS", 2_000_000))) {
        load::send(server.door("otlp-http"), "/v1/traces", std::slice::from_ref(&request), 1, None)?;
    }
    server.stop()?;
    server = Server::start(dir.path())?;
    settle(server.pid())?;
    println!("| query | CPU ms | wall ms | first ms |\n|---|---|---|---|");
    for (name, sql) in performance_queries(&server)? {
        query(&server, &name, &sql)?;
    }
    println!("peak memory {:.0} MiB", process::memory_mib(server.pid(), "VmHWM"));
    Ok(())
}

const RUNS: u32 = 5;

fn query(server: &Server, name: &str, sql: &str) -> Result<()> {
    let timed = || -> Result<f64> {
        let begin = Instant::now();
        let rows = server.sql(sql).with_context(|| name.to_owned())?;
        anyhow::ensure!(!rows.is_empty(), "{name} gave no rows");
        Ok(begin.elapsed().as_secs_f64() * 1000.0)
    };
    let first = timed()?;
    let before = process::cpu_seconds(server.pid());
    let mut walls = (0..RUNS).map(|_| timed()).collect::<Result<Vec<f64>>>()?;
    let cpu = (process::cpu_seconds(server.pid()) - before) * 1000.0 / f64::from(RUNS);
    walls.sort_by(f64::total_cmp);
    println!("| {name} | {cpu:.0} | {:.0} | {first:.0} |", walls[walls.len() / 2]);
    Ok(())
}

/// The queries by name, with `:request_id` and the like replaced by values that stand in the data.
fn performance_queries(server: &Server) -> Result<Vec<(String, String)>> {
    let text = |sql: &str| -> Result<String> {
        let rows = server.sql(sql)?;
        let value = rows.first().and_then(|row| row.first()).and_then(|value| value.as_str());
        Ok(value.with_context(|| format!("{sql} gave no text"))?.to_owned())
    };
    let body = text("SELECT body FROM logs WHERE body LIKE 'request %-%-%-%-% accepted%' LIMIT 1 OFFSET 1000")?;
    let uuid = body.split(' ').nth(1).unwrap_or_default().to_owned();
    let values = [
        (":uuid", uuid),
        (":request_id", text("SELECT attributes['request.id'] FROM logs LIMIT 1 OFFSET 2000")?),
        (":session_id", text("SELECT attributes['session.id'] FROM logs LIMIT 1 OFFSET 3000")?),
        (":service", "basket".to_owned()),
        (":word", "failed".to_owned()),
        (":trace_id", text("SELECT trace_id FROM spans LIMIT 1 OFFSET 4000")?),
        (":user_id", text("SELECT attributes['user.id'] FROM spans WHERE attributes['user.id'] IS NOT NULL LIMIT 1")?),
    ];
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(program::root().join("tests/sql/performance"))? {
        let path = entry?.path();
        let mut sql = std::fs::read_to_string(&path)?;
        for (place, value) in &values {
            sql = sql.replace(place, value);
        }
        queries.push((name(&path), sql));
    }
    queries.sort();
    Ok(queries)
}

fn name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
