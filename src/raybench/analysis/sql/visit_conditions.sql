-- Question: what happened to the machine while each visit measured?
-- From before its warm-ups until after its last turn. Shares are of the processor time that all cores of the machine had.
-- Null where it could not be read, and in runs before schema version 10.
--
-- Columns:
--   visit, round, host, device       the visit, and where it was
--   measured_s                       seconds of its warm-ups and turns
--   steal_share                      taken by a hypervisor for others
--   others_share                     used by all but the visit (and its servers)
--   throttled_share                  of measured_s, how long its control group stood still for want of quota; of groups of
--                                    version 1, which add up their processors, it may be above 1
--   swapped_mb                       swapped in and out, 10^6 bytes
--   gpu_clock_least_mhz, gpu_clock_most_mhz   of its GPU between turns
--   gpu_throttled_by                 what held that clock down, at any turn
--   gpu_processes                    the most processes on that GPU, the visit itself among them
CREATE OR REPLACE VIEW visit_conditions AS
SELECT visit, round, host, device, (warmup_ns + timing_ns) / 1e9 AS measured_s,
    steal_ns / nullif(processor_ns, 0) AS steal_share,
    others_cpu_ns / nullif(processor_ns, 0) AS others_share,
    throttled_ns / nullif(warmup_ns + timing_ns, 0) AS throttled_share,
    swapped_bytes / 1e6 AS swapped_mb,
    gpu_clock_least_mhz, gpu_clock_most_mhz, gpu_throttled_by, gpu_processes
FROM visits
ORDER BY started_at, visit;

-- What each visit, in the order in which they began, found of its machine at its end, and its worker at the beginning.
CREATE OR REPLACE VIEW raybench_visit_conditions AS
SELECT c.*, v.environment, v.findings, v.steal_ns, v.processor_ns
FROM visit_conditions AS c
JOIN visits AS v USING (visit)
ORDER BY v.started_at, v.visit;
