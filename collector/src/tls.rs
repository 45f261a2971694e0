//! TLS 1.2 and 1.3 by rustls: what a door shows its clients and asks of them, and what a client of ours trusts and shows.
//!
//! The provider of the cryptography is named here and nowhere else, so that nothing depends on which one a library
//! installs for the process. A certificate that is wrong is an error at the start; one that has expired is only a warning,
//! since refusing to start would turn a nuisance into an outage. Certificates are renewed while a server runs: it reads its
//! files again when it is told to, and keeps what it has where they are wrong.

mod clients;
mod files;

use std::{
    fmt, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use devmesh_schema::limits;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::WebPkiServerVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

use self::files::{certificates, private_key, roots, unfit};
pub use self::{clients::Clients, files::TlsError};

/// The first byte of TLS: a record of the handshake.
pub const HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks HTTP where TLS is spoken.
const PLAIN: &str = "this port speaks TLS: use https:// in its address\n";
/// How much a client that is refused may still send, and how long, before the connection is closed.
const REST_BYTES: u64 = 64 << 10;
const REST_TIME: Duration = Duration::from_secs(1);

/// What is spoken inside TLS (ALPN): a client that names its protocols has to name one of the door's.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];
const POSTGRES: [&[u8]; 1] = [b"postgresql"];

/// A door's certificate with its key, and whose certificates it asks for. Cloning shares it, and what a reload changes.
#[derive(Clone)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    clients: Clients,
    current: Arc<RwLock<Current>>,
}

/// What was in the files when they were read.
struct Current {
    http: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
    concerns: Vec<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and the key of the first, both PEM.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key is that of another certificate.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::load_for(cert, key, Clients::default())
    }

    /// The same, for a door that asks its clients for certificates where `clients` has a CA.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn load_for(cert: &Path, key: &Path, clients: Clients) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(Current::read(cert, key, &clients)?));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), clients, current })
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was in use stays so.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Current::read(&self.cert, &self.key, &self.clients)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What keeps nobody from using it and should be mended all the same, each with its file.
    pub fn concerns(&self) -> Vec<String> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).concerns.clone()
    }

    fn http(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).http)
    }

    /// Shakes hands with a client of the Postgres wire. One that begins with TLS, without asking first, has to name the
    /// protocol, so that nobody leads a browser here.
    ///
    /// # Errors
    /// The client leaves, does not trust us, or does not name the protocol. There is no limit of time.
    pub async fn accept_postgres(&self, stream: TcpStream, direct: bool) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).postgres);
        let stream = shake_hands(config, stream).await?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(POSTGRES[0]) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "TLS without the protocol postgresql"));
        }
        Ok(stream)
    }

    /// Shakes hands, in [`limits::HEADER_TIME`].
    ///
    /// # Errors
    /// The client is too slow, leaves, does not speak TLS (it is told so in HTTP) or does not trust us.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0];
            let count = stream.peek(&mut first).await?;
            if count == 1 && first[0] != HANDSHAKE {
                tell(stream).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
            }
            shake_hands(self.http(), stream).await
        };
        timeout(limits::HEADER_TIME, handshake).await.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Current {
    fn read(cert: &Path, key: &Path, clients: &Clients) -> Result<Self, TlsError> {
        let chain = certificates(cert)?;
        let private = private_key(key)?;
        let mut concerns = Vec::new();
        if let Some(reason) = of_no_use(&chain) {
            concerns.push(format!("{}: the certificate {reason}; clients will refuse it", cert.display()));
        }
        if std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
            concerns.push(format!("{}: every user of this machine can read the key; chmod 640", key.display()));
        }
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match clients.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut http = builder.with_single_cert(chain, private).map_err(unfit(cert, key))?;
        let mut postgres = http.clone();
        http.alpn_protocols = HTTP.map(<[u8]>::to_vec).into();
        postgres.alpn_protocols = POSTGRES.map(<[u8]>::to_vec).into();
        Ok(Self { http: Arc::new(http), postgres: Arc::new(postgres), concerns })
    }
}

/// A client that is refused learns why from the alert, unless the connection is reset under it.
async fn shake_hands(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            // The first error is the one that counts.
            part(stream).await.unwrap_or_default();
            Err(error)
        }
    }
}

/// Answers a client that speaks HTTP.
async fn tell(mut stream: TcpStream) -> io::Result<()> {
    let head = format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: {}", PLAIN.len());
    stream.write_all(format!("{head}\r\ncontent-type: text/plain\r\n\r\n{PLAIN}").as_bytes()).await?;
    part(stream).await
}

/// Closes a connection after its last word. What the client still sends is read, else that word would be lost.
async fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let (mut rest, mut nowhere) = (stream.take(REST_BYTES), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    // However it ends, the connection is closed now.
    timeout(REST_TIME, read).await.map_or(Ok(()), |read| read.map(drop))
}

/// What a client of ours trusts: the certificates in `ca` alone or, without it, those that this machine trusts. It speaks
/// the protocols that `alpn` names to it afterwards.
///
/// # Errors
/// The file cannot be read or holds something else, or this machine trusts nobody.
pub fn client(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    client_as(ca, None)
}

