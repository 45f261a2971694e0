//! HTTP as the tests speak it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that keeps connections and takes every status as an answer.
pub fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// Posts bytes.
///
/// # Errors
/// No whole answer came.
pub fn post(agent: &Agent, url: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    let mut response = agent.post(url).content_type(content_type).send(body)?;
    let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after,
        body: response.body_mut().with_config().limit(1 << 30).read_to_vec()?,
    })
}

/// Posts an OTLP request in protobuf.
///
/// # Errors
/// No whole answer came.
pub fn export(agent: &Agent, url: &str, body: &[u8]) -> Result<Answer> {
    post(agent, url, "application/x-protobuf", body)
}

/// Posts JSON and reads JSON.
///
/// # Errors
/// No answer, or one that is not 200: the message holds it.
pub fn post_json(url: &str, body: &Value) -> Result<Value> {
    let answer = post(&agent(), url, "application/json", body.to_string().as_bytes())?;
    if answer.status != 200 {
        bail!("POST {url} answered {}: {}", answer.status, answer.text());
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("POST {url} answered no JSON: {}", answer.text()))
}

/// Gets a URL.
///
/// # Errors
/// No whole answer came.
pub fn get(url: &str) -> Result<Answer> {
    let mut response = agent().get(url).call()?;
    Ok(Answer { status: response.status().as_u16(), retry_after: None, body: response.body_mut().read_to_vec()? })
}

/// Gets JSON.
///
/// # Errors
/// No answer, or one that is not 200: the message holds it.
pub fn get_json(url: &str) -> Result<Value> {
    let answer = get(url)?;
    if answer.status != 200 {
        bail!("GET {url} answered {}: {}", answer.status, answer.text());
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("GET {url} answered no JSON: {}", answer.text()))
}

/// For what may fail without harm, such as killing a process that has gone.
pub fn ignore<T, E>(_: Result<T, E>) {}
