-- Question: how long were the times between one token and the next, each by itself and no request's mean?
-- One row a deployment, over its timed requests: of more than 4 million such times those of every k-th request.
-- Columns:
--   deployment
--   n, visits                  times, and visits that they are of
--   every                      of how many requests one was looked at
--   ms                         the quantiles 0, 0.01, ... 1 of all of them, milliseconds
--   p999_ms                    the quantile 0.999
--   p99_least_ms, p99_most_ms  of the quantiles 0.99 of each visit by itself the least and the most
WITH own AS (
    SELECT c.deployment, c.position, t.visit, t.request, t.decode_wall_ns AS steps
    FROM timed AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
    WHERE list_max(t.decode_wall_ns) > 1  -- in other answers all tokens came at once
),
sizes AS (SELECT greatest(1, coalesce(sum(len(steps)), 0) // 4000000 + 1)::BIGINT AS every FROM own),
gaps AS (
    SELECT o.deployment, o.position, o.visit, unnest(o.steps) / 1e6 AS ms
    FROM own AS o
    WHERE o.request % (SELECT every FROM sizes) = 0
),
of_visits AS (SELECT deployment, visit, quantile_cont(ms, 0.99) AS p99_ms FROM gaps GROUP BY deployment, visit),
over_visits AS (
    SELECT deployment, count(*) AS visits, min(p99_ms) AS p99_least_ms, max(p99_ms) AS p99_most_ms
    FROM of_visits
    GROUP BY deployment
),
of_all AS (
    SELECT deployment, min(position) AS position, count(*) AS n, quantile_cont(ms, 0.999) AS p999_ms,
        quantile_cont(ms, [i / 100.0 FOR i IN range(101)]) AS ms
    FROM gaps
    GROUP BY deployment
)
SELECT a.deployment, a.n, v.visits, (SELECT every FROM sizes) AS every, a.ms, a.p999_ms, v.p99_least_ms, v.p99_most_ms
FROM of_all AS a
JOIN over_visits AS v USING (deployment)
ORDER BY a.position;
