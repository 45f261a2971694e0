//! OTLP/JSON into OTLP protobuf, in one pass and without a tree.
//!
//! OTLP's JSON is proto3 JSON with exceptions (ids in hex, enums as integers only), and senders bend it further. What
//! counts here: keys in lowerCamelCase, unknown ones passed over at every depth; `null` is an absent field; integers and
//! doubles as numbers or in strings; base64 of either alphabet; of a repeated key the last counts; a lone surrogate
//! becomes U+FFFD. Fields come out in the order of their numbers, whatever the order of the keys.
//!
//! Three things can be wrong, and each has its own end:
//! - the body is no such request ([`JsonError`]): syntax, a value of another type, a number out of range, nesting beyond
//!   [`limits::DEPTH`](crate::limits::DEPTH) — nothing of it is used;
//! - one item cannot be kept ([`Transcoded::rejections`]): an enum's name, an id that is none, bytes that are no base64 —
//!   the others are;
//! - something was passed over that its sender probably meant ([`Transcoded::warnings`]): keys in snake_case, ids of
//!   log records, links and exemplars that are none.
//!
//! `messages` says which keys there are, `cursor` reads JSON, `transcode` walks the one with the other.

mod cursor;
mod messages;
mod tally;
mod transcode;

use crate::{Rejection, Signal};

/// What became of a request in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcoded {
    /// The protobuf bytes of the signal's export request, without the rejected items.
    pub request: Vec<u8>,
    /// How many leaf items `request` has.
    pub items: u64,
    /// How many were rejected.
    pub rejected: u64,
    /// The first of them, at most [`limits::REJECTIONS_NAMED`](crate::limits::REJECTIONS_NAMED).
    pub rejections: Vec<Rejection>,
    /// What else the sender should be told, at most a few lines.
    pub warnings: Vec<String>,
    /// Which items are missing in `request`, ascending.
    gaps: Vec<Gap>,
}

/// Items that were rejected, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    /// The index in the protobuf of the first item behind them.
    next: u64,
    /// How many are missing up to there.
    missing: u64,
}

impl Transcoded {
    /// The index in the JSON of the item that has index `kept` in [`Transcoded::request`].
    pub fn original_index(&self, kept: u64) -> u64 {
        let before = self.gaps.partition_point(|gap| gap.next <= kept);
        let gap = before.checked_sub(1).and_then(|last| self.gaps.get(last));
        kept + gap.map_or(0, |gap| gap.missing)
    }
}

/// Why a body is no request of its signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{reason} (byte {offset})", if path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// Where in the JSON: `resourceSpans[0].scopeSpans[0].spans[3].kind`. Empty for the body as a whole.
    pub path: String,
    /// Where in the body.
    pub offset: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Writes an OTLP/JSON export request as protobuf.
///
/// # Errors
/// The body is no such request: see [the module](self).
pub fn to_protobuf(signal: Signal, json: &[u8]) -> Result<Transcoded, JsonError> {
    let whole = |offset: usize, reason: &str| JsonError { path: String::new(), offset, reason: reason.to_owned() };
    let text = simdutf8::compat::from_utf8(json).map_err(|e| whole(e.valid_up_to(), "the body is no UTF-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(whole(0, "the body starts with a byte order mark: send it without"));
    }
    transcode::request(messages::request(signal), text)
}
