-- Top 10 exception types of errors.
SELECT attributes['exception.type'] AS exception, count(*) AS records
FROM logs
WHERE severity_number >= 17 AND attributes['exception.type'] IS NOT NULL
GROUP BY exception
ORDER BY records DESC, exception
LIMIT 10
