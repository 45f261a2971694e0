-- Bodies with one UUID.
SELECT time, service, body FROM logs WHERE matches(body, ':uuid') ORDER BY time
