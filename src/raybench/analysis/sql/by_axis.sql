-- Question: how do times, throughput and overhead change with batch, data type, cache, or any other axis of the plan?
-- One row a deployment, measure and reference; a deployment without a reference has one with nulls.
-- Columns:
--   strategy, deployment              what it is compared as, and its row in the study's table
--   batch, dtype, adapter_dtype, kv_cache, quantization, routing, execution, form, load, adapters   of its configurations; null
--                                     where they differ
--                                     (adapters: how many each has)
--   measure                           end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   n, mean_ms                        timed samples, and mean wall time, of its complete configurations
--   prompts_per_second, tokens_per_second   over wall time end to end (tokens: null for a classifier)
--   reference_strategy, reference_deployment   what it is compared with: of the same batch, data type, cache and load
--   ratio, low, high, verdict         times the reference, its 95 % interval and what it says, by wall time
CREATE OR REPLACE VIEW by_axis AS
WITH axes AS (
    SELECT c.deployment, any_value(c.role) AS strategy, min(c.position) AS position,
        CASE WHEN count(DISTINCT c.batch) = 1 THEN any_value(c.batch) END AS batch,
        CASE WHEN count(DISTINCT c.dtype) = 1 THEN any_value(c.dtype) END AS dtype,
        CASE WHEN count(DISTINCT c.adapter_dtype) = 1 THEN any_value(c.adapter_dtype) END AS adapter_dtype,
        CASE WHEN count(DISTINCT c.kv_cache) = 1 THEN any_value(c.kv_cache) END AS kv_cache,
        CASE WHEN count(DISTINCT coalesce(c.quantization, '')) = 1 THEN any_value(c.quantization) END AS quantization,
        CASE WHEN count(DISTINCT c.routing) = 1 THEN any_value(c.routing) END AS routing,
        CASE WHEN count(DISTINCT c.execution) = 1 THEN any_value(c.execution) END AS execution,
        CASE WHEN count(DISTINCT c.form) = 1 THEN any_value(c.form) END AS form,
        CASE WHEN count(DISTINCT coalesce(c.load, '')) = 1 THEN any_value(c.load) END AS load,
        CASE WHEN count(DISTINCT len(c.adapters)) = 1 THEN any_value(len(c.adapters)) END AS adapters
    FROM configurations AS c
    GROUP BY c.deployment
),
served AS (
    SELECT m.deployment, m.measure, sum(m.n)::BIGINT AS n
    FROM by_measure AS m
    JOIN completeness AS k ON k.configuration = m.configuration
    WHERE k.complete
    GROUP BY m.deployment, m.measure
)
SELECT a.strategy, a.deployment, a.batch, a.dtype, a.adapter_dtype, a.kv_cache, a.quantization, a.routing,
    a.execution, a.form, a.load, a.adapters,
    m.measure, m.n, CASE m.measure WHEN 'ttft' THEN d.ttft_ms WHEN 'tpot' THEN d.tpot_ms ELSE d.mean_ms END AS mean_ms,
    d.prompts_per_second, d.tokens_per_second,
    s.reference_strategy, s.reference_deployment, s.ratio, s.low, s.high, s.verdict
FROM axes AS a
JOIN deployments AS d ON d.deployment = a.deployment
JOIN served AS m ON m.deployment = a.deployment
LEFT JOIN by_strategy AS s
    ON s.deployment = a.deployment AND s.measure = m.measure AND s.clock = 'wall' AND s.ratio IS NOT NULL
ORDER BY min(a.position) OVER (PARTITION BY a.strategy), list_position(['end_to_end', 'ttft', 'tpot'], m.measure),
    s.reference_strategy, a.position;
