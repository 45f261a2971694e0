-- 95th percentile of a number by route.
SELECT attributes['http.route'] AS route, quantile(CAST(attributes['duration_ms'] AS DOUBLE), 0.95) AS p95
FROM logs
GROUP BY route
ORDER BY p95 DESC, route
