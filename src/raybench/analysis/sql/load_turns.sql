-- Question: what did each load do, turn by turn, in a run of servers?
-- One row a visit, configuration and turn, of the configuration's own block. Openers before and after a turn's timed requests
-- only keep the load up; however many there are, rates are the same. In a closed loop rates are of the time from the first timed
-- one's start to the last timed one's end: all that were under way then, openers too, count by the share of their own time that
-- lies in it. Counted by their ends alone, answers that end together would count too often. In an open loop they are of the time
-- from the end of the first timed one's answer to the end of the last one's, in the order in which they were sent, and count those
-- after the first: a server that keeps up shows how often it was asked, one that does not how often it answered. From the start
-- of the first there would be one request too many.
-- Turns' rates are not to be averaged: pool served and duration_s.
-- Columns:
--   visit, block, round, configuration, deployment, turn
--   load                       how requests came, in words; null: one at a time, where there are no rates
--   requests                   timed ones
--   duration_s                 from when the first of them was sent (open loop: answered) until the last one's end
--   served, served_tokens      requests that were served meanwhile, openers with them, and their tokens, by these shares; in an
--                              open loop the timed ones but the first, with as many tokens as timed ones have on average
--   requests_per_s, output_tokens_per_s   the same over the duration; null where the last answer ended before the first
--   late_p50_ms, late_p99_ms, late_max_ms   how much later than due the client sent the timed ones
--   good                       timed ones that kept the plan's limits; null where it has none
--   good_share                 of the timed ones
--   goodput_per_s              that share of requests_per_s
--   cached_share               of the timed ones' prompt tokens, what the server did not compute anew; null where not told
CREATE OR REPLACE VIEW raybench_load_requests AS
SELECT c.position, c.name AS configuration, c.deployment, c.load, c.load IS NOT NULL AND c.concurrency IS NULL AS is_open, s.visit, s.block, s.round, s.turn, s.phase, s.request,
    s.started_ns, s.started_ns + s.wall_ns AS ended_ns, s.output_tokens, s.late_ns, s.prompt_tokens, s.cached_tokens,
    len(s.decode_wall_ns) AS steps, len(list_filter(s.decode_wall_ns, lambda ns: ns <= 1)) AS together,
    s.prefill_wall_ns AS ttft_ns, raybench_tpot(s.decode_wall_ns) AS tpot_ns,
    CASE WHEN r.goodput_ttft_ms IS NOT NULL OR r.goodput_tpot_ms IS NOT NULL
        THEN coalesce(s.prefill_wall_ns <= r.goodput_ttft_ms * 1e6, true)
            AND coalesce(raybench_tpot(s.decode_wall_ns) <= r.goodput_tpot_ms * 1e6, true) END AS is_good
FROM samples AS s
JOIN configurations AS c ON c.name = s.configuration AND c.block = s.block
CROSS JOIN run AS r
WHERE s.phase IN ('timed', 'opener') AND len(r.servers) > 0;

CREATE OR REPLACE VIEW load_turns AS
WITH timed_from_to AS (
    SELECT *, min(CASE WHEN phase = 'timed' THEN started_ns END) OVER turns AS from_ns,
        max(CASE WHEN phase = 'timed' THEN ended_ns END) OVER turns AS to_ns
    FROM raybench_load_requests
    WINDOW turns AS (PARTITION BY visit, configuration, turn)
),
shared AS (
    SELECT *, greatest(0, least(ended_ns, to_ns) - greatest(started_ns, from_ns)) / (ended_ns - started_ns) AS share
    FROM timed_from_to
),
turns AS (
    SELECT any_value(position) AS position, visit, any_value(block) AS block, any_value(round) AS round, configuration,
        any_value(deployment) AS deployment, turn, any_value(load) AS load,
        count(*) FILTER (phase = 'timed') AS requests,
        CASE WHEN any_value(is_open)
            THEN arg_max(ended_ns, (started_ns, ended_ns)) FILTER (phase = 'timed')
                - arg_min(ended_ns, (started_ns, ended_ns)) FILTER (phase = 'timed')
            ELSE any_value(to_ns - from_ns) END / 1e9 AS duration_s,
        CASE WHEN any_value(is_open) THEN count(*) FILTER (phase = 'timed') - 1
            ELSE sum(share ORDER BY started_ns, ended_ns) END AS served,
        CASE WHEN any_value(is_open)
            THEN (count(*) FILTER (phase = 'timed') - 1) * avg(output_tokens) FILTER (phase = 'timed')
            ELSE sum(share * output_tokens ORDER BY started_ns, ended_ns, output_tokens) END AS served_tokens,
        quantile_cont(late_ns, 0.5) FILTER (phase = 'timed') / 1e6 AS late_p50_ms,
        quantile_cont(late_ns, 0.99) FILTER (phase = 'timed') / 1e6 AS late_p99_ms,
        max(late_ns) FILTER (phase = 'timed') / 1e6 AS late_max_ms,
        CASE WHEN count(is_good) > 0 THEN count(*) FILTER (phase = 'timed' AND is_good) END AS good,
        sum(cached_tokens) FILTER (phase = 'timed' AND prompt_tokens IS NOT NULL)
            / sum(prompt_tokens) FILTER (phase = 'timed' AND cached_tokens IS NOT NULL) AS cached_share
    FROM shared
    GROUP BY visit, configuration, turn
)
SELECT visit, block, round, configuration, deployment, turn, load, requests, duration_s, served, served_tokens,
    CASE WHEN load IS NOT NULL AND duration_s > 0 THEN served / duration_s END AS requests_per_s,
    CASE WHEN load IS NOT NULL AND duration_s > 0 THEN served_tokens / duration_s END AS output_tokens_per_s,
    late_p50_ms, late_p99_ms, late_max_ms, good, good / requests AS good_share,
    CASE WHEN load IS NOT NULL AND duration_s > 0 THEN good / requests * (served / duration_s) END AS goodput_per_s, cached_share
