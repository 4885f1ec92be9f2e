-- Question: which deployments are a strategy in a further form or execution, and what is each its strategy's usual one?
-- Of those that serve one prompt at a time.
-- Columns:
--   strategy, deployment, role        its strategy and row in the study's table; what it is compared as
--   form, execution                   how it is computed, and how the model runs
--   configurations, complete          how many it has, and how many of them measured every planned round
--   compile_ns                        the longest that compiling (or capturing) it took; null where nothing is compiled
--   on_cpu                            whether all of its visits ran on CPUs; null where none has finished
--   usual, usual_role                 the deployment of the same strategy as it is by itself, operation by operation, of
--                                     the same data type, cache, quantization and number of adapters; null: not in this run
--   usual_configurations, usual_complete   the same of it
WITH deployed AS (
    SELECT c.deployment, any_value(c.strategy) AS strategy, any_value(c.role) AS role, any_value(c.form) AS form,
        any_value(c.execution) AS execution, any_value(c.form) IN ('plain', 'peft') AND any_value(c.execution) = 'eager' AS is_usual,
        any_value(c.dtype) AS dtype, any_value(c.kv_cache) AS kv_cache, any_value(c.quantization) AS quantization,
        any_value(len(c.adapters)) AS adapters, min(c.position) AS position,
        count(*) AS configurations, count(*) FILTER (k.complete) AS complete
    FROM configurations AS c
    JOIN completeness AS k ON k.configuration = c.name
    WHERE c.batch = 1 AND c.load IS NULL
    GROUP BY c.deployment
),
compiled AS (
    SELECT c.deployment, max(l.compile_ns) AS compile_ns, bool_and(starts_with(v.device, 'cpu@')) AS on_cpu
    FROM loads AS l
    JOIN configurations AS c ON c.name = l.configuration AND c.block = l.block
    LEFT JOIN visits AS v USING (visit)
    GROUP BY ALL
)
SELECT d.strategy, d.deployment, d.role, d.form, d.execution, d.configurations, d.complete, c.compile_ns, c.on_cpu,
    -- A role of the plan's own counts only where none is called as its strategy is.
    arg_min(u.deployment, (u.role <> u.strategy, u.position)) AS usual,
    arg_min(u.role, (u.role <> u.strategy, u.position)) AS usual_role,
    arg_min(u.configurations, (u.role <> u.strategy, u.position)) AS usual_configurations,
    arg_min(u.complete, (u.role <> u.strategy, u.position)) AS usual_complete
FROM deployed AS d
LEFT JOIN compiled AS c USING (deployment)
LEFT JOIN deployed AS u ON u.is_usual AND u.strategy = d.strategy AND u.adapters = d.adapters AND u.dtype = d.dtype
    AND u.kv_cache = d.kv_cache AND u.quantization IS NOT DISTINCT FROM d.quantization
WHERE NOT d.is_usual
GROUP BY ALL
ORDER BY min(d.position);
