-- Question: what does choosing another adapter cost, beside the request itself?
-- Columns:
--   configuration, adapter
--   n                        timed samples served by this adapter
--   mean_ms, median_ms, p95_ms   time to make the adapter the active one (p95: null below 130 samples)
--   share_of_request         mean switch over mean wall time of the request
--   request_ms               that mean wall time, the switch not in it
CREATE OR REPLACE VIEW adapter_switch AS
SELECT t.configuration, t.adapter, count(*) AS n,
    avg(t.switch_ns) / 1e6 AS mean_ms,
    quantile_cont(t.switch_ns, [0.5, 0.95])[1] / 1e6 AS median_ms,
    CASE WHEN count(*) >= 130 THEN quantile_cont(t.switch_ns, [0.5, 0.95])[2] / 1e6 END AS p95_ms,
    avg(t.switch_ns) / avg(t.wall_ns) AS share_of_request,
    avg(t.wall_ns) / 1e6 AS request_ms
FROM timed AS t
WHERE t.switch_ns IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
