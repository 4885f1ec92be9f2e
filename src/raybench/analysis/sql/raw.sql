-- Question: what was measured, and what was planned?
-- The raw views of one run, over the files of the variables `raybench_samples`, `raybench_visits` and so on, which were
-- checked (in views.sql above, or by raybench), and over `raybench_description`, the text of run.json. Of the samples
-- raybench shows some blocks or rounds at a time, the first and the last of which `raybench_blocks` or `raybench_rounds` says.
--
-- Views: samples, visits, loads, failures, attempts, counts, calibrations (columns as in the Parquet files), run,
-- configurations, comparisons, timed.
--   samples        one request: visit, block, configuration, round, task, adapter, request, phase, turn, sequence,
--                  tokens, started_ns, host_ns, wall_ns, device_ns, switch_ns, batch (prompts served together; null in
--                  older runs, which had one); of a language model output_tokens (of each prompt), prefill_*_ns, and
--                  decode_*_ns, a list with each decoding step in order; of a request to a server late_ns (how much later
--                  than it was due the client sent it; null where it came under no load), prompt_tokens, cached_tokens
--   run            one row: run_id, plan, design, rounds (at most, where until_halfwidth is given), requests, margin
--                  (0.02 is 2 %), until_halfwidth (0.01 is 1 %; null for a fixed length), model, task_type (SEQ_CLS:
--                  classifier; CAUSAL_LM: language model), servers (of which engine, or where; none where the visits'
--                  own processes served), goodput_ttft_ms, goodput_tpot_ms (what a request must keep to count)
--   configurations one configuration: name, strategy, role (what it is compared as: its strategy unless the plan
--                  says otherwise), deployment (its row in the study's table), seed, tasks,
--                  adapters, block (where its own samples are), dtype, adapter_dtype, routing, batch, kv_cache,
--                  quantization, execution (eager, compile, compile_static, cudagraph), form (plain, peft, lean, fused, stacked, remerge),
--                  servers (by their name in the plan), load (how requests came to these, in words; null: one at a time),
--                  concurrency (under way at once), rate_per_s (of an open loop)
--   comparisons    one configuration against one reference configuration: configuration, deployment, block,
--                  reference_strategy, reference, reference_block, via
--   timed          the samples that enter the tables, with the visit's device; durations in nanoseconds
--
-- What stands first in each of the seven tables gives its columns: a table may have no file yet, and a column that was
-- added later is null where older files lack it. hive_partitioning is off, or folders named `round=1` above the run
-- would count as columns, and for more than the files' own.
CREATE OR REPLACE VIEW raybench_samples_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::VARCHAR AS configuration, NULL::INTEGER AS round,
    NULL::VARCHAR AS task, NULL::VARCHAR AS adapter, NULL::INTEGER AS request, NULL::VARCHAR AS phase,
    NULL::INTEGER AS turn, NULL::INTEGER AS sequence, NULL::INTEGER AS tokens, NULL::BIGINT AS started_ns,
    NULL::BIGINT AS host_ns, NULL::BIGINT AS wall_ns, NULL::BIGINT AS device_ns, NULL::BIGINT AS switch_ns,
    NULL::INTEGER AS batch, NULL::INTEGER AS output_tokens,
    NULL::BIGINT AS prefill_host_ns, NULL::BIGINT AS prefill_wall_ns, NULL::BIGINT AS prefill_device_ns,
    NULL::BIGINT[] AS decode_host_ns, NULL::BIGINT[] AS decode_wall_ns, NULL::BIGINT[] AS decode_device_ns,
    NULL::BIGINT AS late_ns, NULL::INTEGER AS prompt_tokens, NULL::INTEGER AS cached_tokens
WHERE false;

CREATE OR REPLACE VIEW raybench_visits_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::INTEGER AS round, NULL::INTEGER AS attempt,
    NULL::VARCHAR AS host, NULL::VARCHAR AS device, NULL::VARCHAR AS device_name, NULL::INTEGER AS pid,
    NULL::TIMESTAMPTZ AS started_at, NULL::BIGINT AS fork_ns, NULL::BIGINT AS load_ns, NULL::BIGINT AS warmup_ns,
    NULL::BIGINT AS timing_ns, NULL::BIGINT AS total_ns, NULL::BIGINT AS process_peak_bytes,
    NULL::VARCHAR AS environment, NULL::BIGINT AS processor_ns, NULL::BIGINT AS steal_ns, NULL::BIGINT AS others_cpu_ns,
    NULL::BIGINT AS throttled_ns, NULL::BIGINT AS swapped_bytes, NULL::INTEGER AS gpu_clock_least_mhz,
    NULL::INTEGER AS gpu_clock_most_mhz, NULL::VARCHAR AS gpu_throttled_by, NULL::INTEGER AS gpu_processes,
    NULL::VARCHAR AS findings
WHERE false;

CREATE OR REPLACE VIEW raybench_loads_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::VARCHAR AS configuration, NULL::INTEGER AS round,
    NULL::BIGINT AS load_ns, NULL::BIGINT AS adapter_load_ns, NULL::BIGINT AS merge_ns, NULL::BIGINT AS weight_bytes,
    NULL::BIGINT AS adapter_bytes, NULL::BIGINT AS resident_bytes, NULL::BIGINT AS load_peak_bytes,
    NULL::BIGINT AS forward_peak_bytes, NULL::DOUBLE AS gate_error, NULL::DOUBLE AS gate_tolerance,
    NULL::DOUBLE AS adapter_effect, NULL::VARCHAR AS random_weights, NULL::VARCHAR AS unused_adapter,
    NULL::DOUBLE AS argmax_agreement, NULL::DOUBLE AS kl_divergence, NULL::BIGINT AS untied_bytes, NULL::BIGINT AS form_ns,
    NULL::BIGINT AS compile_ns, NULL::BIGINT AS compile_bytes, NULL::INTEGER AS compiled_shapes,
    NULL::BIGINT AS adapter_add_ns, NULL::BIGINT AS adapter_remove_ns
WHERE false;

CREATE OR REPLACE VIEW raybench_failures_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::VARCHAR AS configuration, NULL::INTEGER AS round,
    NULL::INTEGER AS attempt, NULL::VARCHAR AS kind, NULL::VARCHAR AS message, NULL::TIMESTAMPTZ AS failed_at
WHERE false;

CREATE OR REPLACE VIEW raybench_attempts_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::INTEGER AS round, NULL::INTEGER AS attempt,
    NULL::VARCHAR AS host, NULL::VARCHAR AS device, NULL::VARCHAR AS kind, NULL::VARCHAR AS configuration,
    NULL::VARCHAR AS message, NULL::TIMESTAMPTZ AS ended_at
WHERE false;

CREATE OR REPLACE VIEW raybench_counts_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::VARCHAR AS configuration, NULL::INTEGER AS round,
    NULL::VARCHAR AS task, NULL::INTEGER AS request, NULL::INTEGER AS tokens, NULL::VARCHAR AS step,
    NULL::VARCHAR AS dtype, NULL::BIGINT AS flops, NULL::BIGINT AS attention_flops, NULL::BIGINT AS weight_bytes, NULL::BIGINT AS activation_bytes,
    NULL::BIGINT AS product_bytes, NULL::BIGINT AS operations, NULL::BIGINT AS views, NULL::BIGINT AS products,
    NULL::BIGINT AS attention, NULL::BIGINT AS generated, NULL::BIGINT AS instructions, NULL::BIGINT AS kernels,
    NULL::VARCHAR AS not_counted
WHERE false;

CREATE OR REPLACE VIEW raybench_calibrations_columns AS
SELECT NULL::VARCHAR AS visit, NULL::VARCHAR AS block, NULL::INTEGER AS round, NULL::VARCHAR AS place,
    NULL::VARCHAR AS dtype, NULL::DOUBLE AS instruction_ns, NULL::DOUBLE AS view_ns, NULL::DOUBLE AS elementwise_ns, NULL::DOUBLE AS product_ns,
    NULL::DOUBLE AS attention_ns, NULL::DOUBLE AS kernel_ns, NULL::DOUBLE AS generated_ns, NULL::DOUBLE AS flops_s, NULL::DOUBLE AS attention_flops_s,
    NULL::DOUBLE AS bytes_s, NULL::DOUBLE AS memory_bytes_s, NULL::VARCHAR AS not_calibrated
WHERE false;

CREATE OR REPLACE VIEW samples AS
FROM raybench_samples_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_samples')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_samples''), hive_partitioning = false) WHERE true'
        || CASE WHEN getvariable('raybench_blocks') IS NOT NULL
            THEN ' AND block BETWEEN getvariable(''raybench_blocks'')[1] AND getvariable(''raybench_blocks'')[2]' ELSE '' END
        || CASE WHEN getvariable('raybench_rounds') IS NOT NULL
            THEN ' AND round BETWEEN getvariable(''raybench_rounds'')[1] AND getvariable(''raybench_rounds'')[2]' ELSE '' END
    ELSE 'FROM raybench_samples_columns' END);
