//! A running `devmesh serve`.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::{client, program};

/// How long a server may take to be ready.
pub const READY: Duration = Duration::from_secs(60);

/// A `devmesh serve` on free ports. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    doors: HashMap<String, String>,
    log: PathBuf,
}

/// How to start a server.
#[derive(Debug)]
pub struct Start {
    command: Command,
    log: PathBuf,
}

impl Start {
    /// On the data directory `dir/data`; its log goes to `dir/server.log`.
    ///
    /// # Errors
    /// The program is not built.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut command = Command::new(program::built("devmesh")?);
        command.arg("serve").arg("--data-dir").arg(dir.join("data"));
        let start = Self { command, log: dir.join("server.log") };
        let doors = ["HTTP_LISTEN", "OTLP_GRPC", "OTLP_HTTP", "POSTGRES_LISTEN"];
        Ok(doors.iter().fold(start, |start, door| start.env(&format!("DEVMESH_{door}"), "127.0.0.1:0")))
    }

    /// With a further setting from the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Under another program, as in `strace -f devmesh serve …`.
    #[must_use]
    pub fn under(mut self, program: &str, args: &[&str]) -> Self {
        let mut outer = Command::new(program);
        outer.args(args).arg(self.command.get_program()).args(self.command.get_args());
        for (key, value) in self.command.get_envs() {
            if let Some(value) = value {
                outer.env(key, value);
            }
        }
        self.command = outer;
        self
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut self) -> Result<Child> {
        let log =
            File::options().create(true).append(true).open(&self.log).context("failed to open the server's log")?;
        self.command.stdout(Stdio::piped()).stderr(log).stdin(Stdio::null());
        self.command.spawn().with_context(|| format!("failed to start {:?}", self.command))
    }

    /// Starts it and waits until it says `ready`.
    ///
    /// # Errors
    /// It ends or stays silent for [`READY`]: the message holds its log.
    pub fn ready(self) -> Result<Server> {
        let log = self.log.clone();
        let mut child = self.spawn()?;
        match read_doors(&mut child) {
            Ok(doors) => Ok(Server { child, doors, log }),
            Err(error) => {
                client::ignore(child.kill());
                client::ignore(child.wait());
                Err(anyhow!("{error:#}\n--- its log\n{}", std::fs::read_to_string(log).unwrap_or_default()))
            }
        }
    }
}

/// Reads `listening DOOR ADDRESS` lines up to `ready`.
fn read_doors(child: &mut Child) -> Result<HashMap<String, String>> {
    let stdout = child.stdout.take().context("the server has no stdout")?;
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
        let line = match receive.recv_timeout(READY) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("the server is not ready after {READY:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the server ended before it was ready"),
        };
        if line == "ready" {
            return Ok(doors);
        }
        if let Some((door, address)) = line.strip_prefix("listening ").and_then(|rest| rest.split_once(' ')) {
            doors.insert(door.to_owned(), address.to_owned());
        }
    }
}

impl Server {
    /// Starts one on `dir` with nothing but free ports set.
    ///
    /// # Errors
    /// As [`Start::ready`].
    pub fn start(dir: &Path) -> Result<Self> {
        Start::new(dir)?.ready()
    }

    /// The address of a door: `http`, `otlp-grpc`, `otlp-http`, `postgres`.
    ///
    /// # Panics
    /// The server did not open it.
    pub fn door(&self, name: &str) -> &str {
        self.doors.get(name).map_or_else(|| panic!("no door {name} among {:?}", self.doors), String::as_str)
    }

    /// The URL of a path on a door.
    pub fn url(&self, door: &str, path: &str) -> String {
        format!("http://{}{path}", self.door(door))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Rows of a query.
    ///
    /// # Errors
    /// The server refuses: the message holds its answer.
    pub fn sql(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let answer = client::post_json(&self.url("http", "/query/sql"), &serde_json::json!({ "sql": sql }))?;
        let rows = answer.get("rows").and_then(Value::as_array).with_context(|| format!("no rows in {answer}"))?;
        Ok(rows.iter().filter_map(Value::as_array).cloned().collect())
    }

    /// The one number a query gives.
    ///
    /// # Errors
    /// The server refuses, or the answer is not one number.
    pub fn number(&self, sql: &str) -> Result<u64> {
        let rows = self.sql(sql)?;
        rows.first()
            .and_then(|row| row.first())
            .and_then(Value::as_u64)
            .with_context(|| format!("{sql}: {rows:?} is no number"))
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// The process cannot be signalled or waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("failed to kill the server")?;
        self.child.wait().context("failed to wait for the server")?;
        Ok(())
    }

    /// Asks it to end as `kill` does, and waits until it has.
    ///
    /// # Errors
    /// The process cannot be signalled or waited for.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.child.wait().context("failed to wait for the server")
    }

    /// The process that the one we started has started: the server itself where it runs under `strace`.
    ///
    /// # Errors
    /// It has none.
    pub fn inner_pid(&self) -> Result<u32> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("the process has no child")
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.child.wait().context("failed to wait for the server")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal)
    }
}

/// Sends a process a signal.
///
/// # Errors
/// It has gone.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    rustix::process::kill_process(pid, signal).context("failed to signal the process")
}

impl Drop for Server {
    fn drop(&mut self) {
        client::ignore(self.child.kill());
        client::ignore(self.child.wait());
    }
}
