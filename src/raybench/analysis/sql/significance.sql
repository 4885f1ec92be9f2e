-- Question: do the test over visits, a permutation test and the study's own paired test agree?
-- Made by verdicts.py from `visit_ratios` (wall time) and, for the study's test, from `by_configuration`.
-- Columns:
--   deployment, reference_strategy, claim (whether the plan claims it), visits
--   t, df, p, p_holm                  Student's t test of no difference, and after Holm; null where visits are equal
--   p_permutation                     signs flipped over visits, or over GPUs where there are several; over several
--                                     blocks larger than p where these differ, which counts as chance here
--   study_pairs, study_t, study_p     the paired t test over the means of (task, seed) pairs; null where all differ alike
CREATE OR REPLACE VIEW significance AS FROM read_parquet(getvariable('raybench_run') || '/tables/significance.parquet', hive_partitioning = false);
