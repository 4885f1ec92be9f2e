-- Question: how long did the timed requests of a deployment that serves one prompt at a time take, by task?
-- Parameters: the deployment; the tasks. Equal times of a task are one row: a long run has far fewer times than requests.
-- Columns, by rising time:
--   wall_ns            one timed request of a complete configuration in its own block, the choice of its adapter not
--                      included; nanoseconds
--   place              that of the task in the parameter, from 1
--   n                  how many requests took that long
SELECT t.wall_ns, list_position($2, t.task) AS place, count(*) AS n
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
JOIN completeness AS k ON k.configuration = c.name
WHERE k.complete AND c.batch = 1 AND c.load IS NULL AND coalesce(c.role, c.strategy) = c.strategy
    AND c.deployment = $1 AND list_contains($2, t.task)
GROUP BY t.wall_ns, place
ORDER BY t.wall_ns, place;
