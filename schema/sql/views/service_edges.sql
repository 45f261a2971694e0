-- Who calls whom. Three kinds of edges (connection_type):
--   ''                a CLIENT span, and the SERVER span of another service that is its child;
--   messaging_system  a PRODUCER span, and the CONSUMER span that is its child or has a link to it;
--   database          a CLIENT span that names a database, to that database;
--   virtual_node      a CLIENT span that names a peer and has no child, to that peer.
-- Durations are the server's where it has spans, else the client's.
SELECT
  client, server, connection_type, count(*) AS calls, sum(CASE WHEN failed THEN 1 ELSE 0 END) AS errors,
  quantile(duration_ns, 0.5) / 1e6 AS p50_ms,
  quantile(duration_ns, 0.95) / 1e6 AS p95_ms,
  quantile(duration_ns, 0.99) / 1e6 AS p99_ms
FROM (
  SELECT
    caller.service AS client,
    coalesce(callee.service, caller.peer) AS server,
    CASE
      WHEN callee.service IS NULL THEN caller.peer_type
      WHEN caller.kind = 'PRODUCER' THEN 'messaging_system'
      ELSE '' END AS connection_type,
    caller.failed OR coalesce(callee.failed, false) AS failed,
    coalesce(callee.duration_ns, caller.duration_ns) AS duration_ns
  FROM (
    SELECT
      trace_id, span_id, service, kind, duration_ns, status_code = 'ERROR' AS failed,
      coalesce(
        attributes['db.system.name'], attributes['db.system'],
        attributes['service.peer.name'], attributes['peer.service'], attributes['server.address']
      ) AS peer,
      CASE WHEN coalesce(attributes['db.system.name'], attributes['db.system']) IS NOT NULL
        THEN 'database' ELSE 'virtual_node' END AS peer_type
    FROM spans WHERE kind IN ('CLIENT', 'PRODUCER')
  ) AS caller
  LEFT JOIN (
    SELECT trace_id, parent_span_id, service, duration_ns, status_code = 'ERROR' AS failed, false AS linked
    FROM spans WHERE kind IN ('SERVER', 'CONSUMER')
    UNION ALL
    SELECT link['trace_id'], link['span_id'], service, duration_ns, failed, true
    FROM (
      SELECT
        unnest(links) AS link, trace_id, parent_span_id, service, duration_ns, status_code = 'ERROR' AS failed
      FROM spans WHERE kind = 'CONSUMER'
    )
    WHERE link['trace_id'] <> trace_id OR link['span_id'] IS DISTINCT FROM parent_span_id
  ) AS callee ON callee.trace_id = caller.trace_id AND callee.parent_span_id = caller.span_id
    AND (caller.kind = 'PRODUCER' OR NOT callee.linked)
  WHERE (callee.service IS NOT NULL AND callee.service <> caller.service)
    OR (callee.service IS NULL AND caller.peer IS NOT NULL)
)
GROUP BY client, server, connection_type
