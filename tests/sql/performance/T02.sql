-- Percentiles by service and name.
SELECT service, name, quantile(duration_ns, 0.5) AS p50, quantile(duration_ns, 0.95) AS p95,
  quantile(duration_ns, 0.99) AS p99, count(*) AS spans
FROM spans
GROUP BY service, name
ORDER BY service, name
