-- What log bodies say, each once: services and levels that say it (level: the one that says it most), how often and when.
SELECT
  counts.pattern_id AS pattern_id,
  coalesce(texts.template, '') AS template,
  counts.services AS services,
  counts.level AS level,
  counts.levels AS levels,
  counts.count AS count,
  counts.first_seen AS first_seen,
  counts.last_seen AS last_seen
FROM (
  SELECT
    pattern_id,
    array_agg(DISTINCT service ORDER BY service) AS services,
    first_value(level ORDER BY records DESC, level) AS level,
    array_agg(DISTINCT level ORDER BY level) AS levels,
    sum(records) AS count,
    min(first_time) AS first_seen,
    max(last_time) AS last_seen
  FROM (
    SELECT
      pattern_id,
      service,
      level,
      count(pattern_id) AS records,
      min(time) AS first_time,
      max(time) AS last_time
    FROM logs
    GROUP BY pattern_id, service, level
  )
  GROUP BY pattern_id
  HAVING sum(records) > 0
) AS counts
LEFT JOIN pattern_texts AS texts ON counts.pattern_id = texts.pattern_id
