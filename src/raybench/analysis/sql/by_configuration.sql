-- Question: how long does a request take in each configuration?
-- Columns:
--   configuration, deployment
--   n                          timed samples, of the configuration's own block
--   mean_ms, median_ms, p95_ms, sd_ms   wall time of a request (p95: linear interpolation; null below
--                            130 samples, which cannot carry it: see the table percentiles)
--   host_ms                    mean time until the call returned: Python and dispatch
--   device_ms                  mean time between two device events (null on a CPU)
--   requests_per_second        one request after the other, choosing its adapter included
--   batch                      prompts of a request, served together
--   ttft_ms, tpot_ms           of a language model: mean wall time of the prefill, and over requests of their mean
--                            decoding step (null for a classifier)
--   output_tokens              generated for each prompt (mean; null for a classifier)
--   tokens_per_second          generated for all prompts of the batch, over wall time (null for a classifier)
CREATE OR REPLACE VIEW by_configuration AS
SELECT c.name AS configuration, c.deployment, count(t.wall_ns) AS n,
    avg(t.wall_ns) / 1e6 AS mean_ms,
    median(t.wall_ns) / 1e6 AS median_ms,
    CASE WHEN count(t.wall_ns) >= 130 THEN quantile_cont(t.wall_ns, 0.95) / 1e6 END AS p95_ms,
    stddev_samp(t.wall_ns ORDER BY t.wall_ns) / 1e6 AS sd_ms,
    avg(t.host_ns) / 1e6 AS host_ms,
    avg(t.device_ns) / 1e6 AS device_ms,
    count(t.wall_ns) * 1e9 / sum(t.wall_ns + coalesce(t.switch_ns, 0)) AS requests_per_second,
    c.batch,
    avg(t.prefill_wall_ns) / 1e6 AS ttft_ms,
    avg(raybench_tpot(t.decode_wall_ns)) / 1e6 AS tpot_ms,
    avg(t.output_tokens) AS output_tokens,
    sum(t.batch::BIGINT * t.output_tokens) * 1e9 / sum(t.wall_ns) AS tokens_per_second
FROM configurations AS c
LEFT JOIN timed AS t ON t.configuration = c.name AND t.block = c.block
GROUP BY c.position, c.name, c.deployment, c.batch
ORDER BY c.position;
