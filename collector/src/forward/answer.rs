//! What a server's answer means for a batch (OTLP specification, "OTLP/HTTP Response").

use std::{fmt, time::Duration};

use bytes::Bytes;
use devmesh_schema::otlp::wire::{Reader, Wire};
use http::{HeaderMap, StatusCode, header};

/// Bytes of an error's text that are kept.
const TEXT: usize = 512;

/// An answer, or none.
#[derive(Clone, Debug)]
pub struct Answer {
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    body: Bytes,
    reason: String,
}

/// What becomes of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, but for the items that the server refused for good.
    Taken {
        /// How many.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// Again, after a time that the server may have named.
    Later {
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// Again, but somebody has to change a setting first.
    Misconfigured,
    /// Never again.
    Dead {
        /// The server's words.
        reason: String,
    },
}

impl Answer {
    /// An answer as it came.
    pub fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self { status: Some(status), retry_after: seconds.map(Duration::from_secs), body, reason: String::new() }
    }

    /// No answer came.
    pub fn none(reason: String) -> Self {
        Self { status: None, retry_after: None, body: Bytes::new(), reason }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            None => f.write_str(&self.reason),
            Some(status) => write!(f, "the server answered {status}"),
        }
    }
}

/// What `answer` means; `last`: a batch that only makes the server fail has had its tries.
pub fn judge(answer: &Answer, last: bool) -> Outcome {
    let Some(status) = answer.status else { return Outcome::Later { after: None } };
    let dead = || Outcome::Dead { reason: format!("{status}: {}", message(&answer.body)) };
    match status.as_u16() {
        200..=299 => {
            let (rejected, message) = partial_success(&answer.body).unwrap_or_default();
            Outcome::Taken { rejected, message }
        }
        429 | 502..=504 => Outcome::Later { after: answer.retry_after },
        300..=399 | 401 | 403 | 404 | 405 | 407 => Outcome::Misconfigured,
        500..=599 if !last => Outcome::Later { after: answer.retry_after },
        _ => dead(),
    }
}

/// `partial_success` of an export response: how many items were refused, and why.
fn partial_success(body: &[u8]) -> Option<(u64, String)> {
    let mut response = Reader::new(body);
    let mut found = (0, String::new());
    while let Some((number, wire)) = response.field().ok()? {
        let (1, Wire::Bytes(partial)) = (number, wire) else { continue };
        let mut partial = Reader::new(partial);
        while let Some((number, wire)) = partial.field().ok()? {
            match (number, wire) {
                (1, Wire::Varint(rejected)) => found.0 = rejected,
                (2, Wire::Bytes(text)) => found.1 = shorten(&String::from_utf8_lossy(text)),
                _ => {}
            }
        }
    }
    Some(found)
}

/// The text of an error: `message` of a `google.rpc.Status`, or the body itself where it is text.
fn message(body: &[u8]) -> String {
    let mut status = Reader::new(body);
    let mut text = None;
    while let Ok(Some((number, wire))) = status.field() {
        if let (2, Wire::Bytes(message)) = (number, wire) {
            text = std::str::from_utf8(message).ok();
        }
    }
    shorten(text.unwrap_or(&String::from_utf8_lossy(body)))
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use devmesh_schema::otlp::write::Writer;

    use super::*;

    fn answer(status: u16, body: &[u8]) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        Answer::new(StatusCode::from_u16(status).unwrap(), &headers, Bytes::copy_from_slice(body))
    }

    #[test]
    fn each_status_has_one_meaning() {
        let later = Outcome::Later { after: Some(Duration::from_secs(7)) };
        for status in [429, 502, 503, 504, 500, 501, 507] {
            assert_eq!(judge(&answer(status, b""), false), later, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(judge(&answer(status, b""), true), later, "{status} is waited for without end");
        }
        for status in [301, 401, 403, 404, 405, 407] {
            assert_eq!(judge(&answer(status, b""), true), Outcome::Misconfigured, "{status}");
        }
        for status in [400, 409, 413, 415, 422] {
            assert!(
                matches!(judge(&answer(status, b"why"), false), Outcome::Dead { reason } if reason.contains("why"))
            );
        }
        assert!(matches!(judge(&answer(500, b""), true), Outcome::Dead { .. }));
        assert_eq!(judge(&Answer::none("refused".into()), true), Outcome::Later { after: None });
    }

    #[test]
    fn items_refused_for_good_are_counted() {
        let mut body = Writer::new();
        body.message(1, |partial| {
            partial.uint(1, 3);
            partial.text(2, "too old");
        });
        let taken = Outcome::Taken { rejected: 3, message: "too old".into() };
        assert_eq!(judge(&answer(200, &body.into_vec()), false), taken);
        assert_eq!(judge(&answer(200, b""), false), Outcome::Taken { rejected: 0, message: String::new() });
        assert_eq!(judge(&answer(204, b"\xff\xff"), false), Outcome::Taken { rejected: 0, message: String::new() });
    }

    #[test]
    fn the_reason_is_the_message_of_the_status() {
        let mut body = Writer::new();
        body.uint(1, 3);
        body.text(2, "byte 7: message is cut off");
        let Outcome::Dead { reason } = judge(&answer(400, &body.into_vec()), false) else { panic!("dead") };
        assert_eq!(reason, "400 Bad Request: byte 7: message is cut off");
    }
}
