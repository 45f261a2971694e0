//! A real MariaDB server of the tests' own: its own directory, socket and port on loopback. `tests/install.sh` brings it.
//!
//! A shell stands between the test and the server and waits for the end of its standard input: however the test's process
//! ends, the server and its directory go with it.

#![allow(dead_code, reason = "a test target may use a part of it")]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// The password of user `devmesh`, who may do everything in databases `devmesh_…`.
pub(crate) const PASSWORD: &str = "p@ss:w/rd";
/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    directory: PathBuf,
    port: u16,
    arguments: Vec<String>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// The server lives as long as this is open.
    leash: ChildStdin,
    pid: u32,
}

/// A server that all tests of this process share; they have databases of their own.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::new(&[]))
}

impl Server {
    /// Makes a server with further arguments for `mariadbd`, and starts it.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("devmesh-mariadb-").tempdir().unwrap().keep();
        let user = run(Command::new("id").arg("-un"));
        let user = String::from_utf8(user.stdout).unwrap().trim().to_owned();
        std::fs::create_dir(directory.join("tmp")).unwrap();
        let temporary = format!("--tmpdir={}", directory.join("tmp").display());
        let mut install = Command::new("mariadb-install-db");
        install.arg("--no-defaults").arg(&temporary);
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        run(install.arg(format!("--user={user}")).arg(format!("--datadir={}", directory.join("data").display())));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut all = vec![
            "--no-defaults".to_owned(),
            temporary,
            format!("--user={user}"),
            format!("--datadir={}", directory.join("data").display()),
            format!("--socket={}", directory.join("socket").display()),
            "--bind-address=127.0.0.1".into(),
            format!("--port={port}"),
            "--innodb-buffer-pool-size=64M".into(),
            "--innodb-log-file-size=32M".into(),
            "--performance-schema=OFF".into(),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let server = Self { directory, port, arguments: all, running: Mutex::new(None) };
        server.start();
        server.execute(&format!(
            "CREATE USER devmesh@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON `devmesh%`.* TO devmesh@'127.0.0.1'"
        ));
        server
    }

    /// Starts it, on the data that it had. Returns when it answers.
    pub(crate) fn start(&self) {
        let script = "log=$1; shift; \"$@\" >>\"$log\" 2>&1 </dev/null & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; \
                      wait; [ -e \"${log%/*}/keep\" ] || rm -rf \"${log%/*}\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(self.directory.join("log")).arg("mariadbd").args(&self.arguments);
        // Not in the test's process group, so that a Ctrl-C lets it tidy up.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let leash = shell.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        *self.running.lock().unwrap() = Some(Running { shell, leash, pid });
        self.until("the server answers", || self.client("SELECT 1").is_ok());
    }

    /// Kills it, as a crash of the machine's process would.
    pub(crate) fn kill(&self) {
        let Some(Running { mut shell, leash, pid }) = self.running.lock().unwrap().take() else { return };
        std::fs::write(self.directory.join("keep"), "").unwrap();
        run(Command::new("kill").args(["-9", &pid.to_string()]));
        drop(leash);
        shell.wait().unwrap();
        std::fs::remove_file(self.directory.join("keep")).unwrap();
    }

    /// Makes an empty database of a new name; answers the name.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("devmesh_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"));
        name
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mariadb://devmesh:p%40ss%3Aw%2Frd@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as root; answers what they print, tab-separated, without names.
    pub(crate) fn execute(&self, sql: &str) -> String {
        self.client(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same, for statements that may fail.
    pub(crate) fn client(&self, sql: &str) -> Result<String, String> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-uroot", "-N", "-B", "--default-character-set=utf8mb4", "-S"]);
        let client = client.arg(self.directory.join("socket"));
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A client that cannot connect ends before it reads; its exit status says so.
        drop(child.stdin.take().unwrap().write_all(sql.as_bytes()));
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits for something, as long as the patience lasts.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                panic!("in vain: {what}; the server's log:\n{log}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it listens on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.lock().unwrap().as_ref().map(|running| running.pid)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Running { mut shell, leash, .. }) = self.running.lock().unwrap().take() {
            drop(leash);
            shell.wait().unwrap();
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/install.sh"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
