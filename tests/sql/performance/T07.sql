-- How many spans one user has.
SELECT count(*) AS spans FROM spans WHERE attributes['user.id'] = ':user_id'