CREATE OR REPLACE VIEW visits AS
FROM raybench_visits_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_visits')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_visits''), hive_partitioning = false)'
    ELSE 'FROM raybench_visits_columns' END);
CREATE OR REPLACE VIEW loads AS
FROM raybench_loads_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_loads')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_loads''), hive_partitioning = false)'
    ELSE 'FROM raybench_loads_columns' END);
CREATE OR REPLACE VIEW failures AS
FROM raybench_failures_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_failures')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_failures''), hive_partitioning = false)'
    ELSE 'FROM raybench_failures_columns' END);
CREATE OR REPLACE VIEW attempts AS
FROM raybench_attempts_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_attempts')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_attempts''), hive_partitioning = false)'
    ELSE 'FROM raybench_attempts_columns' END);
CREATE OR REPLACE VIEW counts AS
FROM raybench_counts_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_counts')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_counts''), hive_partitioning = false)'
    ELSE 'FROM raybench_counts_columns' END);
CREATE OR REPLACE VIEW calibrations AS
FROM raybench_calibrations_columns UNION ALL BY NAME
FROM query(CASE WHEN len(getvariable('raybench_calibrations')) > 0
    THEN 'FROM read_parquet(getvariable(''raybench_calibrations''), hive_partitioning = false)'
    ELSE 'FROM raybench_calibrations_columns' END);

