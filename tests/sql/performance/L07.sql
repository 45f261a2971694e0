-- Top 10 tenants.
SELECT attributes['tenant.id'] AS tenant, count(*) AS records
FROM logs
GROUP BY tenant
ORDER BY records DESC, tenant
LIMIT 10
