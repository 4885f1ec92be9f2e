-- Question: where did the run's time go?
-- Columns:
--   visits, devices                          visits that are over, those in which everything failed too; their devices
--   fork_s, load_s, warmup_s, timing_s       seconds of all visits together: starting the process; loading and checking
--                                            the models; warm-ups; turns (openers included)
--   peak_mb                                  the most host memory that a visit's process held, 10^6 bytes
CREATE OR REPLACE VIEW run_time AS
SELECT count(*) AS visits, count(DISTINCT host || '/' || device) AS devices,
    coalesce(sum(fork_ns), 0) / 1e9 AS fork_s,
    coalesce(sum(load_ns), 0) / 1e9 AS load_s,
    coalesce(sum(warmup_ns), 0) / 1e9 AS warmup_s,
    coalesce(sum(timing_ns), 0) / 1e9 AS timing_s,
    coalesce(max(process_peak_bytes), 0) / 1e6 AS peak_mb
FROM visits;
