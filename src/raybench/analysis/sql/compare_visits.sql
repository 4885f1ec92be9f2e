-- Question: how long did a request take in each visit of a configuration's own block?
-- Two runs are compared by these rows; `timed` then holds the compared requests only (compare_requests.sql).
-- Columns:
--   configuration, round
--   device     where the visit ran
--   requests   what it served, in order: (task, request)
--   wall       natural log of the mean wall time in nanoseconds
SELECT t.configuration, t.round, any_value(t.device) AS device,
    list((t.task, t.request) ORDER BY t.task, t.request) AS requests,
    ln(avg(t.wall_ns)) AS wall
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
GROUP BY t.configuration, t.round
ORDER BY t.configuration, t.round;
