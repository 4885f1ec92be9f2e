-- Question: how much longer does each configuration take than each reference, and how sure is that?
-- Made by verdicts.py from `visit_ratios`; one row a configuration, reference and clock.
-- Columns:
--   configuration, deployment, reference_strategy, clock (wall, host, device, and each with " median")
--   visits                            visits of its ratio (of a chain: of all its links)
--   ratio, low, high                  times the reference (1.25: 25 % slower) and its 95 % interval
--   p, p_holm, p_equivalence          t test of no difference; after Holm; two one-sided tests against the margin
--   verdict, more_rounds              slower, faster, equivalent, inconclusive; rounds that would settle the last
CREATE OR REPLACE VIEW overhead AS FROM read_parquet(getvariable('raybench_run') || '/tables/overhead.parquet', hive_partitioning = false);
