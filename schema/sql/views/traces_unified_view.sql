-- Spans of both paths in one form; ingest_path says which way each came.
SELECT
  ingest_path,
  time AS timestamp,
  end_time,
  trace_id,
  span_id,
  parent_span_id,
  service,
  host,
  name AS operation,
  kind,
  status_code AS status,
  status_message,
  duration_ns,
  duration_ns / 1e6 AS duration_ms,
  status_code = 'ERROR' AS is_error,
  parent_span_id IS NULL AS is_root,
  attributes,
  resource_attributes
FROM spans
