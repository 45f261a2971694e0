//! A sink that decodes as the server's does and keeps everything in memory.

use std::{collections::HashMap, sync::Mutex};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use devmesh_schema::{
    Batch, BatchId, Receipt, Signal, Sink, WriteError,
    otlp::{self, Context},
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::LogRecord,
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message;
use tokio::sync::{Semaphore, watch};

#[derive(Debug)]
pub(crate) struct Recorder {
    state: Mutex<State>,
    /// Writes wait while it has no permit.
    pub(crate) gate: Semaphore,
    /// How many batches there are.
    pub(crate) stored: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    batches: Vec<Batch>,
    rows: Vec<(Signal, RecordBatch)>,
    known: HashMap<BatchId, (Bytes, u64)>,
    fail: Option<fn() -> WriteError>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { state: Mutex::default(), gate: Semaphore::new(1000), stored: watch::Sender::default() }
    }
}

impl Recorder {
    /// What every write answers from now on; `None`: what it should.
    pub(crate) fn fail(&self, with: Option<fn() -> WriteError>) {
        self.state.lock().unwrap().fail = with;
    }

    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.state.lock().unwrap().batches.clone()
    }

    /// The stored rows of a signal.
    pub(crate) fn rows(&self, signal: Signal) -> Vec<RecordBatch> {
        let state = self.state.lock().unwrap();
        state.rows.iter().filter(|(of, _)| *of == signal).map(|(_, rows)| rows.clone()).collect()
    }

    pub(crate) fn count(&self, signal: Signal) -> usize {
        self.rows(signal).iter().map(RecordBatch::num_rows).sum()
    }

    /// The stored rows, written out as OTLP again.
    pub(crate) fn exported<M: Message + Default>(&self, signal: Signal) -> Vec<M> {
        let write = |rows| M::decode(otlp::encode(signal, &rows).unwrap().as_slice()).unwrap();
        self.rows(signal).into_iter().map(write).collect()
    }

    pub(crate) fn logs(&self) -> Vec<LogRecord> {
        let requests = self.exported::<ExportLogsServiceRequest>(Signal::Logs);
        let scopes = requests.into_iter().flat_map(|r| r.resource_logs).flat_map(|r| r.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.exported::<ExportTraceServiceRequest>(Signal::Traces);
        let scopes = requests.into_iter().flat_map(|r| r.resource_spans).flat_map(|r| r.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let requests = self.exported::<ExportMetricsServiceRequest>(Signal::Metrics);
        let scopes = requests.into_iter().flat_map(|r| r.resource_metrics).flat_map(|r| r.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    }
}

#[async_trait]
impl Sink for Recorder {
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError> {
        let _open = self.gate.acquire().await.unwrap();
        let mut state = self.state.lock().unwrap();
        if let Some(fail) = state.fail {
            return Err(fail());
        }
        if let Some(id) = &batch.id
            && let Some((request, accepted)) = state.known.get(id)
        {
            if *request != batch.request {
                return Err(WriteError::BatchIdConflict(id.as_str().into()));
            }
            return Ok(Receipt { accepted: *accepted, deduplicated: true, ..Receipt::default() });
        }
        let context = Context { path: batch.path, received: batch.received };
        let decoded = otlp::decode(batch.signal, &batch.request, context)
            .map_err(|error| WriteError::Invalid(error.to_string()))?;
        let accepted = decoded.rows.num_rows() as u64;
        if accepted > 0 {
            state.rows.push((batch.signal, decoded.rows));
        }
        if let Some(id) = &batch.id {
            state.known.insert(id.clone(), (batch.request.clone(), accepted));
        }
        state.batches.push(batch);
        self.stored.send_replace(state.batches.len());
        Ok(Receipt { accepted, rejected: decoded.rejected, rejections: decoded.rejections, deduplicated: false })
    }
}
