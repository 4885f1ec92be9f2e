-- Question: why does a configuration take longer than its reference: what does it do more of, and where does the time go?
-- Of both sides what `predictions` has, in the block in which they were measured side by side; of several references the
-- mean. No rows in runs before schema version 7, and none for what was never measured together.
-- Columns:
--   configuration, deployment, reference_strategy
--   measure                         end_to_end; of a language model also ttft (prefill) and tpot (a decoding step)
--   more_flops, more_bytes, more_operations, more_instructions   what it does more of than the reference (0.28: 28 % more;
--                                   less than 0: less). Bytes: weights and activations, read and written
--   extra_ms                        how much longer it took on the same requests: mean over visits
--   dispatch_ms, device_ms          how much longer it should take by what was counted: Python and dispatch on the host;
--                                   the floor of what is computed. On a GPU, where the longer of the two counts, dispatch
--                                   is what sticks out beyond the device's time, and device the rest of what is predicted
--   unexplained_ms                  what is left of extra_ms
CREATE OR REPLACE VIEW attribution AS
WITH extra AS (
    SELECT configuration, reference_strategy, measure, avg(compared_ms - reference_ms ORDER BY round) AS extra_ms
    FROM visit_ratios
    GROUP BY configuration, reference_strategy, measure
),
sides AS (
    SELECT c.configuration, any_value(c.deployment) AS deployment, c.reference_strategy, w.measure,
        any_value(w.flops) AS flops, avg(r.flops ORDER BY c.reference) AS reference_flops,
        any_value(w.weight_bytes + w.activation_bytes) AS bytes,
        avg(r.weight_bytes + r.activation_bytes ORDER BY c.reference) AS reference_bytes,
        any_value(w.operations) AS operations, avg(r.operations ORDER BY c.reference) AS reference_operations,
        any_value(w.instructions) AS instructions, avg(r.instructions ORDER BY c.reference) AS reference_instructions,
        any_value(w.dispatch_ns) AS dispatch_ns, avg(r.dispatch_ns ORDER BY c.reference) AS reference_dispatch_ns,
        any_value(w.predicted_ns) AS predicted_ns, avg(r.predicted_ns ORDER BY c.reference) AS reference_predicted_ns
    FROM comparisons AS c
    JOIN raybench_work AS w ON w.configuration = c.configuration AND w.block = c.block
    JOIN raybench_work AS r
        ON r.configuration = c.reference AND r.block = c.reference_block AND r.measure = w.measure
    WHERE c.via IS NULL AND c.configuration <> c.reference
    GROUP BY c.configuration, c.reference_strategy, w.measure
)
SELECT s.configuration, s.deployment, s.reference_strategy, s.measure,
    s.flops / s.reference_flops - 1 AS more_flops,
    s.bytes / s.reference_bytes - 1 AS more_bytes,
    s.operations / s.reference_operations - 1 AS more_operations,
    s.instructions / s.reference_instructions - 1 AS more_instructions,
    e.extra_ms,
    (s.dispatch_ns - s.reference_dispatch_ns) / 1e6 AS dispatch_ms,
    (s.predicted_ns - s.dispatch_ns - (s.reference_predicted_ns - s.reference_dispatch_ns)) / 1e6 AS device_ms,
    e.extra_ms - (s.predicted_ns - s.reference_predicted_ns) / 1e6 AS unexplained_ms
FROM sides AS s
JOIN extra AS e USING (configuration, reference_strategy, measure)
JOIN configurations AS c ON c.name = s.configuration
ORDER BY c.position, s.reference_strategy, list_position(['end_to_end', 'ttft', 'tpot'], s.measure);
