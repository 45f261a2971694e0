//! A real Neo4j, in a directory of its own: `tests/install.sh` gets it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use devmesh_graph::{Graph, NodeQuery, neo4j};

use crate::suite;

const PASSWORD: &str = "a-password-of-the-tests";
/// A Java process on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running Neo4j; it ends with its standard input.
struct Server {
    child: Child,
    uri: String,
    _home: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn installed() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/neo4j");
    assert!(tools.join("Run.class").exists(), "{} has no Neo4j; run tests/install.sh", tools.display());
    tools
}

impl Server {
    fn start() -> Self {
        let tools = installed();
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new("java")
            .args(["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp"])
            .arg(format!("{0}:{0}/*", tools.display()))
            .arg("Run")
            .arg(home.path().join("home"))
            .arg(PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (say, heard) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let ready =
                out.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("READY ").map(str::to_owned));
            drop(say.send(ready));
        });
        let port = heard.recv_timeout(PATIENCE).ok().flatten();
        let port = port.unwrap_or_else(|| panic!("Neo4j did not start: {:?}", child.try_wait()));
        Self { child, uri: format!("bolt://127.0.0.1:{port}"), _home: home }
    }

    fn graph(&self, password: &str) -> neo4j::Neo4j {
        neo4j::Neo4j::new(neo4j::Settings {
            uri: self.uri.clone(),
            user: "neo4j".to_owned(),
            password: password.to_owned(),
            database: "neo4j".to_owned(),
        })
    }

    /// A graph without nodes.
    async fn empty(&self) -> Arc<dyn Graph> {
        let settings =
            neo4rs::ConfigBuilder::default().uri(&self.uri).user("neo4j").password(PASSWORD).build().unwrap();
        let client = neo4rs::Graph::connect(settings).await.unwrap();
        client.run(neo4rs::query("MATCH (n) DETACH DELETE n")).await.unwrap();
        Arc::new(self.graph(PASSWORD))
    }
}

#[tokio::test]
async fn the_graph_in_neo4j_passes_the_suite_and_outlives_whoever_wrote_it() {
    let server = Server::start();
    let runs = AtomicUsize::new(0);
    suite::run(|| async {
        runs.fetch_add(1, Relaxed);
        server.empty().await
    })
    .await;
    assert!(runs.load(Relaxed) > 5);
    // The last case left a node: another client finds it.
    let again = server.graph(PASSWORD);
    let found = again.nodes(&NodeQuery { limit: 10, ..NodeQuery::default() }).await.unwrap();
    assert_eq!(found.nodes.len(), 1);
    assert_eq!(again.taken().await.unwrap(), Some(7));
    let refused = server.graph("another-password");
    let error = refused.size().await.unwrap_err().to_string();
    assert!(error.starts_with("graph database: ") && !error.contains("another-password"), "{error}");
    assert!(!format!("{refused:?}").contains("another-password"));
}

#[tokio::test]
async fn a_neo4j_that_is_away_is_an_error_that_names_it() {
    // Nothing listens at a port that was bound and let go without listening.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("bolt://{}", socket.local_addr().unwrap());
    drop(socket);
    let away = neo4j::Neo4j::new(neo4j::Settings {
        uri,
        user: "neo4j".to_owned(),
        password: PASSWORD.to_owned(),
        database: "neo4j".to_owned(),
    });
    let error = away.size().await.unwrap_err().to_string();
    assert!(error.starts_with("graph database: ") && !error.contains(PASSWORD), "{error}");
}
