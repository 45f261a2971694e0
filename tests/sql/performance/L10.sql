-- Count by minute of bodies with one word.
SELECT date_bin(INTERVAL '1 minute', time) AS at, count(*) AS records
FROM logs
WHERE matches(body, ':word')
GROUP BY at
ORDER BY at
