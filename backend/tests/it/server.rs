//! A `devmesh serve` of this build, on free ports and a directory of its own.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

/// How long anything here may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The program, with an environment without settings.
pub(crate) fn devmesh() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devmesh"));
    command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    command
}

pub(crate) struct Server {
    child: Child,
    doors: HashMap<String, String>,
    log: PathBuf,
}

/// An answer over HTTP, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The detail of a problem, which must be one.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].is_string() && problem["type"].is_string(), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap(),
    }
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, more: &[&str]) -> Self {
        Self::start_as(devmesh(), dir, more)
    }

    /// With so few file descriptors, standard streams among them.
    pub(crate) fn start_with_files(dir: &Path, files: u32, more: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_devmesh")]);
        Self::start_as(shell, dir, more)
    }

    fn start_as(mut command: Command, dir: &Path, more: &[&str]) -> Self {
        let log = dir.join("server.log");
        command.arg("serve").arg("--data-dir").arg(dir.join("data"));
        for door in ["--http", "--otlp-grpc", "--otlp-http", "--postgres"] {
            if !more.contains(&door) {
                command.args([door, "127.0.0.1:0"]);
            }
        }
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let doors = doors(&mut child, &log);
        Self { child, doors, log }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn door(&self, name: &str) -> &str {
        &self.doors[name]
    }

    pub(crate) fn has_door(&self, name: &str) -> bool {
        self.doors.contains_key(name)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().get(format!("http://{}{path}", self.door("http")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.call())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        read(agent().delete(format!("http://{}{path}", self.door("http"))).call())
    }

    pub(crate) fn post(&self, door: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = agent().post(format!("http://{}{path}", self.door(door)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    pub(crate) fn post_json(&self, door: &str, path: &str, body: &Value) -> Answer {
        self.post(door, path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// The same, where there may be no whole answer.
    pub(crate) fn try_post_json(&self, door: &str, path: &str, body: &Value) -> Result<Vec<u8>, ureq::Error> {
        let request = agent().post(format!("http://{}{path}", self.door(door)));
        let mut response = request.header("content-type", "application/json").send(body.to_string().as_bytes())?;
        response.body_mut().with_config().limit(1 << 30).read_to_vec()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The answer to a query, which must succeed.
    pub(crate) fn sql(&self, sql: &str) -> Value {
        let answer = self.post_json("http", "/query/sql", &json!({ "sql": sql }));
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.json()
    }

    /// The one value of a query's answer.
    pub(crate) fn value(&self, sql: &str) -> Value {
        self.sql(sql)["rows"][0][0].clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the server ends", || self.child.try_wait().unwrap())
    }

    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn doors(child: &mut Child, log: &Path) -> HashMap<String, String> {
    let stdout = child.stdout.take().unwrap();
    let (send, receive) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut doors = HashMap::new();
    loop {
        let line = receive.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("not ready: {}", std::fs::read_to_string(log).unwrap_or_default()));
        if line == "ready" {
            return doors;
        }
        let (door, address) = line.strip_prefix("listening ").unwrap().split_once(' ').unwrap();
        doors.insert(door.to_owned(), address.to_owned());
    }
}

/// Asks again and again until there is an answer; fails after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// An OTLP/JSON request with one log record for each body.
pub(crate) fn logs(service: &str, bodies: &[&str]) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| {
            json!({
                "timeUnixNano": (now + index as u128).to_string(), "severityNumber": 17, "body": {"stringValue": body},
                "attributes": [{"key": "http.route", "value": {"stringValue": "/cart"}}],
            })
        })
        .collect();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})
}

/// An OTLP/JSON request with a trace of two spans: `web` calls `db`.
pub(crate) fn trace(id: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let span = |service: &str, name: &str, span: &str, parent: &str, kind: u8, from: u128, to: u128, status: u8| {
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": [{
                "traceId": id, "spanId": span, "parentSpanId": parent, "name": name, "kind": kind,
                "startTimeUnixNano": (now + from).to_string(), "endTimeUnixNano": (now + to).to_string(),
                "status": {"code": status},
            }]}],
        })
    };
    json!({"resourceSpans": [
        span("web", "GET /", "00000000000000a1", "", 2, 0, 9_000_000, 1),
        span("web", "query", "00000000000000a2", "00000000000000a1", 3, 1_000_000, 8_000_000, 1),
        span("db", "SELECT", "00000000000000b1", "00000000000000a2", 2, 2_000_000, 7_000_000, 2),
    ]})
}
