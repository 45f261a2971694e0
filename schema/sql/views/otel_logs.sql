-- Columns of the OpenTelemetry Collector's ClickHouse exporter (v0.161), and TimestampTime of the versions before 0.151.
SELECT
  time AS "Timestamp",
  date_trunc('second', time) AS "TimestampTime",
  coalesce(trace_id, '') AS "TraceId",
  coalesce(span_id, '') AS "SpanId",
  trace_flags AS "TraceFlags",
  coalesce(severity_text, '') AS "SeverityText",
  severity_number AS "SeverityNumber",
  service AS "ServiceName",
  coalesce(body, '') AS "Body",
  '' AS "ResourceSchemaUrl",
  resource_attributes AS "ResourceAttributes",
  '' AS "ScopeSchemaUrl",
  scope_name AS "ScopeName",
  scope_version AS "ScopeVersion",
  scope_attributes AS "ScopeAttributes",
  attributes AS "LogAttributes",
  coalesce(event_name, '') AS "EventName"
FROM logs
