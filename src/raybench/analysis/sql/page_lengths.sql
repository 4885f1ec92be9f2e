-- Question: how does latency grow with the length of a request?
-- One row a deployment and a twentieth of the way from the shortest request of the run to its longest.
-- Columns:
--   deployment
--   n, tokens                  timed samples there, and their mean length
--   median_ms                  median wall time, milliseconds
WITH own AS (
    SELECT c.deployment, c.position, t.tokens::BIGINT AS tokens, t.wall_ns
    FROM timed AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
),
span AS (SELECT min(tokens) AS least, max(tokens) AS most FROM own)
SELECT o.deployment, count(*) AS n, avg(o.tokens) AS tokens, median(o.wall_ns) / 1e6 AS median_ms
FROM own AS o
CROSS JOIN span AS s
GROUP BY o.deployment, (o.tokens - s.least) * 20 // (s.most - s.least + 1)
ORDER BY min(min(o.position)) OVER (PARTITION BY o.deployment), tokens;
