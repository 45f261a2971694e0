-- How many records one session has.
SELECT count(*) AS records FROM logs WHERE attributes['session.id'] = ':session_id'
