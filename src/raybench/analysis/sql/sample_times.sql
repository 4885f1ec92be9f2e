-- Question: how long did each request of some configurations take, and which was it?
-- Read as arrays by latencies.py, which puts them in order, a few configurations at a time; `visit_order` says which visit
-- has which number.
-- Parameter: a list of positions, as in `configurations`.
-- Columns: position, visit (its number), sequence, then milliseconds by the wall clock: end_to_end, ttft, tpot.
SELECT c.position::INTEGER AS position, v.number::INTEGER AS visit, t.sequence,
    t.wall_ns / 1e6 AS end_to_end, t.prefill_wall_ns / 1e6 AS ttft, raybench_tpot(t.decode_wall_ns) / 1e6 AS tpot
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
JOIN (SELECT visit, row_number() OVER (ORDER BY started_at, visit) - 1 AS number FROM visits) AS v ON v.visit = t.visit
WHERE list_contains(?, c.position);
