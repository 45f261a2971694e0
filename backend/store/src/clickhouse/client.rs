//! A client of a server: in the clear, or by TLS where the URL says `?secure`.
//!
//! By TLS the server has to show a certificate for the host of the URL, signed by an authority that this machine trusts, or
//! by one in the file that `&ca=FILE` names.

use std::{sync::Arc, time::Duration};

use clickhouse::{Client, Compression};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy, rt::TokioExecutor};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{Error, external::address::Address};

/// The server's port for HTTP, and for HTTPS.
pub(crate) const PORT: u16 = 8123;
const SECURE_PORT: u16 = 8443;
/// The database, where the URL names none: what the exporter's documentation uses.
const DATABASE: &str = "otel";
/// How long a connection may be idle before it is closed: less than the server's own limit of 3 s.
const IDLE: Duration = Duration::from_secs(2);

/// The parts of a `clickhouse://` URL.
///
/// # Errors
/// It names no server.
pub(crate) fn address(url: &url::Url) -> Result<Address, Error> {
    let secure = url.query_pairs().any(|(key, _)| key == "secure");
    Address::parse(url, if secure { SECURE_PORT } else { PORT }, DATABASE)
}

/// A client. Nothing is connected to yet.
///
/// # Errors
/// The certificates that it is to trust cannot be read.
pub(crate) fn client(address: &Address) -> Result<Client, Error> {
    let secure = address.option("secure").is_some_and(|value| !matches!(value, "0" | "false" | "no"));
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    let mut client = if secure { by_tls(address.option("ca"))? } else { Client::default() };
    let scheme = if secure { "https" } else { "http" };
    client = client
        .with_url(format!("{scheme}://{host}:{}", address.port))
        .with_compression(Compression::Lz4)
        .with_product_info("devmesh", env!("CARGO_PKG_VERSION"));
    if !address.user.is_empty() {
        client = client.with_user(address.user.clone());
    }
    if !address.password.0.is_empty() {
        client = client.with_password(address.password.0.clone());
    }
    Ok(client)
}

fn by_tls(authorities: Option<&str>) -> Result<Client, Error> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            let wrong = |what: String| Error::Url(format!("ca={file}: {what}; name a file of certificates, PEM"));
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it has no certificate".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let what = "this machine has no root certificates; install ca-certificates, or add &ca=FILE to the URL";
                return Err(Error::Url(what.to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Url(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    let http = legacy::Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
    Ok(Client::with_http_client(http))
}
