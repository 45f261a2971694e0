-- The 20 slowest roots.
SELECT trace_id, service, name, duration_ns
FROM spans
WHERE parent_span_id IS NULL
ORDER BY duration_ns DESC, trace_id
LIMIT 20
