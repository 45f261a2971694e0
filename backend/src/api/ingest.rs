//! The doors for telemetry on the API's port, as the API's description shows them. The handlers are the collector's own
//! ([`devmesh_collector::otlp`], [`devmesh_collector::direct`]).

#![allow(dead_code, reason = "what these functions describe is served by the collector's routes")]

use serde::Deserialize;
use utoipa::ToSchema;

/// Log records as OTLP.
#[utoipa::path(post, path = "/v1/logs", tag = "ingest",
    request_body(content = Vec<u8>, description = "ExportLogsServiceRequest", content_type = "application/x-protobuf"),
    responses((status = 200, description = "ExportLogsServiceResponse: durable")))]
pub(super) fn v1_logs() {}

/// Spans as OTLP.
#[utoipa::path(post, path = "/v1/traces", tag = "ingest",
    request_body(content = Vec<u8>, description = "ExportTraceServiceRequest", content_type = "application/x-protobuf"),
    responses((status = 200, description = "ExportTraceServiceResponse: durable")))]
pub(super) fn v1_traces() {}

/// Metrics as OTLP.
#[utoipa::path(post, path = "/v1/metrics", tag = "ingest",
    request_body(content = Vec<u8>, description = "ExportMetricsServiceRequest", content_type = "application/x-protobuf"),
    responses((status = 200, description = "ExportMetricsServiceResponse: durable")))]
pub(super) fn v1_metrics() {}

/// Metrics as OTLP, at the path where Prometheus takes them.
#[utoipa::path(post, path = "/api/v1/otlp/v1/metrics", tag = "ingest",
    request_body(content = Vec<u8>, description = "ExportMetricsServiceRequest", content_type = "application/x-protobuf"),
    responses((status = 200, description = "ExportMetricsServiceResponse: durable")))]
pub(super) fn otlp_v1_metrics() {}

/// Prometheus remote write, 1.0 and 2.0: the content type says which. Compressed with snappy.
#[utoipa::path(post, path = "/api/v1/write", tag = "ingest",
    request_body(content = Vec<u8>, description = "WriteRequest, or io.prometheus.write.v2.Request", content_type = "application/x-protobuf"),
    responses((status = 204, description = "durable"), (status = 400, description = "what is wrong; the rest is durable")))]
pub(super) fn remote_write() {}

/// Plain log records.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PlainLogs {
    /// The records: timestamp, source, service, host, level, message (required), trace_id, span_id, event_type,
    /// error_code, meta_json; every other key is an attribute.
    logs: Vec<serde_json::Value>,
}

/// Plain spans.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PlainSpans {
    /// The spans: trace_id, span_id, parent_span_id, service, name, start_time, end_time or duration_ms, status,
    /// attributes.
    spans: Vec<serde_json::Value>,
}

/// What became of the records.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Ingested {
    /// Records that are stored.
    accepted: u64,
    /// Records that are not, and never will be.
    rejected: u64,
    /// Why not.
    errors: Vec<IngestError>,
}

/// Why a record was refused.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct IngestError {
    /// Which one, from 0.
    index: u64,
    /// Why.
    error: String,
}

/// Log records as plain JSON. The good ones are kept, the bad ones named.
#[utoipa::path(post, path = "/ingest/logs", tag = "ingest", request_body = PlainLogs,
    responses((status = 200, body = Ingested), (status = 400, body = super::problem::ProblemBody)))]
pub(super) fn ingest_logs() {}

/// Spans as plain JSON, or as OTLP/JSON.
#[utoipa::path(post, path = "/ingest/traces", tag = "ingest", request_body = PlainSpans,
    responses((status = 200, body = Ingested), (status = 400, body = super::problem::ProblemBody)))]
pub(super) fn ingest_traces() {}