FROM turns
WHERE requests > 0
ORDER BY position, round, turn;

-- What statistics are made of: a configuration's visit, with what each of its timed requests took, in the same order.
-- Seconds for a request and for a token, not rates: their mean is what says how many there are in a long time.
CREATE OR REPLACE VIEW raybench_load_visits AS
WITH rates AS (
    SELECT visit, configuration,
        sum(duration_s ORDER BY turn) / nullif(sum(served ORDER BY turn), 0) AS request_s,
        sum(duration_s ORDER BY turn) / nullif(sum(served_tokens ORDER BY turn), 0) AS token_s
    FROM load_turns
    WHERE load IS NOT NULL
    GROUP BY visit, configuration
),
asked AS (
    SELECT configuration, visit, list(ttft_ns / 1e6 ORDER BY turn, started_ns, request) AS ttft_ms,
        list(tpot_ns / 1e6 ORDER BY turn, started_ns, request) AS tpot_ms,
        count(*) FILTER (output_tokens > 1) AS further, count(*) FILTER (output_tokens > 1 AND tpot_ns IS NULL) AS at_once,
        coalesce(sum(steps) FILTER (tpot_ns IS NOT NULL), 0)::BIGINT AS steps,
        coalesce(sum(together) FILTER (tpot_ns IS NOT NULL), 0)::BIGINT AS together,
        list(late_ns / 1e6 ORDER BY late_ns) FILTER (late_ns IS NOT NULL) AS late_ms,
        sum(cached_tokens) FILTER (prompt_tokens IS NOT NULL) AS cached_tokens,
        sum(prompt_tokens) FILTER (cached_tokens IS NOT NULL) AS prompt_tokens,
        count(*) FILTER (prompt_tokens IS NOT NULL AND cached_tokens IS NULL) AS cache_untold
    FROM raybench_load_requests
    WHERE phase = 'timed'
    GROUP BY configuration, visit
)
SELECT c.position, c.name AS configuration, c.deployment, c.role AS strategy, c.load, c.concurrency, c.rate_per_s, c.servers,
    k.complete, v.visit, v.round, v.device, r.request_s, r.token_s, a.ttft_ms, a.tpot_ms, a.late_ms,
    a.further, a.at_once, a.steps, a.together, a.cache_untold,
    a.cached_tokens::DOUBLE AS cached_tokens, a.prompt_tokens::DOUBLE AS prompt_tokens
FROM asked AS a
JOIN configurations AS c ON c.name = a.configuration
JOIN completeness AS k ON k.configuration = c.name
JOIN visits AS v USING (visit)
LEFT JOIN rates AS r ON r.visit = a.visit AND r.configuration = a.configuration
ORDER BY c.position, v.round;

-- Requests whose prompts the servers of two configurations count differently.
CREATE OR REPLACE VIEW raybench_other_prompts AS
SELECT task, request, min(prompt_tokens) AS least, max(prompt_tokens) AS most,
    arg_min(configuration, (prompt_tokens, position)) AS least_of, arg_min(configuration, (-prompt_tokens, position)) AS most_of
FROM (
    SELECT t.task, t.request, t.prompt_tokens, t.configuration, c.position, c.load
    FROM timed AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
    WHERE t.prompt_tokens IS NOT NULL
)
GROUP BY task, request, load  -- only what has the same load is compared, and loads may have prompts of their own
HAVING min(prompt_tokens) < max(prompt_tokens)
ORDER BY task, request, min(position);
