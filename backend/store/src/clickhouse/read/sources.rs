//! Which stored columns there are, and of which columns of ClickHouse each is made.

use devmesh_schema::{Signal, stored};

use super::metrics;
use crate::clickhouse::columns::Table;

/// All stored columns of a signal but those of attributes.
pub(super) fn all(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Logs => &[
            stored::TIME,
            stored::WIRE_TIME,
            stored::OBSERVED_TIME,
            stored::INGEST_PATH,
            stored::SOURCE,
            stored::SERVICE,
            stored::HOST,
            stored::RESOURCE,
            stored::SCOPE,
            stored::DROPPED_ATTRIBUTES,
            stored::FLAGS,
            stored::LEVEL,
            stored::SEVERITY_NUMBER,
            stored::SEVERITY_TEXT,
            stored::EVENT_NAME,
            stored::BODY,
            stored::TEMPLATE,
            stored::BODY_VALUE,
            stored::TRACE_ID,
            stored::SPAN_ID,
        ],
        Signal::Traces => &[
            stored::TIME,
            stored::WIRE_TIME,
            stored::DURATION_NS,
            stored::WIRE_END_TIME,
            stored::INGEST_PATH,
            stored::SERVICE,
            stored::HOST,
            stored::RESOURCE,
            stored::SCOPE,
            stored::DROPPED_ATTRIBUTES,
            stored::FLAGS,
            stored::TRACE_ID,
            stored::SPAN_ID,
            stored::PARENT_SPAN_ID,
            stored::TRACE_STATE,
            stored::NAME,
            stored::KIND,
            stored::STATUS_CODE,
            stored::STATUS_MESSAGE,
            stored::HAS_STATUS,
            stored::EVENTS,
            stored::LINKS,
            stored::DROPPED_EVENTS,
            stored::DROPPED_LINKS,
        ],
        Signal::Metrics => &[
            stored::TIME,
            stored::WIRE_TIME,
            stored::START_TIME,
            stored::INGEST_PATH,
            stored::SOURCE,
            stored::SERVICE,
            stored::HOST,
            stored::RESOURCE,
            stored::SCOPE,
            stored::DROPPED_ATTRIBUTES,
            stored::FLAGS,
            stored::NAME,
            stored::KIND,
            stored::METRIC,
            stored::VALUE_DOUBLE,
            stored::VALUE_INT,
            "count",
            "sum",
            "min",
            "max",
            "buckets",
            "bounds",
            "scale",
            "zero_count",
            "zero_threshold",
            "positive_offset",
            "positive_buckets",
            "negative_offset",
            "negative_buckets",
            "quantiles",
            stored::EXEMPLARS,
        ],
    }
}

/// What only rows of other writers need: `otherwise` in rows of ours, so that it is not sent.
pub(super) fn foreign(sql: &str, otherwise: &str) -> String {
    format!("if(DevmeshWriter = '', {sql}, {otherwise})")
}

fn foreign_map(sql: &str) -> String {
    foreign(sql, "CAST(map(), 'Map(LowCardinality(String), String)')")
}

pub(super) fn foreign_maps(sql: &str) -> String {
    foreign(&format!("CAST({sql}, 'Array(Map(String, String))')"), "[]")
}

/// What a stored column is made of.
pub(super) fn sources(table: Table, name: &str) -> Vec<(&'static str, String)> {
    let own = |name: &'static str, sql: &str| (name, sql.to_owned());
    let exact = || own("exact", "DevmeshExact");
    let absent = || own("absent", "DevmeshAbsent");
    let metrics = table.signal() == Signal::Metrics;
    match name {
        stored::TIME => vec![own("time", table.time())],
        stored::OBSERVED_TIME => vec![own("observed", "DevmeshObserved")],
        stored::INGEST_PATH if table.signal() != Signal::Traces => vec![own("path", "DevmeshPath")],
        stored::SOURCE => vec![own("source", "DevmeshSource")],
        stored::SERVICE => vec![own("service", "ServiceName")],
        stored::HOST => vec![own("host", "DevmeshHost")],
        stored::RESOURCE => {
            let mut items =
                vec![own("resource", "DevmeshResource"), ("resource_attributes", foreign_map("ResourceAttributes"))];
            if table.signal() != Signal::Traces {
                items.push(("resource_url", foreign("toString(ResourceSchemaUrl)", "''")));
            }
            items
        }
        stored::SCOPE => {
            let mut items = vec![
                own("scope", "DevmeshScope"),
                ("scope_name", foreign("ScopeName", "''")),
                ("scope_version", foreign("toString(ScopeVersion)", "''")),
            ];
            if table.signal() != Signal::Traces {
                items.push(("scope_attributes", foreign_map("ScopeAttributes")));
                items.push(("scope_url", foreign("toString(ScopeSchemaUrl)", "''")));
            }
            items
        }
        stored::FLAGS => vec![own("flags", if metrics { "Flags" } else { "DevmeshFlags" })],
        stored::LEVEL => vec![own("level", "DevmeshLevel")],
        stored::SEVERITY_NUMBER => vec![own("severity", "DevmeshSeverity")],
        stored::SEVERITY_TEXT => vec![own("severity_text", "SeverityText")],
        stored::EVENT_NAME => vec![own("event_name", "EventName")],
        stored::BODY => vec![own("body", "Body"), absent()],
        stored::TEMPLATE => vec![own("template", "DevmeshTemplate")],
        stored::TRACE_ID => vec![own("trace_id", "TraceId")],
        stored::SPAN_ID => vec![own("span_id", "SpanId")],
        stored::PARENT_SPAN_ID => vec![own("parent_span_id", "ParentSpanId")],
        stored::TRACE_STATE => vec![own("trace_state", "TraceState")],
        stored::NAME => vec![own("name", if metrics { "MetricName" } else { "SpanName" })],
        stored::KIND if !metrics => vec![own("kind", "SpanKind")],
        stored::STATUS_CODE => vec![own("status_code", "StatusCode")],
        stored::STATUS_MESSAGE => vec![own("status_message", "StatusMessage")],
        stored::HAS_STATUS => vec![absent()],
        stored::DURATION_NS => vec![own("duration", "Duration")],
        stored::EVENTS => vec![
            exact(),
            ("event_time", foreign("Events.Timestamp", "[]")),
            ("event_name", foreign("CAST(Events.Name, 'Array(String)')", "[]")),
            ("event_attributes", foreign_maps("Events.Attributes")),
        ],
        stored::LINKS => vec![
            exact(),
            ("link_trace", foreign("Links.TraceId", "[]")),
            ("link_span", foreign("Links.SpanId", "[]")),
            ("link_state", foreign("Links.TraceState", "[]")),
            ("link_attributes", foreign_maps("Links.Attributes")),
        ],
        _ if metrics => metrics::sources(table, name),
        stored::WIRE_TIME
        | stored::WIRE_END_TIME
        | stored::DROPPED_ATTRIBUTES
        | stored::DROPPED_EVENTS
        | stored::DROPPED_LINKS
        | stored::BODY_VALUE => vec![exact()],
        _ => Vec::new(),
    }
}
