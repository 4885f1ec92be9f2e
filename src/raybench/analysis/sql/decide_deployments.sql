-- Question: what does each deployment keep in memory, add at its peaks, and take to bring another adapter in?
-- Of those that serve one prompt at a time: advice is for a queue of requests.
-- Columns:
--   strategy, deployment, adapters    its strategy and row in the study's table; the adapters that it held (0: none)
--   configurations, complete          how many it has, and how many of them measured every planned round
--   loads                             how often it was brought up
--   resident_bytes                    what one load kept, by the device's counter (median: a process's first load also
--                                     pays for what later ones find ready)
--   parameter_bytes, adapter_bytes    bytes of all its parameters; of its adapters' alone (largest seen)
--   load_peak_bytes, forward_peak_bytes   the most that loading, and one forward of the longest request, added
--                                     (largest seen)
--   adapter_load_ns, switch_ns        95th percentile: reading its adapters and attaching them; making another of its
--                                     resident adapters the active one
--   longest_adapter_load_ns           the longest of the former: a run loads once a visit, often too few for a percentile
--   adapter_loads, switches           how many of each were timed
WITH loaded AS (
    SELECT c.deployment, count(*) AS loads,
        median(l.resident_bytes) AS resident_bytes,
        max(l.weight_bytes + l.adapter_bytes) AS parameter_bytes,
        max(l.adapter_bytes) AS adapter_bytes,
        max(l.load_peak_bytes) AS load_peak_bytes,
        max(l.forward_peak_bytes) AS forward_peak_bytes,
        quantile_cont(l.adapter_load_ns, 0.95) AS adapter_load_ns,
        max(l.adapter_load_ns) AS longest_adapter_load_ns,
        count(l.adapter_load_ns) AS adapter_loads
    FROM loads AS l
    JOIN configurations AS c ON c.name = l.configuration AND c.block = l.block
    GROUP BY ALL
),
switched AS (
    SELECT c.deployment, quantile_cont(t.switch_ns, 0.95) AS switch_ns, count(t.switch_ns) AS switches
    FROM timed AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
    GROUP BY ALL
)
SELECT any_value(c.strategy) AS strategy, c.deployment, max(len(c.adapters)) AS adapters,
    count(*) AS configurations, count(*) FILTER (k.complete) AS complete,
    any_value(l.loads) AS loads,
    any_value(l.resident_bytes) AS resident_bytes,
    any_value(l.parameter_bytes) AS parameter_bytes,
    any_value(l.adapter_bytes) AS adapter_bytes,
    any_value(l.load_peak_bytes) AS load_peak_bytes,
    any_value(l.forward_peak_bytes) AS forward_peak_bytes,
    any_value(l.adapter_load_ns) AS adapter_load_ns,
    any_value(l.longest_adapter_load_ns) AS longest_adapter_load_ns,
    any_value(l.adapter_loads) AS adapter_loads,
    any_value(s.switch_ns) AS switch_ns,
    any_value(s.switches) AS switches
FROM configurations AS c
JOIN completeness AS k ON k.configuration = c.name
LEFT JOIN loaded AS l ON l.deployment = c.deployment
LEFT JOIN switched AS s ON s.deployment = c.deployment
WHERE c.batch = 1 AND c.load IS NULL AND coalesce(c.role, c.strategy) = c.strategy
GROUP BY c.deployment
ORDER BY min(c.position);