-- Read once: that of a plan of ten thousand configurations is long, and every view asks it.
CREATE OR REPLACE TABLE raybench_description AS
SELECT unnest(json_transform(
    getvariable('raybench_description')::JSON,
    '{
        "run_id": "VARCHAR",
        "model": {"name": "VARCHAR", "task_type": "VARCHAR"},
        "plan": {"name": "VARCHAR", "design": "VARCHAR", "rounds": "INTEGER", "requests": "INTEGER", "margin": "DOUBLE",
            "until_halfwidth": "DOUBLE", "engine": {"preset": "VARCHAR", "url": "VARCHAR", "command": ["VARCHAR"]},
            "servers": [{"preset": "VARCHAR", "url": "VARCHAR", "command": ["VARCHAR"]}],
            "goodput": {"ttft_ms": "DOUBLE", "tpot_ms": "DOUBLE"}},
        "workload": {"texts": "MAP(VARCHAR, BIGINT)", "distinct_texts": "MAP(VARCHAR, BIGINT)"},
        "configurations": [{"name": "VARCHAR", "strategy": "VARCHAR", "role": "VARCHAR", "deployment": "VARCHAR",
            "seed": "BIGINT", "tasks": ["VARCHAR"], "adapters": ["VARCHAR"], "block": "VARCHAR", "dtype": "VARCHAR",
            "adapter_dtype": "VARCHAR", "routing": "VARCHAR", "batch": "INTEGER", "kv_cache": "VARCHAR",
            "quantization": "VARCHAR", "execution": "VARCHAR", "form": "VARCHAR", "servers": "VARCHAR",
            "load": {"concurrency": "INTEGER", "rate_per_s": "DOUBLE", "burstiness": "DOUBLE", "trace": "VARCHAR"}}],
        "comparisons": [{"configuration": "VARCHAR", "block": "VARCHAR", "reference_strategy": "VARCHAR", "via": "VARCHAR",
            "references": [{"configuration": "VARCHAR", "block": "VARCHAR"}]}]
    }'
));
CREATE OR REPLACE VIEW run AS
SELECT run_id, plan.name AS plan, plan.design, plan.rounds, plan.requests, plan.margin, plan.until_halfwidth,
    model.name AS model, coalesce(model.task_type, 'SEQ_CLS') AS task_type,
    -- Version 8 had one engine.
    list_transform(
        coalesce(plan.servers, CASE WHEN plan.engine IS NOT NULL THEN [plan.engine] ELSE [] END),
        lambda s: coalesce(s.preset, s.url, s.command[1])
    ) AS servers,
    plan.goodput.ttft_ms AS goodput_ttft_ms, plan.goodput.tpot_ms AS goodput_tpot_ms
