//! The bad-input catalogue, group G, where it is about what stands in the header. The other rows stand with the program,
//! which knows tokens.

use std::{net::IpAddr, sync::Arc};

use devmesh_collector::{Denied, Guard, Settings};
use http::HeaderMap;

use crate::support::*;

/// Lets in whoever says `Bearer x`, and nothing else.
#[derive(Debug)]
struct Exactly;

impl Guard for Exactly {
    fn check(&self, headers: &HeaderMap, _peer: Option<IpAddr>) -> Result<Option<usize>, Denied> {
        let mut values = headers.get_all("authorization").iter();
        match (values.next().map(|value| value.as_bytes()), values.next()) {
            (Some(b"Bearer x"), None) => Ok(Some(0)),
            _ => Err(Denied::Unknown),
        }
    }
}

#[tokio::test]
async fn g10_a_header_that_would_inject_another_is_400_and_its_request_is_not_answered() {
    let server = Server::with(Settings { guard: Some(Arc::new(Exactly)), ..Settings::default() }).await;
    // On the wire `x\r\nX: y` is two headers and no injection: the end of a line is the end of a value (RFC 9112 §5). What
    // could inject is an end of line that one of two programs in a row does not take for one.
    for (what, value, status) in [
        ("two headers", "Bearer x\r\nX: y", "200"),
        ("a bare carriage return", "Bearer x\rX: y", "400"),
        ("a carriage return and a space", "Bearer x\r X: y", "400"),
        ("a folded line", "Bearer x\r\n X: y", "400"),
        ("a NUL", "Bearer x\0", "400"),
        ("a bare line feed in a name", "Bearer x\r\nX\n: y", "400"),
        ("a space in a name", "Bearer x\r\nX : y", "400"),
        ("an escaped end of line", "Bearer x%0d%0aX: y", "401"),
        ("a second token", "Bearer x\r\nauthorization: Bearer y", "401"),
    ] {
        let request = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: {value}\r\n\
             content-length: 2\r\n\r\n{{}}POST /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(server.http, request.as_bytes(), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
        // A connection on which somebody tries is not trusted with another request.
        assert!(status != "400" || answer.matches("HTTP/1.1 ").count() == 1, "{what}: {answer}");
    }
    assert_eq!(server.recorder.batches().len(), 1, "only the two headers are a request of somebody known");
}
