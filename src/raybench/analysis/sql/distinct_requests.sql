-- Question: how many different inputs do the samples of a configuration rest on?
-- Columns:
--   configuration
--   samples             timed samples of the configuration's own block
--   distinct_requests   different inputs among them, at most: fewer than the samples where one's own texts go round again
CREATE OR REPLACE VIEW distinct_requests AS
SELECT configuration, sum(samples)::BIGINT AS samples, sum(least(places, texts))::BIGINT AS distinct_requests
FROM (
    -- Request i of a task of n texts is text i modulo n, in an order that was drawn once.
    SELECT l.configuration, count(*) AS samples,
        count(DISTINCT coalesce(l.request % d.workload.texts[l.task], l.request)) AS places,
        any_value(coalesce(d.workload.distinct_texts[l.task], d.workload.texts[l.task])) AS texts
    FROM latencies AS l, raybench_description AS d
    GROUP BY l.configuration, l.task
)
JOIN configurations AS c ON c.name = configuration
GROUP BY configuration
ORDER BY min(c.position);
