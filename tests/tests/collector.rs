//! A real OpenTelemetry Collector forwards to us: gzip, large batches, retries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use devmesh_demo::Plan;
use devmesh_tests::{Server, client, program, until};

const PLAN: Plan =
    Plan { seed: 3, records: 20_000, batch: 500, start_ns: 1_790_000_000_000_000_000, span_ns: 600_000_000_000 };

const LONG: Duration = Duration::from_secs(180);

/// Ends the Collector when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        client::ignore(self.0.kill());
        client::ignore(self.0.wait());
    }
}

/// Starts a Collector that takes OTLP/HTTP on the port it returns and forwards it by `exporter`.
fn start(dir: &std::path::Path, exporter: &str) -> Result<(Running, u16)> {
    let port = program::free_port();
    let config = dir.join("collector.yaml");
    std::fs::write(
        &config,
        format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: '127.0.0.1:{port}' }} }} }} }}\n\
             processors: {{ batch: {{}} }}\n\
             exporters: {{ {exporter} }}\n\
             service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines:\n\
             \x20   logs: &p {{ receivers: [otlp], processors: [batch], exporters: [{name}] }}\n\
             \x20   traces: *p\n    metrics: *p\n",
            name = exporter.split(':').next().unwrap_or_default()
        ),
    )?;
    let log = std::fs::File::create(dir.join("collector.log"))?;
    let child = Command::new(program::installed("collector/build/otelcol-test")?)
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("failed to start the Collector")?;
    let running = Running(child);
    until(LONG, "the Collector's door", || Ok(client::get(&format!("http://127.0.0.1:{port}/")).ok()))?;
    Ok((running, port))
}

fn forwards(exporter: impl FnOnce(&Server) -> String) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).unwrap();
    let (_collector, port) = start(dir.path(), &exporter(&server)).unwrap();
    let agent = client::agent();
    let mut sent = [0u64; 3];
    for (signal, path) in ["logs", "traces", "metrics"].into_iter().enumerate() {
        let requests: Box<dyn Iterator<Item = devmesh_demo::Request>> = match signal {
            0 => Box::new(devmesh_demo::logs(PLAN)),
            1 => Box::new(devmesh_demo::traces(PLAN)),
            _ => Box::new(devmesh_demo::metrics(PLAN)),
        };
        for request in requests {
            let answer = client::export(&agent, &format!("http://127.0.0.1:{port}/v1/{path}"), &request.body).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            sent[signal] += request.records;
        }
    }
    for (table, sent) in ["logs", "spans", "metrics"].into_iter().zip(sent) {
        let look = || {
            let found = server.number(&format!("SELECT count(*) FROM {table}"))?;
            anyhow::ensure!(found == sent, "{found}\n{}", std::fs::read_to_string(dir.path().join("collector.log"))?);
            Ok(Some(()))
        };
        until(LONG, &format!("{sent} rows in {table}"), look).unwrap();
    }
}

#[test]
fn a_collector_forwards_over_http_with_gzip() {
    forwards(|server| format!("otlphttp: {{ endpoint: '{}' }}", server.url("otlp-http", "")));
}

#[test]
fn a_collector_forwards_over_grpc() {
    forwards(|server| format!("otlp: {{ endpoint: '{}', tls: {{ insecure: true }} }}", server.door("otlp-grpc")));
}
