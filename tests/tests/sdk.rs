//! Real senders with their default settings: what they send is what SQL answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;
use devmesh_tests::{Server, program, server::Start, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const COUNT: u64 = 300;
/// A record is visible within a second of its acknowledgement on a machine that has nothing else to do; the senders have ended when we ask.
const VISIBLE: Duration = Duration::from_secs(120);

/// Where a test's sender sends, and by what name.
struct Sender<'a> {
    server: &'a Server,
    service: &'a str,
    door: &'a str,
}

impl Sender<'_> {
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", self.server.url(self.door, ""))
            .env("OTEL_SERVICE_NAME", self.service);
        command
    }

    /// Waits until a query gives a number, and says what it gave instead.
    fn expect(&self, sql: &str, number: u64) {
        let sql = sql.replace("$service", self.service);
        let what = format!("{number} from {sql}");
        let look = || {
            let found = self.server.number(&sql)?;
            anyhow::ensure!(found == number, "{found}");
            Ok(Some(()))
        };
        until(VISIBLE, &what, look).unwrap();
    }

    /// What each of our own clients sends: `count` logs, twice as many spans, one counter.
    fn expect_all(&self) {
        self.expect("SELECT count(*) FROM logs WHERE service = '$service'", COUNT);
        self.expect("SELECT count(DISTINCT body) FROM logs WHERE service = '$service' AND level = 'ERROR' AND body LIKE 'request % failed'", COUNT);
        self.expect(
            "SELECT count(*) FROM spans WHERE service = '$service' AND name = 'parent' AND parent_span_id IS NULL",
            COUNT,
        );
        self.expect(
            "SELECT sum(CAST(attributes['n'] AS BIGINT)) FROM spans WHERE service = '$service' AND name = 'parent'",
            COUNT * (COUNT - 1) / 2,
        );
        // Each child hangs below its parent, in the same trace; the clocks of JavaScript are coarse.
        self.expect(
            "SELECT count(*) FROM spans c JOIN spans p ON c.parent_span_id = p.span_id AND c.trace_id = p.trace_id \
             WHERE c.service = '$service' AND c.name = 'child' AND p.name = 'parent' AND c.time >= p.time - INTERVAL '1 millisecond' AND c.end_time <= p.end_time + INTERVAL '1 millisecond'",
            COUNT,
        );
        // Each log names the span it was written in.
        self.expect(
            "SELECT count(*) FROM logs l JOIN spans s ON l.span_id = s.span_id AND l.trace_id = s.trace_id WHERE l.service = '$service' AND s.name = 'child'",
            COUNT,
        );
        self.expect(
            "SELECT CAST(max(value) AS BIGINT) FROM metrics WHERE service = '$service' AND name = 'test.requests' \
             AND kind = 'sum' AND is_monotonic AND temporality = 'cumulative' AND unit = '{request}' AND attributes['route'] = '/a'",
            COUNT,
        );
    }
}

fn with_server(test: impl FnOnce(&Server) -> Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).unwrap();
    if let Err(error) = test(&server) {
        panic!("{error:#}\n--- the server's log\n{}", server.log());
    }
}

fn python(protocol: &str, door: &str) {
    with_server(|server| {
        let service = format!("python-{protocol}");
        let sender = Sender { server, service: &service, door };
        let mut command = sender.command(program::installed("python/bin/python")?);
        command.env_remove("OTEL_SERVICE_NAME").arg(program::root().join("tests/clients/python/emit.py"));
        program::run(command.args([protocol, &COUNT.to_string()]))?;
        sender.expect_all();
        sender.expect("SELECT count(*) FROM logs WHERE service = '$service' AND host = 'python-host'", COUNT);
        sender.expect("SELECT max(count) FROM metrics WHERE service = '$service' AND name = 'test.duration' AND kind = 'histogram'", COUNT);
        sender.expect(
            "SELECT CAST(max(sum) * 10 AS BIGINT) FROM metrics WHERE service = '$service' AND name = 'test.duration' AND unit = 'ms'",
            COUNT * 125,
        );
        Ok(())
    });
}

#[test]
fn python_over_grpc() {
    python("grpc", "otlp-grpc");
}

#[test]
fn python_over_http() {
    python("http", "otlp-http");
}

