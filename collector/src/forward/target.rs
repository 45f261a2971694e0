//! The server that batches are sent to: its URLs, the connection to it, and how a request goes out.

use std::{io::Write, net::IpAddr, time::Duration};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::Settings;
use crate::{
    settings::Compression,
    tls::{self, TlsError},
};

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Smaller requests are not worth compressing: they fit into a packet or two.
const COMPRESSED_BYTES: usize = 1024;

pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Nothing can be sent to the target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL to send to.
    #[error("send to {to}: {reason}")]
    Url {
        /// What was given.
        to: String,
        /// Why not.
        reason: String,
    },
    /// Nobody vouches for it, or there is nothing to show it.
    #[error("forward.ca, forward.cert, forward.key: {0}")]
    Tls(#[from] TlsError),
}

/// The address of a signal below a server's.
pub(super) fn url(to: &Uri, signal: devmesh_schema::Signal) -> Result<Uri, TargetError> {
    let path = format!("{}/v1/{signal}", to.path().trim_end_matches('/'));
    let mut parts = to.clone().into_parts();
    let wrong = |reason: String| TargetError::Url { to: to.to_string(), reason };
    parts.path_and_query = Some(path.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?);
    if !matches!(to.scheme_str(), Some("http" | "https")) || to.host().is_none() {
        return Err(wrong("it has to be http://HOST:PORT or https://HOST:PORT".into()));
    }
    Uri::from_parts(parts).map_err(|error| wrong(error.to_string()))
}

/// Whether a server is this machine.
fn is_here(to: &Uri) -> bool {
    let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether requests to the server are compressed.
pub(super) fn compresses(settings: &Settings) -> bool {
    match settings.compression {
        Compression::Gzip => true,
        Compression::None => false,
        Compression::Auto => !is_here(&settings.to),
    }
}

/// A client for the server.
///
/// # Errors
/// There are no certificates to know it by.
pub(super) fn client(settings: &Settings) -> Result<HttpClient, TargetError> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIME));
    connector.set_keepalive(Some(Duration::from_secs(20)));
    // Else it refuses https:// itself.
    connector.enforce_http(false);
    let https = settings.to.scheme_str() == Some("https");
    let own = settings.own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
    let trust = if https { tls::client_as(settings.ca.as_deref(), own) } else { tls::no_client() }?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1();
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Shorter than servers keep an idle connection, so that a batch rarely meets one that is being closed.
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(settings.in_flight)
        .http1_max_buf_size(64 << 10)
        .build(builder.wrap_connector(connector)))
}

/// A request as it goes out, and whether it is compressed: a small one is not.
pub(super) async fn packed(request: &Bytes, compress: bool) -> (Bytes, bool) {
    if !compress || request.len() < COMPRESSED_BYTES {
        return (request.clone(), false);
    }
    let plain = request.clone();
    let pack = move || {
        let mut gzip = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Level::fast());
        gzip.write_all(&plain).and_then(|()| gzip.finish())
    };
    // Not on the threads that serve the doors. What cannot be compressed goes as it is.
    match tokio::task::spawn_blocking(pack).await {
        Ok(Ok(packed)) => (packed.into(), true),
        _ => (request.clone(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_server_with_or_without_a_path() {
        let logs = |to: &str| url(&to.parse().unwrap(), devmesh_schema::Signal::Logs).map(|url| url.to_string());
        assert_eq!(logs("http://h:4318").unwrap(), "http://h:4318/v1/logs");
        assert_eq!(logs("http://h:4318/").unwrap(), "http://h:4318/v1/logs");
        assert_eq!(logs("http://h/otlp/").unwrap(), "http://h/otlp/v1/logs");
        assert_eq!(logs("https://h").unwrap(), "https://h/v1/logs");
        assert!(logs("ftp://h").is_err());
        assert!(logs("h:4318").is_err());
    }

    #[tokio::test]
    async fn a_request_of_some_size_is_packed() {
        let small = Bytes::from_static(&[7; 100]);
        let large = Bytes::from("a line of text\n".repeat(10_000));
        assert_eq!(packed(&small, true).await, (small.clone(), false));
        assert_eq!(packed(&large, false).await, (large.clone(), false));
        let (sent, gzip) = packed(&large, true).await;
        assert!(gzip && sent.len() * 20 < large.len(), "{}", sent.len());
    }

    #[test]
    fn only_a_server_elsewhere_is_worth_the_work() {
        for (to, here) in [
            ("http://localhost:4318", true),
            ("http://127.0.0.2:4318", true),
            ("http://[::1]:4318", true),
            ("http://192.0.2.1:4318", false),
            ("https://obs.example", false),
        ] {
            assert_eq!(is_here(&to.parse().unwrap()), here, "{to}");
        }
    }
}
