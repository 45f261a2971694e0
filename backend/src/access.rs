//! Who may do what: static tokens with two scopes, checked at every door in the same way.
//!
//! A scope without tokens is open to everybody who reaches the door; the settings make sure that this is this machine
//! alone, or what the operator said in so many words.

mod failures;

use std::{net::IpAddr, time::Instant};

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use devmesh_collector::{Denied, Guard};

use self::failures::Failures;
use crate::settings::{Auth, Secret};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To send records.
    Ingest,
    /// To query.
    Read,
}

/// The tokens by scope.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    ingest: Vec<Secret>,
    read: Vec<Secret>,
    failures: Failures,
}

impl Access {
    /// As the settings say.
    pub(crate) fn new(auth: &Auth) -> Self {
        Self { ingest: auth.ingest_tokens.clone(), read: auth.read_tokens.clone(), failures: Failures::default() }
    }

    /// Whether the scope needs no token.
    pub(crate) fn is_open(&self, scope: Scope) -> bool {
        self.tokens(scope).is_empty()
    }

    fn tokens(&self, scope: Scope) -> &[Secret] {
        match scope {
            Scope::Ingest => &self.ingest,
            Scope::Read => &self.read,
        }
    }

    /// Whether the token allows it. A wrong one counts for the address that it came from; a right one is never slowed by
    /// the wrong ones of others at the same address, a gateway's say. That tells a right token from a wrong one at the
    /// speed of the network still; what stands against guessing is that a token has 16 characters at least.
    ///
    /// # Errors
    /// A wrong token, one for the other scope, or a wrong one after too many.
    pub(crate) fn check_token(&self, scope: Scope, token: &str, peer: Option<IpAddr>) -> Result<(), Denied> {
        self.number(scope, token, peer).map(drop)
    }

    /// The same, and which of the scope's tokens it is; `None` where none is needed.
    fn number(&self, scope: Scope, token: &str, peer: Option<IpAddr>) -> Result<Option<usize>, Denied> {
        if self.is_open(scope) {
            return Ok(None);
        }
        let found = self.find(scope, token);
        let (Err(Denied::Unknown), Some(peer)) = (found, peer) else { return found };
        let now = Instant::now();
        if let Some(wait) = self.failures.wait(peer, now) {
            return Err(Denied::Later(wait));
        }
        self.failures.add(peer, now);
        found
    }

    fn find(&self, scope: Scope, token: &str) -> Result<Option<usize>, Denied> {
        // Every token is compared, so that the time tells nothing about which one was nearly right.
        let among = |tokens: &[Secret]| {
            let numbered = tokens.iter().enumerate();
            numbered.fold(None, |found, (number, secret)| if secret.is(token) { Some(number) } else { found })
        };
        let (ingest, read) = (among(&self.ingest), among(&self.read));
        let allowed = match scope {
            Scope::Ingest => ingest,
            Scope::Read => read,
        };
        match (allowed, ingest.or(read)) {
            (Some(number), _) => Ok(Some(number)),
            (None, Some(_)) => Err(Denied::Forbidden),
            (None, None) => Err(Denied::Unknown),
        }
    }

    /// Whether the request's header `Authorization` allows it, and which token it is: `Bearer TOKEN`, or `Basic` with the token as the
    /// password, which is what a browser asks its user for.
    ///
    /// # Errors
    /// No credentials; else as [`Access::check_token`].
    pub(crate) fn check(
        &self,
        scope: Scope,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Option<usize>, Denied> {
        if self.is_open(scope) {
            return Ok(None);
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, more) = (values.next(), values.next());
        let Some(value) = value else { return Err(Denied::Unknown) };
        // What is no token at all is a wrong one too.
        let token = if more.is_some() { None } else { value.to_str().ok().and_then(token) };
        self.number(scope, token.as_deref().unwrap_or_default(), peer)
    }
}

fn token(header: &str) -> Option<String> {
    let (scheme, credentials) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// The doors' question whether a sender may write.
#[derive(Debug)]
pub(crate) struct Senders(pub(crate) Access);

impl Guard for Senders {
    fn check(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Option<usize>, Denied> {
        self.0.check(Scope::Ingest, headers, peer)
    }
}

#[cfg(test)]
mod tests {
    use devmesh_schema::limits;

    use super::*;

    const SEND: &str = "send-0123456789abcdef";
    const READ: &str = "read-0123456789abcdef";

    fn access() -> Access {
        Access {
            ingest: vec![Secret::new(SEND)],
            read: vec![Secret::new("other-0123456789"), Secret::new(READ)],
            failures: Failures::default(),
        }
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_right_token_of_the_right_scope_opens() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{READ}")));
        type Case<'c> = (&'c [&'c str], Result<Option<usize>, Denied>);
        let cases: [Case<'_>; 10] = [
            (&[], Err(Denied::Unknown)),
            (&[&format!("Bearer {READ}")], Ok(Some(1))),
            (&[&format!("bearer {READ}")], Ok(Some(1))),
            (&[&basic], Ok(Some(1))),
            (&[&format!("Bearer {SEND}")], Err(Denied::Forbidden)),
            (&[&format!("Bearer {READ} ")], Err(Denied::Unknown)),
            (&[&format!("Bearer \"{READ}\"")], Err(Denied::Unknown)),
            (&[READ], Err(Denied::Unknown)),
            (&["Basic !!"], Err(Denied::Unknown)),
            (&[&format!("Bearer {READ}"), &format!("Bearer {READ}")], Err(Denied::Unknown)),
        ];
        for (values, expected) in cases {
            assert_eq!(access().check(Scope::Read, &headers(values), None), expected, "{values:?}");
        }
    }

    #[test]
    fn a_scope_without_tokens_is_open() {
        let access = Access { ingest: Vec::new(), ..access() };
        assert_eq!(access.check(Scope::Ingest, &headers(&[]), None), Ok(None));
        assert_eq!(access.check(Scope::Ingest, &headers(&["Bearer whatever"]), None), Ok(None));
        assert_eq!(access.check(Scope::Read, &headers(&[]), None), Err(Denied::Unknown));
    }

    #[test]
    fn guessing_is_slowed_at_every_door_alike_and_asking_without_a_token_is_no_guess() {
        let access = access();
        let (peer, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        let (right, wrong) = (headers(&[&format!("Bearer {READ}")]), headers(&["Bearer guess"]));
        for _ in 0..limits::AUTH_FAILURES {
            assert_eq!(access.check(Scope::Read, &headers(&[]), peer), Err(Denied::Unknown));
            assert_eq!(access.check(Scope::Read, &right, peer), Ok(Some(1)));
            assert_eq!(Senders(access.clone()).check(&wrong, peer), Err(Denied::Unknown));
        }
        let answer = access.check(Scope::Read, &wrong, peer);
        assert!(matches!(answer, Err(Denied::Later(wait)) if wait <= limits::AUTH_WINDOW), "{answer:?}");
        assert_eq!(access.check(Scope::Read, &right, peer), Ok(Some(1)), "a right token is never slowed");
        assert_eq!(access.check(Scope::Read, &headers(&[]), peer), Err(Denied::Unknown));
        assert_eq!(access.check(Scope::Read, &right, other), Ok(Some(1)));
    }
}
