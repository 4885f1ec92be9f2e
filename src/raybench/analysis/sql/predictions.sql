-- Question: how long should a request take by what it does and how fast the device is at that, and how far is that off?
-- What a configuration does was counted (`counts`), how fast the device is at small things of each kind was found out in
-- some rounds (`calibrations`); no time of a request is used. Counts are on a straight line through those of the lengths
-- that were counted, at the mean length of the configuration's timed samples. Host: Python's instructions, and the dispatch
-- of each kind of operation. Device: the floor, FLOPs over their rate or bytes over bandwidth, whichever is longer. On a
-- CPU one comes after the other; on a GPU, the longer of the two is the prediction.
-- No rows in runs before schema version 7, which counted nothing.
-- Columns:
--   configuration, deployment
--   measure                       end_to_end; of a language model also ttft (prefill) and tpot (a decoding step)
--   tokens                        mean length of the timed samples
--   flops, weight_bytes, activation_bytes   of one request, or of the part that the measure is of
--   operations, views             operations dispatched, and calls that compute nothing
--   instructions, kernels         bytecode instructions of Python; kernels of a GPU (null on a CPU)
--   host_ms, device_ms            predicted: Python and dispatch; the floor of what is computed
--   predicted_ms, measured_ms     predicted, and the mean wall time of the timed samples
--   error                         of the prediction (0.05: it is 5 % longer than what was measured)
--   not_counted                   what is missing in the counts, so that other columns are null or too small, and why
--   not_predicted                 why predicted_ms is null: also where the device was not calibrated, or not in the
--                                 configuration's data type (it is in that of its block's first)
CREATE OR REPLACE MACRO raybench_at(y, x, at_x) AS CASE
    WHEN count(y) = count(*) THEN avg(y) + CASE WHEN min(x) < max(x) THEN regr_slope(y, x) * (at_x - avg(x)) ELSE 0 END
END;

CREATE OR REPLACE VIEW raybench_lengths AS -- of what was counted alone: others' samples need not be read
SELECT configuration, block, avg(tokens) AS tokens, avg(output_tokens - 1) AS steps, avg(wall_ns) AS end_to_end,
    avg(prefill_wall_ns) AS ttft, avg(raybench_tpot(decode_wall_ns)) AS tpot
FROM timed
WHERE (configuration, block) IN (SELECT (configuration, block) FROM counts)
GROUP BY configuration, block;

CREATE OR REPLACE VIEW raybench_speeds AS
WITH of_visits AS (
    SELECT block, dtype, round, avg(instruction_ns) AS instruction_ns, avg(view_ns) AS view_ns, avg(elementwise_ns) AS elementwise_ns,
        avg(product_ns) AS product_ns, avg(attention_ns) AS attention_ns, avg(kernel_ns) AS kernel_ns, avg(generated_ns) AS generated_ns,
        avg(1e9 / flops_s) AS flop_ns, avg(1e9 / attention_flops_s) AS attention_flop_ns, avg(1e9 / bytes_s) AS byte_ns,
        avg(1e9 / memory_bytes_s) AS memory_byte_ns, min(not_calibrated) AS not_calibrated
    FROM calibrations
    GROUP BY block, dtype, round
)
SELECT block, dtype, avg(instruction_ns ORDER BY round) AS instruction_ns, avg(view_ns ORDER BY round) AS view_ns,
    avg(elementwise_ns ORDER BY round) AS elementwise_ns, avg(product_ns ORDER BY round) AS product_ns,
    avg(attention_ns ORDER BY round) AS attention_ns, avg(kernel_ns ORDER BY round) AS kernel_ns, avg(generated_ns ORDER BY round) AS generated_ns,
    avg(flop_ns ORDER BY round) AS flop_ns, avg(attention_flop_ns ORDER BY round) AS attention_flop_ns,
    avg(byte_ns ORDER BY round) AS byte_ns, avg(memory_byte_ns ORDER BY round) AS memory_byte_ns,
    min(not_calibrated) AS not_calibrated
FROM of_visits
GROUP BY block, dtype;

