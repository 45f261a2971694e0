//! Sends a message to a receiver, within bounds of time and size. Redirects are not followed, and no error shows where it was
//! sent to: the address of a webhook is a secret.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use devmesh_collector::{secret_file, tls};
use devmesh_rules::notify::config::{Auth, Http, Secret};
use http::{HeaderValue, Request, StatusCode, Uri, header, header::InvalidHeaderValue};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// Bytes of an answer that are read: what was wrong stands at its beginning.
const ANSWER_BYTES: usize = 64 << 10;
/// Characters of an answer that are logged.
const SHOWN: usize = 200;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const LATER_MAX: Duration = Duration::from_secs(3600);

/// Why a message was not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: String,
    /// Whether the same may be sent again, and when at the earliest.
    pub(super) again: Option<Duration>,
}

impl Refused {
    fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: None }
    }

    fn later(reason: impl Into<String>, after: Duration) -> Self {
        Self { reason: reason.into(), again: Some(after) }
    }
}

/// Talks to one receiver.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: Legacy<HttpsConnector<HttpConnector>, Full<Bytes>>,
    auth: Option<Auth>,
}

impl Client {
    /// # Errors
    /// A certificate cannot be read.
    pub(super) fn new(http: &Http) -> Result<Self, String> {
        let own = http.own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let trust = if http.insecure {
            tls::client_of_anybody(own)
        } else if http.ca.is_some() || own.is_some() {
            tls::client_as(http.ca.as_deref(), own)
        } else {
            // Where this machine trusts nobody, https fails once it is needed.
            tls::client(None).or_else(|_| tls::no_client())
        };
        let trust = trust.map_err(|error| format!("tls_config: {error}"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1();
        let inner = Legacy::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .build(builder.wrap_connector(connector));
        Ok(Self { inner, auth: http.auth.clone() })
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// It was not taken.
    pub(super) async fn post(&self, url: &str, body: Bytes, time: Duration) -> Result<(), Refused> {
        let send = async {
            let uri: Uri = url.parse().map_err(|_shows_it| Refused::for_good("its address is no URL"))?;
            let mut request = Request::post(uri).body(Full::new(body)).map_err(|e| Refused::for_good(e.to_string()))?;
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let agent = concat!("devmesh/", env!("CARGO_PKG_VERSION"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
            if let Some(auth) = &self.auth {
                headers.insert(header::AUTHORIZATION, credentials(auth).await?);
            }
            let response = self.inner.request(request).await;
            let response = response.map_err(|error| Refused::later(described(&error), Duration::ZERO))?;
            let (parts, body) = response.into_parts();
            let answer = Limited::new(body, ANSWER_BYTES).collect().await;
            judged(&parts, answer.map(http_body_util::Collected::to_bytes).unwrap_or_default())
        };
        let timed = tokio::time::timeout(time, send).await;
        timed.unwrap_or_else(|_elapsed| Err(Refused::later(format!("no answer within {time:?}"), Duration::ZERO)))
    }
}

/// What an answer says: taken, to be sent again later, or never.
fn judged(parts: &http::response::Parts, answer: Bytes) -> Result<(), Refused> {
    if parts.status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer);
    let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    let reason = format!("it answered {}: {text}", parts.status);
    let again = parts.status == StatusCode::TOO_MANY_REQUESTS
        || parts.status == StatusCode::REQUEST_TIMEOUT
        || parts.status.is_server_error();
    if !again {
        return Err(Refused::for_good(reason));
    }
    let seconds = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(Refused::later(reason, seconds.map_or(Duration::ZERO, Duration::from_secs).min(LATER_MAX)))
}

async fn credentials(auth: &Auth) -> Result<HeaderValue, Refused> {
    let text = match auth {
        Auth::Scheme(scheme, secret) => format!("{scheme} {}", read(secret).await?),
        Auth::Basic(user, secret) => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", read(secret).await?)))
        }
    };
    let value: Result<HeaderValue, InvalidHeaderValue> = text.parse();
    let mut value = value.map_err(|_told_nothing| Refused::for_good("its credentials are no text of a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text of a secret; a file is read each time, so that it can change.
pub(super) async fn read(secret: &Secret) -> Result<String, Refused> {
    let path: PathBuf = match secret {
        Secret::Here(text) => return Ok(text.clone()),
        Secret::File(path) => path.clone(),
    };
    let read = tokio::task::spawn_blocking(move || secret_file::read(&path)).await;
    let text = read.map_err(|error| Refused::later(error.to_string(), Duration::ZERO))?;
    // Somebody may put it there.
    text.map(|text| text.trim().to_owned()).map_err(|error| Refused::later(error, Duration::ZERO))
}

/// An error with what caused it: "connection refused" stands at the end of the chain.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
