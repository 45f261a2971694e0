//! `spans`: OTLP spans.

use arrow_schema::DataType;

use super::{Column, attributes, column, event, link, list_of, text, timestamp};

pub(super) fn columns() -> Vec<Column> {
    vec![
        column("time", timestamp(), false, "Start of the span"),
        column("end_time", timestamp(), false, "End of the span"),
        column("duration_ns", DataType::Int64, false, "Nanoseconds; 0 where the end lies before the start"),
        column("ingest_path", text(), false, "collector or direct"),
        column("service", text(), false, "Resource attribute service.name, else empty"),
        column("host", text(), false, "Resource attribute host.name, else k8s.node.name, else empty"),
        column("name", text(), false, "Name of the operation"),
        column("kind", text(), false, "UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER"),
        column("status_code", text(), false, "UNSET, OK or ERROR"),
        column("status_message", text(), true, "What the status says"),
        column("trace_id", text(), false, "32 lower-case hex digits"),
        column("span_id", text(), false, "16 lower-case hex digits"),
        column("parent_span_id", text(), true, "16 lower-case hex digits; NULL at a root"),
        column("trace_state", text(), true, "W3C tracestate"),
        column("attributes", attributes(), false, "Attributes of the span: attributes['http.route']"),
        column("resource_attributes", attributes(), false, "Attributes of the resource"),
        column("scope_name", text(), false, "Instrumentation scope"),
        column("scope_version", text(), false, "Its version"),
        column("events", list_of(event()), false, "Events: time, name, attributes"),
        column("links", list_of(link()), false, "Links: trace_id, span_id, trace_state, attributes"),
    ]
}
