//! What every request on the API's port passes: the name by which it reached us, credentials, headers of the answer.
//!
//! A page of another site can point a name of its own at 127.0.0.1 and then talk to a server on loopback as its own
//! origin (DNS rebinding). So a server on loopback answers only to names of this machine and those of `http.hosts`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use devmesh_collector::Denied;

use super::{Api, problem::Problem};
use crate::access::Scope;

/// The policy of every page: nothing from elsewhere, no inline script or style sheet, no frame. Attributes `style` are
/// what the console places rows and bars with. A text becomes code only through a policy of Trusted Types.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Checks a request before it reaches its handler, and dresses the answer.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&api, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn admit(api: &Api, request: &Request) -> Result<(), Problem> {
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    if !api.hosts.allow(host) {
        let text = "the server does not go by this name; add it to http.hosts if it should";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let Some(scope) = scope(request.method(), request.uri().path()) else { return Ok(()) };
    // A page of another site cannot read the answer, but what it asks for would be done: a rule made, say.
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if !request.method().is_safe() && !origins.all(|origin| is_own(api, origin, host)) {
        let text = "pages of this origin may not ask; add its name to http.hosts if they should";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    match api.access.check(scope, request.headers(), peer) {
        Ok(_) => Ok(()),
        Err(Denied::Unknown) => Err(Problem::unauthorized()),
        Err(Denied::Forbidden) => Err(Problem::new(StatusCode::FORBIDDEN, "this token does not allow it")),
        Err(Denied::Later(wait)) => {
            let text = "wrong credentials came too often from here";
            Err(Problem::later(StatusCode::TOO_MANY_REQUESTS, text, wait.as_secs().max(1)))
        }
    }
}

/// Whether pages of the origin are those that the same address serves, this machine's, or go by a listed name.
fn is_own(api: &Api, origin: &HeaderValue, host: Option<&str>) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let served = origin.split_once("://").map(|(_, authority)| authority);
    (served.is_some() && served == host) || api.hosts.own_origin(origin)
}

/// What a path needs; `None` for what anybody may see. OTLP and the direct path have their doors' own check, whose
/// answers are in the senders' protocols.
fn scope(method: &Method, path: &str) -> Option<Scope> {
    let of_the_doors = ["/v1/logs", "/v1/traces", "/v1/metrics", "/v1/ingest", "/api/v1/write"].contains(&path)
        || path == "/api/v1/otlp/v1/metrics"
        || path.starts_with("/ingest/")
        || path.starts_with("/opentelemetry.proto.");
    let public = ["/health", "/ready"].contains(&path);
    if of_the_doors || (public && method == Method::GET) { None } else { Some(Scope::Read) }
}

/// The names by which the server may be reached.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    listed: Vec<String>,
    any: bool,
}

impl Hosts {
    /// Beyond loopback every name will do where none is listed.
    pub(crate) fn new(listed: &[String], loopback: bool) -> Self {
        Self { listed: listed.iter().map(|name| name.to_lowercase()).collect(), any: !loopback && listed.is_empty() }
    }

    fn allow(&self, host: Option<&str>) -> bool {
        if self.any {
            return true;
        }
        let Some(host) = host else { return false };
        self.own(host)
    }

    /// Whether pages of the origin (`https://obs.example:8000`) are this machine's or go by a listed name, wherever we listen.
    pub(super) fn own_origin(&self, origin: &str) -> bool {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| self.own(host))
    }

    fn own(&self, host: &str) -> bool {
        let name = without_port(host).to_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let local = name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        local || self.listed.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_loopback_answers_to_names_of_this_machine_only() {
        let hosts = Hosts::new(&["Obs.example".to_owned()], true);
        for good in
            ["localhost", "localhost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "[::1]", "obs.example:8000"]
        {
            assert!(hosts.allow(Some(good)), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1:8000", "", "::1:8000:x"] {
            assert!(!hosts.allow(Some(bad)), "{bad}");
        }
        assert!(!hosts.allow(None));
        assert!(Hosts::new(&[], false).allow(Some("anything")));
    }

    #[test]
    fn only_health_and_readiness_are_public() {
        for (method, path, expected) in [
            (Method::GET, "/health", None),
            (Method::GET, "/ready", None),
            (Method::POST, "/health", Some(Scope::Read)),
            (Method::GET, "/", Some(Scope::Read)),
            (Method::GET, "/info", Some(Scope::Read)),
            (Method::GET, "/metrics", Some(Scope::Read)),
            (Method::POST, "/query/sql", Some(Scope::Read)),
            (Method::POST, "/v1/logs", None),
            (Method::POST, "/ingest/logs", None),
            (Method::POST, "/v1/servers", Some(Scope::Read)),
            (Method::POST, "/api/v1/write", None),
            (Method::POST, "/api/v1/otlp/v1/metrics", None),
            (Method::POST, "/api/v1/query", Some(Scope::Read)),
        ] {
            assert_eq!(scope(&method, path), expected, "{method} {path}");
        }
    }
}
