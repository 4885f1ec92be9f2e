-- Question: what did loading and checking a configuration find that a reader should know?
-- Columns:
--   configuration
--   random_weights   whose files lack which parameters, so that they were drawn; null: none
--   unused_adapter   where an adapter lies beside the model, which was not loaded; null: nowhere
--   adapter_effect   relative change of the logits by its adapters, the smallest over visits; null without adapter; of
--                    a server by how many nats they change the log probability of a chosen token, at most
--   gate_tolerance   what the gate's errors were held to; null without a reference
CREATE OR REPLACE VIEW load_notes AS
SELECT l.configuration,
    max(l.random_weights) AS random_weights,
    max(l.unused_adapter) AS unused_adapter,
    min(l.adapter_effect) AS adapter_effect,
    max(l.gate_tolerance) AS gate_tolerance
FROM loads AS l
JOIN configurations AS c ON c.name = l.configuration
GROUP BY l.configuration
ORDER BY min(c.position);
