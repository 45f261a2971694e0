-- From when to when a trace lasts: the exporter's index table, which Grafana asks before it reads a trace.
SELECT trace_id AS "TraceId", min(time) AS "Start", max(time) AS "End" FROM spans GROUP BY trace_id
