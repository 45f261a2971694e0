-- The body of one request.
SELECT body FROM logs WHERE attributes['request.id'] = ':request_id'