/// The same, for a client that shows a certificate of its own: its chain and its key, both PEM.
///
/// # Errors
/// As [`client`], and where the key is that of another certificate.
pub fn client_as(ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<ClientConfig, TlsError> {
    let trusted = match ca {
        Some(path) => roots(path)?,
        None => native()?,
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(trusted);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(unfit(cert, key))
        }
    }
}

/// A client that takes any certificate, as a configuration may ask for in so many words (`insecure_skip_verify`).
///
/// # Errors
/// A file of its own certificate cannot be read, or the key is that of another certificate.
pub fn client_of_anybody(own: Option<(&Path, &Path)>) -> Result<ClientConfig, TlsError> {
    let mut client = match own {
        None => no_client()?,
        Some((cert, key)) => {
            let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
            let builder = builder.with_root_certificates(RootCertStore::empty());
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(unfit(cert, key))?
        }
    };
    client.dangerous().set_certificate_verifier(Arc::new(Anybody(provider())));
    Ok(client)
}

/// Takes any certificate; whoever shows it has to have its key all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Those that this machine trusts.
fn native() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _of_no_use) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        let reason = native.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(reason));
    }
    Ok(roots)
}

/// A client that will never be asked to speak TLS: it trusts nobody.
///
/// # Errors
/// rustls refuses, which it does not.
pub fn no_client() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Why clients will not take the first certificate at this time; `None` where nothing is wrong with it. Whom they trust is
/// theirs to know: the chain stands in as its own root, and only what is said about time and use counts.
fn of_no_use(chain: &[CertificateDer<'static>]) -> Option<&'static str> {
    let mut roots = RootCertStore::empty();
    roots.add(chain.last()?.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let (first, rest) = chain.split_first()?;
    match verifier.verify_server_cert(first, rest, &name, &[], UnixTime::now()).err()? {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("has expired")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Some("is not valid yet"),
        // webpki's own word, which rustls hands on as it is.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            Some("is an authority's own; make one with -addext basicConstraints=critical,CA:FALSE")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    struct Made {
        dir: tempfile::TempDir,
    }

    impl Made {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            let mut old = params.clone();
            (old.not_before, old.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
            let mut authority = params.clone();
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let mut early = params.clone();
            (early.not_before, early.not_after) = (date_time_ymd(2900, 1, 1), date_time_ymd(2901, 1, 1));
            for (name, content) in [
                ("cert", params.self_signed(&own).unwrap().pem()),
                ("old", old.self_signed(&own).unwrap().pem()),
                ("early", early.self_signed(&own).unwrap().pem()),
                ("authority", authority.self_signed(&own).unwrap().pem()),
                ("key", own.serialize_pem()),
                ("other", other.serialize_pem()),
                ("encrypted", own.serialize_pem().replace("PRIVATE", "ENCRYPTED PRIVATE")),
                ("empty", String::new()),
                ("broken", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_owned()),
                ("large", "x".repeat(2 << 20)),
            ] {
                std::fs::write(dir.path().join(name), content).unwrap();
                std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
            }
            Self { dir }
        }

        fn load(&self, cert: &str, key: &str) -> Result<Tls, TlsError> {
            Tls::load(&self.dir.path().join(cert), &self.dir.path().join(key))
        }
    }

    #[test]
    fn k7_a_certificate_without_its_key_is_an_error_that_says_which_file() {
        let made = Made::new();
        made.load("cert", "key").unwrap();
        for (cert, key, parts) in [
            ("cert", "other", ["/other:", "is not the key"]),
            ("cert", "encrypted", ["/encrypted:", "openssl pkey"]),
            ("cert", "empty", ["/empty:", "BEGIN PRIVATE KEY"]),
            ("cert", "cert", ["/cert:", "BEGIN PRIVATE KEY"]),
            ("key", "key", ["/key:", "BEGIN CERTIFICATE"]),
            ("empty", "key", ["/empty:", "BEGIN CERTIFICATE"]),
            ("broken", "key", ["/broken:", "PEM"]),
            ("nothing", "key", ["/nothing:", "No such file"]),
            ("large", "key", ["/large:", "larger"]),
        ] {
            let text = made.load(cert, key).unwrap_err().to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{cert} {key}: {text}");
        }
    }

    #[test]
    fn k7_a_certificate_whose_time_is_wrong_or_a_key_for_all_to_read_is_used_and_told() {
        let made = Made::new();
        for (cert, expected) in [("old", "has expired"), ("early", "is not valid yet"), ("authority", "CA:FALSE")] {
            let tls = made.load(cert, "key").unwrap();
            assert!(tls.concerns().len() == 1 && tls.concerns()[0].contains(expected), "{:?}", tls.concerns());
        }
        assert!(made.load("cert", "key").unwrap().concerns().is_empty());
        let key = made.dir.path().join("key");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let tls = made.load("cert", "key").unwrap();
        assert!(tls.concerns()[0].contains("every user"), "{:?}", tls.concerns());
    }
}
