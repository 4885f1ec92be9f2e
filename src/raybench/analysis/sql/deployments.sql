-- Question: what are the rows of the study's table, and which of their configurations are complete?
-- Columns:
--   deployment, role          the row's name; the strategy (or the plan's own role) it is compared as
--   configurations, complete  how many it has, and how many of them measured every planned round
--   names                     the complete ones
--   n, mean_ms                their timed samples, and the mean of their mean wall times
--   ttft_ms, tpot_ms          of a language model the same of prefills, and of requests' mean decoding steps
--   prompts_per_second, tokens_per_second   prompts served, and tokens generated, over the wall time of all their samples
--                             (null under a load: see the table goodput)
CREATE OR REPLACE VIEW deployments AS
SELECT c.deployment, any_value(c.role) AS role, count(*) AS configurations,
    count(*) FILTER (k.complete) AS complete,
    coalesce(list(c.name ORDER BY c.position) FILTER (k.complete), []) AS names,
    coalesce(sum(b.n) FILTER (k.complete), 0)::BIGINT AS n,
    avg(b.mean_ms) FILTER (k.complete) AS mean_ms,
    avg(b.ttft_ms) FILTER (k.complete) AS ttft_ms,
    avg(b.tpot_ms) FILTER (k.complete) AS tpot_ms,
    CASE WHEN count(c.load) = 0 THEN
        (sum(b.n * b.batch) FILTER (k.complete)) * 1e3 / sum(b.n * b.mean_ms) FILTER (k.complete) END AS prompts_per_second,
    CASE WHEN count(c.load) = 0 THEN (sum(b.n * b.batch * b.output_tokens) FILTER (k.complete)) * 1e3
        / sum(b.n * b.mean_ms) FILTER (k.complete) END AS tokens_per_second
FROM configurations AS c
JOIN completeness AS k ON k.configuration = c.name
JOIN by_configuration AS b ON b.configuration = c.name
GROUP BY c.deployment
ORDER BY min(c.position);
