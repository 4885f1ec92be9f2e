-- Question: how much do a configuration's requests depend on each other, and where does its variance lie?
-- Made by verdicts.py from `latencies`.
-- Columns:
--   configuration, samples, visits
--   lag1, effective_samples           autocorrelation of neighbours (null where nothing varies); independent samples that
--                                     would tell as much
--   requests_share, visits_share, devices_share   of the variance of log latency; they add up to 1
--   outliers                          samples over 3.5 robust deviations from their visit's median; kept
CREATE OR REPLACE VIEW diagnostics AS FROM read_parquet(getvariable('raybench_run') || '/tables/diagnostics.parquet', hive_partitioning = false);
