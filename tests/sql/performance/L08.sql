-- The newest 100 of one service.
SELECT time, level, body FROM logs WHERE service = ':service' ORDER BY time DESC LIMIT 100
