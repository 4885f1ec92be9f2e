-- Question: how many tokens a second does each deployment generate, and how many times as many as each reference?
-- From by_strategy: both generated as many tokens for the same requests, so the ratio of tokens a second is the inverse of
-- that of wall times end to end, with its interval turned round and its verdict (slower: fewer tokens a second).
-- Columns:
--   deployment, strategy              what it is, and what it is compared as
--   tokens_per_second                 generated for all prompts of a batch, over the wall time of all timed samples
--   reference_strategy, reference_deployment   what it is compared with
--   ratio, low, high                  times the reference's tokens a second (0.8: 20 % fewer), and its 95 % interval
--   verdict                           slower, faster, equivalent, inconclusive
CREATE OR REPLACE VIEW throughput AS
SELECT s.deployment, s.strategy, d.tokens_per_second, s.reference_strategy, s.reference_deployment,
    1 / s.ratio AS ratio,
    CASE WHEN isinf(s.high) THEN 0 ELSE 1 / s.high END AS low,
    CASE WHEN s.low = 0 THEN 'inf'::DOUBLE ELSE 1 / s.low END AS high,
    s.verdict
FROM by_strategy AS s
JOIN deployments AS d ON d.deployment = s.deployment
WHERE s.clock = 'wall' AND s.measure = 'end_to_end' AND d.tokens_per_second IS NOT NULL;
