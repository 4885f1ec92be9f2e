-- Question: how long does each part of a request take in each configuration?
-- Columns:
--   configuration, deployment
--   measure                    end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   n                          timed samples that have it, of the configuration's own block
--   mean_ms, median_ms, sd_ms  wall time
--   host_ms, device_ms         mean time until the call returned; between two device events (null on a CPU)
--
-- Sums of whole numbers and of their squares are the same in any order, and so is what is made of them: the deviation about
-- the number nearest to the mean, less by how far that is off. What takes a day or longer has squares too large to add up.
CREATE OR REPLACE MACRO raybench_sd(x) AS CASE
    WHEN count(x) < 2 THEN NULL
    WHEN max(x) < 100_000_000_000_000 THEN sqrt((
        (
            sum(CASE WHEN x < 100_000_000_000_000 THEN x * x END)
            - 2 * round(avg(x))::HUGEINT * sum(x) + count(x) * round(avg(x))::HUGEINT * round(avg(x))::HUGEINT
        )::DOUBLE - (sum(x) - count(x) * round(avg(x))::HUGEINT)::DOUBLE ** 2 / count(x)
    ) / (count(x) - 1))
    ELSE stddev_samp(x::DOUBLE)
END;

-- All that is asked of a configuration's own samples at once; by_configuration shows it too.
CREATE OR REPLACE VIEW raybench_times AS
WITH own AS (
    SELECT c.position, t.*, raybench_tpot(t.decode_wall_ns) AS step_wall, raybench_tpot(t.decode_host_ns) AS step_host,
        raybench_tpot(t.decode_device_ns) AS step_device
    FROM timed AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
)
SELECT position,
    count(*) AS n,
    avg(wall_ns) / 1e6 AS mean_ms,
    quantile_cont(wall_ns, [0.5, 0.95])[1] / 1e6 AS median_ms,
    CASE WHEN count(*) >= 130 THEN quantile_cont(wall_ns, [0.5, 0.95])[2] / 1e6 END AS p95_ms,
    raybench_sd(wall_ns::HUGEINT) / 1e6 AS sd_ms,
    avg(host_ns) / 1e6 AS host_ms,
    avg(device_ns) / 1e6 AS device_ms,
    count(*) * 1e9 / sum(wall_ns + coalesce(switch_ns, 0)) AS requests_per_second,
    avg(output_tokens) AS output_tokens,
    sum(batch::BIGINT * output_tokens) * 1e9 / sum(wall_ns) AS tokens_per_second,
    count(prefill_wall_ns) AS ttft_n,
    avg(prefill_wall_ns) / 1e6 AS ttft_ms,
    median(prefill_wall_ns) / 1e6 AS ttft_median_ms,
    raybench_sd(prefill_wall_ns::HUGEINT) / 1e6 AS ttft_sd_ms,
    avg(prefill_host_ns) / 1e6 AS ttft_host_ms,
    avg(prefill_device_ns) / 1e6 AS ttft_device_ms,
    count(step_wall) AS tpot_n,
    avg(step_wall) / 1e6 AS tpot_ms,
    median(step_wall) / 1e6 AS tpot_median_ms,
    raybench_sd((step_wall * 256)::HUGEINT) / 256e6 AS tpot_sd_ms,
    avg(step_host) / 1e6 AS tpot_host_ms,
    avg(step_device) / 1e6 AS tpot_device_ms
FROM own
GROUP BY position;

CREATE OR REPLACE VIEW by_measure AS
WITH measured AS (
    SELECT position, 'end_to_end' AS measure, n, mean_ms, median_ms, sd_ms, host_ms, device_ms
    FROM raybench_times
    UNION ALL
    SELECT position, 'ttft' AS measure, ttft_n AS n, ttft_ms AS mean_ms, ttft_median_ms AS median_ms,
        ttft_sd_ms AS sd_ms, ttft_host_ms AS host_ms, ttft_device_ms AS device_ms
    FROM raybench_times
    UNION ALL
    SELECT position, 'tpot' AS measure, tpot_n AS n, tpot_ms AS mean_ms, tpot_median_ms AS median_ms,
        tpot_sd_ms AS sd_ms, tpot_host_ms AS host_ms, tpot_device_ms AS device_ms
    FROM raybench_times
)
SELECT c.name AS configuration, c.deployment, m.* EXCLUDE (position)
FROM measured AS m
JOIN configurations AS c USING (position)
WHERE m.n > 0
ORDER BY c.position, list_position(['end_to_end', 'ttft', 'tpot'], m.measure);
