-- patterns_compare(start, end, compare_start, compare_end [, service]): which patterns are new in the window, gone, more or
-- less frequent than in the one that it is compared with.
--
-- Counts are compared as rates. Where nothing has changed, the window's share of both counts is its share of both lengths;
-- `score` is how many standard deviations it lies from that. Logs come in bursts: the deviation is widened by the dispersion
-- of the counts by minute in the compared window (quasi-Poisson). More or fewer: beyond 3.29 deviations (p < 0.001), and the
-- rate is at least half as much again, or two thirds of what it was, at most. New: not there before. Gone: not there any
-- more, and that chance leaves it out has less than one per cent.
WITH
now AS (
  SELECT
    pattern_id,
    array_agg(DISTINCT service ORDER BY service) AS services,
    first_value(level ORDER BY records DESC, level) AS level,
    sum(records) AS total
  FROM (
    SELECT pattern_id, service, level, count(pattern_id) AS records
    FROM logs
    WHERE {window}
    GROUP BY pattern_id, service, level
  )
  GROUP BY pattern_id
  HAVING sum(records) > 0
),
before AS (
  SELECT
    pattern_id,
    array_agg(DISTINCT service ORDER BY service) AS services,
    first_value(level ORDER BY records DESC, level) AS level,
    sum(records) AS total
  FROM (
    SELECT pattern_id, service, level, count(pattern_id) AS records
    FROM logs
    WHERE {compared}
    GROUP BY pattern_id, service, level
  )
  GROUP BY pattern_id
  HAVING sum(records) > 0
),
minutes AS (
  SELECT pattern_id, sum(CAST(records AS DOUBLE) * CAST(records AS DOUBLE)) AS squares
  FROM (
    SELECT pattern_id, date_bin(INTERVAL '1 minute', time) AS minute, count(pattern_id) AS records
    FROM logs
    WHERE {compared}
    GROUP BY pattern_id, date_bin(INTERVAL '1 minute', time)
  )
  GROUP BY pattern_id
  HAVING sum(records) > 0
),
counts AS (
  SELECT
    coalesce(now.pattern_id, before.pattern_id) AS pattern_id,
    coalesce(now.services, before.services) AS services,
    coalesce(now.level, before.level) AS level,
    coalesce(now.total, 0) AS count,
    coalesce(before.total, 0) AS compare_count
  FROM now FULL JOIN before ON now.pattern_id = before.pattern_id
),
judged AS (
  SELECT
    counts.*,
    CAST(compare_count AS DOUBLE) * {seconds} / {compare_seconds} AS expected,
    -- Variance over mean of the counts by minute; 1 where records come independently of each other.
    greatest(
      1.0,
      coalesce(
        (squares / {compare_minutes} - power(compare_count / {compare_minutes}, 2)) / nullif(compare_count / {compare_minutes}, 0.0),
        1.0
      )
    ) AS dispersion
  FROM counts LEFT JOIN minutes ON counts.pattern_id = minutes.pattern_id
),
scored AS (
  SELECT
    judged.*,
    (count - (count + compare_count) * {share})
      / sqrt(dispersion * (count + compare_count) * {share} * (1.0 - {share})) AS score
  FROM judged
)
SELECT
  scored.pattern_id AS pattern_id,
  coalesce(texts.template, '') AS template,
  CASE
    WHEN compare_count = 0 THEN 'new'
    WHEN count = 0 THEN CASE WHEN expected / dispersion >= 4.605 THEN 'gone' ELSE 'same' END
    WHEN score >= 3.29 AND count >= 1.5 * expected THEN 'more'
    WHEN score <= -3.29 AND count <= expected / 1.5 THEN 'fewer'
    ELSE 'same'
  END AS status,
  services,
  level,
  count,
  compare_count,
  count / {seconds} AS rate,
  compare_count / {compare_seconds} AS compare_rate,
  score
FROM scored LEFT JOIN pattern_texts AS texts ON scored.pattern_id = texts.pattern_id
