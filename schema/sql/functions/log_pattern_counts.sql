-- log_pattern_counts(start, end): log records by pattern, service, level and minute.
SELECT pattern_id, service, level, date_bin(INTERVAL '1 minute', time) AS time, count(pattern_id) AS count
FROM logs
WHERE {window}
GROUP BY pattern_id, service, level, date_bin(INTERVAL '1 minute', time)
HAVING count(pattern_id) > 0