FROM raybench_description;

CREATE OR REPLACE VIEW configurations AS
SELECT row_number() OVER () AS position, c.name, c.strategy, c.role, c.deployment, c.seed, c.tasks, c.adapters, c.block,
    coalesce(c.dtype, 'auto') AS dtype, coalesce(c.adapter_dtype, 'float32') AS adapter_dtype,
    coalesce(c.routing, 'round_robin') AS routing, coalesce(c.batch, 1) AS batch,
    coalesce(c.kv_cache, 'dynamic') AS kv_cache, c.quantization, coalesce(c.execution, 'eager') AS execution,
    coalesce(c.form, CASE WHEN c.strategy IN ('lora_separate', 'multi_lora') THEN 'peft' ELSE 'plain' END) AS form,
    c.servers,
    CASE
        WHEN c.load.concurrency IS NOT NULL THEN c.load.concurrency || ' at once'
        WHEN c.load.rate_per_s IS NOT NULL THEN format('{:.10g} a second', c.load.rate_per_s)
            || CASE WHEN c.load.burstiness <> 1 THEN format(', burstiness {:g}', c.load.burstiness) ELSE '' END
        WHEN c.load.trace IS NOT NULL THEN 'as traced in ' || parse_filename(c.load.trace, true, 'system')
    END AS load,
    c.load.concurrency, c.load.rate_per_s
FROM (SELECT unnest(configurations) AS c FROM raybench_description);

CREATE OR REPLACE VIEW comparisons AS
SELECT c.configuration, k.deployment, c.block, c.reference_strategy, r.configuration AS reference,
    r.block AS reference_block, c.via
FROM (
    SELECT c, unnest(c."references") AS r
    FROM (SELECT unnest(comparisons) AS c FROM raybench_description)
)
JOIN configurations AS k ON k.name = c.configuration;

-- A request's time per output token: the mean of its decoding steps, null without one, and where none took more than a
-- nanosecond: all tokens of a server's answer came at once, which says nothing of steps. To 1/256 ns, so that sums of such
-- means are the same in whatever order they are taken.
CREATE OR REPLACE MACRO raybench_tpot(steps) AS CASE WHEN list_max(steps) > 1 THEN round(list_avg(steps) * 256) / 256 END;

CREATE OR REPLACE VIEW raybench_timed AS
SELECT s.* REPLACE (coalesce(s.batch, 1) AS batch), v.device, v.device_name, v.started_at
FROM samples AS s
JOIN visits AS v USING (visit)
WHERE s.phase = 'timed';

-- By itself: what builds on it is made anew over a part of it where two runs are compared.
CREATE OR REPLACE VIEW timed AS FROM raybench_timed;
