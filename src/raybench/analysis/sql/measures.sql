-- Question: how long did each part of a timed request take, by each clock?
-- A classifier's request has one part, the whole of it; one of a language model also its prefill and its decoding.
-- Columns:
--   visit, block, configuration, round, device, task, request   which request, and where it was served
--   measure                    end_to_end: all of it; ttft: the prefill, which gives the first token; tpot: the time per
--                              output token after it, the mean of its decoding steps (no row where it has no such step, or all of a
--                              server's tokens came at once)
--   wall_ns, host_ns, device_ns   nanoseconds, of tpot to 1/256 (device_ns null on a CPU)
CREATE OR REPLACE VIEW measures AS
SELECT visit, block, configuration, round, device, task, request, 'end_to_end' AS measure,
    wall_ns::DOUBLE AS wall_ns, host_ns::DOUBLE AS host_ns, device_ns::DOUBLE AS device_ns
FROM timed
UNION ALL
SELECT visit, block, configuration, round, device, task, request, 'ttft' AS measure,
    prefill_wall_ns AS wall_ns, prefill_host_ns AS host_ns, prefill_device_ns AS device_ns
FROM timed
WHERE prefill_wall_ns IS NOT NULL
UNION ALL
SELECT visit, block, configuration, round, device, task, request, 'tpot' AS measure,
    raybench_tpot(decode_wall_ns) AS wall_ns, raybench_tpot(decode_host_ns) AS host_ns,
    raybench_tpot(decode_device_ns) AS device_ns
FROM timed
WHERE raybench_tpot(decode_wall_ns) IS NOT NULL;
