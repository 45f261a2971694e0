-- Errors and total by minute and service.
SELECT date_bin(INTERVAL '1 minute', time) AS at, service,
  sum(CASE WHEN severity_number >= 17 THEN 1 ELSE 0 END) AS errors, count(*) AS total
FROM logs
GROUP BY at, service
ORDER BY at, service
