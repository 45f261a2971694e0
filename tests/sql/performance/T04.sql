-- Errors and total by minute and service.
SELECT date_bin(INTERVAL '1 minute', time) AS at, service,
  sum(CASE WHEN status_code = 'ERROR' THEN 1 ELSE 0 END) AS errors, count(*) AS total
FROM spans
GROUP BY at, service
ORDER BY at, service
