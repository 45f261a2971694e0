//! The agent between a sender and the server: what it acknowledged arrives exactly once, whoever is killed meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use devmesh_demo::{Plan, Request};
use devmesh_tests::{Server, client, program, server::Start, until};

fn free_address() -> String {
    format!("127.0.0.1:{}", program::free_port())
}

/// A running `devmesh-collector`. Killed when dropped.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start(dir: &Path, to: &str, address: &str) -> Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(dir.join("agent.log"))?;
        let child = Command::new(program::built("devmesh-collector")?)
            .args(["run", "--to", to, "--otlp", address])
            .arg("--queue-dir")
            .arg(dir.join("queue"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start the agent")?;
        let agent = Self { child, address: address.to_owned() };
        until(Duration::from_secs(180), "the agent's door", || Ok(std::net::TcpStream::connect(address).ok()))?;
        Ok(agent)
    }

    /// Sends a request until the agent acknowledges it.
    fn export(&self, request: &Request) {
        let answer =
            client::export(&client::agent(), &format!("http://{}/v1/logs", self.address), &request.body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        client::ignore(self.child.kill());
        client::ignore(self.child.wait());
    }
}

fn server(dir: &Path, address: &str) -> Server {
    Start::new(dir).unwrap().args(&["--otlp-http", address]).ready().unwrap()
}

fn requests() -> Vec<Request> {
    let plan = Plan { seed: 5, records: 4000, batch: 100, start_ns: 1_790_000_000_000_000_000, span_ns: 1_000_000_000 };
    devmesh_demo::logs(plan).collect()
}

/// All records stand in the server, each once: `request.id` is unique in the generated data.
fn arrived_once(server: &Server, records: u64, dir: &Path) {
    let look = || {
        let found = server.number("SELECT count(DISTINCT attributes['request.id']) FROM logs")?;
        anyhow::ensure!(found == records, "{found}\n{}", std::fs::read_to_string(dir.join("agent.log"))?);
        Ok(Some(()))
    };
    until(Duration::from_secs(180), &format!("{records} records at the server"), look).unwrap();
    assert_eq!(server.number("SELECT count(*) FROM logs").unwrap(), records, "records stand twice");
}

#[test]
fn records_wait_on_disk_while_the_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (address, door) = (free_address(), free_address());
    let agent = Agent::start(dir.path(), &format!("http://{address}"), &door).unwrap();
    let requests = requests();
    requests.iter().for_each(|request| agent.export(request));
    drop(agent);
    let server = server(dir.path(), &address);
    let _agent = Agent::start(dir.path(), &format!("http://{address}"), &door).unwrap();
    arrived_once(&server, requests.iter().map(|r| r.records).sum(), dir.path());
}

#[test]
fn kills_of_agent_and_server_neither_lose_nor_double_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (address, door) = (free_address(), free_address());
    let to = format!("http://{address}");
    let mut up = server(dir.path(), &address);
    let mut agent = Agent::start(dir.path(), &to, &door).unwrap();
    let requests = requests();
    for (n, request) in requests.iter().enumerate() {
        agent.export(request);
        if n % 7 == 3 {
            drop(agent);
            agent = Agent::start(dir.path(), &to, &door).unwrap();
        }
        if n % 10 == 5 {
            up.kill().unwrap();
            up = server(dir.path(), &address);
        }
    }
    arrived_once(&up, requests.iter().map(|r| r.records).sum(), dir.path());
}
