-- Columns of the OpenTelemetry Collector's ClickHouse exporter: spans of the collector path.
SELECT
  time AS "Timestamp",
  trace_id AS "TraceId",
  span_id AS "SpanId",
  coalesce(parent_span_id, '') AS "ParentSpanId",
  coalesce(trace_state, '') AS "TraceState",
  name AS "SpanName",
  CASE kind
    WHEN 'SERVER' THEN 'Server' WHEN 'CLIENT' THEN 'Client' WHEN 'INTERNAL' THEN 'Internal'
    WHEN 'PRODUCER' THEN 'Producer' WHEN 'CONSUMER' THEN 'Consumer' ELSE 'Unspecified' END AS "SpanKind",
  service AS "ServiceName",
  resource_attributes AS "ResourceAttributes",
  scope_name AS "ScopeName",
  scope_version AS "ScopeVersion",
  attributes AS "SpanAttributes",
  duration_ns AS "Duration",
  CASE status_code WHEN 'OK' THEN 'Ok' WHEN 'ERROR' THEN 'Error' ELSE 'Unset' END AS "StatusCode",
  coalesce(status_message, '') AS "StatusMessage",
  list_field(events, 'time') AS "Events.Timestamp",
  list_field(events, 'name') AS "Events.Name",
  list_field(events, 'attributes') AS "Events.Attributes",
  list_field(links, 'trace_id') AS "Links.TraceId",
  list_field(links, 'span_id') AS "Links.SpanId",
  list_field(links, 'trace_state') AS "Links.TraceState",
  list_field(links, 'attributes') AS "Links.Attributes"
FROM spans
WHERE ingest_path = 'collector'