#[test]
fn python_over_tls_by_grpc_and_http() {
    let dir = tempfile::tempdir().unwrap();
    // An authority of our own vouches for the server, as clients of OpenSSL want it.
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "tests of devmesh");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (authority_key, own_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&own_key, &issuer).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, own.pem()).unwrap();
    std::fs::write(&key, own_key.serialize_pem()).unwrap();
    let start = Start::new(dir.path()).unwrap();
    let server = start
        .env("DEVMESH_TLS_CERT", cert.to_str().unwrap())
        .env("DEVMESH_TLS_KEY", key.to_str().unwrap())
        .ready()
        .unwrap();
    for (protocol, door) in [("grpc", "otlp-grpc"), ("http", "otlp-http")] {
        let port = server.door(door).rsplit(':').next().unwrap();
        let mut command = Command::new(program::installed("python/bin/python").unwrap());
        command
            .arg(program::root().join("tests/clients/python/emit.py"))
            .args([protocol, &COUNT.to_string()])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{port}"))
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)
            // The library below the SDK prefers these, where a machine has them.
            .env_remove("REQUESTS_CA_BUNDLE")
            .env_remove("CURL_CA_BUNDLE");
        program::run(&mut command).unwrap();
    }
    server.stop().unwrap();
    // The same records, asked of a server without TLS.
    let server = Server::start(dir.path()).unwrap();
    for (service, door) in [("python-grpc", "otlp-grpc"), ("python-http", "otlp-http")] {
        Sender { server: &server, service, door }.expect_all();
    }
}

fn node(encoding: &str) {
    with_server(|server| {
        let service = format!("node-{encoding}");
        let sender = Sender { server, service: &service, door: "otlp-http" };
        let mut command = sender.command("node");
        program::run(command.arg(program::installed("node/emit.mjs")?).args([encoding, &COUNT.to_string()]))?;
        sender.expect_all();
        sender.expect(r#"SELECT count(*) FROM logs WHERE service = '$service' AND attributes['nested'] = '{"list":[1,"two",true]}'"#, COUNT);
        Ok(())
    });
}

#[test]
fn node_over_http_protobuf() {
    node("proto");
}

#[test]
fn node_over_http_json() {
    node("json");
}

fn go(protocol: &str, door: &str) {
    with_server(|server| {
        let service = format!("go-{protocol}");
        let sender = Sender { server, service: &service, door };
        program::run(sender.command(program::installed("go-client")?).args([protocol, &COUNT.to_string()]))?;
        sender.expect_all();
        Ok(())
    });
}

#[test]
fn go_over_grpc() {
    go("grpc", "otlp-grpc");
}

#[test]
fn go_over_http() {
    go("http", "otlp-http");
}

#[test]
fn java_through_the_agent() {
    with_server(|server| {
        let sender = Sender { server, service: "java-agent", door: "otlp-http" };
        let agent = program::installed("java/opentelemetry-javaagent.jar")?;
        let mut command = sender.command("java");
        command.arg(format!("-javaagent:{}", agent.display())).arg("-cp").arg(program::installed("java")?);
        program::run(command.args(["App", &COUNT.to_string()]))?;
        sender.expect("SELECT count(DISTINCT body) FROM logs WHERE service = '$service' AND body LIKE 'request % failed' AND level = 'ERROR'", COUNT);
        sender.expect("SELECT count(*) FROM spans WHERE service = '$service' AND kind = 'SERVER'", COUNT);
        // The client's span is the parent of the server's.
        sender.expect(
            "SELECT count(*) FROM spans s JOIN spans c ON s.parent_span_id = c.span_id \
             WHERE s.service = '$service' AND s.kind = 'SERVER' AND c.kind = 'CLIENT' AND s.attributes['http.request.method'] = 'GET'",
            COUNT,
        );
        sender.expect("SELECT least(count(*), 1) FROM metrics WHERE service = '$service' AND name = 'http.server.request.duration'", 1);
        Ok(())
    });
}

#[test]
fn telemetrygen_over_both_protocols() {
    with_server(|server| {
        let program = program::installed("telemetrygen")?;
        for (door, service, http) in
            [("otlp-grpc", "telemetrygen-grpc", false), ("otlp-http", "telemetrygen-http", true)]
        {
            let sender = Sender { server, service, door };
            for signal in ["logs", "traces", "metrics"] {
                let mut command = Command::new(&program);
                command.args([signal, "--otlp-insecure", "--otlp-endpoint", server.door(door), "--service", service]);
                command.args(if signal == "traces" {
                    ["--traces", "50"]
                } else {
                    [if signal == "logs" { "--logs" } else { "--metrics" }, "50"]
                });
                command.args(["--rate", "0", "--workers", "2"]);
                if http {
                    command.arg("--otlp-http");
                }
                program::run(&mut command)?;
            }
            sender.expect("SELECT count(*) FROM logs WHERE service = '$service'", 100);
            sender.expect("SELECT count(DISTINCT trace_id) FROM spans WHERE service = '$service'", 100);
            sender.expect("SELECT count(*) FROM metrics WHERE service = '$service'", 100);
        }
        Ok(())
    });
}
