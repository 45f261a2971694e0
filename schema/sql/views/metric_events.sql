-- Metric points in flat columns. A histogram's value is its sum.
SELECT
  record_id(time, service, host, name, map_json(attributes)) AS id,
  time AS timestamp,
  source,
  service,
  host,
  name AS metric_name,
  kind AS metric_type,
  coalesce(value, sum) AS value,
  unit,
  map_json(attributes) AS labels_json
FROM metrics
