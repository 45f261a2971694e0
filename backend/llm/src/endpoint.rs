//! An OpenAI-compatible endpoint (`POST {base}/chat/completions`): Ollama, vLLM, llama.cpp, and hosted ones.
//!
//! Everything is bounded: the time of a call, the tokens of question and answer, the bytes that are read, the calls at a time, the tokens
//! of a day. What an endpoint says of its own usage counts where it is more than can be counted here, so that it cannot make
//! itself cheap. Redirects are not followed: the key goes to the one origin that was configured (reliability.md S18). Of an error
//! only the status is told, since its text is a stranger's.

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 1 << 20;
/// Calls at a time: a model on one machine answers few, and the others would only wait there.
const CALLS: usize = 4;
/// Bytes that are a token at least, as far as can be told without the model's own table.
const BYTES_PER_TOKEN: usize = 3;
/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const DAY: u64 = 86_400;

/// Where a model is, and what it may cost.
#[derive(Clone)]
pub struct Settings {
    /// The base: `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Its key; empty where it wants none.
    pub key: String,
    /// Whether what telemetry says may be sent there.
    pub private: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Tokens of a question at most.
    pub prompt_tokens: usize,
    /// Tokens of an answer at most.
    pub answer_tokens: usize,
    /// Tokens a day (UTC), question and answer together.
    pub daily_tokens: u64,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is no URL.
    #[error("llm url: {0}")]
    Url(String),
    /// Nobody answers there.
    #[error("the language model at {0} cannot be reached")]
    Away(String),
    /// It did not answer in time.
    #[error("the language model did not answer within {0:?}")]
    Slow(Duration),
    /// It answered with an error.
    #[error("the language model's endpoint answered {0}")]
    Refused(StatusCode),
    /// It answered something else.
    #[error("the language model's endpoint answered what is no chat completion: {0}")]
    Strange(&'static str),
    /// The question is larger than what may be sent.
    #[error("the question has about {tokens} tokens; at most {most} may be sent")]
    Large {
        /// How many it has.
        tokens: usize,
        /// How many it may have.
        most: usize,
    },
    /// The day's tokens are used.
    #[error("the language model's tokens of the day are used up")]
    Spent {
        /// Seconds until there are new ones.
        seconds: u64,
    },
}

/// An endpoint.
pub struct Endpoint {
    settings: Settings,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: Uri,
    authorization: Option<HeaderValue>,
    turns: Semaphore,
    spent: Mutex<Spent>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The tokens of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    day: u64,
    tokens: u64,
}

impl Spent {
    /// Takes tokens before a call; else seconds until there are new ones.
    fn take(&mut self, tokens: u64, most: u64, now: u64) -> Result<(), u64> {
        if self.day != now / DAY {
            *self = Self { day: now / DAY, tokens: 0 };
        }
        if self.tokens.saturating_add(tokens) > most {
            return Err(DAY - now % DAY);
        }
        self.tokens += tokens;
        Ok(())
    }

    /// Puts what a call took in the place of what was taken for it.
    fn settle(&mut self, taken: u64, used: u64) {
        self.tokens = self.tokens.saturating_sub(taken).saturating_add(used);
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The rules.
    System,
    /// The question.
    User,
    /// What the model said before.
    Assistant,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into() }
    }

    fn json(&self) -> Value {
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({ "role": role, "content": self.text })
    }
}

fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

