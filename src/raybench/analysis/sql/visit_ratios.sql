-- Question: in each round, how much longer did a configuration take than its reference on the same requests?
-- This is what intervals and tests are computed from: one row is one visit (paired design) and measure, never a sample.
-- Columns:
--   configuration, deployment, reference_strategy, block, round
--   measure                           end_to_end; of a language model also ttft (prefill) and tpot (mean decoding step)
--   device                            where the configuration ran
--   n                                 requests that both served
--   wall, host, device_time           natural log of the ratio of mean times, by each clock (device_time null on a CPU)
--   wall_median, host_median, device_median   natural log of the ratio of median times
--   wall_paired                       the mean of the requests' own log ratios of wall times, each request's time against
--                                     the other side's for the same request, without the lowest and highest fifth
--   compared_ms, reference_ms         the mean wall times whose ratio it is, milliseconds: of the configuration, of its
--                                     reference
--
-- Both sides of a comparison served the same requests as a rule, in a visit of one block: then each side's times are
-- summed up by itself, once for all comparisons that it stands in. Requests are the same where there are as many and the
-- sums of their hashes are equal. Only where they are not (apart, below) is each sample joined with its counterpart.
CREATE OR REPLACE MACRO raybench_middle(logs) AS
    list_avg(list_sort(logs)[len(logs) // 5 + 1 : len(logs) - len(logs) // 5]);

CREATE OR REPLACE MACRO raybench_paired(ours, theirs) AS
    raybench_middle(list_transform(list_zip(ours, theirs), lambda pair: ln(pair[1] / pair[2])));

CREATE OR REPLACE VIEW raybench_compared AS
SELECT configuration, deployment, reference_strategy, block,
    [{configuration: configuration, block: block}] AS own,
    list({configuration: reference, block: reference_block} ORDER BY reference, reference_block) AS theirs
FROM comparisons
WHERE via IS NULL
GROUP BY configuration, deployment, reference_strategy, block;

CREATE OR REPLACE VIEW raybench_sides AS
SELECT row_number() OVER (ORDER BY members) AS side, members
FROM (SELECT own AS members FROM raybench_compared UNION SELECT theirs FROM raybench_compared);

CREATE OR REPLACE VIEW raybench_side_times AS
WITH summed AS (
    SELECT s.side, t.round, any_value(t.device) AS device,
        count(*) AS n, sum(t.of_request) AS requests,
        avg(t.wall) AS wall, avg(t.host) AS host, avg(t.device_time) AS device_time,
        median(t.wall) AS wall_median, median(t.host) AS host_median, median(t.device_time) AS device_median,
        list(t.wall ORDER BY t.of_request) AS walls,
        list(t.prefill_wall ORDER BY t.of_request) FILTER (t.prefill_wall IS NOT NULL) AS prefill_walls,
        list(t.step_wall ORDER BY t.of_request) FILTER (t.step_wall IS NOT NULL) AS step_walls,
        count(t.prefill_wall) AS prefill_n, sum(t.of_request) FILTER (t.prefill_wall IS NOT NULL) AS prefill_requests,
        avg(t.prefill_wall) AS prefill_wall, avg(t.prefill_host) AS prefill_host, avg(t.prefill_device) AS prefill_device,
        median(t.prefill_wall) AS prefill_wall_median, median(t.prefill_host) AS prefill_host_median,
        median(t.prefill_device) AS prefill_device_median,
        count(t.step_wall) AS step_n, sum(t.of_request) FILTER (t.step_wall IS NOT NULL) AS step_requests,
        avg(t.step_wall) AS step_wall, avg(t.step_host) AS step_host, avg(t.step_device) AS step_device,
        median(t.step_wall) AS step_wall_median, median(t.step_host) AS step_host_median,
        median(t.step_device) AS step_device_median
    FROM (
        -- As DOUBLE, in which sums of whole nanoseconds are exact and do not depend on their order.
        SELECT configuration, block, round, device, output_tokens, hash(task, request) AS of_request,
            wall_ns::DOUBLE AS wall, host_ns::DOUBLE AS host, device_ns::DOUBLE AS device_time,
            prefill_wall_ns::DOUBLE AS prefill_wall, prefill_host_ns::DOUBLE AS prefill_host,
            prefill_device_ns::DOUBLE AS prefill_device,
            raybench_tpot(decode_wall_ns) AS step_wall, raybench_tpot(decode_host_ns) AS step_host,
            raybench_tpot(decode_device_ns) AS step_device
        FROM timed
    ) AS t
    JOIN (SELECT side, unnest(members) AS m FROM raybench_sides) AS s
        ON s.m.configuration = t.configuration AND s.m.block = t.block
    GROUP BY s.side, t.round
)
SELECT side, round, 'end_to_end' AS measure, device, n, requests, wall, host, device_time, wall_median,
    host_median, device_median, walls
FROM summed
UNION ALL
SELECT side, round, 'ttft' AS measure, device, prefill_n AS n, prefill_requests AS requests, prefill_wall AS wall,
    prefill_host AS host, prefill_device AS device_time, prefill_wall_median AS wall_median,
    prefill_host_median AS host_median, prefill_device_median AS device_median, prefill_walls AS walls
FROM summed
WHERE prefill_n > 0
UNION ALL
SELECT side, round, 'tpot' AS measure, device, step_n AS n, step_requests AS requests, step_wall AS wall,
    step_host AS host, step_device AS device_time, step_wall_median AS wall_median, step_host_median AS host_median,
    step_device_median AS device_median, step_walls AS walls
FROM summed
WHERE step_n > 0;

-- Of each round by itself, and so made some rounds at a time: the times of a visit are held until they are paired.
CREATE OR REPLACE VIEW raybench_visit_ratios AS
WITH times AS MATERIALIZED (
    SELECT *, round * 4::BIGINT + list_position(['end_to_end', 'ttft', 'tpot'], measure) AS part
    FROM raybench_side_times
),
pairs AS (
    SELECT c.configuration, c.deployment, c.reference_strategy, c.block, t.round, t.measure, t.device, t.n,
        t.n = r.n AND t.requests = r.requests AS same_requests,
        ln(t.wall / r.wall) AS wall, ln(t.host / r.host) AS host, ln(t.device_time / r.device_time) AS device_time,
        ln(t.wall_median / r.wall_median) AS wall_median, ln(t.host_median / r.host_median) AS host_median,
        ln(t.device_median / r.device_median) AS device_median,
        CASE WHEN same_requests THEN raybench_paired(t.walls, r.walls) END AS wall_paired,
        t.wall / 1e6 AS compared_ms, r.wall / 1e6 AS reference_ms
    FROM raybench_compared AS c
    JOIN raybench_sides AS own ON own.members = c.own
    JOIN raybench_sides AS theirs ON theirs.members = c.theirs
    JOIN times AS t ON t.side = own.side
    -- By one number of all three: by round and measure alone every side's times would be joined with every other's first,
    -- which grows with the square of the configurations.
    JOIN times AS r ON r.side * 8_589_934_592 + r.part = theirs.side * 8_589_934_592 + t.part
),
-- What lies apart is nothing as a rule: then neither of the two below reads more than a few samples.
apart AS MATERIALIZED (
    SELECT DISTINCT c.*, p.round, p.measure
    FROM pairs AS p
    JOIN comparisons AS c ON c.configuration = p.configuration AND c.reference_strategy = p.reference_strategy
    WHERE NOT p.same_requests AND c.via IS NULL
),
ours AS MATERIALIZED (
    SELECT m.*
    FROM measures AS m
    SEMI JOIN apart AS a
        ON a.configuration = m.configuration AND a.block = m.block AND a.round = m.round AND a.measure = m.measure
),
counterparts AS MATERIALIZED (
    SELECT m.*
    FROM measures AS m
    SEMI JOIN apart AS a
        ON a.reference = m.configuration AND a.reference_block = m.block AND a.round = m.round AND a.measure = m.measure
),
joined AS (
    SELECT a.configuration, a.deployment, a.reference_strategy, a.block, t.round, t.measure, any_value(t.device) AS device,
        count(DISTINCT (t.task, t.request)) AS n,
        ln(avg(t.wall_ns) / avg(r.wall_ns)) AS wall,
        ln(avg(t.host_ns) / avg(r.host_ns)) AS host,
        ln(avg(t.device_ns) / avg(r.device_ns)) AS device_time,
        ln(median(t.wall_ns) / median(r.wall_ns)) AS wall_median,
        ln(median(t.host_ns) / median(r.host_ns)) AS host_median,
        ln(median(t.device_ns) / median(r.device_ns)) AS device_median,
        raybench_middle(list(ln(t.wall_ns / r.wall_ns))) AS wall_paired,
        avg(t.wall_ns) / 1e6 AS compared_ms,
        avg(r.wall_ns) / 1e6 AS reference_ms
    FROM apart AS a
    JOIN ours AS t ON t.configuration = a.configuration AND t.block = a.block
        AND t.round = a.round AND t.measure = a.measure
    JOIN counterparts AS r ON r.configuration = a.reference AND r.block = a.reference_block
        AND r.round = t.round AND r.task = t.task AND r.request = t.request AND r.measure = t.measure
    GROUP BY a.configuration, a.deployment, a.reference_strategy, a.block, t.round, t.measure
)
SELECT * EXCLUDE (same_requests) FROM pairs WHERE same_requests
UNION ALL
FROM joined;

CREATE OR REPLACE VIEW visit_ratios AS
FROM raybench_visit_ratios
ORDER BY configuration, reference_strategy, round, list_position(['end_to_end', 'ttft', 'tpot'], measure);
