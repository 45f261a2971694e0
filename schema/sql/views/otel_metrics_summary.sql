-- Columns of the OpenTelemetry Collector's ClickHouse exporter: points of kind summary.
SELECT
  resource_attributes AS "ResourceAttributes",
  '' AS "ResourceSchemaUrl",
  '' AS "ScopeName",
  '' AS "ScopeVersion",
  service AS "ServiceName",
  name AS "MetricName",
  description AS "MetricDescription",
  unit AS "MetricUnit",
  attributes AS "Attributes",
  start_time AS "StartTimeUnix",
  time AS "TimeUnix",
  count AS "Count",
  coalesce(sum, 0) AS "Sum",
  list_field(quantiles, 'quantile') AS "ValueAtQuantiles.Quantile",
  list_field(quantiles, 'value') AS "ValueAtQuantiles.Value",
  flags AS "Flags"
FROM metrics
WHERE kind = 'summary'
