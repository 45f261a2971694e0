-- Logs in flat columns. id: a hash of what the record says, the same after a restart.
SELECT
  record_id(time, observed_time, service, host, level, trace_id, span_id, body, map_json(attributes)) AS id,
  time AS timestamp,
  source,
  service,
  host,
  level,
  trace_id,
  span_id,
  coalesce(event_name, attributes['event_type']) AS event_type,
  attributes['error_code'] AS error_code,
  body AS message,
  map_json(attributes) AS meta_json
FROM logs
