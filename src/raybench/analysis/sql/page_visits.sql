-- Question: how slow was each visit beside the others of the same configurations on the same device, in their order?
-- Of more than 500 visits some that follow each other are one row. Those in which nothing was timed have none.
-- Columns:
--   device
--   first                      number of the (first) visit in the run's order, from 0, all that are over counted
--   visits                     how many are in the row
--   started_s                  when the first began, seconds after the run's first visit
--   ratio                      of its mean wall times to the mean of the same over all visits: 1.05 is 5 % slower; geometric
--                              mean over configurations
WITH means AS (
    SELECT visit, configuration, block, any_value(device) AS device, ln(avg(wall_ns)) AS level
    FROM timed
    GROUP BY visit, configuration, block
),
levels AS (
    SELECT m.*, m.level - o.level AS above
    FROM means AS m
    JOIN (
        SELECT configuration, block, device, avg(level ORDER BY visit) AS level
        FROM means
        GROUP BY configuration, block, device
    ) AS o ON o.configuration = m.configuration AND o.block = m.block AND o.device = m.device
),
of_visits AS (
    SELECT visit, any_value(device) AS device, avg(above ORDER BY configuration) AS above
    FROM levels
    GROUP BY visit
),
numbered AS (
    SELECT visit, row_number() OVER (ORDER BY started_at, visit) - 1 AS number, count(*) OVER () AS of_all,
        epoch(started_at) - min(epoch(started_at)) OVER () AS started_s
    FROM visits
),
ordered AS (
    SELECT * FROM of_visits JOIN numbered USING (visit)
)
SELECT device, min(number) AS first, count(*) AS visits, min(started_s) AS started_s,
    exp(avg(above ORDER BY number)) AS ratio
FROM ordered
GROUP BY device, number * least(of_all, 500) // of_all
ORDER BY first, device;