impl Endpoint {
    /// Of these settings; `trust` says whom to believe at `https://`.
    ///
    /// # Errors
    /// The URL is none, or the key cannot be sent.
    pub fn new(settings: Settings, trust: ClientConfig) -> Result<Self, Error> {
        let url = format!("{}/chat/completions", settings.url.trim_end_matches('/'));
        let address: Uri = url.parse().map_err(|error| Error::Url(format!("{error}")))?;
        if !matches!(address.scheme_str(), Some("http" | "https")) || address.host().is_none() {
            return Err(Error::Url("write it as http://HOST:PORT/v1 or https://HOST/v1".to_owned()));
        }
        let authorization = (!settings.key.is_empty()).then(|| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", settings.key))
                .map_err(|_error| Error::Url("the key holds what no header may".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIME));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            address,
            authorization: authorization.transpose()?,
            turns: Semaphore::new(CALLS),
            spent: Mutex::new(Spent::default()),
            settings,
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Whether what telemetry says may be sent there.
    pub fn is_private(&self) -> bool {
        self.settings.private
    }

    /// Bytes that a question may have.
    pub fn prompt_bytes(&self) -> usize {
        self.settings.prompt_tokens * BYTES_PER_TOKEN
    }

    /// The model's answer.
    ///
    /// # Errors
    /// There is none: see [`Error`].
    pub async fn complete(&self, messages: &[Message]) -> Result<String, Error> {
        let asked = tokens(messages.iter().map(|message| message.text.len()).sum());
        if asked > self.settings.prompt_tokens {
            return Err(Error::Large { tokens: asked, most: self.settings.prompt_tokens });
        }
        let taken = (asked + self.settings.answer_tokens) as u64;
        self.take(taken)?;
        let answer = tokio::time::timeout(self.settings.timeout, self.call(messages)).await;
        let answer = answer.unwrap_or(Err(Error::Slow(self.settings.timeout)));
        let used = match &answer {
            Ok(answer) => {
                let said = answer.pointer("/usage/total_tokens").and_then(Value::as_u64).unwrap_or(0);
                let counted = asked + tokens(content(answer).map_or(0, str::len));
                said.max(counted as u64).min(self.settings.daily_tokens)
            }
            // It may have worked all the same.
            Err(Error::Slow(_) | Error::Strange(_)) => taken,
            Err(_) => 0,
        };
        self.spent.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).settle(taken, used);
        let answer = answer?;
        let text = content(&answer).ok_or(Error::Strange("there is no choices[0].message.content"))?;
        // What a model thought aloud is none of its answer.
        let text = text.rsplit_once("</think>").map_or(text, |(_, answer)| answer).trim();
        if text.is_empty() { Err(Error::Strange("the content is empty")) } else { Ok(text.to_owned()) }
    }

    fn take(&self, tokens: u64) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut spent = self.spent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        spent.take(tokens, self.settings.daily_tokens, now).map_err(|seconds| Error::Spent { seconds })
    }

    async fn call(&self, messages: &[Message]) -> Result<Value, Error> {
        let away = || Error::Away(self.settings.url.clone());
        let _turn = self.turns.acquire().await.map_err(|_closed| away())?;
        let body = json!({
            "model": self.settings.model, "messages": messages.iter().map(Message::json).collect::<Vec<_>>(),
            "max_tokens": self.settings.answer_tokens, "temperature": 0, "stream": false,
        });
        let mut request = Request::post(self.address.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|_error| away())?;
        let response = self.client.request(request).await.map_err(|_error| away())?;
        if response.status() != StatusCode::OK {
            return Err(Error::Refused(response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|_error| Error::Strange("it broke off, or is larger than 1 MiB"))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_error| Error::Strange("it is no JSON"))
    }
}

fn content(answer: &Value) -> Option<&str> {
    answer.pointer("/choices/0/message/content")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_day_run_out_and_come_back_at_midnight() {
        let mut spent = Spent::default();
        let noon = 20_000 * DAY + DAY / 2;
        assert_eq!(spent.take(600, 1000, noon), Ok(()));
        assert_eq!(spent.take(600, 1000, noon), Err(DAY / 2));
        spent.settle(600, 100);
        assert_eq!(spent.take(600, 1000, noon), Ok(()));
        assert_eq!(spent.take(600, 1000, noon + DAY / 2), Ok(()), "a new day");
        assert_eq!(spent.take(u64::MAX, 1000, noon), Err(DAY / 2), "nothing overflows");
    }

    #[test]
    fn addresses_and_keys_that_cannot_be_are_refused_and_none_shows_itself() {
        let settings = |url: &str, key: &str| Settings {
            url: url.to_owned(),
            model: "m".to_owned(),
            key: key.to_owned(),
            private: true,
            timeout: Duration::from_secs(1),
            prompt_tokens: 100,
            answer_tokens: 100,
            daily_tokens: 1000,
        };
        let trust = || {
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        for (url, key) in [("ftp://x/v1", ""), ("/v1", ""), ("http://", ""), ("http://x/v1", "a\nb")] {
            assert!(Endpoint::new(settings(url, key), trust()).is_err(), "{url} {key}");
        }
        let endpoint = Endpoint::new(settings("http://127.0.0.1:1/v1/", "secret-key"), trust()).unwrap();
        assert_eq!(endpoint.address, "http://127.0.0.1:1/v1/chat/completions");
        assert!(!format!("{endpoint:?}").contains("secret-key"));
    }
}
