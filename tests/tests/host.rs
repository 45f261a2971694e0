//! A machine's own metrics: from the agent to SQL and PromQL, compared with what the kernel says.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use devmesh_tests::{client, program, server::Server, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(180);

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        client::ignore(self.0.kill());
        client::ignore(self.0.wait());
    }
}

#[test]
fn the_agents_host_metrics_are_asked_for_in_sql_and_promql() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).unwrap();
    let _agent = Agent(
        Command::new(program::built("devmesh-collector").unwrap())
            .args(["run", "--host-metrics", "--to", &server.url("otlp-http", "")])
            .arg("--queue-dir")
            .arg(dir.path().join("queue"))
            .env("DEVMESH_HOST_INTERVAL_SECONDS", "1")
            .env("NODE_NAME", "box")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("agent.log")).unwrap())
            .spawn()
            .unwrap(),
    );
    // A share of the processors needs two readings.
    let two =
        || Ok((server.number("SELECT count(*) FROM metrics WHERE name = 'system.cpu.utilization'")? > 0).then_some(()));
    until(PATIENCE, "two readings", two).unwrap();

    let hosts = server.sql("SELECT DISTINCT host, unit FROM metrics WHERE name = 'system.memory.limit'").unwrap();
    assert_eq!(hosts, [[Value::from("box"), Value::from("By")]]);
    let kernel = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = kernel.split_whitespace().nth(1).unwrap().parse().unwrap();
    let asked = [
        (r#"max(system_memory_limit_bytes{instance="box"})"#, total as f64 * 1024.0),
        (r#"count(count by (cpu_mode) (system_cpu_time_seconds_total{instance="box"}))"#, 7.0),
        (r#"count(process_memory_usage_bytes{process_executable_name="devmesh"}) > bool 0"#, 1.0),
        (r#"count(system_filesystem_usage_bytes{system_filesystem_mountpoint="/"})"#, 3.0),
        (r#"count(system_network_io_bytes_total{network_interface_name="lo"})"#, 2.0),
    ];
    for (query, wanted) in asked {
        let found = || {
            let mut answer = client::agent().get(server.url("http", "/api/v1/query")).query("query", query).call()?;
            let answer: Value = serde_json::from_slice(&answer.body_mut().read_to_vec()?)?;
            let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
            Ok((value == Some(wanted)).then_some(()))
        };
        until(PATIENCE, &format!("{query} = {wanted}"), found).unwrap();
    }
}
