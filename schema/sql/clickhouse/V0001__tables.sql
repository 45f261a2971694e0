-- The tables of the OpenTelemetry Collector's ClickHouse exporter (v0.161), column for column, so that a Collector writes
-- into the same tables (`create_schema: false`) and what was made for its tables reads ours.
--
-- Columns that begin with `Devmesh` hold what those columns lack, so that a record comes back as it was sent. Each has a
-- default, which is what a row of another writer has. What they mean is in backend/store/src/clickhouse/columns.rs.
--
-- `shard by`: how rows are shared out where the tables are made on a cluster (backend/store/src/clickhouse/cluster.rs).

-- Log records of both paths.
CREATE TABLE IF NOT EXISTS otel_logs (
  Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TraceId String CODEC(ZSTD(1)),
  SpanId String CODEC(ZSTD(1)),
  TraceFlags UInt8 CODEC(ZSTD(1)),
  SeverityText LowCardinality(String) CODEC(ZSTD(1)),
  SeverityNumber UInt8 CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  Body String CODEC(ZSTD(1)),
  ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  EventName String CODEC(ZSTD(1)),
  `__otel_materialized_k8s.cluster.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.cluster.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.container.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.container.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.deployment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.deployment.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.namespace.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.namespace.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.node.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.node.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.pod.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.name'] CODEC(ZSTD(1)),
  `__otel_materialized_k8s.pod.uid` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.uid'] CODEC(ZSTD(1)),
  `__otel_materialized_deployment.environment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['deployment.environment.name'] CODEC(ZSTD(1)),
  TimestampTime DateTime ALIAS toDateTime(Timestamp),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshLevel LowCardinality(String) DEFAULT multiIf(
    upper(trimBoth(SeverityText)) IN ('DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'),
    upper(trimBoth(SeverityText)),
    SeverityNumber BETWEEN 1 AND 8, 'DEBUG', SeverityNumber BETWEEN 9 AND 12, 'INFO',
    SeverityNumber BETWEEN 13 AND 16, 'WARN', SeverityNumber BETWEEN 17 AND 20, 'ERROR',
    SeverityNumber BETWEEN 21 AND 24, 'FATAL',
    upper(trimBoth(SeverityText)) IN ('TRACE', 'TRC', 'DBG', 'VERBOSE', 'FINE', 'FINER', 'FINEST'), 'DEBUG',
    upper(trimBoth(SeverityText)) IN ('ERR', 'SEVERE'), 'ERROR',
    upper(trimBoth(SeverityText)) = 'WRN', 'WARN',
    upper(trimBoth(SeverityText)) IN ('CRIT', 'ALERT'), 'CRITICAL',
    upper(trimBoth(SeverityText)) IN ('EMERG', 'EMERGENCY', 'PANIC'), 'FATAL',
    'INFO') CODEC(ZSTD(1)),
  DevmeshSeverity Int32 DEFAULT SeverityNumber CODEC(ZSTD(1)),
  DevmeshUnicode UInt8 MATERIALIZED lengthUTF8(Body) != length(Body) CODEC(ZSTD(1)),
  DevmeshObserved DateTime64(9) DEFAULT toDateTime64(0, 9) CODEC(Delta(8), ZSTD(1)),
  DevmeshFlags UInt32 DEFAULT TraceFlags CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_log_attr_value mapValues(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_lower_body lower(Body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8,
  INDEX idx_unicode DevmeshUnicode TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, Timestamp) */
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Spans of the collector path.
CREATE TABLE IF NOT EXISTS otel_traces (
  Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TraceId String CODEC(ZSTD(1)),
  SpanId String CODEC(ZSTD(1)),
  ParentSpanId String CODEC(ZSTD(1)),
  TraceState String CODEC(ZSTD(1)),
  SpanName LowCardinality(String) CODEC(ZSTD(1)),
  SpanKind LowCardinality(String) CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  Duration UInt64 CODEC(ZSTD(1)),
  StatusCode LowCardinality(String) CODEC(ZSTD(1)),
  StatusMessage String CODEC(ZSTD(1)),
  Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
  Links Nested (TraceId String, SpanId String, TraceState String, Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshFlags UInt32 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(TraceId) */
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Spans of the direct path.
CREATE TABLE IF NOT EXISTS ai_traces_direct (
  Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TraceId String CODEC(ZSTD(1)),
  SpanId String CODEC(ZSTD(1)),
  ParentSpanId String CODEC(ZSTD(1)),
  TraceState String CODEC(ZSTD(1)),
  SpanName LowCardinality(String) CODEC(ZSTD(1)),
  SpanKind LowCardinality(String) CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  Duration UInt64 CODEC(ZSTD(1)),
  StatusCode LowCardinality(String) CODEC(ZSTD(1)),
  StatusMessage String CODEC(ZSTD(1)),
  Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
  Links Nested (TraceId String, SpanId String, TraceState String, Attributes Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
  -- Flattened, by the names of the view of the same name in SQL of devmesh.
  timestamp DateTime64(9) ALIAS Timestamp,
  end_time DateTime64(9) ALIAS addNanoseconds(Timestamp, toInt64(Duration)),
  trace_id String ALIAS TraceId,
  span_id String ALIAS SpanId,
  parent_span_id Nullable(String) ALIAS nullIf(ParentSpanId, ''),
  service String ALIAS ServiceName,
  host String ALIAS DevmeshHost,
  operation String ALIAS SpanName,
  kind String ALIAS upper(SpanKind),
  status String ALIAS upper(StatusCode),
  status_message Nullable(String) ALIAS nullIf(StatusMessage, ''),
  duration_ns UInt64 ALIAS Duration,
  duration_ms Float64 ALIAS Duration / 1e6,
  is_error Bool ALIAS StatusCode = 'Error',
  is_root Bool ALIAS ParentSpanId = '',
  http_method LowCardinality(String) MATERIALIZED if(SpanAttributes['http.request.method'] != '', SpanAttributes['http.request.method'], SpanAttributes['http.method']) CODEC(ZSTD(1)),
  http_route LowCardinality(String) MATERIALIZED SpanAttributes['http.route'] CODEC(ZSTD(1)),
  http_status_code LowCardinality(String) MATERIALIZED if(SpanAttributes['http.response.status_code'] != '', SpanAttributes['http.response.status_code'], SpanAttributes['http.status_code']) CODEC(ZSTD(1)),
  db_system LowCardinality(String) MATERIALIZED if(SpanAttributes['db.system.name'] != '', SpanAttributes['db.system.name'], SpanAttributes['db.system']) CODEC(ZSTD(1)),
  error_type LowCardinality(String) MATERIALIZED SpanAttributes['error.type'] CODEC(ZSTD(1)),
  attributes_json String ALIAS toJSONString(SpanAttributes),
  resource_json String ALIAS toJSONString(ResourceAttributes),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshFlags UInt32 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(TraceId) */
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- From when to when a trace lasts. A row an insert, not a trace: ask for min(Start) and max(End).
CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts (
  TraceId String CODEC(ZSTD(1)),
  Start DateTime CODEC(Delta, ZSTD(1)),
  End DateTime CODEC(Delta, ZSTD(1)),
  INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(TraceId) */
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End FROM otel_traces WHERE TraceId != '' GROUP BY TraceId;

-- Data points of kind gauge.
CREATE TABLE IF NOT EXISTS otel_metrics_gauge (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName LowCardinality(String) CODEC(ZSTD(1)),
  MetricDescription String CODEC(ZSTD(1)),
  MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  Value Float64 CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
  Exemplars Nested (FilteredAttributes Map(LowCardinality(String), String), TimeUnix DateTime64(9), Value Float64, SpanId String, TraceId String) CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshMetric LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, MetricName, toString(Attributes)) */
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Data points of kind sum.
CREATE TABLE IF NOT EXISTS otel_metrics_sum (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName LowCardinality(String) CODEC(ZSTD(1)),
  MetricDescription String CODEC(ZSTD(1)),
  MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  Value Float64 CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
  Exemplars Nested (FilteredAttributes Map(LowCardinality(String), String), TimeUnix DateTime64(9), Value Float64, SpanId String, TraceId String) CODEC(ZSTD(1)),
  AggregationTemporality Int32 CODEC(ZSTD(1)),
  IsMonotonic Bool CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshMetric LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, MetricName, toString(Attributes)) */
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Data points of kind histogram.
CREATE TABLE IF NOT EXISTS otel_metrics_histogram (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName LowCardinality(String) CODEC(ZSTD(1)),
  MetricDescription String CODEC(ZSTD(1)),
  MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  BucketCounts Array(UInt64) CODEC(ZSTD(1)),
  ExplicitBounds Array(Float64) CODEC(ZSTD(1)),
  Exemplars Nested (FilteredAttributes Map(LowCardinality(String), String), TimeUnix DateTime64(9), Value Float64, SpanId String, TraceId String) CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
  Min Float64 CODEC(ZSTD(1)),
  Max Float64 CODEC(ZSTD(1)),
  AggregationTemporality Int32 CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshMetric LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, MetricName, toString(Attributes)) */
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Data points of kind exponential_histogram.
CREATE TABLE IF NOT EXISTS otel_metrics_exponential_histogram (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName LowCardinality(String) CODEC(ZSTD(1)),
  MetricDescription String CODEC(ZSTD(1)),
  MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  Scale Int32 CODEC(ZSTD(1)),
  ZeroCount UInt64 CODEC(ZSTD(1)),
  PositiveOffset Int32 CODEC(ZSTD(1)),
  PositiveBucketCounts Array(UInt64) CODEC(ZSTD(1)),
  NegativeOffset Int32 CODEC(ZSTD(1)),
  NegativeBucketCounts Array(UInt64) CODEC(ZSTD(1)),
  Exemplars Nested (FilteredAttributes Map(LowCardinality(String), String), TimeUnix DateTime64(9), Value Float64, SpanId String, TraceId String) CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
  Min Float64 CODEC(ZSTD(1)),
  Max Float64 CODEC(ZSTD(1)),
  AggregationTemporality Int32 CODEC(ZSTD(1)),
  ZeroThreshold Float64 DEFAULT 0 CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshMetric LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, MetricName, toString(Attributes)) */
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- Data points of kind summary.
CREATE TABLE IF NOT EXISTS otel_metrics_summary (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)),
  ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)),
  ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName LowCardinality(String) CODEC(ZSTD(1)),
  MetricDescription String CODEC(ZSTD(1)),
  MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  StartTimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta(8), ZSTD(1)),
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  ValueAtQuantiles Nested (Quantile Float64, Value Float64) CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
  -- Ours.
  DevmeshWriter LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshBlock UInt64 DEFAULT 0 CODEC(Delta(8), ZSTD(1)),
  DevmeshPath LowCardinality(String) DEFAULT 'collector' CODEC(ZSTD(1)),
  DevmeshSource LowCardinality(String) DEFAULT if(ResourceAttributes['devmesh.source'] != '', ResourceAttributes['devmesh.source'], 'otlp') CODEC(ZSTD(1)),
  DevmeshHost LowCardinality(String) DEFAULT if(ResourceAttributes['host.name'] != '', ResourceAttributes['host.name'], ResourceAttributes['k8s.node.name']) CODEC(ZSTD(1)),
  DevmeshAbsent UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  DevmeshResource LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshScope LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshMetric LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshShape LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  DevmeshRest String DEFAULT '' CODEC(ZSTD(1)),
  DevmeshExact String DEFAULT '' CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
) ENGINE = MergeTree /* shard by cityHash64(ServiceName, MetricName, toString(Attributes)) */
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1, fsync_part_directory = 1;

-- The name in the exporter's README for what its code calls otel_metrics_exponential_histogram.
CREATE VIEW IF NOT EXISTS otel_metrics_exp_histogram AS SELECT * FROM otel_metrics_exponential_histogram;

-- Spans of both paths in one form.
CREATE VIEW IF NOT EXISTS traces_unified_view AS
SELECT 'collector' AS ingest_path, Timestamp AS timestamp, addNanoseconds(Timestamp, toInt64(Duration)) AS end_time, TraceId AS trace_id,
  SpanId AS span_id, nullIf(ParentSpanId, '') AS parent_span_id, ServiceName AS service, DevmeshHost AS host,
  SpanName AS operation, upper(SpanKind) AS kind, upper(StatusCode) AS status, nullIf(StatusMessage, '') AS status_message,
  Duration AS duration_ns, Duration / 1e6 AS duration_ms, toBool(StatusCode = 'Error') AS is_error,
  toBool(ParentSpanId = '') AS is_root,
  SpanAttributes AS attributes, ResourceAttributes AS resource_attributes
FROM otel_traces
UNION ALL
SELECT 'direct' AS ingest_path, Timestamp AS timestamp, addNanoseconds(Timestamp, toInt64(Duration)) AS end_time, TraceId AS trace_id,
  SpanId AS span_id, nullIf(ParentSpanId, '') AS parent_span_id, ServiceName AS service, DevmeshHost AS host,
  SpanName AS operation, upper(SpanKind) AS kind, upper(StatusCode) AS status, nullIf(StatusMessage, '') AS status_message,
  Duration AS duration_ns, Duration / 1e6 AS duration_ms, toBool(StatusCode = 'Error') AS is_error,
  toBool(ParentSpanId = '') AS is_root,
  SpanAttributes AS attributes, ResourceAttributes AS resource_attributes
FROM ai_traces_direct;
