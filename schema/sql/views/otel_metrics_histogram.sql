-- Columns of the OpenTelemetry Collector's ClickHouse exporter: points of kind histogram.
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
  buckets AS "BucketCounts",
  bounds AS "ExplicitBounds",
  list_field(exemplars, 'attributes') AS "Exemplars.FilteredAttributes",
  list_field(exemplars, 'time') AS "Exemplars.TimeUnix",
  list_field(exemplars, 'value') AS "Exemplars.Value",
  list_field(exemplars, 'span_id') AS "Exemplars.SpanId",
  list_field(exemplars, 'trace_id') AS "Exemplars.TraceId",
  flags AS "Flags",
  coalesce(min, 0) AS "Min",
  coalesce(max, 0) AS "Max",
  CASE temporality WHEN 'delta' THEN 1 WHEN 'cumulative' THEN 2 ELSE 0 END AS "AggregationTemporality"
FROM metrics
WHERE kind = 'histogram'
