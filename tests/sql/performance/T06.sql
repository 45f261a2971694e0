-- Top exception types of failed spans.
SELECT event['attributes']['exception.type'] AS exception, count(*) AS spans
FROM (SELECT unnest(events) AS event FROM spans WHERE status_code = 'ERROR')
WHERE event['name'] = 'exception'
GROUP BY exception
ORDER BY spans DESC, exception
LIMIT 10
