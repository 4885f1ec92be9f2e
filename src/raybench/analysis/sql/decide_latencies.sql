-- Question: how long did the timed requests of each deployment that serves one prompt at a time take, by task?
-- Columns:
--   deployment, task
--   wall_ns            one timed request of a complete configuration in its own block, the choice of its adapter not
--                      included; nanoseconds
SELECT c.deployment, t.task, t.wall_ns
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
JOIN completeness AS k ON k.configuration = c.name
WHERE k.complete AND c.batch = 1 AND coalesce(c.role, c.strategy) = c.strategy
ORDER BY ALL;
