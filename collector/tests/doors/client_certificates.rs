//! Clients that show certificates (requirement S39): who is let in, with real handshakes and crafted certificates.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use devmesh_collector::{
    Doors, Intake, Settings, spawn,
    tls::{self, Clients, Tls},
};
use devmesh_schema::Signal;
use http::Request;
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client as Legacy, rt::TokioExecutor};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// Somebody who vouches for others.
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
        std::fs::write(dir.join(format!("{name}.ca")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir: dir.to_owned(), name, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join(format!("{}.ca", self.name))
    }

    /// A certificate with its key, in files.
    fn vouch(&self, name: &str, params: &CertificateParams) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let (cert_at, key_at) = (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")));
        std::fs::write(&cert_at, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&key_at, key.serialize_pem()).unwrap();
        (cert_at, key_at)
    }

    fn revoke(&self, serial: u64) -> PathBuf {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.join(format!("{}.crl", self.name));
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }
}

/// A client's certificate with these alternative names.
fn client(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(7));
    params
}

struct Secured {
    recorder: Arc<Recorder>,
    port: u16,
    ca: PathBuf,
    stop: CancellationToken,
}

impl Secured {
    async fn start(own: &Authority, clients: Clients) -> Self {
        let (cert, key) = own.vouch("server", &CertificateParams::new(["localhost".to_owned()]).unwrap());
        let recorder = Arc::new(Recorder::default());
        let intake = Intake::new(recorder.clone(), Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = Some(Tls::load_for(&cert, &key, clients).unwrap());
        let stop = CancellationToken::new();
        let mut doors = spawn(Doors { otlp_http: Some(listener), tls, ..Doors::default() }, &intake, &stop);
        tokio::spawn(async move { while doors.join_next().await.is_some() {} });
        Self { recorder, port, ca: own.ca(), stop }
    }

    /// Sends a record as a client with this certificate.
    async fn send(&self, own: Option<&(PathBuf, PathBuf)>) -> Result<u16, String> {
        let own = own.map(|(cert, key)| (cert.as_path(), key.as_path()));
        let trust = tls::client_as(Some(&self.ca), own).unwrap();
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust).https_only().enable_http1().build();
        let client: Legacy<_, Full<Bytes>> = Legacy::builder(TokioExecutor::new()).build(connector);
        let request =
            Request::post(format!("https://localhost:{}/v1/logs", self.port)).header("content-type", PROTOBUF);
        let request = request.body(Full::new(logs(vec![log("x")]).into())).unwrap();
        let answer = limit(client.request(request)).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn s39_only_clients_with_a_certificate_of_the_ca_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (Authority::new(dir.path(), "own"), Authority::new(dir.path(), "other"));
    let server = Secured::start(&own, Clients { ca: own.ca(), ..Clients::default() }).await;
    let good = own.vouch("good", &client(&["agent-1.example"]));
    assert_eq!(server.send(Some(&good)).await, Ok(200));
    let mut expired = client(&["agent-1.example"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let mut of_a_server = client(&["agent-1.example"]);
    of_a_server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (what, shown) in [
        ("none", None),
        ("another's", Some(other.vouch("stranger", &client(&["agent-1.example"])))),
        ("one that has expired", Some(own.vouch("expired", &expired))),
        ("one that is for servers", Some(own.vouch("server-only", &of_a_server))),
    ] {
        let refused = server.send(shown.as_ref()).await;
        assert!(refused.as_ref().is_err_and(|error| error.contains("AlertReceived")), "{what}: {refused:?}");
    }
    assert_eq!(server.recorder.count(Signal::Logs), 1);
}

#[tokio::test]
async fn s39_a_listed_name_is_a_whole_alternative_name_and_never_the_common_name_or_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let names = vec!["agent-1.example".to_owned(), "spiffe://example/agent/2".to_owned()];
    let server = Secured::start(&own, Clients { ca: own.ca(), names, ..Clients::default() }).await;
    let mut named = client(&["other.example"]);
    named.distinguished_name.push(DnType::CommonName, "agent-1.example");
    let mut workload = client(&[]);
    workload.subject_alt_names.push(SanType::URI("spiffe://example/agent/2".try_into().unwrap()));
    let mut nearly = client(&[]);
    nearly.subject_alt_names.push(SanType::URI("spiffe://example/agent/22".try_into().unwrap()));
    for (what, params, taken) in [
        ("the name", client(&["agent-1.example"]), true),
        ("the name in another case, among others", client(&["a.example", "Agent-1.Example"]), true),
        ("a URI", workload, true),
        ("a longer URI", nearly, false),
        ("only the common name", named, false),
        ("a name that begins so", client(&["agent-1.example.evil.example"]), false),
        ("a name that ends so", client(&["evil-agent-1.example"]), false),
        ("a pattern that the name fits", client(&["*.example"]), false),
        ("no name", client(&[]), false),
    ] {
        let answer = server.send(Some(&own.vouch("shown", &params))).await;
        assert_eq!(answer.is_ok(), taken, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn s39_a_revoked_certificate_is_refused_and_the_list_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let crl = own.revoke(99);
    let (cert, key) = own.vouch("server", &CertificateParams::new(["localhost".to_owned()]).unwrap());
    let clients = Clients { ca: own.ca(), crl: crl.clone(), ..Clients::default() };
    let tls = Tls::load_for(&cert, &key, clients).unwrap();
    let recorder = Arc::new(Recorder::default());
    let intake = Intake::new(recorder.clone(), Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let _doors = spawn(Doors { otlp_http: Some(listener), tls: Some(tls.clone()), ..Doors::default() }, &intake, &stop);
    let server = Secured { recorder, port, ca: own.ca(), stop };
    let shown = own.vouch("agent", &client(&["agent-1.example"]));
    assert_eq!(server.send(Some(&shown)).await, Ok(200));
    own.revoke(7);
    assert_eq!(server.send(Some(&shown)).await, Ok(200), "the list is not read again yet");
    tls.reload().unwrap();
    let refused = server.send(Some(&shown)).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("AlertReceived")), "{refused:?}");
    // A list that is none leaves the one in use in force.
    std::fs::write(&crl, "no list").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("own.crl: holds no revocation list"));
    assert!(server.send(Some(&shown)).await.is_err());
}

#[test]
fn s39_files_of_no_use_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "own");
    let (cert, key) = own.vouch("server", &CertificateParams::new(["localhost".to_owned()]).unwrap());
    let broken = dir.path().join("broken.crl");
    std::fs::write(&broken, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    for (clients, parts) in [
        (Clients { ca: "/nowhere.pem".into(), ..Clients::default() }, ["/nowhere.pem", "No such file"]),
        (Clients { ca: key.clone(), ..Clients::default() }, ["server.key", "BEGIN CERTIFICATE"]),
        (Clients { ca: own.ca(), crl: cert.clone(), ..Clients::default() }, ["server.pem", "X509 CRL"]),
        (Clients { ca: own.ca(), crl: broken, ..Clients::default() }, ["broken.crl", "of no use"]),
    ] {
        let text = Tls::load_for(&cert, &key, clients).unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
