-- Rate, errors, duration of each service: its SERVER and CONSUMER spans; where it has none, its roots.
-- An error is a span with status ERROR, or an unset status and a response that says so (semantic conventions).
SELECT
  service,
  CASE WHEN served > 0 THEN served ELSE started END AS calls,
  CASE WHEN served > 0 THEN served_errors ELSE started_errors END AS errors,
  CASE WHEN served > 0 THEN served_p50 ELSE started_p50 END / 1e6 AS p50_ms,
  CASE WHEN served > 0 THEN served_p95 ELSE started_p95 END / 1e6 AS p95_ms,
  CASE WHEN served > 0 THEN served_p99 ELSE started_p99 END / 1e6 AS p99_ms,
  first_seen,
  last_seen
FROM (
  SELECT
    service,
    sum(CASE WHEN is_served THEN 1 ELSE 0 END) AS served,
    sum(CASE WHEN is_served AND is_error THEN 1 ELSE 0 END) AS served_errors,
    quantile(CASE WHEN is_served THEN duration_ns END, 0.5) AS served_p50,
    quantile(CASE WHEN is_served THEN duration_ns END, 0.95) AS served_p95,
    quantile(CASE WHEN is_served THEN duration_ns END, 0.99) AS served_p99,
    sum(CASE WHEN is_root THEN 1 ELSE 0 END) AS started,
    sum(CASE WHEN is_root AND is_error THEN 1 ELSE 0 END) AS started_errors,
    quantile(CASE WHEN is_root THEN duration_ns END, 0.5) AS started_p50,
    quantile(CASE WHEN is_root THEN duration_ns END, 0.95) AS started_p95,
    quantile(CASE WHEN is_root THEN duration_ns END, 0.99) AS started_p99,
    min(time) AS first_seen,
    max(time) AS last_seen
  FROM (
    SELECT
      service, duration_ns, time,
      kind IN ('SERVER', 'CONSUMER') AS is_served,
      parent_span_id IS NULL AS is_root,
      status_code = 'ERROR' OR (status_code = 'UNSET' AND kind = 'SERVER' AND coalesce(
        CAST(attributes['http.response.status_code'] AS BIGINT), CAST(attributes['http.status_code'] AS BIGINT), 0
      ) >= 500) AS is_error
    FROM spans
  )
  GROUP BY service
)
