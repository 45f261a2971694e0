-- One trace.
SELECT * FROM spans WHERE trace_id = ':trace_id' ORDER BY time, span_id
