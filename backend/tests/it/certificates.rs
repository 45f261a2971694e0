//! Certificates as they are used: the Postgres wire over TLS, clients that show theirs, and renewal without a restart.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustix::process::Signal;

use crate::server::{PATIENCE, Server, devmesh, until};

const READ: &str = "read-0123456789abcdef";

/// Somebody who vouches for servers and clients; its files lie in `dir`.
struct Authority {
    dir: PathBuf,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path, name: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        fs::write(dir.join(format!("{name}.ca")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir: dir.to_owned(), name, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> String {
        self.dir.join(format!("{}.ca", self.name)).display().to_string()
    }

    /// The files of a certificate for this name, and of its key, which nobody else may read: psql looks.
    fn vouch(&self, file: &str, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let files = ["pem", "key"].map(|kind| self.dir.join(format!("{file}.{kind}")));
        fs::write(&files[0], params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&files[1], key.serialize_pem()).unwrap();
        fs::set_permissions(&files[1], std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        files.map(|file| file.display().to_string())
    }
}

/// `--set` for the certificate and key.
fn tls([cert, key]: &[String; 2]) -> Vec<String> {
    ["--set".to_owned(), format!("tls.cert={cert}"), "--set".to_owned(), format!("tls.key={key}")].into()
}

fn start(dir: &Path, arguments: &[String]) -> Server {
    Server::start_with(dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Asks with psql; `more` is of the connection string.
fn psql(server: &Server, more: &str) -> Output {
    let port = server.door("postgres").rsplit(':').next().unwrap();
    let target = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user=u dbname=d connect_timeout={} {more}",
        PATIENCE.as_secs()
    );
    Command::new("psql")
        .args(["-X", "-At", "-c", "SELECT 40 + 2", &target])
        .env("PGPASSWORD", READ)
        .output()
        .expect("psql is missing: run tests/install.sh")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn psql_verifies_the_servers_certificate_and_name_and_nobody_is_let_in_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (Authority::new(dir.path(), "own"), Authority::new(dir.path(), "other"));
    let mut arguments = tls(&own.vouch("server", "localhost"));
    arguments.extend(["--set".to_owned(), format!("auth.read_tokens={READ}")]);
    let server = start(dir.path(), &arguments);
    let verified = format!("sslmode=verify-full sslrootcert={}", own.ca());
    assert_eq!(said(&psql(&server, &verified)), "42\n");
    assert_eq!(said(&psql(&server, "sslmode=require")), "42\n");
    let stranger = psql(&server, &format!("sslmode=verify-full sslrootcert={}", other.ca()));
    assert!(!stranger.status.success() && said(&stranger).contains("certificate verify failed"), "{}", said(&stranger));
    let plain = psql(&server, "sslmode=disable");
    assert!(!plain.status.success() && said(&plain).contains("sslmode=verify-full"), "{}", said(&plain));
    // Of another name.
    drop(server);
    let server = start(dir.path(), &tls(&own.vouch("elsewhere", "elsewhere.example")));
    let named = psql(&server, &verified);
    assert!(!named.status.success() && said(&named).contains("elsewhere.example"), "{}", said(&named));
}

/// A connection to the Postgres wire, bytes by hand.
struct Raw(TcpStream);

/// Asks for TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Asks for GSSAPI.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
/// Begins a session as the user `u`.
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";

impl Raw {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.door("postgres")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// All that comes until the server closes.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A connection that is reset has said all as well.
        drop(self.0.read_to_end(&mut rest));
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[test]
fn without_a_certificate_a_client_that_asks_for_encryption_is_told_n_and_goes_on_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for asks in [&[TLS_REQUEST][..], &[GSS_REQUEST], &[GSS_REQUEST, TLS_REQUEST], &[TLS_REQUEST, GSS_REQUEST], &[]] {
        let mut client = Raw::open(&server);
        for ask in asks {
            client.send(ask);
            assert_eq!(client.byte(), b'N');
        }
        client.send(STARTUP);
        assert_eq!(client.byte(), b'R', "{asks:?}");
    }
    let mut client = Raw::open(&server);
    [TLS_REQUEST; 4].iter().for_each(|ask| client.send(ask));
    assert_eq!(client.rest(), "NNN", "asked again and again");
    let mut client = Raw::open(&server);
    client.send(b"\x16\x03\x01");
    assert_eq!(client.rest(), "", "TLS that nobody asked for");
    let output = psql(&server, "sslmode=require");
    assert!(!output.status.success() && said(&output).contains("does not support SSL"), "{}", said(&output));
    assert_eq!(said(&psql(&server, "sslmode=prefer")), "42\n");
}

#[test]
fn what_stands_in_the_clear_behind_the_request_for_tls_is_never_taken_for_the_clients_own() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let server = start(dir.path(), &tls(&own.vouch("server", "localhost")));
    // CVE-2021-23214: whoever sits in between sends a session of his own before the handshake begins.
    let mut client = Raw::open(&server);
    client.send(&[&TLS_REQUEST[..], STARTUP, b"Q\0\0\0\x0dSELECT 1\0"].concat());
    assert_eq!(client.byte(), b'S');
    let answer = client.rest();
    assert!(!answer.contains("SELECT") && !answer.contains("server_version"), "{answer:?}");
    assert_eq!(said(&psql(&server, &format!("sslmode=verify-full sslrootcert={}", own.ca()))), "42\n");
}

#[test]
fn a_query_behind_a_wrong_password_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", &format!("auth.read_tokens={READ}")]);
    let queries = |server: &Server| {
        let answer = server.get_with("/metrics", &[("authorization", &format!("Bearer {READ}"))]).text();
        let line = answer.lines().find(|line| line.starts_with("devmesh_queries_total{outcome=\"ok\"}")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = queries(&server);
    let mut client = Raw::open(&server);
    client.send(&[STARTUP, b"p\0\0\0\x0awrong\0", b"Q\0\0\0\x0dSELECT 1\0"].concat());
    let answer = client.rest();
    assert!(answer.contains("28P01") && !answer.contains("SELECT 1"), "{answer:?}");
    assert_eq!(queries(&server), before);
}

#[test]
fn s39_every_door_asks_for_a_clients_certificate_and_the_programs_show_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let mut arguments = tls(&own.vouch("server", "localhost"));
    // A certificate says who a client is, so that no token is needed beyond loopback.
    let more = [
        "--http",
        "0.0.0.0:0",
        "--set",
        &format!("tls.client_ca={}", own.ca()),
        "--set",
        "tls.client_names=me.example",
    ];
    arguments.extend(more.map(str::to_owned));
    let server = start(dir.path(), &arguments);
    let ([cert, key], [wrong_cert, wrong_key]) = (own.vouch("me", "me.example"), own.vouch("you", "you.example"));
    let port = server.door("http").rsplit(':').next().unwrap().to_owned();
    let sql = |own_files: Option<[&str; 2]>| {
        let mut command = devmesh();
        command.args(["sql", "SELECT 40 + 2 AS n", "--format", "csv", "--ca", &own.ca()]);
        command.args(["--url", &format!("https://localhost:{port}")]);
        if let Some([cert, key]) = own_files {
            command.args(["--cert", cert, "--key", key]);
        }
        command.output().unwrap()
    };
    assert_eq!(said(&sql(Some([&cert, &key]))), "n\r\n42\r\n");
    for shown in [None, Some([wrong_cert.as_str(), wrong_key.as_str()])] {
        let refused = sql(shown);
        assert!(refused.status.code() == Some(1) && said(&refused).contains("--cert"), "{}", said(&refused));
    }
    let half = devmesh().args(["sql", "SELECT 1", "--cert", &cert]).output().unwrap();
    assert!(half.status.code() == Some(2) && said(&half).contains("--key"), "{}", said(&half));
    let trust = format!("sslmode=verify-full sslrootcert={}", own.ca());
    assert_eq!(said(&psql(&server, &format!("{trust} sslcert={cert} sslkey={key}"))), "42\n");
    assert!(!psql(&server, &format!("{trust} sslcert={wrong_cert} sslkey={wrong_key}")).status.success());
    assert!(!psql(&server, &format!("{trust} sslcert= sslkey=")).status.success());
}

#[test]
fn k11_a_hang_up_renews_certificates_and_says_which_settings_wait_for_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (Authority::new(dir.path(), "own"), Authority::new(dir.path(), "other"));
    let config = dir.path().join("devmesh.toml");
    let [cert, key] = own.vouch("server", "localhost");
    let written = |retention: &str| {
        let text = format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n[retention]\nlogs = \"{retention}\"\n");
        fs::write(&config, text).unwrap();
    };
    written("7d");
    let server = start(dir.path(), &["--config".to_owned(), config.display().to_string()]);
    let trusted =
        |by: &Authority| said(&psql(&server, &format!("sslmode=verify-full sslrootcert={}", by.ca()))) == "42\n";
    assert!(trusted(&own) && !trusted(&other));
    let told = |text: &str| until(text, || server.log().contains(text).then_some(()));

    server.signal(Signal::HUP);
    told("the settings are as they were at the start");
    // Renewed, by somebody else for all to see.
    other.vouch("server", "localhost");
    assert!(trusted(&own), "nothing is read without a signal");
    server.signal(Signal::HUP);
    until("the new certificate", || trusted(&other).then_some(()));
    assert!(!trusted(&own));

    // What is invalid changes nothing.
    fs::write(&cert, "no certificate").unwrap();
    server.signal(Signal::HUP);
    told("the certificates in use stay");
    assert!(trusted(&other));
    fs::write(&config, "[retention]\nlogs = \"soon\"\n").unwrap();
    server.signal(Signal::HUP);
    told("devmesh.toml:2: retention.logs");
    told("those of the start stay in force");

    // Settings count from the start alone, and the log says which have changed.
    written("8d");
    server.signal(Signal::HUP);
    told("\"keys\":\"retention.logs\"");
    told("count after a restart");
    // However many signals come: they are handled one by one, those in between are one, and the server serves.
    let before = server.log().matches("count after a restart").count();
    for _ in 0..100 {
        server.signal(Signal::HUP);
    }
    assert!(trusted(&other));
    until("they are handled", || (server.log().matches("count after a restart").count() > before).then_some(()));
    assert!(server.log().matches("count after a restart").count() <= before + 100);
    assert!(server.stop().success());
}

#[test]
fn the_log_of_a_server_with_tls_says_how_psql_connects() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let mut arguments = tls(&own.vouch("server", "localhost"));
    arguments.extend(["--postgres", "0.0.0.0:0", "--insecure"].map(str::to_owned));
    let server = start(dir.path(), &arguments);
    let log = server.log();
    assert!(log.contains("sslmode=verify-full") && !log.contains("in the clear"), "{log}");
}
