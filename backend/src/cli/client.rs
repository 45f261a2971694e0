//! Asks a running server over HTTP, with TLS or without.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use devmesh_collector::tls;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use url::Url;

/// Bytes of an answer that is read as a whole.
const ANSWER_BYTES: usize = 256 << 20;

/// Which server is asked.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server to ask.
    #[arg(long, env = "DEVMESH_URL", default_value = "http://127.0.0.1:8000")]
    url: Url,
    /// A token that may read, where the server wants one.
    #[arg(long, env = "DEVMESH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Certificates that vouch for a server of https://, instead of those that this machine trusts.
    #[arg(long, env = "DEVMESH_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate that is shown to a server which asks for one.
    #[arg(long, env = "DEVMESH_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, env = "DEVMESH_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// A server that is asked.
pub(super) struct Server {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    token: Option<String>,
}

impl ServerArgs {
    pub(super) fn server(&self) -> Result<Server> {
        let own = self.cert.as_deref().zip(self.key.as_deref());
        let trust = match self.url.scheme() {
            "https" => tls::client_as(self.ca.as_deref(), own).context("--ca, --cert, --key")?,
            "http" => tls::no_client()?,
            other => bail!("--url: {other}:// is not spoken; it has to be http:// or https://"),
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Server { client, url: self.url.clone(), token: self.token.clone() })
    }
}

impl Server {
    /// Sends a request; the answer is one of success.
    ///
    /// # Errors
    /// No server answers, or it answers with a problem, which becomes the message.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<Value>,
    ) -> Result<Response<Incoming>> {
        let url = self.url.join(path)?;
        let mut request = Request::builder().method(method).uri(url.as_str()).header(header::ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| {
            let error = anyhow::Error::from(error);
            let says = |text: &str| error.chain().any(|cause| cause.to_string().contains(text));
            let advice = if says("CaUsedAsEndEntity") {
                "its certificate is an authority's own, not a server's; make one with basicConstraints=critical,CA:FALSE"
            } else if says("invalid peer certificate") {
                "name the file of the certificate that vouches for it with --ca"
            } else if says("received fatal alert") {
                "it takes no client without a certificate that it knows: name one with --cert and --key"
            } else {
                "start one with `devmesh serve`, or name it with --url"
            };
            anyhow::anyhow!("no server answers at {} ({}); {advice}", self.url, error.root_cause())
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = whole(answer).await?;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        match problem.get("detail").and_then(Value::as_str) {
            Some(detail) => bail!("{detail}"),
            None => bail!("{} answered {status}", self.url),
        }
    }

    /// Gets JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.ask(Method::GET, path, "application/json", None).await?;
        Ok(serde_json::from_slice(&whole(answer).await?)?)
    }
}

/// The whole body of an answer.
pub(super) async fn whole(answer: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => bail!("the answer broke off: {error}"),
    }
}

/// Percent-encodes a value for a query string.
pub(super) fn encoded(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}
