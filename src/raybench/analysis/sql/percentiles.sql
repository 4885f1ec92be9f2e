-- Question: which percentiles of wall time can the samples carry, and how sure are they?
-- Made by verdicts.py from `latencies`.
-- Columns:
--   configuration, percentile (50, 90, 95, 99, 99.9)
--   measure                           end_to_end, of a language model also ttft (prefill) and tpot (mean decoding step)
--   ms, low_ms, high_ms               its value and 95 % interval, milliseconds; high_ms is infinite where unbounded
--   n, visits                         timed samples, and the visits that they come from
--   refused                           why there is none
CREATE OR REPLACE VIEW percentiles AS FROM read_parquet(getvariable('raybench_run') || '/tables/percentiles.parquet', hive_partitioning = false);
