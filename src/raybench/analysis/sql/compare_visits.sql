-- Question: how long did a request take in each visit of a configuration's own block, by measure?
-- Two runs are compared by these rows; `timed` then holds the compared requests only (compare_requests.sql).
-- Columns:
--   configuration, round
--   measure            end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   device             where the visit ran
--   n, requests        how many requests it served, and which: the sum of their hashes, as in visit_ratios.sql
--   wall               natural log of the mean wall time in nanoseconds
SELECT m.configuration, m.round, m.measure, any_value(m.device) AS device,
    count(*) AS n, sum(hash(m.task, m.request))::VARCHAR AS requests,
    ln(avg(m.wall_ns)) AS wall
FROM measures AS m
JOIN configurations AS c ON c.name = m.configuration AND c.block = m.block
GROUP BY m.configuration, m.round, m.measure
ORDER BY m.configuration, m.round, m.measure;
