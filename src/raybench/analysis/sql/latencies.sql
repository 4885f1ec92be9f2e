-- Question: how long did each request of a configuration take, in the order in which visits and requests were taken?
-- Columns:
--   configuration, deployment, visit, started_at (when it began), round, device
--   task, adapter, request, tokens
--   wall_ms, host_ms, device_ms, switch_ms   milliseconds, of the configuration's own block
--   batch, output_tokens       prompts of it; tokens generated for each (null for a classifier)
--   ttft_ms, tpot_ms           wall time of its prefill, and of its mean decoding step (null for a classifier)
CREATE OR REPLACE VIEW latencies AS
SELECT t.configuration, c.deployment, t.visit, t.started_at, t.round, t.device, t.task, t.adapter, t.request, t.tokens,
    t.wall_ns / 1e6 AS wall_ms, t.host_ns / 1e6 AS host_ms, t.device_ns / 1e6 AS device_ms,
    t.switch_ns / 1e6 AS switch_ms, t.batch, t.output_tokens,
    t.prefill_wall_ns / 1e6 AS ttft_ms, raybench_tpot(t.decode_wall_ns) / 1e6 AS tpot_ms
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
ORDER BY c.position, t.started_at, t.sequence;
