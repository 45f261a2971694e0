//! Fetches an exposition, or an answer of discovery, within bounds of time and size. Redirects are not followed.

use std::{path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header, header::InvalidHeaderValue};
use http_body_util::Empty;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::pki_types::ServerName;

use super::config::{Auth, Http, Secret};
use crate::{
    body::{self, Bounds, Held},
    intake::Budget,
    tls,
};

/// Bytes of a file that holds a secret.
const SECRET_BYTES: u64 = 64 << 10;
/// How long an idle connection is kept: longer than usual intervals.
const IDLE: Duration = Duration::from_secs(90);

/// Talks to servers of one job.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: Legacy<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    auth: Auth,
    headers: HeaderMap,
}

/// An answer of 200.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) content_type: Option<String>,
    /// Decompressed, with its part of the budget.
    pub(super) body: Held,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Client {
    /// # Errors
    /// A certificate cannot be read, or a header is none.
    pub(super) fn new(http: &Http, https: bool) -> Result<Self, String> {
        let files = &http.tls;
        let own = files.own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let trust = if files.insecure {
            tls::client_of_anybody(own)
        } else if https || files.ca.is_some() || own.is_some() {
            tls::client_as(files.ca.as_deref(), own)
        } else {
            // A target may turn out to be https after relabelling; where this machine trusts nobody, it then fails.
            tls::client(None).or_else(|_| tls::no_client())
        };
        let trust = trust.map_err(|error| format!("tls_config: {error}"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http();
        let connector = match &files.server_name {
            None => builder.enable_http1().wrap_connector(connector),
            Some(name) => {
                let name = ServerName::try_from(name.clone()).map_err(|error| format!("server_name: {error}"))?;
                let resolver = FixedServerNameResolver::new(name);
                builder.with_server_name_resolver(resolver).enable_http1().wrap_connector(connector)
            }
        };
        let inner = Legacy::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { inner, auth: http.auth.clone(), headers: headers(&http.headers)? })
    }

    /// Gets a URL.
    ///
    /// # Errors
    /// Why there is no answer of 200, in a few words.
    pub(super) async fn get(
        &self,
        url: &Uri,
        more: &[(HeaderName, HeaderValue)],
        within: Within,
        budget: &Budget,
    ) -> Result<Fetched, String> {
        let limit = usize::try_from(within.bytes).unwrap_or(usize::MAX);
        let fetch = async {
            let mut request = Request::get(url.clone()).body(Empty::new()).map_err(|error| error.to_string())?;
            let to = request.headers_mut();
            to.extend(self.headers.clone());
            more.iter().for_each(|(name, value)| drop(to.insert(name, value.clone())));
            if let Some(value) = self.auth.header().await? {
                to.insert(header::AUTHORIZATION, value);
            }
            let response = self.inner.request(request).await.map_err(|error| described(&error))?;
            let (parts, body) = response.into_parts();
            if parts.status != StatusCode::OK {
                return Err(format!("the server answered {}", parts.status));
            }
            let bounds = Bounds { sent: limit, decoded: limit, time: within.time };
            let body = body::read(&parts.headers, body, bounds, budget).await.map_err(|refusal| refusal.message)?;
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Fetched { content_type, body })
        };
        let timed = tokio::time::timeout(within.time, fetch).await;
        timed.unwrap_or_else(|_elapsed| Err(format!("no answer within {:?}", within.time)))
    }
}

/// An error with what caused it: "connection refused" stands at the end of the chain.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn headers(all: &[(String, Vec<String>)]) -> Result<HeaderMap, String> {
    let mut out = HeaderMap::new();
    for (name, values) in all {
        let wrong = |error: &dyn std::fmt::Display| format!("http_headers.{name}: {error}");
        let header: HeaderName = name.parse().map_err(|error| wrong(&error))?;
        for value in values {
            out.append(header.clone(), value.parse().map_err(|error| wrong(&error))?);
        }
    }
    Ok(out)
}

impl Auth {
    async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let text = match self {
            Auth::None => return Ok(None),
            Auth::Scheme(scheme, secret) => format!("{scheme} {}", secret.read().await?),
            Auth::Basic(user, secret) => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", secret.read().await?)))
            }
        };
        let mut value: HeaderValue = text
            .parse()
            .map_err(|_told_nothing: InvalidHeaderValue| "the credentials are no text of a header".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Secret {
    async fn read(&self) -> Result<String, String> {
        match self {
            Secret::Here(text) => Ok(text.clone()),
            Secret::File(path) => Ok(file(path, SECRET_BYTES).await?.trim().to_owned()),
        }
    }
}

/// A small file's text.
///
/// # Errors
/// It cannot be read, is larger, or is no text.
pub(super) async fn file(path: &Path, most: u64) -> Result<String, String> {
    use tokio::io::AsyncReadExt;
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    file.take(most + 1).read_to_string(&mut text).await.map_err(wrong)?;
    if text.len() as u64 > most {
        return Err(format!("{}: it has more than {most} bytes", path.display()));
    }
    Ok(text)
}
