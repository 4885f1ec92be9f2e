-- Question: in each round, how much longer did a configuration take than its reference on the same requests?
-- This is what intervals and tests are computed from: one row is one visit (paired design) and measure, never a sample.
-- Columns:
--   configuration, deployment, reference_strategy, block, round
--   measure                           end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   device                            where the configuration ran
--   n                                 requests that both served
--   wall, host, device_time           natural log of the ratio of mean times, by each clock (device_time null on a CPU)
--   wall_median, host_median, device_median   natural log of the ratio of median times
--   compared_ms, reference_ms         the mean wall times whose ratio it is, milliseconds: of the configuration, of its
--                                     reference
CREATE OR REPLACE VIEW visit_ratios AS
SELECT c.configuration, c.deployment, c.reference_strategy, c.block, t.round, t.measure, any_value(t.device) AS device,
    count(DISTINCT (t.task, t.request)) AS n,
    ln(avg(t.wall_ns) / avg(r.wall_ns)) AS wall,
    ln(avg(t.host_ns) / avg(r.host_ns)) AS host,
    ln(avg(t.device_ns) / avg(r.device_ns)) AS device_time,
    ln(median(t.wall_ns) / median(r.wall_ns)) AS wall_median,
    ln(median(t.host_ns) / median(r.host_ns)) AS host_median,
    ln(median(t.device_ns) / median(r.device_ns)) AS device_median,
    avg(t.wall_ns) / 1e6 AS compared_ms,
    avg(r.wall_ns) / 1e6 AS reference_ms
FROM comparisons AS c
JOIN measures AS t ON t.configuration = c.configuration AND t.block = c.block
JOIN measures AS r ON r.configuration = c.reference AND r.block = c.reference_block
    AND r.round = t.round AND r.task = t.task AND r.request = t.request AND r.measure = t.measure
WHERE c.via IS NULL
GROUP BY c.configuration, c.deployment, c.reference_strategy, c.block, t.round, t.measure
ORDER BY c.configuration, c.reference_strategy, t.round, list_position(['end_to_end', 'ttft', 'tpot'], t.measure);
