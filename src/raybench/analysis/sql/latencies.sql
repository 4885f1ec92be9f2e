-- Question: how long did each request of a configuration take, in the order in which visits and requests were taken?
-- Columns:
--   configuration, deployment, visit, started_at (when it began), round, device
--   task, adapter, request, tokens
--   wall_ms, host_ms, device_ms, switch_ms   milliseconds, of the configuration's own block
CREATE OR REPLACE VIEW latencies AS
SELECT t.configuration, c.deployment, t.visit, t.started_at, t.round, t.device, t.task, t.adapter, t.request, t.tokens,
    t.wall_ns / 1e6 AS wall_ms, t.host_ns / 1e6 AS host_ms, t.device_ns / 1e6 AS device_ms,
    t.switch_ns / 1e6 AS switch_ms
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
ORDER BY c.position, t.started_at, t.sequence;
