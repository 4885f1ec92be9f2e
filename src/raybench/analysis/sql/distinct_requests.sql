-- Question: how many different inputs do the samples of a configuration rest on?
-- Columns:
--   configuration
--   samples             timed samples of the configuration's own block
--   distinct_requests   different inputs among them, at most: fewer than the samples where one's own texts go round again; of batches as many as the texts fill
CREATE OR REPLACE VIEW distinct_requests AS
SELECT f.configuration, sum(f.samples)::BIGINT AS samples,
    sum(least(f.places, (f.texts + f.batch - 1) // f.batch))::BIGINT AS distinct_requests
FROM (
    SELECT configuration, batch, count(*) AS samples,
        -- Where requests are no texts each number is one of its own, once.
        CASE WHEN any_value(texts) IS NULL THEN count(*) ELSE count(DISTINCT place) FILTER (texts IS NOT NULL) END AS places, any_value(texts) AS texts
    FROM (
        -- Prompt i of a task of n texts is text i modulo n, in an order that was drawn once; request i begins with
        -- prompt i times its batch. A mixed batch has texts of all tasks, whichever it is called by.
        SELECT l.configuration, c.batch,
            CASE WHEN c.routing = 'mixed' THEN NULL ELSE l.task END AS texts_of,
            CASE WHEN c.routing = 'mixed' THEN l.request
                ELSE coalesce(l.request::BIGINT * c.batch % d.workload.texts[l.task], l.request) END AS place,
            CASE WHEN c.routing = 'mixed'
                THEN list_sum([coalesce(d.workload.distinct_texts[t], d.workload.texts[t]) FOR t IN c.tasks])
                ELSE coalesce(d.workload.distinct_texts[l.task], d.workload.texts[l.task]) END::BIGINT AS texts
        FROM latencies AS l JOIN configurations AS c ON c.name = l.configuration, raybench_description AS d
    )
    GROUP BY configuration, batch, texts_of
) AS f
JOIN configurations AS c ON c.name = f.configuration
GROUP BY f.configuration
ORDER BY min(c.position);
