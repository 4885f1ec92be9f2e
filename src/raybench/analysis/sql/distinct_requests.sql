-- Question: how many different inputs do the samples of a configuration rest on?
-- Columns:
--   configuration
--   samples             timed samples of the configuration's own block
--   distinct_requests   different inputs among them, at most: fewer than the samples where one's own texts go round again; of batches as many as the texts fill
CREATE OR REPLACE VIEW distinct_requests AS
WITH asked AS (
    -- Prompt i of a task of n texts is text i modulo n, in an order that was drawn once; request i begins with prompt i
    -- times its batch. A mixed batch has texts of all tasks, whichever it is called by. Without texts each request is
    -- another one.
    SELECT c.name AS configuration, c.block, c.position, c.batch, t.task,
        CASE WHEN c.routing = 'mixed' AND len(c.tasks) > 1 THEN NULL ELSE t.task END AS texts_of,
        CASE WHEN c.routing = 'mixed' AND len(c.tasks) > 1 THEN NULL ELSE d.workload.texts[t.task] END AS round_of,
        CASE WHEN c.routing = 'mixed' AND len(c.tasks) > 1
            THEN list_sum([coalesce(d.workload.distinct_texts[n], d.workload.texts[n]) FOR n IN c.tasks])
            ELSE coalesce(d.workload.distinct_texts[t.task], d.workload.texts[t.task]) END::BIGINT AS texts
    FROM configurations AS c, unnest(c.tasks) AS t(task), raybench_description AS d
),
counted AS (
    SELECT a.configuration, a.texts_of, any_value(a.position) AS position, any_value(a.batch) AS batch,
        any_value(a.texts) AS texts, sum(l.n) AS samples
    FROM raybench_served AS l
    JOIN asked AS a ON a.configuration = l.configuration AND a.block = l.block AND a.task = l.task
    GROUP BY a.configuration, a.texts_of
),
placed AS (
    SELECT a.configuration, a.texts_of,
        count(DISTINCT coalesce(l.request::BIGINT * a.batch % a.round_of, l.request)) AS places
    FROM timed AS l
    JOIN asked AS a ON a.configuration = l.configuration AND a.block = l.block AND a.task = l.task
    WHERE a.texts IS NOT NULL
    GROUP BY a.configuration, a.texts_of
)
SELECT c.configuration, sum(c.samples)::BIGINT AS samples,
    sum(coalesce(least(p.places, (c.texts + c.batch - 1) // c.batch), c.samples))::BIGINT AS distinct_requests
FROM counted AS c
LEFT JOIN placed AS p ON p.configuration = c.configuration AND p.texts_of IS NOT DISTINCT FROM c.texts_of
GROUP BY c.configuration
ORDER BY min(c.position);
