-- Question: what does each deployment that was asked under a load keep in memory, and what stands for which strategy?
-- Columns:
--   strategy, deployment, adapters    its strategy and row in the study's table; the adapters that it held (0: none)
--   load                              how requests came, in words
--   resident_bytes                    what its server kept (median over visits; of its process, not of a GPU)
--   parameter_bytes, adapter_bytes    bytes of all its weights; of its adapters' alone (largest seen)
--   load_peak_bytes, forward_peak_bytes   the most that its start, and one answer, added (largest seen)
SELECT any_value(c.strategy) AS strategy, c.deployment, max(len(c.adapters)) AS adapters, any_value(c.load) AS load,
    median(l.resident_bytes) AS resident_bytes,
    max(l.weight_bytes + l.adapter_bytes) AS parameter_bytes,
    max(l.adapter_bytes) AS adapter_bytes,
    max(l.load_peak_bytes) AS load_peak_bytes,
    max(l.forward_peak_bytes) AS forward_peak_bytes
FROM configurations AS c
JOIN loads AS l ON l.configuration = c.name AND l.block = c.block
WHERE c.load IS NOT NULL AND coalesce(c.role, c.strategy) = c.strategy
GROUP BY c.deployment
ORDER BY min(c.position);
