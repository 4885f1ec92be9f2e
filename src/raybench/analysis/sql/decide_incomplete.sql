-- Question: which configurations are not complete, and what stands in the way?
-- Columns:
--   strategy, deployment, configuration
--   lost_rounds       visits of its own block that are committed without it: they are not measured again
--   kinds             the kinds of its failures
--   failure           the first of them, in words
SELECT c.strategy, c.deployment, c.name AS configuration,
    (SELECT count(*) FROM visits AS v WHERE v.block = c.block) - k.rounds_done AS lost_rounds,
    coalesce((SELECT list(DISTINCT f.kind) FROM failures AS f WHERE f.configuration = c.name), []) AS kinds,
    k.failure
FROM configurations AS c
JOIN completeness AS k ON k.configuration = c.name
WHERE NOT k.complete AND c.batch = 1 AND c.load IS NULL AND coalesce(c.role, c.strategy) = c.strategy
ORDER BY c.position;
