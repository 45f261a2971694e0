//! A server for the tests: the front before the engine, in a directory and on a port of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

/// How long the engine may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running server. Its end is the end of whoever holds it.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    _own: tempfile::TempDir,
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    let crate_of_the_test = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_of_the_test.ancestors().find(|directory| directory.join("Cargo.lock").exists()).unwrap().to_owned()
}

/// Something that `tests/install.sh` brings.
pub(super) fn tool(path: &str) -> PathBuf {
    let tool = root().join("target/test-tools").join(path);
    assert!(tool.exists(), "{} is missing: run tests/install.sh", tool.display());
    tool
}

impl Server {
    /// The server that tests share; each has its own database there.
    pub(super) fn shared() -> Arc<Server> {
        static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Server::new(None))))
    }

    /// A server of one's own, which knows one user (`name:password`) where there is one.
    pub(super) fn new(user: Option<&str>) -> Self {
        Self::with(&user.map_or(Vec::new(), |user| vec!["--user", user]))
    }

    /// A server of one's own, with these arguments of the front.
    pub(super) fn with(arguments: &[&str]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let directory = own.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (child, port) = start(&directory, 0, &arguments);
        Self { child, port, directory, arguments, _own: own }
    }

    /// `clickhouse://` of a database.
    pub(super) fn url(&self, database: &str) -> String {
        format!("clickhouse://127.0.0.1:{}/{database}", self.port)
    }

    /// The process of the front, in which the engine is.
    #[allow(dead_code, reason = "the benchmarks count its CPU time")]
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(super) fn restart(&mut self) {
        let (child, port) = start(&self.directory, self.port, &self.arguments);
        assert_eq!(port, self.port);
        self.child = child;
    }

    /// The answer to a statement, as text.
    pub(super) fn ask(&self, database: &str, sql: &str) -> String {
        let (status, answer) = self.try_ask(database, sql);
        assert_eq!(status, 200, "{sql}\n{answer}");
        answer
    }

    /// The HTTP status and the body.
    pub(super) fn try_ask(&self, database: &str, sql: &str) -> (u16, String) {
        post(self.port, &format!("/?database={database}"), "text/plain", sql.as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(directory: &Path, port: u16, arguments: &[String]) -> (Child, u16) {
    let mut command = Command::new(tool("clickhouse/bin/python"));
    command.arg(root().join("tests/clickhouse/front.py")).arg("--until-eof");
    command.arg("--path").arg(directory.join("data")).args(["--port", &port.to_string()]);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let ready = wait_for_line(&mut child, "READY ");
    let port = ready.split(' ').nth(1).unwrap().parse().unwrap();
    (child, port)
}

/// Waits for a line that begins so; what comes after it is read and dropped.
pub(super) fn wait_for_line(child: &mut Child, start: &'static str) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.starts_with(start) {
                sender.send(line).ok();
            }
        }
    });
    receiver.recv_timeout(START).unwrap_or_else(|_| panic!("no line {start:?} within {START:?}"))
}

/// POSTs to loopback; status and body.
pub(super) fn post(port: u16, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}
