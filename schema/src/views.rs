//! The views of CONTRACT §4, as SQL over the tables: one file a view, in `schema/sql/views`.

/// A view: its name and its query. A view may use those before it.
pub const VIEWS: &[(&str, &str)] = &[
    ("log_events", include_str!("../sql/views/log_events.sql")),
    ("log_patterns", include_str!("../sql/views/log_patterns.sql")),
    ("metric_events", include_str!("../sql/views/metric_events.sql")),
    ("otel_logs", include_str!("../sql/views/otel_logs.sql")),
    ("otel_traces", include_str!("../sql/views/otel_traces.sql")),
    ("otel_traces_trace_id_ts", include_str!("../sql/views/otel_traces_trace_id_ts.sql")),
    ("otel_metrics_gauge", include_str!("../sql/views/otel_metrics_gauge.sql")),
    ("otel_metrics_sum", include_str!("../sql/views/otel_metrics_sum.sql")),
    ("otel_metrics_histogram", include_str!("../sql/views/otel_metrics_histogram.sql")),
    ("otel_metrics_exponential_histogram", include_str!("../sql/views/otel_metrics_exponential_histogram.sql")),
    ("otel_metrics_exp_histogram", include_str!("../sql/views/otel_metrics_exp_histogram.sql")),
    ("otel_metrics_summary", include_str!("../sql/views/otel_metrics_summary.sql")),
    ("ai_traces_direct", include_str!("../sql/views/ai_traces_direct.sql")),
    ("traces_unified_view", include_str!("../sql/views/traces_unified_view.sql")),
    ("services", include_str!("../sql/views/services.sql")),
    ("service_edges", include_str!("../sql/views/service_edges.sql")),
];
