-- Question: how are the latencies of each deployment distributed?
-- One row a deployment and measure, over the timed samples of all its configurations, each in its own block.
-- Columns:
--   deployment, measure        end_to_end, of a language model also ttft and tpot
--   n                          timed samples
--   ms                         the quantiles 0, 0.01, ... 1 of the wall time, milliseconds
SELECT c.deployment, m.measure, count(*) AS n,
    list_transform(quantile_cont(m.wall_ns, [i / 100.0 FOR i IN range(101)]), lambda ns: ns / 1e6) AS ms
FROM measures AS m
JOIN configurations AS c ON c.name = m.configuration AND c.block = m.block
GROUP BY c.deployment, m.measure
ORDER BY min(c.position), list_position(['end_to_end', 'ttft', 'tpot'], m.measure);
