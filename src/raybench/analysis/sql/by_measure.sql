-- Question: how long does each part of a request take in each configuration?
-- Columns:
--   configuration, deployment
--   measure                    end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   n                          timed samples that have it, of the configuration's own block
--   mean_ms, median_ms, sd_ms  wall time
--   host_ms, device_ms         mean time until the call returned; between two device events (null on a CPU)
CREATE OR REPLACE VIEW by_measure AS
SELECT c.name AS configuration, c.deployment, m.measure, count(*) AS n,
    avg(m.wall_ns) / 1e6 AS mean_ms,
    median(m.wall_ns) / 1e6 AS median_ms,
    stddev_samp(m.wall_ns ORDER BY m.wall_ns) / 1e6 AS sd_ms,
    avg(m.host_ns) / 1e6 AS host_ms,
    avg(m.device_ns) / 1e6 AS device_ms
FROM configurations AS c
JOIN measures AS m ON m.configuration = c.name AND m.block = c.block
GROUP BY c.position, c.name, c.deployment, m.measure
ORDER BY c.position, list_position(['end_to_end', 'ttft', 'tpot'], m.measure);
