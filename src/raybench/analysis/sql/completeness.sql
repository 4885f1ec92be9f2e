-- Question: which configurations are complete, and what became of the others?
-- Columns:
--   configuration, deployment
--   rounds_done, rounds_planned   rounds in which its own block measured all of its requests
--   complete                      whether all planned rounds are there
--   failure                       why it stopped, if it did (kind: message)
CREATE OR REPLACE VIEW raybench_served AS
SELECT configuration, block, round, task, count(*) AS n FROM timed GROUP BY ALL;

CREATE OR REPLACE VIEW completeness AS
WITH per_round AS (
    SELECT t.configuration, t.round, sum(t.n) AS n
    FROM raybench_served AS t
    JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
    GROUP BY ALL
),
done AS (
    SELECT configuration, count(*) AS rounds_done
    FROM per_round
    WHERE n = (SELECT requests FROM run)
    GROUP BY ALL
),
planned AS (
    -- A run that goes on until its intervals are narrow planned the rounds that it has begun.
    SELECT CASE
        WHEN until_halfwidth IS NULL THEN rounds
        ELSE (SELECT coalesce(max(round), -1) + 1 FROM visits)
    END AS rounds_planned
    FROM run
),
failed AS (
    SELECT configuration, arg_min(kind || ': ' || message, failed_at) AS failure FROM failures GROUP BY ALL
)
SELECT c.name AS configuration, c.deployment, coalesce(d.rounds_done, 0) AS rounds_done,
    p.rounds_planned, p.rounds_planned > 0 AND coalesce(d.rounds_done, 0) = p.rounds_planned AS complete,
    f.failure
FROM configurations AS c
CROSS JOIN planned AS p
LEFT JOIN done AS d ON d.configuration = c.name
LEFT JOIN failed AS f ON f.configuration = c.name
ORDER BY c.position;
