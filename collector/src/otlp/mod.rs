//! The OTLP doors. Both protocols are understood on both ports, so that a sender with the right protocol and the wrong
//! port just works; a wrong path is answered with the right ones.

mod answer;
pub mod grpc;
pub mod http;

use std::sync::Arc;

use ::http::HeaderMap;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use devmesh_schema::{Batch, BatchId, IngestPath, Receipt, Signal};

use crate::{
    body::Held,
    counters::Door,
    intake::Intake,
    rate::Sender,
    refusal::{Reason, Refusal},
};

/// The header, or gRPC metadata, with the sender's id of a batch.
pub const BATCH_ID: &str = "x-devmesh-batch-id";
/// The header of an answer for a batch that was stored already: `true`.
pub const DEDUPLICATED: &str = "x-devmesh-deduplicated";

/// All of OTLP on one port.
pub fn router(intake: Arc<Intake>) -> Router {
    let unknown = Router::new().fallback(unknown).with_state(Arc::clone(&intake));
    unknown.merge(http::routes(Arc::clone(&intake))).merge(grpc::routes(intake))
}

async fn unknown(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    if grpc::is_grpc(request.headers()) { grpc::unknown(&intake, &request) } else { http::unknown(&intake, &request) }
}

/// The sender's id of a batch, where it gives one.
pub(crate) fn batch_id(headers: &HeaderMap) -> Result<Option<BatchId>, Refusal> {
    let invalid = |error: String| Refusal::new(Reason::BatchId, format!("{BATCH_ID}: {error}"));
    let Some(value) = headers.get(BATCH_ID) else { return Ok(None) };
    let text =
        value.to_str().map_err(|_invisible| invalid("a batch id is 1 to 128 visible ASCII characters".into()))?;
    text.parse().map(Some).map_err(|error: devmesh_schema::batch::InvalidBatchId| invalid(error.to_string()))
}

/// Writes one request to the sink; its part of the budget is held until the sink has answered.
async fn write(
    intake: &Intake,
    (door, sender): (Door, Sender),
    signal: Signal,
    id: Option<BatchId>,
    held: Held,
) -> Result<Receipt, Refusal> {
    let Held { bytes, share } = held;
    let batch = Batch { signal, id, path: IngestPath::Collector, received: crate::now(), request: bytes };
    let receipt = intake.write(door, batch).await;
    drop(share);
    if let Ok(receipt) = &receipt {
        intake.charge_items(sender, receipt);
    }
    receipt
}
