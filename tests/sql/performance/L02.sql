-- Count by five minutes, service and severity.
SELECT date_bin(INTERVAL '5 minutes', time) AS at, service, severity_number, count(*) AS records
FROM logs
GROUP BY at, service, severity_number
ORDER BY at, service, severity_number
