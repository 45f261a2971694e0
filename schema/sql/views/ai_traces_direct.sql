-- Spans of the direct path, flattened for analysis.
SELECT
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
  coalesce(attributes['http.request.method'], attributes['http.method']) AS http_method,
  attributes['http.route'] AS http_route,
  coalesce(attributes['http.response.status_code'], attributes['http.status_code']) AS http_status_code,
  coalesce(attributes['db.system.name'], attributes['db.system']) AS db_system,
  attributes['error.type'] AS error_type,
  map_json(attributes) AS attributes_json,
  map_json(resource_attributes) AS resource_json
FROM spans
WHERE ingest_path = 'direct'
