-- Columns of the OpenTelemetry Collector's ClickHouse exporter: points of kind gauge.
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
  value AS "Value",
  flags AS "Flags",
  list_field(exemplars, 'attributes') AS "Exemplars.FilteredAttributes",
  list_field(exemplars, 'time') AS "Exemplars.TimeUnix",
  list_field(exemplars, 'value') AS "Exemplars.Value",
  list_field(exemplars, 'span_id') AS "Exemplars.SpanId",
  list_field(exemplars, 'trace_id') AS "Exemplars.TraceId"
FROM metrics
WHERE kind = 'gauge'
