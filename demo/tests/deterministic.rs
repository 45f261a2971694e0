//! The same plan gives the same bytes; every request decodes and holds what it says.

use devmesh_demo::{Plan, Request};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

const PLAN: Plan =
    Plan { seed: 7, records: 2500, batch: 1000, start_ns: 1_700_000_000_000_000_000, span_ns: 60_000_000_000 };

fn bodies(requests: impl Iterator<Item = Request>) -> Vec<Vec<u8>> {
    requests.map(|r| r.body).collect()
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    assert_eq!(bodies(devmesh_demo::logs(PLAN)), bodies(devmesh_demo::logs(PLAN)));
    assert_eq!(bodies(devmesh_demo::traces(PLAN)), bodies(devmesh_demo::traces(PLAN)));
    assert_eq!(bodies(devmesh_demo::metrics(PLAN)), bodies(devmesh_demo::metrics(PLAN)));
}

#[test]
fn another_seed_gives_other_bytes() {
    assert_ne!(bodies(devmesh_demo::logs(PLAN)), bodies(devmesh_demo::logs(Plan { seed: 8, ..PLAN })));
}

#[test]
fn requests_hold_the_records_they_say() {
    let mut logs = 0;
    for request in devmesh_demo::logs(PLAN) {
        let message = ExportLogsServiceRequest::decode(request.body.as_slice()).unwrap();
        let found: usize = message.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
        assert_eq!(found as u64, request.records);
        logs += request.records;
    }
    assert_eq!(logs, PLAN.records);
    let mut spans = 0;
    for request in devmesh_demo::traces(PLAN) {
        let message = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        let found: usize = message.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
        assert_eq!(found as u64, request.records);
        spans += request.records;
    }
    assert_eq!(spans, PLAN.records);
    for request in devmesh_demo::metrics(PLAN) {
        let message = ExportMetricsServiceRequest::decode(request.body.as_slice()).unwrap();
        assert!(!message.resource_metrics.is_empty());
    }
}

#[test]
fn traces_are_whole_and_have_one_root() {
    let request = devmesh_demo::traces(PLAN).next().unwrap();
    let message = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
    let mut roots = std::collections::HashMap::<Vec<u8>, usize>::new();
    for span in message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans) {
        *roots.entry(span.trace_id.clone()).or_default() += usize::from(span.parent_span_id.is_empty());
    }
    assert!(roots.len() > 20, "only {} traces in a request", roots.len());
    assert!(roots.values().all(|n| *n == 1), "a trace has no root or several: {roots:?}");
}
