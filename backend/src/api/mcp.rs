//! `POST /mcp`: the Model Context Protocol over streamable HTTP.
//!
//! Every request stands for itself: there are no sessions that could be taken over, nothing is kept between requests, and a token
//! that is revoked is refused at the next one. Whoever may read may ask. A page of another site cannot: besides the header `Host`,
//! which the guard of the whole API checks, `Origin` has to be one of this machine or of `http.hosts` (reliability.md S30).

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use http_body_util::{BodyExt, Full, Limited};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Hosts, problem::Problem};
use crate::mcp::{self, Call, Mcp};

/// Bytes of an answer of the API that is read before it is made to fit.
const ANSWER_BYTES: usize = 80 << 20;
/// Bytes of an error of the protocol.
const ERROR_BYTES: usize = 64 << 10;
/// Objects and lists of a request that may lie in one another (reliability.md S31).
const DEPTH: usize = 32;
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The API of this process. Who reached `/mcp` was let in to read, which is all that its tools do.
#[derive(Clone, Debug)]
struct Here(Router);

impl mcp::Api for Here {
    async fn call(&self, call: Call) -> Result<Value, String> {
        let request = Request::builder().method(call.method).uri(&call.path);
        let request = match call.body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        let request = request.map_err(|error| format!("the arguments make no request: {error}"))?;
        let response = self.0.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|_error| "the answer is too large; ask for fewer rows or columns".to_owned())?;
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        if head.status.is_success() {
            return Ok(answer);
        }
        let detail = answer.get("detail").and_then(Value::as_str);
        let mut text = detail.map_or_else(|| format!("the server answered {}", head.status), str::to_owned);
        if let Some(seconds) = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()) {
            text.push_str(&format!("; ask again in {seconds} s"));
        }
        Err(text)
    }
}

/// What stands behind the door.
struct Door {
    service: StreamableHttpService<Mcp<Here>, NeverSessionManager>,
    hosts: Hosts,
}

/// The route. `asked` is the API that the tools call; `stopping` ends what runs.
pub(super) fn route(asked: Router, hosts: Hosts, stopping: &CancellationToken) -> Router {
    // Host and Origin are ours to check, by the settings of the whole API.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_cancellation_token(stopping.child_token());
    let own = Mcp::new(Here(asked));
    let service = StreamableHttpService::new(move || Ok(own.clone()), Arc::new(NeverSessionManager::default()), config);
    Router::new().route("/mcp", post(mcp)).with_state(Arc::new(Door { service, hosts }))
}

/// Speaks the Model Context Protocol: streamable HTTP, JSON-RPC 2.0, one message a request, answers as JSON; no sessions. The tools are
/// sql, semantic_search, explain, trace, service_map and patterns; all of them only read. See docs/mcp.md.
#[utoipa::path(post, path = "/mcp", tag = "query", request_body = Object,
    responses((status = 200, body = Object), (status = 202, description = "A notification was taken."),
        (status = 400, body = super::problem::ProblemBody), (status = 403, body = super::problem::ProblemBody)))]
async fn mcp(State(door): State<Arc<Door>>, request: Request) -> Result<Response<Body>, Problem> {
    admit(&door.hosts, request.headers())?;
    let (head, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(head.clone(), body), &()).await;
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    if nesting(&body) > DEPTH {
        return Err(Problem::bad_request(format!("objects and lists lie in one another, at most {DEPTH} deep")));
    }
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request("one message a request: the protocol has no batches any more"));
    }
    let is_json =
        head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let response = door.service.handle(Request::from_parts(head, Full::new(body.clone()))).await;
    if is_json && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return Ok(no_message(&body));
    }
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status().is_success() || json {
        return Ok(response.map(Body::new));
    }
    let status = response.status();
    let text = Limited::new(response.into_body(), ERROR_BYTES).collect().await;
    let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default();
    Err(Problem::new(status, text))
}

/// The answer to what is no message of the protocol (JSON-RPC 2.0 §5.1).
fn no_message(body: &[u8]) -> Response<Body> {
    let (code, message) = match serde_json::from_slice::<IgnoredAny>(body) {
        Err(error) => (-32700, format!("parse error: {error}")),
        Ok(_) => (-32600, "invalid request: no message of JSON-RPC 2.0 as the protocol has it".to_owned()),
    };
    let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

fn admit(hosts: &Hosts, headers: &HeaderMap) -> Result<(), Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if !origins.all(|origin| origin.to_str().is_ok_and(|origin| hosts.own_origin(origin))) {
        let text = "pages of this origin may not ask; add its name to http.hosts if they should";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    if headers.contains_key(SESSION) {
        return Err(Problem::not_found("there is no such session: this server has none; begin with initialize"));
    }
    Ok(())
}

/// How deep objects and lists lie in one another, brackets in texts not counted.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_where_they_are_none_of_a_text() {
        for (json, depth) in
            [("{}", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"{"a":"[[[[\"[[[["}"#, 1), ("7", 0), ("]]]]", 0), ("", 0)]
        {
            assert_eq!(nesting(json.as_bytes()), depth, "{json}");
        }
        assert_eq!(nesting("[".repeat(1000).as_bytes()), 1000);
    }

    #[test]
    fn foreign_origins_and_sessions_are_refused() {
        let hosts = Hosts::new(&["obs.example".to_owned()], true);
        let headers = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            HeaderMap::from_iter(pairs)
        };
        for (pairs, status) in [
            (&[][..], None),
            (&[("origin", "http://localhost:6274")], None),
            (&[("origin", "https://obs.example")], None),
            (&[("origin", "http://[::1]:8000")], None),
            (&[("origin", "https://evil.example")], Some(StatusCode::FORBIDDEN)),
            (&[("origin", "https://localhost.evil.example")], Some(StatusCode::FORBIDDEN)),
            (&[("origin", "null")], Some(StatusCode::FORBIDDEN)),
            (&[("origin", "")], Some(StatusCode::FORBIDDEN)),
            (&[("mcp-session-id", "0123456789abcdef")], Some(StatusCode::NOT_FOUND)),
        ] {
            let found = admit(&hosts, &headers(pairs)).err().map(|problem| problem.into_response().status());
            assert_eq!(found, status, "{pairs:?}");
        }
    }
}
