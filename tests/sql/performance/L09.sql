-- Top 10 bodies with digits folded, of one service, WARN and above.
SELECT regexp_replace(body, '[0-9]+', '#', 'g') AS pattern, count(*) AS records
FROM logs
WHERE service = ':service' AND severity_number >= 13
GROUP BY pattern
ORDER BY records DESC, pattern
LIMIT 10
