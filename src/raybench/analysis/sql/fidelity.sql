-- Question: what does merging an adapter, or holding it beside others, change of its answers?
-- As the gate found it on requests of the run, against each adapter alone. A row where there is something to be checked
-- against; over the visits of the deployment's configurations.
-- Columns:
--   deployment
--   gate_error, gate_error_max   relative error of the logits, |a - b| / |b|: mean and largest (0.013: 1.3 %); of a server
--                                by how many nats a token that it chose is less likely than the most likely one
--   gate_tolerance               what the error was held to; null where it is only told (a quantized base)
--   argmax_agreement             share of its outputs (labels; greedy tokens) whose most likely one is the adapter's own
--                                (mean; null in runs before schema version 4)
--   kl_divergence                of the outputs' distributions from the adapter's own, in nats (mean; null as before)
--   untied_mb                    of the copy that a merge made of tied embeddings, 10^6 bytes; null without one
CREATE OR REPLACE VIEW fidelity AS
SELECT c.deployment,
    avg(l.gate_error ORDER BY l.gate_error) AS gate_error,
    max(l.gate_error) AS gate_error_max,
    max(l.gate_tolerance) AS gate_tolerance,
    avg(l.argmax_agreement ORDER BY l.argmax_agreement) AS argmax_agreement,
    avg(l.kl_divergence ORDER BY l.kl_divergence) AS kl_divergence,
    max(l.untied_bytes) / 1e6 AS untied_mb
FROM loads AS l
JOIN configurations AS c ON c.name = l.configuration AND c.block = l.block
GROUP BY c.deployment
HAVING count(l.gate_error) > 0
ORDER BY min(c.position);
