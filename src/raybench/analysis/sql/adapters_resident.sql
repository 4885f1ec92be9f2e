-- Question: what changes as more adapters are resident, that share a task?
-- One row a configuration of several such adapters, or of one with a switch.
-- Columns:
--   configuration, strategy           its name, and what it is compared as
--   form, execution, routing, batch   how it is computed, how it runs, how requests come, prompts in a request
--   load                              how requests come to its server; null: one at a time
--   resident                          adapters that it holds
--   n                                 timed samples
--   switch_us                         median time to make an adapter the active one, microseconds (null in a mixed batch)
--   mean_ms                           mean wall time of a request, the switch not in it
--   add_ms, remove_ms                 to bring one more adapter beside them, and to take it away (medians over visits)
--   adapter_load_ms                   to load all of them (median over visits)
--   adapter_mb, resident_mb           the adapters' parameters, and what stays in memory with the base, 10^6 bytes
CREATE OR REPLACE VIEW raybench_residents AS
SELECT position, name, role, block, form, execution, routing, batch, dtype, adapter_dtype, quantization, kv_cache,
    load, len(adapters) AS resident
FROM configurations
WHERE strategy = 'multi_lora' AND len(tasks) = 1;

-- Each of its rounds by itself: the unit of what is said of growth. Times are medians over a round's requests.
CREATE OR REPLACE VIEW raybench_resident_rounds AS
WITH served AS (
    SELECT c.position, t.round, median(t.switch_ns) AS switch, median(t.wall_ns) AS request
    FROM timed AS t
    JOIN raybench_residents AS c ON c.name = t.configuration AND c.block = t.block
    GROUP BY c.position, t.round
)
SELECT c.*, s.round, s.switch, s.request, l.adapter_add_ns::DOUBLE AS add, l.adapter_remove_ns::DOUBLE AS remove
FROM served AS s
JOIN raybench_residents AS c ON c.position = s.position
JOIN loads AS l ON l.configuration = c.name AND l.block = c.block AND l.round = s.round;

CREATE OR REPLACE VIEW adapters_resident AS
WITH served AS (
    SELECT c.position, count(*) AS n, median(t.switch_ns) / 1e3 AS switch_us, avg(t.wall_ns) / 1e6 AS mean_ms
    FROM timed AS t
    JOIN raybench_residents AS c ON c.name = t.configuration AND c.block = t.block
    GROUP BY c.position
)
SELECT c.name AS configuration, c.role AS strategy, c.form, c.execution, c.routing, c.batch, c.load, c.resident::BIGINT AS resident,
    any_value(s.n) AS n, any_value(s.switch_us) AS switch_us, any_value(s.mean_ms) AS mean_ms,
    median(l.adapter_add_ns) / 1e6 AS add_ms, median(l.adapter_remove_ns) / 1e6 AS remove_ms,
    median(l.adapter_load_ns) / 1e6 AS adapter_load_ms, median(l.adapter_bytes) / 1e6 AS adapter_mb,
    median(l.resident_bytes) / 1e6 AS resident_mb
FROM served AS s
JOIN raybench_residents AS c ON c.position = s.position
JOIN loads AS l ON l.configuration = c.name AND l.block = c.block
GROUP BY c.name, c.role, c.form, c.execution, c.routing, c.batch, c.load, c.resident
ORDER BY min(min(c.position)) OVER (PARTITION BY c.role, c.routing, c.batch, c.load), c.resident;
