-- Question: what are the rows of the study's table, and which of their configurations are complete?
-- Columns:
--   deployment, role          the row's name; the strategy (or the plan's own role) it is compared as
--   configurations, complete  how many it has, and how many of them measured every planned round
--   names                     the complete ones
--   n, mean_ms                their timed samples, and the mean of their mean wall times
CREATE OR REPLACE VIEW deployments AS
SELECT c.deployment, any_value(c.role) AS role, count(*) AS configurations,
    count(*) FILTER (k.complete) AS complete,
    coalesce(list(c.name ORDER BY c.position) FILTER (k.complete), []) AS names,
    coalesce(sum(b.n) FILTER (k.complete), 0)::BIGINT AS n,
    avg(b.mean_ms) FILTER (k.complete) AS mean_ms
FROM configurations AS c
JOIN completeness AS k ON k.configuration = c.name
JOIN by_configuration AS b ON b.configuration = c.name
GROUP BY c.deployment
ORDER BY min(c.position);
