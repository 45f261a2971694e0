//! The few messages that an OTLP door writes: the export responses, and `google.rpc.Status` with `RetryInfo`.

use std::time::Duration;

use devmesh_schema::{Signal, limits, otlp::write::Writer};
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// What an export response says beyond "all is stored".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    /// Items that are not stored and never will be.
    pub(super) rejected: u64,
    /// Why; a warning where nothing was rejected.
    pub(super) message: String,
}

impl PartialSuccess {
    /// `None`: everything is stored, and there is nothing to say. `reasons`: of the first rejected items, and warnings.
    pub(super) fn new(rejected: u64, reasons: &[String]) -> Option<Self> {
        if rejected == 0 && reasons.is_empty() {
            return None;
        }
        let mut message = reasons.join("; ");
        if rejected > reasons.len() as u64 {
            message.push_str(&format!("; {rejected} items are rejected in all"));
        }
        cut(&mut message);
        Some(Self { rejected, message })
    }

    /// `Export…ServiceResponse` as protobuf: `partial_success = 1 {rejected_… = 1, error_message = 2}`.
    pub(super) fn protobuf(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.message(1, |partial| {
            partial.uint(1, self.rejected);
            partial.text(2, &self.message);
        });
        out.into_vec()
    }

    /// The same as JSON.
    pub(super) fn json(&self, signal: Signal) -> Value {
        let field = match signal {
            Signal::Logs => "rejectedLogRecords",
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
        };
        json!({"partialSuccess": {field: self.rejected.to_string(), "errorMessage": self.message}})
    }
}

/// `google.rpc.Status` as protobuf: `code = 1`, `message = 2`, `details = 3`.
pub(super) fn status_protobuf(refusal: &Refusal) -> Vec<u8> {
    let mut out = Writer::new();
    out.uint(1, refusal.reason.grpc().into());
    let mut message = refusal.message.clone();
    cut(&mut message);
    out.text(2, &message);
    if let Some(after) = refusal.retry_after {
        out.message(3, |any| retry_info(any, after));
    }
    out.into_vec()
}

/// The same as JSON.
pub(super) fn status_json(refusal: &Refusal) -> Value {
    let mut message = refusal.message.clone();
    cut(&mut message);
    let mut status = json!({"code": refusal.reason.grpc(), "message": message});
    if let Some(seconds) = refusal.retry_seconds() {
        status["details"] = json!([{"@type": RETRY_INFO, "retryDelay": format!("{seconds}s")}]);
    }
    status
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.protobuf.Any` of `RetryInfo { retry_delay = 1: Duration { seconds = 1, nanos = 2 } }`.
fn retry_info(any: &mut Writer, after: Duration) {
    any.text(1, RETRY_INFO);
    any.message(2, |info| {
        info.message(1, |duration| {
            duration.uint(1, after.as_secs());
            duration.uint(2, after.subsec_nanos().into());
        });
    });
}

/// Cuts a message to [`limits::MESSAGE_BYTES`], between characters.
fn cut(message: &mut String) {
    if message.len() > limits::MESSAGE_BYTES {
        let end = message.floor_char_boundary(limits::MESSAGE_BYTES - "…".len());
        message.truncate(end);
        message.push('…');
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use prost::Message;

    use super::*;

    #[test]
    fn a_partial_success_reads_back_with_prost_and_its_message_is_bounded() {
        let reasons = vec!["x".repeat(3000), "ü".repeat(3000)];
        let partial = PartialSuccess::new(300, &reasons).unwrap();
        assert!(partial.message.len() <= limits::MESSAGE_BYTES && partial.message.ends_with('…'));
        let response = ExportLogsServiceResponse::decode(partial.protobuf().as_slice()).unwrap();
        let read = response.partial_success.unwrap();
        assert_eq!((read.rejected_log_records, read.error_message), (300, partial.message));
    }

    #[test]
    fn nothing_rejected_and_nothing_to_say_is_no_partial_success() {
        assert_eq!(PartialSuccess::new(0, &[]), None);
        let warning = PartialSuccess::new(0, &["a warning".into()]).unwrap();
        assert_eq!((warning.rejected, warning.message.as_str()), (0, "a warning"));
    }
}
