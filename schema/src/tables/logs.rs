//! `logs`: OTLP log records, whatever door they came by.

use arrow_schema::DataType;

use super::{Column, attributes, column, text, timestamp};

pub(super) fn columns() -> Vec<Column> {
    vec![
        column(
            "time",
            timestamp(),
            false,
            "When it happened: time_unix_nano, else observed_time, else the time of receipt",
        ),
        column("observed_time", timestamp(), true, "When the collection system saw it (observed_time_unix_nano)"),
        column("ingest_path", text(), false, "collector or direct"),
        column("source", text(), false, "otlp, journald, or what the sender of plain JSON named"),
        column("service", text(), false, "Resource attribute service.name, else empty"),
        column("host", text(), false, "Resource attribute host.name, else k8s.node.name, else empty"),
        column("level", text(), false, "DEBUG, INFO, WARN, WARNING, ERROR, CRITICAL or FATAL"),
        column("severity_number", DataType::Int32, false, "OpenTelemetry severity, 1 to 24; 0 unspecified"),
        column("severity_text", text(), true, "The severity as the source wrote it"),
        column("event_name", text(), true, "The name of the event, where the record is one"),
        column("body", text(), true, "The message; lists and maps as compact JSON"),
        column("trace_id", text(), true, "32 lower-case hex digits"),
        column("span_id", text(), true, "16 lower-case hex digits"),
        column("trace_flags", DataType::UInt32, false, "W3C trace flags"),
        column("pattern_id", text(), true, "The template of the body"),
        column("attributes", attributes(), false, "Attributes of the record: attributes['http.route']"),
        column("resource_attributes", attributes(), false, "Attributes of the resource"),
        column("scope_name", text(), false, "Instrumentation scope"),
        column("scope_version", text(), false, "Its version"),
        column("scope_attributes", attributes(), false, "Its attributes"),
    ]
}