CREATE OR REPLACE VIEW raybench_steps AS
WITH counted AS (
    SELECT c.configuration, c.block, c.step, any_value(c.dtype) AS dtype, any_value(l.tokens) AS mean_tokens,
        raybench_at(c.flops, c.tokens, any_value(l.tokens)) AS flops,
        raybench_at(c.attention_flops, c.tokens, any_value(l.tokens)) AS attention_flops,
        raybench_at(c.weight_bytes, c.tokens, any_value(l.tokens)) AS weight_bytes,
        raybench_at(c.activation_bytes, c.tokens, any_value(l.tokens)) AS activation_bytes,
        raybench_at(c.product_bytes, c.tokens, any_value(l.tokens)) AS product_bytes,
        raybench_at(c.operations, c.tokens, any_value(l.tokens)) AS operations,
        raybench_at(c.views, c.tokens, any_value(l.tokens)) AS views,
        raybench_at(c.products, c.tokens, any_value(l.tokens)) AS products,
        raybench_at(c.attention, c.tokens, any_value(l.tokens)) AS attention,
        raybench_at(c.generated, c.tokens, any_value(l.tokens)) AS generated,
        raybench_at(c.instructions, c.tokens, any_value(l.tokens)) AS instructions,
        raybench_at(c.kernels, c.tokens, any_value(l.tokens)) AS kernels,
        min(c.not_counted) AS not_counted
    FROM counts AS c
    JOIN raybench_lengths AS l ON l.configuration = c.configuration AND l.block = c.block
    GROUP BY c.configuration, c.block, c.step
),
calibrated AS (
    SELECT block, string_agg(DISTINCT dtype, ', ' ORDER BY dtype) AS dtypes FROM calibrations GROUP BY block
),
timed_by_counts AS (
    SELECT c.*,
        c.instructions * s.instruction_ns + c.views * s.view_ns
            + (c.operations - c.products - c.attention - c.generated) * s.elementwise_ns
            + c.products * s.product_ns + c.attention * s.attention_ns
            + CASE WHEN c.generated > 0 THEN c.generated * s.generated_ns ELSE 0 END AS host_ns,
        greatest((c.flops - c.attention_flops) * s.flop_ns, c.product_bytes * coalesce(s.memory_byte_ns, 0))
            + c.attention_flops * s.attention_flop_ns
            + (c.weight_bytes + c.activation_bytes - c.product_bytes) * s.byte_ns
            + CASE WHEN s.kernel_ns IS NULL THEN 0 ELSE c.kernels * s.kernel_ns END AS device_ns,
        s.kernel_ns IS NOT NULL AS overlap,
        CASE
            WHEN k.block IS NULL THEN 'the device was not calibrated'
            WHEN s.block IS NULL THEN 'the device was calibrated in ' || k.dtypes || ', not in ' || c.dtype
            WHEN s.instruction_ns IS NULL THEN 'the device was not calibrated: ' || s.not_calibrated
            WHEN c.generated > 0 AND s.generated_ns IS NULL THEN 'the device was not calibrated by what is compiled'
        END AS not_calibrated
    FROM counted AS c
    LEFT JOIN calibrated AS k ON k.block = c.block
    LEFT JOIN raybench_speeds AS s ON s.block = c.block AND s.dtype IS NOT DISTINCT FROM c.dtype
)
SELECT *, CASE
    WHEN host_ns IS NULL OR device_ns IS NULL THEN NULL -- greatest would take the one that is known
    WHEN overlap THEN greatest(host_ns, device_ns)
    ELSE host_ns + device_ns
END AS predicted_ns,
    -- Of the predicted time what is dispatch: on a GPU, where it runs ahead of the device, only what sticks out.
    CASE WHEN overlap AND device_ns IS NOT NULL THEN greatest(0, host_ns - device_ns) ELSE host_ns END AS dispatch_ns
FROM timed_by_counts;

-- Of a request of a language model: its prefill, and its decoding steps as many times as there were.
CREATE OR REPLACE VIEW raybench_work AS
WITH steps AS MATERIALIZED (
    SELECT s.*, l.steps, l.end_to_end, l.ttft, l.tpot
    FROM raybench_steps AS s
    JOIN raybench_lengths AS l ON l.configuration = s.configuration AND l.block = s.block
),
parts AS (
    SELECT *, 'end_to_end' AS measure, CASE step WHEN 'decode' THEN steps ELSE 1 END AS times, end_to_end AS measured_ns
    FROM steps
    UNION ALL
    SELECT *, CASE step WHEN 'prefill' THEN 'ttft' ELSE 'tpot' END AS measure, 1 AS times,
        CASE step WHEN 'prefill' THEN ttft ELSE tpot END AS measured_ns
    FROM steps
    WHERE step <> 'forward'
)
SELECT configuration, block, measure, any_value(mean_tokens) AS tokens, any_value(measured_ns) AS measured_ns,
    CASE WHEN count(flops) = count(*) THEN sum(flops * times ORDER BY step) END AS flops,
    CASE WHEN count(weight_bytes) = count(*) THEN sum(weight_bytes * times ORDER BY step) END AS weight_bytes,
    CASE WHEN count(activation_bytes) = count(*) THEN sum(activation_bytes * times ORDER BY step) END AS activation_bytes,
    CASE WHEN count(operations) = count(*) THEN sum(operations * times ORDER BY step) END AS operations,
    CASE WHEN count(views) = count(*) THEN sum(views * times ORDER BY step) END AS views,
    CASE WHEN count(instructions) = count(*) THEN sum(instructions * times ORDER BY step) END AS instructions,
    CASE WHEN count(kernels) = count(*) THEN sum(kernels * times ORDER BY step) END AS kernels,
    CASE WHEN count(host_ns) = count(*) THEN sum(host_ns * times ORDER BY step) END AS host_ns,
    CASE WHEN count(device_ns) = count(*) THEN sum(device_ns * times ORDER BY step) END AS device_ns,
    CASE WHEN count(predicted_ns) = count(*) THEN sum(predicted_ns * times ORDER BY step) END AS predicted_ns,
    CASE WHEN count(predicted_ns) = count(*) THEN sum(dispatch_ns * times ORDER BY step) END AS dispatch_ns,
    min(not_counted) AS not_counted, min(not_calibrated) AS not_calibrated
FROM parts
GROUP BY configuration, block, measure;

CREATE OR REPLACE VIEW predictions AS
SELECT c.name AS configuration, c.deployment, w.measure, w.tokens, w.flops, w.weight_bytes, w.activation_bytes,
    w.operations, w.views, w.instructions, w.kernels, w.host_ns / 1e6 AS host_ms, w.device_ns / 1e6 AS device_ms,
    w.predicted_ns / 1e6 AS predicted_ms, w.measured_ns / 1e6 AS measured_ms,
    w.predicted_ns / w.measured_ns - 1 AS error, w.not_counted,
    CASE WHEN w.predicted_ns IS NULL THEN coalesce(w.not_calibrated, w.not_counted) END AS not_predicted
FROM raybench_work AS w
JOIN configurations AS c ON c.name = w.configuration AND c.block = w.block
ORDER BY c.position, list_position(['end_to_end', 'ttft', 'tpot'], w.measure);
