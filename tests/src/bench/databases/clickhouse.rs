//! Into the ClickHouse engine and out of it.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use devmesh_demo::Request;

use super::{
    CONNECTIONS, count, devmesh, fill, logs,
    queries::{compare, queries},
    wait_for,
};
use crate::{
    Server,
    bench::{load, process},
    client, program, until,
};

#[path = "../../../../backend/store/src/clickhouse/tests/server.rs"]
#[allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "the tests' own way to start the engine")]
mod engine;

pub(super) fn run() -> Result<()> {
    let engine = engine::Server::new(None);
    let requests = logs();
    let dir = tempfile::tempdir_in(program::root().join("target"))?;
    println!(
        "\n| into ClickHouse | records a CPU second | records/s | the engine's CPU µs a record |\n|---|---|---|---|"
    );
    let server = devmesh(dir.path(), &engine.url("ours"))?;
    let ours = measure(&engine, "ours", server.pid(), server.door("otlp-http"), &requests)?;
    ours.print("devmesh, log fsynced");
    // Its tables are those that devmesh makes.
    let beside = tempfile::tempdir_in(program::root().join("target"))?;
    devmesh(beside.path(), &engine.url("theirs"))?.stop()?;
    let collector = Collector::start(beside.path(), engine.port)?;
    let theirs = measure(&engine, "theirs", collector.child.id(), &collector.address, &requests)?;
    drop(collector);
    theirs.print("the Collector's exporter");
    let verdict = if ours.per_cpu_second >= theirs.per_cpu_second { "ok" } else { "too slow" };
    println!(
        "devmesh stores {:.1} times as many by CPU second; 1 is required: {verdict}\n",
        ours.per_cpu_second / theirs.per_cpu_second
    );
    engine.ask("default", "DROP DATABASE theirs");
    ask(&engine, &server, count(&requests))
}

/// How fast records came in.
struct Rate {
    per_cpu_second: f64,
    per_second: f64,
    /// µs of the engine's CPU a record.
    engine_cpu: f64,
}

impl Rate {
    fn print(&self, name: &str) {
        println!("| {name} | {:.0} | {:.0} | {:.1} |", self.per_cpu_second, self.per_second, self.engine_cpu);
    }
}

/// Sends records to a process until the engine has them.
fn measure(engine: &engine::Server, database: &str, pid: u32, address: &str, requests: &[Request]) -> Result<Rate> {
    let records = count(requests);
    let before = (process::cpu_seconds(pid), process::cpu_seconds(engine.pid()));
    let begin = Instant::now();
    load::send(address, "/v1/logs", requests, CONNECTIONS, None)?;
    wait_for(records, || number(engine, database, "SELECT count() FROM otel_logs"))?;
    let seconds = begin.elapsed().as_secs_f64();
    let found = number(engine, database, "SELECT count() FROM otel_logs")?;
    ensure!(found == records, "{found} rows of {records} records in {database}");
    Ok(Rate {
        per_cpu_second: records as f64 / (process::cpu_seconds(pid) - before.0),
        per_second: records as f64 / seconds,
        engine_cpu: (process::cpu_seconds(engine.pid()) - before.1) * 1e6 / records as f64,
    })
}

fn number(engine: &engine::Server, database: &str, sql: &str) -> Result<u64> {
    let (status, answer) = engine.try_ask(database, sql);
    ensure!(status == 200, "{sql}: {answer}");
    answer.trim().parse().with_context(|| format!("{sql} gave {answer}"))
}

/// A Collector that batches as its exporter's documentation advises. Killed when dropped.
struct Collector {
    child: Child,
    address: String,
}

impl Drop for Collector {
    fn drop(&mut self) {
        client::ignore(self.child.kill());
        client::ignore(self.child.wait());
    }
}

impl Collector {
    fn start(dir: &Path, engine: u16) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}}}}}}}
processors: {{batch: {{timeout: 500ms, send_batch_size: 100000, send_batch_max_size: 100000}}}}
exporters:
  clickhouse:
    endpoint: http://127.0.0.1:{engine}
    database: theirs
    create_schema: false
    compress: none
    async_insert: false
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [batch], exporters: [clickhouse]}}
"
        );
        let child = Command::new(program::installed("collector/build/otelcol-test")?)
            .arg("--config")
            .arg(format!("yaml:{config}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("collector.log"))?)
            .spawn()
            .context("failed to start the Collector")?;
        let collector = Self { child, address };
        let door = || Ok(client::get(&format!("http://{}/", collector.address)).ok());
        until(Duration::from_secs(60), "the Collector's door", door)?;
        Ok(collector)
    }
}

fn ask(engine: &engine::Server, server: &Server, have: u64) -> Result<()> {
    let (logs, spans) = fill(server, have)?;
    wait_for(logs, || number(engine, "ours", "SELECT count() FROM otel_logs"))?;
    wait_for(spans, || number(engine, "ours", "SELECT count() FROM otel_traces"))?;
    // What is merged in the background would slow both sides down, at times.
    for table in ["otel_logs", "otel_traces"] {
        engine.ask("ours", &format!("OPTIMIZE TABLE {table} FINAL"));
    }
    println!("{logs} log records and {spans} spans in ClickHouse");
    let agent = client::agent();
    let url = format!("http://127.0.0.1:{}/?database=ours", engine.port);
    compare(server, "ClickHouse", &queries(server)?, |query| {
        let answer = client::post(&agent, &url, "text/plain", query.clickhouse.as_bytes())?;
        ensure!(answer.status == 200, "{}: {}", query.clickhouse, answer.text());
        Ok(answer.body.iter().filter(|byte| **byte == b'\n').count())
    })
}
