-- Calls between services.
SELECT caller.service AS client, callee.service AS server, count(*) AS calls
FROM spans AS callee
JOIN spans AS caller ON callee.trace_id = caller.trace_id AND callee.parent_span_id = caller.span_id
WHERE callee.service <> caller.service
GROUP BY client, server
ORDER BY calls DESC, client, server
