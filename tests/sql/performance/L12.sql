-- Distinct users of one service.
SELECT count(DISTINCT attributes['user.id']) AS users FROM logs WHERE service = ':service'
