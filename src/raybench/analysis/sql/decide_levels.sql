-- Question: how long did a request of each task take in each visit of a deployment that serves one prompt at a time?
-- Columns:
--   deployment, configuration, round, device, task
--   mean_ns            mean wall time of the timed requests of a complete configuration in its own block, the choice of
--                      its adapter not included; nanoseconds
SELECT c.deployment, t.configuration, t.round, t.device, t.task, avg(t.wall_ns) AS mean_ns
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
JOIN completeness AS k ON k.configuration = c.name
WHERE k.complete AND c.batch = 1 AND c.load IS NULL AND coalesce(c.role, c.strategy) = c.strategy
GROUP BY ALL
ORDER BY ALL;
