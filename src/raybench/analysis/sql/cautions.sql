-- Question: what should a reader know of how the run was measured?
-- Made by verdicts.py from `latencies`.
-- Columns:
--   configuration                     null for what befell the whole run
--   code, message, hint               the kind, what was seen, what to do about it
CREATE OR REPLACE VIEW cautions AS FROM read_parquet(getvariable('raybench_run') || '/tables/cautions.parquet', hive_partitioning = false);
