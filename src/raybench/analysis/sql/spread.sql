-- Question: of what is the spread of a comparison's visits: of their requests, or of the visits themselves?
-- Parameters: deployment, reference strategy, measure.
-- Columns (variances of a visit's log ratio, averaged over the deployment's configurations):
--   requests   what requests whose own ratios differ as they do would make of it
--   visits     what it is
WITH compared AS (
    SELECT DISTINCT configuration, block, reference, reference_block
    FROM comparisons
    WHERE deployment = $1 AND reference_strategy = $2 AND via IS NULL
),
by_requests AS (
    SELECT t.configuration, t.round, var_samp(ln(t.wall_ns / r.wall_ns)) / count(*) AS variance
    FROM compared AS c
    JOIN measures AS t ON t.configuration = c.configuration AND t.block = c.block AND t.measure = $3
    JOIN measures AS r ON r.configuration = c.reference AND r.block = c.reference_block AND r.measure = $3
        AND r.round = t.round AND r.task = t.task AND r.request = t.request
    GROUP BY t.configuration, t.round
),
by_visits AS (
    SELECT configuration, var_samp(wall) AS variance
    FROM visit_ratios
    WHERE deployment = $1 AND reference_strategy = $2 AND measure = $3
    GROUP BY configuration
)
SELECT (SELECT avg(variance) FROM by_requests) AS requests, (SELECT avg(variance) FROM by_visits) AS visits;
